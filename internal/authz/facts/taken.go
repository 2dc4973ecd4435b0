package facts

import (
	"maps"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/hold"
	"sallyport/internal/identity/directory"
)

// Took reports whether, by the snapshot, what is named gives no right, or is there to take rights away: a member ("user:ana") that
// is not active, a session or token family ("session:S-…") that was ended, a grant ("grant:G-…") or device ("device:DV-…") that is not
// there, a hold ("hold:H-…") or policy set ("policy:VERSION") that is.
func (s *Snapshot) Took(what string) bool {
	kind, id, _ := strings.Cut(what, ":")
	switch kind {
	case "session":
		return s.revoked[id]
	case "grant":
		return !slices.Contains(grantIDs(s.grants), id)
	case "device":
		_, there := s.devices.ByID(id)
		return !there
	case "hold":
		return slices.ContainsFunc(s.holds, func(h hold.Hold) bool { return h.ID == id })
	case "policy":
		return s.engine.Version() == id
	}
	return s.people.members[sallyport.PrincipalID(what)].State != directory.Active
}

// TakenSince names, in the words of Took, what the snapshot took and before did not. It reads each kind of record that was read again
// in between once.
func (s *Snapshot) TakenSince(before *Snapshot) []string {
	var all []string
	if v := s.engine.Version(); v != before.engine.Version() {
		all = append(all, "policy:"+v)
	}
	again := func(k Kind) bool { return s.reads[k] != before.reads[k] }
	if again(KindSession) {
		all = absent(all, "session:", slices.Collect(maps.Keys(s.revoked)), before.revoked)
	}
	if again(KindHold) {
		all = absent(all, "hold:", holdIDs(s.holds), set(holdIDs(before.holds)))
	}
	if again(KindGrant) {
		all = absent(all, "grant:", grantIDs(before.grants), set(grantIDs(s.grants)))
	}
	if again(KindDevice) {
		all = absent(all, "device:", slices.Collect(before.devices.IDs()), set(slices.Collect(s.devices.IDs())))
	}
	if again(KindDirectory) {
		for id, m := range before.people.members {
			if m.State == directory.Active && s.people.members[id].State != directory.Active {
				all = append(all, string(id))
			}
		}
	}
	return all
}

// absent adds those of ids that are not in known.
func absent(all []string, kind string, ids []string, known map[string]bool) []string {
	for _, id := range ids {
		if !known[id] {
			all = append(all, kind+id)
		}
	}
	return all
}

func holdIDs(all []hold.Hold) (ids []string) {
	for _, h := range all {
		ids = append(ids, h.ID)
	}
	return ids
}

func grantIDs(by map[sallyport.PrincipalID][]grant.Grant) (ids []string) {
	for _, all := range by {
		for _, g := range all {
			ids = append(ids, g.ID)
		}
	}
	return ids
}
