package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/govern/drift"
	"sallyport/internal/govern/intent"
)

// What keeps the comparison from being made is told once, and hides nothing for longer than it lasts. A store that is down is
// no change of anybody's.
func TestDriftNothingIsHidden(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		var broken error
		observe := d.Observe
		d.Observe = func(ctx context.Context) (drift.Observation, error) {
			obs, err := observe(ctx)
			if broken != nil {
				return drift.Observation{}, broken
			}
			return obs, err
		}
		d.role("developer", "administrator")
		for text, cause := range map[string]error{"a row": sallyport.E("read item", sallyport.Invalid, "a row", ""), "internal error": fmt.Errorf("secret")} {
			broken, d.events = cause, nil
			for range 3 {
				if err := d.Look(t.Context()); sallyport.KindOf(err) != sallyport.Conflict {
					t.Errorf("%s: Look = %v", text, err)
				}
			}
			if r, err := d.Report(t.Context()); err != nil || !strings.Contains(r.Problem, text) || len(r.Open) != 0 {
				t.Errorf("%s: Report = %+v, %v", text, r, err)
			}
			if n := d.count(sallyport.EventDriftFound); n != 1 {
				t.Errorf("%s: told %d times", text, n)
			}
			if _, err := d.Plan(t.Context(), drift.Restore, []string{"role developer"}, "user:adam", "why"); sallyport.KindOf(err) != sallyport.Conflict {
				t.Errorf("%s: Plan = %v", text, err)
			}
			broken = nil
			d.later()
			d.wants("role developer: no record, other")
		}
		broken, d.events = sallyport.E("store", sallyport.Unavailable, "", ""), nil
		if err := d.Look(t.Context()); sallyport.KindOf(err) != sallyport.Unavailable || len(d.events) != 0 {
			t.Errorf("a store that is down: %v, %d told", err, len(d.events))
		}
	})
}

// downStore keeps nothing for a while.
type downStore struct {
	drift.Store
	down bool
}

func (s *downStore) Save(ctx context.Context, k drift.Kept) error {
	if s.down {
		return sallyport.E("store", sallyport.Unavailable, "", "")
	}
	return s.Store.Save(ctx, k)
}

// A record still explains its change after a look that could not be kept, or not be told, however long that took.
func TestDriftRecordsOutliveFailures(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		store, logDown := &downStore{Store: d.Store}, false
		d.Store = store
		note := d.Note
		d.Note = func(ctx context.Context, e sallyport.Event) error {
			if logDown {
				return sallyport.E("record", sallyport.Unavailable, "", "")
			}
			return note(ctx, e)
		}
		fails := func() {
			t.Helper()
			for range 3 {
				if err := d.Look(t.Context()); sallyport.KindOf(err) != sallyport.Unavailable {
					t.Errorf("Look = %v", err)
				}
				d.clock.turn(time.Minute)
			}
		}
		d.role("developer", "viewer", "reviewer")
		d.seq++
		must(t, d.Handle(t.Context(), []sallyport.Logged{{Seq: d.seq, Event: sallyport.Event{Type: sallyport.EventChanged, Who: "user:adam", On: "role:developer"}}}, d.seq+1))
		store.down = true
		fails()
		store.down = false
		d.later()
		d.wants()
		// Declared, a recorded change is told, and is told as recorded, when the log is back.
		d.declare()
		d.role("developer", "administrator")
		d.seq++
		must(t, d.Handle(t.Context(), []sallyport.Logged{{Seq: d.seq, Event: sallyport.Event{Type: sallyport.EventChanged, Who: "user:adam", On: "role:developer", Decision: "D-9"}}}, d.seq+1))
		logDown = true
		fails()
		logDown, store.down = false, true
		fails()
		store.down = false
		d.look()
		d.wants("role developer: user:adam D-9, other")
	})
}

// Nothing is done of a fix that cannot be written down first.
func TestDriftFixIsWrittenDownFirst(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		for act, role := range map[drift.Act]string{drift.Accept: "one", drift.Restore: "other"} {
			d.role(role, "administrator")
			d.later()
			c, err := d.Plan(t.Context(), act, []string{"role " + role}, "user:adam", "why")
			must(t, err)
			note, restore := d.Note, d.Restore
			d.Note = func(context.Context, sallyport.Event) error {
				return sallyport.E("record", sallyport.Unavailable, "", "")
			}
			d.Restore = func(context.Context, intent.Difference, drift.By) error { t.Error("it is put back"); return nil }
			if err := d.Carry(t.Context(), c, drift.By{Who: "user:rita"}); sallyport.KindOf(err) != sallyport.Unavailable {
				t.Errorf("%s: Carry = %v", act, err)
			}
			d.Note, d.Restore = note, restore
			d.look()
			d.wants("role " + role + ": no record, wider")
			must(t, d.Carry(t.Context(), c, drift.By{Who: "user:rita"})) // it waits still
			d.wants()
		}
	})
}

