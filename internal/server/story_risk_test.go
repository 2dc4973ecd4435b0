package server_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

// findings returns the open findings about somebody by a rule, as a reviewer sees them.
func (r *story) findings(who sallyport.PrincipalID, rule string) []api.Finding {
	r.t.Helper()
	all, err := r.As("rita").who.client.Findings(r.t.Context(), "")
	if err != nil {
		r.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(f api.Finding) bool { return f.Who != who || f.Rule != rule })
}

// notices are somebody's, read ones too.
func (r *story) notices(name, kind string) []api.Notice {
	r.t.Helper()
	all, err := r.As(name).who.client.Notices(r.t.Context(), true)
	if err != nil {
		r.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(n api.Notice) bool { return n.Kind != kind })
}

// RE-7, ID-8: a report acts before anybody reads it. Somebody who was tricked reports it, and what runs under a proof of
// some time ago is cut, because it must be proved anew; a finding is opened, and those who run the system are told.
func TestRE7ReportsActAtOnce(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.Big()
	r.Later(20 * time.Minute) // the proof of the morning
	download := r.As("ana").Begin(request{door: client.Hub, path: hubFile(big, weights)}, true)
	began := time.Now()
	done, err := r.As("ana").who.client.Report(t.Context(), api.Report{What: "phish", About: "a mail from it-desk\x1b[2J"})
	if err != nil {
		t.Fatal(err)
	}
	if len(done.Cut) != 1 || done.Cut[0].Decision != download.decision || len(done.Did) < 2 {
		t.Errorf("the report brought about %+v", done)
	}
	t.Logf("in force after %s, %d bytes after the order, answered after %s", done.InForce, done.Cut[0].AfterCut, time.Since(began))
	close(download.goOn)
	if r.End(download); download.whole() {
		t.Error("the download went on to its end")
	}
	r.As("ana").Pull(big)
	r.Want(stepUp, "risk.ask-again", "risk.prove-again")
	r.As("ana").Infer(big)
	r.Want(allowed) // what is not sensitive goes on

	risk, err := r.As("ana").who.client.MyRisk(t.Context())
	if err != nil || len(risk.Raised) != 1 || risk.Raised[0].Points != 60 || len(risk.Sessions) == 0 || risk.Sessions[0].Score < 60 || risk.Sessions[0].Factors[0].Kind != "raised" || risk.Note == "" {
		t.Errorf("her own risk: %+v, %v", risk, err)
	}
	r.eventually("the finding, answered", func() bool {
		f := r.findings("user:ana", "reported")
		return len(f) == 1 && f[0].State == "answered" && strings.Contains(f[0].Did[0], "alert: told ") && !strings.Contains(f[0].Detail["about"], "\x1b")
	})
	r.eventually("the notice to who runs the system", func() bool { return len(r.notices("adam", "reported")) == 1 })

	// Looked at by somebody else, it was nothing: what is held against her ends, and she was told that it was looked at.
	other, err := r.As("rita").who.client.Risk(t.Context(), "user:ana")
	if err != nil || len(other.Raised) != 1 {
		t.Fatalf("her risk, as a reviewer sees it: %+v, %v", other, err)
	}
	r.eventually("the notice that somebody looked", func() bool { return len(r.notices("ana", "looked")) == 1 })
	if _, err := r.As("ana").who.client.ClearRisk(t.Context(), other.Raised[0].ID); err == nil {
		t.Error("she clears what is held against herself")
	}
	if _, err := r.As("rita").who.client.ClearRisk(t.Context(), other.Raised[0].ID); err != nil {
		t.Fatal(err)
	}
	r.As("ana").Pull(big)
	r.Want(allowed)
}

// RE-7: a session that somebody else began is ended with what it approved; the one that reports goes on.
func TestRE7WasntMe(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ana := r.As("ana")
	if _, err := ana.who.client.Report(t.Context(), api.Report{What: "weather"}); err == nil {
		t.Error("the weather is reported")
	}
	if _, err := ana.who.client.Report(t.Context(), api.Report{What: "lost-device"}); err == nil {
		t.Error("a device is lost that nobody has")
	}
	if _, err := ana.who.client.Report(t.Context(), api.Report{What: "wasnt-me", ID: "S-NOTHING"}); err == nil {
		t.Error("a session is ended that is not there")
	}
	r.As("eva").Infer(base)
	theirs := r.last.decision
	if _, err := ana.who.client.Report(t.Context(), api.Report{What: "wasnt-me", ID: theirs}); err == nil {
		t.Error("somebody else's decision is one's own")
	}
	list, err := ana.who.client.Sessions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var browser string
	for _, s := range list {
		if s.Kind == "browser" {
			browser = s.ID
		}
	}
	if err := ana.who.login(t.Context()); err != nil { // another login: two families now
		t.Fatal(err)
	}
	clear(ana.who.tokens)
	before, err := ana.who.client.Sessions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done, err := ana.who.client.Report(t.Context(), api.Report{What: "wasnt-me"})
	if err != nil {
		t.Fatal(err)
	}
	after, err := ana.who.client.Sessions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(before) < 3 || len(after) > 2 || !slices.ContainsFunc(after, func(s api.Session) bool { return s.Current }) {
		t.Errorf("%d sessions before, %d after: %+v", len(before), len(after), done)
	}
	for _, s := range after {
		if !s.Current && s.ID != browser {
			t.Errorf("%s is left", s.ID)
		}
	}
}

