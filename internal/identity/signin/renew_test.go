package signin_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/credential"
	"sallyport/internal/identity/signin"
	"sallyport/internal/plumbing/secret"
)

// breach puts a password on the list, whoever has it.
func (d *desk) breach(password string) {
	d.Credentials.Breached = func(p []byte) (bool, error) { return string(p) == password, nil }
}

// A password that came onto the list since it was chosen opens nothing any more but the choice of another.
func TestBreachedPasswordIsRenewed(t *testing.T) {
	d := newDesk(t)
	before, key := d.enrol("user:ana")
	var asked []bool
	d.Assess = func(_ context.Context, a signin.Attempt) (signin.Assessment, error) {
		asked = append(asked, a.Breached)
		return signin.Assessment{Reasons: []string{"breached-password"}}, nil
	}
	d.breach(goodPassword)
	step, err := d.sign("ana", goodPassword)
	if err != nil || step.Next != signin.NeedsCode {
		t.Fatalf("Password = %+v, %v", step, err)
	}
	step, err = d.Code(t.Context(), client(), step.Flow, d.code(key))
	if err != nil || step.Next != signin.Renewing || !step.Bearer.IsZero() || step.Session.ID != "" {
		t.Fatalf("after the code: %+v, %v; want another password and no session", step, err)
	}
	if len(asked) != 1 || !asked[0] {
		t.Errorf("the assessment was told %v", asked)
	}
	if _, err := d.Code(t.Context(), client(), step.Flow, d.code(key)); err == nil {
		t.Error("the handle is good for a code too")
	}
	step = d.toRenewal(key)
	for name, bad := range map[string]string{"the known one": goodPassword, "a short one": "new word 1"} {
		if _, err := d.Renew(t.Context(), client(), step.Flow, secret.NewText(bad)); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	const fresh = "four words that nobody knows"
	done, err := d.Renew(t.Context(), client(), step.Flow, secret.NewText(fresh))
	if err != nil || done.Bearer.IsZero() || done.Session.Assurance != sallyport.MultiFactor || !contains(done.Session.Methods, "otp") {
		t.Fatalf("Renew = %+v, %v", done, err)
	}
	if _, err := d.Sessions.Get(t.Context(), before.Session.ID); sallyport.KindOf(err) != sallyport.Unknown {
		t.Errorf("a session that the known password began goes on: %v", err)
	}
	if _, err := d.Renew(t.Context(), client(), step.Flow, secret.NewText(fresh+"!")); sallyport.KindOf(err) != sallyport.Unknown {
		t.Errorf("the handle works twice: %v", err)
	}
	if _, err := d.sign("ana", goodPassword); sallyport.KindOf(err) != sallyport.Unknown {
		t.Errorf("the known password still opens: %v", err)
	}
	if step, err := d.sign("ana", fresh); err != nil || step.Next != signin.NeedsCode {
		t.Errorf("the fresh one: %+v, %v", step, err)
	}
	changed := 0
	for _, e := range d.events {
		if e.Type == sallyport.EventFactorChanged && e.Detail["why"] == credential.ReasonBreached {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("recorded %d times", changed)
	}
}

// toRenewal signs ana in by her known password and a code.
func (d *desk) toRenewal(key string) signin.Step {
	d.t.Helper()
	d.at = d.at.Add(time.Minute)
	step, err := d.sign("ana", goodPassword)
	if err == nil {
		step, err = d.Code(d.t.Context(), client(), step.Flow, d.code(key))
	}
	if err != nil || step.Next != signin.Renewing {
		d.t.Fatalf("%+v, %v", step, err)
	}
	return step
}

// What came between the proofs and the new password outweighs them; a list that cannot be read and a record that cannot
// be written sign nobody in.
func TestRenewalIsClosedByDefault(t *testing.T) {
	d := newDesk(t)
	_, key := d.enrol("user:ana")
	d.breach(goodPassword)
	step := d.toRenewal(key)
	d.broken = errors.New("the log is full")
	if _, err := d.Renew(t.Context(), client(), step.Flow, secret.NewText("four words that nobody knows")); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("unrecorded: %v", err)
	}
	d.broken = nil
	if _, err := d.sign("ana", goodPassword); err != nil {
		t.Errorf("what could not be recorded changed the password: %v", err)
	}

	step = d.toRenewal(key)
	d.at = d.at.Add(time.Minute)
	d.Credentials.Breached = nil
	d.enrol("user:ana") // an administrator's link, meanwhile
	if _, err := d.Renew(t.Context(), client(), step.Flow, secret.NewText("four words that nobody knows")); sallyport.KindOf(err) != sallyport.Unknown {
		t.Errorf("after another enrolment: %v", err)
	}

	d.Credentials.Breached = func([]byte) (bool, error) {
		return false, sallyport.E("search", sallyport.Unavailable, "no disk", "")
	}
	if _, err := d.sign("ana", goodPassword); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("a list that cannot be read: %v", err)
	}
	d.breach(goodPassword)
	if _, err := d.sign("ana", "wrong horse battery staple"); sallyport.KindOf(err) != sallyport.Unknown {
		t.Errorf("a wrong password: %v", err)
	}
}

func contains(all []string, one string) bool {
	for _, x := range all {
		if x == one {
			return true
		}
	}
	return false
}
