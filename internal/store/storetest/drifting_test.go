package storetest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/govern/drift"
	"sallyport/internal/govern/intent"
	"sallyport/internal/store/sqldb"
)

// A drifting is a service of drift over a store, with an organisation and a configuration that the test changes.
type drifting struct {
	*drift.Service
	t      *testing.T
	db     *sqldb.DB
	clock  *turnedClock
	org    map[string]intent.Item
	config map[string]intent.Item // that runs
	disk   map[string]intent.Item // nil: there is no file
	unread string
	text   string
	seen   int64
	seq    uint64
	events []sallyport.Event
}

func newDrifting(t *testing.T, db *sqldb.DB) *drifting {
	d := &drifting{t: t, db: db, clock: newTurnedClock(), org: map[string]intent.Item{}, config: map[string]intent.Item{}, disk: map[string]intent.Item{}, text: "listen: a"}
	d.role("developer", "viewer")
	d.set("listen", "a")
	d.again()
	return d
}

// again starts the service anew, as another process would.
func (d *drifting) again() {
	d.t.Helper()
	block, err := aes.NewCipher(make([]byte, 32))
	must(d.t, err)
	aead, err := cipher.NewGCMWithRandomNonce(block)
	must(d.t, err)
	d.Service = &drift.Service{Store: d.db.Drift(), Clock: d.clock.Now, Logger: slog.New(slog.DiscardHandler),
		Seal:   func(b []byte) []byte { return aead.Seal(nil, nil, b, nil) },
		Unseal: func(b []byte) ([]byte, error) { return aead.Open(nil, nil, b, nil) },
		Seen:   func() (int64, error) { return d.seen, nil },
		See:    func(n int64) error { d.seen = n; return nil },
		Observe: func(context.Context) (drift.Observation, error) {
			all, err := intent.NewSet(append(values(d.org), values(d.config)...))
			if err != nil {
				return drift.Observation{}, err
			}
			disk, err := intent.NewSet(values(d.disk))
			return drift.Observation{Items: all, Disk: disk, File: d.disk != nil, Unread: d.unread, Text: []byte(d.text)}, err
		},
		Restore: func(_ context.Context, x intent.Difference, _ drift.By) error { d.org[x.Key()] = x.Want; return nil },
		RestoreText: func(_ context.Context, text []byte) error {
			d.text, d.unread = string(text), ""
			d.disk["setting listen"] = intent.Item{Kind: intent.Setting, Name: "listen", Value: fmt.Sprintf("%q", strings.TrimPrefix(d.text, "listen: "))}
			return nil
		},
		Note: func(_ context.Context, e sallyport.Event) error { d.events = append(d.events, e); return nil },
	}
}

func values(m map[string]intent.Item) []intent.Item {
	var all []intent.Item
	for _, i := range m {
		all = append(all, i)
	}
	return all
}

func (d *drifting) role(name string, inherits ...string) {
	d.t.Helper()
	i, err := intent.NewRole(name, intent.RoleValue{Inherits: inherits})
	must(d.t, err)
	d.org[i.Key()] = i
}

func (d *drifting) assign(id, subject, role string, until time.Time) string {
	d.t.Helper()
	i, err := intent.NewAssignment(subject, role, "system", until)
	must(d.t, err)
	i.Names = drift.NamesOf(id, subject, subject)
	d.org[i.Key()] = i
	return i.Key()
}

// set changes the configuration that runs and its file.
func (d *drifting) set(key, value string) {
	i := intent.Item{Kind: intent.Setting, Name: key, Value: fmt.Sprintf("%q", value)}
	d.config[i.Key()], d.disk[i.Key()] = i, i
}

// happened gives an event of the log to the service.
func (d *drifting) happened(t sallyport.EventType, who sallyport.PrincipalID, on string, detail map[string]string) {
	d.t.Helper()
	d.seq++
	e := sallyport.Event{Type: t, At: d.clock.Now().UnixMicro(), Who: who, On: on, Detail: detail, Decision: fmt.Sprintf("D-%d", d.seq)}
	must(d.t, d.Handle(d.t.Context(), []sallyport.Logged{{Seq: d.seq, Event: e}}, d.seq+1))
	d.look()
}

func (d *drifting) look() {
	d.t.Helper()
	must(d.t, d.Look(d.t.Context()))
}

