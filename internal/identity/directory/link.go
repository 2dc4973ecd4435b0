package directory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sallyport"
)

// Link gives a member one more upstream identity. One that anybody has, or ever had, is a Conflict.
func (s *Service) Link(ctx context.Context, id sallyport.PrincipalID, i Identity) error {
	const op = "link identity"
	return s.update(ctx, id, func(m *Member, _ []Group) error {
		if m.State == Removed {
			return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s was removed for good", id), "")
		}
		m.Identities = append(slices.Clone(m.Identities), i)
		return m.checkIdentities(op)
	})
}

// Regroup makes a member, among some groups, a direct member of exactly those that it wants, and leaves all others as they
// are. A wanted group that is not there, or that does not take the member, is passed over: that takes nothing away from anybody.
// It reports what changed.
func (s *Service) Regroup(ctx context.Context, id sallyport.PrincipalID, among, want []string) (joined, left []string, err error) {
	err = s.Store.UpdateMember(ctx, id, func(m *Member, all []Group) error {
		was := *m
		was.Groups = slices.Clone(m.Groups)
		joined, left = m.regroup(among, want, all)
		if m.State == Removed || len(joined)+len(left) == 0 {
			joined, left = nil, nil
			return nil
		}
		if m.Updated = s.Now().UTC().Truncate(time.Microsecond); len(m.Groups)+len(joined)-len(left) > maxGroups {
			return sallyport.E("regroup", sallyport.TooLarge, fmt.Sprintf("%s would be in more than %d groups", id, maxGroups), "use groups of groups")
		}
		m.Groups = slices.DeleteFunc(m.Groups, func(g string) bool { return slices.Contains(left, g) })
		m.Groups = append(m.Groups, joined...)
		slices.Sort(m.Groups)
		if !m.gains(was) {
			return nil
		}
		return s.checked(ctx, func(d *Dump) { d.put(*m) })
	})
	return joined, left, err
}

// Regrouping tells what Regroup would change.
func (d Dump) Regrouping(m Member, among, want []string) (joined, left []string) {
	return m.regroup(among, want, d.Groups)
}

func (m Member) regroup(among, want []string, all []Group) (joined, left []string) {
	for _, g := range want {
		known := slices.ContainsFunc(all, func(one Group) bool { return one.Name == g && one.admits(m) })
		if known && !slices.Contains(m.Groups, g) && !slices.Contains(joined, g) {
			joined = append(joined, g)
		}
	}
	for _, g := range m.Groups {
		if slices.Contains(among, g) && !slices.Contains(want, g) {
			left = append(left, g)
		}
	}
	return joined, left
}
