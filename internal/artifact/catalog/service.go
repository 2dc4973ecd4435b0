package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport"
)

// Limits on what one record may hold.
const (
	MaxOwners  = 64
	MaxLineage = 64
	MaxAliases = 100
	MaxFiles   = 10_000 // of one version
	maxRef     = 255    // bytes of an origin's name
	idLength   = 26
)

// A Service is the catalog. Its fields are set once; its methods are safe for
// concurrent use. Who may call them is decided elsewhere.
type Service struct {
	Store Store
	Clock func() time.Time
}

// Dump returns the whole catalog, without the files of versions.
func (s *Service) Dump(ctx context.Context) (Dump, error) { return s.Store.Dump(ctx) }

// Add adds an item whose name was never used; what contains it must exist. The
// right to add to a project is no right over what another project holds.
func (s *Service) Add(ctx context.Context, item Item) error {
	k, err := s.prepare(&item)
	if err != nil {
		return err
	}
	return s.Store.Put(ctx, item, func(now Standing) (Item, error) {
		if now.Old != (Item{}) {
			return Item{}, sallyport.E("add "+k.kind, sallyport.Conflict, k.name+" exists already", "choose another name, or change what is there by its own commands")
		}
		return item, k.parents(now)
	})
}

// Put adds an item, or changes the one of its name; what contains it must exist.
// It may raise a class and never lowers one: that is Relabel.
func (s *Service) Put(ctx context.Context, item Item) error {
	k, err := s.prepare(&item)
	if err != nil {
		return err
	}
	return s.Store.Put(ctx, item, func(now Standing) (Item, error) {
		if err := k.parents(now); err != nil {
			return Item{}, err
		}
		if old := classOf(now.Old); old != nil && rank(class(*classOf(item))) < rank(class(*old)) {
			return Item{}, sallyport.E("put "+k.kind, sallyport.Conflict,
				fmt.Sprintf("%s is %s, and this would make it %s", k.name, class(*old), class(*classOf(item))), "change its label, which takes the right label.change")
		}
		return keep(item, now.Old), nil
	})
}

// keep carries over what has a way of its own to change.
func keep(item, old Item) Item {
	if item.Model != nil && old.Model != nil {
		item.Model.Purposes = old.Model.Purposes
	}
	if item.Dataset != nil && old.Dataset != nil {
		item.Dataset.Purposes, item.Dataset.Environment = old.Dataset.Purposes, old.Dataset.Environment
	}
	return item
}

// known is what prepare found out about an item.
type known struct{ kind, name string }

func (k known) parents(now Standing) error {
	missing := ""
	switch {
	case !now.Org && k.kind != "organisation":
		missing = "organisation"
	case !now.Project:
		missing = "project"
	case !now.Model:
		missing = "model"
	default:
		return nil
	}
	return sallyport.E("put "+k.kind, sallyport.NotFound, fmt.Sprintf("the %s that %s names does not exist", missing, k.name), "make it first")
}

// prepare checks an item by itself and sets its time of creation.
func (s *Service) prepare(item *Item) (known, error) {
	now := s.Clock().UTC().Truncate(time.Microsecond)
	var k known
	var names []string
	var owners []sallyport.PrincipalID
	set := 0
	if o := item.Org; o != nil {
		c := Org{Name: o.Name, Created: now}
		item.Org, k, names = &c, known{"organisation", o.Name}, []string{o.Name}
		set++
	}
	if p := item.Project; p != nil {
		c := Project{Org: p.Org, Name: p.Name, Created: now}
		item.Project, k, names = &c, known{"project", p.Org + "/" + p.Name}, []string{p.Org, p.Name}
		set++
	}
	if m := item.Model; m != nil {
		c := *m
		c.Created, c.Aliases = now, nil
		item.Model, k, names, owners = &c, known{"model", m.Org + "/" + m.Name}, optional(m.Project, m.Org, m.Name), m.Owners
		set++
	}
	if d := item.Dataset; d != nil {
		c := *d
		c.Created = now
		item.Dataset, k, names, owners = &c, known{"dataset", d.Org + "/" + d.Name}, optional(d.Project, d.Org, d.Name), d.Owners
		set++
	}
	if e := item.Endpoint; e != nil {
		c := *e
		c.Created = now
		item.Endpoint, k, names = &c, known{"endpoint", e.Org + "/" + e.Name}, optional(e.Model, optional(e.Project, e.Org, e.Name)...)
		set++
	}
	if set != 1 {
		return k, sallyport.E("put", sallyport.Invalid, fmt.Sprintf("%d items at once", set), "give exactly one")
	}
	return k, check(k, *item, names, owners)
}

