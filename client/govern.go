package client

import (
	"cmp"
	"context"
	"net/url"
	"strings"

	"sallyport"
	"sallyport/internal/web/api"
)

// People lists the members of the directory: people and services.
func (c *Client) People(ctx context.Context) ([]api.Member, error) {
	return get[[]api.Member](ctx, c, "list people", "/people", nil)
}

// AddPerson adds a person or a service.
func (c *Client) AddPerson(ctx context.Context, m api.Member) (api.Member, error) {
	return post[api.Member](ctx, c, request{op: "add " + string(m.ID), path: "/people"}, m)
}

// SetState makes a member active, suspended or removed. Whoever is not active loses sessions, logins and grants.
func (c *Client) SetState(ctx context.Context, id sallyport.PrincipalID, state string) (api.Member, error) {
	return post[api.Member](ctx, c, request{op: "set state", path: member(id) + "/state"}, api.Member{ID: id, State: state})
}

// Enrol makes a one-time link by which a person sets up their proof.
func (c *Client) Enrol(ctx context.Context, id sallyport.PrincipalID) (api.Enrolment, error) {
	return post[api.Enrolment](ctx, c, request{op: "enrol", path: member(id) + "/enrol"}, nil)
}

// Join puts a member into a group, or with g.Remove takes them out of it.
func (c *Client) Join(ctx context.Context, id sallyport.PrincipalID, g api.Group) (api.Group, error) {
	return post[api.Group](ctx, c, request{op: "change group", path: member(id) + "/groups"}, g)
}

func member(id sallyport.PrincipalID) string { return "/people/" + url.PathEscape(string(id)) }

// DefineGroup makes a group, or changes what it is part of.
func (c *Client) DefineGroup(ctx context.Context, g api.Group) (api.Group, error) {
	return post[api.Group](ctx, c, request{op: "define group", path: "/groups"}, g)
}

// Roles lists the roles and who holds them on what.
func (c *Client) Roles(ctx context.Context) (api.Roles, error) {
	return get[api.Roles](ctx, c, "list roles", "/roles", nil)
}

// DefineRole makes a role or changes it.
func (c *Client) DefineRole(ctx context.Context, r api.Role) (api.Role, error) {
	return post[api.Role](ctx, c, request{op: "define role", path: "/roles"}, r)
}

// Assign gives a role.
func (c *Client) Assign(ctx context.Context, a api.Assignment) (api.Assignment, error) {
	return post[api.Assignment](ctx, c, request{op: "assign role", path: "/assignments"}, a)
}

// Unassign takes a role away, by the id of its assignment.
func (c *Client) Unassign(ctx context.Context, id string) error {
	_, err := post[api.Assignment](ctx, c, request{op: "take role away", path: "/assignments/" + url.PathEscape(id) + "/remove"}, nil)
	return err
}

// Policy returns the policy set in force.
func (c *Client) Policy(ctx context.Context) (api.PolicySet, error) {
	return get[api.PolicySet](ctx, c, "read policy", "/policy", nil)
}

// PolicyVersions lists every set that is or was in force, newest first, without texts.
func (c *Client) PolicyVersions(ctx context.Context) ([]api.PolicySet, error) {
	return get[[]api.PolicySet](ctx, c, "read policy", "/policy/versions", nil)
}

// RotateKeys makes a new key-encryption key, wraps every data key under it, and says how many those were.
func (c *Client) RotateKeys(ctx context.Context) (api.Rotation, error) {
	return post[api.Rotation](ctx, c, request{op: "rotate keys", path: "/keys/rotate"}, nil)
}

// Reindex has the search index made again from the log.
func (c *Client) Reindex(ctx context.Context) (api.Head, error) {
	return post[api.Head](ctx, c, request{op: "rebuild index", path: "/log/reindex"}, nil)
}

// Things lists what is in the catalog, as far as the caller may know.
func (c *Client) Things(ctx context.Context) ([]api.Thing, error) {
	return get[[]api.Thing](ctx, c, "list catalog", "/catalog", nil)
}

// Add adds an organisation, or a project, model, dataset or endpoint to the project or organisation that t names.
func (c *Client) Add(ctx context.Context, t api.Thing) (api.Thing, error) {
	ref, err := sallyport.ParseRef(t.Resource)
	if err != nil {
		return t, err
	}
	r := request{op: "add " + t.Resource, path: "/catalog/things", query: on("org:" + ref.Org)}
	if t.Project != "" {
		r.query = on("project:" + t.Project)
	}
	if ref.Kind == sallyport.OrganisationKind {
		r.path, r.query = "/catalog/orgs", nil
	}
	return post[api.Thing](ctx, c, r, t)
}

// Label changes the class of what t.Resource names, for the reason t.Why.
func (c *Client) Label(ctx context.Context, t api.Thing) (api.Thing, error) {
	return post[api.Thing](ctx, c, request{op: "label " + t.Resource, path: "/catalog/label", query: on(t.Resource)}, t)
}

// Purposes says what the model or dataset that t.Resource names may be used for, for the reason t.Why.
func (c *Client) Purposes(ctx context.Context, t api.Thing) (api.Thing, error) {
	return post[api.Thing](ctx, c, request{op: "set purposes of " + t.Resource, path: "/catalog/purposes", query: on(t.Resource)}, t)
}

// Promote moves the version that t.Resource names to t.Environment, and the names in t.Aliases to it.
func (c *Client) Promote(ctx context.Context, t api.Thing) (api.Thing, error) {
	query := url.Values{"resource": {t.Resource}, "to": {cmp.Or(string(t.Environment), "here")}}
	return post[api.Thing](ctx, c, request{op: "promote " + t.Resource, path: "/catalog/promote", query: query}, t)
}

// Retire destroys the key of the version that ref names: there is no way back.
func (c *Client) Retire(ctx context.Context, ref, why string) error {
	_, err := post[api.Thing](ctx, c, request{op: "retire " + ref, path: "/catalog/retire", query: on(ref)}, api.Thing{Resource: ref, Why: why})
	return err
}

// cutPrefixes cuts the first prefix that fits.
func cutPrefixes(s string, prefixes ...string) (string, bool) {
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(s, p); ok {
			return rest, true
		}
	}
	return s, false
}

func join(list []string) string { return strings.Join(list, ",") }
