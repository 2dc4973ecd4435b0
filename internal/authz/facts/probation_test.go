package facts

import (
	"testing"
	"time"

	"sallyport/internal/authz/hold"
)

// RE-3: a target that was held many times is on probation once, to the last end.
func TestLongestProbation(t *testing.T) {
	noon := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	var all []hold.Hold
	for i := range 50 {
		all = append(all, hold.Hold{ID: string(rune('a' + i)), Target: []string{"user:ana", "model:acme/fraud"}[i%2], Probation: noon.Add(time.Duration(i*7%50) * time.Hour)})
	}
	kept := longest(all)
	if len(kept) != 2 {
		t.Fatalf("%d are kept", len(kept))
	}
	for _, k := range kept {
		for _, h := range all {
			if h.Target == k.Target && h.Probation.After(k.Probation) {
				t.Errorf("%s is kept until %v, and one lasts until %v", k.Target, k.Probation, h.Probation)
			}
		}
	}
}
