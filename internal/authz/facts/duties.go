package facts

import (
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/artifact/catalog"
)

// Charged are the accounts that have a duty about a resource and can act at a time, sorted: those it names, and
// everybody in the groups it names.
func (s *Snapshot) Charged(x sallyport.Resource, duty catalog.Duty, at time.Time) []sallyport.PrincipalID {
	holders, _ := s.catalog.Holders(x, duty)
	return s.Acting(holders, at)
}

// Acting are the accounts among subjects, and in groups among them, that can act at a time, sorted.
func (s *Snapshot) Acting(subjects []string, at time.Time) []sallyport.PrincipalID {
	var all []sallyport.PrincipalID
	for _, subject := range subjects {
		group, isGroup := strings.CutPrefix(subject, "group:")
		if id := sallyport.PrincipalID(subject); !isGroup && s.people.acts(id, at) {
			all = append(all, id)
		}
		for id := range s.people.members {
			if isGroup && s.people.acts(id, at) && s.Within(id, group) {
				all = append(all, id)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Uncharged are the duties about a resource that nobody has who can act at a time.
func (s *Snapshot) Uncharged(x sallyport.Resource, at time.Time) []catalog.Duty {
	return slices.DeleteFunc(catalog.Duties(), func(d catalog.Duty) bool { return len(s.Charged(x, d, at)) > 0 })
}
