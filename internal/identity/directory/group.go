package directory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sallyport"
)

// MaxDepth is how many groups may stand on one chain from a group to its furthest ancestor, both counted.
const MaxDepth = 8

const maxParents = 16

// A Group is a named set of members and groups of one organisation. Members of a group are members of its parents.
type Group struct {
	Name    string   // "acme/risk-team"
	Parents []string // names of groups of the same organisation, sorted
	Guests  bool     // takes guests, of whatever organisation; its parents take them too, or it has none
	// Source is the provider that made the group and says who is in it, and External its name for the group; both are
	// empty for those that are kept here. They never change.
	Source   string
	External string
}

// admits tells whether a member may be in the group: one of its organisation, or a guest where it takes guests.
func (g Group) admits(m Member) bool {
	if m.Guest {
		return g.Guests
	}
	return strings.HasPrefix(g.Name, m.Org+"/")
}

// Above returns the groups with all that contain them, sorted.
func (d Dump) Above(groups []string) []string {
	parents := map[string][]string{}
	for _, g := range d.Groups {
		parents[g.Name] = g.Parents
	}
	seen := map[string]bool{}
	for todo := slices.Clone(groups); len(todo) > 0; todo = todo[1:] {
		if !seen[todo[0]] {
			seen[todo[0]] = true
			todo = append(todo, parents[todo[0]]...)
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// CheckGroupName refuses a name that is not ORG/NAME.
func CheckGroupName(op, name string) error {
	org, rest, ok := strings.Cut(name, "/")
	if !ok {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.130q is not the name of a group", name), "write ORG/NAME")
	}
	if err := sallyport.CheckName(op, org); err != nil {
		return err
	}
	return sallyport.CheckName(op, rest)
}

// DefineGroup adds a group or replaces its parents. Circles and chains longer than MaxDepth are refused. A group stays its
// source's, whoever gives it parents.
func (s *Service) DefineGroup(ctx context.Context, g Group) error {
	g.Parents = slices.Compact(slices.Sorted(slices.Values(g.Parents)))
	return s.Store.DefineGroup(ctx, func(all []Group) (Group, error) {
		if i := slices.IndexFunc(all, func(o Group) bool { return o.Name == g.Name }); i >= 0 {
			g.Source, g.External = all[i].Source, all[i].External
		}
		if err := g.check(all); err != nil {
			return g, err
		}
		return g, s.checked(ctx, func(d *Dump) {
			d.Groups = append(slices.DeleteFunc(d.Groups, func(o Group) bool { return o.Name == g.Name }), g)
		})
	})
}

// ProvideGroup adds a group that a source keeps. One that is there already is a Conflict, unless the same source made it under
// the same name of its own.
func (s *Service) ProvideGroup(ctx context.Context, name, source, external string) error {
	const op = "provide group"
	if source == "" || external == "" || len(source) > maxSource || len(external) > maxSource {
		return sallyport.E(op, sallyport.Invalid, "a source and its name for the group are needed", "")
	}
	g := Group{Name: name, Source: source, External: external}
	return s.Store.DefineGroup(ctx, func(all []Group) (Group, error) {
		i := slices.IndexFunc(all, func(o Group) bool { return o.Name == name })
		if i < 0 {
			return g, g.check(all)
		}
		if all[i].Source != source || all[i].External != external {
			return g, sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%.130q is kept by somebody else", name), "choose another name")
		}
		return all[i], nil
	})
}

// check refuses a group that cannot stand among all the others.
func (g Group) check(all []Group) error {
	const op = "define group"
	if err := CheckGroupName(op, g.Name); err != nil {
		return err
	}
	if len(g.Parents) > maxParents {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%s has more than %d parents", g.Name, maxParents), "")
	}
	parents, guests := map[string][]string{}, map[string]bool{}
	for _, o := range all {
		parents[o.Name], guests[o.Name] = o.Parents, o.Guests
	}
	guests[g.Name] = g.Guests
	org, _, _ := strings.Cut(g.Name, "/")
	for _, p := range g.Parents {
		if _, known := parents[p]; !known && p != g.Name {
			return sallyport.E(op, sallyport.NotFound, fmt.Sprintf("no group is called %.130q", p), "define parents first")
		}
		if !strings.HasPrefix(p, org+"/") {
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s and %s belong to different organisations", g.Name, p), "")
		}
	}
	if err := g.checkGuests(all, guests); err != nil {
		return err
	}
	parents[g.Name] = g.Parents
	heights := map[string]int{}
	for name := range parents {
		if height(parents, heights, name, 1) > MaxDepth {
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s would close a circle or a chain of more than %d groups", g.Name, MaxDepth), "choose other parents")
		}
	}
	return nil
}

// checkGuests keeps guests out of groups that take none, also by way of a parent.
func (g Group) checkGuests(all []Group, takes map[string]bool) error {
	refused := func(child, parent string) error {
		return sallyport.E("define group", sallyport.Invalid, fmt.Sprintf("%s takes guests and %s does not", child, parent), "keep the two apart, or let both take guests")
	}
	for _, p := range g.Parents {
		if g.Guests && !takes[p] {
			return refused(g.Name, p)
		}
	}
	for _, o := range all {
		if o.Name != g.Name && o.Guests && !g.Guests && slices.Contains(o.Parents, g.Name) {
			return refused(o.Name, g.Name)
		}
		if o.Name == g.Name && o.Guests && !g.Guests {
			return sallyport.E("define group", sallyport.Invalid, fmt.Sprintf("%s takes guests already", g.Name), "define another group: guests may be in this one")
		}
	}
	return nil
}

// height is the number of groups on the longest chain upwards from name. A circle shows as a chain without an end: the
// walk gives up at MaxDepth, and remembers heights so that a lattice of many groups is walked once.
func height(parents map[string][]string, known map[string]int, name string, depth int) int {
	if h, ok := known[name]; ok {
		return h
	}
	if depth > MaxDepth {
		return MaxDepth + 1 // not remembered: it is not a height, only a reason to stop
	}
	tallest := 0
	for _, p := range parents[name] {
		if h := height(parents, known, p, depth+1); h > tallest {
			tallest = h
		}
		if tallest > MaxDepth {
			return MaxDepth + 1
		}
	}
	known[name] = tallest + 1
	return tallest + 1
}
