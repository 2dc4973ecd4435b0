package facts

import (
	"slices"

	"sallyport"
	"sallyport/internal/identity/directory"
)

// Within reports whether an active member is in a group, "ORG/NAME", or in one that lies in it.
func (s *Snapshot) Within(id sallyport.PrincipalID, group string) bool {
	m, ok := s.Member(id)
	if !ok || m.State != directory.Active {
		return false
	}
	seen := map[string]bool{}
	todo := slices.Clone(m.Groups)
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if name == group {
			return true
		}
		if !seen[name] {
			seen[name] = true
			todo = append(todo, s.people.groups[name].Parents...)
		}
	}
	return false
}
