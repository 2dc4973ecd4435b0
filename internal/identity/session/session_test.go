package session_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/session"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/store/sqldb/sqldbtest"
)

// A desk is a session service on a database, with a clock that the test moves.
type desk struct {
	*session.Service
	t    *testing.T
	at   time.Time
	path string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, at: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC), path: filepath.Join(t.TempDir(), "store.db")}
	d.Service = d.node()
	return d
}

// node is one more server on the same database.
func (d *desk) node() *session.Service {
	d.t.Helper()
	db, err := sqldbtest.Open(d.t.Context(), d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { db.Close() })
	return &session.Service{Store: db.Session(), Limits: session.DefaultLimits(), Now: func() time.Time { return d.at }, Random: rand.Reader}
}

func proof(who sallyport.PrincipalID, level sallyport.Assurance, methods ...string) session.Proof {
	return session.Proof{Principal: who, Person: who, Assurance: level, Methods: methods, Source: "192.0.2.0/24", Agent: "Firefox on Linux"}
}

func (d *desk) start(who sallyport.PrincipalID) (secret.Text, session.Session) {
	d.t.Helper()
	bearer, one, err := d.Start(d.t.Context(), proof(who, sallyport.SingleFactor, "pwd"))
	if err != nil {
		d.t.Fatal(err)
	}
	return bearer, one
}

func (d *desk) wantEnded(on *session.Service, bearer secret.Text, reason string) {
	d.t.Helper()
	one, err := on.Lookup(d.t.Context(), bearer)
	if err == nil || sallyport.KindOf(err) != sallyport.Unknown || sallyport.ReasonOf(err) != reason || one.ID != "" {
		d.t.Errorf("Lookup = %v, %v; want unauthenticated, %s", one.ID, err, reason)
	}
}

func (d *desk) wantLive(bearer secret.Text) session.Session {
	d.t.Helper()
	one, err := d.Lookup(d.t.Context(), bearer)
	if err != nil {
		d.t.Fatal(err)
	}
	return one
}

func TestStartAndLookup(t *testing.T) {
	d := newDesk(t)
	bearer, one := d.start("user:ana")
	if got := d.wantLive(bearer); got.ID != one.ID || got.Principal != "user:ana" || got.Agent != "Firefox on Linux" || !slices.Equal(got.Methods, []string{"pwd"}) {
		t.Errorf("Lookup = %+v, want %+v", got, one)
	}
	if byID, err := d.Get(t.Context(), one.ID); err != nil || byID.Principal != "user:ana" {
		t.Errorf("Get = %v, %v", byID, err)
	}
	if !strings.HasPrefix(one.ID, "S-") || len(one.ID) != 28 || bearer.Len() != 43 || strings.Contains(one.ID, bearer.Reveal()) {
		t.Errorf("id %s, bearer of %d characters", one.ID, bearer.Len())
	}
	other, _ := d.start("user:ana")
	if other.Equal(bearer) {
		t.Error("two sessions with one bearer value")
	}
	for _, bad := range []string{"", one.ID, "x", bearer.Reveal() + "A", bearer.Reveal()[:42], bearer.Reveal()[:42] + "!", strings.Repeat("A", 43)} {
		d.wantEnded(d.Service, secret.NewText(bad), session.ReasonUnknown)
	}
	if _, err := d.Get(t.Context(), ""); sallyport.KindOf(err) != sallyport.Unknown {
		t.Errorf("Get of nothing = %v", err)
	}
	for _, p := range []session.Proof{{}, proof("", 1, "pwd"), proof("user:ana", 0, "pwd"), proof("user:ana", 1), proof("user:ana", 9, "pwd"), {Principal: "user:ana", Assurance: 1, Methods: []string{"pwd"}}} {
		if _, _, err := d.Start(t.Context(), p); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("Start(%+v) = %v, want invalid", p, err)
		}
	}
}

func TestIdleAndAbsoluteLimits(t *testing.T) {
	d := newDesk(t)
	idle, _ := d.start("user:ana")
	busy, _ := d.start("user:ana")
	for range 23 { // half an hour at a time, up to half an hour before the end
		d.at = d.at.Add(30 * time.Minute)
		d.wantLive(busy)
	}
	d.wantEnded(d.Service, idle, session.ReasonExpired)
	d.at = d.at.Add(30*time.Minute - time.Microsecond)
	d.wantLive(busy)
	d.at = d.at.Add(time.Microsecond)
	d.wantEnded(d.Service, busy, session.ReasonExpired)
	edge, _ := d.start("user:ana")
	d.at = d.at.Add(time.Hour)
	d.wantEnded(d.Service, edge, session.ReasonExpired)
	if list, err := d.List(t.Context(), "user:ana"); err != nil || len(list) != 0 {
		t.Errorf("List = %v, %v; want none", list, err)
	}
}

