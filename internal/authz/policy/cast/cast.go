// Package cast owns an organisation as data: who there is, which roles they hold on
// what, and the facts of each of them before each resource, so that policies can be
// tried without a server. examples/acme/acme.yaml documents the format.
//
// It leaves questions with their expected answers to authz/policy/table, and living
// organisations to authz/facts.
package cast

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
)

// MaxFile bounds the text of an organisation, in bytes.
const MaxFile = 4 << 20

// An Organisation is the file. Read reads it as it is, Parse as a whole in which everybody and everything has its place.
type Organisation struct {
	Organisation string
	Groups       []struct {
		Name string
		In   []string
	}
	People []struct {
		Name, Display string
		Groups        []string
		Person        string
		Suspended     bool
	}
	Services []Account
	Agents   []Account
	Roles    []struct {
		Name       string
		Inherits   []string
		Privileged bool
	}
	Assignments []struct {
		Role string
		To   []string
		On   string
	}
	Projects []string
	Models   []struct {
		Item     `yaml:",inline"`
		Versions []struct {
			Number, Environment string
			PushedBy            string `yaml:"pushedBy"`
			TrainedBy           string `yaml:"trainedBy"`
		}
	}
	Datasets []struct {
		Item        `yaml:",inline"`
		Environment string
	}
	Endpoints []struct {
		Item               `yaml:",inline"`
		Model, Environment string
	}
	Duties []struct {
		On                                  string
		Owner, Approver, Monitor, Responder []string
	}
}

// An Account is a service or an agent.
type Account struct {
	Name, Owner, Purpose string
	Environment          string // where it runs
	Days                 int
	Groups               []string
}

// An Item is what every protected thing has.
type Item struct {
	Name, Project, Class string
	Owners               []string
	Purposes             []string // what it may be used for
}

// A Cast is an organisation, checked, as entities. It is not safe for concurrent use while Add is called.
type Cast struct {
	Organisation Organisation
	entities     map[policy.UID]policy.Entity // without roles, which depend on the resource
	resources    map[string]sallyport.Resource
	assignments  []Assignment
	suspended    map[policy.UID]bool
}

// An Assignment gives a role on something and all that it contains.
type Assignment struct {
	Role policy.UID
	To   []policy.UID
	On   sallyport.Ref
}

const op = "read organisation"

// Read reads a file, strictly: unknown and doubled keys are errors of kind Invalid. What it refers to need not be in it:
// it may be on a server.
func Read(text []byte) (Organisation, error) {
	var o Organisation
	if len(text) > MaxFile {
		return o, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("the file has more than %d bytes", MaxFile), "")
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&o); err != nil {
		return o, sallyport.E(op, sallyport.Invalid, sallyport.OneLine(err.Error()), "examples/acme/acme.yaml shows every field")
	}
	if err := d.Decode(new(Organisation)); !errors.Is(err, io.EOF) {
		return o, sallyport.E(op, sallyport.Invalid, "the file holds more than one document", "keep one")
	}
	return o, sallyport.CheckName(op, o.Organisation)
}

// Parse reads a file as Read does. Every name that is referred to and not declared is an error, too.
func Parse(text []byte) (*Cast, error) {
	o, err := Read(text)
	if err != nil {
		return nil, err
	}
	c := &Cast{Organisation: o, entities: map[policy.UID]policy.Entity{}, resources: map[string]sallyport.Resource{}, suspended: map[policy.UID]bool{}}
	c.principals()
	for _, step := range []func() error{c.things, c.check, c.give} {
		if err := step(); err != nil {
			return nil, sallyport.E(op, sallyport.Invalid, sallyport.OneLine(err.Error()), "declare it, or correct its name")
		}
	}
	return c, nil
}

func uid(kind, id string) policy.UID { return policy.UID{Type: kind, ID: id} }

func text(s string) policy.Value { return policy.Value{Kind: policy.StringValue, String: s} }

func entity(u policy.UID) policy.Value { return policy.Value{Kind: policy.EntityValue, Entity: u} }

// Add adds a principal or another entity that the file does not have.
func (c *Cast) Add(e policy.Entity) { c.entities[e.UID] = e }

// Entity returns an entity of the organisation, without the roles it holds.
func (c *Cast) Entity(u policy.UID) (policy.Entity, bool) {
	e, ok := c.entities[u]
	return e, ok
}

// Assignments returns who holds which role on what, in the order of the file.
func (c *Cast) Assignments() []Assignment { return c.assignments }

