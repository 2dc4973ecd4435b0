package directory

import (
	"context"
	"slices"

	"sallyport"
)

// checked asks Apart about the directory as a change would leave it. It is asked while nobody else can change the directory.
func (s *Service) checked(ctx context.Context, change func(*Dump)) error {
	if s.Apart == nil {
		return nil
	}
	before, err := s.Store.Dump(ctx)
	if err != nil {
		return err
	}
	after := Dump{slices.Clone(before.Members), slices.Clone(before.Groups)}
	change(&after)
	return s.Apart(ctx, before, after)
}

// gains reports whether a member may hold more than it did: by another group or person, or by being back.
func (m *Member) gains(was Member) bool {
	return m.State == Active && (was.State != Active || m.Person != was.Person ||
		slices.ContainsFunc(m.Groups, func(g string) bool { return !slices.Contains(was.Groups, g) }))
}

// put replaces the member of the same id, or adds it.
func (d *Dump) put(m Member) {
	if i := slices.IndexFunc(d.Members, func(o Member) bool { return o.ID == m.ID }); i >= 0 {
		d.Members[i] = m
		return
	}
	d.Members = append(d.Members, m)
}

// MayJoin refuses a group for members who would have, by all of them joining it, what is kept apart. It looks at Apart only, and
// once, however many they are.
func (s *Service) MayJoin(ctx context.Context, group string, ids []sallyport.PrincipalID) error {
	if len(ids) == 0 {
		return nil
	}
	joins := map[sallyport.PrincipalID]bool{}
	for _, id := range ids {
		joins[id] = true
	}
	return s.checked(ctx, func(d *Dump) {
		for i, m := range d.Members {
			if joins[m.ID] && !slices.Contains(m.Groups, group) {
				d.Members[i].Groups = append(slices.Clone(m.Groups), group)
			}
		}
	})
}

// Joining tells which of some groups a member, or one that there will be, may join once it has left others, and why it may
// not join the first of those that it may not; refused is nil where it may join all. It looks at Apart only.
func (s *Service) Joining(ctx context.Context, m Member, join, leave []string) (may []string, refused, err error) {
	if s.Apart == nil {
		return join, nil, nil
	}
	m.Groups = slices.DeleteFunc(slices.Clone(m.Groups), func(g string) bool { return slices.Contains(leave, g) })
	for _, g := range join {
		next := m
		next.Groups = append(slices.Clone(m.Groups), g)
		err := s.checked(ctx, func(d *Dump) { d.put(next) })
		switch {
		case err == nil:
			m, may = next, append(may, g)
		case sallyport.KindOf(err) != sallyport.Conflict:
			return nil, nil, err
		case refused == nil:
			refused = err
		}
	}
	return may, refused, nil
}

// Subjects are by what each person may hold roles: the active accounts, services and agents that they answer for, and the
// groups that those are in, directly or by way of another ("group:ORG/NAME"). Each list is sorted.
func (d Dump) Subjects() map[sallyport.PrincipalID][]string {
	above := d.above()
	all := map[sallyport.PrincipalID][]string{}
	for _, m := range d.Members {
		if m.State != Active {
			continue
		}
		list := append(all[m.Person], string(m.ID))
		for _, g := range m.Groups {
			list = append(list, above(g)...)
		}
		all[m.Person] = list
	}
	for person, list := range all {
		slices.Sort(list)
		all[person] = slices.Compact(list)
	}
	return all
}

// above returns a function that lists a group and all that contain it as subjects; it remembers.
func (d Dump) above() func(string) []string {
	known := map[string][]string{}
	return func(group string) []string {
		list, ok := known[group]
		if !ok {
			for _, g := range d.Above([]string{group}) {
				list = append(list, "group:"+g)
			}
			known[group] = list
		}
		return list
	}
}
