package change_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/approval/signed"
	"sallyport/internal/authz/change"
)

const other = `
@id("other") @owner("test") @requirement("T") @text("Everybody pulls.")
permit (principal, action == Action::"model.pull", resource);`

// GV-3, AZ-9: what it takes, each left out once.
func TestGV3WhatItTakes(t *testing.T) {
	s, _ := service(t)
	ctx := t.Context()
	if _, err := s.Current(ctx, set("")); err != nil {
		t.Fatal(err)
	}
	refused := func(what string, err error, kind sallyport.Kind) {
		t.Helper()
		if sallyport.KindOf(err) != kind {
			t.Errorf("%s: %v", what, err)
		}
		if e := s.InForce(); e.Number != 1 {
			t.Fatalf("%s: epoch %d is in force", what, e.Number)
		}
	}
	_, err := s.ActivateAlone(ctx, s.keeper.Facts, set(more), "user:adam", "now")
	refused("alone, where there are others", err, sallyport.Conflict)
	_, err = s.Propose(ctx, s.keeper.Facts, change.Proposal{Source: set(""), By: "user:adam", Why: "same"}, "user:adam")
	refused("the same set", err, sallyport.Conflict)
	_, err = s.Propose(ctx, s.keeper.Facts, change.Proposal{Source: set(more), By: "user:adam"}, "user:adam")
	refused("no reason", err, sallyport.Invalid)
	src := set(more)
	src.Policies["test.cedar"] = strings.Replace(src.Policies["test.cedar"], "Action::\"policy.approve\", ", "", 1)
	_, err = s.Propose(ctx, s.keeper.Facts, change.Proposal{Source: src, By: "user:adam", Why: "lock everybody out"}, "user:adam")
	refused("a set that nobody could change again", err, sallyport.Invalid)

	r := s.propose(t, set(more))
	vote := func(voter, person sallyport.PrincipalID, hash string) error {
		_, err := s.Vote(ctx, approval.Ballot{Request: r.ID, Voter: voter, Person: person, Yes: true, Hash: hash})
		return err
	}
	refused("one's own", vote("user:adam", "user:adam", r.Hash), sallyport.Conflict)
	refused("one's own by another account", vote("user:adam2", "user:adam", r.Hash), sallyport.Conflict)
	refused("a program's", vote("service:ci", "user:rita", r.Hash), sallyport.Invalid)
	refused("of another text", vote("user:rita", "user:rita", strings.Repeat("0", 64)), sallyport.Conflict)
	if err := vote("user:rita", "user:rita", r.Hash); err != nil {
		t.Fatal(err)
	}
	refused("the same person's again", vote("user:rita2", "user:rita", r.Hash), sallyport.Conflict)
	_, err = s.Activate(ctx, s.keeper.Facts, r.ID, "user:adam")
	refused("one of two approvals", err, sallyport.Conflict)
	if err := vote("user:ravi", "user:ravi", r.Hash); err != nil {
		t.Fatal(err)
	}
	stale := s.propose(t, set(other))
	s.approve(t, stale)
	if _, err := s.Activate(ctx, s.keeper.Facts, r.ID, "user:adam"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Activate(ctx, s.keeper.Facts, r.ID, "user:adam"); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("twice: %v", err)
	}
	if _, err := s.Activate(ctx, s.keeper.Facts, stale.ID, "user:adam"); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("approved in comparison with another set: %v", err)
	}
}

// While one person is all there ever was, that person decides; the second one ends that.
func TestBootstrapCloses(t *testing.T) {
	s, l := service(t)
	s.people = 1
	if _, err := s.Current(t.Context(), set("")); err != nil {
		t.Fatal(err)
	}
	if e, err := s.ActivateAlone(t.Context(), s.keeper.Facts, set(more), "user:adam", "the first rules"); err != nil || e.Kind != change.Bootstrap || e.Number != 2 {
		t.Fatalf("%+v, %v", e, err)
	}
	if last := l.events[len(l.events)-1]; last.Detail["kind"] != "bootstrap" {
		t.Errorf("noted %+v", last)
	}
	if _, err := s.again().Current(t.Context(), set("")); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	s.people = 2
	if _, err := s.ActivateAlone(t.Context(), s.keeper.Facts, set(other), "user:adam", "more"); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("with a second person: %v", err)
	}
}

