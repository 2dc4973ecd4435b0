package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

// after outlives the test's own, for what is put right at its end.
func after(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }

// wantCut checks that the log tells of a transfer that it was cut and what of it
// was delivered: no more than was counted, no less than came; and because of one of
// the reasons, where there are any. After a jump of the clock the facts are stale for
// a moment, which ends a transfer as well.
func (r *story) wantCut(d *transfer, reasons ...string) {
	r.t.Helper()
	var w api.Why
	soon(func() bool {
		_, w = r.decided(d.decision)
		return w.Completed != nil && w.Cut != nil
	})
	if w.Cut == nil || w.Completed == nil {
		r.t.Errorf("the log tells of %s: cut %v, completed %v", d.decision, w.Cut != nil, w.Completed != nil)
		return
	}
	cut, _ := sallyport.DecodeLogged(w.Cut.Leaf)
	done, err := sallyport.DecodeLogged(w.Completed.Leaf)
	if err != nil || done.Delivered == nil || done.Delivered.End != "cut" {
		r.t.Errorf("the end of %s is %+v, error %v", d.decision, done.Delivered, err)
		return
	}
	came := d.got.Load()
	if i := bytes.LastIndex(d.text, []byte("data: {\"error\"")); i > 0 {
		came = int64(i) // the rest is ours: the event that says why
	}
	if done.Delivered.Bytes < came {
		r.t.Errorf("%s: %d bytes came, the log has %d", d.decision, came, done.Delivered.Bytes)
	}
	why := strings.Join(cut.Reasons, " ")
	if len(reasons) > 0 && !slices.ContainsFunc(reasons, func(one string) bool { return strings.Contains(why, one) }) {
		r.t.Errorf("%s was cut because of %q", d.decision, cut.Reasons)
	}
}

// begun starts a download and a stream that both go on for long.
func (r *story) begun(model string) (download, stream *transfer) {
	r.t.Helper()
	download = r.Begin(request{door: client.Hub, path: hubFile(model, weights)}, true)
	stream = r.Begin(chat(model, true, 0), false)
	return download, stream
}

// wantBroken checks that both broke off, and that the stream said why.
func (r *story) wantBroken(download, stream *transfer) {
	r.t.Helper()
	close(download.goOn)
	if r.End(download); download.whole() {
		r.t.Errorf("the download went on to its end: %d bytes", download.got.Load())
	}
	r.End(stream)
	if !strings.Contains(string(stream.text), `"error"`) || strings.Contains(string(stream.text), "[DONE]") {
		r.t.Errorf("the stream ended with %q", stream.text[max(0, len(stream.text)-300):])
	}
	r.wantCut(download)
	r.wantCut(stream)
}

