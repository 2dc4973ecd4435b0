package intake

import (
	"context"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/provision"
	"sallyport/internal/web/scim/resource"
)

// CreateGroup makes a group of what a source says. One that is there already, and
// kept by somebody else, is not taken over.
func (s *Service) CreateGroup(ctx context.Context, o Order, in resource.Record) (string, error) {
	name, err := o.Source.Group(in.Text("displayName", ""))
	if err != nil {
		return "", err
	}
	v, err := s.view(ctx, o.Source.Name)
	if err != nil {
		return "", err
	}
	members, err := v.people(in.Members())
	if err != nil {
		return "", err
	}
	if err := s.mayJoin(ctx, name, members, nil); err != nil {
		return "", err
	}
	r, err := s.reserve(ctx, o, in, provision.Group, name)
	if err != nil {
		return "", err
	}
	if err := s.defineGroup(ctx, o, r); err != nil {
		return "", s.abandonGroup(ctx, r, err)
	}
	return r.ID, s.setMembers(ctx, o, r, membership{want: members})
}

// abandonGroup abandons a record, unless another attempt made its group meanwhile.
func (s *Service) abandonGroup(ctx context.Context, r provision.Record, because error) error {
	made, err := s.made(ctx, r)
	switch {
	case err != nil:
		return because // whoever comes next goes on with the record
	case made:
		return taken(because)
	}
	return s.abandon(ctx, r, because)
}

// made reports whether a group was made of a record. One of the same name that was made otherwise is none of the source's
// business.
func (s *Service) made(ctx context.Context, r provision.Record) (bool, error) {
	dump, err := s.Directory.Dump(ctx)
	return slices.ContainsFunc(dump.Groups, func(g directory.Group) bool { return keeps(r, g) }), err
}

// keeps is standsFor for a group.
func keeps(r provision.Record, g directory.Group) bool {
	return g.Name == r.Target && g.Source == r.Source && g.External == r.ID
}

// defineGroup makes a group that was not there: one that somebody else keeps is
// not taken over.
func (s *Service) defineGroup(ctx context.Context, o Order, r provision.Record) error {
	there, err := s.there(ctx, r)
	if err != nil {
		return err
	}
	if there {
		return sallyport.E("provision", sallyport.Conflict, "the group is there", "")
	}
	if err := s.note(ctx, o, sallyport.EventChanged, "group:"+r.Target, map[string]string{"what": "group defined"}); err != nil {
		return err
	}
	return s.Directory.ProvideGroup(ctx, r.Target, r.Source, r.ID)
}

