package grant

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport"
	"sallyport/internal/authz/approval"
)

// TestGrantIsWhatWasApproved: nothing but an intact, approved request for a
// grant gives one, and what it gives is what was asked (I-09).
func TestGrantIsWhatWasApproved(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, r := range map[string]approval.Request{
		"pending":       {Topic: Topic, State: approval.Pending},
		"denied":        {Topic: Topic, State: approval.Denied},
		"another topic": {Topic: "policy", State: approval.Approved, Decided: at},
		"edited":        {Topic: Topic, State: approval.Approved, Decided: at, Canonical: []byte(`{}`), Hash: "00"},
		"nothing":       {},
	} {
		if g, err := Of(r); sallyport.KindOf(err) != sallyport.Conflict {
			t.Errorf("%s: %+v, %v, want a conflict", name, g, err)
		}
	}
}

// TestActive: a grant holds from From, before Until, until it is revoked, and at no other time.
func TestActive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		minute := func(name string) time.Time { return time.Unix(60*rapid.Int64Range(0, 10).Draw(t, name), 0) }
		g := Grant{From: minute("from"), Until: minute("until")}
		now := minute("now")
		want := now.Compare(g.From) >= 0 && now.Compare(g.Until) < 0
		if got := g.Active(now); got != want {
			t.Fatalf("%v to %v at %v: %v", g.From, g.Until, now, got)
		}
		if g.RevokedAt = minute("revoked").Add(time.Second); g.Active(now) {
			t.Fatal("a revoked grant holds")
		}
	})
}

// TestSubjectFits: the longest names there are make a subject that approval takes whole.
func TestSubjectFits(t *testing.T) {
	long := strings.Repeat("x", 63)
	ref := sallyport.Ref{Kind: sallyport.ModelKind, Org: long, Name: long, Revision: "sha256:" + strings.Repeat("0", 64)}
	if err := sallyport.CheckRevision("test", ref.Revision); err != nil {
		t.Fatal(err)
	}
	for _, action := range sallyport.Actions() {
		q := question{Principal: sallyport.PrincipalID("service:" + long), Actions: slices.Repeat([]sallyport.Action{action}, 16), Ref: ref.String(), Seconds: 86399}
		if n := len(q.subject()); n > approval.MaxSubject {
			t.Errorf("%d bytes: %s", n, q.subject())
		}
	}
}
