package storetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/govern/drill"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/store/sqldb"
)

// TestDrillStore: a drill begins whole or not at all, nobody has two that wait, and who leaves is sent nothing more.
func TestDrillStore(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		ctx, s, other := t.Context(), open().Drill(), open().Drill()
		at := time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)
		for _, who := range []sallyport.PrincipalID{"user:ana", "user:eva", "user:eva"} {
			must(t, s.Volunteer(ctx, who, at))
		}
		must(t, s.Volunteer(ctx, "user:eva", at.Add(time.Hour))) // once is enough
		if all, err := other.Volunteers(ctx); len(all) != 2 || !all["user:eva"].Equal(at) || err != nil {
			t.Fatalf("Volunteers = %v, %v", all, err)
		}
		d := drill.Drill{ID: "DR-1", Kind: drill.MFAFatigue, By: "user:adam", Begun: at, Ends: at.Add(time.Hour)}
		lure := func(d drill.Drill, who sallyport.PrincipalID) drill.Lure {
			return drill.Lure{Link: d.ID + string(who), Drill: d.ID, Who: who, Due: d.Begun}
		}
		if err := s.Begin(ctx, d, []drill.Lure{lure(d, "user:ana"), lure(d, "user:bob")}); sallyport.KindOf(err) != sallyport.Conflict {
			t.Errorf("Begin with somebody who takes no part: %v", err)
		}
		if all, err := s.Drills(ctx, 9); len(all) != 0 || err != nil {
			t.Fatalf("kept by halves: %v, %v", all, err)
		}
		must(t, s.Begin(ctx, d, []drill.Lure{lure(d, "user:ana"), lure(d, "user:eva")}))
		e := drill.Drill{ID: "DR-2", Kind: drill.ConsentPhish, By: "user:adam", Begun: at.Add(time.Minute), Ends: at.Add(2 * time.Hour)}
		if err := other.Begin(ctx, e, []drill.Lure{lure(e, "user:ana")}); sallyport.KindOf(err) != sallyport.Conflict {
			t.Errorf("Begin with one that waits: %v", err)
		}
		x, err := other.Update(ctx, "DR-1user:ana", func(x *drill.Sent) error {
			x.Answer, x.Answered, x.Prompts, x.Due, x.Learned = drill.Fell, at.Add(time.Second), 2, time.Time{}, at.Add(time.Minute)
			return nil
		})
		if err != nil || x.Of != d || x.Prompts != 2 {
			t.Errorf("Update = %+v, %v", x, err)
		}
		if _, err := s.Update(ctx, "nothing", func(*drill.Sent) error { return nil }); sallyport.KindOf(err) != sallyport.NotFound {
			t.Errorf("Update of nothing: %v", err)
		}
		refused := sallyport.E("x", sallyport.Conflict, "no", "")
		if _, err := s.Update(ctx, "DR-1user:ana", func(x *drill.Sent) error { x.Answer = ""; return refused }); err != refused {
			t.Errorf("Update refused: %v", err)
		}
		must(t, s.Begin(ctx, e, []drill.Lure{lure(e, "user:ana")})) // she has answered
		for name, c := range map[string]struct {
			filter drill.Filter
			want   string
		}{
			"all": {drill.Filter{}, "DR-2user:ana DR-1user:ana DR-1user:eva"}, "one drill": {drill.Filter{Drill: "DR-1"}, "DR-1user:ana DR-1user:eva"},
			"hers": {drill.Filter{Who: "user:ana"}, "DR-2user:ana DR-1user:ana"}, "a link": {drill.Filter{Link: "DR-1user:ana"}, "DR-1user:ana"},
			"another's link": {drill.Filter{Link: "DR-1user:ana", Who: "user:eva"}, ""}, "due": {drill.Filter{Due: at}, "DR-1user:eva"}, "open": {drill.Filter{Open: at}, "DR-2user:ana DR-1user:eva"}, "open later": {drill.Filter{Open: at.Add(time.Hour)}, "DR-2user:ana"}, "due later": {drill.Filter{Due: at.Add(time.Hour)}, "DR-2user:ana DR-1user:eva"},
		} {
			list, err := other.Lures(ctx, c.filter)
			var got []string
			for _, x := range list {
				got = append(got, x.Link)
			}
			if strings.Join(got, " ") != c.want || err != nil {
				t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
			}
		}
		must(t, s.Volunteer(ctx, "user:eva", time.Time{}))
		if list, err := s.Lures(ctx, drill.Filter{Due: at}); len(list) != 0 || err != nil {
			t.Errorf("due for who has left: %v, %v", list, err)
		}
		if all, err := s.Drills(ctx, 1); len(all) != 1 || all[0] != e || err != nil {
			t.Errorf("Drills = %v, %v", all, err)
		}
	})
}

