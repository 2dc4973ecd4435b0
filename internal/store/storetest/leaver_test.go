package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/role"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/leaver"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/token"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/store/sqldb"
)

// A house is acme with Ana, who owns a service and a model, on real rooms.
type house struct {
	*leaver.Service
	t      *testing.T
	clock  *turnedClock
	events []sallyport.Event
	fail   error // of the record
}

func newHouse(t *testing.T, db *sqldb.DB) *house {
	h := &house{t: t, clock: newTurnedClock()}
	now := h.clock.Now
	approvals := newApprovals(db, h.clock)
	people := func(ctx context.Context, subject string) ([]sallyport.PrincipalID, error) {
		m, err := db.Directory().Member(ctx, sallyport.PrincipalID(subject))
		if err != nil || m.State != directory.Active {
			return nil, err
		}
		return []sallyport.PrincipalID{m.Person}, nil
	}
	h.Service = &leaver.Service{Store: db.Leaver(), Now: now, Rooms: leaver.Rooms{
		Directory: &directory.Service{Store: db.Directory(), Now: now},
		Sessions:  &session.Service{Store: db.Session(), Limits: session.DefaultLimits(), Now: now, Random: rand.Reader},
		Tokens:    &token.Issuer{Families: db.Token(), Now: now, Rand: rand.Reader},
		Approvals: approvals, Grants: &grant.Service{Store: db.Grant(), Approvals: approvals, Clock: now, Need: 1},
		Roles: &role.Service{Store: db.Role(), Clock: now, Rand: rand.Reader, People: people, Administrator: "administrator",
			Conflicts: [][2]string{{"developer", "releaser"}}},
		Catalog: &catalog.Service{Store: db.Catalog(), Clock: now}},
		Note: func(_ context.Context, e sallyport.Event) error {
			if h.fail == nil {
				h.events = append(h.events, e)
			}
			return h.fail
		}}
	h.furnish()
	return h
}

func (h *house) furnish() {
	t, ctx, r := h.t, h.t.Context(), h.Rooms
	t.Helper()
	must(t, r.Catalog.Put(ctx, catalog.Item{Org: &catalog.Org{Name: "acme"}}))
	for _, g := range []string{"acme/staff", "acme/risk"} {
		must(t, r.Directory.DefineGroup(ctx, directory.Group{Name: g}))
	}
	for _, m := range []directory.Member{{ID: "user:ana", Groups: []string{"acme/staff", "acme/risk"}}, {ID: "user:ana.2", Person: "user:ana"},
		{ID: "user:bob"}, {ID: "user:eva"}, {ID: "user:gus", Guest: true, Sponsor: "user:ana", Ends: h.clock.Now().Add(30 * 24 * time.Hour)},
		{ID: "service:trainer", Person: "user:ana"}, {ID: "service:other", Person: "user:bob"}} {
		m.Org = "acme"
		if m.ID.Kind() == sallyport.Service {
			m.Purpose, m.Ends = "training", h.clock.Now().Add(300*24*time.Hour)
		}
		_, err := r.Directory.Create(ctx, m)
		must(t, err)
	}
	for _, name := range []string{"administrator", "developer", "releaser"} {
		must(t, r.Roles.Define(ctx, role.Role{Name: name}))
	}
	for subject, name := range map[string]string{"user:ana": "developer", "user:ana.2": "developer", "service:trainer": "developer", "user:bob": "administrator"} {
		_, err := r.Roles.Assign(ctx, role.Assignment{Subject: subject, Role: name, Scope: sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "acme"}, By: "user:bob"})
		must(t, err)
	}
	must(t, r.Catalog.Put(ctx, catalog.Item{Model: &catalog.Model{Org: "acme", Name: "fraud", Owners: []sallyport.PrincipalID{"user:ana"}}}))
	must(t, r.Catalog.Put(ctx, catalog.Item{Model: &catalog.Model{Org: "acme", Name: "base", Owners: []sallyport.PrincipalID{"user:bob", "user:ana"}}}))
	must(t, r.Catalog.Put(ctx, catalog.Item{Dataset: &catalog.Dataset{Org: "acme", Name: "claims", Owners: []sallyport.PrincipalID{"user:ana.2"}}}))
}

