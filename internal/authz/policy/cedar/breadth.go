package cedar

import (
	"fmt"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/ast"

	"sallyport"
)

// Limits on what a schema declares. A proposed set brings its own, and little text says much: named types that hold each
// other twice double with each, and a policy is checked for every principal with every resource. Sallyport's own schema has
// a tenth of each.
const (
	maxTypes        = 100    // of entities
	maxTypeParents  = 200    // of all of them
	maxActions      = 500    // groups included
	maxGroups       = 2_000  // that actions are in, of all of them
	maxEnvironments = 4_000  // principals × resources, of all actions
	maxMembers      = 50_000 // attributes of entities and contexts, named types written out wherever they stand
)

// A breadth is what a schema declares, counted before anything is made of it.
type breadth struct {
	named                                                      map[string][]ast.IsType // by the last part of a name
	size                                                       map[string]int          // of named, written out
	types, typeParents, actions, groups, environments, members int
	widest                                                     int // members of one entity or context
}

// breadthOf counts a schema, or refuses it.
func breadthOf(s *ast.Schema) (*breadth, error) {
	b := &breadth{named: map[string][]ast.IsType{}, size: map[string]int{}}
	spaces := []ast.Namespace{{Entities: s.Entities, Enums: s.Enums, Actions: s.Actions, CommonTypes: s.CommonTypes}}
	for _, n := range s.Namespaces {
		spaces = append(spaces, n)
	}
	for _, n := range spaces {
		for name, t := range n.CommonTypes {
			b.named[string(name)] = append(b.named[string(name)], t.Type)
		}
	}
	for _, n := range spaces {
		b.add(n)
	}
	for _, x := range []struct {
		what       string
		have, most int
	}{{"types of entities", b.types, maxTypes}, {"parents of types", b.typeParents, maxTypeParents}, {"actions", b.actions, maxActions}, {"groups of actions", b.groups, maxGroups},
		{"pairs of principals and resources", b.environments, maxEnvironments}, {"attributes with those of named types", b.members, maxMembers}} {
		if x.have > x.most {
			return nil, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("it declares more than %d %s", x.most, x.what), "declare less")
		}
	}
	return b, nil
}

func (b *breadth) add(n ast.Namespace) {
	b.types += len(n.Entities) + len(n.Enums)
	b.actions += len(n.Actions)
	for _, e := range n.Entities {
		b.typeParents += len(e.ParentTypes)
		b.count(b.of(e.Shape) + b.of(e.Tags))
	}
	for _, a := range n.Actions {
		b.groups += len(a.Parents)
		if a.AppliesTo != nil {
			b.environments += len(a.AppliesTo.Principals) * len(a.AppliesTo.Resources) // each no more than the text has bytes
			b.count(b.of(a.AppliesTo.Context))
		}
	}
}

func (b *breadth) count(members int) {
	b.members, b.widest = min(b.members+members, maxMembers+1), max(b.widest, members)
}

// of is how many members a type has, itself included, no more than is refused.
func (b *breadth) of(t ast.IsType) int {
	n := 1
	switch t := t.(type) {
	case ast.RecordType:
		for _, a := range t {
			n = min(n+b.of(a.Type), maxMembers+1)
		}
	case ast.SetType:
		n += b.of(t.Element)
	case ast.TypeRef:
		name := string(types.Path(t))
		name = name[strings.LastIndexByte(name, ':')+1:]
		size, known := b.size[name]
		if !known {
			b.size[name] = 0 // a type that holds itself is refused when names are resolved
			for _, as := range b.named[name] {
				size = min(size+b.of(as), maxMembers+1)
			}
			b.size[name] = size
		}
		n += size
	}
	return n
}
