package credential_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"os"
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
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/store/sqldb/sqldbtest"
)

const goodPassword = "correct horse battery staple"

// A desk is a credential service on a database, with a clock that the test moves.
type desk struct {
	*credential.Service
	t    *testing.T
	at   time.Time
	path string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, at: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC), path: filepath.Join(t.TempDir(), "store.db")}
	d.open("a pepper for the tests")
	return d
}

// open is a restart of the server: everything but the database is new.
func (d *desk) open(pepper string, older ...string) {
	d.t.Helper()
	db, err := sqldbtest.Open(d.t.Context(), d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { db.Close() })
	var old []secret.Bytes
	for _, o := range older {
		old = append(old, secret.NewBytes([]byte(o)))
	}
	hasher, err := credential.NewHasher(secret.NewBytes([]byte(pepper)), old, 16, rand.Reader)
	if err != nil {
		d.t.Fatal(err)
	}
	now := func() time.Time { return d.at }
	d.Service = &credential.Service{
		Store: db.Credential(), Throttle: &credential.Throttle{Store: db.Throttle(), Now: now, Limits: credential.DefaultLimits()}, Hasher: hasher,
		Policy: credential.DefaultPolicy(), Issuer: "Sallyport", Seal: seal, Open: unseal, Now: now, Random: rand.Reader,
	}
}

// seal stands for the keyring: it hides the value and binds it to its context.
func seal(value []byte, context string) ([]byte, error) {
	out := slices.Clone(value)
	for i := range out {
		out[i] ^= 0x5a
	}
	return append([]byte(context+"\n"), out...), nil
}

func unseal(sealed []byte, context string) ([]byte, error) {
	value, ok := bytes.CutPrefix(sealed, []byte(context+"\n"))
	if !ok {
		return nil, errors.New("sealed for somebody else")
	}
	out, err := seal(value, "")
	return out[1:], err
}

