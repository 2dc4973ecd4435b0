package paths_test

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cast"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/policy/paths"
)

// world is acme with further policies.
func world(t testing.TB, more string) (*cedar.Engine, *cast.Cast) {
	t.Helper()
	src := policy.Source{Schema: cedar.Schema, Policies: map[string]string{"more.cedar": more}}
	files, err := fs.Glob(acme.Files, "policies/*.cedar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := acme.Files.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		src.Policies[path.Base(f)] = string(b)
	}
	e, err := cedar.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	text, err := acme.Files.ReadFile("acme.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := cast.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return e, c
}

// AZ-17: every kind of chain is found, and one that an edit opens is undeclared.
func TestAZ17UndeclaredChains(t *testing.T) {
	const right = "model.pull@acme/base-7b@v2"
	e, c := world(t, "")
	was, err := paths.To(e, c, sallyport.ModelPull, "acme/base-7b@v2")
	if err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + strings.Join(was, "\n"))
	for _, kind := range []string{"role: ", "assignment: ", "grant: ", "policy: ", "impersonation: "} {
		if !slices.ContainsFunc(was, func(s string) bool { return strings.HasPrefix(s, kind) }) {
			t.Errorf("no chain of the kind %q", kind)
		}
	}
	declared, err := paths.Parse("paths.txt", right+"\n\t"+strings.Join(was, "\n\t")+"\n")
	if err != nil {
		t.Fatal(err)
	}
	if d, err := paths.Compare(e, c, declared); err != nil || len(d) != 0 {
		t.Errorf("what is declared differs: %+v, %v", d, err)
	}
	for name, test := range map[string]struct{ more, want string }{
		"a group":   {`permit (principal in Group::"acme/staff", action == Action::"model.pull", resource);`, "group: members of acme/staff"},
		"an owner":  {`permit (principal is User, action == Action::"model.pull", resource is Version) when { resource.owners.contains(principal.person) };`, "owner: an owner of the resource"},
		"a name":    {`permit (principal == User::"bo", action == Action::"model.pull", resource);`, "name: user:bo, by x"},
		"a role":    {`permit (principal in Role::"business-user", action == Action::"model.pull", resource);`, "role: business-user as User"},
		"everybody": {`permit (principal is User, action == Action::"model.pull", resource);`, "anybody: every User"},
		"approving": {`permit (principal in Role::"operator", action == Action::"grant.approve", resource);`, "grant: to anybody who asks, approved by operator or security-reviewer"},
		"assigning": {`permit (principal in Role::"operator", action == Action::"identity.administer", resource is System);`, "assignment: operator makes somebody model-developer"},
		"policies":  {`permit (principal in Role::"operator", action == Action::"policy.approve", resource);`, "policy: proposed by administrator or policy-ci as Service, approved by operator or security-reviewer, activated by administrator"},
		"emergency": {`permit (principal in Role::"break-glass-data", action == Action::"model.pull", resource);`, "break-glass: break-glass-data"},
		"a program": {`permit (principal in Role::"auditor", action == Action::"model.pull", resource);`, "role: auditor as Service"},
	} {
		e, c := world(t, `@id("x") @owner("o") @requirement("AZ-1") `+test.more)
		d, err := paths.Compare(e, c, declared)
		if err != nil || len(d) != 1 || !slices.Contains(d[0].Undeclared, test.want) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func TestParse(t *testing.T) {
	for text, good := range map[string]bool{
		"": true, "# nothing\n": true, "model.pull@acme/fraud\n\trole: x as User\n": true, "model.pull@acme/fraud\n": true,
		"\trole: x\n": false, "model.fly@acme/fraud\n": false, "model.pull\n": false, "model.pull@acme/fraud\n  nothing\n": false,
		"model.pull@acme/fraud\nmodel.pull@acme/fraud\n": false, "model.pull@../x\n": false, strings.Repeat("\n", 20_000): false,
	} {
		if _, err := paths.Parse("p", text); (err == nil) != good {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("model.pull@acme/fraud@v1\n\trole: operator as User\n# x\n")
	f.Fuzz(func(t *testing.T, s string) {
		all, err := paths.Parse("p", s)
		for _, x := range all {
			if err == nil && (x.Action == "" || x.Resource == "") {
				t.Errorf("%+v", x)
			}
		}
	})
}