// tampering is what somebody with the database could do to what stands there.
func tampering(old change.Set, older change.Epoch) map[string]func(*change.Set, *change.Epoch) error {
	return map[string]func(*change.Set, *change.Epoch) error{
		"another text under the same version": func(s *change.Set, _ *change.Epoch) error {
			s.Source.Policies["test.cedar"] += other
			return nil
		},
		"another text under its own version": func(s *change.Set, e *change.Epoch) error {
			s.Source.Policies["test.cedar"] += other
			engine, err := compile(s.Source)
			s.Version, e.Version = engine.Version(), engine.Version()
			return err
		},
		"the set before it": func(s *change.Set, _ *change.Epoch) error { *s = old; return nil },
		"the set before it, with its version": func(s *change.Set, e *change.Epoch) error {
			*s, e.Version = old, old.Version
			return nil
		},
		"the epoch before it, whole": func(s *change.Set, e *change.Epoch) error { *s, *e = old, older; return nil },
		"the epoch before it under a new number": func(s *change.Set, e *change.Epoch) error {
			n := e.Number + 1
			*s, *e = old, older
			e.Number = n
			return nil
		},
		"a new number":          func(_ *change.Set, e *change.Epoch) error { e.Number++; return nil },
		"another kind":          func(_ *change.Set, e *change.Epoch) error { e.Kind = change.Bootstrap; return nil },
		"another request":       func(_ *change.Set, e *change.Epoch) error { e.Request = "R-0"; return nil },
		"a seal of its own":     func(_ *change.Set, e *change.Epoch) error { e.Seal = []byte("x"); return nil },
		"signatures asked away": func(_ *change.Set, e *change.Epoch) error { e.Signed = !e.Signed; return nil },
		"who did it":            func(_ *change.Set, e *change.Epoch) error { e.By = "user:eve"; return nil },
		"no epochs at all":      func(_ *change.Set, e *change.Epoch) error { *e = change.Epoch{}; return nil },
		"nothing at all": func(*change.Set, *change.Epoch) error {
			return sallyport.E("store", sallyport.NotFound, "there is no such row", "")
		},
	}
}

// I-11: whatever is done to the rows of the store is refused at a restart and at a reload, recorded and alarmed once, and
// the set in force stays.
func TestI11EditedDatabase(t *testing.T) {
	s, l := service(t)
	ctx := t.Context()
	if _, err := s.Current(ctx, set("")); err != nil {
		t.Fatal(err)
	}
	old, older, err := s.Store.Active(ctx)
	if err != nil {
		t.Fatal(err)
	}
	e := s.enforce(t, set(more))
	alarms := func() int {
		n := 0
		for _, x := range l.events {
			if x.Type == sallyport.EventAlarm && x.Reasons[0] == "policy.tampered" {
				n++
			}
		}
		return n
	}
	for what, edit := range tampering(old, older) {
		s.store.edit = edit
		before := alarms()
		if _, err := s.again().Current(ctx, set("")); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("restart with %s: %v", what, err)
		}
		for range 3 {
			if err := s.Reload(ctx, s.keeper.Facts); sallyport.KindOf(err) != sallyport.Unavailable {
				t.Errorf("reload with %s: %v", what, err)
			}
		}
		if got := alarms() - before; got != 2 {
			t.Errorf("%s: %d alarms, want one at the restart and one at the reload", what, got)
		}
		if now := s.keeper.Facts.Snapshot().Engine().Version(); now != e.Version || s.InForce().Number != e.Number {
			t.Fatalf("%s: %s is in force", what, now)
		}
		s.store.edit = nil
		if err := s.Reload(ctx, s.keeper.Facts); err != nil {
			t.Errorf("after %s was undone: %v", what, err)
		}
	}
	if _, err := s.again().Current(ctx, set("")); err != nil {
		t.Errorf("with nothing edited: %v", err)
	}
	s.secrets++
	if _, err := s.again().Current(ctx, set("")); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("another installation's database: %v", err)
	}
}