// hold lets Ana hold one of each kind.
func (h *house) hold() (bearer secret.Text, g grant.Grant, asked, voted approval.Request) {
	t, ctx, r := h.t, h.t.Context(), h.Rooms
	t.Helper()
	for _, id := range []sallyport.PrincipalID{"user:ana", "user:ana.2", "user:bob"} {
		b, _, err := r.Sessions.Start(ctx, session.Proof{Principal: id, Person: "user:ana", Assurance: sallyport.MultiFactor, Methods: []string{"pwd", "otp"}})
		must(t, err)
		if id == "user:ana" {
			bearer = b
		}
		must(t, r.Tokens.Families.StartFamily(ctx, token.Family{ID: "family-of-" + id.Name(), Principal: id, Person: "user:ana", Client: "cli",
			Audiences: []string{"a"}, Created: h.clock.Now(), Expires: h.clock.Now().Add(time.Hour)}))
	}
	g = approved(t, r.Grants, anAsk())
	asked, err := r.Grants.Ask(ctx, anAsk())
	must(t, err)
	other := anAsk()
	other.Principal, other.Person = "user:eva", "user:eva"
	two := *r.Grants
	two.Need = 2
	voted, err = two.Ask(ctx, other)
	must(t, err)
	voted, _, err = two.Vote(ctx, ballot(voted, "ana", true))
	must(t, err)
	return bearer, g, asked, voted
}

// I-28, ID-10: after leaving, nothing that the person held is left, in whatever
// account, and what others hold is.
func TestNothingIsLeftOfALeaver(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		h := newHouse(t, open())
		ctx, r := t.Context(), h.Rooms
		bearer, g, asked, voted := h.hold()
		report, err := h.Leave(ctx, "user:ana", "user:bob", "last day")
		must(t, err)
		want := leaver.Report{Who: "user:ana", State: directory.Suspended, Accounts: 2, Sessions: 2, Families: 2, Grants: 1, Requests: 1, Votes: 1,
			Groups: 2, Roles: 2, Guests: 1, Charges: 3}
		if diff := cmp.Diff(want, report); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
		_, err = r.Sessions.Lookup(ctx, bearer)
		wantKind(t, "a session of hers", err, sallyport.Unknown)
		for name, dead := range map[string]bool{"ana": true, "ana.2": true, "bob": false} {
			f, err := r.Tokens.Families.Families(ctx, token.Selector{Family: "family-of-" + name})
			if err != nil || len(f) != 1 || f[0].Revoked.IsZero() == dead {
				t.Errorf("family of %s: %+v, %v", name, f, err)
			}
		}
		if now, err := r.Grants.Get(ctx, g.ID); err != nil || now.RevokedAt.IsZero() {
			t.Errorf("grant = %+v, %v", now, err)
		}
		if now, err := r.Approvals.Get(ctx, asked.ID); err != nil || now.State != approval.Withdrawn {
			t.Errorf("her question is %v, %v", now.State, err)
		}
		if now, err := r.Approvals.Get(ctx, voted.ID); err != nil || now.State != approval.Pending || len(now.Votes) != 0 {
			t.Errorf("the question she voted on: %v with %v, %v", now.State, now.Votes, err)
		}
		_, _, err = r.Grants.Vote(ctx, ballot(voted, "bob", true)) // his is the first that counts
		must(t, err)
		if now, _ := r.Approvals.Get(ctx, voted.ID); now.State != approval.Pending {
			t.Errorf("with one vote of two that count the question is %v", now.State)
		}
		for _, id := range []sallyport.PrincipalID{"user:ana", "user:ana.2"} {
			if m, err := r.Directory.Get(ctx, id); err != nil || m.State != directory.Suspended || len(m.Groups) != 0 {
				t.Errorf("%s = %+v, %v", id, m, err)
			}
		}
		state, err := r.Roles.List(ctx)
		if err != nil || len(state.Assignments) != 2 {
			t.Errorf("assignments left: %v, %v", state.Assignments, err)
		}
		if open, err := h.Store.Unfinished(ctx); err != nil || len(open) != 0 {
			t.Errorf("unfinished: %v, %v", open, err)
		}
		if len(h.events) != 2 || h.events[0].On != "user:gus" || h.events[1].Type != sallyport.EventLeft || h.events[1].Detail["sessions"] != "2" || h.events[1].Detail["micros"] == "" {
			t.Errorf("events = %+v", h.events)
		}
		must(t, r.Directory.SetState(ctx, "user:ana", directory.Active)) // and back: with no old right
		again, err := h.Leave(ctx, "user:ana", "user:bob", "again")
		if err != nil || again.Sessions+again.Families+again.Grants+again.Roles+again.Groups != 0 {
			t.Errorf("what she had after her return: %+v, %v", again, err)
		}
	})
}

