package decision_test

import (
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
)

// TestEveryDenialHasANextStep: also on the system, which nobody owns, a denial that
// nothing automatic helps against says whom to ask.
func TestEveryDenialHasANextStep(t *testing.T) {
	e, err := cedar.Compile(policy.Source{Schema: cedar.Schema, Policies: map[string]string{"a.cedar": `
@id("one") @owner("test") @requirement("T")
permit (principal == User::"root", action == Action::"audit.read", resource is System);`}})
	if err != nil {
		t.Fatal(err)
	}
	ana := policy.UID{Type: "User", ID: "ana"}
	system := policy.UID{Type: "System", ID: "sallyport"}
	b, err := decision.Prepare(e, &decision.Basis{Principal: ana, PrincipalID: "user:ana", Person: "user:ana", Active: true, Policy: e.Version(),
		Resource: sallyport.Resource{Kind: sallyport.SystemKind, Class: sallyport.Restricted}, ResourceUID: system,
		Entities: []policy.Entity{{UID: system}, {UID: ana, Attrs: map[string]policy.Value{
			"name":   {Kind: policy.StringValue, String: "ana"},
			"person": {Kind: policy.EntityValue, Entity: ana},
		}}}})
	if err != nil {
		t.Fatal(err)
	}
	d := decision.Decide(e, decision.Facts{Basis: b, Question: decision.Question{Action: sallyport.AuditRead, At: time.Unix(1_700_000_000, 0), Scope: sallyport.Scope{"*"}}})
	if d.Outcome != sallyport.Deny || len(d.Remedies) != 1 || !strings.Contains(d.Remedies[0].Text, "ask an administrator") {
		t.Errorf("%s %v: %+v", d.Outcome, d.ReasonIDs(), d.Remedies)
	}
}
