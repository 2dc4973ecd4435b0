package server_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

// GV-9: a version leaves development only when somebody answers for its model in each of four ways; what a leaver answered
// for waits for a successor, and until there is one nothing is promoted.
func TestGV9SomebodyAnswersForEveryAsset(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	adam, ctx := r.As("adam").who.client, t.Context()
	before, err := r.As("ana").who.client.Manifest(ctx, fraud)
	if err != nil {
		t.Fatal(err)
	}
	about := func(resource string) api.Duties {
		t.Helper()
		all, err := adam.Duties(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all {
			if d.Resource == resource {
				return d
			}
		}
		t.Fatalf("nobody is said to answer for %s: %+v", resource, all)
		return api.Duties{}
	}
	if d := about("org:acme"); len(d.Missing) != 0 || strings.Join(d.Responder, " ") != "user:ravi" {
		t.Fatalf("to begin with: %+v", d)
	}
	_, err = r.As("ana").who.client.SetDuties(ctx, api.Duties{Resource: fraud, Approver: []string{"user:ana"}})
	r.heard("name herself", err)
	r.Want(denied)

	if _, err := adam.Leave(ctx, "user:ravi", api.Leave{Why: "last day"}); err != nil {
		t.Fatal(err)
	}
	waiting, err := adam.Successors(ctx)
	if err != nil || len(waiting) != 1 || waiting[0].Thing != "responder:org:acme" || waiting[0].From != "user:ravi" {
		t.Fatalf("what ravi answered for: %+v, %v", waiting, err)
	}
	r.Until(9) // production does not change at night
	promote := func(status int) {
		t.Helper()
		_, err := r.As("oto").who.client.Promote(ctx, api.Thing{Resource: before.Ref(), Environment: sallyport.Staging})
		r.heard("promote", err)
		r.WantStatus(status)
	}
	promote(http.StatusConflict)
	if want := "sallyport catalog own " + fraud + " --responder NAME"; !strings.Contains(r.last.api.Message, "no responder") || !strings.Contains(r.last.api.Message, want) {
		t.Errorf("the refusal does not say %q: %s", want, r.last.api.Message)
	}
	_, err = adam.SetDuties(ctx, api.Duties{Resource: fraud, Responder: []string{"user:ravi"}})
	r.heard("name a leaver", err)
	r.WantStatus(http.StatusBadRequest)
	if _, err := adam.AssignSuccessor(ctx, api.Successor{Thing: "responder:org:acme", To: "user:eva"}); err != nil {
		t.Fatal(err)
	}
	promote(http.StatusOK)
	if waiting, err = adam.Successors(ctx); err != nil || len(waiting) != 0 {
		t.Errorf("still waiting: %+v, %v", waiting, err)
	}

	// Whoever is named as approver is told that they are, and everybody else who may approve is told too.
	if _, err := adam.SetDuties(ctx, api.Duties{Resource: "project:acme/risk", Approver: []string{"user:rita"}}); err != nil {
		t.Fatal(err)
	}
	r.As("ana").Request(sallyport.ModelPull, fraud, "1h")
	var list []api.Notice
	if !soon(func() bool {
		if list, err = r.As("rita").who.client.Notices(ctx, false); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(list, func(n api.Notice) bool {
			return n.Kind == "request.new" && strings.Contains(n.Text, "You are named as the one who approves access")
		})
	}) {
		t.Fatalf("rita is not told: %+v", list)
	}
}
