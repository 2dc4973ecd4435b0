package paths

import (
	"fmt"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cast"
)

// Limits on a file of declared chains.
const (
	MaxFile  = 1 << 20
	maxLines = 10_000
	maxChain = 500 // bytes
)

// A Target is a right with the chains that are declared to lead to it.
type Target struct {
	Action   sallyport.Action
	Resource string
	Chains   []string
	Line     int
}

// Parse reads a file of declared chains: a line ACTION@RESOURCE, and below it each chain on an indented line, as To writes
// it. Empty lines and those that begin with "#" are passed over. Errors are of kind Invalid or TooLarge and name the line.
func Parse(name, text string) ([]Target, error) {
	const op = "read declared paths"
	if len(text) > MaxFile {
		return nil, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%s has more than %d bytes", name, MaxFile), "")
	}
	var out []Target
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		bad := func(what string) error {
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s:%d: %s", name, n, what), "write ACTION@RESOURCE, and below it the chains, indented")
		}
		if n > maxLines {
			return nil, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%s has more than %d lines", name, maxLines), "")
		}
		chain := strings.TrimSpace(line)
		if chain == "" || strings.HasPrefix(chain, "#") {
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			if len(out) == 0 || len(chain) > maxChain || !strings.Contains(chain, ": ") {
				return nil, bad("a chain without a right above it, or none at all")
			}
			out[len(out)-1].Chains = append(out[len(out)-1].Chains, chain)
			continue
		}
		t, err := ParseTarget(chain)
		if err != nil {
			return nil, bad(sallyport.PublicText(err))
		}
		if slices.ContainsFunc(out, func(x Target) bool { return x.Action == t.Action && x.Resource == t.Resource }) {
			return nil, bad("the right stands here twice")
		}
		t.Line = n
		out = append(out, t)
	}
	return out, nil
}

// ParseTarget reads ACTION@RESOURCE.
func ParseTarget(s string) (Target, error) {
	action, resource, ok := strings.Cut(s, "@")
	a, err := sallyport.ParseAction(action)
	if !ok || err != nil {
		return Target{}, sallyport.E("read right", sallyport.Invalid, fmt.Sprintf("%q is no right", sallyport.OneLine(s)), "write for example model.pull@acme/fraud@v1")
	}
	ref, err := sallyport.ParseRef(resource)
	if err != nil {
		return Target{}, err
	}
	return Target{Action: a, Resource: ref.String()}, nil
}

// A Difference is what declared chains and the chains that there are do not share.
type Difference struct {
	Target     string   `json:"right"`
	Undeclared []string `json:"undeclared"` // they lead to the right, and nobody wrote them down
	Gone       []string `json:"gone"`       // written down, and they lead nowhere
}

// Compare holds the declared chains to what there is: one difference for each right that has any.
func Compare(e policy.Engine, c *cast.Cast, declared []Target) ([]Difference, error) {
	var out []Difference
	for _, t := range declared {
		is, err := To(e, c, t.Action, t.Resource)
		if err != nil {
			return nil, err
		}
		d := Difference{Target: fmt.Sprintf("%s@%s", t.Action, t.Resource)}
		for _, x := range is {
			if !slices.Contains(t.Chains, x) {
				d.Undeclared = append(d.Undeclared, x)
			}
		}
		for _, x := range t.Chains {
			if !slices.Contains(is, x) {
				d.Gone = append(d.Gone, x)
			}
		}
		if len(d.Undeclared)+len(d.Gone) > 0 {
			out = append(out, d)
		}
	}
	return out, nil
}