// optional adds name to names unless it is "".
func optional(name string, names ...string) []string {
	if name == "" {
		return names
	}
	return append(names, name)
}

func check(k known, item Item, names []string, owners []sallyport.PrincipalID) error {
	op := "put " + k.kind
	for _, name := range names {
		if err := sallyport.CheckName(op, name); err != nil {
			return err
		}
	}
	if len(owners) > MaxOwners {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%d owners", len(owners)), fmt.Sprintf("name at most %d", MaxOwners))
	}
	for _, o := range owners {
		if id, err := sallyport.ParsePrincipalID(string(o)); err != nil || id != o {
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.80q is no owner", o), "write user:NAME or service:NAME")
		}
	}
	if c := classOf(item); c != nil {
		if _, err := sallyport.ParseClass(string(*c)); err != nil {
			return err
		}
	}
	environment, purposes := sallyport.Environment(""), []string(nil)
	switch {
	case item.Endpoint != nil:
		environment = item.Endpoint.Environment
	case item.Dataset != nil:
		environment, purposes = item.Dataset.Environment, item.Dataset.Purposes
	case item.Model != nil:
		purposes = item.Model.Purposes
	}
	if environment != "" {
		if _, err := sallyport.ParseEnvironment(string(environment)); err != nil {
			return err
		}
	}
	return checkPurposes(op, purposes)
}

// classOf points at the class of an item, nil where it has none.
func classOf(item Item) *sallyport.Class {
	switch {
	case item.Model != nil:
		return &item.Model.Class
	case item.Dataset != nil:
		return &item.Dataset.Class
	case item.Endpoint != nil:
		return &item.Endpoint.Class
	}
	return nil
}

// Relabel sets the class of a model, a version (with a revision that is its
// number), a dataset or an endpoint, in either direction. A version stays at
// least as strict as its model; "" gives it the model's class.
func (s *Service) Relabel(ctx context.Context, ref sallyport.Ref, to sallyport.Class) error {
	return s.relabel(ctx, ref, to, func(_, _ sallyport.Class) error { return nil })
}

// relabel sets a class where check agrees, which sees the label there is and the one
// there would be.
func (s *Service) relabel(ctx context.Context, ref sallyport.Ref, to sallyport.Class, check func(own, will sallyport.Class) error) error {
	const op = "change label"
	if _, err := sallyport.ParseClass(string(to)); err != nil {
		return err
	}
	if ref.Kind == sallyport.ModelKind && ref.Revision != "" {
		_, err := s.updateVersion(ctx, ref, VersionChange{Class: &to}, check)
		return err
	}
	var item Item
	switch ref.Kind {
	case sallyport.ModelKind:
		item.Model = &Model{Org: ref.Org, Name: ref.Name}
	case sallyport.DatasetKind:
		item.Dataset = &Dataset{Org: ref.Org, Name: ref.Name}
	case sallyport.EndpointKind:
		item.Endpoint = &Endpoint{Org: ref.Org, Name: ref.Name}
	default:
		return sallyport.E(op, sallyport.Invalid, ref.String()+" has no class", "name a model, a version, a dataset or an endpoint")
	}
	return s.Store.Put(ctx, item, func(now Standing) (Item, error) {
		if classOf(now.Old) == nil {
			return Item{}, sallyport.E(op, sallyport.NotFound, ref.String()+" does not exist", "")
		}
		if err := check(class(*classOf(now.Old)), class(to)); err != nil {
			return Item{}, err
		}
		*classOf(now.Old) = to
		return now.Old, nil
	})
}

func rank(c sallyport.Class) int {
	return slices.Index([]sallyport.Class{sallyport.Public, sallyport.Internal, sallyport.Restricted}, c)
}

// Files returns the files of the version with this digest; see Store.
func (s *Service) Files(ctx context.Context, digest string) ([]File, error) {
	if _, err := sallyport.ParseDigest("files", digest); err != nil {
		return nil, err
	}
	return s.Store.Files(ctx, digest)
}

// Blobs returns the names of all blobs in use; see Store.
func (s *Service) Blobs(ctx context.Context) ([]string, error) { return s.Store.Blobs(ctx) }

// looksPinned reports whether a name could be taken for a number, a commit or a
// digest: an alias of that form would say to be one version and mean another.
func looksPinned(name string) bool {
	digits, isNumber := strings.CutPrefix(name, "v")
	if isNumber && digits != "" && strings.Trim(digits, "0123456789") == "" {
		return true
	}
	return len(name) == commitLength && strings.Trim(name, "0123456789abcdef") == ""
}

func checkAlias(op, alias string) error {
	if looksPinned(alias) {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the alias %q looks like a version", alias), "choose another name")
	}
	return sallyport.CheckName(op, alias)
}
