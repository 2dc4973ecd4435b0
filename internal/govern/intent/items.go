package intent

import (
	"encoding/json"
	"slices"
	"time"

	"sallyport"
)

// NewRole is the item of a role. One that inherits nothing and is not privileged is not there: its name alone gives nothing
// to anybody, and names are never taken back.
func NewRole(name string, v RoleValue) (Item, error) {
	v.Inherits = sorted(v.Inherits)
	return notBare(Role, name, v)
}

// NewGroup is the item of a group. One that lies in none and takes no guests is not there, as with roles.
func NewGroup(name string, v GroupValue) (Item, error) {
	v.In = sorted(v.In)
	return notBare(Group, name, v)
}

// NewAssignment is the item of a role that somebody has; until is when it ends, zero never.
func NewAssignment(subject, role, scope string, until time.Time) (Item, error) {
	var v AssignmentValue
	if !until.IsZero() {
		v.Until = until.UTC().Format(time.RFC3339Nano)
	}
	value, err := Value(v)
	return Item{Kind: Assignment, Name: AssignmentName(subject, role, scope), Value: value}, err
}

// NewMembership is the item of somebody who is in a group.
func NewMembership(who, group string) Item {
	return Item{Kind: Membership, Name: who + " " + group, Value: `{"in":true}`}
}

// AssignmentName names an assignment by what it says.
func AssignmentName(subject, role, scope string) string { return subject + " " + role + " " + scope }

func notBare(kind Kind, name string, v any) (Item, error) {
	value, err := Value(v)
	if value == "{}" {
		value = ""
	}
	return Item{Kind: kind, Name: name, Value: value}, err
}

func sorted(s []string) []string { return slices.Compact(slices.Sorted(slices.Values(s))) }

// Over reports whether an assignment's end has come.
func Over(i Item, now time.Time) bool {
	var v AssignmentValue
	if i.Kind != Assignment || json.Unmarshal([]byte(i.Value), &v) != nil || v.Until == "" {
		return false
	}
	at, err := time.Parse(time.RFC3339Nano, v.Until)
	return err == nil && !now.Before(at)
}

// Read reads an item's value; of one that is not there nothing.
func (i Item) Read(into any) error {
	if i.Value == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(i.Value), into); err != nil {
		return sallyport.Wrap("read item", sallyport.Invalid, "the value of "+i.Key()+" is another's", err)
	}
	return nil
}