// A use is written at most once a minute.
func TestTouchOnceAMinute(t *testing.T) {
	d := newDesk(t)
	bearer, one := d.start("user:ana")
	seen := func() time.Time {
		t.Helper()
		s, err := d.Get(t.Context(), one.ID)
		if err != nil {
			t.Fatal(err)
		}
		return s.Seen
	}
	begin := d.at
	d.at = d.at.Add(59 * time.Second)
	d.wantLive(bearer)
	if !seen().Equal(begin) {
		t.Error("written within the minute")
	}
	d.at = d.at.Add(time.Second)
	if got := d.wantLive(bearer); !got.Seen.Equal(d.at) || !seen().Equal(d.at) || !got.IdleEnd.Equal(d.at.Add(time.Hour)) {
		t.Errorf("after a minute: seen %v, stored %v", got.Seen, seen())
	}
}

// SESS1, A-10: the bearer value from before a step-up is dead, on every node; the public id and the end stay.
func TestSESS1RaiseReplacesTheBearer(t *testing.T) {
	d := newDesk(t)
	second := d.node()
	bearer, one := d.start("user:ana")
	d.at = d.at.Add(10 * time.Minute)
	fresh, raised, err := d.Raise(t.Context(), bearer, proof("user:ana", sallyport.MultiFactor, "otp", "mfa"))
	if err != nil {
		t.Fatal(err)
	}
	if raised.ID != one.ID || raised.Assurance != sallyport.MultiFactor || !raised.AuthTime.Equal(d.at) || !raised.End.Equal(one.End) || !slices.Equal(raised.Methods, []string{"pwd", "otp", "mfa"}) {
		t.Errorf("raised %+v", raised)
	}
	d.wantEnded(d.Service, bearer, session.ReasonUnknown)
	d.wantEnded(second, bearer, session.ReasonUnknown)
	if got := d.wantLive(fresh); got.Assurance != sallyport.MultiFactor {
		t.Errorf("after the step-up: %+v", got)
	}
	_, again, err := d.Raise(t.Context(), fresh, proof("user:ana", sallyport.SingleFactor, "pwd"))
	if err != nil || again.Assurance != sallyport.MultiFactor {
		t.Errorf("a weaker proof: %+v, %v; want the level to stay", again, err)
	}
	live, _ := d.start("user:ana")
	for name, p := range map[string]session.Proof{"another's": proof("user:bo", 2, "otp"), "none": proof("user:ana", 2)} {
		if _, _, err := d.Raise(t.Context(), live, p); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s proof: %v, want invalid", name, err)
		}
	}
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if _, _, err := d.Raise(t.Context(), live, proof("user:ana", 2, "otp")); err == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d parallel step-ups of one session, want 1", won.Load())
	}
	if hard, _, err := d.Raise(t.Context(), d.bearerOf("user:ana"), proof("user:ana", sallyport.Hardware, "hwk")); err != nil || d.wantLive(hard).IdleEnd.Sub(d.at) != 15*time.Minute {
		t.Errorf("the stronger level keeps the longer idle limit: %v", err)
	}
}

func (d *desk) bearerOf(who sallyport.PrincipalID) secret.Text {
	bearer, _ := d.start(who)
	return bearer
}

// SESS5: a revoked session is dead on every node at once, and followers find it.
func TestSESS5Revoke(t *testing.T) {
	d := newDesk(t)
	second := d.node()
	one, first := d.start("user:ana")
	two, other := d.start("user:ana")
	stranger, _ := d.start("user:bo")
	begin := d.at
	d.at = d.at.Add(time.Second)
	if err := d.Revoke(t.Context(), first.ID, "lost laptop"); err != nil {
		t.Fatal(err)
	}
	d.wantEnded(d.Service, one, session.ReasonRevoked)
	d.wantEnded(second, one, session.ReasonRevoked)
	if err := second.Revoke(t.Context(), first.ID, "again"); err != nil {
		t.Errorf("revoking twice: %v", err)
	}
	if _, _, err := d.Raise(t.Context(), one, proof("user:ana", 2, "otp")); sallyport.KindOf(err) != sallyport.Unknown {
		t.Errorf("Raise of a revoked session = %v", err)
	}
	d.wantLive(two)
	if list, err := second.List(t.Context(), "user:ana"); err != nil || len(list) != 1 || list[0].ID != other.ID {
		t.Errorf("List = %v, %v", list, err)
	}
	ids, err := d.RevokeAll(t.Context(), "user:ana", "account locked")
	if err != nil || !slices.Equal(ids, []string{other.ID}) {
		t.Errorf("RevokeAll = %v, %v", ids, err)
	}
	d.wantEnded(second, two, session.ReasonRevoked)
	d.wantLive(stranger)
	revoked, err := second.Revoked(t.Context(), begin)
	if err != nil || len(revoked) != 2 {
		t.Fatalf("Revoked = %v, %v", revoked, err)
	}
	for _, r := range revoked {
		if r.ID == first.ID && r.Why != "lost laptop" || r.Principal != "user:ana" || !r.Revoked.Equal(d.at) {
			t.Errorf("revoked %+v", r)
		}
	}
	if later, err := second.Revoked(t.Context(), d.at.Add(time.Microsecond)); err != nil || len(later) != 0 {
		t.Errorf("Revoked later = %v, %v", later, err)
	}
	if all, err := second.Revoked(t.Context(), time.Time{}); err != nil || len(all) != 2 {
		t.Errorf("Revoked ever = %v, %v", all, err)
	}
	for name, err := range map[string]error{"no id": d.Revoke(t.Context(), "", "x"), "no principal": second2(d.RevokeAll(t.Context(), "", "x"))} {
		if sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	if err := d.Revoke(t.Context(), "S-NONE", "x"); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("Revoke of nothing = %v", err)
	}
}

