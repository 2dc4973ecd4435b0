package directory

import (
	"slices"
	"time"
)

// Acts reports whether one of the subjects ("user:ana", "group:acme/risk") is somebody who can act at a time: an active
// account, or a group with one in it, or in a group of groups.
func (d Dump) Acts(subjects []string, at time.Time) bool {
	parents := make(map[string][]string, len(d.Groups))
	for _, g := range d.Groups {
		parents[g.Name] = g.Parents
	}
	for _, m := range d.Members {
		if m.State != Active || m.Ended(at) {
			continue
		}
		if slices.Contains(subjects, string(m.ID)) {
			return true
		}
		seen, todo := map[string]bool{}, slices.Clone(m.Groups)
		for len(todo) > 0 {
			name := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if slices.Contains(subjects, "group:"+name) {
				return true
			}
			if !seen[name] {
				seen[name] = true
				todo = append(todo, parents[name]...)
			}
		}
	}
	return false
}
