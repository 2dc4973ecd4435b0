package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/breakglass"
	"sallyport/internal/store/sqldb"
)

// An emergency is the room on a store, with roles and events in memory.
type emergency struct {
	*breakglass.Service
	clock    *turnedClock
	approved *approval.Service
	given    map[string]time.Time // assignments, and until when
	noted    []string             // what was recorded, and which role was given, in order
	noteErr  error
	giveErr  error
}

func newEmergency(db *sqldb.DB) *emergency {
	e := &emergency{clock: newTurnedClock(), given: map[string]time.Time{}}
	e.approved = newApprovals(db, e.clock)
	e.Service = &breakglass.Service{Store: db.BreakGlass(), Approvals: e.approved, Clock: e.clock.Now, Rand: rand.Reader,
		Within: func(_ context.Context, who sallyport.PrincipalID, subjects []string) (bool, error) {
			return slices.Contains(subjects, string(who)), nil
		},
		Assign: func(_ context.Context, who sallyport.PrincipalID, d breakglass.Definition, until time.Time) (string, error) {
			if e.giveErr != nil {
				return "", e.giveErr
			}
			e.noted = append(e.noted, "gave "+d.Role+" to "+string(who))
			e.given["A-1"] = until
			return "A-1", nil
		},
		Unassign: func(_ context.Context, id string) error { delete(e.given, id); return nil },
		Note: func(_ context.Context, x sallyport.Event) error {
			if e.noteErr != nil {
				return e.noteErr
			}
			e.noted = append(e.noted, string(x.Type)+" "+x.Detail["what"])
			return nil
		}}
	return e
}

func (e *emergency) who(name string, level sallyport.Assurance) sallyport.Principal {
	id := sallyport.PrincipalID("user:" + name)
	return sallyport.Principal{ID: id, Person: id, Assurance: level, AuthTime: e.clock.Now()}
}

func (e *emergency) vote(t *testing.T, request, name string, yes bool) (approval.Request, error) {
	t.Helper()
	r, err := e.approved.Get(t.Context(), request)
	must(t, err)
	id := sallyport.PrincipalID("user:" + name)
	return e.Vote(t.Context(), approval.Ballot{Request: request, Voter: id, Person: id, Yes: yes, Hash: r.Hash, Note: noted})
}

func restore() breakglass.Definition {
	return breakglass.Definition{Name: "restore", Openers: []string{"user:ana", "user:bob"}, Role: "administrator", Scope: sallyport.Ref{Kind: sallyport.SystemKind}, For: time.Hour, Why: "the identity provider is down"}
}

// sealed defines and seals.
func (e *emergency) sealed(t *testing.T) {
	t.Helper()
	r, err := e.Define(t.Context(), restore(), e.who("adam", sallyport.MultiFactor))
	must(t, err)
	for _, name := range []string{"eve", "joe"} {
		_, err := e.vote(t, r.ID, name, true)
		must(t, err)
	}
}