// What a leaver answered for works on for the grace and no longer, and goes to
// another person of the same organisation only.
func TestSuccession(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		h := newHouse(t, db)
		ctx, r := t.Context(), h.Rooms
		before, err := db.Latest(ctx)
		must(t, err)
		_, err = h.Leave(ctx, "user:ana", "user:bob", "last day")
		must(t, err)
		wantChange(t, db, before, sqldb.Directory)
		due := h.clock.Now().Add(leaver.DefaultGrace)
		queue, err := h.Queue(ctx)
		want := []leaver.Charge{{Thing: "acme/fraud", Org: "acme", From: "user:ana", Since: h.clock.Now()},
			{Thing: "dataset:acme/claims", Org: "acme", From: "user:ana", Since: h.clock.Now()},
			{Thing: "service:trainer", Org: "acme", From: "user:ana", Since: h.clock.Now(), Due: due}}
		if diff := cmp.Diff(want, queue); diff != "" || err != nil {
			t.Errorf("Queue (-want +got): %v\n%s", err, diff)
		}
		if graced, err := h.Graced(ctx); err != nil || !cmp.Equal(graced, map[sallyport.PrincipalID]time.Time{"service:trainer": due}) {
			t.Errorf("Graced = %v, %v", graced, err)
		}
		for _, to := range []sallyport.PrincipalID{"user:ana", "user:ana.2", "user:nobody", "service:other"} {
			_, err := h.Assign(ctx, "service:trainer", to, "user:bob")
			wantKind(t, "a service for "+string(to), err, sallyport.Invalid)
		}
		_, err = h.Assign(ctx, "service:other", "user:eva", "user:bob")
		wantKind(t, "what does not wait", err, sallyport.NotFound)
		_, err = h.Assign(ctx, "acme/fraud", "user:eva", "user:bob")
		must(t, err)
		_, err = h.Assign(ctx, "dataset:acme/claims", "user:eva", "user:bob")
		must(t, err)
		d, err := r.Catalog.Dump(ctx)
		must(t, err)
		owners := map[string][]sallyport.PrincipalID{}
		for _, m := range d.Models {
			owners[m.Name] = m.Owners
		}
		owners["claims"] = d.Datasets[0].Owners
		if diff := cmp.Diff(map[string][]sallyport.PrincipalID{"fraud": {"user:eva"}, "base": {"user:bob"}, "claims": {"user:eva"}}, owners); diff != "" {
			t.Errorf("owners (-want +got):\n%s", diff)
		}

		h.clock.turn(leaver.DefaultGrace)
		must(t, h.Tend(ctx))
		must(t, h.Tend(ctx))
		if m, err := r.Directory.Get(ctx, "service:trainer"); err != nil || m.State != directory.Suspended {
			t.Errorf("after the grace: %+v, %v", m, err)
		}
		if graced, err := h.Graced(ctx); err != nil || len(graced) != 0 {
			t.Errorf("Graced = %v, %v", graced, err)
		}
		_, err = r.Roles.Assign(ctx, role.Assignment{Subject: "user:eva", Role: "releaser", Scope: sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "acme"}, By: "user:bob"})
		must(t, err)
		_, err = h.Assign(ctx, "service:trainer", "user:eva", "user:bob") // a developer's program: Eva releases
		wantKind(t, "a service that would unite two duties", err, sallyport.Conflict)
		_, err = h.Assign(ctx, "service:trainer", "user:bob", "user:bob")
		must(t, err)
		if m, err := r.Directory.Get(ctx, "service:trainer"); err != nil || m.State != directory.Active || m.Person != "user:bob" {
			t.Errorf("after the assignment: %+v, %v", m, err)
		}
		if queue, err := h.Queue(ctx); err != nil || len(queue) != 0 {
			t.Errorf("Queue = %v, %v", queue, err)
		}
		wantKind(t, "a person with another owner", r.Directory.Reassign(ctx, "user:eva", "user:bob"), sallyport.Invalid)
	})
}

