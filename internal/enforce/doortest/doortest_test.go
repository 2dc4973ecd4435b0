package doortest_test

import (
	"testing"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/enforce/doortest"
)

// TestTheGuard holds the reference itself against the corpus.
func TestTheGuard(t *testing.T) {
	w := doortest.New(t, acme.Files)
	outcomes := map[sallyport.Outcome]int{}
	hidden := 0
	sent := doortest.Run(t, w, func(doortest.Case) string { return "" }, func(t testing.TB, c doortest.Case) doortest.Said {
		a := w.Answer(t, c)
		outcomes[a.Outcome]++
		if a.Hidden {
			hidden++
		}
		return doortest.Of(a.Outcome, a.Hidden)
	})
	if sent < 150 || outcomes[sallyport.Allow] < 40 || outcomes[sallyport.Deny] < 40 || outcomes[sallyport.StepUp] < 5 || outcomes[sallyport.Hold] < 3 || hidden < 5 {
		t.Errorf("%d cases, %v, %d hidden: the corpus has lost its width", sent, outcomes, hidden)
	}
}

// TestRunNotices shows that a door which answers otherwise is found.
func TestRunNotices(t *testing.T) {
	if doortest.Of(sallyport.StepUp, false) == doortest.Of(sallyport.Deny, false) || doortest.Of(sallyport.Allow, false) == doortest.Of(sallyport.Hold, false) {
		t.Error("outcomes that differ are told alike")
	}
	if doortest.Of(sallyport.Hold, true) != doortest.Of(sallyport.Deny, false) {
		t.Error("a refusal tells of what is hidden")
	}
}
