package catalog

import (
	"slices"
	"strings"

	"sallyport"
)

// MainAlias is the alias that a model's bare name resolves to.
const MainAlias = "main"

// commitLength is how many hexadecimal digits of a version's digest stand for it
// where a protocol wants a commit hash (40, as of SHA-1).
const commitLength = 40

// An Index resolves names against one dump of the catalog. It never changes and
// is safe for concurrent use.
type Index struct {
	orgs      map[string]bool
	projects  map[string]bool // "acme/risk"
	models    map[string]*Model
	versions  map[string][]*Version // by "acme/fraud", oldest first
	datasets  map[string]*Dataset
	endpoints map[string]*Endpoint
	flowed    map[*Version]sallyport.Class // with what each was made from
	charters  map[sallyport.Ref]Charter
}

// NewIndex indexes d.
func NewIndex(d Dump) *Index {
	x := &Index{orgs: map[string]bool{}, projects: map[string]bool{}, models: map[string]*Model{},
		versions: map[string][]*Version{}, datasets: map[string]*Dataset{}, endpoints: map[string]*Endpoint{}, charters: map[sallyport.Ref]Charter{}}
	for _, o := range d.Orgs {
		x.orgs[o.Name] = true
	}
	for _, p := range d.Projects {
		x.projects[p.Org+"/"+p.Name] = true
	}
	for i := range d.Models {
		x.models[d.Models[i].Org+"/"+d.Models[i].Name] = &d.Models[i]
	}
	for i := range d.Versions {
		key := d.Versions[i].Org + "/" + d.Versions[i].Model
		x.versions[key] = append(x.versions[key], &d.Versions[i])
	}
	for i := range d.Datasets {
		x.datasets[d.Datasets[i].Org+"/"+d.Datasets[i].Name] = &d.Datasets[i]
	}
	for i := range d.Endpoints {
		x.endpoints[d.Endpoints[i].Org+"/"+d.Endpoints[i].Name] = &d.Endpoints[i]
	}
	for _, c := range d.Charters {
		x.charters[c.Ref] = c
	}
	x.flow()
	return x
}

// Resolve turns a name into one resource. A bare model name is its main version,
// or the model itself while it has none. It reports false for what is not there.
func (x *Index) Resolve(r sallyport.Ref) (sallyport.Resource, bool) {
	key := r.Org + "/" + r.Name
	switch r.Kind {
	case sallyport.SystemKind:
		return sallyport.Resource{Kind: r.Kind, Class: sallyport.Restricted}, true
	case sallyport.OrganisationKind:
		return sallyport.Resource{Kind: r.Kind, Org: r.Org, Class: sallyport.Internal}, x.orgs[r.Org]
	case sallyport.ProjectKind:
		return sallyport.Resource{Kind: r.Kind, Org: r.Org, Project: r.Name, Name: r.Name, Class: sallyport.Internal}, x.projects[key]
	case sallyport.DatasetKind:
		if d, ok := x.datasets[key]; ok {
			return sallyport.Resource{Kind: r.Kind, Org: d.Org, Project: d.Project, Name: d.Name, Class: class(d.Class), Environment: d.Environment}, true
		}
	case sallyport.EndpointKind:
		if e, ok := x.endpoints[key]; ok {
			return sallyport.Resource{Kind: r.Kind, Org: e.Org, Project: e.Project, Name: e.Name,
				Class: class(e.Class), Environment: e.Environment}, true
		}
	case sallyport.ModelKind, sallyport.VersionKind:
		return x.resolveModel(key, r.Revision)
	}
	return sallyport.Resource{}, false
}

func (x *Index) resolveModel(key, revision string) (sallyport.Resource, bool) {
	m, ok := x.models[key]
	if !ok {
		return sallyport.Resource{}, false
	}
	if v := x.version(m, revision); v != nil {
		return x.resourceOf(m, v), true
	}
	if revision != "" {
		return sallyport.Resource{}, false
	}
	return sallyport.Resource{Kind: sallyport.ModelKind, Org: m.Org, Project: m.Project, Name: m.Name, Class: class(m.Class)}, true
}