// A-27, I-28, I-23: a lock refuses what is new, cuts what runs, reports it, and is
// lifted by another person with a reason.
func TestLockCutsWhatRuns(t *testing.T) {
	r := tell(t)
	r.Big()
	download, stream := r.As("ana").begun(big)
	h := r.As("rita").Lock("user:ana")
	r.WantStatus(200)
	cut := map[string]api.Cut{}
	for _, c := range h.Cut {
		cut[c.Decision] = c
	}
	for _, d := range []*transfer{download, stream} {
		if c, ok := cut[d.decision]; !ok || c.Who != "user:ana" || c.Bytes <= 0 {
			t.Errorf("the report of the lock has %+v for %s", c, d.decision)
		}
	}
	for _, c := range h.Cut {
		t.Logf("cut %s: %d bytes, %d after the order, ended %v, in force in %s", c.Action, c.Bytes, c.AfterCut, c.Ended, h.InForce)
	}
	if h.InForce == "" || !h.Active {
		t.Errorf("the report is %+v", h)
	}
	r.wantBroken(download, stream)

	r.As("ana").Infer(big)
	r.Want(held).WantStatus(403)
	r.As("ana").Pull(big)
	r.Want(held)
	r.As("eva").Infer(big)
	r.Want(allowed) // others go on

	r.As("rita").Unlock(h, "it was nothing")
	r.WantStatus(409) // who placed it does not lift it
	r.As("ana.admin").Unlock(h, "it was nothing")
	if r.last.status < 400 {
		t.Error("the held person lifted the lock with a second account")
	}
	r.As("ravi").Unlock(h, "")
	r.WantStatus(400)
	r.As("eva").Unlock(h, "please")
	r.WantStatus(403)
	r.As("ana").Infer(big)
	r.Want(held)
	r.As("ravi").Unlock(h, "it was nothing")
	r.WantStatus(200)
	r.As("ana").Infer(big)
	r.Want(allowed)
	r.As("ravi").Unlock(h, "again")
	if r.last.status < 400 {
		t.Error("a lock was lifted twice")
	}

	download, stream = r.As("ana").begun(big)
	h = r.As("rita").Lock("model:" + big) // a model, too, and everybody on it
	r.WantStatus(200)
	r.wantBroken(download, stream)
	r.As("eva").Infer(big)
	r.Want(held)
	r.As("ana").Infer(fraud)
	r.Want(allowed)
	r.As("ravi").Unlock(h, "it was nothing")
	r.WantStatus(200)
	r.As("eva").Infer(big)
	r.Want(allowed)
	r.liftsNameOthers()
}

// liftsNameOthers reads I-23 from the trail: every lift names a person other than
// who placed the hold, and a reason.
func (r *story) liftsNameOthers() {
	r.t.Helper()
	placed, lifted := map[string]sallyport.PrincipalID{}, 0
	for _, l := range r.leaves() {
		switch l.Type {
		case sallyport.EventHoldPlaced:
			placed[l.Detail["hold"]] = l.Who
		case sallyport.EventHoldLifted:
			lifted++
			if by, ok := placed[l.Detail["hold"]]; !ok || by == l.Who || l.Detail["why"] == "" {
				r.t.Errorf("%s lifted hold %s of %s, why %q", l.Who, l.Detail["hold"], by, l.Detail["why"])
			}
		}
	}
	if lifted == 0 {
		r.t.Error("the trail has no lift")
	}
}

