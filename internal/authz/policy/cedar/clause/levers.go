package clause

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"sallyport/internal/authz/policy"
)

// Own are the levers of one policy.
type Own struct {
	policy.Levers
	Declared bool // it compares the purpose with those that the resource declares
}

// maxTexts is how many literals of a kind are remembered.
const maxTexts = 8

// Levers returns what the conditions of a policy ask that somebody could change.
func Levers(p *ast.Policy) *Own {
	o := new(Own)
	for _, c := range p.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			o.literals(n)
			name := chain(n)
			o.Reads |= lever(name)
			return name == ""
		})
	}
	return o
}

// lever is what an attribute depends on.
func lever(name string) policy.Lever {
	of, attribute, _ := strings.Cut(name, ".")
	if of != "context" {
		return 0
	}
	attribute, field, _ := strings.Cut(attribute, ".")
	switch attribute {
	case "assurance", "authAge":
		return policy.LeverProof
	case "granted":
		return policy.LeverGrant
	case "bound":
		return policy.LeverKey
	case "device":
		if field == "level" || field == "" {
			return policy.LeverDevice | policy.LeverKey
		}
		return policy.LeverDevice
	case "purpose":
		return policy.LeverPurpose
	case "network":
		return policy.LeverNetwork
	case "now":
		return policy.LeverTime
	case "working":
		return policy.LeverTime | policy.LeverHours
	case "training":
		return policy.LeverTraining
	}
	return 0
}

// literals remembers what purpose, network and now are compared with.
func (o *Own) literals(n ast.IsNode) {
	switch x := n.(type) {
	case ast.NodeTypeEquals:
		o.compared(x.BinaryNode, true)
	case ast.NodeTypeNotEquals:
		o.compared(x.BinaryNode, true)
	case ast.NodeTypeLessThan:
		o.compared(x.BinaryNode, false)
	case ast.NodeTypeLessThanOrEqual:
		o.compared(x.BinaryNode, true)
	case ast.NodeTypeGreaterThan:
		o.compared(x.BinaryNode, true)
	case ast.NodeTypeGreaterThanOrEqual:
		o.compared(x.BinaryNode, false)
	case ast.NodeTypeContains:
		if set, ok := x.Left.(ast.NodeTypeSet); ok {
			for _, e := range set.Elements {
				o.compared(ast.BinaryNode{Left: x.Right, Right: e}, true)
			}
		}
		o.Declared = o.Declared || chain(x.Left) == "resource.purposes" && chain(x.Right) == "context.purpose"
	}
}

// compared remembers a literal on either side of a comparison; after says that it may turn just after the literal, too.
func (o *Own) compared(b ast.BinaryNode, after bool) {
	if !o.comparedWith(b.Left, b.Right, after) {
		o.comparedWith(b.Right, b.Left, true)
	}
}

func (o *Own) comparedWith(left, right ast.IsNode, after bool) bool {
	switch chain(left) {
	case "context.purpose":
		return addText(&o.Purposes, right)
	case "context.network":
		return addText(&o.Networks, right)
	case "context.now":
		return o.addInstant(right, 0, after)
	}
	call, ok := left.(ast.NodeTypeExtensionCall)
	if !ok || len(call.Args) != 1 {
		return false
	}
	offset, ok := nowAt(call.Args[0])
	switch {
	case !ok:
	case call.Name == "toTime":
		return o.addDay(right, offset, after)
	case call.Name == "toDate":
		return o.addInstant(right, offset, false) && o.addInstant(right, offset-day, false)
	}
	return false
}

const day = 24 * time.Hour

// nowAt reads "context.now" and "context.now.offset(duration("1h"))".
func nowAt(n ast.IsNode) (time.Duration, bool) {
	if chain(n) == "context.now" {
		return 0, true
	}
	call, ok := n.(ast.NodeTypeExtensionCall)
	if !ok || call.Name != "offset" || len(call.Args) != 2 || chain(call.Args[0]) != "context.now" {
		return 0, false
	}
	return duration(call.Args[1])
}

// literal is the text of name("text").
func literal(n ast.IsNode, name types.Path) (string, bool) {
	call, ok := n.(ast.NodeTypeExtensionCall)
	if !ok || call.Name != name || len(call.Args) != 1 {
		return "", false
	}
	v, _ := call.Args[0].(ast.NodeValue)
	s, ok := v.Value.(types.String)
	return string(s), ok
}

func duration(n ast.IsNode) (time.Duration, bool) {
	s, ok := literal(n, "duration")
	if !ok {
		return 0, false
	}
	d, err := types.ParseDuration(s)
	if err != nil {
		return 0, false
	}
	std, err := d.Duration()
	return std, err == nil
}

// addDay remembers a time of day, in UTC.
func (o *Own) addDay(n ast.IsNode, offset time.Duration, after bool) bool {
	d, ok := duration(n)
	if !ok {
		return false
	}
	d = ((d-offset)%day + day) % day
	addOne(&o.Days, d, cmp.Compare[time.Duration])
	if after {
		addOne(&o.Days, (d+time.Millisecond)%day, cmp.Compare[time.Duration])
	}
	return true
}

// addInstant remembers an instant.
func (o *Own) addInstant(n ast.IsNode, offset time.Duration, after bool) bool {
	s, ok := literal(n, "datetime")
	if !ok {
		return false
	}
	d, err := types.ParseDatetime(s)
	if err != nil {
		return false
	}
	t := d.Time().UTC().Add(-offset)
	addOne(&o.Instants, t, time.Time.Compare)
	if after {
		addOne(&o.Instants, t.Add(time.Millisecond), time.Time.Compare)
	}
	return true
}

func addText(list *[]string, n ast.IsNode) bool {
	v, _ := n.(ast.NodeValue)
	s, ok := v.Value.(types.String)
	if ok && s != "" {
		addOne(list, string(s), cmp.Compare[string])
	}
	return ok
}

// addOne keeps a list sorted, without repetition and short.
func addOne[T any](list *[]T, x T, compare func(T, T) int) {
	at, found := slices.BinarySearchFunc(*list, x, compare)
	if !found && len(*list) < maxTexts {
		*list = slices.Insert(*list, at, x)
	}
}

// Join adds the levers of one policy to those of others.
func Join(all *policy.Levers, o *Own) {
	all.Reads |= o.Reads
	for _, s := range o.Purposes {
		addOne(&all.Purposes, s, cmp.Compare[string])
	}
	for _, s := range o.Networks {
		addOne(&all.Networks, s, cmp.Compare[string])
	}
	for _, d := range o.Days {
		addOne(&all.Days, d, cmp.Compare[time.Duration])
	}
	for _, t := range o.Instants {
		addOne(&all.Instants, t, time.Time.Compare)
	}
}

// Purpose remembers a purpose that a resource declares.
func (o *Own) Purpose(v types.Value) {
	if s, ok := v.(types.String); ok && s != "" {
		addOne(&o.Purposes, string(s), cmp.Compare[string])
	}
}
