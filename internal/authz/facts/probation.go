package facts

import (
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/hold"
)

// longest keeps of the holds on one target the one whose probation ends last: what was held many times of late is no more
// on probation for it, and facts stay small.
func longest(all []hold.Hold) []hold.Hold {
	at := map[string]int{}
	var kept []hold.Hold
	for _, h := range all {
		i, ok := at[h.Target]
		switch {
		case !ok:
			at[h.Target] = len(kept)
			kept = append(kept, h)
		case h.Probation.After(kept[i].Probation):
			kept[i] = h
		}
	}
	return kept
}

// Probation is until when p is on probation at a time, after holds on themselves, their session, token family or device,
// and under which limits; the zero time where they are not.
func (s *Snapshot) Probation(p sallyport.Principal, at time.Time) (until time.Time, limits []sallyport.Obligation) {
	for _, h := range s.probations {
		kind, name, _ := strings.Cut(h.Target, ":")
		own := h.Target == string(p.ID) || h.Target == string(p.Person)
		switch kind {
		case "session":
			own = name == p.Session
		case "family":
			own = name == p.Family
		case "device":
			own = name == p.Device
		}
		if own && at.Before(h.Probation) && h.Probation.After(until) {
			until, limits = h.Probation, s.keeper.sources.Tighter
		}
	}
	return until, limits
}
