package admin

import (
	"testing"

	"sallyport"
	"sallyport/internal/authz/hold"
	"sallyport/internal/web/api"
)

// TestRE3LengthsOfProbations: a length is a duration from a minute to the longest there is, or is not there; none takes a
// reason, and not both.
func TestRE3LengthsOfProbations(t *testing.T) {
	for _, bad := range []api.Lock{
		{Probation: "0"}, {Probation: "0s"}, {Probation: "-1h"}, {Probation: "59s"}, {Probation: "1m0.5s"}, {Probation: "720h1s"}, {Probation: "9999999999999h"},
		{Probation: "24"}, {Probation: "1d"}, {Probation: "1 h"}, {Probation: "for ever"}, {Probation: "1h\x1b[2J"}, {Probation: " "},
		{Probation: "1h", Without: "both"}, {Without: " "}, {Without: "a\nb"}, {Without: "\u202e"},
	} {
		if l, err := liftingIn(bad); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%+v reads as %+v, %v", bad, l, err)
		}
	}
	for _, good := range []api.Lock{{}, {Probation: "1m"}, {Probation: "24h30m"}, {Probation: "720h"}, {Without: "the wrong person"}} {
		l, err := liftingIn(good)
		if err != nil || (l.Probation != 0) != (good.Probation != "") || l.Without != good.Without || l.Probation > hold.MaxProbation {
			t.Errorf("%+v reads as %+v, %v", good, l, err)
		}
	}
}
