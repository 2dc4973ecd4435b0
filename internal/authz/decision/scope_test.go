package decision_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
)

const scopes = `
@id("use") @owner("x") @requirement("T") permit(principal, action == Action::"model.infer", resource);
@id("cards") @owner("x") @requirement("T") @obligation("files=*.md, files=docs/**") permit(principal, action == Action::"model.read", resource);
@id("granted") @owner("x") @requirement("T") @obligation("limit-bytes=100") permit(principal, action, resource) when { context.granted };
`

func obliges(t *testing.T, all ...string) []sallyport.Obligation {
	t.Helper()
	var out []sallyport.Obligation
	for _, s := range all {
		o, err := sallyport.ParseObligation(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

// TestDataScope: what a grant is narrowed to is an obligation of what it permits and of
// nothing else, a file outside is denied, and a wider grant beside it is enough.
func TestDataScope(t *testing.T) {
	e := compile(t, scopes)
	for _, test := range []struct {
		name    string
		action  sallyport.Action
		file    string
		grants  [][]string
		outcome sallyport.Outcome
		want    string
	}{
		{"no scope", sallyport.ModelPull, "a.bin", [][]string{nil}, sallyport.Allow, "[granted] [limit-bytes=100]"},
		{"a file of the scope", sallyport.ModelPull, "a.json", [][]string{{"files=*.json", "range=0-9"}}, sallyport.Allow, "[granted] [files=*.json limit-bytes=100 range=0-9]"},
		{"a file outside", sallyport.ModelPull, "a.bin", [][]string{{"files=*.json"}}, sallyport.Deny, "[default.deny] []"},
		{"the whole, under obligation", sallyport.ModelPull, "", [][]string{{"files=*.json"}}, sallyport.Allow, "[granted] [files=*.json limit-bytes=100]"},
		{"the smaller limit", sallyport.ModelPull, "a.bin", [][]string{{"limit-bytes=5"}}, sallyport.Allow, "[granted] [limit-bytes=5]"},
		{"two grants, each narrow", sallyport.ModelPull, "a.json", [][]string{{"files=*.json"}, {"files=a.*", "max-tokens=9"}}, sallyport.Allow, "[granted] [files=*.json files=a.* limit-bytes=100 max-tokens=9]"},
		{"two grants, one for the file", sallyport.ModelPull, "b.json", [][]string{{"files=*.json"}, {"files=a.*"}}, sallyport.Allow, "[granted] [files=*.json limit-bytes=100]"},
		{"a wide one beside", sallyport.ModelPull, "a.bin", [][]string{{"files=*.json"}, nil}, sallyport.Allow, "[granted] [limit-bytes=100]"},
		{"permitted without the grant", sallyport.ModelInfer, "", [][]string{{"max-tokens=1"}}, sallyport.Allow, "[granted use] [limit-bytes=100]"},
		{"a policy's own scope: outside one glob", sallyport.ModelRead, "README.md", nil, sallyport.Deny, "[data.scope] []"},
		{"a policy's own scope: the whole", sallyport.ModelRead, "", nil, sallyport.Allow, "[cards] [files=*.md files=docs/**]"},
	} {
		q := question(test.action)
		q.File = test.file
		b := basis()
		for i, o := range test.grants {
			b.Grants = append(b.Grants, decision.Grant{ID: fmt.Sprint("G-", i), Actions: []sallyport.Action{test.action}, From: q.At.Add(-time.Hour), Until: q.At.Add(time.Hour), Obligations: obliges(t, o...)})
		}
		f := decision.Facts{Basis: prepare(t, e, b), Question: q}
		d := decision.Decide(e, f)
		var got []string
		for _, o := range d.Obligations {
			got = append(got, o.String())
		}
		if text := fmt.Sprint(d.ReasonIDs(), " ", got); d.Outcome != test.outcome || text != test.want {
			t.Errorf("%s: %v %s, want %v %s", test.name, d.Outcome, text, test.outcome, test.want)
		}
		replayed(t, e, f, d)
	}
	if !slices.Contains(sallyport.ObligationKinds(), sallyport.OnlyFiles) {
		t.Error("files is no kind")
	}
}