// enrol gives a person a password and a code generator, whose key it returns.
func (d *desk) enrol(id sallyport.PrincipalID, password string) string {
	d.t.Helper()
	p, err := d.HashPassword(d.t.Context(), secret.NewText(password), true, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	g, sealed, err := d.NewTOTP(id)
	if err != nil {
		d.t.Fatal(err)
	}
	otp, err := d.ConfirmTOTP(id, sealed, d.code(g.Secret.Reveal(), 0))
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.Enrol(d.t.Context(), id, credential.Factors{Password: p, TOTP: otp}); err != nil {
		d.t.Fatal(err)
	}
	d.at = d.at.Add(time.Minute)
	return g.Secret.Reveal()
}

func (d *desk) code(key string, skew time.Duration) string {
	d.t.Helper()
	code, err := totp.GenerateCode(key, d.at.Add(skew))
	if err != nil {
		d.t.Fatal(err)
	}
	return code
}

// wrong is a code that is none of those that count now.
func (d *desk) wrong(key string) string {
	for _, guess := range []string{"000000", "111111", "222222", "333333"} {
		if guess != d.code(key, 0) && guess != d.code(key, 30*time.Second) && guess != d.code(key, -30*time.Second) {
			return guess
		}
	}
	return "444444"
}

func (d *desk) password(id sallyport.PrincipalID, password string) error {
	_, err := d.VerifyPassword(d.t.Context(), id, secret.NewText(password))
	return err
}

func wantError(t *testing.T, err error, kind sallyport.Kind, reason string) {
	t.Helper()
	if err == nil || sallyport.KindOf(err) != kind || sallyport.ReasonOf(err) != reason {
		t.Errorf("error = %v (%v, %s), want %v, %s", err, sallyport.KindOf(err), sallyport.ReasonOf(err), kind, reason)
	}
}

// PW4: nothing is cut off.
func TestPW4LongPasswordsDiffer(t *testing.T) {
	d := newDesk(t)
	long := "seventy-two bytes are where other hashes stop reading, and so this sentence goes on"
	d.enrol("user:ana", long+"!")
	wantError(t, d.password("user:ana", long+"?"), sallyport.Unknown, credential.ReasonWrongPassword)
	wantError(t, d.password("user:ana", long), sallyport.Unknown, credential.ReasonWrongPassword)
	if err := d.password("user:ana", long+"!"); err != nil {
		t.Error(err)
	}
	wantError(t, d.password("user:ana", ""), sallyport.Unknown, credential.ReasonWrongPassword)
	wantError(t, d.password("user:ana", strings.Repeat("x", 2000)), sallyport.Unknown, credential.ReasonWrongPassword)
}

// PW8: a hash of older parameters, or under an older pepper, still opens, and is replaced by that.
func TestPW8Rehash(t *testing.T) {
	d := newDesk(t)
	const small = "$argon2id$v=19$m=8192,t=1,p=2,keyid=KeeGBQ$AAECAwQFBgcICQoLDA0ODw$swUWBp64RaYk2zZaajj9D39jf1HECzK/DQrUlpvkFko" // argon2-cffi's
	if err := d.Store.Enrol(t.Context(), "user:ana", credential.Factors{Password: credential.Password{Hash: small, Alone: true}}); err != nil {
		t.Fatal(err)
	}
	wantError(t, d.password("user:ana", "wrong"), sallyport.Unknown, credential.ReasonWrongPassword)
	if f, _ := d.Store.Factors(t.Context(), "user:ana"); f.Password.Hash != small {
		t.Fatal("a wrong password replaced the hash")
	}
	hash := func() string {
		t.Helper()
		if err := d.password("user:ana", goodPassword); err != nil {
			t.Fatal(err)
		}
		f, err := d.Store.Factors(t.Context(), "user:ana")
		if err != nil || !f.Password.Alone {
			t.Fatalf("factors %v, %v", f, err)
		}
		return f.Password.Hash
	}
	first := hash()
	if !strings.HasPrefix(first, "$argon2id$v=19$m=19456,t=2,p=1,keyid=KeeGBQ$") || hash() != first {
		t.Errorf("after signing in: %s", first)
	}
	d.open("another pepper, newer", "a pepper for the tests")
	second := hash()
	if second == first || strings.Contains(second, "KeeGBQ") {
		t.Errorf("under a new pepper: %s", second)
	}
	d.open("another pepper, newer") // the old pepper is gone for good
	if hash() != second {
		t.Error("hashed again without a reason")
	}
}

// OTP1: a code is good once, also for eight at a time.
func TestOTP1CodeOnce(t *testing.T) {
	d := newDesk(t)
	key := d.enrol("user:ana", goodPassword)
	var good, replayed atomic.Int64
	var wg sync.WaitGroup
	code := d.code(key, 0)
	for range 4 { // within the free guesses, so that it is not the throttle that refuses
		wg.Go(func() {
			switch err := d.VerifyTOTP(t.Context(), "user:ana", code); {
			case err == nil:
				good.Add(1)
			case sallyport.ReasonOf(err) == credential.ReasonReplayedCode:
				replayed.Add(1)
			}
		})
	}
	wg.Wait()
	if good.Load() != 1 || replayed.Load() != 3 {
		t.Errorf("%d of 4 parallel uses were good, %d refused as used; want 1 and 3", good.Load(), replayed.Load())
	}
	wantError(t, d.VerifyTOTP(t.Context(), "user:ana", code), sallyport.Unknown, credential.ReasonReplayedCode)
}

// OTP2: no step further than one away, and none before the last one used.
func TestOTP2Steps(t *testing.T) {
	d := newDesk(t)
	key := d.enrol("user:ana", goodPassword)
	for _, skew := range []time.Duration{-90 * time.Second, -60 * time.Second, 60 * time.Second, 90 * time.Second} {
		wantError(t, d.VerifyTOTP(t.Context(), "user:ana", d.code(key, skew)), sallyport.Unknown, credential.ReasonWrongCode)
	}
	if err := d.VerifyTOTP(t.Context(), "user:ana", d.code(key, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, older := range []time.Duration{0, -30 * time.Second} {
		wantError(t, d.VerifyTOTP(t.Context(), "user:ana", d.code(key, older)), sallyport.Unknown, credential.ReasonReplayedCode)
	}
	d.at = d.at.Add(time.Minute)
	if err := d.VerifyTOTP(t.Context(), "user:ana", d.code(key, 0)); err != nil {
		t.Error(err)
	}
	wantError(t, d.VerifyTOTP(t.Context(), "user:bo", d.code(key, 0)), sallyport.Unknown, credential.ReasonWrongCode)
}

// OTP3, A-12: five wrong codes lock the generator for a while; a restart, a right password and another person change
// nothing about that, nor do guesses in parallel.
func TestOTP3LockSurvives(t *testing.T) {
	d := newDesk(t)
	key, other := d.enrol("user:ana", goodPassword), d.enrol("user:bo", goodPassword)
	var wg sync.WaitGroup
	var checked atomic.Int64
	for range 12 {
		wg.Go(func() {
			if err := d.VerifyTOTP(t.Context(), "user:ana", d.wrong(key)); sallyport.KindOf(err) == sallyport.Unknown {
				checked.Add(1)
			}
		})
	}
	wg.Wait()
	if n := checked.Load(); n != 5 {
		t.Errorf("%d of 12 parallel guesses were checked, want 5", n)
	}
	locked := func() {
		t.Helper()
		wantError(t, d.VerifyTOTP(t.Context(), "user:ana", d.code(key, 0)), sallyport.Busy, credential.ReasonThrottled)
	}
	locked()
	d.open("a pepper for the tests")
	locked()
	if err := d.password("user:ana", goodPassword); err != nil {
		t.Fatal(err)
	}
	locked()
	if err := d.VerifyTOTP(t.Context(), "user:bo", d.code(other, 0)); err != nil {
		t.Errorf("somebody else is locked too: %v", err)
	}
	d.at = d.at.Add(15*time.Minute + time.Second)
	wantError(t, d.VerifyTOTP(t.Context(), "user:ana", d.wrong(key)), sallyport.Unknown, credential.ReasonWrongCode)
	d.at = d.at.Add(15 * time.Minute) // the second wait is longer
	locked()
	d.at = d.at.Add(16 * time.Minute)
	if err := d.VerifyTOTP(t.Context(), "user:ana", d.code(key, 0)); err != nil {
		t.Errorf("after the wait: %v", err)
	}
	wantError(t, d.VerifyTOTP(t.Context(), "user:ana", d.wrong(key)), sallyport.Unknown, credential.ReasonWrongCode) // the count began again
}

// A hundred wrong guesses in a row end an authenticator, however patient they are; a new enrolment begins again.
func TestAHundredGuesses(t *testing.T) {
	d := newDesk(t)
	key := d.enrol("user:ana", goodPassword)
	for range 100 {
		wantError(t, d.VerifyTOTP(t.Context(), "user:ana", d.wrong(key)), sallyport.Unknown, credential.ReasonWrongCode)
		d.at = d.at.Add(25 * time.Hour)
	}
	d.at = d.at.Add(1000 * time.Hour)
	wantError(t, d.VerifyTOTP(t.Context(), "user:ana", d.code(key, 0)), sallyport.Busy, credential.ReasonThrottled)
	key = d.enrol("user:ana", goodPassword)
	if err := d.VerifyTOTP(t.Context(), "user:ana", d.code(key, 0)); err != nil {
		t.Error(err)
	}
}

func TestPasswordsAreThrottled(t *testing.T) {
	d := newDesk(t)
	d.enrol("user:ana", goodPassword)
	for _, id := range []sallyport.PrincipalID{"user:ana", "user:nobody"} { // the same for who is not there
		for range 6 {
			wantError(t, d.password(id, "wrong"), sallyport.Unknown, credential.ReasonWrongPassword)
		}
		wantError(t, d.password(id, goodPassword), sallyport.Busy, credential.ReasonThrottled)
	}
	d.at = d.at.Add(time.Second)
	if err := d.password("user:ana", goodPassword); err != nil {
		t.Errorf("after a second: %v", err)
	}
	d.at = d.at.Add(8 * 24 * time.Hour)
	if err := d.Throttle.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		wantError(t, d.password("user:nobody", "wrong"), sallyport.Unknown, credential.ReasonWrongPassword)
	}
}

func TestLinks(t *testing.T) {
	d := newDesk(t)
	redeem := func(token secret.Text) error {
		_, err := d.RedeemLink(t.Context(), token)
		return err
	}
	issue := func() secret.Text {
		t.Helper()
		token, ends, err := d.IssueLink(t.Context(), "user:ana")
		if err != nil || ends.Sub(d.at) != 15*time.Minute || token.Len() != 43 {
			t.Fatalf("IssueLink: %v, %d characters, %v", ends, token.Len(), err)
		}
		return token
	}
	old, token := issue(), issue()
	wantError(t, redeem(old), sallyport.Unknown, credential.ReasonBadLink) // replaced
	for range 2 {                                                          // looking does not use it up
		if id, err := d.PeekLink(t.Context(), token); id != "user:ana" || err != nil {
			t.Errorf("PeekLink = %v, %v", id, err)
		}
	}
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if redeem(token) == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d redeemed one link", won.Load())
	}
	late := issue()
	d.at = d.at.Add(15 * time.Minute)
	_, err := d.PeekLink(t.Context(), late)
	wantError(t, err, sallyport.Unknown, credential.ReasonBadLink)
	wantError(t, redeem(late), sallyport.Unknown, credential.ReasonBadLink)
	for _, bad := range []string{"", "x", late.Reveal() + "A", late.Reveal()[:42] + "\n", strings.Repeat("!", 43), strings.Repeat("A", 5000)} {
		wantError(t, redeem(secret.NewText(bad)), sallyport.Unknown, credential.ReasonBadLink)
	}
	for _, id := range []sallyport.PrincipalID{"", "service:x", "user:", "group:x"} {
		if _, _, err := d.IssueLink(t.Context(), id); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("IssueLink(%q) = %v, want invalid", id, err)
		}
	}
}

