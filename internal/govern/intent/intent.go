// Package intent owns what is meant to be, item by item, and how what is differs from it (configuration baselines, NIST SP
// 800-53 CM-2 and CM-6): the items in one spelling, their hash, and the differences with the direction of each.
//
// It is pure. Where the items come from, who changed one and what is done about it is left to govern/drift.
package intent

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"sallyport"
)

// A Kind is what an item is about.
type Kind string

// The kinds. Roles, groups and assignments are the organisation; what stands between them and Policy comes from the
// configuration of a server.
const (
	Role       Kind = "role"
	Group      Kind = "group"
	Assignment Kind = "assignment"
	Membership Kind = "member"     // somebody is in a group
	Trust      Kind = "trust"      // a rule by which workloads prove themselves
	Separation Kind = "separation" // two roles that one person may not have
	Provider   Kind = "provider"   // who else proves people, and what their word is taken for
	Connector  Kind = "connector"  // a system that is called, or keeps people here
	Door       Kind = "door"       // an enforcement point that asks here, or a proxy that passes on who calls
	Setting    Kind = "setting"    // everything else of the configuration
	Policy     Kind = "policy"     // the set in force
)

// Kinds are all kinds.
func Kinds() []Kind {
	return []Kind{Role, Group, Assignment, Membership, Trust, Separation, Provider, Connector, Door, Setting, Policy}
}

// Organisation reports whether a kind is what 'sallyport apply' declares.
func (k Kind) Organisation() bool { return k == Role || k == Group || k == Assignment }

// Configured reports whether a kind stands in the configuration's file.
func (k Kind) Configured() bool {
	return k == Separation || k == Provider || k == Connector || k == Door || k == Setting
}

// Limits of what is compared.
const (
	MaxItems = 250_000
	MaxName  = 600     // bytes
	MaxValue = 1 << 20 // bytes
	maxNames = 8
)

// An Item is one thing that is meant, or is.
type Item struct {
	Kind  Kind   `json:"kind"`
	Name  string `json:"name"`  // of an assignment: subject, role and scope, one space between
	Value string `json:"value"` // JSON with sorted keys; "" is an item that is not there
	// Names are other names by which the log speaks of the item. They are no part of what is compared.
	Names []string `json:"names,omitempty"`
}

// Key names the item among all: its kind, a space and its name.
func (i Item) Key() string { return string(i.Kind) + " " + i.Name }

// A Set is items, sorted by key, each key once. The zero Set is empty.
type Set struct{ items []Item }

// NewSet sorts items. Of those that are not there, with no value, nothing is kept.
func NewSet(items []Item) (Set, error) {
	const op = "read intention"
	kept := make([]Item, 0, len(items))
	for _, i := range items {
		if i.Value == "" {
			continue
		}
		if err := i.check(); err != nil {
			return Set{}, err
		}
		kept = append(kept, i)
	}
	if len(kept) > MaxItems {
		return Set{}, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("there are more than %d items", MaxItems), "")
	}
	slices.SortFunc(kept, func(a, b Item) int { return cmp.Compare(a.Key(), b.Key()) })
	for n := 1; n < len(kept); n++ {
		if kept[n].Key() == kept[n-1].Key() {
			return Set{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.80q is there twice", kept[n].Key()), "keep one")
		}
	}
	return Set{kept}, nil
}

func checkName(s string) error {
	if s == "" || len(s) > MaxName || !utf8.ValidString(s) || sallyport.Flat(s) != s {
		return sallyport.E("read item", sallyport.Invalid, fmt.Sprintf("%.80q is no name of an item", s), fmt.Sprintf("one line of up to %d bytes", MaxName))
	}
	return nil
}