// later looks, and once more when a record had the time to come.
func (d *drifting) later() {
	d.t.Helper()
	d.look()
	d.clock.turn(drift.Every)
	d.look()
}

// wants is what is found: KEY, who made it or "no record", the direction.
func (d *drifting) wants(found ...string) {
	d.t.Helper()
	r, err := d.Report(d.t.Context())
	must(d.t, err)
	var got []string
	for _, o := range r.Open {
		who := "no record"
		if o.Recorded {
			who = string(o.Who) + " " + o.Decision
		}
		got = append(got, fmt.Sprintf("%s: %s, %s", o.Key(), who, o.Direction()))
	}
	if !slices.Equal(got, found) {
		d.t.Errorf("found %q, want %q", got, found)
	}
}

func (d *drifting) count(t sallyport.EventType) (n int) {
	for _, e := range d.events {
		if e.Type == t {
			n++
		}
	}
	return n
}

func (d *drifting) fix(act drift.Act, keys ...string) {
	d.t.Helper()
	c, err := d.Plan(d.t.Context(), act, keys, "user:adam", "because")
	must(d.t, err)
	must(d.t, d.Carry(d.t.Context(), c, drift.By{Who: "user:rita", Request: "R-1"}))
}

func (d *drifting) declare(items ...intent.Item) {
	d.t.Helper()
	c, _, err := d.PlanDeclaration(d.t.Context(), items, "sha256:00", "user:adam")
	must(d.t, err)
	must(d.t, d.Carry(d.t.Context(), c, drift.By{Who: "user:adam"}))
}

func eachDrifting(t *testing.T, tell func(t *testing.T, d *drifting)) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) { tell(t, newDrifting(t, open())) })
}

// As long as nothing is declared, what the log has a record of is meant, and what it has none of is drift, once there was time
// for one to come.
func TestDriftPastTheRecord(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		d.wants()
		d.role("developer", "viewer", "reviewer")
		d.happened(sallyport.EventChanged, "user:adam", "role:developer", map[string]string{"what": "role defined"})
		d.later()
		d.wants() // he may, and it stands in the log
		d.role("developer", "viewer", "reviewer", "administrator")
		d.look()
		d.wants() // its record may be on its way
		d.clock.turn(drift.Every)
		d.look()
		d.wants("role developer: no record, wider")
		d.later()
		if n := d.count(sallyport.EventDriftFound); n != 1 {
			t.Errorf("told %d times", n)
		}
		d.again() // another process knows it, too
		d.later()
		d.wants("role developer: no record, wider")
		d.role("developer", "viewer", "reviewer")
		d.look()
		d.wants()
		if n, m := d.count(sallyport.EventDriftFound), d.count(sallyport.EventDriftEnded); n != 1 || m != 1 {
			t.Errorf("found %d times, ended %d times", n, m)
		}
		// A record explains one change and not the one behind it.
		d.role("developer", "viewer")
		d.happened(sallyport.EventChanged, "user:adam", "role:developer", nil)
		d.role("developer", "administrator")
		d.later()
		d.wants("role developer: no record, other")
		// Nor does it explain one that was made before anybody looked, where it says what it is about.
		d.role("scribe", "administrator")
		d.happened(sallyport.EventChanged, "user:adam", "role:scribe", map[string]string{"inherits": "viewer", "privileged": "false"})
		d.later()
		d.wants("role developer: no record, other", "role scribe: no record, other")
		d.role("scribe", "viewer")
		d.look()
		d.wants("role developer: no record, other")
	})
}

