package directory_test

import (
	"fmt"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/directory"
)

var start = time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)

// trainer is a service as it should be.
var trainer = directory.Member{ID: "service:trainer", Person: "user:ana", Org: "acme", Purpose: "trains models", Ends: start.AddDate(0, 6, 0)}

func with(m directory.Member, change func(*directory.Member)) directory.Member {
	change(&m)
	return m
}

// Services and agents have an owner, a purpose and an end; guests a sponsor and an end.
func TestWhatIsNotForever(t *testing.T) {
	s := newService(t)
	mustCreate(t, s, trainer)
	helper := mustCreate(t, s, with(trainer, func(m *directory.Member) { m.ID = "agent:helper" }))
	if helper.Purpose != "trains models" || !helper.Ends.Equal(trainer.Ends) {
		t.Errorf("created %+v", helper)
	}
	guest := directory.Member{ID: "user:gia", Org: "globex", Guest: true, Sponsor: "user:ana", Ends: start.AddDate(0, 1, 0)}
	mustCreate(t, s, guest)
	for name, m := range map[string]directory.Member{
		"a service without a purpose":  with(trainer, func(m *directory.Member) { m.ID, m.Purpose = "service:x", "" }),
		"a service without an end":     with(trainer, func(m *directory.Member) { m.ID, m.Ends = "service:x", time.Time{} }),
		"a service that ended":         with(trainer, func(m *directory.Member) { m.ID, m.Ends = "service:x", start }),
		"a service for over a year":    with(trainer, func(m *directory.Member) { m.ID, m.Ends = "service:x", start.AddDate(1, 0, 1) }),
		"an agent without an owner":    with(trainer, func(m *directory.Member) { m.ID, m.Person = "agent:x", "" }),
		"an agent that owns itself":    with(trainer, func(m *directory.Member) { m.ID, m.Person = "agent:x", "agent:x" }),
		"a service as a guest":         with(trainer, func(m *directory.Member) { m.ID, m.Guest, m.Sponsor = "service:x", true, "user:ana" }),
		"a guest without a sponsor":    with(guest, func(m *directory.Member) { m.ID, m.Sponsor = "user:x", "" }),
		"a sponsor of nobody's guest":  with(guest, func(m *directory.Member) { m.ID, m.Guest = "user:x", false }),
		"a guest of a guest":           with(guest, func(m *directory.Member) { m.ID, m.Sponsor = "user:x", "user:gia" }),
		"a guest of a service":         with(guest, func(m *directory.Member) { m.ID, m.Sponsor = "user:x", "service:trainer" }),
		"a guest of nobody":            with(guest, func(m *directory.Member) { m.ID, m.Sponsor = "user:x", "user:nobody" }),
		"a guest without an end":       with(guest, func(m *directory.Member) { m.ID, m.Ends = "user:x", time.Time{} }),
		"an external id of no source":  {ID: "user:x", Org: "acme", External: "00u1"},
		"a purpose with a line end":    with(trainer, func(m *directory.Member) { m.ID, m.Purpose = "service:x", "a\nb" }),
		"a person's account that ends": {ID: "user:x", Org: "acme", Ends: start.AddDate(2, 0, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Create(t.Context(), m)
			wantKind(t, err, sallyport.Invalid)
		})
	}
}

