package server_test

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

// Just in time: ask, have somebody else say yes, take, and it ends by itself.
func TestJustInTime(t *testing.T) {
	r := tell(t)
	r.As("ana").Pull(fraud)
	r.Want(denied, "weights.restricted-need-a-grant")
	_, why := r.decided(r.last.decision)
	if len(why.Remedies) == 0 || !strings.HasPrefix(why.Remedies[0].Command, "sallyport request model.pull acme/fraud") {
		t.Errorf("the denial names the way out %+v", why.Remedies)
	}
	x := r.As("ana").Request(sallyport.ModelPull, fraud, "5m")
	r.WantStatus(200)
	if x.State != "pending" || x.Need != 1 {
		t.Errorf("the request is %+v", x)
	}
	r.As("ana").Pull(fraud)
	r.Want(denied) // asking is not having

	r.As("ana").Approve(x)
	r.Want(denied) // she has no right to approve
	r.As("ana.admin").Approve(x)
	r.WantStatus(409) // has the right, and is the same person: A-18, I-10
	if r.last.decision != "" {
		t.Error("the second account was refused by a policy, not for being the same person")
	}
	if inbox, err := r.As("ana.admin").who.client.Inbox(t.Context()); err != nil || len(inbox) != 0 {
		t.Errorf("her second account finds %d of her own requests in its inbox, error %v", len(inbox), err)
	}
	inbox, err := r.As("rita").who.client.Inbox(t.Context())
	if err != nil || len(inbox) != 1 || inbox[0].ID != x.ID {
		t.Fatalf("rita finds %+v in her inbox, error %v", inbox, err)
	}
	after := r.As("rita").Approve(inbox[0])
	r.WantStatus(200)
	if after.State != "approved" || after.Grant == nil || after.Grant.Who != "user:ana" {
		t.Fatalf("approved: %+v", after)
	}
	r.As("ana").Pull(fraud)
	r.Want(allowed, "weights.granted")
	if want := modelFiles(fraud, 256<<10)[weights]; !bytes.Equal(r.last.body, want) {
		t.Error("other bytes came than were pushed")
	}
	r.As("ana").PullVault(fraud)
	r.Want(allowed, "weights.granted")
	r.As("eva").Pull(fraud)
	r.Want(denied) // the grant is hers alone
	r.As("ana").Pull(keel)
	r.Want(denied) // and for one model

	r.Later(4 * time.Minute) // what the story itself takes comes on top of it
	r.As("ana").Pull(fraud)
	r.Want(allowed, "weights.granted")
	r.Later(time.Minute)
	r.As("ana").Pull(fraud)
	r.Want(denied, "weights.restricted-need-a-grant") // nobody did anything
	grants, err := r.As("ana").who.client.Grants(t.Context(), false)
	if err != nil || len(grants) != 1 || grants[0].Active {
		t.Errorf("ana's grants are %+v, error %v", grants, err)
	}
	r.As("rita").Approve(inbox[0])
	r.WantStatus(409) // an approval is used once: A-19
	r.As("ana").Pull(fraud)
	r.Want(denied)
}

// A grant ends while it is being used: the download breaks off.
func TestGrantEndsADownload(t *testing.T) {
	r := tell(t)
	r.Big()
	r.As("rita").Approve(r.As("eva").Request(sallyport.ModelPull, big, "1m"))
	r.WantStatus(200)
	d := r.As("eva").Begin(request{door: client.Hub, path: hubFile(big, weights)}, true)
	for range 3 {
		r.Later(20 * time.Second) // at once it would be cut for what is known being too old
	}
	soon(func() bool { // until the sweep has come by; what follows are bytes that had left before
		_, w := r.decided(d.decision)
		return w.Cut != nil
	})
	close(d.goOn)
	if r.End(d); d.whole() {
		t.Errorf("all %d bytes came although the grant had ended", d.got.Load())
	}
	r.wantCut(d, "default.deny", "facts.stale")
}

// withdrawAtEnd takes ana's request back when the story is over.
func (r *story) withdrawAtEnd(x api.Request) {
	ana := r.As("ana").who.client
	r.t.Cleanup(func() {
		if _, err := ana.Withdraw(after(r.t), x.ID); err != nil {
			r.t.Error(err)
		}
	})
}