// A sealed secret opens for its person only: a row copied to another person's is of no use.
func TestSecretsAreBoundToTheirPerson(t *testing.T) {
	d := newDesk(t)
	key := d.enrol("user:mallory", goodPassword)
	f, err := d.Store.Factors(t.Context(), "user:mallory")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Store.Enrol(t.Context(), "user:ana", f); err != nil {
		t.Fatal(err)
	}
	if err := d.VerifyTOTP(t.Context(), "user:ana", d.code(key, 0)); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("a code of another person's generator = %v, want unavailable", err)
	}
}

// SESS4 for this room: the database holds no password, no generator's key, no link.
func TestSESS4NothingUsableAtRest(t *testing.T) {
	d := newDesk(t)
	key := d.enrol("user:ana", goodPassword)
	token, _, err := d.IssueLink(t.Context(), "user:ana")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{d.path, d.path + "-wal"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bare, err := base32.StdEncoding.DecodeString(key)
		if err != nil {
			t.Fatal(err)
		}
		bits, err := base64.RawURLEncoding.DecodeString(token.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{goodPassword, key, string(bare), token.Reveal(), string(bits)} {
			if bytes.Contains(raw, []byte(s)) {
				t.Errorf("%s holds %q", filepath.Base(file), s)
			}
		}
	}
}

// PW2: a password on the operator's list is refused, in either form; a list that cannot be read lets none pass.
func TestPW2Breached(t *testing.T) {
	d := newDesk(t)
	var asked []string
	d.Breached = func(p []byte) (bool, error) {
		asked = append(asked, string(p))
		return string(p) == "known to everybody by now", nil
	}
	hash := func(password string) error {
		_, err := d.HashPassword(t.Context(), secret.NewText(password), true, nil)
		return err
	}
	if err := hash("known to everybody by now"); sallyport.KindOf(err) != sallyport.Invalid || sallyport.ReasonOf(err) != credential.ReasonBreached {
		t.Errorf("a breached password = %v", err)
	}
	if err := hash("known to everybody by now, and more"); err != nil {
		t.Errorf("one that contains it = %v", err)
	}
	if err := hash("\ufb01ve wizards box"); err != nil || !slices.Contains(asked, "five wizards box") || !slices.Contains(asked, "\ufb01ve wizards box") {
		t.Errorf("asked for %q, %v", asked, err)
	}
	d.Breached = func([]byte) (bool, error) {
		return false, sallyport.E("search blocklist", sallyport.Unavailable, "", "")
	}
	if err := hash("nobody has this one either"); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("without the list = %v", err)
	}
}