// RS-2: sealed by two others, opened with a hardware key and two others, loud before it gives anything, over by itself, and
// reviewed by somebody who had no part in it.
func TestRS2BreakGlass(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		e := newEmergency(open())
		r, err := e.Define(t.Context(), restore(), e.who("adam", sallyport.MultiFactor))
		must(t, err)
		_, err = e.Open(t.Context(), "restore", "fire", e.who("ana", sallyport.Hardware))
		wantKind(t, "opening what nobody approved", err, sallyport.NotFound)
		_, err = e.vote(t, r.ID, "adam", true)
		wantKind(t, "approving what one defined", err, sallyport.Conflict)
		_, err = e.vote(t, r.ID, "eve", true)
		must(t, err)
		_, err = e.Open(t.Context(), "restore", "fire", e.who("ana", sallyport.Hardware))
		wantKind(t, "opening what one approved", err, sallyport.NotFound)
		_, err = e.vote(t, r.ID, "joe", true)
		must(t, err)
		if holds, err := e.Holds(t.Context(), "user:ana"); err != nil || !holds {
			t.Errorf("ana may open: %v, %v", holds, err)
		}
		if holds, err := e.Holds(t.Context(), "user:eve"); err != nil || holds {
			t.Errorf("eve may open: %v, %v", holds, err)
		}

		for name, p := range map[string]sallyport.Principal{"a passkey that is copied": e.who("ana", sallyport.PhishingResistant), "a code": e.who("ana", sallyport.MultiFactor), "nothing": e.who("ana", 0)} {
			if _, err := e.Open(t.Context(), "restore", "fire", p); sallyport.ReasonOf(err) != breakglass.ReasonProof {
				t.Errorf("opening with %s: %v", name, err)
			}
		}
		old := e.who("ana", sallyport.Hardware)
		old.AuthTime = e.clock.Now().Add(-16 * time.Minute)
		if _, err := e.Open(t.Context(), "restore", "fire", old); sallyport.ReasonOf(err) != breakglass.ReasonProof {
			t.Errorf("opening with an old proof: %v", err)
		}
		_, err = e.Open(t.Context(), "restore", "fire", e.who("eve", sallyport.Hardware))
		wantKind(t, "opening by somebody else", err, sallyport.NotFound)
		_, err = e.Open(t.Context(), "restore", " ", e.who("ana", sallyport.Hardware))
		wantKind(t, "opening without a reason", err, sallyport.Invalid)

		o, err := e.Open(t.Context(), "restore", "nobody can sign in", e.who("ana", sallyport.Hardware))
		must(t, err)
		_, err = e.vote(t, o.Request, "ana", true)
		wantKind(t, "agreeing with oneself", err, sallyport.Conflict)
		_, err = e.vote(t, o.Request, "eve", true)
		must(t, err)
		_, err = e.vote(t, o.Request, "eve", true)
		wantKind(t, "agreeing twice", err, sallyport.Conflict)
		if len(e.given) != 0 {
			t.Fatal("one other was enough")
		}
		e.noted = nil
		_, err = e.vote(t, o.Request, "joe", true)
		must(t, err)
		if want := []string{"breakglass opened", "alarm ", "gave administrator to user:ana"}; !slices.Equal(e.noted, want) {
			t.Errorf("recorded %q, want %q", e.noted, want)
		}
		if until := e.given["A-1"]; !until.Equal(e.clock.Now().Add(time.Hour)) {
			t.Errorf("it is given until %v", until)
		}
		for who, want := range map[string]sallyport.Kind{"zoe": sallyport.Conflict} { // while it is open
			_, err := e.Review(t.Context(), o.ID, "fine", e.who(who, 2))
			wantKind(t, "a review while it is open", err, want)
		}
		e.clock.turn(time.Hour)
		_, openings, err := e.Status(t.Context())
		if err != nil || len(openings) != 1 || openings[0].State != breakglass.Over {
			t.Errorf("an hour later: %+v, %v", openings, err)
		}
		for _, who := range []string{"ana", "eve", "joe"} {
			_, err := e.Review(t.Context(), o.ID, "fine", e.who(who, 2))
			wantKind(t, "a review by "+who+", who had a part in it", err, sallyport.Conflict)
		}
		_, err = e.Review(t.Context(), o.ID, "", e.who("zoe", 2))
		wantKind(t, "a review of nothing", err, sallyport.Invalid)
		done, err := e.Review(t.Context(), o.ID, "looked at all 14 actions", e.who("zoe", 2))
		if err != nil || done.State != breakglass.Reviewed || done.Reviewer != "user:zoe" {
			t.Errorf("reviewed %+v, %v", done, err)
		}
		_, err = e.Review(t.Context(), o.ID, "again", e.who("kim", 2))
		wantKind(t, "a second review", err, sallyport.Conflict)
	})
}

// What was asked in vain opens nothing, and an opening can be ended before its time.
func TestBreakGlassRefusedAndEnded(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		e := newEmergency(open())
		e.sealed(t)
		o, err := e.Open(t.Context(), "restore", "fire", e.who("ana", sallyport.Hardware))
		must(t, err)
		_, err = e.vote(t, o.Request, "eve", false)
		must(t, err)
		_, err = e.vote(t, o.Request, "joe", true)
		wantKind(t, "agreeing with what was refused", err, sallyport.Conflict)
		e.clock.turn(time.Second)
		late, err := e.Open(t.Context(), "restore", "fire", e.who("ana", sallyport.Hardware))
		must(t, err)
		e.clock.turn(61 * time.Minute)
		_, err = e.vote(t, late.Request, "eve", true)
		wantKind(t, "agreeing an hour late", err, sallyport.Conflict)
		third, err := e.Open(t.Context(), "restore", "fire", e.who("bob", sallyport.Hardware))
		must(t, err)
		for _, name := range []string{"eve", "joe"} {
			_, err := e.vote(t, third.Request, name, true)
			must(t, err)
		}
		e.clock.turn(time.Minute)
		ended, err := e.End(t.Context(), third.ID, "user:bob")
		if err != nil || len(e.given) != 0 || ended.At(e.clock.Now()) != breakglass.Over {
			t.Errorf("ended %+v with %v, %v", ended, e.given, err)
		}
		_, err = e.End(t.Context(), third.ID, "user:bob")
		wantKind(t, "ending twice", err, sallyport.Conflict)
		_, openings, err := e.Status(t.Context())
		states := ""
		for _, o := range openings {
			states += string(o.State) + " "
		}
		if err != nil || states != "over asked refused " {
			t.Errorf("states %q, %v", states, err)
		}
	})
}

