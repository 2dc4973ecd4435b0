package server_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

// RE-3: who was locked is restored by another person's signature, and then on probation: what they do works within tighter
// limits, which they are told, until its time is over; or until another person than who lifted the hold ends it.
func TestRE3ProbationAfterAnUnlock(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	browsers := r.approvers("rita", "ravi")
	limits := func() []string {
		t.Helper()
		r.As("ana").Pull(base)
		r.Want(allowed)
		e, _ := r.decided(r.last.decision)
		var texts []string
		for _, o := range e.Obligations {
			if o == "limit-rate=1048576" || o == "limit-bytes=1073741824" {
				texts = append(texts, o)
			}
		}
		slices.Sort(texts)
		return texts
	}
	if got := limits(); len(got) != 0 {
		t.Fatalf("before: %v", got)
	}
	lift := func(l api.Lock) api.Hold {
		t.Helper()
		h := r.As("adam").Lock("user:ana")
		r.WantStatus(http.StatusOK)
		l.Target, l.Why = h.Target, "it was her"
		asked, err := r.As("rita").who.client.Unlock(ctx, h.ID, l)
		if err != nil || asked.Request == nil {
			t.Fatalf("unlock: %+v, %v", asked, err)
		}
		if err := browsers["ravi"].Approve(ctx, asked.Request.ID, asked.Request.Hash, "I know her voice"); err != nil {
			t.Fatal(err)
		}
		return h
	}
	told := func() api.Who {
		t.Helper()
		who, err := r.As("ana").who.client.Who(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return who
	}
	tight := []string{"limit-bytes=1073741824", "limit-rate=1048576"}
	// Ended before its time: not by who lifted the hold.
	h := lift(api.Lock{})
	if got := limits(); !slices.Equal(got, tight) {
		t.Errorf("on probation: %v", got)
	}
	asked, err := r.As("ana.admin").who.client.Unlock(ctx, h.ID, api.Lock{Target: h.Target, Why: "enough"})
	if err == nil {
		t.Errorf("she asks for the end of her own: %+v", asked)
	}
	for _, l := range []api.Lock{{Probation: "240h"}, {Without: "it was not her"}} { // who means to make it longer does not end it
		l.Target, l.Why = h.Target, "nothing happened"
		_, err = r.As("ravi").who.client.Unlock(ctx, h.ID, l)
		r.heard("another probation after the first", err)
		r.WantStatus(http.StatusConflict)
	}
	asked, err = r.As("ravi").who.client.Unlock(ctx, h.ID, api.Lock{Target: h.Target, Why: "nothing happened"})
	if err != nil || asked.Request == nil {
		t.Fatalf("asked for its end: %+v, %v", asked, err)
	}
	if err := browsers["ravi"].Approve(ctx, asked.Request.ID, asked.Request.Hash, ""); err == nil {
		t.Error("who lifted the hold ended its probation")
	}
	if err := browsers["rita"].Approve(ctx, asked.Request.ID, asked.Request.Hash, "looked at it"); err != nil {
		t.Fatal(err)
	}
	if got := limits(); len(got) != 0 {
		t.Errorf("after its end: %v", got)
	}

	// None at all takes a reason.
	lift(api.Lock{Without: "the wrong person was locked"})
	if got := limits(); len(got) != 0 {
		t.Errorf("without one: %v", got)
	}

	// Ended by its time.
	lift(api.Lock{Probation: "48h"})
	if got := limits(); !slices.Equal(got, tight) {
		t.Errorf("on probation: %v", got)
	}
	if who := told(); who.Probation.IsZero() || len(who.Limits) != 2 {
		t.Errorf("she is told %v, %v", who.Probation, who.Limits)
	}
	r.As("ana").Infer(base)
	r.Want(allowed)
	if can, err := r.As("ana").who.client.Can(ctx, client.Can{Action: sallyport.ModelExport, Resource: base}); err != nil || can.Outcome != denied ||
		!slices.ContainsFunc(can.Reasons, func(x sallyport.Reason) bool { return x.ID == "probation.no-export" }) {
		t.Errorf("export: %+v, %v", can, err)
	}
	r.Later(49 * time.Hour)
	if got := limits(); len(got) != 0 {
		t.Errorf("after its time: %v", got)
	}
	if who := told(); !who.Probation.IsZero() {
		t.Errorf("she is told %v", who.Probation)
	}
}
