package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/authz/decision"
	"sallyport/internal/web/api"
)

// lower has somebody approve a request for a class that is less strict, and wants a status of the answer.
func (r *story) lower(asked api.Thing, who string, status int) {
	r.t.Helper()
	all, err := r.As(who).who.client.Lowerings(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	at := slices.IndexFunc(all, func(x api.Lowering) bool { return x.ID == asked.Request })
	if at < 0 {
		if status != http.StatusNotFound {
			r.t.Errorf("%s finds no request %q", who, asked.Request)
		}
		return
	}
	_, err = r.As(who).who.client.VoteLowering(r.t.Context(), all[at], api.Vote{Yes: true, Reason: "looked at it"})
	r.heard("approve the label", err)
	r.WantStatus(status)
}

// AZ-10: what was agreed for one purpose is not used for another, from the next request on.
func TestAZ10PurposeDrift(t *testing.T) {
	r := tell(t)
	r.As("ana").Infer(base)
	r.Want(allowed)
	say := func(who string, purposes ...string) {
		t.Helper()
		_, err := r.As(who).who.client.Purposes(t.Context(), api.Thing{Resource: base, Purposes: purposes, Why: "as agreed"})
		r.heard("purposes", err)
	}
	say("ana", "anything")
	r.Want(denied)
	say("rita", "evaluation", "No Name")
	r.WantStatus(400)
	_, err := r.As("rita").who.client.Purposes(t.Context(), api.Thing{Resource: base, Purposes: []string{"evaluation"}, Why: "as agreed\x1b[2J"})
	r.heard("a reason that clears the reader's screen", err)
	r.WantStatus(400)
	_, err = r.As("rita").who.client.Label(t.Context(), api.Thing{Resource: base, Class: sallyport.Restricted, Why: strings.Repeat("x", 501)})
	r.heard("a reason that fills the log", err)
	r.WantStatus(400)
	say("rita", "evaluation")
	r.WantStatus(200)
	t.Cleanup(func() {
		if _, err := r.As("rita").who.client.Purposes(after(t), api.Thing{Resource: base, Why: "the story is over"}); err != nil {
			t.Error(err)
		}
	})
	r.As("ana").Infer(base)
	r.Want(denied, "purpose.drift")
	say("rita")
	r.As("ana").Infer(base)
	r.Want(allowed)
}

// AZ-9: from development to staging to production, one step at a time, the same digest all the way, and not back.
func TestAZ9OneWayThroughTheEnvironments(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	before, err := r.As("ana").who.client.Manifest(t.Context(), fraud)
	if err != nil {
		t.Fatal(err)
	}
	promote := func(to sallyport.Environment, status int) {
		t.Helper()
		_, err := r.As("oto").who.client.Promote(t.Context(), api.Thing{Resource: before.Ref(), Environment: to})
		r.heard("promote", err)
		r.WantStatus(status)
	}
	if before.Environment != sallyport.Development {
		t.Fatalf("a push made a version in %s", before.Environment)
	}
	r.Until(9) // production does not change at night
	promote(sallyport.Production, http.StatusConflict)
	promote(sallyport.Staging, http.StatusOK)
	promote(sallyport.Development, http.StatusConflict)
	r.As("oto").Send(request{door: client.API, method: http.MethodPost, path: "/api/v1/catalog/promote?resource=" + url.QueryEscape(before.Ref()),
		body: `{"environment":"production"}`})
	r.Want(denied, decision.TargetMissing)
	r.As("oto").Send(request{door: client.API, method: http.MethodPost, path: "/api/v1/catalog/promote?to=staging&resource=" + url.QueryEscape(before.Ref()),
		body: `{"environment":"production"}`})
	r.WantStatus(http.StatusBadRequest)
	r.Until(21) // entering production is a change of production
	promote(sallyport.Production, http.StatusForbidden)
	r.Want(denied, "production.office-hours")
	r.Until(6)
	promote(sallyport.Production, http.StatusOK)
	promote(sallyport.Staging, http.StatusConflict)
	now, err := r.As("ana").who.client.Manifest(t.Context(), before.Ref())
	if err != nil || now.Environment != sallyport.Production || now.Digest != before.Digest {
		t.Errorf("in the end it is %s in %s, %v; it was %s", now.Digest, now.Environment, err, before.Digest)
	}
}

// AZ-4: what somebody did is in the next questions about them, stands in the decision, and is there after a restart.
func TestAZ4HistoryIsInTheQuestion(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	for range 3 {
		r.As("ana").Pull(fraud)
		r.Want(denied)
	}
	r.As("ana").Infer(base)
	r.Want(allowed)
	var u api.Usage
	soon(func() bool {
		var err error
		if u, err = r.As("ana").who.client.Usage(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		return u.Short.Denials >= 3 && u.Short.Models >= 1
	})
	if u.Person != "user:ana" || u.Short.Denials < 3 || u.Month.Denials < 3 || u.Short.Models < 1 {
		t.Fatalf("usage: %+v", u)
	}
	_, err := r.As("ana").who.client.Usage(t.Context(), "user:eva")
	r.heard("usage", err)
	r.Want(denied)
	r.As("ana.admin").Infer(base) // her second account is the same person
	l, _ := r.decided(r.last.decision)
	if n := strings.Fields(l.Asked.History); len(n) != 12 || n[1] == "0" || n[1] == "1" || n[1] == "2" {
		t.Errorf("the decision records the history %q", l.Asked.History)
	}
	r.As("eva").Infer(base)
	if l, _ = r.decided(r.last.decision); strings.HasPrefix(l.Asked.History, fmt.Sprint(u.Short.Bytes, " ", u.Short.Denials)) {
		t.Errorf("eva's history is %q", l.Asked.History)
	}
}

// A grant for a part of a version opens that part, over every door that can keep to it, and no more.
func TestDataScopeOverTheDoors(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	x, err := r.As("ana").who.client.Ask(t.Context(), api.Ask{Action: sallyport.ModelPull, Resource: fraud, For: "5m", Why: "looks at the head of it", Scope: []string{"files=*.safetensors", "range=0-99"}})
	r.heard("ask", err)
	r.WantStatus(200)
	if !strings.Contains(x.Subject, "files=*.safetensors, range=0-99") {
		t.Errorf("who approves reads %q", x.Subject)
	}
	r.As("rita").Approve(x)
	r.WantStatus(200)
	data := modelFiles(fraud, 256<<10)[weights]
	for _, door := range []request{{door: client.Hub, path: hubFile(fraud, weights)}, {door: client.Vault, path: vaultFile(fraud, weights)}} {
		r.As("ana").Send(door)
		r.WantStatus(http.StatusRequestedRangeNotSatisfiable)
		door.header = map[string]string{"Range": "bytes=10-99"}
		r.As("ana").Send(door)
		r.WantStatus(http.StatusPartialContent)
		if string(r.last.body) != string(data[10:100]) {
			t.Errorf("%s: %d bytes came", door.path, len(r.last.body))
		}
		l, why := r.decided(r.last.decision)
		if !slices.Equal(l.Obligations, []string{"files=*.safetensors", "range=0-99"}) {
			t.Errorf("decided under %v", l.Obligations)
		}
		if why.Completed == nil || !strings.Contains(string(why.Completed.Leaf), `"b":90`) {
			t.Errorf("completed: %+v", why.Completed)
		}
	}
}
