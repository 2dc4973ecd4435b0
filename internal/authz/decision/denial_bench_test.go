package decision_test

import (
	"io/fs"
	"testing"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
)

// BenchmarkDenial measures refusals under acme's policies, the search for ways out included: one that nothing helps
// against, one that needs proof and a grant, and one that waits for the morning.
func BenchmarkDenial(b *testing.B) {
	text := map[string]string{}
	files, _ := fs.Glob(acme.Files, "policies/*.cedar")
	for _, name := range files {
		t, _ := fs.ReadFile(acme.Files, name)
		text[name] = string(t)
	}
	engine, err := cedar.Compile(policy.Source{Schema: cedar.Schema, Policies: text})
	if err != nil {
		b.Fatal(err)
	}
	for name, c := range map[string]struct {
		action sallyport.Action
		class  sallyport.Class
		role   string
	}{
		"plain":      {sallyport.ModelPush, sallyport.Internal, "reader"},
		"export":     {sallyport.ModelExport, sallyport.Restricted, "reader"},
		"restricted": {sallyport.ModelPull, sallyport.Restricted, "model-developer"},
	} {
		x := basis()
		x.Resource.Class = c.class
		x.Entities[2].Attrs["class"] = str(string(c.class))
		x.Entities[0].Parents = []policy.UID{uid("Role", c.role)}
		q := question(c.action)
		q.Bound = true
		f := decision.Facts{Basis: prepare(b, engine, x), Question: q}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				decision.Decide(engine, f)
			}
		})
	}
}