// A guest is in no group of the house but those that take guests, and those lead nowhere else.
func TestGuestsStayOutside(t *testing.T) {
	s := newService(t)
	mustCreate(t, s, directory.Member{ID: "user:gia", Org: "globex", Guest: true, Sponsor: "user:ana", Ends: start.AddDate(0, 1, 0)})
	for _, g := range []string{"acme/all", "globex/all"} {
		wantKind(t, s.AddGroup(t.Context(), "user:gia", g), sallyport.Invalid)
	}
	if err := s.DefineGroup(t.Context(), directory.Group{Name: "acme/visitors", Guests: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.AddGroup(t.Context(), "user:gia", "acme/visitors"); err != nil {
		t.Error(err)
	}
	for name, g := range map[string]directory.Group{
		"a group for guests in one without": {Name: "acme/friends", Guests: true, Parents: []string{"acme/all"}},
		"guests under a parent without":     {Name: "acme/visitors", Guests: true, Parents: []string{"acme/all"}},
		"no guests any more":                {Name: "acme/visitors"},
	} {
		t.Run(name, func(t *testing.T) { wantKind(t, s.DefineGroup(t.Context(), g), sallyport.Invalid) })
	}
	if err := s.AddGroup(t.Context(), "user:ana", "acme/visitors"); err != nil {
		t.Errorf("a member of the house may join them: %v", err)
	}
}

// A group is its source's or the house's, and stays so: neither takes over the other's.
func TestGroupsStayTheirKeepers(t *testing.T) {
	s := newService(t)
	for _, x := range []struct {
		name, source, external string
		want                   sallyport.Kind
	}{{"acme/okta", "okta", "1", 0}, {"acme/okta", "okta", "1", 0}, {"acme/okta", "okta", "2", sallyport.Conflict}, {"acme/okta", "entra", "1", sallyport.Conflict},
		{"acme/all", "okta", "3", sallyport.Conflict}, {"acme/no", "", "", sallyport.Invalid}, {"acme/no", "okta", "", sallyport.Invalid}, {"no", "okta", "4", sallyport.Invalid}} {
		err := s.ProvideGroup(t.Context(), x.name, x.source, x.external)
		if (err == nil) != (x.want == 0) || err != nil && sallyport.KindOf(err) != x.want {
			t.Errorf("%s of %s: %v", x.name, x.source, err)
		}
	}
	if err := s.DefineGroup(t.Context(), directory.Group{Name: "acme/okta", Parents: []string{"acme/all"}, Source: "entra", External: "9"}); err != nil {
		t.Fatal(err)
	}
	if err := s.ProvideGroup(t.Context(), "acme/okta", "okta", "1"); err != nil {
		t.Error(err)
	}
	d, err := s.Dump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range d.Groups {
		if g.Name == "acme/okta" && (g.Source != "okta" || g.External != "1" || len(g.Parents) != 1) {
			t.Errorf("the group is %+v", g)
		}
	}
}

func TestExtendAndSponsor(t *testing.T) {
	s := newService(t)
	mustCreate(t, s, trainer)
	mustCreate(t, s, directory.Member{ID: "user:bo", Org: "acme"})
	mustCreate(t, s, directory.Member{ID: "user:gia", Org: "globex", Guest: true, Sponsor: "user:ana", Ends: start.AddDate(0, 1, 0)})
	if err := s.Extend(t.Context(), "service:trainer", start.AddDate(1, 0, 0)); err != nil {
		t.Error(err)
	}
	wantKind(t, s.Extend(t.Context(), "service:trainer", start.AddDate(2, 0, 0)), sallyport.Invalid)
	wantKind(t, s.Extend(t.Context(), "service:trainer", start), sallyport.Invalid)
	wantKind(t, s.Extend(t.Context(), "user:ana", start.AddDate(0, 1, 0)), sallyport.Conflict)
	if err := s.SetSponsor(t.Context(), "user:gia", "user:bo"); err != nil {
		t.Error(err)
	}
	wantKind(t, s.SetSponsor(t.Context(), "user:ana", "user:bo"), sallyport.Invalid)
	wantKind(t, s.SetSponsor(t.Context(), "user:gia", "service:trainer"), sallyport.Invalid)
	if m, err := s.Get(t.Context(), "user:gia"); err != nil || m.Sponsor != "user:bo" {
		t.Errorf("sponsor %s, %v", m.Sponsor, err)
	}
}

// A sweep finds who has ended, and guests whose sponsor left, was suspended or has ended.
func TestOverdue(t *testing.T) {
	s := newService(t)
	mustCreate(t, s, trainer)
	mustCreate(t, s, directory.Member{ID: "user:gia", Org: "globex", Guest: true, Sponsor: "user:ana", Ends: start.AddDate(0, 1, 0)})
	overdue := func(now time.Time) string {
		t.Helper()
		d, err := s.Dump(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, o := range d.Overdue(now) {
			text += fmt.Sprintf("%s: %s. ", o.Member.ID, o.Why)
		}
		return text
	}
	for _, step := range []struct {
		do   func() error
		now  time.Time
		want string
	}{
		{nil, start.AddDate(0, 0, 1), ""},
		{nil, start.AddDate(0, 1, 0), "user:gia: the account has ended. "},
		{nil, start.AddDate(0, 6, 0), "service:trainer: the account has ended. user:gia: the account has ended. "},
		{func() error { return s.SetState(t.Context(), "user:ana", directory.Suspended) }, start, "user:gia: the sponsor is not active. "},
		{func() error { return s.SetState(t.Context(), "user:gia", directory.Suspended) }, start, ""},
	} {
		if step.do != nil {
			if err := step.do(); err != nil {
				t.Fatal(err)
			}
		}
		if got := overdue(step.now); got != step.want {
			t.Errorf("at %v: %q, want %q", step.now, got, step.want)
		}
	}
}

// What a provider says of a guest's groups does not bring them in either.
func TestRegroupKeepsGuestsOutside(t *testing.T) {
	s := newService(t)
	mustCreate(t, s, directory.Member{ID: "user:gia", Org: "acme", Guest: true, Sponsor: "user:ana", Ends: start.AddDate(0, 1, 0)})
	if err := s.DefineGroup(t.Context(), directory.Group{Name: "acme/visitors", Guests: true}); err != nil {
		t.Fatal(err)
	}
	joined, _, err := s.Regroup(t.Context(), "user:gia", nil, []string{"acme/all", "acme/visitors"})
	if err != nil || fmt.Sprint(joined) != "[acme/visitors]" {
		t.Errorf("joined %v, %v", joined, err)
	}
}
