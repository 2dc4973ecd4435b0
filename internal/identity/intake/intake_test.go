package intake_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/role"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/intake"
	"sallyport/internal/identity/leaver"
	"sallyport/internal/identity/provision"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/token"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/store/sqldb/sqldbtest"
	"sallyport/internal/web/scim/resource"
)

var (
	noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	okta = intake.Order{Source: provision.Source{Name: "okta", Organisation: "acme", Principal: "service:okta"}, By: "service:okta", Decision: "D-1"}
)

// A world is acme, with a source, on real rooms and a store that can fail.
type world struct {
	*intake.Service
	t     *testing.T
	db    *sqldb.DB
	power *sqldbtest.Breaker

	mu     sync.Mutex
	events []sallyport.Event
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w, path, ctx := &world{t: t}, filepath.Join(t.TempDir(), "i.db"), t.Context()
	var err, berr error
	w.db, err = sqldbtest.Open(ctx, path)
	w.power, berr = sqldbtest.NewBreaker(ctx, path)
	must(t, err, berr)
	t.Cleanup(func() { w.db.Close(); w.power.Close() })
	now := func() time.Time { return noon }
	note := func(ctx context.Context, e sallyport.Event) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if err := w.power.Step(ctx, "record"); err != nil {
			return err
		}
		w.events = append(w.events, e)
		return nil
	}
	people := &directory.Service{Store: w.db.Directory(), Now: now}
	approvals := &approval.Service{Store: w.db.Approval(), Clock: now, Rand: rand.Reader}
	roles := &role.Service{Store: w.db.Role(), Clock: now, Rand: rand.Reader, Administrator: "administrator",
		People: func(context.Context, string) ([]sallyport.PrincipalID, error) {
			return []sallyport.PrincipalID{"user:root"}, nil
		}}
	w.Service = &intake.Service{Records: &provision.Service{Store: w.db.Provision(), Now: now, Random: rand.Reader}, Directory: people, Roles: roles, Note: note,
		Places: "https://sally.acme.example/scim/v2",
		Leaver: &leaver.Service{Store: w.db.Leaver(), Now: now, Note: note, Rooms: leaver.Rooms{Directory: people, Roles: roles, Approvals: approvals,
			Sessions: &session.Service{Store: w.db.Session(), Limits: session.DefaultLimits(), Now: now, Random: rand.Reader},
			Tokens:   &token.Issuer{Families: w.db.Token(), Now: now, Rand: rand.Reader},
			Grants:   &grant.Service{Store: w.db.Grant(), Approvals: approvals, Clock: now, Need: 1}, Catalog: &catalog.Service{Store: w.db.Catalog(), Clock: now}}}}
	return w
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func user(name string, active bool) resource.Record {
	return resource.Record{"userName": name, "active": active}
}

func group(name string, members ...string) resource.Record {
	r := resource.Record{"displayName": name}
	var all []any
	for _, id := range members {
		all = append(all, map[string]any{"value": id})
	}
	resource.Set(r, "members", all)
	if len(all) == 0 {
		delete(r, "members")
	}
	return r
}

func becomes(want resource.Record) intake.Change {
	return func(resource.Record) (resource.Record, error) { return want, nil }
}

func (w *world) member(name string) directory.Member {
	w.t.Helper()
	m, err := w.Directory.Get(w.t.Context(), sallyport.PrincipalID("user:"+name))
	if sallyport.KindOf(err) == sallyport.NotFound && err != nil {
		return directory.Member{}
	}
	must(w.t, err)
	return m
}