// A record that comes before its change, late, or about somebody's whole account explains it all the same.
func TestDriftRecordsAndChangesMeet(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		key := d.assign("A-1", "user:eva", "developer", time.Time{})
		temporary := d.assign("A-2", "user:eva", "reviewer", d.clock.Now().Add(time.Hour))
		d.look()
		d.happened(sallyport.EventMoved, "user:adam", "assignment:A-1", map[string]string{"what": "role taken away"}) // noted before it is done
		delete(d.org, key)
		d.later()
		d.wants()
		d.assign("A-3", "user:eva", "developer", time.Time{})
		d.look() // sees the change before its record
		d.happened(sallyport.EventMoved, "user:adam", "user:eva", map[string]string{"what": "role assigned", "role": "developer", "scope": "system", "id": "A-3"})
		d.later()
		d.wants()
		d.clock.turn(2 * time.Hour)
		delete(d.org, temporary) // its time is over
		d.later()
		d.wants()
		d.happened(sallyport.EventLeft, "user:adam", "user:eva", nil)
		delete(d.org, key)
		d.later()
		d.wants()
		emergency := d.assign("A-4", "user:rita", "break-glass-operator", d.clock.Now().Add(time.Hour))
		d.happened(sallyport.EventBreakGlass, "user:rita", "breakglass:night", map[string]string{"what": "opened", "role": "break-glass-operator", "scope": "system"})
		d.later()
		d.wants()
		d.clock.turn(time.Minute)
		d.happened(sallyport.EventBreakGlass, "user:rita", "breakglass:night", map[string]string{"what": "ended", "assignment": "A-4"})
		delete(d.org, emergency) // before its time
		d.later()
		d.wants()
		d.assign("A-5", "user:rita", "break-glass-operator", time.Time{}) // no end, and no record
		d.later()
		d.wants("assignment user:rita break-glass-operator system: no record, wider")
	})
}

// Who is in a group is as the log says, also once something is declared: people come and go.
func TestDriftOfMembers(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		in := func(who, group string) {
			i := intent.NewMembership(who, group)
			d.org[i.Key()] = i
		}
		in("user:ana", "acme/ml")
		d.look()
		d.declare()
		in("user:ana", "acme/leads")
		d.happened(sallyport.EventMoved, "user:adam", "user:ana", map[string]string{"what": "group", "group": "acme/leads"})
		in("user:eva", "acme/ml")
		d.happened(sallyport.EventJoined, "user:eva", "", map[string]string{"groups": "acme/ml"}) // by an identity provider's word
		d.later()
		d.wants()
		d.clock.turn(time.Minute)
		in("user:eva", "acme/leads")
		d.later()
		d.wants("member user:eva acme/leads: no record, wider")
		d.fix(drift.Restore, "member user:eva acme/leads")
		delete(d.org, "member user:ana acme/ml")
		d.later()
		d.wants("member user:ana acme/ml: no record, narrower")
	})
}

// From the first declaration on, a change beside the declared way is drift, with the decision that permitted it.
func TestDriftBesideTheDeclaration(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		i, err := intent.NewRole("developer", intent.RoleValue{Inherits: []string{"viewer"}})
		must(t, err)
		d.declare(i)
		r, err := d.Report(t.Context())
		if err != nil || r.Declared == nil || r.Declared.By != "user:adam" || r.Declared.Source != "sha256:00" || r.Declared.Hash != r.Hash {
			t.Fatalf("%+v, %v", r.Declared, err)
		}
		d.role("developer", "administrator", "viewer")
		d.happened(sallyport.EventChanged, "user:mallory", "role:developer", nil)
		d.wants("role developer: user:mallory D-1, wider")
		makers := func() []sallyport.PrincipalID {
			c, err := d.Plan(t.Context(), drift.Accept, []string{"role developer"}, "user:adam", "why")
			must(t, err)
			all, err := d.Makers(t.Context(), c)
			must(t, err)
			return all
		}
		if got := makers(); !slices.Equal(got, []sallyport.PrincipalID{"user:mallory"}) {
			t.Errorf("made by %v", got)
		}
		d.fix(drift.Restore, "role developer")
		d.later()
		d.wants()
		if got := d.org["role developer"].Value; got != `{"inherits":["viewer"]}` {
			t.Errorf("put back to %s", got)
		}
		d.role("reader", "viewer")
		d.happened(sallyport.EventChanged, "user:mallory", "role:reader", nil)
		before, _ := d.Report(t.Context())
		d.fix(drift.Accept, "role reader")
		d.later()
		d.wants()
		if after, _ := d.Report(t.Context()); after.Hash == before.Hash {
			t.Error("what is meant has not changed")
		}
		// A later file is a question to others; one that says the same is none.
		c, first, err := d.PlanDeclaration(t.Context(), []intent.Item{i}, "sha256:01", "user:adam")
		if err != nil || first || len(c.Items) != 0 {
			t.Errorf("%+v, %v, %v", c, first, err)
		}
		i.Value = `{"inherits":["reviewer"]}`
		if c, first, err = d.PlanDeclaration(t.Context(), []intent.Item{i}, "sha256:02", "user:adam"); err != nil || first || len(c.Items) != 1 {
			t.Errorf("%+v, %v, %v", c, first, err)
		}
	})
}