// A drilling is a service of drills over a store, with people and an inbox that the test looks into.
type drilling struct {
	*drill.Service
	t       *testing.T
	clock   *turnedClock
	gone    map[sallyport.PrincipalID]bool
	inbox   map[sallyport.PrincipalID][]string // texts
	once    map[string]bool
	events  []sallyport.Event
	trained []string
	down    map[string]bool // what fails: "note", "tell", "learned"
}

func newDrilling(t *testing.T, db *sqldb.DB) *drilling {
	d := &drilling{t: t, clock: newTurnedClock(), gone: map[sallyport.PrincipalID]bool{}, inbox: map[sallyport.PrincipalID][]string{}, once: map[string]bool{}, down: map[string]bool{}}
	fails := func(what string) error {
		if d.down[what] {
			return sallyport.E(what, sallyport.Unavailable, what+" is down", "")
		}
		return nil
	}
	id := func(who sallyport.PrincipalID, kind, once string) string {
		return fmt.Sprintf("N-%s %s %s", who, kind, once)
	}
	d.Service = &drill.Service{Store: db.Drill(), Clock: d.clock.Now, Logger: slog.New(slog.DiscardHandler), Rand: rand.Reader, Key: secret.NewBytes(make([]byte, 32)),
		External: "https://sallyport.example", NoticeID: id,
		Note: func(_ context.Context, e sallyport.Event) error {
			if err := fails("note"); err != nil {
				return err
			}
			d.events = append(d.events, e)
			return nil
		},
		Tell: func(_ context.Context, who sallyport.PrincipalID, kind, text, once string) error {
			if err := fails("tell"); err != nil || d.once[id(who, kind, once)] {
				return err
			}
			d.once[id(who, kind, once)] = true
			d.inbox[who] = append(d.inbox[who], text)
			return nil
		},
		Person: func(who sallyport.PrincipalID) bool { return who.Kind() == sallyport.User && !d.gone[who] },
		Learned: func(_ context.Context, who sallyport.PrincipalID, id string) error {
			if err := fails("learned"); err != nil {
				return err
			}
			d.trained = append(d.trained, string(who)+" "+id)
			return nil
		}}
	return d
}

func byItself(name string) drill.By {
	id := sallyport.PrincipalID("user:" + name)
	return drill.By{Who: id, Person: id, Decision: "D-1"}
}

func (d *drilling) join(names ...string) {
	d.t.Helper()
	for _, name := range names {
		must(d.t, d.Join(d.t.Context(), byItself(name)))
	}
}

// start begins a drill and returns what it sent, by name.
func (d *drilling) start(kind drill.Kind) (drill.Drill, map[string]drill.Sent) {
	d.t.Helper()
	x, n, err := d.Start(d.t.Context(), kind, time.Hour, byItself("adam"))
	must(d.t, err)
	if err := d.Tend(d.t.Context()); (err != nil) != d.down["tell"] {
		d.t.Fatalf("Tend: %v", err)
	}
	list, err := d.Store.Lures(d.t.Context(), drill.Filter{Drill: x.ID})
	must(d.t, err)
	if len(list) != n {
		d.t.Fatalf("it says %d and sent %d", n, len(list))
	}
	of := map[string]drill.Sent{}
	for _, s := range list {
		of[s.Who.Name()] = s
	}
	return x, of
}