// Where the store fails in the middle of a fix, what was not done differs still, and is fixed when it is asked again.
func TestDriftFixHalfDone(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		store := &downStore{Store: d.Store}
		d.Store = store
		d.role("one", "administrator")
		d.later()
		c, err := d.Plan(t.Context(), drift.Accept, []string{"role one"}, "user:adam", "why")
		must(t, err)
		store.down = true
		if err := d.Carry(t.Context(), c, drift.By{Who: "user:rita"}); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("Carry = %v", err)
		}
		store.down = false
		d.later()
		d.wants("role one: no record, wider")
		d.role("other", "administrator")
		d.later()
		if c, err = d.Plan(t.Context(), drift.Restore, []string{"role one", "role other"}, "user:adam", "why"); err != nil {
			t.Fatal(err)
		}
		restore := d.Restore
		d.Restore = func(ctx context.Context, x intent.Difference, by drift.By) error {
			if x.Key() == "role other" {
				return sallyport.E("store", sallyport.Unavailable, "", "")
			}
			return restore(ctx, x, by)
		}
		if err := d.Carry(t.Context(), c, drift.By{Who: "user:rita"}); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("Carry = %v", err)
		}
		d.Restore = restore
		d.later()
		d.wants("role other: no record, wider")
		if err := d.Carry(t.Context(), c, drift.By{Who: "user:rita"}); sallyport.KindOf(err) != sallyport.Conflict { // half of it is done
			t.Errorf("Carry = %v", err)
		}
		d.fix(drift.Restore, "role other")
		d.wants()
	})
}

// Of several who declare at the same time one is the first; the others need approvals.
func TestDriftOneDeclarationIsTheFirst(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		plan := func(name string) drift.Change {
			i, err := intent.NewRole(name, intent.RoleValue{Inherits: []string{"administrator"}})
			must(t, err)
			c, first, err := d.PlanDeclaration(t.Context(), []intent.Item{i}, "sha256:00", "user:adam")
			if err != nil || !first {
				t.Fatalf("%v, %v", first, err)
			}
			return c
		}
		one, other := plan("one"), plan("other")
		must(t, d.Carry(t.Context(), one, drift.By{Who: "user:adam"}))
		for range 2 {
			if err := d.Carry(t.Context(), other, drift.By{Who: "user:eva"}); sallyport.KindOf(err) != sallyport.Conflict {
				t.Errorf("Carry = %v", err)
			}
		}
		d.later()
		d.wants("role one: no record, narrower")
	})
}

// One name says one thing in a declaration; the same said twice is said once.
func TestDriftDeclarationContradictsNothing(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		item := func(inherits ...string) intent.Item {
			i, err := intent.NewRole("scribe", intent.RoleValue{Inherits: inherits})
			must(t, err)
			return i
		}
		for _, other := range []intent.Item{item("administrator"), item()} {
			if _, _, err := d.PlanDeclaration(t.Context(), []intent.Item{item("viewer"), other}, "sha256:00", "user:adam"); sallyport.KindOf(err) != sallyport.Invalid {
				t.Errorf("%s: %v", other.Value, err)
			}
		}
		c, _, err := d.PlanDeclaration(t.Context(), []intent.Item{item("viewer"), item("viewer")}, "sha256:00", "user:adam")
		if err != nil || len(c.Items) != 1 {
			t.Errorf("%+v, %v", c, err)
		}
	})
}

// A file that cannot be read is not accepted along with something else of the configuration, and its text is not lost.
func TestDriftUnreadFileIsNeverMeant(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		d.config["setting listen"] = intent.Item{Kind: intent.Setting, Name: "listen", Value: `"evil"`}
		d.unread, d.text = "line 3", ""
		d.disk = map[string]intent.Item{}
		d.look()
		d.wants("setting file: no record, other", "setting listen: no record, other")
		if c, err := d.Plan(t.Context(), drift.Accept, []string{"setting listen"}, "user:adam", "why"); sallyport.KindOf(err) != sallyport.Conflict {
			t.Errorf("%+v, %v", c, err)
		}
		d.fix(drift.Restore, "setting listen")
		if d.text != "listen: a" {
			t.Errorf("the file says %q", d.text)
		}
	})
}

