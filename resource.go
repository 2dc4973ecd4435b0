package sallyport

import (
	"fmt"
	"strings"
)

// A ResourceKind is the kind of what is acted on.
type ResourceKind string

// The kinds of resources. Each is an entity type of the policy schema.
const (
	OrganisationKind ResourceKind = "organisation"
	ProjectKind      ResourceKind = "project"
	ModelKind        ResourceKind = "model"
	VersionKind      ResourceKind = "version"
	DatasetKind      ResourceKind = "dataset"
	EndpointKind     ResourceKind = "endpoint"
	SystemKind       ResourceKind = "system" // Sallyport itself: policy, directory, log
)

// A Ref is what a caller names, before it is resolved: a model "acme/fraud" at an
// optional revision (version, alias, digest), or another kind with its prefix:
// "dataset:acme/claims", "endpoint:acme/chat", "project:acme/risk", "org:acme",
// "system".
type Ref struct {
	Kind     ResourceKind
	Org      string
	Name     string // of the model, dataset, endpoint or project; "" for org and system
	Revision string // of a model: version, alias or sha256:digest; "" = the default alias "main"
}

// ParseRef reads the form that Ref.String writes.
func ParseRef(s string) (Ref, error) {
	const op = "resource name"
	if s == "system" {
		return Ref{Kind: SystemKind}, nil
	}
	if org, ok := strings.CutPrefix(s, "org:"); ok {
		return Ref{Kind: OrganisationKind, Org: org}, CheckName(op, org)
	}
	r, rest := Ref{Kind: ModelKind}, s
	for _, kind := range []ResourceKind{ProjectKind, DatasetKind, EndpointKind, ModelKind} {
		if after, ok := strings.CutPrefix(s, string(kind)+":"); ok {
			r.Kind, rest = kind, after
			break
		}
	}
	path, revision, pinned := strings.Cut(rest, "@")
	org, name, ok := strings.Cut(path, "/")
	if !ok || pinned && (r.Kind != ModelKind || revision == "") {
		return Ref{}, E(op, Invalid, fmt.Sprintf("%q is not the name of a resource", clip(s)),
			"write ORG/MODEL, ORG/MODEL@VERSION, dataset:ORG/NAME, endpoint:ORG/NAME, project:ORG/NAME, org:ORG or system")
	}
	if err := CheckName(op, org); err != nil {
		return Ref{}, err
	}
	if err := CheckName(op, name); err != nil {
		return Ref{}, err
	}
	if pinned {
		if err := CheckRevision(op, revision); err != nil {
			return Ref{}, err
		}
	}
	r.Org, r.Name, r.Revision = org, name, revision
	return r, nil
}

// CheckRevision refuses what is neither a name (version or alias) nor a digest.
func CheckRevision(op, revision string) error {
	if d, ok := strings.CutPrefix(revision, "sha256:"); ok {
		_, err := ParseDigest(op, d)
		return err
	}
	return CheckName(op, revision)
}

// ParseDigest checks 64 lower-case hexadecimal digits and returns them.
func ParseDigest(op, s string) (string, error) {
	ok := len(s) == 64
	for i := 0; ok && i < len(s); i++ {
		ok = s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'f'
	}
	if !ok {
		return "", E(op, Invalid, fmt.Sprintf("%q is not a SHA-256 digest", clip(s)), "write 64 lower-case hexadecimal digits")
	}
	return s, nil
}

// String writes the one spelling of a Ref.
func (r Ref) String() string {
	switch r.Kind {
	case SystemKind:
		return "system"
	case OrganisationKind:
		return "org:" + r.Org
	case ModelKind, VersionKind:
		if r.Revision != "" {
			return r.Org + "/" + r.Name + "@" + r.Revision
		}
		return r.Org + "/" + r.Name
	}
	return string(r.Kind) + ":" + r.Org + "/" + r.Name
}

// Covers reports whether a right on r is a right on the resolved resource x: the
// same thing, or something that contains it. A model covers its versions; a
// pinned version covers itself only; an organisation covers all that is in it;
// system covers only itself.
func (r Ref) Covers(x Resource) bool {
	switch r.Kind {
	case SystemKind:
		return x.Kind == SystemKind
	case OrganisationKind:
		return x.Org == r.Org && x.Org != ""
	case ProjectKind:
		return x.Org == r.Org && x.Project == r.Name && x.Project != ""
	case ModelKind, VersionKind:
		if x.Kind != ModelKind && x.Kind != VersionKind || x.Org != r.Org || x.Name != r.Name {
			return false
		}
		return r.Revision == "" || x.Kind == VersionKind && (r.Revision == x.Version || r.Revision == "sha256:"+x.Digest)
	}
	return x.Kind == r.Kind && x.Org == r.Org && x.Name == r.Name
}

// Class is how sensitive a resource is. The zero value counts as Restricted.
type Class string

// The classes, least sensitive first.
const (
	Public     Class = "public"
	Internal   Class = "internal"
	Restricted Class = "restricted"
)

// ParseClass reads a class; "" is Restricted, because what nobody classified is
// protected most.
func ParseClass(s string) (Class, error) {
	switch c := Class(s); c {
	case "":
		return Restricted, nil
	case Public, Internal, Restricted:
		return c, nil
	}
	return "", E("parse class", Invalid, fmt.Sprintf("no class is called %q", clip(s)), "use public, internal or restricted")
}

// Environment is where a version stands on its way to use.
type Environment string

// The environments.
const (
	Development Environment = "development"
	Staging     Environment = "staging"
	Production  Environment = "production"
)

// ParseEnvironment reads an environment; there is no default.
func ParseEnvironment(s string) (Environment, error) {
	switch e := Environment(s); e {
	case Development, Staging, Production:
		return e, nil
	}
	return "", E("parse environment", Invalid, fmt.Sprintf("no environment is called %q", clip(s)), "use development, staging or production")
}

// Next is where what stands here goes when it is promoted; production is the last. What stands nowhere yet begins in
// development.
func (e Environment) Next() Environment {
	if e == Staging || e == Production {
		return Production
	}
	return Staging
}

// A Resource is what a Ref resolved to: one thing, pinned. Decisions are made on
// resources only.
type Resource struct {
	Kind        ResourceKind
	Org         string
	Project     string // name inside the organisation; "" where it belongs to none
	Name        string
	Version     string      // of a version: its number, "v3"
	Digest      string      // of a version: SHA-256 of its manifest, 64 hex digits
	Class       Class       // never "" once resolved
	Environment Environment // "" where it stands in none
}

// Ref returns the resource's pinned name.
func (x Resource) Ref() Ref {
	r := Ref{Kind: x.Kind, Org: x.Org, Name: x.Name}
	if x.Kind == VersionKind {
		r.Kind, r.Revision = ModelKind, x.Version
	}
	return r
}

// Toward is the environment that an action which Enters one brings x into where nobody says another: the next one for a
// promotion, its own for a deployment. It is "" for every other action.
func (x Resource) Toward(a Action) Environment {
	switch {
	case a == ModelPromote:
		return x.Environment.Next()
	case !a.Enters():
		return ""
	case x.Environment == "":
		return Development
	}
	return x.Environment
}

// String returns the pinned name: "acme/fraud@v3".
func (x Resource) String() string { return x.Ref().String() }
