package directory_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/directory"
)

// apart refuses that one person is in both acme/makers and acme/checkers, by whatever account or group.
func apart(_ context.Context, before, after directory.Dump) error {
	both := func(list []string) bool {
		return slices.Contains(list, "group:acme/makers") && slices.Contains(list, "group:acme/checkers")
	}
	was := before.Subjects()
	for person, list := range after.Subjects() {
		if both(list) && !both(was[person]) {
			return sallyport.E("test", sallyport.Conflict, string(person)+" would be both", "")
		}
	}
	return nil
}

// TestApartIsAskedWhereverSomebodyGains: by every way into a group there is, nothing of what is refused is written; leaving
// and what gives nothing are not asked about.
func TestApartIsAskedWhereverSomebodyGains(t *testing.T) {
	s := newService(t)
	ctx := t.Context()
	for _, g := range []directory.Group{{Name: "acme/makers"}, {Name: "acme/checkers"}, {Name: "acme/juniors"}, {Name: "acme/crew"}} {
		if err := s.DefineGroup(ctx, g); err != nil {
			t.Fatal(err)
		}
	}
	ends := time.Date(2026, 12, 24, 0, 0, 0, 0, time.UTC)
	for _, m := range []directory.Member{{ID: "user:bo", Org: "acme", Groups: []string{"acme/makers", "acme/crew"}}, {ID: "user:bo.two", Person: "user:bo", Org: "acme"},
		{ID: "service:checks", Person: "user:ana", Org: "acme", Purpose: "checks", Ends: ends, Groups: []string{"acme/checkers"}},
		{ID: "user:cy", Org: "acme", Groups: []string{"acme/makers"}}, {ID: "user:cy.two", Person: "user:cy", Org: "acme", Groups: []string{"acme/juniors"}}} {
		mustCreate(t, s, m)
	}
	s.Apart = apart
	before, err := s.Dump(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"joining":             func() error { return s.AddGroup(ctx, "user:bo", "acme/checkers") },
		"by a second account": func() error { return s.AddGroup(ctx, "user:bo.two", "acme/checkers") },
		"by a new account": func() error {
			_, err := s.Create(ctx, directory.Member{ID: "user:bo.new", Person: "user:bo", Org: "acme", Groups: []string{"acme/checkers"}})
			return err
		},
		"by a group's parent": func() error {
			return s.DefineGroup(ctx, directory.Group{Name: "acme/crew", Parents: []string{"acme/checkers"}})
		},
		"by another's account": func() error {
			return s.DefineGroup(ctx, directory.Group{Name: "acme/juniors", Parents: []string{"acme/checkers"}})
		},
		"by a provider's word": func() error { _, _, err := s.Regroup(ctx, "user:bo", nil, []string{"acme/checkers"}); return err },
		"by a service":         func() error { return s.Reassign(ctx, "service:checks", "user:bo") },
	} {
		wantKind(t, do(), sallyport.Conflict)
		if after, err := s.Dump(ctx); err != nil || len(after.Members) != len(before.Members) || !slices.EqualFunc(after.Members, before.Members, func(a, b directory.Member) bool {
			return a.Person == b.Person && slices.Equal(a.Groups, b.Groups)
		}) {
			t.Errorf("%s: something was written: %+v, %v", name, after, err)
		}
	}
	if may, refused, err := s.Joining(ctx, before.Members[slices.IndexFunc(before.Members, func(m directory.Member) bool { return m.ID == "user:bo" })],
		[]string{"acme/juniors", "acme/checkers", "acme/all"}, nil); err != nil || refused == nil || !slices.Equal(may, []string{"acme/juniors", "acme/all"}) {
		t.Errorf("may join %v, refused %v, %v", may, refused, err)
	}
	asked, both := 0, s.Apart
	s.Apart = func(ctx context.Context, before, after directory.Dump) error {
		asked++
		return both(ctx, before, after)
	}
	for group, want := range map[string]sallyport.Kind{"acme/checkers": sallyport.Conflict, "acme/juniors": sallyport.Other} {
		if err := s.MayJoin(ctx, group, []sallyport.PrincipalID{"user:cy", "user:bo"}); sallyport.KindOf(err) != want || (err == nil) != (group == "acme/juniors") {
			t.Errorf("both into %s: %v", group, err)
		}
	}
	if err := s.MayJoin(ctx, "acme/checkers", nil); err != nil || asked != 2 {
		t.Errorf("asked %d times for two orders, %v", asked, err)
	}
	s.Apart = both

	// Who is away gains nothing, and is asked about when they are back.
	for _, step := range []error{s.SetState(ctx, "user:bo", directory.Suspended), s.AddGroup(ctx, "user:bo", "acme/checkers")} {
		if step != nil {
			t.Fatal(step)
		}
	}
	if err := s.SetState(ctx, "user:bo", directory.Active); sallyport.KindOf(err) != sallyport.Conflict || !strings.Contains(err.Error(), "user:bo would be both") {
		t.Errorf("back: %v", err)
	}
	s.Apart = func(context.Context, directory.Dump, directory.Dump) error { return errors.New("asked") }
	for _, step := range []error{s.RemoveGroup(ctx, "user:cy", "acme/makers"), s.Describe(ctx, "user:cy", "Cy", ""), s.SetState(ctx, "user:cy", directory.Removed)} {
		if step != nil {
			t.Errorf("what gives nothing is asked about: %v", step)
		}
	}
}
