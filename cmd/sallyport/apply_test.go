package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/authz/policy/cast"
	"sallyport/internal/web/api"
)

// What is wrong with an organisation's file is said before any server is asked, and costs no more than the file is long.
func TestApplyReadsItsFileStrictly(t *testing.T) {
	bomb := "organisation: &a0 acme\nprojects: &b0 [x]\n"
	for i := 1; i < 12; i++ {
		bomb += fmt.Sprintf("b%d: &b%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*b%d,", i-1), 10), ","))
	}
	path := filepath.Join(t.TempDir(), "org.yaml")
	for what, text := range map[string]string{
		"an unknown key":     "organisation: acme\ncolour: red\n",
		"a doubled key":      "organisation: acme\norganisation: acme\n",
		"a second document":  "organisation: acme\n---\norganisation: acme\n",
		"no name":            "projects: [risk]\n",
		"another type":       "organisation: acme\nprojects: {a: b}\n",
		"nothing":            "",
		"no YAML":            "\x00",
		"aliases of aliases": bomb,
		"an alias in itself": "organisation: acme\nprojects: &a [*a]\n",
		"lists in lists":     "organisation: acme\nprojects: " + strings.Repeat("[", 100_000) + "\n",
		"too long":           "organisation: acme\n#" + strings.Repeat("x", cast.MaxFile),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		text, err := readText(path)
		if err == nil {
			_, err = cast.Read([]byte(text))
		}
		if kind := sallyport.KindOf(err); kind != sallyport.Invalid && kind != sallyport.TooLarge {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What a file refers to and does not declare is on the server and stays as it is; what stands there twice, or contains
// itself, has no one meaning.
func TestApplyChangesOnlyWhatIsDeclared(t *testing.T) {
	steps := func(text string) (string, error) {
		t.Helper()
		o, err := cast.Read([]byte("organisation: acme\n" + text))
		if err != nil {
			t.Fatal(err)
		}
		p := &plan{file: o, roles: api.Roles{Roles: []api.Role{{Name: "reader", Inherits: []string{"guest"}}}}}
		if err = p.groups(); err == nil {
			err = p.roleSteps()
		}
		var all []string
		for _, s := range p.steps {
			all = append(all, s.what)
		}
		return strings.Join(all, ", "), err
	}
	for text, want := range map[string]string{
		"roles: [{name: scribe, inherits: [reader]}]":      "role scribe",
		"roles: [{name: reader, inherits: [guest]}]":       "",
		"roles: [{name: a, inherits: [b]}, {name: b}]":     "role b, role a",
		"groups: [{name: ml, in: [staff]}]":                "group acme/ml",
		"groups: [{name: ml, in: [staff]}, {name: staff}]": "group acme/staff, group acme/ml",
	} {
		if got, err := steps(text); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"roles: [{name: a, inherits: [a]}]", "groups: [{name: a, in: [b]}, {name: b, in: [a]}]",
		"roles: [{name: a}, {name: a, inherits: [administrator]}]", "groups: [{name: a}, {name: a, in: [b]}]"} {
		if got, err := steps(text); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}