// nobody approves their own request, by no account of theirs, no service and
// no group that they are put into meanwhile.
func TestA18NobodyApprovesTheirOwn(t *testing.T) {
	r := tell(t)
	x := r.As("ana").Request(sallyport.ModelPull, fraud, "5m")
	r.withdrawAtEnd(x)
	adam := r.As("adam").who.client
	if _, err := adam.AddPerson(t.Context(), api.Member{ID: "service:ana-bot", Person: "user:ana", Org: "acme", Purpose: "approves", Ends: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if _, err := adam.Assign(t.Context(), api.Assignment{Subject: "service:ana-bot", Role: "security-reviewer", Scope: "org:acme"}); err != nil {
		t.Fatal(err)
	}
	can, err := r.As("rita").who.client.Can(t.Context(), client.Can{As: "service:ana-bot", Action: sallyport.GrantApprove, Resource: fraud})
	if err != nil || can.Outcome != denied {
		t.Errorf("a service may approve: %+v, %v", can, err)
	}
	given, err := adam.Assign(t.Context(), api.Assignment{Subject: "user:ana", Role: "security-reviewer", Scope: "project:acme/risk"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := adam.Unassign(after(t), given.ID); err != nil {
			t.Error(err)
		}
	})
	for _, account := range []string{"ana", "ana.admin"} {
		r.As(account).Approve(x)
		r.WantStatus(409)
	}
	r.As("ana").Pull(fraud)
	r.Want(denied)
}

// a vote is for exactly what was asked, on the resource that was asked.
func TestA19AnApprovalIsForExactlyWhatWasAsked(t *testing.T) {
	r := tell(t)
	x := r.As("ana").Request(sallyport.ModelPull, fraud, "5m")
	r.withdrawAtEnd(x)
	edited := x
	edited.Hash = strings.Repeat("0", len(x.Hash))
	r.As("rita").Approve(edited)
	r.WantStatus(409)
	elsewhere := x
	elsewhere.Resource = base
	r.As("rita").Approve(elsewhere)
	r.WantStatus(404)
	r.As("ana").Pull(fraud)
	r.Want(denied)
}

// a grant is for the version that was asked about. What moves into its place
// was not approved.
func TestA19AGrantDoesNotFollowTheName(t *testing.T) {
	r := tell(t)
	const pinned = "acme/pinned"
	if _, err := r.As("adam").who.client.Add(t.Context(), api.Thing{Resource: pinned, Project: "acme/risk", Class: sallyport.Restricted}); err != nil {
		t.Fatal(err)
	}
	push := func(size int) {
		if err := r.push(t.Context(), r.As("ana").who, pinned, size); err != nil {
			t.Fatal(err)
		}
	}
	push(4 << 10)
	x := r.As("eva").Request(sallyport.ModelPull, pinned, "5m")
	r.WantStatus(200)
	if x.Resource != pinned+"@v1" {
		t.Errorf("the request is about %s", x.Resource)
	}
	r.As("rita").Approve(x)
	r.WantStatus(200)
	r.As("eva").Pull(pinned)
	r.Want(allowed, "weights.granted")
	push(8 << 10) // main is another version now
	r.As("eva").Pull(pinned)
	r.Want(denied, "weights.restricted-need-a-grant")
	r.As("eva").Send(request{door: client.Hub, path: "/hf/" + pinned + "/resolve/v1/" + weights})
	r.Want(allowed, "weights.granted")
}

// many approvals at once make one grant; none is used after the request's end.
func TestA20ApprovalsRace(t *testing.T) {
	r := tell(t)
	x := r.As("eva").Request(sallyport.ModelPull, base, "5m")
	r.WantStatus(200)
	var racing sync.WaitGroup
	for _, name := range []string{"rita", "ravi"} {
		c := r.As(name).who.client
		for range 4 {
			racing.Go(func() { _, _ = c.Vote(t.Context(), x, true, "fine") })
		}
	}
	racing.Wait()
	grants, err := r.As("eva").who.client.Grants(t.Context(), false)
	grants = slices.DeleteFunc(grants, func(g api.Grant) bool { return !g.Active || !strings.HasPrefix(g.Resource, base) })
	if err != nil || len(grants) != 1 {
		t.Fatalf("%d grants are active, error %v", len(grants), err)
	}
	r.As("eva").Pull(base)
	r.Want(allowed, "weights.granted")
	if _, err := r.As("rita").who.client.RevokeGrant(t.Context(), grants[0].ID, base); err != nil {
		t.Error(err)
	}
	r.As("eva").Pull(base)
	r.Want(denied)
}

// at the API: what changes rights takes a bearer token and never a
// cookie, whatever another site sends.
func TestA11CookiesOpenNoAPI(t *testing.T) {
	r := tell(t)
	x := r.As("ana").Request(sallyport.ModelPull, fraud, "5m")
	r.withdrawAtEnd(x)
	rita := r.As("rita").who
	for _, q := range []struct{ path, body string }{
		{"/requests/" + x.ID + "/vote?resource=" + url.QueryEscape(fraud), `{"yes":true,"reason":"x","hash":"` + x.Hash + `","at":"2026-01-01T00:00:00Z"}`},
		{"/holds?resource=system", `{"target":"user:eva","why":"x"}`},
		{"/policy", `{"version":"","policies":{"a.cedar":""},"why":"x"}`},
	} {
		for _, origin := range []string{"null", "https://evil.example", r.server.External()} {
			h := r.Nobody().build(t.Context(), request{method: http.MethodPost, path: api.Version + q.path, body: q.body,
				header: map[string]string{"Origin": origin, "Content-Type": "text/plain"}})
			a, err := rita.web.Do(h) // with rita's cookies
			if err != nil {
				t.Fatal(err)
			}
			a.Body.Close()
			if a.StatusCode != http.StatusUnauthorized {
				t.Errorf("POST %s from %q with a cookie alone: %d", q.path, origin, a.StatusCode)
			}
		}
	}
	for _, path := range []string{"/login", "/logout", "/stepup", "/account/revoke-all", "/oauth/consent", "/activate/decide"} {
		h := r.Nobody().build(t.Context(), request{method: http.MethodPost, path: path, body: "x=1",
			header: map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "application/x-www-form-urlencoded"}})
		a, err := rita.web.Do(h)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != http.StatusForbidden {
			t.Errorf("a form of another site to %s: %d", path, a.StatusCode)
		}
	}
	if _, err := rita.client.Who(t.Context()); err != nil {
		t.Errorf("rita was signed out by another site: %v", err)
	}
}

// AZ-15: rights without an end are counted, of each kind that a directory has, and what ends by itself or with its account
// is not one of them.
func TestStandingRights(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx, adam := t.Context(), r.As("adam").who.client
	now := r.clock.Now()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []api.Member{
		{ID: "user:stan", Org: "acme", Groups: []string{"acme/staff"}},
		{ID: "user:stan.two", Person: "user:stan", Org: "acme"},
		{ID: "service:stan-bot", Person: "user:stan", Org: "acme", Purpose: "counts", Ends: now.Add(24 * time.Hour)},
		{ID: "user:gus", Org: "acme", Guest: true, Sponsor: "user:stan", Ends: now.Add(24 * time.Hour)},
	} {
		must(adam.AddPerson(ctx, m))
	}
	for _, a := range []api.Assignment{
		{Subject: "user:stan", Role: "reader", Scope: "project:acme/risk"}, // without end
		{Subject: "group:acme/staff", Role: "evaluator", Scope: "project:acme/risk"},
		{Subject: "user:stan", Role: "operator", Scope: "project:acme/risk", Until: now.Add(time.Hour)},
		{Subject: "user:stan.two", Role: "reader", Scope: "project:acme/risk"},
		{Subject: "service:stan-bot", Role: "reader", Scope: "project:acme/risk"},
		{Subject: "user:gus", Role: "reader", Scope: "project:acme/risk"},
	} {
		must(adam.Assign(ctx, a))
	}
	x := r.As("ana").Request(sallyport.ModelPull, fraud, "5m")
	r.As("rita").Approve(x)
	all := func() map[sallyport.PrincipalID]api.Standing {
		t.Helper()
		by := map[sallyport.PrincipalID]api.Standing{}
		list, err := r.As("rita").who.client.Standing(ctx)
		must(nil, err)
		for i, s := range list {
			if by[s.Who] = s; i > 0 && list[i-1].Standing < s.Standing || s.Standing != len(s.Rights) {
				t.Errorf("not the most first, or not all of them: %+v", list)
			}
		}
		return by
	}
	by := all()
	for who, want := range map[sallyport.PrincipalID][2]int{"user:stan.two": {1, 0}, "service:stan-bot": {0, 1}, "user:gus": {0, 1}} {
		if got := by[who]; got.Standing != want[0] || got.Ending != want[1] {
			t.Errorf("%s: %+v, want %d standing and %d ending", who, got, want[0], want[1])
		}
	}
	stan := by["user:stan"]
	if !slices.Contains(stan.Rights, "reader on project:acme/risk") || !slices.Contains(stan.Rights, "evaluator on project:acme/risk by group:acme/staff") || stan.Ending != 1 || by["user:stan.two"].Person != "user:stan" {
		t.Errorf("stan: %+v, %+v", stan, by["user:stan.two"])
	}
	if by["user:ana"].Ending == 0 {
		t.Errorf("a grant counts as nothing: %+v", by["user:ana"])
	}
	r.Later(2 * time.Hour)
	if got := all()["user:stan"]; got.Ending != 0 || got.Standing != stan.Standing {
		t.Errorf("after the end of one: %+v", got)
	}
	if _, err := r.As("ana").who.client.Standing(ctx); err == nil {
		t.Error("whoever may not read the log counts others' rights")
	}
}
