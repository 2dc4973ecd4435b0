package server_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

// UX-3: one order gives the least for a job, with an end; what it prints works; and
// the end comes by itself.
func TestOnboarding(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	adam, ctx := r.As("adam").who.client, t.Context()
	until := r.clock.Now().Add(48 * time.Hour)
	order := api.Onboard{ID: "user:nina", Role: "model-developer", Project: "acme/risk", Until: until}
	began := time.Now()
	done, err := adam.Onboard(ctx, order)
	if err != nil {
		t.Fatal(err)
	}
	if !done.New || done.Enrolment == nil || done.Assignment.Scope != "project:acme/risk" || done.Assignment.Role != "model-developer" || done.Assignment.Until.IsZero() {
		t.Errorf("onboarded: %+v", done)
	}
	if !slices.ContainsFunc(done.Commands, func(c string) bool { return strings.Contains(c, "acme/base") || strings.Contains(c, "acme/fraud") }) {
		t.Errorf("the first commands are %q", done.Commands)
	}
	nina, err := r.newPerson("nina")
	if err == nil {
		err = nina.enrol(ctx, done.Enrolment.Link)
	}
	if err == nil {
		err = nina.login(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.people["nina"] = nina
	r.As("nina").Infer(base)
	r.Want(allowed)
	t.Logf("from the order to the first useful call: %s", time.Since(began))
	r.As("nina").Infer(keel) // another project
	r.Want(denied)

	again, err := adam.Onboard(ctx, order)
	if err != nil || again.New || again.Enrolment != nil || again.Assignment.ID != done.Assignment.ID {
		t.Errorf("a second time: %+v, %v", again, err)
	}
	order.Until = until.Add(time.Hour)
	if longer, err := adam.Onboard(ctx, order); err != nil || longer.Assignment.ID == done.Assignment.ID {
		t.Errorf("with another end: %+v, %v", longer, err)
	}
	for what, wrong := range map[string]func(*api.Onboard){
		"no end": func(o *api.Onboard) { o.Until = time.Time{} }, "an end long ago": func(o *api.Onboard) { o.Until = until.AddDate(-1, 0, 0) },
		"an end far away": func(o *api.Onboard) { o.Until = until.AddDate(2, 0, 0) }, "no such role": func(o *api.Onboard) { o.Role = "ghost" },
		"a privileged role": func(o *api.Onboard) { o.Role = "administrator" }, "no such project": func(o *api.Onboard) { o.Project = "acme/ghost" },
		"all of an organisation": func(o *api.Onboard) { o.Project = "acme" }, "a service": func(o *api.Onboard) { o.ID = "service:x" },
	} {
		o := order
		wrong(&o)
		if got, err := adam.Onboard(ctx, o); err == nil {
			t.Errorf("%s was accepted: %+v", what, got)
		}
	}
	guest, err := adam.Onboard(ctx, api.Onboard{ID: "user:gus", Role: "reader", Project: "acme/risk", Until: until, Sponsor: "user:ana"})
	if err != nil || !guest.Member.Guest || guest.Member.Sponsor != "user:ana" || guest.Member.Ends.IsZero() {
		t.Errorf("a guest: %+v, %v", guest, err)
	}
	moved := 0
	for _, l := range r.leaves() {
		if l.Type == sallyport.EventMoved && l.On == "user:nina" {
			moved++
		}
	}
	if moved != 2 {
		t.Errorf("the log tells of %d moves", moved)
	}

	r.Later(50 * time.Hour)
	if err := nina.login(ctx); err != nil { // her session has ended, too
		t.Fatal(err)
	}
	r.As("nina").Infer(base)
	r.Want(denied)
}
