package change_test

import (
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/change"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/enforce/guard/guardtest"
)

// policies is how large the sets are: 10,000 with SALLYPORT_SWAP=all, fewer otherwise.
func policies() int {
	if os.Getenv("SALLYPORT_SWAP") == "all" {
		return 10_000
	}
	return 200
}

// large is a set of many policies beside the test's own.
func large(more string) policy.Source {
	src := set(more)
	for file, text := range cedar.NewWorkload(policies(), 100).Source.Policies {
		src.Policies["large-"+file] = text
	}
	return src
}

// While large sets of policies are put in force, under load, no question is lost or answered by half a set, and the
// longest wait is printed; a set that is a bomb never comes so far.
func TestSwapUnderLoad(t *testing.T) {
	s, _ := service(t)
	ctx := t.Context()
	if _, err := s.Current(ctx, large("")); err != nil {
		t.Fatal(err)
	}
	s.enforce(t, large("\n"))
	go s.keeper.Facts.Follow(ctx, 50*time.Millisecond)
	versions := map[string]bool{}
	stop := make(chan struct{})
	var asking sync.WaitGroup
	var mu sync.Mutex
	var waits, all []time.Duration
	current := s.keeper.Facts.Snapshot().Engine()
	for range 2 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				from := time.Now()
				d := ask(t, s.keeper)
				wait := time.Since(from)
				mu.Lock()
				waits = append(waits, wait)
				versions[d.Policy] = true
				mu.Unlock()
				if d.Outcome != sallyport.Allow {
					t.Errorf("%s: %v because of %v", d.Policy, d.Outcome, d.ReasonIDs())
					return
				}
			}
		})
	}
	want := map[string]bool{s.InForce().Version: true}
	engines := make([]policy.Engine, 2)
	for i := range engines {
		src := large(strings.Repeat("\n", i+2))
		src.Schema = cedar.Schema
		var err error
		if engines[i], err = compile(src); err != nil {
			t.Fatal(err)
		}
	}
	longest := func() time.Duration { // since it was asked last
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(waits)
		all = append(all, waits...)
		if len(waits) == 0 {
			return 0
		}
		most := waits[len(waits)-1]
		waits = waits[:0]
		return most
	}
	time.Sleep(300 * time.Millisecond)
	longest()
	time.Sleep(400 * time.Millisecond)
	quiet := longest()
	var using time.Duration
	for i := range 40 { // the swap itself, compiled before: what an activation makes others wait for
		from := time.Now()
		s.keeper.Facts.Use(engines[i%2])
		using = max(using, time.Since(from))
		want[engines[i%2].Version()] = true
		time.Sleep(10 * time.Millisecond)
	}
	swapping := longest()
	s.keeper.Facts.Use(current)
	var proposing, activating time.Duration
	compiled := s.compiled.Load()
	for i := range 2 {
		longest()
		r := s.propose(t, large(strings.Repeat("\n", i+4))) // compiled here, once
		s.approve(t, r)
		proposing = max(proposing, longest())
		e, err := s.Activate(ctx, s.keeper.Facts, r.ID, "user:adam")
		if err != nil {
			t.Fatal(err)
		}
		want[e.Version] = true
		time.Sleep(50 * time.Millisecond)
		activating = max(activating, longest())
	}
	if n := s.compiled.Load() - compiled; n != 2 {
		t.Errorf("two sets were compiled %d times: putting one in force exchanges a pointer", n)
	}
	close(stop)
	asking.Wait()
	slices.Sort(all)
	t.Logf("%d questions over %d sets of %d policies: p50 %v, p99 %v; a swap takes at most %v; the longest wait of a question is %v in a quiet second, %v over forty swaps, %v while sets are proposed and compiled on the same processors, %v while they are activated",
		len(all), len(want), policies(), all[len(all)/2], all[len(all)*99/100], using, quiet, swapping, proposing, activating)
	for v := range versions {
		if !want[v] {
			t.Errorf("answered by %s, which was never in force", v)
		}
	}
	bomb := set("")
	bomb.Policies["bomb.cedar"] = `@id("bomb") @owner("x") @requirement("X-1") permit (principal, action, resource) when { ` + strings.Repeat("(", 5000) + "true" + strings.Repeat(")", 5000) + ` };`
	if _, err := s.Propose(ctx, s.keeper.Facts, change.Proposal{Source: bomb, By: "user:adam", Why: "bomb"}, "user:adam"); err == nil {
		t.Error("a bomb is proposed")
	}
}

// ask decides whether somebody of the world may call its open model.
func ask(t *testing.T, w *guardtest.World) sallyport.Decision {
	snap, now := w.Facts.Snapshot(), w.Clock.Now()
	x, _ := snap.Resolve(sallyport.Ref{Kind: sallyport.SystemKind})
	f, err := snap.Facts(sallyport.Principal{ID: "user:ana", Person: "user:ana", Session: "S-1", Scope: sallyport.Scope{"*"}, Assurance: sallyport.MultiFactor, AuthTime: now}, x, now, "")
	if err != nil {
		t.Error(err)
		return sallyport.Decision{}
	}
	f.Action = sallyport.ServerRead
	return decision.Decide(snap.Engine(), f)
}
