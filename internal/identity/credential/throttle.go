package credential

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sallyport"
)

// A Limit says how often one thing may be guessed in a row.
type Limit struct {
	Free   int           // wrong guesses without a wait
	Base   time.Duration // wait after the next one; it doubles from guess to guess
	Max    time.Duration // longest wait
	Most   int           // after so many wrong guesses in a row it is locked until it is reset
	Forget time.Duration // after so long without a guess the count begins again; 0 means never
}

// Attempts is what is kept of the guesses at one thing. The zero value has none.
type Attempts struct {
	Failures int       // guesses since the last success, the one under way included
	Last     time.Time // when the last one was made
	Until    time.Time // no guess before this time
}

// A ThrottleStore keeps the counts, durably: a restart gives nobody a fresh count.
type ThrottleStore interface {
	// UpdateAttempts replaces the count of a key by what change makes of it, while nobody else can change it. The
	// error of change is returned as it is and nothing is written. The zero Attempts may be kept as nothing.
	UpdateAttempts(ctx context.Context, key string, change func(Attempts) (Attempts, error)) error
	// PruneAttempts forgets counts of keys with a prefix whose last guess was before a time.
	PruneAttempts(ctx context.Context, prefix string, before time.Time) error
}

// A Throttle bounds guesses at passwords, codes and everything else short enough to guess: one count for each
// authenticator, which no success of another resets. Methods are safe for concurrent use.
type Throttle struct {
	Store  ThrottleStore
	Now    func() time.Time
	Limits map[string]Limit // by the part of a key before its first colon; a key of no limit is refused
}

// DefaultLimits bounds what can be guessed. Passwords wait longer from the sixth guess on, one-time codes lock for a
// while at the fifth, and nothing is guessed more than 100 times in a row (SP 800-63B-4 section 3.2.2).
func DefaultLimits() map[string]Limit {
	return map[string]Limit{
		"password": {Free: 5, Base: time.Second, Max: 15 * time.Minute, Most: 100, Forget: 7 * 24 * time.Hour},
		"totp":     {Free: 4, Base: 15 * time.Minute, Max: 24 * time.Hour, Most: 100},
		"recovery": {Free: 4, Base: 15 * time.Minute, Max: 24 * time.Hour, Most: 100},
		"ask":      {Free: 2, Base: time.Minute, Max: time.Hour, Most: 100, Forget: 24 * time.Hour},
		"usercode": {Free: 4, Base: time.Minute, Max: time.Hour, Most: 100, Forget: 24 * time.Hour},
		"code":     {Free: 9, Base: time.Second, Max: time.Minute, Most: 100, Forget: time.Hour},
	}
}

// A Wait is the cause of a Busy error that ends by itself.
type Wait struct{ For time.Duration }

// Error says how long.
func (w *Wait) Error() string { return fmt.Sprintf("wait %s", w.For) }

// Try counts a guess at key, "KIND:WHAT", before it is checked, so that parallel guesses count like any others. It is
// Busy while a wait lasts: then nothing may be checked. Call Reset after a right guess.
func (t *Throttle) Try(ctx context.Context, key string) error {
	kind, _, _ := strings.Cut(key, ":")
	limit, ok := t.Limits[kind]
	if !ok || len(key) > 512 {
		return fmt.Errorf("throttle: no limit is set for keys of kind %.20q", kind)
	}
	return t.Store.UpdateAttempts(ctx, key, func(a Attempts) (Attempts, error) {
		return limit.next(a, t.Now().UTC().Truncate(time.Microsecond))
	})
}

// Reset begins the count of key again after a right guess of the same authenticator, or its replacement.
func (t *Throttle) Reset(ctx context.Context, key string) error {
	return t.Store.UpdateAttempts(ctx, key, func(Attempts) (Attempts, error) { return Attempts{}, nil })
}

// Forgive takes back the guess that Try counted for a right one, where others share the key: their wrong guesses stay
// counted, which Reset would forget.
func (t *Throttle) Forgive(ctx context.Context, key string) error {
	return t.Store.UpdateAttempts(ctx, key, func(a Attempts) (Attempts, error) {
		if a.Failures <= 1 {
			return Attempts{}, nil
		}
		a.Failures, a.Until = a.Failures-1, time.Time{}
		return a, nil
	})
}

// Prune forgets the counts that Limits say to forget. Call it now and then: guesses at names that do not exist leave
// counts too.
func (t *Throttle) Prune(ctx context.Context) error {
	for kind, limit := range t.Limits {
		if limit.Forget == 0 {
			continue
		}
		if err := t.Store.PruneAttempts(ctx, kind+":", t.Now().Add(-limit.Forget)); err != nil {
			return err
		}
	}
	return nil
}

// next counts one more guess, or says how long to wait for it.
func (l Limit) next(a Attempts, now time.Time) (Attempts, error) {
	const op = "throttle"
	if l.Forget > 0 && now.Sub(a.Last) >= l.Forget {
		a = Attempts{}
	}
	if a.Failures >= l.Most {
		return a, sallyport.E(op, sallyport.Busy, "locked after too many wrong attempts", "ask an administrator for a new enrolment link").Because(ReasonThrottled)
	}
	if wait := a.Until.Sub(now); wait > 0 {
		seconds := int64((wait + time.Second - 1) / time.Second)
		e := sallyport.Wrap(op, sallyport.Busy, "too many wrong attempts", &Wait{For: wait}).Because(ReasonThrottled)
		e.Hint = fmt.Sprintf("wait %d seconds", seconds)
		return a, e
	}
	a.Failures, a.Last = a.Failures+1, now
	if over := a.Failures - l.Free; over > 0 {
		wait := l.Max
		if over <= 20 { // 2^20 seconds are twelve days: no limit waits longer, and the shift cannot overflow
			wait = min(l.Max, l.Base<<(over-1))
		}
		a.Until = now.Add(wait)
	}
	return a, nil
}
