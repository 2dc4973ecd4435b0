package server_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

// AZ-9: two roles that are kept apart do not meet in one person by way of groups: not by joining one, by a second account, by
// a service of theirs, by a group that is put into another, or by an identity provider's word.
func TestAZ9GroupsDoNotUniteWhatIsKeptApart(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	corp := r.corp() // acme/ml makes models
	r.restartWith(func() { r.config.Separate = [][2]string{{"model-developer", "security-reviewer"}} })
	ctx, adam := t.Context(), r.As("adam").who.client
	for _, g := range []string{"acme/reviewers", "acme/staff-of-ml"} {
		if _, err := adam.DefineGroup(ctx, api.Group{Name: g}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := adam.Assign(ctx, api.Assignment{Subject: "group:acme/reviewers", Role: "security-reviewer", Scope: "org:acme"}); err != nil {
		t.Fatal(err)
	}
	ends := r.clock.Now().Add(90 * 24 * time.Hour)
	for _, m := range []api.Member{{ID: "user:kay", Org: "acme", Groups: []string{"acme/reviewers"}}, {ID: "user:kay.two", Person: "user:kay", Org: "acme"},
		{ID: "service:kays", Person: "user:kay", Org: "acme", Purpose: "builds", Ends: ends}, {ID: "user:lou", Org: "acme", Groups: []string{"acme/ml"}}} {
		if _, err := adam.AddPerson(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	join := func(id sallyport.PrincipalID, group string) error {
		_, err := adam.Join(ctx, id, api.Group{Name: group})
		return err
	}
	refused := func(what string, err error) {
		t.Helper()
		r.heard(what, err)
		r.WantStatus(http.StatusConflict)
		if !strings.Contains(r.last.api.Message, "user:kay would have both model-developer and security-reviewer") {
			t.Errorf("%s: %q", what, r.last.api.Message)
		}
	}
	for _, id := range []sallyport.PrincipalID{"user:kay", "user:kay.two", "service:kays"} {
		refused(string(id)+" joins", join(id, "acme/ml"))
	}
	_, err := adam.AddPerson(ctx, api.Member{ID: "user:kay.three", Person: "user:kay", Org: "acme", Groups: []string{"acme/ml"}})
	refused("a third account", err)
	if slices.ContainsFunc(r.everybody(), func(m api.Member) bool { return m.ID == "user:kay.three" }) {
		t.Error("the account is there all the same")
	}
	_, err = adam.DefineGroup(ctx, api.Group{Name: "acme/reviewers", Parents: []string{"acme/ml"}})
	refused("nesting", err)
	if err := join("user:kay", "acme/staff-of-ml"); err != nil {
		t.Errorf("a group without a role: %v", err)
	}
	_, err = adam.DefineGroup(ctx, api.Group{Name: "acme/staff-of-ml", Parents: []string{"acme/ml"}})
	refused("nesting around somebody", err)

	// From outside: SCIM hears why, and nobody is half in a group.
	okta := r.provider("okta")
	mia := okta.do("POST", "/Users", userBody("mia"), 201)["id"].(string)
	if err := join("user:mia", "acme/reviewers"); err != nil {
		t.Fatal(err)
	}
	makers := okta.do("POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Makers"}`, 201)["id"].(string)
	if _, err := adam.Assign(ctx, api.Assignment{Subject: "group:acme/makers", Role: "model-developer", Scope: "project:acme/risk"}); err != nil {
		t.Fatal(err)
	}
	e := okta.do("PATCH", "/Groups/"+makers, patchBody(`{"op":"add","path":"members","value":[{"value":"`+mia+`"}]}`), 409)
	if detail, _ := e["detail"].(string); !strings.Contains(detail, "would have both") {
		t.Errorf("the source reads %v", e)
	}
	if g := okta.do("GET", "/Groups/"+makers, "", 200); g["members"] != nil {
		t.Errorf("the group has %v", g["members"])
	}

	// A sign-in with a provider's word goes on without the membership, and it is found.
	zed, err := r.newPerson("zed")
	if err != nil {
		t.Fatal(err)
	}
	says(corp, "zed", false)
	r.arrives(zed, r.throughCorp(zed, corp), http.StatusOK, "")
	if err := join("user:zed", "acme/reviewers"); err != nil {
		t.Fatal(err)
	}
	again, err := r.newPerson("zed")
	if err != nil {
		t.Fatal(err)
	}
	says(corp, "zed", false, "/ml")
	r.arrives(again, r.throughCorp(again, corp), http.StatusOK, "acme/reviewers")
	if m := memberOf(t, r, "user:zed"); !slices.Equal(m.Groups, []string{"acme/reviewers"}) {
		t.Errorf("zed is in %v", m.Groups)
	}
	r.eventually("the finding", func() bool { return len(r.findings("user:zed", "roles-apart")) == 1 })

	// What one role alone gives is given.
	if err := join("user:lou", "acme/staff-of-ml"); err != nil {
		t.Error(err)
	}
}