// The record of what a file brought about may come between the plan of the first declaration and its carrying out.
func TestDriftFirstDeclarationOvertakenByItsRecords(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		d.role("developer", "reviewer")
		is := d.org["role developer"]
		c, first, err := d.PlanDeclaration(t.Context(), []intent.Item{is}, "sha256:00", "user:adam")
		if err != nil || !first || len(c.Items) != 1 {
			t.Fatalf("%+v, %v, %v", c, first, err)
		}
		d.happened(sallyport.EventChanged, "user:adam", "role:developer", nil)
		must(t, d.Carry(t.Context(), c, drift.By{Who: "user:adam"}))
		d.wants()
	})
}

// What has changed since it was asked is not done, and what was not asked neither.
func TestDriftFixIsOfWhatWasSeen(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		d.role("developer", "administrator")
		d.later()
		c, err := d.Plan(t.Context(), drift.Accept, []string{"role developer"}, "user:adam", "why")
		must(t, err)
		text, err := c.Canonical()
		must(t, err)
		d.again()
		kept, err := d.Asked(t.Context(), text)
		if err != nil || len(kept.Items) != 1 || kept.Items[0].Is.Value != `{"inherits":["administrator"]}` {
			t.Fatalf("%+v, %v", kept, err)
		}
		d.role("developer", "administrator", "reviewer")
		d.later()
		if err := d.Carry(t.Context(), kept, drift.By{}); sallyport.KindOf(err) != sallyport.Conflict {
			t.Errorf("it has changed since: %v", err)
		}
		d.wants("role developer: no record, other")
		if n := d.count(sallyport.EventDriftFixed); n != 0 {
			t.Errorf("%d were fixed", n)
		}
		if _, err := d.Asked(t.Context(), []byte(strings.Replace(string(text), "sha256:", "sha256:0", 1))); sallyport.KindOf(err) != sallyport.NotFound {
			t.Errorf("another digest: %v", err)
		}
		for _, keys := range [][]string{nil, {"role nobody"}, {""}} {
			if _, err := d.Plan(t.Context(), drift.Restore, keys, "user:adam", "why"); err == nil {
				t.Errorf("%q is planned", keys)
			}
		}
		if _, err := d.Plan(t.Context(), drift.Declare, []string{"role developer"}, "user:adam", "why"); err == nil {
			t.Error("a declaration is planned as a fix")
		}
	})
}

// The configuration's file is compared with what is meant, and so is what runs; both ways back.
func TestDriftOfTheConfiguration(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		edited := intent.Item{Kind: intent.Setting, Name: "listen", Value: `"b"`}
		mapping := intent.Item{Kind: intent.Provider, Name: "federation/corp", Value: `{"map":[]}`}
		d.disk[edited.Key()], d.disk[mapping.Key()], d.text = edited, mapping, "listen: b"
		d.look()
		d.wants("provider federation/corp: no record, other", "setting listen: no record, other")
		c, err := d.Plan(t.Context(), drift.Accept, []string{"setting listen"}, "user:adam", "moved")
		if err != nil || len(c.Items) != 2 {
			t.Fatalf("the file is one text: %+v, %v", c, err)
		}
		must(t, d.Carry(t.Context(), c, drift.By{Who: "user:rita"}))
		d.wants()
		if r, _ := d.Report(t.Context()); len(r.Restart) != 2 {
			t.Errorf("waits for a start: %q", r.Restart)
		}
		d.config[edited.Key()], d.config[mapping.Key()] = edited, mapping // it starts again
		d.again()
		d.later()
		d.wants()
		if r, _ := d.Report(t.Context()); len(r.Restart) != 0 {
			t.Errorf("waits for a start: %q", r.Restart)
		}
		d.disk[edited.Key()] = intent.Item{Kind: intent.Setting, Name: "listen", Value: `"c"`}
		d.look()
		d.wants("setting listen: no record, other")
		d.fix(drift.Restore, "setting listen")
		d.wants()
		if d.text != "listen: b" {
			t.Errorf("the file says %q", d.text)
		}
		// Somebody starts the server with another file and puts the right one back: what runs is still wrong.
		d.config[edited.Key()] = intent.Item{Kind: intent.Setting, Name: "listen", Value: `"evil"`}
		d.again()
		d.look()
		d.wants("setting listen: no record, other")
		d.config[edited.Key()] = edited
		d.look()
		d.unread = "line 3: no such key"
		d.look()
		d.wants("setting file: no record, other")
		if _, err := d.Plan(t.Context(), drift.Accept, []string{"setting file"}, "user:adam", "why"); err == nil {
			t.Error("a file that cannot be read is accepted")
		}
		d.fix(drift.Restore, "setting file")
		d.wants()
	})
}