// What cannot be recorded gives nothing, and what was cut off between the record and the role is finished at the next start.
func TestBreakGlassIsRecordedFirst(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		e := newEmergency(open())
		e.sealed(t)
		o, err := e.Open(t.Context(), "restore", "fire", e.who("ana", sallyport.Hardware))
		must(t, err)
		_, err = e.vote(t, o.Request, "eve", true)
		must(t, err)
		e.noteErr = errors.New("the log is full")
		if _, err := e.vote(t, o.Request, "joe", true); !errors.Is(err, e.noteErr) || len(e.given) != 0 {
			t.Errorf("without a record: %v, given %v", err, e.given)
		}
		e.noteErr, e.giveErr = nil, errors.New("the store is down")
		if err := e.Recover(t.Context()); !errors.Is(err, e.giveErr) {
			t.Errorf("recovering without a store: %v", err)
		}
		e.giveErr = nil
		must(t, e.Recover(t.Context()))
		must(t, e.Recover(t.Context()))
		if len(e.given) != 1 || strings.Count(strings.Join(e.noted, ";"), "gave") != 1 {
			t.Errorf("after recovering: given %v, recorded %v", e.given, e.noted)
		}
		e.clock.turn(2 * time.Hour)
		clear(e.given)
		must(t, e.Recover(t.Context()))
		if len(e.given) != 0 {
			t.Error("what is over was given again")
		}
	})
}

func TestBreakGlassDefinitions(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		e := newEmergency(open())
		for name, change := range map[string]func(*breakglass.Definition){
			"no name":          func(d *breakglass.Definition) { d.Name = "" },
			"no opener":        func(d *breakglass.Definition) { d.Openers = nil },
			"a program":        func(d *breakglass.Definition) { d.Openers = []string{"service:bot"} },
			"a bare name":      func(d *breakglass.Definition) { d.Openers = []string{"ana"} },
			"a group's half":   func(d *breakglass.Definition) { d.Openers = []string{"group:acme"} },
			"too many":         func(d *breakglass.Definition) { d.Openers = slices.Repeat([]string{"user:ana"}, 33) },
			"no role":          func(d *breakglass.Definition) { d.Role = "" },
			"no scope":         func(d *breakglass.Definition) { d.Scope = sallyport.Ref{} },
			"a day":            func(d *breakglass.Definition) { d.For = 24 * time.Hour },
			"over four hours":  func(d *breakglass.Definition) { d.For = breakglass.MaxFor + time.Second },
			"no time":          func(d *breakglass.Definition) { d.For = 0 },
			"no reason":        func(d *breakglass.Definition) { d.Why = "" },
			"a reason on more": func(d *breakglass.Definition) { d.Why = "a\nb" },
		} {
			d := restore()
			change(&d)
			_, err := e.Define(t.Context(), d, e.who("adam", 2))
			wantKind(t, name, err, sallyport.Invalid)
		}
		d := restore()
		d.Openers = []string{"group:acme/oncall"}
		_, err := e.Define(t.Context(), d, e.who("adam", 2))
		must(t, err)
		_, err = e.Define(t.Context(), d, e.who("bob", 2))
		wantKind(t, "a name twice", err, sallyport.Conflict)
		all, _, err := e.Status(t.Context())
		if err != nil || len(all) != 1 || all[0].For != time.Hour || all[0].Scope.String() != "system" || !all[0].Sealed.IsZero() {
			t.Errorf("kept %+v, %v", all, err)
		}
		_, err = e.Scope(t.Context(), "R-NOTHING")
		wantKind(t, "a request of something else", err, sallyport.NotFound)
	})
}
