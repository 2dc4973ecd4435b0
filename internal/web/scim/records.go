package scim

import (
	"net/http"

	"sallyport"
	"sallyport/internal/identity/provision"
	"sallyport/internal/web/scim/patch"
	"sallyport/internal/web/scim/resource"
)

// A kind is the routes about one type of record.
type kind struct{ resource.Type }

func (k kind) routes() []route {
	read, change := sallyport.IdentityRead, sallyport.IdentityAdminister
	return []route{
		{"GET", k.Endpoint, read, k.list},
		{"POST", k.Endpoint + "/.search", read, k.list},
		{"POST", k.Endpoint, change, k.create},
		{"GET", k.Endpoint + "/{id}", read, k.get},
		{"PUT", k.Endpoint + "/{id}", change, k.change},
		{"PATCH", k.Endpoint + "/{id}", change, k.change},
		{"DELETE", k.Endpoint + "/{id}", change, k.remove},
	}
}

func (k kind) of() provision.Kind { return provision.Kind(k.Name) }

func (k kind) users() bool { return k.of() == provision.User }

func (k kind) list(d *Door, c *call) (answer, error) {
	q, err := c.query(k.Type)
	if err != nil {
		return answer{}, err
	}
	all, err := d.Intake.List(c.Context(), q.narrow)
	var p page
	p.add(q, k.Type, all)
	return p.answer(q), err
}

func (k kind) get(d *Door, c *call) (answer, error) {
	a, err := k.shown(d, c, c.PathValue("id"), http.StatusOK)
	if err == nil && c.unchanged(a.version) {
		a.status, a.body = http.StatusNotModified, nil
	}
	return a, err
}

func (k kind) create(d *Door, c *call) (answer, error) {
	in, err := k.decode(c, true)
	if err != nil {
		return answer{}, err
	}
	create := d.Intake.CreateGroup
	if k.users() {
		create = d.Intake.CreateUser
	}
	id, err := create(c.Context(), c.order(), in)
	if err != nil {
		return answer{}, err
	}
	a, err := k.shown(d, c, id, http.StatusCreated)
	a.location = d.Intake.Places + k.Endpoint + "/" + id
	return a, err
}

// change is PUT and PATCH. A PUT that says nothing of "active" leaves it as it is.
func (k kind) change(d *Door, c *call) (answer, error) {
	match, err := c.match()
	if err != nil {
		return answer{}, err
	}
	change := d.Intake.ChangeGroup
	if k.users() {
		change = d.Intake.ChangeUser
	}
	id := c.PathValue("id")
	err = change(c.Context(), c.order(), id, match, func(now resource.Record) (resource.Record, error) {
		if c.Method == http.MethodPatch {
			return patch.Apply(k.Type, now, c.body)
		}
		return k.decode(c, now["active"])
	})
	if err != nil {
		return answer{}, err
	}
	a, err := k.shown(d, c, id, http.StatusOK)
	if c.Method == http.MethodPatch && !k.users() && !c.URL.Query().Has("attributes") { // a large group is not sent back for one member
		a.status, a.body = http.StatusNoContent, nil
	}
	return a, err
}

// decode reads a whole record, of whose "active" otherwise is true where it says
// nothing.
func (k kind) decode(c *call, otherwise any) (resource.Record, error) {
	r, err := k.Decode(c.body)
	if err != nil {
		return nil, err
	}
	if k.users() && r["active"] == nil {
		r["active"] = otherwise
	}
	return r, k.Check(r)
}

func (k kind) remove(d *Door, c *call) (answer, error) {
	match, err := c.match()
	if err != nil {
		return answer{}, err
	}
	remove := d.Intake.DeleteGroup
	if k.users() {
		remove = d.Intake.DeleteUser
	}
	return answer{status: http.StatusNoContent}, remove(c.Context(), c.order(), c.PathValue("id"), match)
}

// shown answers with one record.
func (k kind) shown(d *Door, c *call, id string, status int) (answer, error) {
	p, err := c.fromURL()
	if err != nil {
		return answer{}, err
	}
	projection, err := k.Projection(p.only, p.without)
	if err != nil {
		return answer{}, err
	}
	r, err := d.Intake.Get(c.Context(), c.source.Name, k.of(), id)
	if err != nil {
		return answer{}, err
	}
	return answer{status: status, body: k.Show(r, projection), version: r.Text("meta", "version")}, nil
}