// Whoever owns the store can neither change nor take away nor turn back what is meant.
func TestDriftIntentionIsSealed(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		old, err := d.Store.Load(t.Context())
		must(t, err)
		d.declare()
		d.role("developer", "administrator")
		for name, edit := range map[string]func(*drifting){
			"gone":    func(d *drifting) { d.Store = tampered{d.Store, drift.Kept{}} },
			"older":   func(d *drifting) { d.Store = tampered{d.Store, old} },
			"another": func(d *drifting) { d.Store = tampered{d.Store, drift.Kept{Number: 9, Body: []byte("mine")}} },
			"renumbered": func(d *drifting) {
				d.Store = tampered{d.Store, drift.Kept{Number: 9, Body: old.Body}}
			},
		} {
			d.again()
			d.events = nil
			edit(d)
			for range 3 {
				if err := d.Look(t.Context()); sallyport.KindOf(err) != sallyport.Conflict {
					t.Errorf("%s: %v", name, err)
				}
			}
			if n := d.count(sallyport.EventDriftFound); n != 1 {
				t.Errorf("%s: told %d times", name, n)
			}
			if r, err := d.Report(t.Context()); err != nil || r.Problem == "" {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
		}
		d.again()
		d.later()
		d.wants("role developer: no record, other")
	})
}

// tampered is a store in which somebody else wrote.
type tampered struct {
	drift.Store
	kept drift.Kept
}

func (s tampered) Load(context.Context) (drift.Kept, error) { return s.kept, nil }

// An assignment's name is as long as those of who has what on what; nothing of what is asked about it is cut off.
func TestDriftOfALongName(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		key := d.assign("A-1", "workload:"+strings.Repeat("nightly-", 15)+"build\u200b", "developer", time.Time{})
		d.later()
		d.wants(key + ": no record, wider")
		c, err := d.Plan(t.Context(), drift.Restore, []string{key}, "user:adam", "why")
		must(t, err)
		if !strings.Contains(c.Subject(), strings.ReplaceAll(key, "\u200b", "\ufffd")) {
			t.Errorf("asked is %q", c.Subject())
		}
		for n := range 300 { // what cannot be printed is longer when it is marked
			i := intent.Item{Kind: intent.Role, Name: strings.Repeat("\u00ad", 1+n)}
			if got := (drift.Change{Act: drift.Restore, Items: []intent.Difference{{Want: i, Is: i}}}).Subject(); len(got) > approval.MaxSubject {
				t.Fatalf("%d bytes are asked for a name of %d", len(got), len(i.Name))
			}
		}
	})
}

// Many at once are found a hundred at a time, and the rest is counted.
func TestDriftOfMuch(t *testing.T) {
	eachDrifting(t, func(t *testing.T, d *drifting) {
		d.look()
		for n := range 130 {
			d.assign(fmt.Sprintf("A-%d", n), fmt.Sprintf("user:u%03d", n), "developer", time.Time{})
		}
		d.later()
		r, err := d.Report(t.Context())
		if err != nil || len(r.Open) != 100 || r.More != 30 {
			t.Errorf("%d found, %d more, %v", len(r.Open), r.More, err)
		}
		var keys []string
		for _, o := range r.Open[:50] {
			keys = append(keys, o.Key())
		}
		d.fix(drift.Restore, keys...)
		d.later()
		if r, err = d.Report(t.Context()); err != nil || len(r.Open) != 80 || r.More != 0 {
			t.Errorf("%d found, %d more, %v", len(r.Open), r.More, err)
		}
	})
}
