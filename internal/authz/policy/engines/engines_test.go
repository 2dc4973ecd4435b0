package engines_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/policy/engines"
	"sallyport/internal/authz/policy/policytest"
	"sallyport/internal/authz/policy/rego"
)

// TestConformance runs the suite of all engines on both.
func TestConformance(t *testing.T) {
	for name, of := range map[engines.Language]func(policytest.Set) policy.Source{
		engines.Cedar: func(s policytest.Set) policy.Source { return s.Cedar },
		engines.Rego:  func(s policytest.Set) policy.Source { return s.Rego },
	} {
		t.Run(string(name), func(t *testing.T) {
			policytest.Run(t, func(t testing.TB, s policytest.Set) policy.Engine {
				e, err := engines.Compile(of(s))
				if err != nil {
					t.Fatalf("%s: %v", s.Name, err)
				}
				return e
			})
		})
	}
}

// TestTheFilesChooseTheEngine: each language by its own engine, both together by none.
func TestTheFilesChooseTheEngine(t *testing.T) {
	for dir, language := range map[string]engines.Language{"policies": engines.Cedar, "rego": engines.Rego} {
		src, err := engines.Read(acme.Files, dir)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := engines.Of(src); err != nil || got != language {
			t.Errorf("%s is in %q, error %v", dir, got, err)
		}
		e, err := engines.Compile(src)
		if err != nil {
			t.Fatal(err)
		}
		_, isCedar := e.(*cedar.Engine)
		_, isRego := e.(*rego.Engine)
		if isCedar != (language == engines.Cedar) || isRego != (language == engines.Rego) {
			t.Errorf("%s is read by %T", dir, e)
		}
		if src.Schema = cedar.Schema; src.Version() != e.Version() {
			t.Errorf("%s: the version of a set without a schema is not that of one with the program's own", dir)
		}
		src.Policies["x.cedar"], src.Policies["x.rego"] = "", "package x"
		if e, err := engines.Compile(src); e != nil || sallyport.KindOf(err) != sallyport.Invalid || !strings.Contains(err.Error(), "two languages") {
			t.Errorf("%s with files of both: %T, error %v", dir, e, err)
		}
	}
	if e, err := engines.Compile(policy.Source{Policies: map[string]string{"a.rego": "package"}}); e != nil || err == nil {
		t.Errorf("a set that is refused is %v, error %v", e, err)
	}
}

func TestRead(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for name, x := range map[string]struct {
		files fstest.MapFS
		want  string // names, or what the error says
	}{
		"cedar with other files": {fstest.MapFS{"p/a.cedar": file(""), "p/entities.json": file("{}"), "p/notes.md": file("")}, "a.cedar"},
		"rego with its tests":    {fstest.MapFS{"p/a.rego": file(""), "p/a_test.rego": file(""), "p/policies.json": file("{}")}, "a.rego policies.json"},
		"both":                   {fstest.MapFS{"p/a.rego": file(""), "p/b.cedar": file("")}, "two languages"},
		"only documents":         {fstest.MapFS{"p/policies.json": file("{}")}, "no .cedar and no .rego"},
		"two schemas":            {fstest.MapFS{"p/a.cedar": file(""), "p/a.cedarschema": file("x"), "p/b.cedarschema": file("x")}, "two schemas"},
		"no directory":           {fstest.MapFS{}, "cannot be read"},
		"a file too large":       {fstest.MapFS{"p/a.cedar": file(strings.Repeat("/", 9<<20))}, "more than"},
	} {
		src, err := engines.Read(x.files, "p")
		if err != nil {
			if !strings.Contains(err.Error(), x.want) || sallyport.KindOf(err) != sallyport.Invalid {
				t.Errorf("%s: %v, want %q", name, err, x.want)
			}
			continue
		}
		for f := range src.Policies {
			if !strings.Contains(x.want, f) {
				t.Errorf("%s: has %s", name, f)
			}
		}
		if len(src.Policies) != len(strings.Fields(x.want)) {
			t.Errorf("%s: %v", name, src.Policies)
		}
	}
}
