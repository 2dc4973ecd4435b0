package crash_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"
)

// kills reads how often to kill; CI says more than the default.
func kills(t *testing.T) int {
	t.Helper()
	s := os.Getenv("SALLYPORT_KILLS")
	if s == "" {
		return 3
	}
	n, err := strconv.Atoi(s)
	must(t, err)
	return n
}

// TestKillSystemI01I02I05 kills the whole system at random instants under load, over and over on one directory: it starts
// unattended, what it had acknowledged is there, no model server was asked without a decision in the log (I-01), and the
// log is one with every checkpoint of before (I-05). SALLYPORT_KILLS sets how often.
func TestKillSystemI01I02I05(t *testing.T) {
	t.Parallel() // most of the time is waited for disks and starts
	rounds := kills(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d kills", seed, rounds)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, "", rounds)
	c, slowest := w.start(t)
	w.tokens(t)
	w.firstPush(t)
	var answers int
	for range rounds {
		w.told.rotating, w.spare = &rotation{current: w.spare[0]}, w.spare[1:]
		w.killUnderLoad(t, c, random)
		answers += len(w.told.answers) + len(w.told.notes)
		w.verify(t)
		if random.IntN(6) == 0 { // a kill while it recovers from the last one
			starting := w.spawn(t)
			time.Sleep(time.Duration(random.IntN(250)) * time.Millisecond)
			starting.kill(t)
		}
		var took time.Duration
		c, took = w.start(t)
		slowest = max(slowest, took)
		w.settle(t)
		if t.Failed() {
			t.Fatalf("the server said:\n%s", c.log.String())
		}
	}
	w.finish(t, c)
	t.Logf("%d kills: %d answers, %d upstream requests, %d versions acknowledged and kept; %d log entries, consistent with %d checkpoints; slowest start %s",
		rounds, answers, len(w.upstream.all()), len(w.told.pushed), len(w.book.leaves), len(w.kept), slowest.Round(time.Millisecond))
	if answers == 0 {
		t.Error("nothing was acknowledged: the test showed nothing")
	}
}

// killUnderLoad lets everybody work, and kills the server at some moment.
func (w *world) killUnderLoad(t *testing.T, c *child, random *rand.Rand) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	after, seed := time.Duration(20+random.IntN(780))*time.Millisecond, random.Uint64()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.load(ctx, seed)
	}()
	time.Sleep(after)
	c.kill(t)
	cancel()
	<-done
}

// TestKillRotationI18 kills the system at random instants while it wraps every data key under a new key: after the restart
// every version opens, byte for byte, and the rotation can be begun again.
func TestKillRotationI18(t *testing.T) {
	t.Parallel() // most of the time is waited for disks and starts
	rounds, versions := 2, 8
	if n := kills(t) / 10; n > rounds {
		rounds, versions = n, 20
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d kills", seed, rounds)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, "", 0)
	c, _ := w.start(t)
	w.tokens(t)
	w.firstPush(t)
	for range versions {
		p := newPushing(1+random.IntN(5000), "")
		if done, err := w.advance(t.Context(), p); err != nil || !done {
			t.Fatalf("push: %t, %v, %v", done, err, w.told.problems)
		}
		w.told.pushed = append(w.told.pushed, p)
	}
	began := time.Now()
	if ok := w.rotateKeys(t); !ok {
		t.Fatal("the keys cannot be rotated")
	}
	whole, cut := time.Since(began), 0
	for range rounds {
		done := make(chan bool, 1)
		go func() { done <- w.rotateKeys(t) }()
		time.Sleep(time.Duration(random.Int64N(int64(whole) * 5 / 4)))
		c.kill(t)
		if !<-done {
			cut++
		}
		w.verify(t)
		c, _ = w.start(t)
		w.tokens(t)
		w.checkPushes(t, w.told.pushed)
		if t.Failed() {
			t.Fatalf("the server said:\n%s", c.log.String())
		}
	}
	if !w.rotateKeys(t) {
		t.Error("the keys cannot be rotated any more")
	}
	w.finish(t, c)
	t.Logf("a rotation takes %s; %d of %d were cut off by the kill", whole.Round(time.Millisecond), cut, rounds)
	if cut == 0 && rounds >= 10 {
		t.Error("no rotation was cut off: the test showed nothing")
	}
}

// rotateKeys makes a new key-encryption key and wraps every data key under it. It reports whether that was acknowledged.
func (w *world) rotateKeys(t *testing.T) bool {
	r, err := w.api(t.Context(), "root", http.MethodPost, "/keys/rotate", nil, nil)
	if err == nil && r.status != http.StatusOK {
		t.Errorf("rotate keys: %d %s", r.status, r.body)
	}
	return err == nil && r.status == http.StatusOK
}