// Resources returns the names of all resources, sorted.
func (c *Cast) Resources() []string {
	names := make([]string, 0, len(c.resources))
	for name := range c.resources {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Resource returns the resource of a name as sallyport.ParseRef reads it.
func (c *Cast) Resource(name string) (sallyport.Resource, bool) {
	x, ok := c.resources[name]
	return x, ok
}

// Principals returns the ids of everybody who can act, sorted.
func (c *Cast) Principals() []sallyport.PrincipalID {
	var all []sallyport.PrincipalID
	for u := range c.entities {
		switch u.Type {
		case "User", "Service", "Agent":
			all = append(all, sallyport.PrincipalID(strings.ToLower(u.Type)+":"+u.ID))
		}
	}
	slices.Sort(all)
	return all
}

// Person returns the person behind "user:ana", "ana", "service:trainer" or "agent:helper".
func (c *Cast) Person(id string) (policy.UID, error) {
	p, err := c.Principal(id)
	if err != nil {
		return p, err
	}
	attrs := c.entities[p].Attrs
	if p.Type != "User" {
		return attrs["owner"].Entity, nil
	}
	return attrs["person"].Entity, nil
}

// Principal finds "user:ana", "ana", "service:trainer", "agent:helper" or "group:risk-team".
func (c *Cast) Principal(id string) (policy.UID, error) {
	kind, name, ok := strings.Cut(id, ":")
	if !ok {
		kind, name = "user", id
	}
	u := map[string]policy.UID{"user": uid("User", name), "service": uid("Service", name), "agent": uid("Agent", name), "group": c.group(name)}[kind]
	if _, known := c.entities[u]; !known {
		return u, fmt.Errorf("the organisation has no %s", id)
	}
	return u, nil
}

// Basis gathers the facts of one principal before one resource, with the roles that it holds there.
func (c *Cast) Basis(who, resource string) (*decision.Basis, error) {
	p, err := c.Principal(who)
	if err != nil {
		return nil, err
	}
	x, ok := c.resources[resource]
	if !ok {
		return nil, fmt.Errorf("the organisation has no resource %s", resource)
	}
	person, err := c.Person(who)
	if err != nil {
		return nil, err
	}
	b := &decision.Basis{Principal: p, PrincipalID: sallyport.PrincipalID(strings.ToLower(p.Type) + ":" + p.ID), Person: sallyport.PrincipalID("user:" + person.ID),
		Active: !c.suspended[p], Resource: x, ResourceUID: resourceUID(x)}
	own := c.closure(p)
	principal := c.entities[p]
	principal.Parents = slices.Clone(principal.Parents)
	for _, a := range c.assignments {
		if a.On.Covers(x) && slices.ContainsFunc(a.To, func(u policy.UID) bool { return slices.Contains(own, u) }) {
			principal.Parents = append(principal.Parents, a.Role)
		}
	}
	b.Entities = append(b.Entities, principal)
	for _, start := range append(slices.Clone(principal.Parents), b.ResourceUID) {
		for _, u := range c.closure(start) {
			if !slices.ContainsFunc(b.Entities, func(e policy.Entity) bool { return e.UID == u }) {
				b.Entities = append(b.Entities, c.entities[u])
			}
		}
	}
	return b, nil
}

func (c *Cast) closure(start policy.UID) []policy.UID {
	list := []policy.UID{start}
	for i := 0; i < len(list); i++ {
		for _, p := range c.entities[list[i]].Parents {
			if !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list
}

func resourceUID(x sallyport.Resource) policy.UID {
	switch x.Kind {
	case sallyport.SystemKind:
		return uid("System", "sallyport")
	case sallyport.OrganisationKind:
		return uid("Organisation", x.Org)
	case sallyport.VersionKind:
		return uid("Version", x.Org+"/"+x.Name+"@"+x.Version)
	}
	name := string(x.Kind)
	return uid(strings.ToUpper(name[:1])+name[1:], x.Org+"/"+x.Name)
}

// UID returns the entity of a resource's name.
func (c *Cast) UID(resource string) policy.UID { return resourceUID(c.resources[resource]) }

// Home is the name of the organisation itself, as a resource.
func (c *Cast) Home() string { return "org:" + c.Organisation.Organisation }

// Roles returns the names of all roles, sorted.
func (c *Cast) Roles() []string {
	var all []string
	for _, r := range c.of("Role") {
		all = append(all, r.ID)
	}
	return all
}

// Groups returns all groups, sorted.
func (c *Cast) Groups() []policy.UID { return c.of("Group") }

// Closure returns entities and all that contain them, each once.
func (c *Cast) Closure(start ...policy.UID) []policy.Entity {
	var all []policy.Entity
	for _, s := range start {
		for _, u := range c.closure(s) {
			if !slices.ContainsFunc(all, func(e policy.Entity) bool { return e.UID == u }) {
				all = append(all, c.entities[u])
			}
		}
	}
	return all
}
