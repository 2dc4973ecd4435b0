package role

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sallyport"
)

// TestClosure compares with a definition by steps, on inheritance with circles too.
func TestClosure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"a", "b", "c", "d", "e"}
		var s State
		for _, name := range names {
			s.Roles = append(s.Roles, Role{Name: name, Inherits: rapid.SliceOfDistinct(rapid.SampledFrom(append(names, "gone")), rapid.ID).Draw(t, name)})
		}
		reach := map[string]bool{"a": true}
		for range len(names) + 1 {
			for _, r := range s.Roles {
				for _, parent := range r.Inherits {
					reach[parent] = reach[parent] || reach[r.Name]
				}
			}
		}
		got := s.Closure("a")
		for name, reached := range reach {
			if reached != slices.Contains(got, name) {
				t.Fatalf("%v: closure %v", s.Roles, got)
			}
		}
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Fatalf("closure %v", got)
		}
	})
}

// TestApplyLeavesTheOldState: a decision compares two states.
func TestApplyLeavesTheOldState(t *testing.T) {
	old := State{Roles: []Role{{Name: "b"}}, Assignments: []Assignment{{ID: "A-2"}}}
	next := old.apply(Change{Define: &Role{Name: "a"}, Assign: &Assignment{ID: "A-1"}})
	next = next.apply(Change{Define: &Role{Name: "b", Description: "new"}, Unassign: "A-2"})
	if len(old.Roles) != 1 || old.Roles[0].Description != "" || len(old.Assignments) != 1 {
		t.Errorf("the old state became %+v", old)
	}
	if len(next.Roles) != 2 || next.Roles[1].Description != "new" || len(next.Assignments) != 1 || next.Assignments[0].ID != "A-1" {
		t.Errorf("the next state is %+v", next)
	}
}

func TestSubjects(t *testing.T) {
	for subject, ok := range map[string]bool{
		"user:ana": true, "service:bot": true, "group:acme/risk": true,
		"": false, "ana": false, "user:": false, "group:": false, "group:acme": false, "group:acme/": false, "group:acme/a/b": false,
		"group:Acme/x": false, "role:x": false, "user:*": false,
	} {
		if err := checkSubject("test", subject); (err == nil) != ok {
			t.Errorf("subject %q: %v", subject, err)
		} else if err != nil && sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("subject %q: kind %v", subject, sallyport.KindOf(err))
		}
	}
}