// The text that is meant is the one whose items were approved, whoever writes the file in between.
func TestDriftTextIsOfWhatWasApproved(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		edit := func(value string) {
			d.disk["setting listen"] = intent.Item{Kind: intent.Setting, Name: "listen", Value: fmt.Sprintf("%q", value)}
			d.text = "listen: " + value
		}
		edit("b")
		d.look()
		c, err := d.Plan(t.Context(), drift.Accept, []string{"setting listen"}, "user:adam", "why")
		must(t, err)
		observe := d.Observe
		d.Observe = func(ctx context.Context) (drift.Observation, error) {
			obs, err := observe(ctx)
			edit("evil") // right behind the first look
			return obs, err
		}
		must(t, d.Carry(t.Context(), c, drift.By{Who: "user:rita"}))
		d.Observe = observe
		d.wants("setting listen: no record, other")
		d.fix(drift.Restore, "setting listen")
		if d.text != "listen: b" {
			t.Errorf("the file says %q", d.text)
		}
	})
}

// What is put back is what is there under that name, though somebody wrote it again under another id.
func TestDriftRestoresWhatIsThereNow(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		key := d.assign("A-1", "user:eva", "administrator", time.Time{})
		d.later()
		c, err := d.Plan(t.Context(), drift.Restore, []string{key}, "user:adam", "why")
		must(t, err)
		d.assign("A-2", "user:eva", "administrator", time.Time{})
		restore, id := d.Restore, ""
		d.Restore = func(ctx context.Context, x intent.Difference, by drift.By) error {
			id = x.Is.Names[0]
			return restore(ctx, x, by)
		}
		must(t, d.Carry(t.Context(), c, drift.By{Who: "user:rita"}))
		if id != "assignment:A-2" {
			t.Errorf("put back is %q", id)
		}
		d.wants()
	})
}

// However many others are there, what was found stays found while it differs, whatever it becomes.
func TestDriftOfMuchEndsNothing(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		d.role("zz", "administrator") // the last by name
		d.later()
		for n := range 200 {
			d.assign(fmt.Sprintf("A-%d", n), fmt.Sprintf("user:u%03d", n), "developer", time.Time{})
		}
		d.later()
		d.role("zz", "administrator", "reviewer")
		d.later()
		r, err := d.Report(t.Context())
		if err != nil || len(r.Open) != 100 || r.More != 101 || r.Open[99].Key() != "role zz" || r.Open[99].Is.Value != `{"inherits":["administrator","reviewer"]}` {
			t.Errorf("%d found, %d more, %v", len(r.Open), r.More, err)
		}
		if n := d.count(sallyport.EventDriftEnded); n != 0 {
			t.Errorf("%d are over", n)
		}
	})
}

// What takes much away, or is only asked for, explains nothing that somebody writes beside it.
func TestDriftBesideWhatTakesAway(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		member := intent.NewMembership("user:eva", "acme/leads")
		d.org[member.Key()] = member
		d.look()
		d.declare()
		give := map[string]func() string{
			"role":      func() string { return d.assign("A-1", "user:eva", "administrator", time.Time{}) },
			"emergency": func() string { return d.assign("A-2", "user:rita", "break-glass-operator", time.Time{}) },
			"membership": func() string {
				i := intent.NewMembership("user:eva", "acme/admins")
				d.org[i.Key()] = i
				return i.Key()
			},
			"ended": func() string {
				i := intent.NewMembership("user:rita", "acme/ended")
				d.org[i.Key()] = i
				return i.Key()
			},
		}
		for _, x := range []struct {
			event  sallyport.EventType
			on     string
			detail map[string]string
			gives  string
		}{
			{sallyport.EventLeft, "user:eva", nil, "role"},
			{sallyport.EventLeft, "user:eva", nil, "membership"},
			{sallyport.EventChanged, "user:eva", map[string]string{"what": "state", "to": "active"}, "membership"},
			{sallyport.EventChanged, "group:acme/ended", map[string]string{"what": "group ended"}, "ended"},
			{sallyport.EventBreakGlass, "breakglass:night", map[string]string{"what": "asks to open"}, "emergency"},
			{sallyport.EventBreakGlass, "breakglass:night", map[string]string{"what": "ended", "assignment": "A-2"}, "emergency"},
			{sallyport.EventBreakGlass, "breakglass:night", map[string]string{"what": "opened", "role": "break-glass-reader", "scope": "system"}, "emergency"},
		} {
			d.happened(x.event, "user:rita", x.on, x.detail)
			key := give[x.gives]()
			d.later()
			d.wants(key + ": no record, wider")
			delete(d.org, key)
			d.later()
			d.wants()
			d.clock.turn(time.Minute)
		}
		d.happened(sallyport.EventLeft, "user:adam", "user:eva", nil)
		delete(d.org, member.Key())
		d.later()
		d.wants() // what it takes away is as the log says
	})
}
