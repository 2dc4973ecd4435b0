package paths

import (
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cast"
)

// A Chain is one that leads to a right, with who stands at its end today.
type Chain struct {
	Chain string                  `json:"chain"`
	Who   []sallyport.PrincipalID `json:"who"` // who has the right by it now, sorted; of chains that somebody must first go, nobody
}

// Held adds to chains that To returned who has the right by each now: whoever holds the role there, is in the group, owns
// the resource, is named or is the program. What is asked of others first (an assignment, a grant, an emergency, another
// set of policies) has nobody.
func Held(c *cast.Cast, chains []string, resource string) ([]Chain, error) {
	out := make([]Chain, len(chains))
	for i, text := range chains {
		out[i] = Chain{Chain: text, Who: []sallyport.PrincipalID{}}
	}
	for _, id := range c.Principals() {
		b, err := c.Basis(string(id), resource)
		if err != nil {
			return nil, err
		}
		if !b.Active {
			continue
		}
		for i, text := range chains {
			if ends(b, text) {
				out[i].Who = append(out[i].Who, id)
			}
		}
	}
	return out, nil
}

// ends reports whether a principal stands at the end of a chain.
func ends(b *decision.Basis, chain string) bool {
	kind, rest, _ := strings.Cut(chain, ": ")
	first, _, _ := strings.Cut(rest, " ")
	in := func(u policy.UID) bool {
		return slices.ContainsFunc(b.Entities, func(e policy.Entity) bool { return e.UID == u }) // of the closure of this principal alone
	}
	switch kind {
	case "anybody":
		return strings.HasSuffix(rest, " "+b.Principal.Type)
	case "role":
		return strings.HasSuffix(rest, " as "+b.Principal.Type) && in(policy.UID{Type: "Role", ID: first})
	case "break-glass":
		return in(policy.UID{Type: "Role", ID: first})
	case "group":
		name, _, _ := strings.Cut(strings.TrimPrefix(rest, "members of "), " ")
		return in(policy.UID{Type: "Group", ID: name})
	case "owner":
		for _, e := range b.Entities {
			if e.UID == b.ResourceUID {
				return slices.ContainsFunc(e.Attrs["owners"].Set, func(v policy.Value) bool { return v.Entity.ID == b.Person.Name() })
			}
		}
	case "name":
		return strings.TrimSuffix(first, ",") == string(b.PrincipalID)
	case "impersonation":
		return strings.HasPrefix(rest, "whoever runs "+string(b.PrincipalID)+",")
	}
	return false
}