// ID-8, TK-2: a refresh token that is used twice is found, raises the risk of the person's other sessions, and tells them
// and those who run the system; all of it stands in the log.
func TestID8ATheftIsFound(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.Join("theo", "evaluator", "org:acme")
	theo := r.As("theo").who
	r.As("theo").Infer(base)
	r.Want(allowed)
	stolen := theo.refreshToken()
	if status, body := r.refresh(stolen); status != 200 {
		t.Fatalf("the thief gets %d: %s", status, body)
	}
	r.refresh(stolen)
	r.eventually("the finding, answered", func() bool {
		f := r.findings("user:theo", "token-reused")
		return len(f) == 1 && f[0].State == "answered" && strings.HasPrefix(f[0].Subject, "family:") && len(f[0].Did) == 4
	})
	f := r.findings("user:theo", "token-reused")[0]
	if err := theo.login(t.Context()); err != nil {
		t.Fatal(err)
	}
	clear(theo.tokens)
	if got := r.notices("theo", "finding.token-reused"); len(got) != 1 || !strings.Contains(got[0].Text, "report wasnt-me") {
		t.Errorf("theo was told %+v", got)
	}
	if got := r.notices("adam", "alert.token-reused"); len(got) != 1 || !strings.Contains(got[0].Text, f.ID) {
		t.Errorf("adam was told %+v", got)
	}
	risk, err := theo.client.MyRisk(t.Context())
	if err != nil || len(risk.Raised) != 1 || risk.Raised[0].Points != 60 {
		t.Errorf("his risk: %+v, %v", risk, err)
	}
	recorded := map[sallyport.EventType]bool{}
	for _, l := range r.leaves() {
		if l.Detail["finding"] == f.ID || strings.Contains(l.Detail["why"], f.ID) {
			recorded[l.Type] = true
		}
	}
	for _, kind := range []sallyport.EventType{sallyport.EventFinding, sallyport.EventRiskChanged, sallyport.EventAlarm, sallyport.EventSessionRevoked} {
		if !recorded[kind] {
			t.Errorf("the log has no %s of it", kind)
		}
	}
	closed, err := r.As("rita").who.client.CloseFinding(t.Context(), f.ID, api.Verdict{Verdict: "benign", Why: "a copied directory"})
	if err != nil || closed.State != "closed" || !slices.Contains(closed.Undone, risk.Raised[0].ID) {
		t.Errorf("closed: %+v, %v", closed, err)
	}
	if risk, err := theo.client.MyRisk(t.Context()); err != nil || len(risk.Raised) != 0 {
		t.Errorf("his risk after it was nothing: %+v, %v", risk, err)
	}
	if _, err := r.As("ana").who.client.Findings(t.Context(), ""); err == nil {
		t.Error("everybody reads findings")
	}
	rules, err := r.As("rita").who.client.Tripwires(t.Context())
	if err != nil || len(rules) < 10 {
		t.Errorf("%d rules, %v", len(rules), err)
	}
}

// What is known of sign-ins is made anew from the log, and is the same then.
func TestRiskIsRelearned(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.As("ana")
	var before api.Risk
	r.eventually("what is known after a sign-in", func() (known bool) {
		var err error
		before, err = r.As("ana").who.client.MyRisk(t.Context())
		return err == nil && before.SignIns > 0 && before.From != ""
	})
	if err := r.As("adam").who.client.RelearnRisk(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.eventually("the same as before", func() bool {
		now, err := r.As("ana").who.client.MyRisk(t.Context())
		return err == nil && now.SignIns == before.SignIns && now.From == before.From
	})
	if err := r.As("ana").who.client.RelearnRisk(t.Context()); err == nil {
		t.Error("everybody makes it anew")
	}
}

// RS-2: break-glass over the API. Without a hardware key the answer is what is needed, not a refusal; strangers know of
// nothing.
func TestRS2BreakGlassAsksForAHardwareKey(t *testing.T) {
	r := tell(t)
	adam := r.As("adam").who.client
	b, err := adam.DefineBreakGlass(t.Context(), api.BreakGlass{Name: "restore", Openers: []string{"user:ana"}, Role: "operator", Scope: "org:acme", For: "1h", Why: "nobody can sign in"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := adam.DefineBreakGlass(t.Context(), api.BreakGlass{Name: "long", Openers: []string{"user:ana"}, Role: "operator", Scope: "org:acme", For: "5h", Why: "x"}); err == nil {
		t.Error("five hours are granted")
	}
	for _, name := range []string{"rita", "ravi"} {
		c := r.As(name).who.client
		all, err := c.Emergencies(t.Context())
		if err != nil || len(all.Rights) != 1 || all.Rights[0].Hash == "" {
			t.Fatalf("%s sees %+v, %v", name, all, err)
		}
		if _, err := c.VoteBreakGlass(t.Context(), b.Request, "acme/fraud", api.Vote{Yes: true, Hash: all.Rights[0].Hash}); err == nil {
			t.Error("a vote counts on something else")
		}
		if _, err := c.VoteBreakGlass(t.Context(), b.Request, "org:acme", api.Vote{Yes: true, Hash: all.Rights[0].Hash}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	_, err = r.As("ana").who.client.OpenBreakGlass(t.Context(), "restore", "fire")
	r.heard("open", err)
	r.WantStatus(http.StatusUnauthorized)
	if r.last.api.Needs != "aal3" {
		t.Errorf("it needs %q", r.last.api.Needs)
	}
	_, err = r.As("eva").who.client.OpenBreakGlass(t.Context(), "restore", "fire")
	r.heard("open", err)
	r.WantStatus(http.StatusNotFound)
	if all, err := r.As("eva").who.client.Emergencies(t.Context()); err != nil || len(all.Rights) != 0 {
		t.Errorf("eva knows of %+v, %v", all, err)
	}
	if all, err := r.As("ana").who.client.Emergencies(t.Context()); err != nil || len(all.Rights) != 1 || all.Rights[0].Sealed.IsZero() {
		t.Errorf("ana knows of %+v, %v", all, err)
	}
}
