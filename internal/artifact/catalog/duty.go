package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sallyport"
)

// A Duty is what somebody answers for about an asset.
type Duty string

// The duties. An asset that names nobody for one has it from its project, and that from its organisation.
const (
	Owner     Duty = "owner"     // answers for the asset
	Approver  Duty = "approver"  // approves access to it
	Monitor   Duty = "monitor"   // watches how it is used
	Responder Duty = "responder" // responds to incidents about it
)

// Duties are all of them, in the order in which they are told.
func Duties() []Duty { return []Duty{Owner, Approver, Monitor, Responder} }

// A Charter says who has the duties about a model, a dataset, an endpoint, a project or an organisation: people
// ("user:ana"), services, or groups ("group:acme/risk"). The owners of a model or a dataset stand with itself.
type Charter struct {
	Ref     sallyport.Ref // without a revision
	Holders map[Duty][]string
}

// Charge is what the duty about ref is called while it waits for a successor.
func (d Duty) Charge(ref sallyport.Ref) string { return string(d) + ":" + ref.String() }

// ParseCharge reads what Charge wrote. It reports false for everything else.
func ParseCharge(s string) (Duty, sallyport.Ref, bool) {
	name, of, ok := strings.Cut(s, ":")
	if !ok || !slices.Contains(Duties(), Duty(name)) {
		return "", sallyport.Ref{}, false
	}
	ref, err := sallyport.ParseRef(of)
	return Duty(name), ref, err == nil
}

// SetDuties lets change say who has the duties about ref, in view of who has them by its own word. Owners are accounts
// and no groups: somebody answers in person. Those of a model or a dataset are kept with itself, and change is called for
// them alone.
func (s *Service) SetDuties(ctx context.Context, ref sallyport.Ref, change func(map[Duty][]string) error) error {
	const op = "set duties"
	d, err := s.Store.Dump(ctx)
	if err != nil {
		return err
	}
	switch _, ok := NewIndex(d).Resolve(ref); {
	case !chartered(ref):
		return sallyport.E(op, sallyport.Invalid, ref.String()+" has no duties of its own", "name a model without a version, a dataset, an endpoint, a project or an organisation")
	case !ok:
		return sallyport.E(op, sallyport.NotFound, ref.String()+" does not exist", "")
	}
	changed := func(holders map[Duty][]string) error {
		if err := change(holders); err != nil {
			return err
		}
		for _, duty := range Duties() {
			if err := checkHolders(op, duty, holders[duty]); err != nil {
				return err
			}
		}
		return nil
	}
	own := ref.Kind == sallyport.ModelKind || ref.Kind == sallyport.DatasetKind
	err = s.Store.Put(ctx, Item{Charter: &Charter{Ref: ref}}, func(now Standing) (Item, error) {
		c := Charter{Ref: ref, Holders: map[Duty][]string{}}
		if now.Old.Charter != nil {
			c = *now.Old.Charter
		}
		err := changed(c.Holders)
		if own {
			delete(c.Holders, Owner)
		}
		return Item{Charter: &c}, err
	})
	if err != nil || !own {
		return err
	}
	return s.setOwners(ctx, ref, changed)
}

func (s *Service) setOwners(ctx context.Context, ref sallyport.Ref, changed func(map[Duty][]string) error) error {
	item := Item{Model: &Model{Org: ref.Org, Name: ref.Name}}
	if ref.Kind == sallyport.DatasetKind {
		item = Item{Dataset: &Dataset{Org: ref.Org, Name: ref.Name}}
	}
	return s.Store.Put(ctx, item, func(now Standing) (Item, error) {
		var owners *[]sallyport.PrincipalID
		switch {
		case now.Old.Model != nil:
			owners = &now.Old.Model.Owners
		case now.Old.Dataset != nil:
			owners = &now.Old.Dataset.Owners
		default:
			return Item{}, sallyport.E("set duties", sallyport.NotFound, ref.String()+" does not exist", "")
		}
		holders := map[Duty][]string{Owner: texts(*owners)}
		err := changed(holders)
		*owners = principals(holders[Owner])
		return now.Old, err
	})
}

// chartered reports whether somebody can have a duty about ref itself.
func chartered(ref sallyport.Ref) bool {
	switch ref.Kind {
	case sallyport.ModelKind, sallyport.DatasetKind, sallyport.EndpointKind, sallyport.ProjectKind, sallyport.OrganisationKind:
		return ref.Revision == ""
	}
	return false
}

func checkHolders(op string, duty Duty, holders []string) error {
	if len(holders) > MaxOwners {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%d are to be its %s", len(holders), duty), fmt.Sprintf("name at most %d", MaxOwners))
	}
	for _, h := range holders {
		group, isGroup := strings.CutPrefix(h, "group:")
		org, name, ok := strings.Cut(group, "/")
		switch id, err := sallyport.ParsePrincipalID(h); {
		case isGroup && duty != Owner && ok && sallyport.CheckName(op, org) == nil && sallyport.CheckName(op, name) == nil:
		case !isGroup && err == nil && string(id) == h:
		case isGroup && duty == Owner:
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.80q cannot be an owner: somebody answers in person", h), "write user:NAME")
		default:
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.80q cannot be its %s", h, duty), "write user:NAME or group:ORG/NAME")
		}
	}
	return nil
}

func texts(ids []sallyport.PrincipalID) []string {
	all := make([]string, len(ids))
	for i, id := range ids {
		all[i] = string(id)
	}
	return all
}

func principals(holders []string) []sallyport.PrincipalID {
	all := make([]sallyport.PrincipalID, len(holders))
	for i, h := range holders {
		all[i] = sallyport.PrincipalID(h)
	}
	return all
}

// Holders returns who has a duty about a resolved resource, and the name of what says so: the asset itself, its project
// or its organisation. A version has its model's.
func (x *Index) Holders(r sallyport.Resource, duty Duty) (holders []string, from sallyport.Ref) {
	own := r.Ref()
	own.Revision = ""
	for _, ref := range []sallyport.Ref{own, {Kind: sallyport.ProjectKind, Org: r.Org, Name: r.Project}, {Kind: sallyport.OrganisationKind, Org: r.Org}} {
		if holders = x.said(ref, duty); len(holders) > 0 {
			return holders, ref
		}
	}
	return nil, sallyport.Ref{}
}

// said is who has a duty about ref by its own word.
func (x *Index) said(ref sallyport.Ref, duty Duty) []string {
	key := ref.Org + "/" + ref.Name
	if m, ok := x.models[key]; ok && duty == Owner && ref.Kind == sallyport.ModelKind {
		return texts(m.Owners)
	}
	if d, ok := x.datasets[key]; ok && duty == Owner && ref.Kind == sallyport.DatasetKind {
		return texts(d.Owners)
	}
	return x.charters[ref].Holders[duty]
}

// Chartered returns what has duties of its own and contains others: projects and organisations, sorted by name.
func (x *Index) Chartered() []sallyport.Ref {
	var all []sallyport.Ref
	for ref := range x.charters {
		if ref.Kind == sallyport.ProjectKind || ref.Kind == sallyport.OrganisationKind {
			all = append(all, ref)
		}
	}
	slices.SortFunc(all, func(a, b sallyport.Ref) int { return strings.Compare(a.String(), b.String()) })
	return all
}
