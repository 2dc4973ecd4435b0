package risk

import (
	"slices"
	"time"

	"sallyport"
)

// The thresholds that hold until enough is known, in points.
const (
	// Lowest is the lowest threshold: one new thing alone asks nobody again, a new device on a new operator's network does.
	Lowest = 50
	// High is from where the person is told as well.
	High = 70
	// Enough is how many scores a threshold is picked from; with fewer Lowest holds.
	Enough = 100
)

// Threshold picks from which score on a stronger proof is asked for, so that of the scores given at most the share
// (0 to 1) was asked again. It never falls below Lowest and never rises above High: a score of High always asks. What
// share of attacks it would catch is not known, and no number says so.
func Threshold(scores []int, share float64) int {
	if len(scores) < Enough {
		return Lowest
	}
	var count [MostPoints + 1]int
	for _, score := range scores {
		count[min(max(score, 0), MostPoints)]++
	}
	asked, most := 0, int(float64(len(scores))*share)
	for t := MostPoints; t >= Lowest; t-- {
		if asked += count[t]; asked > most {
			return min(t+1, High)
		}
	}
	return Lowest
}

// A Verdict is what a score asks for. It never refuses: only evidence that cannot be chance holds a sign-in, until
// somebody has looked at it.
type Verdict struct {
	Score     int                 `json:"score"`
	Threshold int                 `json:"threshold"`
	Reasons   []Reason            `json:"reasons"`
	Needs     sallyport.Assurance `json:"-"`      // what the person must prove; NoAssurance when nothing more
	Notify    bool                `json:"notify"` // tell the person
	Hold      bool                `json:"hold"`   // impossible travel
}

// Rule makes a verdict of a score and its reasons.
func Rule(score int, reasons []Reason, threshold int) Verdict {
	v := Verdict{Score: score, Threshold: threshold, Reasons: reasons}
	if score >= threshold {
		v.Needs = sallyport.PhishingResistant
		v.Notify = score >= High
	}
	if slices.ContainsFunc(reasons, func(r Reason) bool { return r.Kind == Travel }) {
		v.Needs, v.Notify, v.Hold = sallyport.PhishingResistant, true, true
	}
	return v
}

// Faded is what is left at a time of points that were given at from and are gone at until.
func Faded(points int, from, until, at time.Time) int {
	whole, left := until.Sub(from), until.Sub(at)
	switch {
	case whole <= 0 || left <= 0:
		return 0
	case left >= whole:
		return points
	}
	return int((int64(points)*int64(left/time.Second) + int64(whole/time.Second) - 1) / max(1, int64(whole/time.Second)))
}