// Whatever step fails, the account is dead, and the next start finishes the rest.
func TestLeavingIsFinishedAtTheNextStart(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		h := newHouse(t, open())
		ctx := t.Context()
		h.hold()
		broken := errors.New("the power is gone")
		h.Devices = func(context.Context, sallyport.PrincipalID, sallyport.PrincipalID, string) (int, error) {
			return 0, broken
		}
		if _, err := h.Remove(ctx, "user:ana", "user:bob", "last day"); !errors.Is(err, broken) {
			t.Errorf("Remove = %v", err)
		}
		if m, err := h.Rooms.Directory.Get(ctx, "user:ana"); err != nil || m.State != directory.Removed {
			t.Errorf("half-way: %+v, %v", m, err)
		}
		if n, err := h.Recover(ctx); n != 0 || !errors.Is(err, broken) || len(h.events) != 1 {
			t.Errorf("Recover = %d, %v, events %v", n, err, h.events)
		}
		h.Devices, h.fail = nil, errors.New("the disk is full")
		if n, err := h.Recover(ctx); n != 0 || err == nil {
			t.Errorf("Recover without a record = %d, %v", n, err)
		}
		h.fail = nil
		if n, err := h.Recover(ctx); n != 1 || err != nil || len(h.events) != 2 { // the guest who left with her came first
			t.Errorf("Recover = %d, %v, events %v", n, err, h.events)
		}
		if n, err := h.Recover(ctx); n != 0 || err != nil {
			t.Errorf("Recover again = %d, %v", n, err)
		}
		_, err := h.Leave(ctx, "user:ana", "user:bob", "again")
		wantKind(t, "leaving after the removal", err, sallyport.Conflict)
	})
}

// The last administrator does not leave, and a pause takes nothing that an account
// returns to.
func TestWhoMayNotLeaveAndWhoMayReturn(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		h := newHouse(t, open())
		ctx, r := t.Context(), h.Rooms
		_, err := h.Leave(ctx, "user:bob", "user:ana", "a coup")
		wantKind(t, "the last administrator leaving", err, sallyport.Conflict)
		_, err = h.Leave(ctx, "user:nobody", "user:ana", "x")
		wantKind(t, "nobody leaving", err, sallyport.NotFound)
		_, err = h.Leave(ctx, "user:ana", "user:bob", "")
		wantKind(t, "leaving without a reason", err, sallyport.Invalid)
		h.hold()
		report, err := h.Suspend(ctx, "user:ana", "user:bob", "on leave")
		must(t, err)
		if report.Sessions != 2 || report.Grants != 1 || report.Groups+report.Roles+report.Charges != 0 {
			t.Errorf("report of a pause: %+v", report)
		}
		if m, err := r.Directory.Get(ctx, "user:ana"); err != nil || !slices.Equal(m.Groups, []string{"acme/risk", "acme/staff"}) {
			t.Errorf("paused: %+v, %v", m, err)
		}
		must(t, h.Tend(ctx)) // her guest may not stay meanwhile
		if m, _ := r.Directory.Get(ctx, "user:gus"); m.State != directory.Suspended {
			t.Errorf("her guest is %s", m.State)
		}
		one, err := h.Leave(ctx, "service:other", "user:bob", "no longer used")
		if m, _ := r.Directory.Get(ctx, "user:bob"); err != nil || one.Accounts != 1 || m.State != directory.Active {
			t.Errorf("a service alone: %+v, %v", one, err)
		}
	})
}

// An order that replaces another ends no less than it, and is forgotten by its own end only.
func TestOrdersToLeave(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s, ctx, at := open().Leaver(), t.Context(), newTurnedClock().Now()
		order := func(to directory.State, far leaver.Extent, begun time.Time) leaver.Order {
			return leaver.Order{Who: "user:ana", By: "user:bob", Why: "x", To: to, For: far, Begun: begun}
		}
		first, err := s.Begin(ctx, order(directory.Suspended, leaver.Departure, at))
		must(t, err)
		second, err := s.Begin(ctx, order(directory.Removed, leaver.Pause, at))
		must(t, err)
		third, err := s.Begin(ctx, order(directory.Suspended, leaver.Pause, at.Add(time.Hour)))
		must(t, err)
		want := []leaver.Order{order(directory.Suspended, leaver.Departure, at), order(directory.Removed, leaver.Departure, at.Add(time.Microsecond)),
			order(directory.Removed, leaver.Departure, at.Add(time.Hour))}
		if diff := cmp.Diff(want, []leaver.Order{first, second, third}); diff != "" {
			t.Errorf("Begin (-want +got):\n%s", diff)
		}
		must(t, s.Finish(ctx, first))
		must(t, s.Finish(ctx, second))
		if left, err := s.Unfinished(ctx); err != nil || !cmp.Equal(left, want[2:]) {
			t.Errorf("Unfinished = %+v, %v", left, err)
		}
		must(t, s.Finish(ctx, third))
		must(t, s.Finish(ctx, third))
		if left, err := s.Unfinished(ctx); err != nil || len(left) != 0 {
			t.Errorf("Unfinished = %+v, %v", left, err)
		}
	})
}
