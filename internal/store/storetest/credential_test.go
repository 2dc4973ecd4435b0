package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/credential"
	"sallyport/internal/store/sqldb"
)

func TestCredential(t *testing.T) { Run(t, testCredential) }

func testCredential(t *testing.T, open func() *sqldb.DB) {
	a, b := open().Credential(), open().Credential()
	at := time.Date(2026, 11, 20, 9, 0, 0, 1000, time.UTC)
	if f, err := a.Factors(t.Context(), "user:nobody"); err != nil || fmt.Sprint(f) != fmt.Sprint(credential.Factors{}) {
		t.Errorf("Factors of nobody = %v, %v; want nothing and no error", f, err)
	}
	full := credential.Factors{
		Password: credential.Password{Hash: "$one", Alone: true, Set: at},
		TOTP:     credential.TOTP{Sealed: []byte{0, 1, 255}, LastStep: 7, Set: at.Add(time.Second)},
	}
	want := func(f credential.Factors) {
		t.Helper()
		if got, err := b.Factors(t.Context(), "user:ana"); err != nil || fmt.Sprint(got) != fmt.Sprint(f) {
			t.Errorf("Factors = %v, %v; want %v", got, err, f)
		}
	}
	for _, step := range []struct {
		do   func() error
		then func()
	}{
		{func() error { return a.Enrol(t.Context(), "user:ana", full) }, func() {}},
		{func() error { // a password alone leaves the generator
			return a.Enrol(t.Context(), "user:ana", credential.Factors{Password: credential.Password{Hash: "$two", Set: at}})
		}, func() { full.Password = credential.Password{Hash: "$two", Set: at} }},
		{func() error { return a.ReplaceHash(t.Context(), "user:ana", "$one", "$lost") }, func() {}},
		{func() error { return a.ReplaceHash(t.Context(), "user:ana", "$two", "$three") }, func() { full.Password.Hash = "$three" }},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		step.then()
		want(full)
	}
	for _, use := range []struct {
		set  time.Time
		step int64
		want bool
	}{{full.TOTP.Set, 7, false}, {full.TOTP.Set, 6, false}, {at, 8, false}, {full.TOTP.Set, 9, true}, {full.TOTP.Set, 9, false}, {full.TOTP.Set, 8, false}} {
		if got, err := a.UseStep(t.Context(), "user:ana", use.set, use.step); got != use.want || err != nil {
			t.Errorf("UseStep(%v) = %v, %v; want %v", use.step, got, err, use.want)
		}
	}
	wantOneWinner(t, func(i int) bool {
		ok, err := []credential.Store{a, b}[i%2].UseStep(t.Context(), "user:ana", full.TOTP.Set, 100)
		return ok && err == nil
	})
}

func TestEnrolmentLink(t *testing.T) { Run(t, testLink) }

func testLink(t *testing.T, open func() *sqldb.DB) {
	a, b := open().Credential(), open().Credential()
	at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	first := credential.Link{Hash: [32]byte{1}, For: "user:ana", Expires: at}
	second := credential.Link{Hash: [32]byte{2}, For: "user:ana", Expires: at.Add(time.Minute)}
	other := credential.Link{Hash: [32]byte{3}, For: "user:bo", Expires: at}
	for _, l := range []credential.Link{first, second, other} {
		if err := a.PutLink(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Link(t.Context(), first.Hash); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("a replaced link is still there: %v", err)
	}
	if l, err := b.Link(t.Context(), second.Hash); err != nil || l != second {
		t.Errorf("Link = %v, %v", l, err)
	}
	wantOneWinner(t, func(i int) bool {
		l, err := []credential.Store{a, b}[i%2].TakeLink(t.Context(), second.Hash)
		return err == nil && l == second
	})
	if l, err := b.TakeLink(t.Context(), other.Hash); err != nil || l != other {
		t.Errorf("TakeLink = %v, %v", l, err)
	}
}

func TestThrottle(t *testing.T) { Run(t, testThrottle) }

func testThrottle(t *testing.T, open func() *sqldb.DB) {
	a, b := open().Throttle(), open().Throttle()
	at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	var wg sync.WaitGroup
	for i := range 10 { // guesses on two nodes at once are all counted
		wg.Go(func() {
			err := []credential.ThrottleStore{a, b}[i%2].UpdateAttempts(t.Context(), "totp:user:ana", func(n credential.Attempts) (credential.Attempts, error) {
				return credential.Attempts{Failures: n.Failures + 1, Last: at, Until: at.Add(time.Minute)}, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want := func(key string, failures int) {
		t.Helper()
		refusal := errors.New("only looking")
		err := b.UpdateAttempts(t.Context(), key, func(n credential.Attempts) (credential.Attempts, error) {
			if n.Failures != failures || failures > 0 && !n.Last.Equal(at) {
				t.Errorf("%s has %v, want %d failures", key, n, failures)
			}
			return credential.Attempts{}, refusal
		})
		if !errors.Is(err, refusal) {
			t.Errorf("UpdateAttempts = %v, want the error of change", err)
		}
	}
	want("totp:user:ana", 10)
	set := func(key string, n credential.Attempts) {
		t.Helper()
		if err := a.UpdateAttempts(t.Context(), key, func(credential.Attempts) (credential.Attempts, error) { return n, nil }); err != nil {
			t.Fatal(err)
		}
	}
	set("totp:user:ana", credential.Attempts{})
	want("totp:user:ana", 0)
	set("password:old", credential.Attempts{Failures: 1, Last: at})
	set("passwordx:old", credential.Attempts{Failures: 1, Last: at})
	if err := a.PruneAttempts(t.Context(), "password:", at); err != nil {
		t.Fatal(err)
	}
	want("password:old", 1)
	if err := a.PruneAttempts(t.Context(), "password:", at.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	want("password:old", 0)
	want("passwordx:old", 1)
}

// wantOneWinner lets eight callers try the same thing at once.
func wantOneWinner(t *testing.T, try func(i int) bool) {
	t.Helper()
	var winners atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if try(i) {
				winners.Add(1)
			}
		})
	}
	wg.Wait()
	if n := winners.Load(); n != 1 {
		t.Errorf("%d of 8 parallel callers won, want 1", n)
	}
}
