package server_test

import (
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/audit/trail"
	"sallyport/internal/authz/policy/paths"
	"sallyport/internal/web/api"
)

// AZ-17: every chain that leads to a right, in the directory of a running server: those that acme has written down, and one more
// as soon as an assignment, a group or an agent opens it, with who has the right by it now.
func TestAZ17PathsOfTheLivingDirectory(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	text, err := acme.Files.ReadFile("paths.txt")
	if err != nil {
		t.Fatal(err)
	}
	declared, err := paths.Parse("paths.txt", string(text))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.As("adam").who.client.DefineRole(ctx, api.Role{Name: "policy-ci"}); err != nil { // as in acme's file
		t.Fatal(err)
	}
	rita := r.As("rita").who.client
	ask := func(right string) map[string][]sallyport.PrincipalID {
		t.Helper()
		x, err := rita.Paths(ctx, right)
		if err != nil {
			t.Fatalf("%s: %v", right, err)
		}
		all := map[string][]sallyport.PrincipalID{}
		for _, c := range x.Chains {
			all[c.Chain] = c.Who
		}
		return all
	}
	held := 0
	for _, d := range declared {
		right := string(d.Action) + "@" + d.Resource
		if _, err := rita.Paths(ctx, right); err != nil && strings.Contains(err.Error(), "there is no ") {
			continue // the story has not all of acme's things
		}
		held++
		for chain := range ask(right) {
			if !slices.Contains(d.Chains, chain) {
				t.Errorf("%s: nobody wrote down %q", right, chain)
			}
		}
	}
	if held < 5 {
		t.Errorf("only %d rights were held to what is written down", held)
	}
	const right, byGroup = "model.deploy@acme/fraud@v1", "group: members of acme/staff are operator on project:acme/risk"
	before := ask(right)
	if who := before["role: operator as User"]; !slices.Contains(who, "user:oto") || slices.Contains(who, "user:nora") {
		t.Errorf("who has it now: %v", before)
	}
	if _, there := before[byGroup]; there {
		t.Error("the group has it before it was given")
	}
	adam := r.As("adam").who.client
	if _, err := adam.Assign(ctx, api.Assignment{Subject: "group:acme/staff", Role: "operator", Scope: "project:acme/risk"}); err != nil {
		t.Fatal(err)
	}
	after := ask(right)
	if who := after[byGroup]; len(who) == 0 {
		t.Errorf("what the group opens: %v", after)
	}
	for _, chain := range []string{"assignment: administrator makes somebody operator", "impersonation: administrator makes an enrolment link for somebody who may",
		"policy: proposed by administrator or policy-ci as Service, approved by security-reviewer, activated by administrator"} {
		if who, there := after[chain]; !there || len(who) != 0 {
			t.Errorf("%s: %v", chain, who)
		}
	}
	_, err = rita.Paths(ctx, "model.deploy@acme/nothing")
	r.heard("paths to nothing", err)
	r.WantStatus(404)
	_, err = rita.Paths(ctx, "model.fly@acme/fraud")
	r.heard("paths to no right", err)
	r.WantStatus(400)
	_, err = r.As("nora").who.client.Paths(ctx, right)
	r.heard("paths by somebody who may not read the policy", err)
	r.Want(denied)
}