// TestThePowerFailsAtEachStep: of each thing that a provider does, in turn. Nobody who is to be disabled is ever active,
// and the same again, as providers do it, ends where it would have ended.
func TestThePowerFailsAtEachStep(t *testing.T) {
	w, people := newWorld(t), 0
	for name, x := range map[string]struct {
		before func(w *world, name string) string // what is there, and the id
		do     func(w *world, name, id string) error
		check  func(w *world, name string, done bool) string
	}{
		"a user who is disabled already": {nil,
			func(w *world, name, _ string) error {
				_, err := w.CreateUser(w.t.Context(), okta, user(name, false))
				if sallyport.ReasonOf(err) == "uniqueness" { // it was made
					err = nil
				}
				return err
			},
			func(w *world, name string, done bool) string {
				m := w.member(name)
				if m.State == directory.Active || done && m.State != directory.Suspended {
					return "is " + string(m.State)
				}
				return ""
			}},
		"a user who is disabled": {joins,
			func(w *world, name, id string) error {
				return w.ChangeUser(w.t.Context(), okta, id, 0, becomes(user(name, false)))
			},
			func(w *world, name string, done bool) string {
				if m := w.member(name); done && (m.State != directory.Suspended || len(m.Groups) > 0) {
					return fmt.Sprint("is ", m.State, " in ", m.Groups)
				}
				return ""
			}},
		"a user who is enabled again": {
			func(w *world, name string) string {
				id := joins(w, name)
				must(w.t, w.ChangeUser(w.t.Context(), okta, id, 0, becomes(user(name, false))))
				return id
			},
			func(w *world, name, id string) error {
				return w.ChangeUser(w.t.Context(), okta, id, 0, becomes(user(name, true)))
			},
			func(w *world, name string, done bool) string {
				if m := w.member(name); done && m.State != directory.Active {
					return "is " + string(m.State)
				}
				return ""
			}},
		"a user who is deleted": {joins,
			func(w *world, name, id string) error {
				err := w.DeleteUser(w.t.Context(), okta, id, 0)
				if sallyport.KindOf(err) == sallyport.NotFound { // it is gone
					err = nil
				}
				return err
			},
			func(w *world, name string, done bool) string {
				if m := w.member(name); done && m.State != directory.Removed {
					return "is " + string(m.State)
				}
				return ""
			}},
		"a group that loses somebody": {joins,
			func(w *world, name, _ string) error {
				all, err := w.List(w.t.Context(), provision.Query{Source: "okta", Kind: provision.Group, Name: "g-" + name})
				if err != nil {
					return err
				}
				return w.ChangeGroup(w.t.Context(), okta, all[0].Text("id", ""), 0, becomes(group("g-"+name)))
			},
			func(w *world, name string, done bool) string {
				if m := w.member(name); done && len(m.Groups) > 0 {
					return fmt.Sprint("is in ", m.Groups)
				}
				return ""
			}},
	} {
		for n := 0; ; n++ {
			if n > 4 && n%4 != 0 && os.Getenv("SALLYPORT_EVERY_STEP") == "" {
				continue // with the race detector each takes its time
			}
			people++
			who, id := fmt.Sprint("p", people), ""
			if x.before != nil {
				id = x.before(w, who)
			}
			recorded := len(w.events)
			was := w.member(who)
			must(t, w.power.After(t.Context(), n))
			err := x.do(w, who, id)
			if wrong := x.check(w, who, err == nil); wrong != "" {
				t.Errorf("%s, after %d steps (%v): %s %s", name, n, err, who, wrong)
			}
			if now := w.member(who); name != "a user who is disabled" && name != "a user who is deleted" && len(w.events) == recorded && !slices.Equal(now.Groups, was.Groups) {
				t.Errorf("%s, after %d steps: %v became %v without a record", name, n, was.Groups, now.Groups)
			}
			must(t, w.power.Mend(t.Context()))
			if err == nil {
				if n < 3 {
					t.Errorf("%s took %d steps", name, n)
				}
				break
			}
			must(t, x.do(w, who, id))
			_, err = w.Leaver.Recover(t.Context())
			must(t, err)
			if wrong := x.check(w, who, true); wrong != "" {
				t.Errorf("%s, after %d steps and again: %s %s", name, n, who, wrong)
			}
		}
	}
}

// joins makes a user and a group of theirs.
func joins(w *world, name string) string {
	w.t.Helper()
	id, err := w.CreateUser(w.t.Context(), okta, user(name, true))
	must(w.t, err)
	_, err = w.CreateGroup(w.t.Context(), okta, group("g-"+name, id))
	must(w.t, err)
	return id
}

