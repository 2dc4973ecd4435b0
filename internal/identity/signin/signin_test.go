package signin_test

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"sallyport"
	"sallyport/internal/identity/credential"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/passkey"
	"sallyport/internal/identity/recovery"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/signin"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/store/sqldb/sqldbtest"
)

const (
	site         = "https://sallyport.example"
	goodPassword = "correct horse battery staple"
)

// A desk is the ceremony over real rooms on a database, with a clock that the test moves and a record that it reads.
type desk struct {
	*signin.Service
	t      *testing.T
	at     time.Time
	mu     sync.Mutex
	events []sallyport.Event
	broken error // of the record
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, at: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)}
	db, err := sqldbtest.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	hasher, err := credential.NewHasher(secret.NewBytes([]byte("a pepper for the tests")), nil, 16, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return d.at }
	plain := func(b []byte, _ string) ([]byte, error) { return slices.Clone(b), nil }
	throttle := &credential.Throttle{Store: db.Throttle(), Now: now, Limits: credential.DefaultLimits()}
	passkeys, err := passkey.New(passkey.Config{URL: site, Name: "Sallyport", Store: db.Passkey(), Seal: plain, Open: plain, Now: now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	d.Service = &signin.Service{
		Passkeys: passkeys, Fresh: 15 * time.Minute,
		Recovery: &recovery.Service{Store: db.Recovery(), Delay: 24 * time.Hour, Throttle: throttle.Try, Right: throttle.Reset, Now: now, Random: rand.Reader,
			Person: func(_ context.Context, id sallyport.PrincipalID) (sallyport.PrincipalID, error) { return id, nil }},
		Directory: &directory.Service{Store: db.Directory(), Now: now},
		Credentials: &credential.Service{Store: db.Credential(), Throttle: throttle,
			Hasher: hasher, Policy: credential.DefaultPolicy(), Issuer: "Sallyport", Seal: plain, Open: plain, Now: now, Random: rand.Reader},
		Sessions: &session.Service{Store: db.Session(), Limits: session.DefaultLimits(), Now: now, Random: rand.Reader},
		Flows:    db.SignIn(), Now: now, Random: rand.Reader,
		Note: func(_ context.Context, e sallyport.Event) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.broken == nil {
				d.events = append(d.events, e)
			}
			return d.broken
		},
	}
	for _, id := range []sallyport.PrincipalID{"user:ana", "user:bo"} {
		if _, err := d.Directory.Create(t.Context(), directory.Member{ID: id, Org: "acme", Display: "Ana María", Email: "ana@acme.example"}); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func client() signin.Client { return signin.Client{Source: "192.0.2.0/24", Agent: "Firefox on Linux"} }

func (d *desk) link(id sallyport.PrincipalID) secret.Text {
	d.t.Helper()
	token, _, err := d.Credentials.IssueLink(d.t.Context(), id)
	if err != nil {
		d.t.Fatal(err)
	}
	return token
}

// begin walks an enrolment to its last proof and returns the key of the generator.
func (d *desk) begin(id sallyport.PrincipalID) (signin.Step, string) {
	d.t.Helper()
	step, err := d.Enrol(d.t.Context(), client(), d.link(id), secret.NewText(goodPassword))
	if err != nil || step.Next != signin.Confirming {
		d.t.Fatalf("Enrol = %+v, %v", step, err)
	}
	g, err := d.Generator(d.t.Context(), step.Flow)
	if err != nil {
		d.t.Fatal(err)
	}
	return step, g.Secret.Reveal()
}

func (d *desk) enrol(id sallyport.PrincipalID) (signin.Step, string) {
	d.t.Helper()
	step, key := d.begin(id)
	step, err := d.Confirm(d.t.Context(), client(), step.Flow, d.code(key))
	if err != nil {
		d.t.Fatal(err)
	}
	d.at = d.at.Add(time.Minute)
	return step, key
}

// alone gives a person a password and no generator.
func (d *desk) alone(id sallyport.PrincipalID, password string, withCode bool) {
	d.t.Helper()
	p, err := d.Credentials.HashPassword(d.t.Context(), secret.NewText(password), withCode, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.Credentials.Store.Enrol(d.t.Context(), id, credential.Factors{Password: p}); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) code(key string) string {
	d.t.Helper()
	code, err := totp.GenerateCode(key, d.at)
	if err != nil {
		d.t.Fatal(err)
	}
	return code
}

func (d *desk) sign(name, password string) (signin.Step, error) {
	return d.Password(d.t.Context(), client(), name, secret.NewText(password), "/back")
}

// last is the newest event of the record.
func (d *desk) last() sallyport.Event {
	d.t.Helper()
	if len(d.events) == 0 {
		d.t.Fatal("nothing was recorded")
	}
	return d.events[len(d.events)-1]
}

func wantError(t *testing.T, err error, kind sallyport.Kind, reason string) {
	t.Helper()
	if err == nil || sallyport.KindOf(err) != kind || sallyport.ReasonOf(err) != reason {
		t.Errorf("error = %v (%v, %s), want %v, %s", err, sallyport.KindOf(err), sallyport.ReasonOf(err), kind, reason)
	}
}

func TestPasswordAndCode(t *testing.T) {
	d := newDesk(t)
	_, key := d.enrol("user:ana")
	step, err := d.sign(" ANA", goodPassword)
	if err != nil || step.Next != signin.NeedsCode || step.Flow.IsZero() || !step.Bearer.IsZero() {
		t.Fatalf("Password = %+v, %v", step, err)
	}
	step, err = d.Code(t.Context(), client(), step.Flow, d.code(key))
	if err != nil || step.Next != signin.Done || step.Return != "/back" {
		t.Fatalf("Code = %+v, %v", step, err)
	}
	if s := step.Session; s.Assurance != sallyport.MultiFactor || !slices.Equal(s.Methods, []string{"pwd", "otp", "mfa"}) || s.Principal != "user:ana" || s.Person != "user:ana" {
		t.Errorf("session %+v", s)
	}
	e := d.last()
	if e.Type != sallyport.EventSignedIn || e.Who != "user:ana" || e.Asked.Session != step.Session.ID || e.Asked.Assurance != 2 || e.Detail["amr"] != "pwd otp mfa" || e.Asked.IP != "192.0.2.0/24" {
		t.Errorf("recorded %+v", e)
	}
	one, m, err := d.Session(t.Context(), step.Bearer)
	if err != nil || one.ID != step.Session.ID || m.ID != "user:ana" {
		t.Errorf("Session = %v, %v, %v", one.ID, m.ID, err)
	}
}

// A long password alone is enough where nobody asks for more; a short one never is.
func TestPasswordAlone(t *testing.T) {
	d := newDesk(t)
	d.alone("user:ana", goodPassword, false)
	d.alone("user:bo", "kq7zvw!m", true)
	step, err := d.sign("ana", goodPassword)
	if err != nil || step.Session.Assurance != sallyport.SingleFactor || !slices.Equal(step.Session.Methods, []string{"pwd"}) {
		t.Fatalf("Password = %+v, %v", step.Session, err)
	}
	if _, err := d.sign("bo", "kq7zvw!m"); err == nil {
		t.Error("eight characters alone opened a session")
	} else {
		wantError(t, err, sallyport.Unknown, "factor.missing")
	}
	_, err = d.StepUp(t.Context(), signin.Client{Bearer: step.Bearer}, "123456")
	wantError(t, err, sallyport.Unknown, credential.ReasonWrongCode) // no generator: like a wrong code
	d.Require = sallyport.MultiFactor
	_, err = d.sign("ana", goodPassword)
	wantError(t, err, sallyport.Unknown, "factor.missing")
}

// PW5: whoever cannot sign in, for whatever reason, gets one answer; the record knows which.
func TestPW5OneAnswer(t *testing.T) {
	d := newDesk(t)
	d.enrol("user:ana")
	d.enrol("user:bo")
	if err := d.Directory.SetState(t.Context(), "user:bo", directory.Suspended); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Directory.Create(t.Context(), directory.Member{ID: "user:new", Org: "acme"}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Directory.Create(t.Context(), directory.Member{ID: "service:trainer", Person: "user:ana", Org: "acme", Purpose: "trains", Ends: d.at.AddDate(0, 1, 0)}); err != nil {
		t.Fatal(err)
	}
	var texts []string
	for name, want := range map[string]struct {
		password, reason string
		who              sallyport.PrincipalID
	}{
		"ana":                     {"wrong", credential.ReasonWrongPassword, "user:ana"},
		"bo":                      {goodPassword, "member.inactive", "user:bo"},
		"new":                     {goodPassword, credential.ReasonWrongPassword, "user:new"},
		"nobody":                  {goodPassword, credential.ReasonWrongPassword, ""},
		"service:trainer":         {goodPassword, credential.ReasonWrongPassword, ""},
		"my password, by mistake": {goodPassword, credential.ReasonWrongPassword, ""},
		"":                        {"", credential.ReasonWrongPassword, ""},
		strings.Repeat("x", 5000): {goodPassword, credential.ReasonWrongPassword, ""},
		"ana\x00":                 {goodPassword, credential.ReasonWrongPassword, ""},
	} {
		step, err := d.sign(name, want.password)
		wantError(t, err, sallyport.Unknown, want.reason)
		if !step.Bearer.IsZero() || !step.Flow.IsZero() {
			t.Errorf("%.20q got %+v", name, step)
		}
		texts = append(texts, sallyport.PublicText(err))
		if e := d.last(); e.Type != sallyport.EventSignInFailed || e.Who != want.who || !slices.Equal(e.Reasons, []string{want.reason}) {
			t.Errorf("%.20q is recorded as %+v", name, e)
		}
	}
	if slices.Sort(texts); len(slices.Compact(texts)) != 1 {
		t.Errorf("several answers: %q", texts)
	}
}

// Every name has a count of its own, one that nobody can have too, and the spelling does not give another.
func TestNamesAreThrottled(t *testing.T) {
	d := newDesk(t)
	for _, name := range []string{"Ana María", "ana"} {
		for i := range 6 {
			spelling := []string{name, strings.ToUpper(name), " " + name}[i%3]
			_, err := d.sign(spelling, "wrong")
			wantError(t, err, sallyport.Unknown, credential.ReasonWrongPassword)
		}
		_, err := d.sign(name, "wrong")
		wantError(t, err, sallyport.Busy, credential.ReasonThrottled)
		if e := d.last(); e.Type != sallyport.EventSignInFailed || !slices.Equal(e.Reasons, []string{credential.ReasonThrottled}) {
			t.Errorf("recorded %+v", e)
		}
	}
	_, err := d.sign("another name", "wrong")
	wantError(t, err, sallyport.Unknown, credential.ReasonWrongPassword)
}

// OA12: a handle works once, at its own stage, for ten minutes.
func TestOA12FlowHandles(t *testing.T) {
	d := newDesk(t)
	_, key := d.enrol("user:ana")
	fresh := func() secret.Text {
		t.Helper()
		step, err := d.sign("ana", goodPassword)
		if err != nil {
			t.Fatal(err)
		}
		return step.Flow
	}
	use := func(handle secret.Text) error {
		_, err := d.Code(t.Context(), client(), handle, d.code(key))
		return err
	}
	one := fresh()
	if err := use(one); err != nil {
		t.Fatal(err)
	}
	d.at = d.at.Add(time.Minute)
	wantError(t, use(one), sallyport.Unknown, "flow.unknown") // twice
	old := fresh()
	d.at = d.at.Add(10 * time.Minute)
	wantError(t, use(old), sallyport.Unknown, "flow.unknown") // too late
	other := fresh()
	_, err := d.Confirm(t.Context(), client(), other, d.code(key))
	wantError(t, err, sallyport.Unknown, "flow.unknown") // another stage
	wantError(t, use(other), sallyport.Unknown, "flow.unknown")
	enrolling, _ := d.begin("user:bo")
	wantError(t, use(enrolling.Flow), sallyport.Unknown, "flow.unknown")
	for _, bad := range []string{"", "x", strings.Repeat("A", 43)} {
		wantError(t, use(secret.NewText(bad)), sallyport.Unknown, "flow.unknown")
	}

	race := fresh()
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if use(race) == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d sign-ins with one handle, want 1", won.Load())
	}
}

// A wrong code gives another handle, up to the fifth.
func TestWrongCodes(t *testing.T) {
	d := newDesk(t)
	d.enrol("user:ana")
	step, err := d.sign("ana", goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		used := step.Flow
		step, err = d.Code(t.Context(), client(), step.Flow, "abcdef")
		wantError(t, err, sallyport.Unknown, credential.ReasonWrongCode)
		if last := i == 4; step.Flow.IsZero() != last || step.Flow.Equal(used) {
			t.Errorf("after wrong code %d: handle %v", i+1, !step.Flow.IsZero())
		}
	}
	if n := len(d.events); n < 5 || d.events[n-5].Type != sallyport.EventSignInFailed {
		t.Errorf("recorded %+v", d.events)
	}
	step, err = d.sign("ana", goodPassword) // another flow is no way around the lock
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Code(t.Context(), client(), step.Flow, "abcdef")
	wantError(t, err, sallyport.Busy, credential.ReasonThrottled)
}

// SESS1, A-10: a sign-in ends the session that the browser had; an enrolment ends all that the person had.
func TestSESS1OldSessionsEnd(t *testing.T) {
	d := newDesk(t)
	first, key := d.enrol("user:ana")
	live := func(b secret.Text) bool {
		_, _, err := d.Session(t.Context(), b)
		return err == nil
	}
	again := func(had secret.Text) signin.Step {
		t.Helper()
		c := client()
		c.Bearer = had
		step, err := d.Password(t.Context(), c, "ana", secret.NewText(goodPassword), "")
		if err != nil {
			t.Fatal(err)
		}
		if step, err = d.Code(t.Context(), c, step.Flow, d.code(key)); err != nil {
			t.Fatal(err)
		}
		d.at = d.at.Add(time.Minute)
		return step
	}
	second := again(first.Bearer)
	if live(first.Bearer) || !live(second.Bearer) {
		t.Errorf("after signing in again: old %v, new %v", live(first.Bearer), live(second.Bearer))
	}
	planted := secret.NewText(strings.Repeat("A", 43)) // a bearer value that somebody chose
	third := again(planted)
	if live(planted) || third.Bearer.Equal(planted) || !live(second.Bearer) {
		t.Error("a planted value became a session")
	}
	fourth, _ := d.enrol("user:ana")
	if live(second.Bearer) || live(third.Bearer) || !live(fourth.Bearer) {
		t.Error("sessions from before the enrolment live on")
	}
}

func TestStepUp(t *testing.T) {
	d := newDesk(t)
	step, key := d.enrol("user:ana")
	c := client()
	c.Bearer = step.Bearer
	_, err := d.StepUp(t.Context(), c, "abcdef")
	wantError(t, err, sallyport.Unknown, credential.ReasonWrongCode)
	raised, err := d.StepUp(t.Context(), c, d.code(key))
	if err != nil || raised.Session.ID != step.Session.ID || !raised.Session.AuthTime.Equal(d.at) || d.last().Detail["ceremony"] != "step-up" {
		t.Fatalf("StepUp = %+v, %v", raised.Session, err)
	}
	if _, _, err := d.Session(t.Context(), step.Bearer); sallyport.KindOf(err) != sallyport.Unknown {
		t.Errorf("the bearer value from before = %v", err)
	}
	c.Bearer = raised.Bearer
	_, err = d.StepUp(t.Context(), c, d.code(key))
	wantError(t, err, sallyport.Unknown, credential.ReasonReplayedCode)
	_, err = d.StepUp(t.Context(), client(), d.code(key))
	wantError(t, err, sallyport.Unknown, session.ReasonUnknown)
	if err := d.Directory.SetState(t.Context(), "user:ana", directory.Suspended); err != nil {
		t.Fatal(err)
	}
	_, _, err = d.Session(t.Context(), c.Bearer)
	wantError(t, err, sallyport.Unknown, "member.inactive")
}

func TestEnrolment(t *testing.T) {
	d := newDesk(t)
	link := d.link("user:ana")
	for password, kind := range map[string]sallyport.Kind{"short": sallyport.Invalid, "Ana María": sallyport.Invalid, "ana@acme.example": sallyport.Invalid, strings.Repeat("aB3$x", 300): sallyport.TooLarge} {
		if _, err := d.Enrol(t.Context(), client(), link, secret.NewText(password)); sallyport.KindOf(err) != kind {
			t.Errorf("Enrol with %.20q = %v, want %v", password, err, kind)
		}
	}
	if m, err := d.Invited(t.Context(), link); err != nil || m.ID != "user:ana" {
		t.Errorf("a refused password used the link up: %v", err)
	}
	step, err := d.Enrol(t.Context(), client(), link, secret.NewText(goodPassword))
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Enrol(t.Context(), client(), link, secret.NewText(goodPassword))
	wantError(t, err, sallyport.Unknown, credential.ReasonBadLink)
	if _, err := d.sign("ana", goodPassword); sallyport.KindOf(err) != sallyport.Unknown { // left half-way: nothing is stored
		t.Errorf("signed in before the end of the enrolment: %v", err)
	}
	g, err := d.Generator(t.Context(), step.Flow)
	if err != nil {
		t.Fatal(err)
	}
	step, err = d.Confirm(t.Context(), client(), step.Flow, "abcdef")
	wantError(t, err, sallyport.Unknown, credential.ReasonWrongCode)
	same, err := d.Generator(t.Context(), step.Flow)
	if err != nil || !same.Secret.Equal(g.Secret) {
		t.Errorf("another generator after a wrong code, %v", err)
	}
	code := d.code(g.Secret.Reveal())
	step, err = d.Confirm(t.Context(), client(), step.Flow, code)
	if err != nil || step.Session.Assurance != sallyport.MultiFactor {
		t.Fatalf("Confirm = %+v, %v", step.Session, err)
	}
	if again, err := d.sign("ana", goodPassword); err != nil {
		t.Error(err)
	} else if _, err := d.Code(t.Context(), client(), again.Flow, code); sallyport.ReasonOf(err) != credential.ReasonReplayedCode {
		t.Errorf("the code of the enrolment signs in too: %v", err)
	}
	suspended := d.link("user:bo")
	if err := d.Directory.SetState(t.Context(), "user:bo", directory.Suspended); err != nil {
		t.Fatal(err)
	}
	_, err = d.Enrol(t.Context(), client(), suspended, secret.NewText(goodPassword))
	wantError(t, err, sallyport.Unknown, "member.inactive")
}

// What cannot be written down does not happen.
func TestNothingWithoutARecord(t *testing.T) {
	d := newDesk(t)
	before, key := d.enrol("user:ana")
	half, halfKey := d.begin("user:bo")
	flow, err := d.sign("ana", goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	codes, err := d.Recovery.NewCodes(t.Context(), "user:ana")
	if err != nil {
		t.Fatal(err)
	}
	same := client() // the browser in which ana is signed in
	same.Bearer = before.Bearer
	d.broken = errors.New("disk full")
	for name, err := range map[string]error{
		"a wrong password": errOf(d.sign("ana", "wrong")),
		"a right code":     errOf(d.Code(t.Context(), client(), flow.Flow, d.code(key))),
		"an enrolment":     errOf(d.Confirm(t.Context(), client(), half.Flow, d.code(halfKey))),
		"a recovery code":  errOf(d.RecoveryCode(t.Context(), same, flow.Flow, codes[0])),
		"a step-up":        errOf(d.stepUp(same, key)),
	} {
		if sallyport.KindOf(err) != sallyport.Unavailable || strings.Contains(sallyport.PublicText(err), "disk") {
			t.Errorf("%s = %v, want unavailable", name, err)
		}
	}
	d.broken = nil
	if list, err := d.Sessions.List(t.Context(), "user:ana"); err != nil || len(list) != 1 {
		t.Errorf("%d sessions of ana, %v; want the one from before", len(list), err)
	}
	if f, err := d.Credentials.Store.Factors(t.Context(), "user:bo"); err != nil || f.Password.Hash != "" {
		t.Errorf("bo was enrolled: %v", err)
	}
	// Nothing was used up: neither handles, nor the recovery code, nor the session that ana had, nor its level.
	if one, _, err := d.Session(t.Context(), before.Bearer); err != nil || !one.AuthTime.Equal(before.Session.AuthTime) {
		t.Errorf("the session from before: %+v, %v", one, err)
	}
	if step, err := d.Confirm(t.Context(), client(), half.Flow, d.code(halfKey)); err != nil || step.Bearer.IsZero() {
		t.Errorf("the enrolment goes on: %v", err)
	}
	if step, err := d.RecoveryCode(t.Context(), same, flow.Flow, codes[0]); err != nil || step.Bearer.IsZero() {
		t.Errorf("the sign-in goes on, by the code that was tried: %v", err)
	}
	if _, _, err := d.Session(t.Context(), before.Bearer); sallyport.KindOf(err) != sallyport.Unknown {
		t.Errorf("the session from before the sign-in: %v", err)
	}
}

// stepUp raises a client's session by the next code.
func (d *desk) stepUp(c signin.Client, key string) (signin.Step, error) {
	d.at = d.at.Add(30 * time.Second)
	return d.StepUp(d.t.Context(), c, d.code(key))
}

// A code that is tried while nothing can be written down counts: an outage gives no guesses away.
func TestAnOutageGivesNoGuesses(t *testing.T) {
	d := newDesk(t)
	d.enrol("user:ana")
	flow, err := d.sign("ana", goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	d.broken = errors.New("disk full")
	ended := 0
	for range 10 {
		if _, err := d.Code(t.Context(), client(), flow.Flow, "000000"); sallyport.ReasonOf(err) == "flow.unknown" {
			ended++
		} else if sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("a wrong code: %v", err)
		}
	}
	if ended != 5 {
		t.Errorf("%d of 10 tries came after the end, want 5", ended)
	}
}

// A new sign-in in a browser ends the old session there. For the same person that is as if it had run out, so that what
// it has given out lives on; somebody else's is revoked.
func TestAnotherSignInTakesTheBrowser(t *testing.T) {
	d := newDesk(t)
	d.alone("user:ana", goodPassword, false)
	d.alone("user:bo", goodPassword, false)
	d.Require = sallyport.SingleFactor
	c := client()
	for _, next := range []struct {
		name    string
		revoked bool
	}{{"ana", false}, {"ana", false}, {"bo", true}} {
		old := c.Bearer
		var was string
		if one, err := d.Sessions.Lookup(t.Context(), old); err == nil {
			was = one.ID
		}
		begin := d.at
		step, err := d.Password(t.Context(), c, next.name, secret.NewText(goodPassword), "")
		if err != nil || step.Bearer.IsZero() {
			t.Fatalf("%s: %v", next.name, err)
		}
		c.Bearer = step.Bearer
		if was == "" {
			continue
		}
		if _, err := d.Sessions.Lookup(t.Context(), old); sallyport.KindOf(err) != sallyport.Unknown {
			t.Errorf("%s: the old value opens: %v", next.name, err)
		}
		if _, err := d.Sessions.Get(t.Context(), was); sallyport.KindOf(err) != sallyport.Unknown {
			t.Errorf("%s: the old session lives: %v", next.name, err)
		}
		gone, err := d.Sessions.Revoked(t.Context(), begin)
		if err != nil || (len(gone) == 1 && gone[0].ID == was) != next.revoked {
			t.Errorf("%s: revoked %v, %v; want that to be %v", next.name, gone, err, next.revoked)
		}
	}
}

func errOf(_ signin.Step, err error) error { return err }

func TestRevokeOnlyOwn(t *testing.T) {
	d := newDesk(t)
	ana, _ := d.enrol("user:ana")
	bo, _ := d.enrol("user:bo")
	c := client()
	c.Bearer = bo.Bearer
	if err := d.Revoke(t.Context(), c, ana.Session.ID, "mine now"); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("ending another's session = %v, want not found", err)
	}
	c.Bearer = ana.Bearer
	if err := d.Revoke(t.Context(), c, ana.Session.ID, "done"); err != nil || d.last().Type != sallyport.EventSessionRevoked || d.last().Asked.Session != ana.Session.ID {
		t.Errorf("ending one's own = %v, recorded %+v", err, d.last())
	}
	if err := d.RevokeAll(t.Context(), c, "all"); sallyport.KindOf(err) != sallyport.Unknown {
		t.Errorf("RevokeAll with a dead session = %v", err)
	}
	c.Bearer = bo.Bearer
	if err := d.RevokeAll(t.Context(), c, "all"); err != nil {
		t.Error(err)
	}
}
