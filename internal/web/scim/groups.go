package scim

import (
	"net/http"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/provision"
	"sallyport/internal/web/scim/resource"
)

func (d *Door) createGroup(c *call) (answer, error) {
	t := resource.Groups()
	in, err := t.Decode(c.body)
	if err != nil {
		return answer{}, err
	}
	name, err := c.source.Group(in.Text("displayName", ""))
	if err != nil {
		return answer{}, err
	}
	v, err := d.view(c.Context(), c.source.Name)
	if err != nil {
		return answer{}, err
	}
	members, err := v.people(in.Members())
	if err != nil {
		return answer{}, err
	}
	r, err := d.reserve(c, in, provision.Group, name)
	if err != nil {
		return answer{}, err
	}
	if err := d.defineGroup(c, r); err != nil {
		return answer{}, d.abandon(c, r, err)
	}
	if err := d.setMembers(c, r, nil, members); err != nil {
		return answer{}, err
	}
	return d.created(c, t, r)
}

// defineGroup makes a group that was not there: one that somebody else keeps is
// not taken over.
func (d *Door) defineGroup(c *call, r provision.Record) error {
	there, err := d.there(c, r)
	if err != nil {
		return err
	}
	if there {
		return sallyport.E("scim", sallyport.Conflict, "the group is there", "")
	}
	if err := d.Directory.DefineGroup(c.Context(), directory.Group{Name: r.Target}); err != nil {
		return err
	}
	return d.note(c, sallyport.EventChanged, "group:"+r.Target, map[string]string{"what": "group defined"})
}

// people returns the accounts of ids. One that is not a user of the source is not
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
			return nil, sallyport.E("scim", sallyport.Invalid, "there is no user "+sallyport.OneLine(id)+" to be a member", "").Because("invalidValue")
		}
		all = append(all, sallyport.PrincipalID(target))
	}
	return all, nil
}

// setMembers makes people members and ends the membership of those who are not
// named any more, each with a record of its own.
func (d *Door) setMembers(c *call, r provision.Record, now, want []sallyport.PrincipalID) error {
	for _, id := range want {
		if slices.Contains(now, id) {
			continue
		}
		if err := d.Directory.AddGroup(c.Context(), id, r.Target); err != nil {
			return err
		}
		if err := d.note(c, sallyport.EventMoved, string(id), map[string]string{"group": r.Target}); err != nil {
			return err
		}
	}
	for _, id := range now {
		if slices.Contains(want, id) {
			continue
		}
		if err := d.Directory.RemoveGroup(c.Context(), id, r.Target); err != nil {
			return err
		}
		if err := d.note(c, sallyport.EventMoved, string(id), map[string]string{"group": r.Target, "removed": "true"}); err != nil {
			return err
		}
	}
	return nil
}

func (d *Door) changeGroup(c *call) (answer, error) {
	t := resource.Groups()
	match, err := c.match()
	if err != nil {
		return answer{}, err
	}
	r, err := d.Records.Get(c.Context(), c.source.Name, provision.Group, c.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	v, err := d.view(c.Context(), c.source.Name)
	if err != nil {
		return answer{}, err
	}
	now, err := v.record(r)
	if err != nil {
		return answer{}, err
	}
	want, err := c.changed(t, now)
	if err != nil {
		return answer{}, err
	}
	if err := d.groupMayBeCalled(c, r, want.Text("displayName", "")); err != nil {
		return answer{}, err
	}
	if r, err = d.writeGroup(c, v, r, match, now, want); err != nil {
		return answer{}, err
	}
	if c.Method == http.MethodPatch && !c.URL.Query().Has("attributes") { // a large group is not sent back for one member
		return answer{status: http.StatusNoContent, version: tag(r.Version)}, nil
	}
	if v, err = d.view(c.Context(), c.source.Name); err != nil {
		return answer{}, err
	}
	return c.shown(v, t, r, http.StatusOK)
}

// groupMayBeCalled refuses a new name that stands for another group. The group
// itself keeps the name that roles and policies know.
func (d *Door) groupMayBeCalled(c *call, r provision.Record, displayName string) error {
	if strings.EqualFold(displayName, r.Name) {
		return nil
	}
	name, err := c.source.Group(displayName)
	if err != nil || name == r.Target {
		return err
	}
	taken, err := d.there(c, provision.Record{Target: name})
	if err == nil && taken {
		err = sallyport.E("scim", sallyport.Conflict, "the name is taken, or was once; names are never used again", "").Because("uniqueness")
	}
	return err
}

func (d *Door) writeGroup(c *call, v *view, r provision.Record, match int64, now, want resource.Record) (provision.Record, error) {
	members, err := v.people(want.Members())
	if err != nil {
		return r, err
	}
	before, err := v.people(now.Members())
	if err != nil {
		return r, err
	}
	old, err := stored(now)
	if err != nil {
		return r, err
	}
	body, err := stored(want)
	if err != nil {
		return r, err
	}
	slices.Sort(members)
	slices.Sort(before)
	if string(old) == string(body) && slices.Equal(before, members) && match == 0 {
		return r, nil
	}
	r, err = d.Records.Change(c.Context(), r, match, func(x *provision.Record) error {
		x.Name, x.External, x.Body = want.Text("displayName", ""), want.Text("externalId", ""), body
		return nil
	})
	if err != nil {
		return r, err
	}
	return r, d.setMembers(c, r, before, members)
}

// deleteGroup ends the group for everybody who is in it, and the roles that it
// gave. Its name is never used again.
func (d *Door) deleteGroup(c *call) (answer, error) {
	match, err := c.match()
	if err != nil {
		return answer{}, err
	}
	r, err := d.Records.Get(c.Context(), c.source.Name, provision.Group, c.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	if match != 0 && match != r.Version {
		return answer{}, sallyport.E("scim", sallyport.Conflict, "the record has changed since", "read it again").Because("version")
	}
	state, err := d.Roles.List(c.Context())
	if err != nil {
		return answer{}, err
	}
	for _, a := range state.Assignments {
		if a.Subject != "group:"+r.Target {
			continue
		}
		if err := d.Roles.Unassign(c.Context(), a.ID); err != nil {
			return answer{}, err
		}
	}
	all, err := d.Directory.List(c.Context())
	if err != nil {
		return answer{}, err
	}
	var members []sallyport.PrincipalID
	for _, m := range all {
		if slices.Contains(m.Groups, r.Target) {
			members = append(members, m.ID)
		}
	}
	if err := d.setMembers(c, r, members, nil); err != nil {
		return answer{}, err
	}
	if err := d.note(c, sallyport.EventChanged, "group:"+r.Target, map[string]string{"what": "group ended"}); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, d.Records.Remove(c.Context(), r, 0)
}