// Forgive takes back one guess, the right one; what others guessed wrong stays counted.
func TestForgive(t *testing.T) {
	d := newDesk(t)
	try := func() error { return d.Throttle.Try(t.Context(), "usercode:user:ana") }
	for range 4 {
		if err := try(); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 { // right ones
		if err := try(); err != nil {
			t.Fatal(err)
		}
		if err := d.Throttle.Forgive(t.Context(), "usercode:user:ana"); err != nil {
			t.Fatal(err)
		}
	}
	if err := try(); err != nil {
		t.Fatal(err)
	}
	if err := try(); sallyport.KindOf(err) != sallyport.Busy {
		t.Errorf("after the fifth wrong one = %v", err)
	}
	if err := d.Throttle.Forgive(t.Context(), "usercode:user:new"); err != nil {
		t.Error(err)
	}
}

// A password that is too short alone needs a code generator, in the same step or from before.
func TestEnrolNeedsEnough(t *testing.T) {
	d := newDesk(t)
	short := credential.Password{Hash: "$x"}
	code := credential.TOTP{Sealed: []byte{1}, Set: d.at}
	for _, f := range []credential.Factors{{}, {Password: short}, {TOTP: code}} {
		if err := d.Enrol(t.Context(), "user:ana", f); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("Enrol(%v) = %v, want invalid", f, err)
		}
	}
	for _, f := range []credential.Factors{{Password: short, TOTP: code}, {Password: short}} {
		if err := d.Enrol(t.Context(), "user:ana", f); err != nil {
			t.Errorf("Enrol(%v) = %v", f, err)
		}
	}
}