// link is the secret at the end of a lure's address.
func (d *drilling) link(s drill.Sent) string {
	return strings.TrimPrefix(d.Address(s), "https://sallyport.example"+drill.Below)
}

// TestDrillGoesToWhomItMay: to active volunteers, not to who starts it, nobody twice at a time; prompts come a minute apart, and
// end with an answer, with leaving, with the account and with the drill.
func TestDrillGoesToWhomItMay(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		d, ctx := newDrilling(t, open()), t.Context()
		for name, by := range map[string]drill.By{"a service": {Who: "service:ci", Person: "service:ci"}, "a second account": {Who: "user:ana-2", Person: "user:ana"}, "a service of hers": {Who: "service:ci", Person: "user:ana"}} {
			if err := d.Join(ctx, by); sallyport.KindOf(err) != sallyport.Conflict || len(d.events) > 0 {
				t.Errorf("%s joins: %v", name, err)
			}
		}
		d.join("ana", "bob", "cleo", "dora", "adam", "gone", "ana")
		if len(d.events) != 6 {
			t.Errorf("%d entries of six who joined", len(d.events))
		}
		d.gone["user:gone"] = true
		x, of := d.start(drill.MFAFatigue)
		if len(of) != 4 || of["adam"].Link != "" || of["gone"].Link != "" {
			t.Fatalf("sent to %v", of)
		}
		if _, _, err := d.Start(ctx, drill.ConsentPhish, time.Hour, byItself("adam")); sallyport.KindOf(err) != sallyport.Conflict {
			t.Errorf("a second one: %v", err)
		}
		_, err := d.Answer(ctx, byItself("bob"), of["bob"], drill.Denied, "")
		must(t, err)
		must(t, d.Leave(ctx, byItself("cleo")))
		d.gone["user:dora"] = true
		for range 5 {
			must(t, d.Tend(ctx)) // nothing twice in the same minute
			d.clock.turn(time.Minute)
			must(t, d.Tend(ctx))
		}
		if a, b, c, e := len(d.inbox["user:ana"]), len(d.inbox["user:bob"]), len(d.inbox["user:cleo"]), len(d.inbox["user:dora"]); a != 3 || b != 1 || c != 1 || e != 1 {
			t.Errorf("prompts: %d to who does nothing, %d to who answered, %d to who left, %d to who is gone; %q", a, b, c, e, d.inbox)
		}
		for _, text := range d.inbox["user:ana"] {
			if !strings.Contains(text, d.Address(of["ana"])) || strings.Contains(strings.ToLower(text), "drill") || len(text) > 400 {
				t.Errorf("the prompt is %q", text)
			}
		}
		d.clock.turn(time.Hour)
		list, err := d.Store.Lures(ctx, drill.Filter{Drill: x.ID})
		must(t, err)
		if got := drill.Count(list, d.clock.Now()); got != (drill.Counts{Sent: 4, Denied: 1, Ignored: 3}) {
			t.Errorf("counted %+v", got)
		}
		if _, again := d.start(drill.FakeApproval); len(again) != 2 || again["ana"].Link == of["ana"].Link {
			t.Errorf("the next one goes to %v", again)
		}
	})
}

