package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

// demandTraining puts a policy in force that gives restricted weights to who was trained in the last year.
func (r *story) demandTraining() {
	r.t.Helper()
	old, err := r.As("adam").who.client.Policy(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	next := cloneMap(old.Policies)
	next["training.cedar"] = `@id("weights.trained") @owner("security") @requirement("ID-13") @text("Restricted weights go to who was trained in the last year.")
forbid (principal, action in Action::"possess", resource) when { resource.class == "restricted" } unless { context.training <= 365 };`
	r.InForce(api.Proposal{Schema: old.Schema, Policies: next, Why: "training"})
}

// ID-13: policies demand training of the last year; who administers identities records it, of others only and with a
// reason, and takes it back; at each step the next call is decided on what is known then.
func TestID13TrainingIsDemandedByPolicies(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx, adam := t.Context(), r.As("adam").who.client
	asked := r.As("ana").Request(sallyport.ModelPull, fraud, "1h")
	r.As("rita").Approve(asked)
	r.As("ana").Pull(fraud)
	r.Want(allowed, "weights.granted")
	r.demandTraining()
	r.As("ana").Pull(fraud)
	r.Want(denied, "weights.trained")
	_, why := r.decided(r.last.decision)
	if len(why.Remedies) != 1 || why.Remedies[0].Kind != sallyport.RemedyTrain {
		t.Errorf("the way out is %+v", why.Remedies)
	}

	now := r.clock.Now().UTC()
	seminar := api.Trained{At: now.Add(-time.Hour), Why: "seminar of the security team"}
	for name, try := range map[string]struct {
		by     string
		of     sallyport.PrincipalID
		say    api.Trained
		status int
	}{
		"herself":             {"ana", "user:ana", seminar, http.StatusForbidden},
		"who may not":         {"rita", "user:ana", seminar, http.StatusForbidden},
		"himself, who may":    {"adam", "user:adam", seminar, http.StatusConflict},
		"a service":           {"adam", "service:trainer", seminar, http.StatusNotFound},
		"nobody":              {"adam", "user:nobody", seminar, http.StatusNotFound},
		"tomorrow":            {"adam", "user:ana", api.Trained{At: now.Add(24 * time.Hour), Why: "x"}, http.StatusBadRequest},
		"no time":             {"adam", "user:ana", api.Trained{Why: "x"}, http.StatusBadRequest},
		"no reason":           {"adam", "user:ana", api.Trained{At: now.Add(-time.Hour)}, http.StatusBadRequest},
		"what there is not":   {"adam", "user:ana", api.Trained{Why: "x", Withdraw: true}, http.StatusNotFound},
		"a reason of 2 lines": {"adam", "user:ana", api.Trained{At: now.Add(-time.Hour), Why: "a\nb"}, http.StatusBadRequest},
	} {
		_, err := r.As(try.by).who.client.RecordTraining(ctx, try.of, try.say)
		r.heard("record training of "+name, err)
		r.WantStatus(try.status)
	}
	r.As("ana").Pull(fraud)
	r.Want(denied, "weights.trained")

	kept, err := adam.RecordTraining(ctx, "user:ana", seminar)
	if err != nil || kept.Who != "user:ana" || kept.By != "user:adam" || !kept.At.Equal(seminar.At.Truncate(time.Second)) {
		t.Fatalf("recorded %+v, %v", kept, err)
	}
	r.As("ana").Pull(fraud)
	r.Want(allowed, "weights.granted")
	l, _ := r.decided(r.last.decision)
	if l.Asked.Trained != kept.At.Unix() {
		t.Errorf("the decision records training at %d, want %d", l.Asked.Trained, kept.At.Unix())
	}
	r.replayed(r.last.decision)
	if own, err := r.As("ana").who.client.MyTraining(ctx); err != nil || own.Why != seminar.Why {
		t.Errorf("her own: %+v, %v", own, err)
	}
	e, ok := r.found(func(e sallyport.Logged) bool { return e.Type == sallyport.EventTrained && e.On == "user:ana" })
	if !ok || e.Who != "user:adam" || e.Decision == "" || !strings.Contains(e.Detail["why"], "seminar") {
		t.Errorf("recorded as %+v, %v", e, ok)
	}

	if _, err := adam.RecordTraining(ctx, "user:ana", api.Trained{Withdraw: true, Why: "that was another Ana"}); err != nil {
		t.Fatal(err)
	}
	r.As("ana").Pull(fraud)
	r.Want(denied, "weights.trained")
}
