package signals_test

import (
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/internal/identity/secevent"
	"sallyport/internal/store/sqldb/sqldbtest"
)

// revoked is a signed event of a's that Ana's sessions have ended.
func revoked(t *testing.T, a, b *site) (text, id string) {
	t.Helper()
	id = rand.Text()
	text, err := a.streams.Keys.Sign(t.Context(), secevent.Token{Issuer: a.http.URL, Audience: []string{b.http.URL}, ID: id, Issued: a.Clock.Now(),
		Event: secevent.Event{Type: secevent.SessionRevoked, Subject: secevent.IssSub(a.http.URL, "user:ana"), Admin: "why", Fields: map[string]string{}}})
	if err != nil {
		t.Fatal(err)
	}
	return text, id
}

// An event is acknowledged when it was acted on to the end. One whose taker died, or
// whose store was down at whatever step, comes again and is acted on then.
func TestAnEventThatWasNotActedOnComesAgain(t *testing.T) {
	t.Parallel()
	a, b, _ := pair(t)
	b.joins("user:ana.b", a.http.URL, "user:ana")
	power, err := sqldbtest.NewBreaker(t.Context(), b.path)
	must(t, err)
	defer power.Close()
	steps := 0
	for n := 0; ; n++ {
		mine := b.signsIn("user:ana.b")
		text, _ := revoked(t, a, b)
		must(t, power.After(t.Context(), n))
		status, _ := b.push("a", text)
		must(t, power.Mend(t.Context()))
		if status == 202 {
			if b.live(mine) {
				t.Errorf("after %d steps it was acknowledged, and the session lives", n)
			}
			steps = n
			break
		}
		if status != 503 {
			t.Errorf("after %d steps: %d", n, status)
		}
		a.Clock.Add(2 * time.Minute) // of both: a claim that nobody could take back has ended
		b.Clock.Add(2 * time.Minute)
		if status, _ := b.push("a", text); status != 202 || b.live(mine) {
			t.Errorf("after %d steps and again: %d, the session lives: %v", n, status, b.live(mine))
		}
		if n > 100 {
			t.Fatal("it never ends")
		}
	}
	if steps < 3 {
		t.Errorf("it took %d steps", steps)
	}
	must(t, b.db.Close())
	text, _ := revoked(t, a, b)
	if status, _ := b.push("a", text); status != 503 {
		t.Errorf("without a store: %d", status)
	}
}

// Of the same event at once, one counts, and none is acknowledged before it did.
func TestTheSameEventAtOnce(t *testing.T) {
	t.Parallel()
	a, b, _ := pair(t)
	mine := b.joins("user:ana.b", a.http.URL, "user:ana")
	b.open()
	text, id := revoked(t, a, b)
	queue := b.streams.Queue
	must(t, queue.See(t.Context(), a.http.URL, id, b.Clock.Now().Add(time.Minute), b.Clock.Now())) // another node acts on it
	if status, _ := b.push("a", text); status != 503 || !b.live(mine) {
		t.Errorf("while another acts on it: %d", status)
	}
	must(t, queue.Settle(t.Context(), a.http.URL, id, time.Time{}))
	var taken atomic.Int64
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			switch status, _ := b.push("a", text); {
			case status == 202 && !b.live(mine):
				taken.Add(1)
			case status != 503:
				t.Errorf("%d, and the session lives: %v", status, b.live(mine))
			}
		})
	}
	all.Wait()
	if done, _ := b.received(); done != 1 || taken.Load() == 0 {
		t.Errorf("acted on %d times, acknowledged %d times", done, taken.Load())
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
