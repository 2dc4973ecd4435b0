package catalog

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sallyport"
)

func digest(c string) string { return strings.Repeat(c, 64) }

func anIndex() *Index {
	return NewIndex(Dump{
		Orgs: []Org{{Name: "acme"}}, Projects: []Project{{Org: "acme", Name: "risk"}},
		Models: []Model{
			{Org: "acme", Name: "fraud", Project: "risk", Class: sallyport.Internal, Owners: []sallyport.PrincipalID{"user:ana"},
				Aliases: map[string]string{"main": "v2", "stable": "v1", "old": "v3", "lost": "v9"}},
			{Org: "acme", Name: "chat"}, {Org: "other", Name: "fraud", Class: sallyport.Public, Aliases: map[string]string{"main": "v1"}},
		},
		Versions: []Version{
			{ID: "a", Org: "acme", Model: "fraud", Number: "v1", Digest: digest("1"), Environment: sallyport.Production},
			{ID: "b", Org: "acme", Model: "fraud", Number: "v2", Digest: digest("2"), Class: sallyport.Restricted, Environment: sallyport.Development},
			{ID: "c", Org: "acme", Model: "fraud", Number: "v3", Digest: digest("3"), Retired: true},
			{ID: "d", Org: "other", Model: "fraud", Number: "v1", Digest: digest("4"), Class: sallyport.Public},
		},
		Datasets:  []Dataset{{Org: "acme", Name: "claims", Owners: []sallyport.PrincipalID{"user:bob"}}},
		Endpoints: []Endpoint{{Org: "acme", Name: "chat", Class: sallyport.Public, Environment: sallyport.Staging}},
	})
}

// TestResolve: one name, one version, its class the stricter of two.
func TestResolve(t *testing.T) {
	x := anIndex()
	for name, want := range map[string]string{
		"acme/fraud":                       "version acme/fraud@v2 restricted development risk",
		"acme/fraud@main":                  "version acme/fraud@v2 restricted development risk",
		"acme/fraud@stable":                "version acme/fraud@v1 internal production risk",
		"acme/fraud@v1":                    "version acme/fraud@v1 internal production risk",
		"acme/fraud@sha256:" + digest("1"): "version acme/fraud@v1 internal production risk",
		"acme/fraud@" + digest("1")[:40]:   "version acme/fraud@v1 internal production risk",
		"other/fraud":                      "version other/fraud@v1 public  ",
		"acme/chat":                        "model acme/chat restricted  ",
		"dataset:acme/claims":              "dataset dataset:acme/claims restricted  ",
		"endpoint:acme/chat":               "endpoint endpoint:acme/chat public staging ",
		"org:acme":                         "organisation org:acme internal  ",
		"project:acme/risk":                "project project:acme/risk internal  risk",
		"system":                           "system system restricted  ",
		// What is not there, retired, of another model, or points nowhere.
		"acme/fraud@v3": "", "acme/fraud@old": "", "acme/fraud@lost": "", "acme/fraud@v9": "", "acme/fraud@sha256:" + digest("3"): "",
		"acme/fraud@sha256:" + digest("4"): "", "acme/fraud@" + digest("1")[:39]: "", "acme/none": "", "none/fraud": "", "acme/chat@v1": "", "acme/chat@main": "",
		"dataset:acme/none": "", "endpoint:acme/none": "", "org:none": "", "project:acme/none": "",
	} {
		ref, err := sallyport.ParseRef(name)
		if err != nil {
			t.Fatal(err)
		}
		r, ok := x.Resolve(ref)
		got := ""
		if ok {
			got = fmt.Sprint(r.Kind, " ", r, " ", r.Class, " ", r.Environment, " ", r.Project)
		}
		if got != want {
			t.Errorf("%s resolves to %q, want %q", name, got, want)
		}
	}
}

func TestIndexLists(t *testing.T) {
	x := anIndex()
	var all []string
	for _, r := range x.All() {
		all = append(all, r.String())
	}
	if want := []string{"acme/chat", "acme/fraud@v2", "dataset:acme/claims", "endpoint:acme/chat", "other/fraud@v1"}; !slices.Equal(all, want) {
		t.Errorf("All = %v, want %v", all, want)
	}
	if m := x.Models(); len(m) != 3 || m[0].String() != "acme/chat" || m[2].String() != "other/fraud" {
		t.Errorf("Models = %v", m)
	}
	fraud, _ := x.Resolve(sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "fraud"})
	claims, _ := x.Resolve(sallyport.Ref{Kind: sallyport.DatasetKind, Org: "acme", Name: "claims"})
	org, _ := x.Resolve(sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "acme"})
	if o := fmt.Sprint(x.Owners(fraud), x.Owners(claims), x.Owners(org), x.Owners(sallyport.Resource{Kind: sallyport.DatasetKind})); o != "[user:ana] [user:bob] [] []" {
		t.Errorf("owners %s", o)
	}
	if v, ok := x.Version(fraud); !ok || v.ID != "b" {
		t.Errorf("Version = %+v, %t", v, ok)
	}
	fraud.Digest = digest("1")
	if v, ok := x.Version(fraud); ok {
		t.Errorf("a number with another digest is %+v", v)
	}
	if v, ok := x.VersionByID("acme", "fraud", "c"); !ok || !v.Retired {
		t.Errorf("VersionByID = %+v, %t", v, ok)
	}
	for _, id := range []string{"", "d", "x"} {
		if v, ok := x.VersionByID("acme", "fraud", id); ok {
			t.Errorf("VersionByID(%q) = %+v", id, v)
		}
	}
	if m, ok := x.Model("acme", "fraud"); !ok || m.Project != "risk" {
		t.Errorf("Model = %+v, %t", m, ok)
	}
	if _, ok := x.Model("acme", "none"); ok {
		t.Error("a model that is not there")
	}
	if Commit(digest("1")) != digest("1")[:40] || Commit("short") != "short" {
		t.Error("Commit")
	}
}

// TestStricterNeverLowers: a version is at least as strict as its model, whatever
// is stored.
func TestStricterNeverLowers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		any := rapid.SampledFrom([]sallyport.Class{"", sallyport.Public, sallyport.Internal, sallyport.Restricted})
		m := Model{Org: "o", Name: "m", Class: any.Draw(t, "model"), Aliases: map[string]string{"main": "v1"}}
		v := Version{Org: "o", Model: "m", Number: "v1", Digest: digest("1"), Class: any.Draw(t, "version")}
		r, ok := NewIndex(Dump{Models: []Model{m}, Versions: []Version{v}}).Resolve(sallyport.Ref{Kind: sallyport.ModelKind, Org: "o", Name: "m"})
		if !ok || rank(r.Class) < rank(class(m.Class)) || v.Class != "" && rank(r.Class) < rank(v.Class) {
			t.Fatalf("a %q version of a %q model resolves to %v", v.Class, m.Class, r)
		}
	})
}

// TestNoAliasLooksPinned: an alias can never be read as a number, a commit or a digest.
func TestNoAliasLooksPinned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alias := rapid.OneOf(rapid.StringMatching(`v[0-9]{1,4}`), rapid.StringMatching(`[0-9a-f]{40}`), rapid.StringMatching(`[0-9a-f]{64}`)).Draw(t, "alias")
		if checkAlias("test", alias) == nil {
			t.Fatalf("the alias %q is accepted", alias)
		}
	})
	for _, alias := range []string{"main", "v", "v1-rc", "v1.2", "stable", "deadbeef"} {
		if err := checkAlias("test", alias); err != nil {
			t.Errorf("%s: %v", alias, err)
		}
	}
}