// I-11: votes that were edited away, added or turned do not make an approval.
func TestI11EditedVotes(t *testing.T) {
	s, _ := service(t)
	ctx := t.Context()
	if _, err := s.Current(ctx, set("")); err != nil {
		t.Fatal(err)
	}
	e := s.enforce(t, set(more))
	for what, edit := range map[string]func(*approval.Request){
		"one vote less":         func(r *approval.Request) { r.Votes = r.Votes[:1] },
		"a vote twice":          func(r *approval.Request) { r.Votes[1] = r.Votes[0] },
		"a vote of the asker's": func(r *approval.Request) { r.Votes[1].Person = "user:adam" },
		"a no":                  func(r *approval.Request) { r.Votes[1].Yes = false },
	} {
		var votes []approval.Vote
		update := func(do func(*approval.Request)) {
			if _, err := s.Approvals.Store.Update(ctx, e.Request, func(r *approval.Request) error { do(r); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		update(func(r *approval.Request) {
			votes = append([]approval.Vote{}, r.Votes...)
			edit(r)
		})
		if _, err := s.again().Current(ctx, set("")); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("%s: %v", what, err)
		}
		update(func(r *approval.Request) { r.Votes = votes })
	}
	if _, err := s.again().Current(ctx, set("")); err != nil {
		t.Error(err)
	}
}

// A node that comes late puts in force what another activated, and says so.
func TestNodesFollow(t *testing.T) {
	s, _ := service(t)
	ctx := t.Context()
	if _, err := s.Current(ctx, set("")); err != nil {
		t.Fatal(err)
	}
	n2 := s.again()
	n2.Node = "n2"
	if _, err := n2.Current(ctx, set("")); err != nil {
		t.Fatal(err)
	}
	e := s.enforce(t, set(more))
	if x, err := s.Status(ctx); err != nil || x.Settled || len(x.Acks) != 2 || x.Newest.Number != e.Number {
		t.Errorf("before the other node followed: %+v, %v", x, err)
	}
	follow, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		n2.Follow(follow, s.keeper.Facts, func() <-chan struct{} { return nil }, time.Millisecond, func(err error) { t.Error(err) })
		close(done)
	}()
	for { // until the other node has said so, too
		x, err := s.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if x.Settled && len(x.Acks) == 2 && n2.InForce().Number == e.Number {
			break
		}
		time.Sleep(time.Millisecond)
	}
	stop()
	<-done
	s.Clock = func() time.Time { return time.Now().Add(change.AckFresh + time.Minute) }
	if err := s.Acknowledge(ctx); err != nil {
		t.Fatal(err)
	}
	if x, err := s.Status(ctx); err != nil || !x.Settled || len(x.Silent) != 1 {
		t.Errorf("with one silent: %+v, %v", x, err)
	}
}

// GV-4: the last approved change is undone by one person, within its time, once; anything else is approved anew.
func TestGV4Rollback(t *testing.T) {
	s, l := service(t)
	ctx := t.Context()
	if _, err := s.Current(ctx, set("")); err != nil {
		t.Fatal(err)
	}
	first := s.InForce().Version
	back := func(version string) error {
		_, err := s.Rollback(ctx, s.keeper.Facts, version, "user:adam", "it fails")
		return err
	}
	if err := back(""); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("with nothing to undo: %v", err)
	}
	second := s.enforce(t, set(more)).Version
	s.enforce(t, set(other))
	if err := back(first); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("two back: %v", err)
	}
	s.Clock = func() time.Time { return time.Now().Add(change.RollbackWindow + time.Minute) }
	if err := back(""); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("too late: %v", err)
	}
	s.Clock = time.Now
	if err := back(""); err != nil || s.InForce().Version != second {
		t.Fatalf("back to %s: %v", s.InForce().Version, err)
	}
	if e := l.events[len(l.events)-1]; e.Detail["kind"] != "rolled back" {
		t.Errorf("noted %+v", e)
	}
	if err := back(""); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("back again: %v", err)
	}
	if _, err := s.again().Current(ctx, set("")); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// A system of before there were epochs goes on with what it had in force, once.
