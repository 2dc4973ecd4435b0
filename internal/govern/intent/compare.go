package intent

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"
)

// A Direction is what a difference does to what may be done.
type Direction string

// The directions.
const (
	Wider    Direction = "wider"    // more may be done than is meant
	Narrower Direction = "narrower" // less
	Other    Direction = "other"    // both, or it cannot be told
)

// A Difference is one item that is not what it is meant to be.
// Both sides have the kind and the name.
type Difference struct {
	Want Item `json:"want"` // without a value: it is not meant to be there
	Is   Item `json:"is"`   // without a value: it is not there
}

// Key names what differs.
func (d Difference) Key() string { return d.Want.Key() }

// Kind is the kind of what differs.
func (d Difference) Kind() Kind { return d.Want.Kind }

// Same reports whether two differences are of the same item, from the same value to the same value.
func (d Difference) Same(o Difference) bool {
	return d.Key() == o.Key() && d.Want.Value == o.Want.Value && d.Is.Value == o.Is.Value
}

// Compare returns how is differs from want, sorted by key.
func Compare(want, is Set) []Difference {
	var all []Difference
	w, i := want.items, is.items
	for len(w) > 0 || len(i) > 0 {
		switch order := first(w, i); {
		case order < 0:
			all = append(all, Difference{w[0], Item{Kind: w[0].Kind, Name: w[0].Name}})
			w = w[1:]
		case order > 0:
			all = append(all, Difference{Item{Kind: i[0].Kind, Name: i[0].Name}, i[0]})
			i = i[1:]
		default:
			if w[0].Value != i[0].Value {
				all = append(all, Difference{w[0], i[0]})
			}
			w, i = w[1:], i[1:]
		}
	}
	return all
}

func first(w, i []Item) int {
	switch {
	case len(i) == 0:
		return -1
	case len(w) == 0:
		return 1
	}
	return cmp.Compare(w[0].Key(), i[0].Key())
}

// Fields of values whose direction can be told.
type (
	// RoleValue is the value of a Role.
	RoleValue struct {
		Inherits   []string `json:"inherits,omitempty"` // sorted
		Privileged bool     `json:"privileged,omitempty"`
	}
	// GroupValue is the value of a Group.
	GroupValue struct {
		In     []string `json:"in,omitempty"` // the groups that it lies in, sorted
		Guests bool     `json:"guests,omitempty"`
	}
	// AssignmentValue is the value of an Assignment.
	AssignmentValue struct {
		Until string `json:"until,omitempty"` // RFC 3339; "" has no end
	}
)

// Direction says which way a difference goes.
func (d Difference) Direction() Direction {
	switch d.Kind() {
	case Role:
		var want, is RoleValue
		if !values(d, &want, &is) {
			return Other
		}
		// A privileged role asks for more of whoever has it.
		return both(subset(want.Inherits, is.Inherits) && (want.Privileged || !is.Privileged), subset(is.Inherits, want.Inherits) && (is.Privileged || !want.Privileged))
	case Group:
		var want, is GroupValue
		if !values(d, &want, &is) {
			return Other
		}
		return both(subset(want.In, is.In) && (is.Guests || !want.Guests), subset(is.In, want.In) && (want.Guests || !is.Guests))
	case Assignment:
		return assignments(d)
	case Trust, Membership:
		return there(d, Wider, Narrower)
	case Separation:
		return there(d, Narrower, Wider)
	}
	return Other
}

func both(wider, narrower bool) Direction {
	switch {
	case wider && !narrower:
		return Wider
	case narrower && !wider:
		return Narrower
	}
	return Other
}

func there(d Difference, appeared, gone Direction) Direction {
	switch {
	case d.Want.Value == "":
		return appeared
	case d.Is.Value == "":
		return gone
	}
	return Other
}

func assignments(d Difference) Direction {
	if way := there(d, Wider, Narrower); way != Other {
		return way
	}
	var want, is AssignmentValue
	if !values(d, &want, &is) {
		return Other
	}
	before, err1 := end(want.Until)
	after, err2 := end(is.Until)
	switch {
	case err1 != nil || err2 != nil || before.Equal(after):
		return Other
	case after.After(before):
		return Wider
	}
	return Narrower
}

// end is when something ends; what has no end ends after everything.
func end(s string) (time.Time, error) {
	if s == "" {
		return time.Unix(1<<40, 0), nil
	}
	return time.Parse(time.RFC3339Nano, s)
}

// values reads both values of a difference; one that is not there is empty.
func values(d Difference, want, is any) bool {
	for _, one := range []struct {
		text string
		into any
	}{{d.Want.Value, want}, {d.Is.Value, is}} {
		if one.text != "" && json.Unmarshal([]byte(one.text), one.into) != nil {
			return false
		}
	}
	return true
}

func subset(a, b []string) bool {
	return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}
