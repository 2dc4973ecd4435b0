package admin

import (
	"fmt"
	"net/http"
	"strings"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/web/api"
)

// dutyRoutes are about who answers for what. Naming somebody is administering identities: the guard is asked about the
// organisation.
func dutyRoutes() []Route {
	return []Route{
		{"GET", "/catalog/duties", sallyport.ModelList, system, (*API).duties},
		{"POST", "/catalog/duties", sallyport.IdentityAdminister, orgInQuery, (*API).setDuties},
	}
}

// orgInQuery is the organisation of what the query names.
func orgInQuery(r *http.Request) (sallyport.Ref, error) {
	ref, err := inQuery(r)
	if err != nil || ref.Kind == sallyport.SystemKind {
		return ref, err
	}
	return sallyport.Ref{Kind: sallyport.OrganisationKind, Org: ref.Org}, nil
}

// duties lists who answers for what the caller may know of, and for the projects and organisations that say so where the
// caller may read about people.
func (a *API) duties(c *Call) (any, error) {
	x, out := a.Facts.Snapshot().Catalog(), []api.Duties{}
	for _, r := range x.All() {
		if ref := bare(r); len(a.Guard.Visible(c.Permit, reading(r), []sallyport.Ref{ref})) > 0 {
			out = append(out, a.dutiesOf(r))
		}
	}
	for _, ref := range x.Chartered() {
		org := sallyport.Ref{Kind: sallyport.OrganisationKind, Org: ref.Org}
		if r, ok := x.Resolve(ref); ok && len(a.Guard.Visible(c.Permit, sallyport.IdentityRead, []sallyport.Ref{org})) > 0 {
			out = append(out, a.dutiesOf(r))
		}
	}
	return out, nil
}

// reading is the action of looking at a thing of the catalog.
func reading(x sallyport.Resource) sallyport.Action {
	switch x.Kind {
	case sallyport.DatasetKind:
		return sallyport.DatasetRead
	case sallyport.EndpointKind:
		return sallyport.EndpointUse
	}
	return sallyport.ModelRead
}

func bare(x sallyport.Resource) sallyport.Ref {
	ref := x.Ref()
	ref.Revision = ""
	return ref
}

func (a *API) dutiesOf(x sallyport.Resource) api.Duties {
	snap := a.Facts.Snapshot()
	out := api.Duties{Resource: bare(x).String(), From: map[string]string{}}
	for duty, list := range dutyLists(&out) {
		holders, from := snap.Catalog().Holders(x, duty)
		if *list = holders; len(holders) > 0 && from != bare(x) {
			out.From[string(duty)] = from.String()
		}
	}
	for _, duty := range snap.Uncharged(x, a.Guard.Clock()) {
		out.Missing = append(out.Missing, string(duty))
	}
	return out
}

func dutyLists(d *api.Duties) map[catalog.Duty]*[]string {
	return map[catalog.Duty]*[]string{catalog.Owner: &d.Owner, catalog.Approver: &d.Approver, catalog.Monitor: &d.Monitor, catalog.Responder: &d.Responder}
}

// setDuties names who answers for what the query names. A duty that the body leaves out stays as it is: it passes from
// hand to hand, and never to nobody.
func (a *API) setDuties(c *Call) (any, error) {
	const op = "set duties"
	var in api.Duties
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	ref, err := inQuery(c.Request)
	if err != nil {
		return nil, err
	}
	detail, named := map[string]string{"what": "duties"}, dutyLists(&in)
	for duty, list := range named {
		for _, subject := range *list {
			if len(a.Facts.Snapshot().Acting([]string{subject}, a.Guard.Clock())) == 0 {
				return nil, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.80q is nobody who can act", subject), "name an active account, or a group with one in it")
			}
		}
		if len(*list) > 0 {
			detail[string(duty)] = strings.Join(*list, " ")
		}
	}
	if len(detail) == 1 {
		return nil, sallyport.E(op, sallyport.Invalid, "nobody is named", "name an owner, an approver, a monitor or a responder")
	}
	err = a.Rooms.Catalog.SetDuties(c.Context(), ref, func(holders map[catalog.Duty][]string) error {
		for duty, list := range named {
			if len(*list) > 0 {
				holders[duty] = *list
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for duty := range named { // whoever is named takes what a leaver left
		if detail[string(duty)] == "" {
			continue
		}
		if err := a.Rooms.Leaver.Taken(c.Context(), duty, ref); err != nil {
			return nil, err
		}
	}
	if err := a.changed(c, ref.String(), detail); err != nil {
		return nil, err
	}
	x, ok := a.Facts.Snapshot().Resolve(ref)
	if !ok {
		return nil, sallyport.E(op, sallyport.NotFound, ref.String()+" does not exist", "")
	}
	return a.dutiesOf(x), nil
}

// answeredFor refuses to take a version past development for which somebody is missing who answers for it.
func (a *API) answeredFor(x sallyport.Resource, to sallyport.Environment) error {
	if to == "" || to == sallyport.Development {
		return nil
	}
	missing, flags := "", ""
	for _, duty := range a.Facts.Snapshot().Uncharged(x, a.Guard.Clock()) {
		missing += ", no " + string(duty)
		flags += " --" + string(duty) + " NAME"
	}
	if missing == "" {
		return nil
	}
	ref := bare(x).String()
	return sallyport.E("promote", sallyport.Conflict, ref+" has"+strings.TrimPrefix(missing, ",")+", and leaves development only when somebody answers for it",
		"name them: sallyport catalog own "+ref+flags).Because("duties.missing")
}
