package signin_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/signin"
)

// What is thought of an attempt is kept with its session, and can only raise what the session needs.
func TestAssessment(t *testing.T) {
	d := newDesk(t)
	_, key := d.enrol("user:ana")
	var seen []signin.Attempt
	found := signin.Assessment{Score: 40, Reasons: []string{"new device"}, Network: "AS64496", Country: "DE"}
	d.Assess = func(_ context.Context, a signin.Attempt) (signin.Assessment, error) {
		seen = append(seen, a)
		return found, nil
	}
	in := func() (signin.Step, error) {
		step, err := d.sign("ana", goodPassword)
		if err != nil {
			return step, err
		}
		return d.Code(t.Context(), client(), step.Flow, d.code(key))
	}
	step, err := in()
	if err != nil {
		t.Fatal(err)
	}
	want := session.Rating{Risk: 40, RiskReasons: []string{"new-device"}, Network: "AS64496", Country: "DE"}
	if got := step.Session.Rating; got.Risk != want.Risk || !slices.Equal(got.RiskReasons, want.RiskReasons) || got.Network != want.Network || got.Country != want.Country {
		t.Errorf("the session keeps %+v, want %+v", got, want)
	}
	if len(seen) != 1 || seen[0].Member.ID != "user:ana" || seen[0].Ceremony != "password" || !slices.Equal(seen[0].Methods, []string{"pwd"}) {
		t.Errorf("asked about %+v", seen)
	}
	for needs, reason := range map[sallyport.Assurance]string{sallyport.SingleFactor: "", sallyport.PhishingResistant: signin.ReasonTooWeak} {
		d.at = d.at.Add(time.Minute)
		found.Needs = needs
		step, err := in()
		if reason == "" && err != nil {
			t.Errorf("needs %v: %v", needs, err)
		} else if reason != "" {
			wantError(t, err, sallyport.Unknown, reason)
			if !step.Bearer.IsZero() {
				t.Error("a session came with the refusal")
			}
		}
	}
	d.at = d.at.Add(time.Minute)
	found.Needs, found.Hold = 0, true
	_, err = d.sign("ana", goodPassword)
	wantError(t, err, sallyport.Unknown, signin.ReasonHeld)
	if e := d.last(); e.Type != sallyport.EventSignInFailed || !slices.Equal(e.Reasons, []string{signin.ReasonHeld}) {
		t.Errorf("recorded %+v", e)
	}
	found.Hold = false
	d.Assess = func(context.Context, signin.Attempt) (signin.Assessment, error) {
		return signin.Assessment{}, errors.New("no data")
	}
	_, err = d.sign("ana", goodPassword)
	wantError(t, err, sallyport.Unavailable, signin.ReasonUnassessed)
}