func (i Item) check() error {
	if !slices.Contains(Kinds(), i.Kind) {
		return sallyport.E("read item", sallyport.Invalid, fmt.Sprintf("no kind of item is called %.40q", i.Kind), "")
	}
	if err := checkName(i.Name); err != nil {
		return err
	}
	if len(i.Names) > maxNames || len(i.Value) > MaxValue || !utf8.ValidString(i.Value) || !json.Valid([]byte(i.Value)) {
		return sallyport.E("read item", sallyport.Invalid, fmt.Sprintf("the value of %.80q is no JSON, or is over %d bytes", i.Key(), MaxValue), "")
	}
	for _, n := range i.Names {
		if err := checkName(n); err != nil {
			return err
		}
	}
	return nil
}

// Items are the items, sorted. The caller may not change them.
func (s Set) Items() []Item { return s.items }

// Len is how many items there are.
func (s Set) Len() int { return len(s.items) }

// Find returns the item of a key; of one that is not there its Value is "".
func (s Set) Find(key string) Item {
	n, ok := slices.BinarySearchFunc(s.items, key, func(i Item, key string) int { return cmp.Compare(i.Key(), key) })
	if ok {
		return s.items[n]
	}
	kind, name, _ := strings.Cut(key, " ")
	return Item{Kind: Kind(kind), Name: name}
}

// With returns the set with other items in place of those with the same keys; one without a value is left out.
func (s Set) With(items ...Item) (Set, error) {
	all := map[string]Item{}
	for _, i := range s.items {
		all[i.Key()] = i
	}
	for _, i := range items {
		all[i.Key()] = i
	}
	return NewSet(slices.Collect(maps.Values(all)))
}

// Only returns the items of some kinds.
func (s Set) Only(of func(Kind) bool) Set {
	return Set{slices.DeleteFunc(slices.Clone(s.items), func(i Item) bool { return !of(i.Kind) })}
}

// Hash is "sha256:" and 64 hex digits over keys and values, each behind its length.
func (s Set) Hash() string {
	h := sha256.New()
	for _, i := range s.items {
		for _, part := range []string{i.Key(), i.Value} {
			fmt.Fprintf(h, "%d:%s", len(part), part)
		}
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// MarshalJSON writes the items.
func (s Set) MarshalJSON() ([]byte, error) {
	if s.items == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(s.items)
}

// UnmarshalJSON reads what MarshalJSON writes, strictly.
func (s *Set) UnmarshalJSON(raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	var items []Item
	if err := d.Decode(&items); err != nil {
		return sallyport.Wrap("read intention", sallyport.Invalid, "it is no list of items", err)
	}
	for _, i := range items {
		if i.Value == "" {
			return sallyport.E("read intention", sallyport.Invalid, fmt.Sprintf("%.80q has no value", i.Key()), "")
		}
	}
	read, err := NewSet(items)
	if err == nil {
		*s = read
	}
	return err
}

// Value writes a value in its one spelling: sorted keys, no spaces, without what is empty. Of nothing but what is empty it
// is "{}".
func Value(v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", sallyport.Wrap("write item", sallyport.Invalid, "its value cannot be written", err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return "", sallyport.Wrap("write item", sallyport.Invalid, "its value cannot be written", err)
	}
	tree, ok := prune(tree)
	if !ok {
		return "{}", nil
	}
	out, err := json.Marshal(tree) // sorts keys
	return string(out), err
}

// prune leaves out what is empty, because a version of this program that knows another empty field must not see a
// difference. Elements of lists stay: their place is part of what they say.
func prune(v any) (any, bool) {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			if kept, ok := prune(e); ok {
				x[k] = kept
			} else {
				delete(x, k)
			}
		}
		return or(x, len(x) > 0), len(x) > 0
	case []any:
		for n, e := range x {
			x[n], _ = prune(e)
		}
		return or(x, len(x) > 0), len(x) > 0
	case nil:
		return nil, false
	case bool:
		return x, x
	case string:
		return x, x != ""
	case json.Number:
		return x, x.String() != "0"
	}
	return v, true
}

func or(v any, there bool) any {
	if there {
		return v
	}
	return nil
}
