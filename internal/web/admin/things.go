package admin

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/web/api"
)

// catalogRoutes are about what is protected. A thing is added to what contains
// it, which is the resource that the query names.
func catalogRoutes() []Route {
	return []Route{
		{"GET", "/catalog", sallyport.ModelList, system, (*API).things},
		{"POST", "/catalog/orgs", sallyport.SystemConfigure, system, (*API).addOrg},
		{"POST", "/catalog/things", sallyport.ModelRegister, inQuery, (*API).addThing},
		{"POST", "/catalog/purposes", sallyport.LabelChange, inQuery, (*API).purposes},
		{"POST", "/catalog/label", sallyport.LabelChange, inQuery, (*API).label},
		{"POST", "/catalog/promote", sallyport.ModelPromote, inQuery, (*API).promote},
		{"POST", "/catalog/retire", sallyport.ModelRetire, inQuery, (*API).retire},
	}
}

// things lists what the caller may know of.
func (a *API) things(c *Call) (any, error) {
	snap := a.Facts.Snapshot()
	out := []api.Thing{}
	for _, x := range snap.Catalog().All() {
		ref := bare(x)
		if len(a.Guard.Visible(c.Permit, reading(x), []sallyport.Ref{ref})) == 0 {
			continue
		}
		t := api.Thing{Resource: ref.String(), Class: x.Class, Environment: x.Environment, Version: x.Version, Digest: x.Digest, Owners: snap.Catalog().Owners(x),
			Purposes: snap.Catalog().Purposes(x)}
		if x.Project != "" {
			t.Project = x.Org + "/" + x.Project
		}
		if m, ok := snap.Catalog().Model(x.Org, x.Name); ok && x.Kind != sallyport.DatasetKind && x.Kind != sallyport.EndpointKind {
			t.Aliases = m.Aliases
		}
		out = append(out, t)
	}
	return out, nil
}

func (a *API) addOrg(c *Call) (any, error) {
	var in api.Thing
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	ref, err := sallyport.ParseRef(in.Resource)
	if err != nil || ref.Kind != sallyport.OrganisationKind {
		return nil, sallyport.E("add organisation", sallyport.Invalid, "\"resource\" must name an organisation", "write org:NAME")
	}
	if err := a.Rooms.Catalog.Add(c.Context(), catalog.Item{Org: &catalog.Org{Name: ref.Org}}); err != nil {
		return nil, err
	}
	return in, a.changed(c, ref.String(), map[string]string{"what": "organisation added"})
}

func (a *API) addThing(c *Call) (any, error) {
	var in api.Thing
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	ref, err := sallyport.ParseRef(in.Resource)
	if err != nil {
		return nil, err
	}
	within := c.Permit.Resource()
	if ref.Org != within.Org || within.Kind != sallyport.OrganisationKind && within.Kind != sallyport.ProjectKind {
		return nil, sallyport.E("add", sallyport.Invalid, in.Resource+" does not belong into "+within.String(), "name what contains it: ?resource=project:ORG/NAME or org:ORG")
	}
	item, err := itemOf(in, ref, within.Project)
	if err != nil {
		return nil, err
	}
	if err := a.Rooms.Catalog.Add(c.Context(), item); err != nil {
		return nil, err
	}
	return in, a.changed(c, ref.String(), map[string]string{"what": "added to the catalog", "class": string(in.Class)})
}

func itemOf(in api.Thing, ref sallyport.Ref, project string) (catalog.Item, error) {
	switch {
	case ref.Revision != "":
	case ref.Kind == sallyport.ProjectKind:
		return catalog.Item{Project: &catalog.Project{Org: ref.Org, Name: ref.Name}}, nil
	case ref.Kind == sallyport.ModelKind:
		return catalog.Item{Model: &catalog.Model{Org: ref.Org, Name: ref.Name, Project: project, Class: in.Class, Owners: in.Owners, Purposes: in.Purposes}}, nil
	case ref.Kind == sallyport.DatasetKind:
		return catalog.Item{Dataset: &catalog.Dataset{Org: ref.Org, Name: ref.Name, Project: project, Class: in.Class, Owners: in.Owners,
			Purposes: in.Purposes, Environment: in.Environment}}, nil
	case ref.Kind == sallyport.EndpointKind:
		return catalog.Item{Endpoint: &catalog.Endpoint{Org: ref.Org, Name: ref.Name, Project: project, Class: in.Class, Model: in.Model, Environment: in.Environment}}, nil
	}
	return catalog.Item{}, sallyport.E("add", sallyport.Invalid, in.Resource+" cannot be added", "add a project, model, dataset or endpoint; versions come with 'sallyport push'")
}

