package scim

import (
	"net/http"
	"strings"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/provision"
	"sallyport/internal/web/scim/patch"
	"sallyport/internal/web/scim/resource"
)

func (d *Door) listUsers(c *call) (answer, error) { return d.list(c, resource.Users()) }

func (d *Door) listGroups(c *call) (answer, error) { return d.list(c, resource.Groups()) }

func (d *Door) list(c *call, t resource.Type) (answer, error) {
	q, err := c.query(t)
	if err != nil {
		return answer{}, err
	}
	found, err := d.Records.Find(c.Context(), q.narrow)
	if err != nil {
		return answer{}, err
	}
	v, err := d.view(c.Context(), c.source.Name)
	if err != nil {
		return answer{}, err
	}
	all := make([]resource.Record, len(found))
	for i, r := range found {
		if all[i], err = v.record(r); err != nil {
			return answer{}, err
		}
	}
	return q.page(t, all), nil
}

func (d *Door) getUser(c *call) (answer, error) { return d.get(c, resource.Users()) }

func (d *Door) getGroup(c *call) (answer, error) { return d.get(c, resource.Groups()) }

func (d *Door) get(c *call, t resource.Type) (answer, error) {
	r, err := d.Records.Get(c.Context(), c.source.Name, provision.Kind(t.Name), c.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	if c.unchanged(r.Version) {
		return answer{status: http.StatusNotModified, version: tag(r.Version)}, nil
	}
	v, err := d.view(c.Context(), c.source.Name)
	if err != nil {
		return answer{}, err
	}
	return c.shown(v, t, r, http.StatusOK)
}

// created answers with a record that was made.
func (d *Door) created(c *call, t resource.Type, r provision.Record) (answer, error) {
	v, err := d.view(c.Context(), c.source.Name)
	if err != nil {
		return answer{}, err
	}
	a, err := c.shown(v, t, r, http.StatusCreated)
	a.location = v.location(r)
	return a, err
}

// changed returns what a PUT or PATCH makes of a record as its source sees it. A
// PUT that says nothing of "active" leaves it as it is.
func (c *call) changed(t resource.Type, now resource.Record) (resource.Record, error) {
	if c.Method == http.MethodPatch {
		return patch.Apply(t, now, c.body)
	}
	r, err := t.Decode(c.body)
	if err == nil && t.Name == "User" && r["active"] == nil {
		r["active"] = now["active"]
	}
	return r, err
}

// createUser keeps the record first: it reserves the name. Where an earlier
// attempt died before the member was made, this one goes on with its record.
func (d *Door) createUser(c *call) (answer, error) {
	t := resource.Users()
	in, err := t.Decode(c.body)
	if err != nil {
		return answer{}, err
	}
	id, err := c.source.Account(in.Text("userName", ""))
	if err != nil {
		return answer{}, err
	}
	r, err := d.reserve(c, in, provision.User, string(id))
	if err != nil {
		return answer{}, err
	}
	_, err = d.Directory.Create(c.Context(), directory.Member{ID: id, Org: c.source.Organisation, Display: display(in), Email: in.Email(), Source: c.source.Name, External: r.ID})
	if err != nil {
		return answer{}, d.abandon(c, r, err)
	}
	if in["active"] == false {
		if err := d.Directory.SetState(c.Context(), id, directory.Suspended); err != nil {
			return answer{}, err
		}
	}
	if err := d.note(c, sallyport.EventJoined, string(id), map[string]string{"userName": sallyport.OneLine(r.Name)}); err != nil {
		return answer{}, err
	}
	return d.created(c, t, r)
}

// reserve adds a record for a target.
func (d *Door) reserve(c *call, in resource.Record, kind provision.Kind, target string) (provision.Record, error) {
	body, err := stored(in)
	if err != nil {
		return provision.Record{}, err
	}
	name := in.Text("userName", "")
	if kind == provision.Group {
		name = in.Text("displayName", "")
	}
	add := provision.Record{Source: c.source.Name, Kind: kind, Name: name, Target: target, External: in.Text("externalId", ""), Body: body}
	r, err := d.Records.Add(c.Context(), add)
	if sallyport.ReasonOf(err) != "uniqueness" {
		return r, err
	}
	old, ferr := d.Records.Find(c.Context(), provision.Query{Source: c.source.Name, Kind: kind, Name: name})
	if ferr != nil || len(old) == 0 || old[0].Target != target {
		return r, err
	}
	there, ferr := d.there(c, old[0])
	if ferr != nil || there {
		return r, err
	}
	return d.Records.Change(c.Context(), old[0], 0, func(now *provision.Record) error {
		now.Body, now.External = body, add.External
		return nil
	})
}

// there reports whether the directory has what a record stands for.
func (d *Door) there(c *call, r provision.Record) (bool, error) {
	dump, err := d.Directory.Dump(c.Context())
	if err != nil {
		return false, err
	}
	for _, m := range dump.Members {
		if string(m.ID) == r.Target {
			return true, nil
		}
	}
	for _, g := range dump.Groups {
		if g.Name == r.Target {
			return true, nil
		}
	}
	return false, nil
}

// abandon drops the record of what could not be made.
func (d *Door) abandon(c *call, r provision.Record, because error) error {
	if err := d.Records.Forget(c.Context(), r); err != nil {
		return err
	}
	if sallyport.KindOf(because) == sallyport.Conflict {
		return sallyport.Wrap("scim", sallyport.Conflict, "the name is taken, or was once; names are never used again", because).Because("uniqueness")
	}
	return because
}

func (d *Door) changeUser(c *call) (answer, error) {
	t := resource.Users()
	match, err := c.match()
	if err != nil {
		return answer{}, err
	}
	r, err := d.Records.Get(c.Context(), c.source.Name, provision.User, c.PathValue("id"))
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
	if err := d.mayBeCalled(c, v, r, want.Text("userName", "")); err != nil {
		return answer{}, err
	}
	if r, err = d.writeUser(c, r, match, now, want); err != nil {
		return answer{}, err
	}
	if v, err = d.view(c.Context(), c.source.Name); err != nil {
		return answer{}, err
	}
	return c.shown(v, t, r, http.StatusOK)
}

// mayBeCalled refuses a new userName that stands for somebody else's account.
func (d *Door) mayBeCalled(c *call, v *view, r provision.Record, userName string) error {
	if strings.EqualFold(userName, r.Name) {
		return nil
	}
	id, err := c.source.Account(userName)
	if err != nil {
		return err
	}
	if _, taken := v.members[string(id)]; taken && string(id) != r.Target {
		return sallyport.E("scim", sallyport.Conflict, "the name is taken, or was once; names are never used again", "").Because("uniqueness")
	}
	return nil
}

// writeUser writes what changed. Where the account is disabled, that is what the
// call is for: it ends everything before the answer.
func (d *Door) writeUser(c *call, r provision.Record, match int64, now, want resource.Record) (provision.Record, error) {
	before, err := stored(now)
	if err != nil {
		return r, err
	}
	body, err := stored(want)
	if err != nil {
		return r, err
	}
	id := sallyport.PrincipalID(r.Target)
	active, _ := want["active"].(bool)
	if string(before) == string(body) && now["active"] == active && match == 0 {
		return r, nil
	}
	r, err = d.Records.Change(c.Context(), r, match, func(x *provision.Record) error {
		x.Name, x.External, x.Body = want.Text("userName", ""), want.Text("externalId", ""), body
		return nil
	})
	if err != nil {
		return r, err
	}
	if now["active"] == true && !active {
		_, err := d.Leaver.Leave(c.Context(), id, c.permit.Who().ID, "disabled by "+c.source.Name)
		if err := d.alarm(c, id, err); err != nil {
			return r, err
		}
	}
	if err := d.Directory.Describe(c.Context(), id, display(want), want.Email()); err != nil {
		return r, err
	}
	if now["active"] == false && active {
		if err := d.Directory.SetState(c.Context(), id, directory.Active); err != nil {
			return r, err
		}
	}
	detail := map[string]string{"version": tag(r.Version)}
	if now["active"] != active {
		detail["active"] = map[bool]string{true: "true", false: "false"}[active]
	}
	return r, d.note(c, sallyport.EventMoved, string(id), detail)
}

// alarm tells operators of a leaver whom only they can let go: nobody else would
// administer what that person administers.
func (d *Door) alarm(c *call, id sallyport.PrincipalID, err error) error {
	if sallyport.KindOf(err) != sallyport.Conflict {
		return err
	}
	if nerr := d.note(c, sallyport.EventAlarm, string(id), map[string]string{"what": "a leaver could not leave", "why": sallyport.OneLine(sallyport.PublicText(err))}); nerr != nil {
		return nerr
	}
	return err
}

func (d *Door) deleteUser(c *call) (answer, error) {
	match, err := c.match()
	if err != nil {
		return answer{}, err
	}
	r, err := d.Records.Get(c.Context(), c.source.Name, provision.User, c.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	if match != 0 && match != r.Version {
		return answer{}, sallyport.E("scim", sallyport.Conflict, "the record has changed since", "read it again").Because("version")
	}
	id := sallyport.PrincipalID(r.Target)
	_, err = d.Leaver.Remove(c.Context(), id, c.permit.Who().ID, "removed by "+c.source.Name)
	if err := d.alarm(c, id, err); err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, d.Records.Remove(c.Context(), r, 0)
}
