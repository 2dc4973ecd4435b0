package whatif

import (
	"time"

	"sallyport"
	"sallyport/internal/authz/facts"
)

// Able returns the people who could take an action on what r names, with the strongest proof and, where one is asked for,
// a device: a person counts once, whatever their accounts.
func Able(s *facts.Snapshot, a sallyport.Action, r sallyport.Ref) (map[sallyport.PrincipalID]bool, error) {
	able := map[sallyport.PrincipalID]bool{}
	x, _ := s.Resolve(r)
	at := time.Date(1970, time.January, 7, 12, 0, 0, 0, time.UTC) // a working day at noon, before any snapshot is stale
	for _, m := range s.Sorted() {
		if m.ID.Kind() != sallyport.User || able[m.Person] {
			continue
		}
		d, err := can(s, Asker{Principal: sallyport.Principal{ID: m.ID, Person: m.Person, Session: "S-0", Scope: Everything(), Assurance: sallyport.Hardware, AuthTime: at}, At: at}, a, x)
		if err != nil {
			return nil, err
		}
		switch CellOf(d) {
		case Allowed, AfterStep, OnDevice:
			able[m.Person] = true
		}
	}
	return able, nil
}
