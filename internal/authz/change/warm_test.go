package change_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"sallyport"
	"sallyport/internal/authz/change"
	"sallyport/internal/authz/policy"
)

// TestProposalsTakeTurns: however many sets are proposed and looked at together, one is compiled at a time, few wait, and
// what was approved is put in force meanwhile.
func TestProposalsTakeTurns(t *testing.T) {
	s, _ := service(t)
	if _, err := s.Current(t.Context(), set("")); err != nil {
		t.Fatal(err)
	}
	approved := s.propose(t, set(more))
	s.approve(t, approved)
	const slow, asked, served = "// slow", 30, 8
	release := make(chan struct{})
	var now, most, looked atomic.Int32
	quick := s.Compile
	s.Compile = func(src policy.Source) (policy.Engine, error) {
		if strings.Contains(src.Policies["test.cedar"], slow) {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			<-release
			now.Add(-1)
			looked.Add(1)
		}
		return quick(src)
	}
	answers := make(chan error, asked)
	for i := range asked {
		go func() {
			src := set(fmt.Sprint("\n", slow, i%served))
			src.Schema = s.Schema
			var err error
			if i%2 == 0 {
				err = s.Examine(src, func(policy.Engine) error { return nil })
			} else {
				_, err = s.Propose(t.Context(), s.keeper.Facts, change.Proposal{Source: src, By: "user:adam", Why: "try"}, "user:adam")
			}
			answers <- err
		}()
	}
	for range asked - served {
		if err := <-answers; sallyport.KindOf(err) != sallyport.Busy {
			t.Fatalf("error %v, want one that says to come again", err)
		}
	}
	if _, err := s.Activate(t.Context(), s.keeper.Facts, approved.ID, "user:adam"); err != nil {
		t.Errorf("while others wait: %v", err)
	}
	close(release)
	for range served {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if most.Load() != 1 || looked.Load() > served {
		t.Errorf("%d compiled at once, %d in all", most.Load(), looked.Load())
	}
	after := set("\n// afterwards")
	after.Schema = s.Schema
	if err := s.Examine(after, func(policy.Engine) error { return nil }); err != nil {
		t.Error(err)
	}
}
