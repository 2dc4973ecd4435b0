package grant

import (
	"fmt"

	"sallyport"
)

// MaxScope is how many obligations a grant may be narrowed by.
const MaxScope = 8

// ParseScope reads obligations such as "files=*.json", each once.
func ParseScope(all []string) ([]sallyport.Obligation, error) {
	const op = "request grant"
	if len(all) > MaxScope {
		return nil, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%d obligations", len(all)), fmt.Sprintf("name at most %d", MaxScope))
	}
	var scope []sallyport.Obligation
	for i, s := range all {
		o, err := sallyport.ParseObligation(s)
		if err != nil {
			return nil, err
		}
		for _, before := range scope[:i] {
			if before == o {
				return nil, sallyport.E(op, sallyport.Invalid, "the obligation "+s+" stands twice", "")
			}
		}
		scope = append(scope, o)
	}
	return scope, nil
}

// scopeText is what ParseScope reads.
func scopeText(scope []sallyport.Obligation) []string {
	var all []string
	for _, o := range scope {
		all = append(all, o.String())
	}
	return all
}

// ScopeText is the grant's scope, an obligation each.
func (g Grant) ScopeText() []string { return scopeText(g.Scope) }
