package server_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/govern/drift"
	"sallyport/internal/web/api"
)

// opening is the newest opening of a right, as somebody sees it.
func (r *story) opening(who, name string) api.Opening {
	r.t.Helper()
	all, err := r.As(who).who.client.Emergencies(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	i := slices.IndexFunc(all.Openings, func(o api.Opening) bool { return o.Name == name })
	if i < 0 {
		r.t.Fatalf("%s sees no opening of %s", who, name)
	}
	return all.Openings[i]
}

// agree has people vote yes on an opening.
func (r *story) agree(o api.Opening, names ...string) {
	r.t.Helper()
	for _, name := range names {
		if _, err := r.As(name).who.client.VoteBreakGlass(r.t.Context(), o.Request, keel, api.Vote{Yes: true, Hash: r.opening(name, o.Name).Hash}); err != nil {
			r.t.Fatalf("%s: %v", name, err)
		}
	}
}

// RS-2: break-glass from its definition to its review, with a hardware key. Nothing works before two others agreed, the
// right ends by itself, everybody concerned hears of it, and somebody who had no part in it closes the record.
func TestRS2BreakGlassWithAHardwareKey(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	ana := r.As("ana").who
	if _, err := r.As("adam").who.client.Assign(ctx, api.Assignment{Subject: "user:nora", Role: "security-reviewer", Scope: "org:acme"}); err != nil {
		t.Fatal(err)
	}
	d, err := r.As("adam").who.client.DefineBreakGlass(ctx, api.BreakGlass{Name: "language", Openers: []string{"user:ana"}, Role: "evaluator", Scope: keel, For: "30m", Why: "the team of language is away"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = ana.client.OpenBreakGlass(ctx, "language", "it answers nonsense")
	r.heard("open what is not sealed", err).WantStatus(http.StatusNotFound)
	for _, name := range []string{"rita", "ravi"} {
		all, err := r.As(name).who.client.Emergencies(ctx)
		if err != nil || len(all.Rights) != 1 {
			t.Fatalf("%s sees %+v, %v", name, all, err)
		}
		if _, err := r.As(name).who.client.VoteBreakGlass(ctx, d.Request, keel, api.Vote{Yes: true, Hash: all.Rights[0].Hash}); err != nil {
			t.Fatal(err)
		}
	}

	// A code is not enough, nor is a passkey that may be copied, nor a hardware key of this morning.
	needs := func(what string) {
		t.Helper()
		_, err := ana.client.OpenBreakGlass(ctx, "language", "it answers nonsense")
		if r.heard(what, err).WantStatus(http.StatusUnauthorized); r.last.api.Needs != "aal3" {
			t.Errorf("%s: it needs %q", what, r.last.api.Needs)
		}
	}
	needs("with a code")
	soft, err := ana.passkey(ctx, false)
	if err == nil {
		err = ana.loginBy(ctx, soft)
	}
	if err != nil {
		t.Fatal(err)
	}
	needs("with a passkey in software")
	hard, err := ana.passkey(ctx, true)
	if err == nil {
		err = ana.loginBy(ctx, hard)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.Later(16 * time.Minute)
	needs("with an old proof")
	again := func() {
		t.Helper()
		at, err := ana.open(ctx, r.server.External()+"/login") // the browser's session at this level has ended meanwhile
		if err == nil && at.path == "/login" {
			_, err = ana.signIn(ctx, at)
		}
		if err == nil {
			err = ana.loginBy(ctx, hard)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	again()
	o, err := ana.client.OpenBreakGlass(ctx, "language", "it answers nonsense")
	if err != nil || o.State != "asked" {
		t.Fatalf("%+v, %v", o, err)
	}

	r.As("ana").Infer(keel)
	r.Want(denied)
	_, err = ana.client.VoteBreakGlass(ctx, o.Request, keel, api.Vote{Yes: true, Hash: r.opening("ana", "language").Hash})
	if err == nil {
		t.Error("who asks agrees with themselves")
	}
	other := r.As("ana.admin").who.client // her other account: the same person
	if _, err := other.VoteBreakGlass(ctx, o.Request, keel, api.Vote{Yes: true, Hash: r.opening("ana.admin", "language").Hash}); err == nil {
		t.Error("who asks agrees under their other account")
	}
	r.agree(o, "rita")
	r.As("ana").Infer(keel)
	r.Want(denied)
	r.agree(o, "ravi")
	r.eventually("the right", func() bool { return r.As("ana").Infer(keel).last.status == http.StatusOK })
	r.Want(allowed)
	if o = r.opening("ana", "language"); o.State != "open" || len(o.Approvers) != 2 || !o.Until.Equal(o.From.Add(30*time.Minute)) {
		t.Errorf("opened: %+v", o)
	}
	if _, ok := r.found(func(e sallyport.Logged) bool {
		return e.Type == sallyport.EventAlarm && e.Who == "user:ana" && slices.Contains(e.Reasons, "breakglass.opened") && e.Detail["opening"] == o.ID
	}); !ok {
		t.Error("no alarm is in the log")
	}
	for _, name := range []string{"adam", "rita", "ravi"} {
		r.eventually("the notice to "+name, func() bool {
			return slices.ContainsFunc(r.notices(name, "breakglass"), func(n api.Notice) bool { return strings.Contains(n.Text, "opened language") })
		})
	}
	r.drift("")
	r.Later(drift.Every)
	if d, err := r.As("adam").who.client.Drift(ctx); err != nil || len(d.Open) != 0 {
		t.Errorf("a right that was opened is drift: %+v, %v", d.Open, err)
	}
	if _, err := r.As("nora").who.client.ReviewBreakGlass(ctx, o.ID, keel, "too early"); err == nil {
		t.Error("what is open is reviewed")
	}

	// It ends by itself, also for what runs.
	stream := r.As("ana").Begin(chat(keel, true, 0), false)
	r.Later(31 * time.Minute)
	r.End(stream)
	r.wantCut(stream, "default.deny", "facts.stale")
	r.As("ana").Infer(keel)
	r.Want(denied)
	if o = r.opening("nora", "language"); o.State != "over" || o.Overdue {
		t.Errorf("after its time: %+v", o)
	}
	for _, name := range []string{"ana", "ana.admin", "rita", "ravi"} {
		if _, err := r.As(name).who.client.ReviewBreakGlass(ctx, o.ID, keel, "all was well"); err == nil {
			t.Errorf("%s, who had a part in it, closes the record", name)
		}
	}
	closed, err := r.As("nora").who.client.ReviewBreakGlass(ctx, o.ID, keel, "one question in half an hour; the cause is fixed")
	if err != nil || closed.State != "reviewed" || closed.Reviewer != "user:nora" {
		t.Errorf("reviewed: %+v, %v", closed, err)
	}
	if _, err := r.As("nora").who.client.ReviewBreakGlass(ctx, o.ID, keel, "again"); err == nil {
		t.Error("it is reviewed twice")
	}

	// Once more, ended before its time: that is nobody's change past the record either.
	again()
	if o, err = ana.client.OpenBreakGlass(ctx, "language", "it does it again"); err != nil {
		t.Fatal(err)
	}
	r.agree(o, "rita", "ravi")
	if _, err := ana.client.EndBreakGlass(ctx, o.ID); err != nil {
		t.Fatal(err)
	}
	r.drift("")
	r.Later(drift.Every)
	if d, err := r.As("adam").who.client.Drift(ctx); err != nil || len(d.Open) != 0 {
		t.Errorf("a right that was ended is drift: %+v, %v", d.Open, err)
	}
}