// people returns the accounts of ids, sorted, each once. One that is not a user of the source is not
// there.
func (v *view) people(ids []string) ([]sallyport.PrincipalID, error) {
	byID := make(map[string]string, len(v.byTarget))
	for target, r := range v.byTarget {
		if r.Kind == provision.User {
			byID[r.ID] = target
		}
	}
	all := make([]sallyport.PrincipalID, 0, len(ids))
	for _, id := range ids {
		target, ok := byID[id]
		if !ok {
			return nil, sallyport.E("provision", sallyport.Invalid, "there is no user "+sallyport.OneLine(id)+" to be a member", "").Because("invalidValue")
		}
		all = append(all, sallyport.PrincipalID(target))
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// mayJoin refuses an order that would give somebody rights that are kept apart, before anything is written down: the
// source hears why, and nobody is half in the group.
func (s *Service) mayJoin(ctx context.Context, group string, want, now []sallyport.PrincipalID) error {
	return s.Directory.MayJoin(ctx, group, slices.DeleteFunc(slices.Clone(want), func(id sallyport.PrincipalID) bool { return slices.Contains(now, id) }))
}

// A membership is who is in a group, and who is to be.
type membership struct{ now, want []sallyport.PrincipalID }

// setMembers makes people members and ends the membership of those who are not
// named any more, each with a record of its own.
func (s *Service) setMembers(ctx context.Context, o Order, r provision.Record, m membership) error {
	for _, id := range m.want {
		if slices.Contains(m.now, id) {
			continue
		}
		if err := s.note(ctx, o, sallyport.EventMoved, string(id), map[string]string{"joined": r.Target}); err != nil {
			return err
		}
		if err := s.Directory.AddGroup(ctx, id, r.Target); err != nil {
			return err
		}
	}
	for _, id := range m.now {
		if slices.Contains(m.want, id) {
			continue
		}
		if err := s.note(ctx, o, sallyport.EventMoved, string(id), map[string]string{"left": r.Target}); err != nil {
			return err
		}
		if err := s.Directory.RemoveGroup(ctx, id, r.Target); err != nil {
			return err
		}
	}
	return nil
}

// ChangeGroup makes of a group what change makes of the record. match is the
// version that it must have, 0 for any.
func (s *Service) ChangeGroup(ctx context.Context, o Order, id string, match int64, change Change) error {
	k, v, err := s.changed(ctx, o, asked{provision.Group, id, match, change})
	if err != nil {
		return err
	}
	if _, made := v.byTarget[k.Target]; !made {
		return sallyport.E("provision", sallyport.NotFound, "the group was never made", "send it again with POST")
	}
	if err := s.groupMayBeCalled(ctx, o, k.Record, k.want.Text("displayName", "")); err != nil {
		return err
	}
	return s.writeGroup(ctx, o, v, k)
}

// groupMayBeCalled refuses a new name that stands for another group. The group
// itself keeps the name that roles and policies know.
func (s *Service) groupMayBeCalled(ctx context.Context, o Order, r provision.Record, displayName string) error {
	if strings.EqualFold(displayName, r.Name) {
		return nil
	}
	name, err := o.Source.Group(displayName)
	if err != nil || name == r.Target {
		return err
	}
	taken, err := s.there(ctx, provision.Record{Target: name})
	if err == nil && taken {
		err = sallyport.E("provision", sallyport.Conflict, "the name is taken, or was once; names are never used again", "").Because("uniqueness")
	}
	return err
}

func (s *Service) writeGroup(ctx context.Context, o Order, v *view, k kept) error {
	r, now, want := k.Record, k.now, k.want
	members, err := v.people(want.Members())
	if err != nil {
		return err
	}
	before, err := v.people(now.Members())
	if err != nil {
		return err
	}
	old, err := stored(now)
	if err != nil {
		return err
	}
	body, err := stored(want)
	if err != nil {
		return err
	}
	slices.Sort(before)
	if string(old) == string(body) && slices.Equal(before, members) && k.match == 0 {
		return nil
	}
	if err := s.mayJoin(ctx, r.Target, members, before); err != nil {
		return err
	}
	r, err = s.Records.Change(ctx, r, k.match, func(x *provision.Record) error {
		x.Name, x.External, x.Body = want.Text("displayName", ""), want.Text("externalId", ""), body
		return nil
	})
	if err != nil {
		return err
	}
	return s.setMembers(ctx, o, r, membership{before, members})
}

// DeleteGroup ends the group for everybody who is in it, and the roles that it
// gave. Its name is never used again.
func (s *Service) DeleteGroup(ctx context.Context, o Order, id string, match int64) error {
	r, err := s.toRemove(ctx, o, provision.Group, id, match)
	if err != nil {
		return err
	}
	made, err := s.made(ctx, r)
	if err != nil {
		return err
	}
	if !made {
		return s.Records.Remove(ctx, r, 0) // it never became a group
	}
	state, err := s.Roles.List(ctx)
	if err != nil {
		return err
	}
	for _, a := range state.Assignments {
		if a.Subject != "group:"+r.Target {
			continue
		}
		if err := s.note(ctx, o, sallyport.EventMoved, "assignment:"+a.ID, map[string]string{"what": "role taken away"}); err != nil {
			return err
		}
		if err := s.Roles.Unassign(ctx, a.ID); err != nil {
			return err
		}
	}
	all, err := s.Directory.List(ctx)
	if err != nil {
		return err
	}
	var members []sallyport.PrincipalID
	for _, m := range all {
		if slices.Contains(m.Groups, r.Target) {
			members = append(members, m.ID)
		}
	}
	if err := s.setMembers(ctx, o, r, membership{now: members}); err != nil {
		return err
	}
	if err := s.note(ctx, o, sallyport.EventChanged, "group:"+r.Target, map[string]string{"what": "group ended"}); err != nil {
		return err
	}
	return s.Records.Remove(ctx, r, 0)
}
