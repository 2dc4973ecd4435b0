package admission

import (
	"fmt"
	"slices"
	"strings"

	"sallyport"
)

// A Cluster is one cluster that asks here. It is checked once, and not changed after.
type Cluster struct {
	Name string `yaml:"name"` // of its path
	// Principal is the cluster's own account, service:NAME. Its token or certificate proves the cluster; what it may ask about
	// is a matter of policy (decision.ask).
	Principal sallyport.PrincipalID `yaml:"principal"`
	// Endpoints are the endpoints of the catalog that stand for the cluster, one an environment. An environment without one is
	// not served.
	Endpoints map[sallyport.Environment]string `yaml:"endpoints"`
	// Scoped is the environment whose rules hold for what stands in no namespace; "" = nothing such is let in.
	Scoped sallyport.Environment `yaml:"cluster_scope"`
	// Label is the label of a namespace that says its environment. Who changes it must manage the endpoints of both.
	Label string `yaml:"label"`
	// Namespaces, where they are given, say the environment of a namespace besides its label: the two have to agree.
	Namespaces map[string]sallyport.Environment `yaml:"namespaces"`
	Users      []User                           `yaml:"users"`
	Sources    []Source                         `yaml:"sources"`

	endpoints map[sallyport.Environment]sallyport.Ref
}

// A User says who a user of the cluster is here. Exactly one of Name and Prefix is set.
type User struct {
	Name   string   `yaml:"user"`   // "system:serviceaccount:ci:deployer", "ana@acme.example"
	Prefix string   `yaml:"prefix"` // what stands before the name of a person here: "oidc:"
	Suffix string   `yaml:"suffix"` // what stands behind it, with Prefix or alone: "@acme.example"
	Groups []string `yaml:"groups"` // of the cluster, all of which the user must be in
	// Principal is who Name is. Service accounts of the cluster are services here.
	Principal sallyport.PrincipalID `yaml:"principal"`
	// Controller marks a part of the cluster that makes objects out of others, which were let in: it loads what others deploy.
	Controller bool `yaml:"controller"`
	// Assurance is how strongly the cluster proves this user, "" = not at all.
	Assurance string `yaml:"assurance"`

	level sallyport.Assurance
}

// Check fills in what follows from the rest and refuses what cannot be meant.
func (c Cluster) Check() (Cluster, error) {
	const op = "configuration"
	if err := sallyport.CheckName(op, c.Name); err != nil {
		return c, err
	}
	if id, err := sallyport.ParsePrincipalID(string(c.Principal)); err != nil || id != c.Principal || id.Kind() != sallyport.Service {
		return c, c.bad("has no account of its own", "write \"principal: service:NAME\"")
	}
	c.endpoints = map[sallyport.Environment]sallyport.Ref{}
	for env, name := range c.Endpoints {
		if _, err := sallyport.ParseEnvironment(string(env)); err != nil {
			return c, err
		}
		ref, err := sallyport.ParseRef(name)
		if err != nil || ref.Kind != sallyport.EndpointKind {
			return c, c.bad(fmt.Sprintf("has no endpoint for %s", env), "write endpoint:ORG/NAME")
		}
		c.endpoints[env] = ref
	}
	if len(c.endpoints) == 0 || c.Label == "" {
		return c, c.bad("needs \"endpoints\" and the \"label\" of namespaces that says their environment", "")
	}
	for _, env := range append(valuesOf(c.Namespaces), c.Scoped) {
		if _, has := c.endpoints[env]; !has && env != "" {
			return c, c.bad(fmt.Sprintf("names the environment %q without an endpoint for it", string(env)), "add it to \"endpoints\"")
		}
	}
	c.Users, c.Sources = slices.Clone(c.Users), slices.Clone(c.Sources)
	for i := range c.Users {
		var err error
		if c.Users[i], err = c.Users[i].check(); err != nil {
			return c, err
		}
	}
	for i := range c.Sources {
		var err error
		if c.Sources[i], err = c.Sources[i].check(); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *Cluster) bad(text, next string) error {
	return sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("the cluster %q %s", c.Name, text), next)
}

func (u User) check() (User, error) {
	bad := func(text, next string) (User, error) {
		return u, sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("the cluster's user %.80q %s", u.Name+u.Prefix+u.Suffix, text), next)
	}
	if u.Assurance != "" {
		var err error
		if u.level, err = sallyport.ParseAssurance(u.Assurance); err != nil {
			return u, err
		}
	}
	pattern := u.Prefix != "" || u.Suffix != ""
	if (u.Name != "") == pattern || pattern && (u.Principal != "" || u.Controller) {
		return bad("needs either \"user\" and \"principal\", or \"prefix\" and \"suffix\" of people", "")
	}
	if pattern {
		if u.Prefix == "" && u.Suffix == "" || strings.HasPrefix(u.Prefix, "system:") {
			return bad("would make a part of the cluster a person", "")
		}
		return u, nil
	}
	id, err := sallyport.ParsePrincipalID(string(u.Principal))
	if err != nil || id != u.Principal || id.Kind() == sallyport.Agent {
		return bad("is mapped to nobody", "write \"principal: user:NAME\" or \"principal: service:NAME\"")
	}
	if machine := strings.HasPrefix(u.Name, "system:"); machine != (id.Kind() == sallyport.Service) {
		return bad("is a part of the cluster and would be a person here, or the other way round", "service accounts are services")
	}
	return u, nil
}

// who is the user of a cluster, as somebody here.
func (c *Cluster) who(info UserInfo) (User, bool) {
	for _, u := range c.Users {
		if slices.ContainsFunc(u.Groups, func(g string) bool { return !slices.Contains(info.Groups, g) }) {
			continue
		}
		if u.Name != "" && u.Name == info.Username {
			return u, true
		}
		if u.Name != "" || strings.HasPrefix(info.Username, "system:") || !strings.HasPrefix(info.Username, u.Prefix) || !strings.HasSuffix(info.Username, u.Suffix) {
			continue
		}
		name := strings.TrimSuffix(strings.TrimPrefix(info.Username, u.Prefix), u.Suffix)
		if len(u.Prefix)+len(name)+len(u.Suffix) != len(info.Username) {
			continue
		}
		if id, err := sallyport.NewPrincipalID(sallyport.User, name); err == nil {
			u.Principal = id
			return u, true
		}
	}
	return User{}, false
}

// environment is where a request's object stands, and why nothing can, "" where something can.
func (c *Cluster) environment(q Request, path sallyport.Environment) (env sallyport.Environment, refuse string) {
	switch {
	case path == "" && q.Namespace != "":
		return "", "the namespace " + sallyport.OneLine(q.Namespace) + " stands in no environment: its label " + c.Label + " is missing"
	case path == "" && c.Scoped == "":
		return "", "this cluster lets nothing in that stands in no namespace"
	case path == "":
		return c.Scoped, ""
	case q.Namespace == "":
		return "", "this webhook is for namespaces"
	}
	if env, said := c.Namespaces[q.Namespace]; len(c.Namespaces) > 0 && (!said || env != path) {
		return "", fmt.Sprintf("the namespace %s is labelled %s and the configuration says otherwise", sallyport.OneLine(q.Namespace), path)
	}
	return path, ""
}

func valuesOf(m map[string]sallyport.Environment) []sallyport.Environment {
	var list []sallyport.Environment
	for _, v := range m {
		list = append(list, v)
	}
	return list
}