// TestDrillAttackers: what others hold, say again, say late or say while the log is down changes nothing; nothing that fails is
// kept, and what was not told is told later, once.
func TestDrillAttackers(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		d, ctx := newDrilling(t, open()), t.Context()
		d.down["note"] = true
		if err := d.Join(ctx, byItself("ana")); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("joining with the log down: %v", err)
		}
		if all, err := d.Store.Volunteers(ctx); len(all) != 0 || err != nil {
			t.Fatalf("kept although it was not recorded: %v, %v", all, err)
		}
		d.down["note"] = false
		d.join("ana", "bob")
		d.down["note"] = true
		if _, _, err := d.Start(ctx, drill.ConsentPhish, time.Hour, byItself("adam")); sallyport.KindOf(err) != sallyport.Unavailable || len(d.inbox) > 0 {
			t.Errorf("a start with the log down: %v, %v", err, d.inbox)
		}
		d.down["note"], d.down["tell"] = false, true
		x, of := d.start(drill.ConsentPhish)
		if len(d.inbox) > 0 || of["ana"].Prompts != 0 {
			t.Errorf("told while nothing could be: %v", d.inbox)
		}
		d.down["tell"] = false
		must(t, d.Tend(ctx))
		must(t, d.Tend(ctx))
		if len(d.inbox["user:ana"]) != 1 || len(d.inbox["user:bob"]) != 1 {
			t.Errorf("told later: %v", d.inbox)
		}

		ana, link := of["ana"], d.link(of["ana"])
		if len(link) != 27 || link == d.link(of["bob"]) || strings.Contains(fmt.Sprint(of), link) {
			t.Errorf("the link %q is guessed, shared or kept", link)
		}
		for name, try := range map[string]func() error{
			"another's link":       func() error { _, err := d.Find(ctx, "user:bob", link); return err },
			"the hash for a link":  func() error { _, err := d.Find(ctx, "user:ana", ana.Link); return err },
			"no link":              func() error { _, err := d.Find(ctx, "user:ana", ""); return err },
			"nobody":               func() error { _, err := d.Find(ctx, "service:nobody", link); return err },
			"who is not a person":  func() error { _, err := d.Find(ctx, "", link); return err },
			"answering another's":  func() error { _, err := d.Answer(ctx, byItself("bob"), ana, drill.Fell, ""); return err },
			"no answer there is":   func() error { _, err := d.Answer(ctx, byItself("ana"), ana, "granted", ""); return err },
			"no answer":            func() error { _, err := d.Answer(ctx, byItself("ana"), ana, "", ""); return err },
			"reading before it is": func() error { _, err := d.Read(ctx, ana); return err },
		} {
			before := len(d.events)
			if err := try(); err == nil || len(d.events) != before || len(d.trained) > 0 {
				t.Errorf("%s: %v", name, err)
			}
		}
		d.down["note"] = true
		if _, err := d.Answer(ctx, byItself("ana"), ana, drill.Denied, ""); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("an answer with the log down: %v", err)
		}
		if s, err := d.Find(ctx, "user:ana", link); err != nil || s.Answer != "" {
			t.Errorf("kept although it was not recorded: %+v, %v", s, err)
		}
		d.down["note"] = false

		var wait sync.WaitGroup
		var mu sync.Mutex
		kept := 0
		note := d.Note
		d.Note = func(ctx context.Context, e sallyport.Event) error { mu.Lock(); defer mu.Unlock(); return note(ctx, e) }
		for i := range 8 {
			wait.Go(func() {
				if _, err := d.Answer(ctx, byItself("ana"), ana, []drill.Answer{drill.Fell, drill.Denied}[i%2], ""); err == nil {
					mu.Lock()
					kept++
					mu.Unlock()
				}
			})
		}
		wait.Wait()
		if kept != 1 {
			t.Errorf("%d answers of eight at once are kept", kept)
		}
		s, err := d.Find(ctx, "user:ana", link)
		must(t, err)
		d.down["learned"] = true
		if _, err := d.Read(ctx, s); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("reading while it cannot be recorded: %v", err)
		}
		d.down["learned"] = false
		s, err = d.Read(ctx, s)
		must(t, err)
		if _, err := d.Read(ctx, s); sallyport.KindOf(err) != sallyport.Conflict || !slices.Equal(d.trained, []string{"user:ana " + x.ID}) {
			t.Errorf("read again: %v, %v", err, d.trained)
		}
		d.clock.turn(time.Hour)
		if _, err := d.Answer(ctx, byItself("bob"), of["bob"], drill.Denied, ""); sallyport.KindOf(err) != sallyport.Conflict {
			t.Errorf("an answer after the end: %v", err)
		}
		if s, err = d.Find(ctx, "user:bob", d.link(of["bob"])); err != nil || s.Open(d.clock.Now()) {
			t.Errorf("after the end: %+v, %v", s, err)
		}
		d.clock.turn(drill.ReadWithin)
		if _, err := d.Find(ctx, "user:bob", d.link(of["bob"])); sallyport.KindOf(err) != sallyport.NotFound {
			t.Errorf("long after the end: %v", err)
		}
	})
}