// version finds the version that a revision of m means: an alias, a number, a
// digest, or the commit form of a digest.
func (x *Index) version(m *Model, revision string) *Version {
	if revision == "" {
		revision = MainAlias
	}
	if number, ok := m.Aliases[revision]; ok {
		revision = number
	}
	digest := strings.TrimPrefix(revision, "sha256:")
	for _, v := range x.versions[m.Org+"/"+m.Name] {
		if v.Retired {
			continue
		}
		if v.Number == revision || v.Digest == digest || len(digest) == commitLength && strings.HasPrefix(v.Digest, digest) {
			return v
		}
	}
	return nil
}

func (x *Index) resourceOf(m *Model, v *Version) sallyport.Resource {
	return sallyport.Resource{Kind: sallyport.VersionKind, Org: m.Org, Project: m.Project, Name: m.Name,
		Version: v.Number, Digest: v.Digest, Class: x.flowed[v], Environment: v.Environment}
}

// Version returns the version that a resolved resource is.
func (x *Index) Version(r sallyport.Resource) (Version, bool) {
	for _, v := range x.versions[r.Org+"/"+r.Name] {
		if r.Kind == sallyport.VersionKind && v.Number == r.Version && v.Digest == r.Digest {
			return *v, true
		}
	}
	return Version{}, false
}

// Model returns the model called org/name.
func (x *Index) Model(org, name string) (Model, bool) {
	if m, ok := x.models[org+"/"+name]; ok {
		return *m, true
	}
	return Model{}, false
}

// Owners returns who owns a resolved resource, itself or by what contains it.
func (x *Index) Owners(r sallyport.Resource) []sallyport.PrincipalID {
	holders, _ := x.Holders(r, Owner)
	return principals(holders)
}

// Commit is the form of a version's digest for protocols that want a commit hash.
func Commit(digest string) string {
	if len(digest) < commitLength {
		return digest
	}
	return digest[:commitLength]
}

// class reads a stored class: what nobody classified is restricted.
func class(c sallyport.Class) sallyport.Class {
	if c == "" {
		return sallyport.Restricted
	}
	return c
}

// stricter returns the stricter of the model's class and the version's own, which
// may be empty.
func stricter(model, version sallyport.Class) sallyport.Class {
	rank := map[sallyport.Class]int{sallyport.Public: 0, sallyport.Internal: 1, sallyport.Restricted: 2}
	if version != "" && rank[version] > rank[model] {
		return version
	}
	return model
}

// All returns every resource there is a point in asking about: models at their
// main version, datasets and endpoints, sorted by name.
func (x *Index) All() []sallyport.Resource {
	var all []sallyport.Resource
	for _, m := range x.models {
		if r, ok := x.resolveModel(m.Org+"/"+m.Name, ""); ok {
			all = append(all, r)
		}
	}
	for _, d := range x.datasets {
		all = append(all, sallyport.Resource{Kind: sallyport.DatasetKind, Org: d.Org, Project: d.Project, Name: d.Name, Class: class(d.Class), Environment: d.Environment})
	}
	for _, e := range x.endpoints {
		all = append(all, sallyport.Resource{Kind: sallyport.EndpointKind, Org: e.Org, Project: e.Project, Name: e.Name, Class: class(e.Class), Environment: e.Environment})
	}
	slices.SortFunc(all, func(a, b sallyport.Resource) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// Models returns the names of all models, sorted.
func (x *Index) Models() []sallyport.Ref {
	refs := make([]sallyport.Ref, 0, len(x.models))
	for _, m := range x.models {
		refs = append(refs, sallyport.Ref{Kind: sallyport.ModelKind, Org: m.Org, Name: m.Name})
	}
	slices.SortFunc(refs, func(a, b sallyport.Ref) int { return strings.Compare(a.String(), b.String()) })
	return refs
}

// VersionByID returns the version of a model that has this ID, retired or not.
func (x *Index) VersionByID(org, model, id string) (Version, bool) {
	for _, v := range x.versions[org+"/"+model] {
		if v.ID == id && id != "" {
			return *v, true
		}
	}
	return Version{}, false
}