func second2(_ []string, err error) error { return err }

// A store that cannot be read is not "nobody is signed in".
func TestOutageIsNotSignedOut(t *testing.T) {
	d := newDesk(t)
	bearer, _ := d.start("user:ana")
	db, err := sqldbtest.Open(t.Context(), d.path)
	if err != nil {
		t.Fatal(err)
	}
	d.Store = db.Session()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Lookup(t.Context(), bearer); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("Lookup = %v, want unavailable", err)
	}
}

// A session that has ended stays to be looked at for thirty days.
func TestPrune(t *testing.T) {
	d := newDesk(t)
	_, one := d.start("user:ana")
	for i, days := range []int{29, 40} {
		d.at = one.Created.Add(time.Duration(days) * 24 * time.Hour)
		if err := d.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := d.Store.Sessions(t.Context(), session.Query{ID: one.ID}, d.at)
		if err != nil || len(got) != 1-i {
			t.Errorf("after %d days: %v, %v", days, got, err)
		}
	}
}

// SESS4 for this room: the database does not hold what opens a session.
func TestSESS4NoBearerAtRest(t *testing.T) {
	d := newDesk(t)
	bearer, _ := d.start("user:ana")
	bits, err := base64.RawURLEncoding.DecodeString(bearer.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{d.path, d.path + "-wal"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, bits) || bytes.Contains(raw, []byte(bearer.Reveal())) {
			t.Errorf("%s holds the bearer value", filepath.Base(file))
		}
	}
}

func TestTextsAreClipped(t *testing.T) {
	d := newDesk(t)
	p := proof("user:ana", 1, "pwd")
	p.Agent, p.Source = strings.Repeat("a", 1000), "x\ny\x1b[2J"
	_, one, err := d.Start(t.Context(), p)
	if err != nil || len(one.Agent) > 128 || strings.ContainsAny(one.Source, "\n\x1b") {
		t.Errorf("agent of %d bytes, source %q, %v", len(one.Agent), one.Source, err)
	}
}

func FuzzHashToken(f *testing.F) {
	f.Add("")
	f.Add(strings.Repeat("A", 43))
	f.Add(strings.Repeat("A", 42) + "B")
	f.Fuzz(func(t *testing.T, s string) {
		if _, ok := session.HashToken(secret.NewText(s)); !ok {
			return
		}
		raw, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil || len(raw) != 32 || base64.RawURLEncoding.EncodeToString(raw) != s {
			t.Errorf("%q is a token, and not the one spelling of 32 bytes", s)
		}
	})
}