// I-28: whoever is suspended loses sessions, refresh tokens, grants and what runs.
func TestSuspendedPersonHasNothingLeft(t *testing.T) {
	r := tell(t)
	r.Big()
	r.Join("sue", "evaluator", "org:acme")
	r.As("rita").Approve(r.As("sue").Request(sallyport.ModelPull, big, "1h"))
	r.WantStatus(200)
	sue := r.As("sue").who
	download, stream := r.As("sue").begun(big)
	for _, d := range client.Doors() {
		if _, err := sue.token(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	refresh := sue.refreshToken()
	if _, err := r.As("adam").who.client.SetState(t.Context(), "user:sue", "suspended"); err != nil {
		t.Fatal(err)
	}
	r.wantBroken(download, stream)
	r.As("sue").Infer(big)
	r.WantStatus(401)
	r.As("sue").Pull(big)
	r.WantStatus(401)
	r.As("sue").PullVault(big)
	r.WantStatus(401)
	r.As("sue").Send(request{door: client.API, path: api.Version + "/whoami"})
	r.WantStatus(401)
	if status, body := r.refresh(refresh); status != 400 {
		t.Errorf("A-04: a refresh after suspension: %d %s", status, body)
	}
	if at, err := sue.open(t.Context(), r.server.External()+"/account"); err != nil || at.path != "/login" {
		t.Errorf("the browser session still opens %s, error %v", at.path, err)
	}
	if at, err := sue.open(t.Context(), r.server.External()+"/login"); err != nil {
		t.Error(err)
	} else if at, err = sue.signIn(t.Context(), at); err == nil && at.path == landing {
		t.Error("a suspended person signed in")
	}
	grants, err := r.As("alba").who.client.Grants(t.Context(), true)
	hers := slices.DeleteFunc(grants, func(g api.Grant) bool { return g.Who != "user:sue" })
	if err != nil || len(hers) != 1 || hers[0].Active {
		t.Errorf("her grants are %+v, error %v", hers, err)
	}

	// Who comes back begins anew: nothing of the old comes back to life.
	if _, err := r.As("adam").who.client.SetState(t.Context(), "user:sue", "active"); err != nil {
		t.Fatal(err)
	}
	r.As("sue").Infer(big)
	r.WantStatus(401)
	if status, _ := r.refresh(refresh); status != 400 {
		t.Errorf("an old refresh token is good again: %d", status)
	}
	if err := sue.login(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.As("sue").Pull(big)
	r.Want(denied) // the grant is gone
}

// A-04, I-28: whoever leaves a group loses what it gave them, in what runs too; and
// no refresh brings it back.
func TestA04LeavingAGroup(t *testing.T) {
	r := tell(t)
	adam := r.As("adam").who.client
	_, err := adam.DefineGroup(t.Context(), api.Group{Name: "acme/callers"})
	if err == nil {
		_, err = adam.Assign(t.Context(), api.Assignment{Subject: "group:acme/callers", Role: "evaluator", Scope: "org:acme"})
	}
	if err != nil {
		t.Fatal(err)
	}
	r.Join("gil", "", "")
	r.As("gil").Infer(base)
	r.Want(denied)
	if _, err := adam.Join(t.Context(), "user:gil", api.Group{Name: "acme/callers"}); err != nil {
		t.Fatal(err)
	}
	r.As("gil").Infer(base)
	r.Want(allowed)
	stream := r.As("gil").Begin(chat(base, true, 0), false)
	if _, err := adam.Join(t.Context(), "user:gil", api.Group{Name: "acme/callers", Remove: true}); err != nil {
		t.Fatal(err)
	}
	r.End(stream)
	r.wantCut(stream, "default.deny")
	r.As("gil").Infer(base)
	r.Want(denied)
	clear(r.As("gil").who.tokens)
	r.As("gil").Infer(base) // with a token from now
	r.Want(denied)
}

// Signing out everywhere ends every session and what runs under them.
func TestLogoutEverywhere(t *testing.T) {
	r := tell(t)
	r.Join("lou", "evaluator", "org:acme")
	lou := r.As("lou").who
	stream := r.As("lou").Begin(chat(base, true, 0), false)
	refresh := lou.refreshToken()
	h, err := lou.client.LogoutEverywhere(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, c := range h.Cut {
		found = found || c.Decision == stream.decision
	}
	if !found {
		t.Errorf("the running stream %s is not among what was cut: %+v", stream.decision, h.Cut)
	}
	r.End(stream)
	r.wantCut(stream, "session")
	r.As("lou").Infer(base)
	r.WantStatus(401)
	if status, _ := r.refresh(refresh); status != 400 {
		t.Errorf("a refresh after signing out everywhere: %d", status)
	}
	if at, err := lou.open(t.Context(), r.server.External()+"/account"); err != nil || at.path != "/login" {
		t.Errorf("the browser is still signed in: %s, %v", at.path, err)
	}
}

// A label that is changed bites on the next request, and on what runs.
func TestLabelChangeBites(t *testing.T) {
	r := tell(t)
	r.Big()
	r.As("ana").Pull(big)
	r.Want(allowed)
	download := r.As("ana").Begin(request{door: client.Hub, path: hubFile(big, weights)}, true)
	_, err := r.As("ana").who.client.Label(t.Context(), api.Thing{Resource: big, Class: sallyport.Public, Why: "mine"})
	r.heard("label", err)
	r.Want(denied)
	_, err = r.As("rita").who.client.Label(t.Context(), api.Thing{Resource: big, Class: sallyport.Restricted})
	r.heard("label", err)
	r.WantStatus(400) // a reason is needed
	_, err = r.As("rita").who.client.Label(t.Context(), api.Thing{Resource: big, Class: sallyport.Restricted, Why: "customers' names in it"})
	r.heard("label", err)
	r.WantStatus(200)
	r.As("ana").Pull(big)
	r.Want(denied, "weights.restricted-need-a-grant")
	close(download.goOn)
	if r.End(download); download.whole() {
		t.Error("the running download went on to its end")
	}
	r.wantCut(download, "weights.restricted-need-a-grant")
	asked, err := r.As("rita").who.client.Label(t.Context(), api.Thing{Resource: big, Class: sallyport.Internal, Why: "they are out of it"})
	r.heard("label", err)
	r.WantStatus(200)
	r.As("ana").Pull(big)
	r.Want(denied, "weights.restricted-need-a-grant") // it is asked for, and not done
	r.lower(asked, "rita", 409)                       // nobody approves what they asked for
	r.lower(asked, "ravi", 200)
	r.As("ana").Pull(big)
	r.Want(allowed)
	r.lower(asked, "ravi", 404) // it is done, and no request any more
}

// A policy set that is activated changes the answers, is in the log before, and
// can be changed back; old decisions are replayed under the old set.
func TestPolicyActivation(t *testing.T) {
	r := tell(t)
	r.As("ana").Infer(base)
	r.Want(allowed)
	before := r.last.decision
	old, err := r.As("adam").who.client.Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := api.Proposal{Schema: old.Schema, Policies: map[string]string{}, Why: "no calls for now"}
	for name, text := range old.Policies {
		next.Policies[name] = text
	}
	next.Policies["stop.cedar"] = `@id("stop.use") @owner("security") @requirement("AZ-6") @text("Nobody calls base for now.")
forbid (principal, action in Action::"use", resource is Version in Model::"acme/base");`
	stream := r.As("ana").Begin(chat(base, true, 0), false)

	_, err = r.As("ana").who.client.Propose(t.Context(), next)
	r.heard("propose", err)
	r.Want(denied)
	bad := next
	bad.Policies = map[string]string{"bad.cedar": "permit (principal, action, resource);"}
	_, err = r.As("adam").who.client.Propose(t.Context(), bad)
	r.heard("propose", err)
	r.WantStatus(400) // without owner and requirement
	r.As("ana").Infer(base)
	r.Want(allowed)

	set := r.InForce(next)
	if set.Version == old.Version {
		t.Fatalf("activated %q", set.Version)
	}
	r.End(stream)
	r.wantCut(stream, "stop.use")
	r.As("ana").Infer(base)
	r.Want(denied, "stop.use")
	r.As("ana").Infer(fraud)
	r.Want(allowed)
	r.replayed(before)
	r.policyIsLoggedFirst(set.Version)

	if again := r.InForce(api.Proposal{Schema: old.Schema, Policies: old.Policies, Why: "calls again"}); again.Version != old.Version {
		t.Fatalf("changed back to %q", again.Version)
	}
	r.As("ana").Infer(base)
	r.Want(allowed)
}

// replayed checks that a decision made again from the log is the same.
func (r *story) replayed(id string) {
	r.t.Helper()
	if _, w := r.decided(id); w.Replay == nil || !w.Replay.Same {
		r.t.Errorf("%s made again: %+v", id, w.Replay)
	}
}

// policyIsLoggedFirst checks I-11: the set is in the trail before any decision by it.
func (r *story) policyIsLoggedFirst(version string) {
	r.t.Helper()
	logged := false
	for _, l := range r.leaves() {
		switch l.Type {
		case sallyport.EventPolicy:
			logged = logged || l.On == version
		case sallyport.EventFacts:
			var b struct {
				Policy string `json:"policy"`
			}
			if err := json.Unmarshal(l.Basis, &b); err != nil {
				r.t.Fatal(err)
			}
			if b.Policy == version && !logged {
				r.t.Errorf("entry %d was decided by a set that was not in the log yet", l.Seq)
			}
		}
	}
	if !logged {
		r.t.Error("the set is not in the log")
	}
}