// A record that never became a member does not become somebody else's, who has its name since.
func TestARecordIsNobodyElse(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	must(t, w.power.After(ctx, 1)) // the record is kept, and nothing after it
	if _, err := w.CreateUser(ctx, okta, user("bob", true)); err == nil {
		t.Fatal("bob joined without power")
	}
	must(t, w.power.Mend(ctx))
	_, err := w.Directory.Create(ctx, directory.Member{ID: "user:bob", Org: "acme", Display: "ours"}) // the operator's own
	must(t, err)
	all, err := w.List(ctx, provision.Query{Source: "okta", Kind: provision.User})
	must(t, err)
	if len(all) != 1 || all[0]["active"] != false {
		t.Fatalf("the source sees %v", all)
	}
	id := all[0].Text("id", "")
	for _, active := range []bool{true, false} {
		if err := w.ChangeUser(ctx, okta, id, 0, becomes(user("bob", active))); sallyport.KindOf(err) != sallyport.NotFound {
			t.Errorf("a change of bob: %v", err)
		}
	}
	if _, err := w.CreateGroup(ctx, okta, group("risk", id)); sallyport.KindOf(err) != sallyport.Invalid {
		t.Errorf("bob as a member: %v", err)
	}
	if _, err := w.CreateUser(ctx, okta, user("bob", true)); sallyport.ReasonOf(err) != "uniqueness" {
		t.Errorf("bob again: %v", err)
	}
	must(t, w.DeleteUser(ctx, okta, id, 0))
	if m := w.member("bob"); m.State != directory.Active || m.Display != "ours" {
		t.Errorf("bob is %+v", m)
	}
}

// A source brings back whom it disabled itself. Whom the house suspended stays so, whatever the source sends of them, until it
// has disabled them too; and whom the house brought back stays, until the source says it again.
func TestASourceTakesBackItsOwnWordOnly(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	house := func(do func(id sallyport.PrincipalID) error) func(string, string) {
		return func(name, _ string) { must(t, do(sallyport.PrincipalID("user:"+name))) }
	}
	suspend := house(func(id sallyport.PrincipalID) error {
		_, err := w.Leaver.Suspend(ctx, id, "user:root", "stolen")
		return err
	})
	back := house(func(id sallyport.PrincipalID) error { return w.Leaver.Return(ctx, id) })
	change := func(c func(name string) intake.Change) func(string, string) {
		return func(name, id string) { must(t, w.ChangeUser(ctx, okta, id, 0, c(name))) }
	}
	says := func(active bool) func(string, string) {
		return change(func(name string) intake.Change { return becomes(user(name, active)) })
	}
	titled := 0
	describes := change(func(string) intake.Change { // as a PATCH of something else, or a PUT without "active"
		return func(now resource.Record) (resource.Record, error) {
			now = now.Clone()
			now["title"] = fmt.Sprint(titled)
			return now, nil
		}
	})
	for i, x := range []struct {
		name string
		do   []func(string, string)
		want directory.State
	}{
		{"its own", []func(string, string){says(false), says(true)}, directory.Active},
		{"the house's", []func(string, string){suspend, says(true)}, directory.Suspended},
		{"the house's, described", []func(string, string){suspend, describes, says(true), describes}, directory.Suspended},
		{"the house's, twice", []func(string, string){suspend, says(true), says(true)}, directory.Suspended},
		{"of both", []func(string, string){suspend, says(false), says(true)}, directory.Active},
		{"the house brings back", []func(string, string){says(false), back, describes}, directory.Active},
		{"the house brings back, in vain", []func(string, string){says(false), back, says(false)}, directory.Suspended},
		{"described while disabled", []func(string, string){says(false), describes, says(true)}, directory.Active},
		{"brought back, then suspended", []func(string, string){says(false), says(true), suspend, says(true)}, directory.Suspended},
	} {
		who := fmt.Sprint("own", i)
		id := joins(w, who)
		for _, do := range x.do {
			titled++
			do(who, id)
		}
		if m := w.member(who); m.State != x.want {
			t.Errorf("%s: %s, want %s", x.name, m.State, x.want)
		}
		if r, err := w.Get(ctx, "okta", provision.User, id); err != nil || r["active"] != (x.want == directory.Active) {
			t.Errorf("%s: the source sees %v, %v", x.name, r["active"], err)
		}
	}
}

