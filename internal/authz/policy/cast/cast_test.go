package cast_test

import (
	"strings"
	"testing"

	"sallyport/examples/acme"
	"sallyport/internal/authz/policy/cast"
)

// An organisation is read strictly: what is misspelt, doubled or not declared is an error.
func TestParse(t *testing.T) {
	file, err := acme.Files.ReadFile("acme.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := cast.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Principals()) < 15 || len(c.Resources()) < 15 || len(c.Roles()) < 10 || len(c.Groups()) < 4 {
		t.Errorf("%d principals, %d resources, %d roles, %d groups", len(c.Principals()), len(c.Resources()), len(c.Roles()), len(c.Groups()))
	}
	if _, err := c.Basis("nobody", "acme/fraud"); err == nil {
		t.Error("the facts of nobody")
	}
	if _, err := c.Basis("ana", "acme/nothing"); err == nil {
		t.Error("the facts of nothing")
	}
	for what, edit := range map[string][2]string{
		"an unknown key":         {"organisation: acme", "organisation: acme\nnonsense: 1"},
		"an undeclared group":    {"groups: [risk-scorers]", "groups: [riskscorers]"},
		"an undeclared role":     {"role: evaluator\n", "role: evaluators\n"},
		"an undeclared resource": {"on: acme/base-7b", "on: acme/base-8b"},
		"an undeclared person":   {"owner: ana\n", "owner: anna\n"},
		"a doubled key":          {"organisation: acme", "organisation: acme\norganisation: acme"},
		"no name":                {"organisation: acme", "organisation: ''"},
		"a second document":      {"organisation: acme", "organisation: other\n---\norganisation: acme"},
	} {
		text := strings.Replace(string(file), edit[0], edit[1], 1)
		if text == string(file) {
			t.Errorf("%s: nothing was edited", what)
		}
		if _, err := cast.Parse([]byte(text)); err == nil {
			t.Errorf("%s is read", what)
		}
	}
}

func FuzzParse(f *testing.F) {
	file, err := acme.Files.ReadFile("acme.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte("organisation: a\nmodels:\n  - name: m\n    project: p\n    versions:\n      - number: v1\n        pushedBy: user:x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := cast.Parse(text)
		if err != nil {
			return
		}
		for _, who := range c.Principals() {
			for _, x := range c.Resources() {
				if _, err := c.Basis(string(who), x); err != nil {
					t.Errorf("%s on %s: %v", who, x, err)
				}
			}
		}
	})
}
