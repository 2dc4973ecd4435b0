package credential

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport"
)

func TestLimitNext(t *testing.T) {
	at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	limit := DefaultLimits()["totp"]
	var a Attempts
	var err error
	for i := range 5 {
		if a, err = limit.next(a, at); err != nil {
			t.Fatalf("guess %d: %v", i+1, err)
		}
	}
	if wait := a.Until.Sub(at); wait != 15*time.Minute {
		t.Errorf("after the fifth guess the wait is %v, want 15 minutes", wait)
	}
	_, err = limit.next(a, at.Add(14*time.Minute+59*time.Second+time.Millisecond))
	wait, ok := errors.AsType[*Wait](err)
	if !ok || sallyport.KindOf(err) != sallyport.Busy || wait.For != 999*time.Millisecond {
		t.Errorf("a guess in the wait = %v, want busy for 999 ms", err)
	}
	if a, err = limit.next(a, at.Add(15*time.Minute)); err != nil || a.Until.Sub(a.Last) != 30*time.Minute {
		t.Errorf("the sixth guess: %v, %v; want a wait of 30 minutes", a, err)
	}
}

// Whatever somebody does, no more than Most guesses are made in a row, none inside a wait, and waits never shrink.
func TestLimitProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kinds := []string{"password", "totp", "usercode", "code"}
		limit := DefaultLimits()[rapid.SampledFrom(kinds).Draw(t, "kind")]
		limit.Forget = 0
		now, until, wait, guesses := time.Unix(1_800_000_000, 0), time.Time{}, time.Duration(0), 0
		var a Attempts
		for range 200 {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(30*time.Hour)).Draw(t, "pause")))
			next, err := limit.next(a, now)
			if err != nil {
				continue
			}
			if guesses++; guesses > limit.Most || now.Before(until) {
				t.Fatalf("guess %d at %v, in the wait until %v", guesses, now, until)
			}
			if a, until = next, next.Until; !until.IsZero() {
				if until.Sub(now) < wait || until.Sub(now) > limit.Max {
					t.Fatalf("wait %v after %v", until.Sub(now), wait)
				}
				wait = until.Sub(now)
			}
		}
	})
}

func TestLimitForgets(t *testing.T) {
	limit := Limit{Free: 0, Base: time.Hour, Max: time.Hour, Most: 1, Forget: 24 * time.Hour}
	at := time.Unix(1_800_000_000, 0)
	a, err := limit.next(Attempts{}, at)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := limit.next(a, at.Add(24*time.Hour-1)); sallyport.KindOf(err) != sallyport.Busy {
		t.Errorf("before the day is over: %v, want busy", err)
	}
	if a, err := limit.next(a, at.Add(24*time.Hour)); err != nil || a.Failures != 1 {
		t.Errorf("a day later: %v, %v", a, err)
	}
}

func TestThrottleRefusesUnknownKinds(t *testing.T) {
	throttle := &Throttle{Limits: DefaultLimits(), Now: time.Now}
	for _, key := range []string{"", "x", "pin:user:ana", "Password:user:ana"} {
		if err := throttle.Try(t.Context(), key); err == nil || sallyport.KindOf(err) != sallyport.Other {
			t.Errorf("Try(%q) = %v, want a defect", key, err)
		}
	}
}