// TestOnlyWhatNamesADrillIsOne: a report counts as one of a drill where it names a notice or the link that the reporter was
// sent, exactly.
func TestOnlyWhatNamesADrillIsOne(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		d, ctx := newDrilling(t, open()), t.Context()
		d.join("ana", "bob")
		_, of := d.start(drill.MFAFatigue)
		address, id := d.Address(of["ana"]), func(n int) string {
			return d.NoticeID("user:ana", "signin.confirm", fmt.Sprintf("%s %d", of["ana"].Drill, n))
		}
		for name, is := range map[string]bool{
			address: true, strings.TrimPrefix(address, "https://sallyport.example"): true, id(0): true, id(2): true,
			"": false, id(3): false, d.Address(of["bob"]): false, address + "/": false, address + "?x=1": false, strings.ToUpper(address): false,
			"https://evil.example" + strings.TrimPrefix(address, "https://sallyport.example"): false, "see " + address: false, d.link(of["ana"]): false,
			of["ana"].Drill: false, "S-1": false, "D-1": false, "N-": false, "/confirm/": false, "https://sallyport.example/confirm/" + of["ana"].Link: false,
		} {
			x, ok, err := d.Named(ctx, "user:ana", name)
			if ok != is || err != nil || ok && x.Link != of["ana"].Link {
				t.Errorf("%q names %+v, %v, %v; want %v", name, x, ok, err, is)
			}
		}
	})
}

// TestDrillGoesToSoMany: more volunteers than one drill goes to are drawn anew each time.
func TestDrillGoesToSoMany(t *testing.T) {
	d := newDrilling(t, opener(t, "sqlite:"+t.TempDir()+"/store.db")())
	for i := range drill.MaxPeople + 20 {
		must(t, d.Store.Volunteer(t.Context(), sallyport.PrincipalID(fmt.Sprintf("user:p%d", i)), d.clock.Now()))
	}
	for _, want := range []int{drill.MaxPeople, 20} {
		if _, n, err := d.Start(t.Context(), drill.ConsentPhish, time.Hour, byItself("adam")); n != want || err != nil {
			t.Errorf("sent to %d, %v; want %d", n, err, want)
		}
	}
}

// TestCountOfADrill: the median is of those who reported.
func TestCountOfADrill(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	of := drill.Drill{Begun: at, Ends: at.Add(time.Hour)}
	sent := func(a drill.Answer, after time.Duration) drill.Sent {
		return drill.Sent{Lure: drill.Lure{Answer: a, Answered: at.Add(after)}, Of: of}
	}
	list := []drill.Sent{sent(drill.Reported, 10*time.Minute), sent(drill.Fell, time.Second), sent(drill.Reported, 2*time.Minute), sent("", 0), sent(drill.Denied, time.Minute)}
	want := drill.Counts{Sent: 5, Fell: 1, Denied: 1, Reported: 2, Waiting: 1, Median: 6 * time.Minute}
	if got := drill.Count(list, at); got != want || got.Passed() != 3 {
		t.Errorf("%+v, want %+v", got, want)
	}
	want.Waiting, want.Ignored, want.Reported, want.Median, want.Sent = 0, 1, 3, 2*time.Minute, 6
	if got := drill.Count(append(list, sent(drill.Reported, time.Minute)), of.Ends); got != want {
		t.Errorf("after the end %+v, want %+v", got, want)
	}
	if got := drill.Count(nil, at); got != (drill.Counts{}) {
		t.Errorf("of none %+v", got)
	}
}
