package storetest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/workload"
	"sallyport/internal/store/sqldb"
)

func TestWorkload(t *testing.T) { Run(t, testWorkload) }

func testWorkload(t *testing.T, open func() *sqldb.DB) {
	a, b := open(), open()
	whole := workload.Rule{
		Name: "trainer", Kind: workload.GitHub, Issuer: "https://token.example", Audience: "https://hub.example",
		Match: map[string]string{"repository_id": "1", "environment": "prod é"}, AnySubject: true, Keys: json.RawMessage(`{"keys": []}`),
		KeysURL: "https://token.example/keys", Principal: "service:trainer", Scope: sallyport.Scope{"model.push@acme/fraud", "model.read"},
		Life: 15*time.Minute + time.Microsecond, Clients: []string{"hub", "cli"}, By: "user:adam",
		Created: time.Date(2026, 11, 20, 9, 0, 0, 123456000, time.UTC),
	}
	spare := workload.Rule{Name: "a", Kind: workload.OIDC, Match: map[string]string{}, Clients: []string{}}
	for _, r := range []workload.Rule{whole, spare} {
		if err := a.Workload().InsertRule(t.Context(), r, 2); err != nil {
			t.Fatal(err)
		}
	}
	rules, err := b.Workload().Rules(t.Context())
	if want := []workload.Rule{spare, whole}; err != nil || fmt.Sprintf("%+v", rules) != fmt.Sprintf("%+v", want) {
		t.Errorf("the other node reads %+v, %v; want %+v", rules, err, want)
	}
	if err := b.Workload().InsertRule(t.Context(), whole, 3); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("the same name again: %v, want a conflict", err)
	}
	other := spare
	other.Name = "b"
	if err := b.Workload().InsertRule(t.Context(), other, 2); sallyport.KindOf(err) != sallyport.Busy {
		t.Errorf("one too many: %v, want busy", err)
	}
	if err := b.Workload().RemoveRule(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if err := a.Workload().RemoveRule(t.Context(), "a"); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("removed twice: %v, want not found", err)
	}
	if rules, err := a.Workload().Rules(t.Context()); err != nil || len(rules) != 1 || rules[0].Name != "trainer" {
		t.Errorf("left are %v, %v", rules, err)
	}
}