// purposes says what the permit's resource may be used for.
func (a *API) purposes(c *Call) (any, error) {
	var in api.Thing
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	ref, err := sallyport.ParseRef(c.URL.Query().Get("resource"))
	if err != nil {
		return nil, err
	}
	if err := checkWhy("set purposes", in.Why); err != nil {
		return nil, err
	}
	if err := a.Rooms.Catalog.SetPurposes(c.Context(), ref, in.Purposes); err != nil {
		return nil, err
	}
	return in, a.changed(c, ref.String(), map[string]string{"what": "purposes", "purposes": strings.Join(in.Purposes, " "), "why": in.Why})
}

// label raises a class, or asks others to lower it. It bites on the next request, and on those that run.
func (a *API) label(c *Call) (any, error) {
	var in api.Thing
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	ref, err := sallyport.ParseRef(c.URL.Query().Get("resource"))
	if err != nil {
		return nil, err
	}
	if err := checkWhy("change label", in.Why); err != nil {
		return nil, err
	}
	err = a.Rooms.Catalog.Raise(c.Context(), ref, in.Class)
	if sallyport.ReasonOf(err) == catalog.Lowered {
		return a.askLower(c, ref, in)
	}
	if err != nil {
		return nil, err
	}
	return in, a.changed(c, ref.String(), map[string]string{"what": "label", "class": string(in.Class), "why": in.Why})
}

// promote moves a version to an environment, an alias to a version, or both. Where to was decided on: "to" is the body's
// environment, or "here" where only a name moves.
func (a *API) promote(c *Call) (any, error) {
	var in api.Thing
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	x := c.Permit.Resource()
	if x.Kind != sallyport.VersionKind {
		return nil, sallyport.E("promote", sallyport.NotFound, "the model has no version yet", "push one with 'sallyport push'")
	}
	to := sallyport.Environment(c.URL.Query().Get("to"))
	if to != in.Environment && (to != guard.Here || in.Environment != "" || len(in.Aliases) == 0) {
		return nil, sallyport.E("promote", sallyport.Invalid, `"to" must be the environment in the body`, `write "here" and no environment where only a name moves`)
	}
	if err := a.answeredFor(x, in.Environment); err != nil {
		return nil, err
	}
	if in.Environment != "" {
		env, err := sallyport.ParseEnvironment(string(in.Environment))
		if err != nil {
			return nil, err
		}
		if _, err := a.Rooms.Catalog.UpdateVersion(c.Context(), x.Org, x.Name, x.Version, catalog.VersionChange{Environment: &env}); err != nil {
			return nil, err
		}
	}
	for alias := range in.Aliases {
		if err := a.Rooms.Catalog.SetAlias(c.Context(), x.Org, x.Name, alias, x.Version); err != nil {
			return nil, err
		}
	}
	return in, a.changed(c, x.String(), map[string]string{"what": "promoted", "environment": string(in.Environment)})
}

// retire destroys the key of one version, which must be named as such: its bytes
// are unreadable from then on, wherever copies of them are.
func (a *API) retire(c *Call) (any, error) {
	var in api.Thing
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	ref, err := sallyport.ParseRef(c.URL.Query().Get("resource"))
	if err != nil {
		return nil, err
	}
	x := c.Permit.Resource()
	if x.Kind != sallyport.VersionKind || ref.Revision == "" {
		return nil, sallyport.E("retire", sallyport.Invalid, "\"resource\" must name one version", "write ORG/MODEL@VERSION: there is no way back")
	}
	if err := checkWhy("retire", in.Why); err != nil {
		return nil, err
	}
	if err := a.Rooms.Keys.Retire(c.Permit); err != nil {
		return nil, err
	}
	return in, a.changed(c, x.String(), map[string]string{"what": "retired, its key destroyed", "why": in.Why})
}

// maxWhy bounds a reason that goes into the log, in bytes.
const maxWhy = 500

// checkWhy refuses what is no reason, or none that people can read in the log.
func checkWhy(op, why string) error {
	if strings.TrimSpace(why) == "" || len(why) > maxWhy || !utf8.ValidString(why) || strings.ContainsFunc(why, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return sallyport.E(op, sallyport.Invalid, "this needs a reason that people can read", fmt.Sprintf("say why, in one line of at most %d bytes", maxWhy))
	}
	return nil
}