func TestAdoptsWhatWasInForce(t *testing.T) {
	s, _ := service(t)
	ctx := t.Context()
	src := set(more)
	src.Schema = s.Schema
	engine, err := compile(src)
	if err != nil {
		t.Fatal(err)
	}
	before := &beforeEpochs{Store: s.store.Store, set: change.Set{Version: engine.Version(), Source: src, By: "user:adam", Why: "long ago"}}
	s.store.Store = before
	if got, err := s.Current(ctx, set("")); err != nil || got.Version() != engine.Version() || s.InForce().Kind != change.Adopted {
		t.Fatalf("%+v, %v", s.InForce(), err)
	}
	before.again = true
	if _, err := s.again().Current(ctx, set("")); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("the epochs were deleted: %v", err)
	}
}

// beforeEpochs is a store in which only the old tables are filled.
type beforeEpochs struct {
	change.Store
	set   change.Set
	again bool
}

func (b *beforeEpochs) Active(ctx context.Context) (change.Set, change.Epoch, error) {
	set, e, err := b.Store.Active(ctx)
	if b.again || sallyport.KindOf(err) == sallyport.NotFound {
		return b.set, change.Epoch{}, nil
	}
	return set, e, err
}

// A store that cannot be read is no empty store.
func TestStoreDownIsNoFirstStart(t *testing.T) {
	s, l := service(t)
	down := errors.New("connection refused")
	s.store.edit = func(*change.Set, *change.Epoch) error { return down }
	if _, err := s.Current(t.Context(), set("")); err != nil {
		t.Fatal(err)
	}
	events := len(l.events)
	if _, err := s.again().Current(t.Context(), set(more)); !errors.Is(err, down) {
		t.Errorf("started with %v", err)
	}
	if err := s.Reload(t.Context(), s.keeper.Facts); !errors.Is(err, down) {
		t.Errorf("reloaded with %v", err)
	}
	if len(l.events) != events {
		t.Errorf("%s", fmt.Sprint(l.events[events:]))
	}
}

// What was approved by sessions before there were approvers' keys stays in force; what was asked after the first key was
// enrolled counts only with signatures, whatever the store says of it.
func TestI11UnsignedAfterTheFirstKey(t *testing.T) {
	s, _ := service(t)
	ctx := t.Context()
	if _, err := s.Current(ctx, set("")); err != nil {
		t.Fatal(err)
	}
	e := s.enforce(t, set(more))
	r, err := s.Approvals.Get(ctx, e.Request)
	if err != nil {
		t.Fatal(err)
	}
	key := signed.Key{Credential: []byte("k"), Person: "user:rita"}
	s.Approvals.Keys = func(context.Context) (signed.Keys, error) { return signed.Keys{key}, nil }
	key.Since = r.Created.Add(time.Second)
	if _, err := s.again().Current(ctx, set("")); err != nil {
		t.Errorf("approved before the first key: %v", err)
	}
	key.Since = r.Created.Add(-time.Second)
	if _, err := s.again().Current(ctx, set("")); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("approved without a signature after the first key: %v", err)
	}
	next := s.propose(t, set(other))
	if _, err := s.Vote(ctx, approval.Ballot{Request: next.ID, Voter: "user:rita", Person: "user:rita", Yes: true, Hash: next.Hash}); sallyport.ReasonOf(err) != signed.ReasonUnsigned {
		t.Errorf("a vote without a signature: %v", err)
	}
	s.Approvals.Keys = func(context.Context) (signed.Keys, error) { return nil, errors.New("the chain is broken") }
	if _, err := s.again().Current(ctx, set("")); err == nil {
		t.Error("started although nobody knows whose keys count")
	}
}