// A record that never became a group does not become somebody else's, which has its name since: neither its members nor its
// roles are the source's.
func TestAGroupIsNobodyElses(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	id, err := w.CreateUser(ctx, okta, user("eve", true))
	must(t, err, w.power.After(ctx, 1)) // the record is kept, and nothing after it
	if _, err := w.CreateGroup(ctx, okta, group("risk", id)); err == nil {
		t.Fatal("a group without power")
	}
	must(t, w.power.Mend(ctx))
	all, err := w.List(ctx, provision.Query{Source: "okta", Kind: provision.Group})
	must(t, err)
	if len(all) != 1 {
		t.Fatalf("the source has %v", all)
	}
	must(t, w.Directory.DefineGroup(ctx, directory.Group{Name: "acme/risk"})) // the operator's own
	_, err = w.Directory.Create(ctx, directory.Member{ID: "user:bob", Org: "acme", Display: "ours"})
	must(t, err, w.Directory.AddGroup(ctx, "user:bob", "acme/risk"))
	record := all[0].Text("id", "")
	if err := w.ChangeGroup(ctx, okta, record, 0, becomes(group("risk", id))); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("a change of the group: %v", err)
	}
	if _, err := w.CreateGroup(ctx, okta, group("risk", id)); sallyport.ReasonOf(err) != "uniqueness" {
		t.Errorf("the group again: %v", err)
	}
	must(t, w.DeleteGroup(ctx, okta, record, 0))
	if eve, bob := w.member("eve"), w.member("bob"); len(eve.Groups) > 0 || len(bob.Groups) != 1 {
		t.Errorf("eve is in %v, bob in %v", eve.Groups, bob.Groups)
	}
}

// Of the same user, and the same group, sent several times at once, one is made, and the source has it.
func TestTheSameAtOnce(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	for name, create := range map[string]func(context.Context, intake.Order, resource.Record) (string, error){"user": w.CreateUser, "group": w.CreateGroup} {
		for i := range 5 {
			r, kind := user(fmt.Sprint("same", i), true), provision.User
			if name == "group" {
				r, kind = group(fmt.Sprint("same", i)), provision.Group
			}
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					if _, err := create(ctx, okta, r); err != nil && sallyport.ReasonOf(err) != "uniqueness" {
						t.Errorf("%s: %v", name, err)
					}
				})
			}
			all.Wait()
			found, err := w.List(ctx, provision.Query{Source: "okta", Kind: kind, Name: fmt.Sprint("same", i)})
			if err != nil || len(found) != 1 || kind == provision.User && found[0]["active"] != true {
				t.Errorf("%s %d: the source has %v, %v", name, i, found, err)
			}
		}
	}
}

// Without a store nothing happens, and the provider is told to come again.
func TestWithoutAStore(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	id := joins(w, "ana")
	must(t, w.db.Close())
	recorded := len(w.events)
	_, create := w.CreateUser(ctx, okta, user("bob", true))
	_, define := w.CreateGroup(ctx, okta, group("risk"))
	_, list := w.List(ctx, provision.Query{Source: "okta", Kind: provision.User})
	for name, err := range map[string]error{"create": create, "define": define, "list": list, "change": w.ChangeUser(ctx, okta, id, 0, becomes(user("ana", false))),
		"delete": w.DeleteUser(ctx, okta, id, 0)} {
		if sallyport.KindOf(err) != sallyport.Unavailable || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(w.events) != recorded {
		t.Errorf("recorded %v", w.events[recorded:])
	}
}