// The proof's own time counts where it is past, never one to come; risk is kept and never ends a session by itself.
func TestOriginAndRisk(t *testing.T) {
	d := newDesk(t)
	p := proof("user:ana", 2, "mca")
	p.AuthTime, p.Upstream = d.at.Add(-time.Hour), session.Upstream{IdP: "https://idp.example", Session: "s", Subject: "ana"}
	_, one, err := d.Start(t.Context(), p)
	if err != nil || !one.AuthTime.Equal(p.AuthTime) {
		t.Errorf("proved at %v, %v", one.AuthTime, err)
	}
	p.AuthTime = d.at.Add(time.Hour)
	if _, two, err := d.Start(t.Context(), p); err != nil || !two.AuthTime.Equal(d.at) {
		t.Errorf("proved at %v in the future, %v", two.AuthTime, err)
	}
	if err := d.Rate(t.Context(), one.ID, session.Rating{Risk: 900, RiskReasons: slices.Repeat([]string{"a b\nc"}, 40)}); err != nil {
		t.Fatal(err)
	}
	risky, err := d.Risky(t.Context())
	if err != nil || len(risky) != 1 || risky[0].Risk != 100 || len(risky[0].RiskReasons) != 16 || risky[0].RiskReasons[0] != "a-b-c" {
		t.Errorf("risky = %+v, %v", risky, err)
	}
	ids, err := d.RevokeUpstream(t.Context(), session.Upstream{IdP: "https://idp.example", Session: "s"}, "logout")
	if err != nil || len(ids) != 2 {
		t.Errorf("ended %v, %v", ids, err)
	}
	if left, err := d.FromUpstream(t.Context(), session.Upstream{IdP: "https://idp.example", Subject: "ana"}); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
	for _, u := range []session.Upstream{{}, {IdP: "https://idp.example"}, {Session: "s"}} {
		if _, err := d.RevokeUpstream(t.Context(), u, ""); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("ending the sessions of %+v = %v", u, err)
		}
	}
}

// The limits of SP 800-63B-4, as data: AAL2 at most an hour idle and 24 in all, AAL3 at most 15 minutes and 12 hours; every
// level that can be proved has a session, and no other.
func TestProfiles(t *testing.T) {
	for name, most := range map[string]map[sallyport.Assurance]session.Limits{
		"aal2": {sallyport.SingleFactor: {Idle: time.Hour, Absolute: 24 * time.Hour}, sallyport.MultiFactor: {Idle: time.Hour, Absolute: 24 * time.Hour},
			sallyport.PhishingResistant: {Idle: time.Hour, Absolute: 24 * time.Hour}, sallyport.Hardware: {Idle: 15 * time.Minute, Absolute: 12 * time.Hour}},
		"aal3": {sallyport.SingleFactor: {Idle: 15 * time.Minute, Absolute: 12 * time.Hour}, sallyport.MultiFactor: {Idle: 15 * time.Minute, Absolute: 12 * time.Hour},
			sallyport.PhishingResistant: {Idle: 15 * time.Minute, Absolute: 12 * time.Hour}, sallyport.Hardware: {Idle: 15 * time.Minute, Absolute: 12 * time.Hour}},
	} {
		p, err := session.ProfileNamed(name)
		if err != nil || p.Name != name || len(p.Limits) != len(most) || p.Fresh <= 0 || p.Fresh > 15*time.Minute || p.Warn <= 0 {
			t.Fatalf("%s: %+v, %v", name, p, err)
		}
		for level, want := range most {
			if got := p.Limits[level]; got.Idle <= 0 || got.Idle > want.Idle || got.Absolute < got.Idle || got.Absolute > want.Absolute {
				t.Errorf("%s, %v: %+v, at most %+v", name, level, got, want)
			}
		}
	}
	if p, err := session.ProfileNamed(""); err != nil || p.Name != "aal2" {
		t.Errorf("the default is %s, %v", p.Name, err)
	}
	for _, bad := range []string{"AAL2", "aal1", "none"} {
		if _, err := session.ProfileNamed(bad); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("profile %s = %v", bad, err)
		}
	}
}

// A weaker proof later does not make the stronger one look fresh.
func TestRaiseKeepsTheTimeOfTheStrongerProof(t *testing.T) {
	d := newDesk(t)
	bearer, one, err := d.Start(t.Context(), proof("user:ana", sallyport.PhishingResistant, "swk", "mfa"))
	if err != nil {
		t.Fatal(err)
	}
	d.at = d.at.Add(30 * time.Minute)
	bearer, raised, err := d.Raise(t.Context(), bearer, proof("user:ana", sallyport.MultiFactor, "otp", "mfa"))
	if err != nil || raised.Assurance != sallyport.PhishingResistant || !raised.AuthTime.Equal(one.AuthTime) || raised.Fresh(sallyport.MultiFactor, 15*time.Minute, d.at) {
		t.Errorf("raised by less: %+v, %v", raised, err)
	}
	if !raised.Ends().Equal(d.at.Add(time.Hour)) {
		t.Errorf("ends %v", raised.Ends())
	}
	_, raised, err = d.Raise(t.Context(), bearer, proof("user:ana", sallyport.PhishingResistant, "swk", "mfa"))
	if err != nil || !raised.AuthTime.Equal(d.at) || !raised.Fresh(sallyport.PhishingResistant, 0, d.at) || raised.Fresh(sallyport.Hardware, time.Hour, d.at) {
		t.Errorf("raised by the same: %+v, %v", raised, err)
	}
}
