package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/store/sqldb"
)

// A turnedClock stands still until a test turns it.
type turnedClock struct {
	mu  sync.Mutex
	now time.Time
}

func newTurnedClock() *turnedClock {
	return &turnedClock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *turnedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *turnedClock) turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// behind finds the person behind an account: "user:ana.2" and "service:ana.bot" are Ana's.
func behind(_ context.Context, id sallyport.PrincipalID) (sallyport.PrincipalID, error) {
	name, _, _ := bytes.Cut([]byte(id.Name()), []byte("."))
	return sallyport.PrincipalID("user:" + string(name)), nil
}

func newApprovals(db *sqldb.DB, clock *turnedClock) *approval.Service {
	return &approval.Service{Store: db.Approval(), Clock: clock.Now, Rand: rand.Reader, Person: behind}
}

func ask(t testing.TB, s *approval.Service, need int) approval.Request {
	t.Helper()
	r, err := s.Ask(t.Context(), approval.Request{
		Topic: "test", Asker: "user:ana", AskerPerson: "user:ana", Subject: "user:ana: something", Canonical: []byte{0, 1, 0xff},
		Need: need, Approvers: "anybody else", Expires: s.Clock().Add(time.Hour),
	}, noted)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func ballot(r approval.Request, person string, yes bool) approval.Ballot {
	id := sallyport.PrincipalID("user:" + person)
	return approval.Ballot{Request: r.ID, Voter: id, Person: id, Yes: yes, Hash: r.Hash, Note: noted}
}

// noted is for votes whose record is not looked at.
func noted(context.Context, approval.Request) error { return nil }

// taken takes a request however many are open.
func taken(int) error { return nil }

func TestApproval(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, clock := open(), newTurnedClock()
		s := newApprovals(db, clock)
		r := ask(t, s, 2)
		got, err := s.Get(t.Context(), r.ID)
		if diff := cmp.Diff(r, got); diff != "" || err != nil {
			t.Fatalf("Get after Ask (-want +got): %v\n%s", err, diff)
		}
		clock.turn(time.Minute)
		if r, err = s.Vote(t.Context(), ballot(r, "bob", true)); err != nil || r.State != approval.Pending {
			t.Fatalf("after the first of two approvals: %v, %v", r.State, err)
		}
		_, err = s.Vote(t.Context(), ballot(r, "bob", true))
		wantKind(t, "a second vote of one person", err, sallyport.Conflict)
		last := ballot(r, "eve", true)
		last.Reason = "naïve but fine"
		if r, err = s.Vote(t.Context(), last); err != nil || r.State != approval.Approved || !r.Decided.Equal(clock.Now()) {
			t.Fatalf("after both approvals: %v at %v, %v", r.State, r.Decided, err)
		}
		got, err = s.Get(t.Context(), r.ID)
		if diff := cmp.Diff(r, got); diff != "" || err != nil || len(got.Votes) != 2 || got.Votes[1].Reason != last.Reason {
			t.Fatalf("Get after the votes (-want +got): %v\n%s", err, diff)
		}
		_, err = s.Vote(t.Context(), ballot(r, "joe", false))
		wantKind(t, "a vote after the end", err, sallyport.Conflict)
		_, err = s.Get(t.Context(), "R-NOTHING")
		wantKind(t, "Get of nothing", err, sallyport.NotFound)
		wantKind(t, "the same id twice", db.Approval().Insert(t.Context(), r, taken), sallyport.Conflict)
	})
}

func TestOneNoEndsARequest(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := newApprovals(open(), newTurnedClock())
		r := ask(t, s, 3)
		r, err := s.Vote(t.Context(), ballot(r, "bob", false))
		if err != nil || r.State != approval.Denied {
			t.Fatalf("after a no: %v, %v", r.State, err)
		}
		_, err = s.Vote(t.Context(), ballot(r, "eve", true))
		wantKind(t, "a yes after a no", err, sallyport.Conflict)
	})
}

// TestNobodyApprovesTheirOwnRequest: by a second account, a program, or after
// the account that asked changed hands (abuse case A-18).
func TestNobodyApprovesTheirOwnRequest(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := newApprovals(open(), newTurnedClock())
		r := ask(t, s, 1)
		for _, b := range []approval.Ballot{
			{Voter: "user:ana", Person: "user:ana"},
			{Voter: "user:ana.2", Person: "user:ana"},
			{Voter: "user:ana", Person: "user:bob"},
		} {
			b.Request, b.Hash, b.Yes = r.ID, r.Hash, true
			_, err := s.Vote(t.Context(), b)
			wantKind(t, fmt.Sprintf("a vote of %s for %s", b.Voter, b.Person), err, sallyport.Conflict)
		}
		_, err := s.Vote(t.Context(), approval.Ballot{Request: r.ID, Hash: r.Hash, Yes: true, Voter: "service:bob.bot", Person: "user:bob"})
		wantKind(t, "a vote of a program", err, sallyport.Invalid)

		s.Person = func(context.Context, sallyport.PrincipalID) (sallyport.PrincipalID, error) { return "user:bob", nil }
		_, err = s.Vote(t.Context(), ballot(r, "bob", true))
		wantKind(t, "a vote of the asker's new owner", err, sallyport.Conflict)
		s.Person = func(context.Context, sallyport.PrincipalID) (sallyport.PrincipalID, error) {
			return "", sallyport.E("directory", sallyport.Unavailable, "", "")
		}
		_, err = s.Vote(t.Context(), ballot(r, "eve", true))
		wantKind(t, "a vote while nobody knows whose the asker is", err, sallyport.Unavailable)
		if r, _ = s.Get(t.Context(), r.ID); len(r.Votes) != 0 {
			t.Errorf("%d votes were counted", len(r.Votes))
		}
	})
}

// TestApprovalIsForOneText: another text, or an edit behind our back, voids it.
func TestApprovalIsForOneText(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		s := newApprovals(db, newTurnedClock())
		r, other := ask(t, s, 1), ask(t, s, 1)
		b := ballot(r, "bob", true)
		b.Hash = other.Hash
		_, err := s.Vote(t.Context(), b)
		wantKind(t, "a vote for another text", err, sallyport.Conflict)

		edited := r
		edited.ID, edited.Canonical = "R-EDITED", []byte("something worse")
		if err := db.Approval().Insert(t.Context(), edited, taken); err != nil {
			t.Fatal(err)
		}
		_, err = s.Vote(t.Context(), ballot(edited, "bob", true))
		wantKind(t, "a vote for an edited request", err, sallyport.Conflict)
	})
}

func TestApprovalExpires(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		s := newApprovals(open(), clock)
		open1, approved := ask(t, s, 1), ask(t, s, 1)
		if _, err := s.Vote(t.Context(), ballot(approved, "bob", true)); err != nil {
			t.Fatal(err)
		}
		clock.turn(time.Hour)
		_, err := s.Vote(t.Context(), ballot(open1, "bob", true))
		wantKind(t, "a vote at the instant of expiry", err, sallyport.Conflict)
		_, err = s.Use(t.Context(), approved.ID, approved.Hash)
		wantKind(t, "a use at the instant of expiry", err, sallyport.Conflict)
		if r, err := s.Get(t.Context(), open1.ID); err != nil || r.State != approval.Expired {
			t.Errorf("Get = %v, %v, want expired", r.State, err)
		}
		for state, want := range map[approval.State]int{approval.Pending: 0, approval.Expired: 1, approval.Approved: 1, "": 2} {
			if all, err := s.List(t.Context(), approval.Filter{State: state}); err != nil || len(all) != want {
				t.Errorf("List of %q = %d requests, %v, want %d", state, len(all), err, want)
			}
		}
	})
}

func TestWithdrawAndLimits(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		s := newApprovals(open(), clock)
		var newest approval.Request
		for range approval.MaxPending {
			clock.turn(time.Second)
			newest = ask(t, s, 1)
		}
		more := newest
		more.Expires = clock.Now().Add(time.Hour)
		_, err := s.Ask(t.Context(), more, noted)
		wantKind(t, "one open request too many", err, sallyport.Busy)
		_, err = s.Withdraw(t.Context(), newest.ID, "user:bob", noted)
		wantKind(t, "somebody else withdrawing", err, sallyport.Conflict)
		if r, err := s.Withdraw(t.Context(), newest.ID, "user:ana", noted); err != nil || r.State != approval.Withdrawn {
			t.Fatalf("Withdraw = %v, %v", r.State, err)
		}
		_, err = s.Vote(t.Context(), ballot(newest, "bob", true))
		wantKind(t, "a vote on a withdrawn request", err, sallyport.Conflict)
		if _, err := s.Ask(t.Context(), more, noted); err != nil {
			t.Errorf("after withdrawing one: %v", err)
		}
		all, err := s.List(t.Context(), approval.Filter{Topic: "test", Person: "user:ana", Newest: 3})
		if err != nil || len(all) != 3 || !slices.IsSortedFunc(all, func(a, b approval.Request) int { return b.Created.Compare(a.Created) }) {
			t.Errorf("List = %d requests, %v, want the 3 newest, newest first", len(all), err)
		}
		if all, _ := s.List(t.Context(), approval.Filter{Topic: "other"}); len(all) != 0 {
			t.Errorf("List of another topic = %d requests", len(all))
		}
	})
}

// TestParallelAsks: of many questions that one person asks at once on two nodes, as many are kept as may be open, and what is
// refused is not written down.
func TestParallelAsks(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		nodes := []*approval.Service{newApprovals(open(), clock), newApprovals(open(), clock)}
		one := ask(t, nodes[0], 1)
		one.Expires = clock.Now().Add(time.Hour)
		var kept, written atomic.Int32
		together(2*approval.MaxPending, func(i int) {
			_, err := nodes[i%2].Ask(t.Context(), one, func(context.Context, approval.Request) error { written.Add(1); return nil })
			if err == nil {
				kept.Add(1)
			} else if sallyport.KindOf(err) != sallyport.Busy {
				t.Error(err)
			}
		})
		all, err := nodes[0].List(t.Context(), approval.Filter{State: approval.Pending})
		if err != nil || len(all) != approval.MaxPending || kept.Load() != approval.MaxPending-1 || written.Load() != kept.Load() {
			t.Errorf("%d are open, %d were asked at once, %d written down, %v", len(all), kept.Load(), written.Load(), err)
		}
	})
}

// TestParallelVotes lets 50 people vote at once on three nodes: as many count as
// are needed, one of them decides, and one of 50 uses succeeds (I-08, A-20).
func TestParallelVotes(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		const need, voters = 7, 50
		clock := newTurnedClock()
		nodes := []*approval.Service{newApprovals(open(), clock), newApprovals(open(), clock), newApprovals(open(), clock)}
		r := ask(t, nodes[0], need)
		var counted, decided, used atomic.Int32
		together(voters, func(i int) {
			// Two of them each are one person.
			got, err := nodes[i%3].Vote(t.Context(), ballot(r, fmt.Sprintf("p%d", i/2), true))
			if err == nil {
				counted.Add(1)
				if got.State == approval.Approved {
					decided.Add(1)
				}
			} else if sallyport.KindOf(err) != sallyport.Conflict {
				t.Errorf("vote %d: %v", i, err)
			}
		})
		together(voters, func(i int) {
			if _, err := nodes[i%3].Use(t.Context(), r.ID, r.Hash); err == nil {
				used.Add(1)
			} else if sallyport.KindOf(err) != sallyport.Conflict {
				t.Errorf("use %d: %v", i, err)
			}
		})
		if counted.Load() != need || decided.Load() != 1 || used.Load() != 1 {
			t.Errorf("%d votes counted, %d decided, %d uses; want %d, 1, 1", counted.Load(), decided.Load(), used.Load(), need)
		}
		got, err := nodes[1].Get(t.Context(), r.ID)
		if err != nil || got.State != approval.Used || len(got.Votes) != need {
			t.Fatalf("in the end %v with %d votes, %v", got.State, len(got.Votes), err)
		}
		people := map[sallyport.PrincipalID]bool{}
		for _, v := range got.Votes {
			people[v.Person] = true
		}
		if len(people) != need {
			t.Errorf("%d distinct people approved, want %d", len(people), need)
		}
	})
}

// TestVotesRaceWithExpiry lets one node vote just before the end and another at
// it: there is one outcome, and what expired is never approved.
func TestVotesRaceWithExpiry(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		early, late := newTurnedClock(), newTurnedClock()
		before, after := newApprovals(open(), early), newApprovals(open(), late)
		late.turn(time.Hour)
		early.turn(time.Hour - time.Millisecond)
		for range 10 {
			early.turn(-time.Hour + time.Millisecond)
			r := ask(t, before, 1)
			early.turn(time.Hour - time.Millisecond)
			together(2, func(i int) {
				if i == 0 {
					if _, err := before.Vote(t.Context(), ballot(r, "bob", true)); err != nil {
						t.Errorf("a vote in time: %v", err)
					}
				} else if _, err := after.Vote(t.Context(), ballot(r, "eve", true)); sallyport.KindOf(err) != sallyport.Conflict || err == nil {
					t.Errorf("a vote too late = %v, want a conflict", err)
				}
			})
			got, err := before.Get(t.Context(), r.ID)
			if err != nil || len(got.Votes) != 1 || got.Votes[0].Person != "user:bob" {
				t.Fatalf("in the end %v with votes %v, %v", got.State, got.Votes, err)
			}
			_, err = after.Use(t.Context(), r.ID, r.Hash)
			wantKind(t, "a use after expiry", err, sallyport.Conflict)
		}
	})
}

// TestApprovalProperty casts random ballots of random accounts and compares what
// stands at the end with the rule said another way (I-10).
func TestApprovalProperty(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := newApprovals(open(), newTurnedClock())
		rapid.Check(t, func(rt *rapid.T) {
			need := rapid.IntRange(1, 3).Draw(rt, "need")
			asker := rapid.SampledFrom([]string{"user:p0", "user:p0.2", "service:p0.bot"}).Draw(rt, "asker")

			r, err := s.Ask(t.Context(), approval.Request{Topic: "test", Asker: sallyport.PrincipalID(asker), AskerPerson: "user:p0",
				Subject: "something", Canonical: []byte("x"), Need: need, Approvers: "others", Expires: s.Clock().Add(time.Hour)}, noted)
			if err != nil {
				rt.Fatal(err)
			}
			yes := map[string]bool{}
			state := approval.Pending
			for range rapid.IntRange(1, 8).Draw(rt, "ballots") {
				person := fmt.Sprintf("p%d", rapid.IntRange(0, 4).Draw(rt, "person"))
				account := rapid.SampledFrom([]string{"user:%s", "user:%s.2", "service:%s.bot"}).Draw(rt, "account")
				says := rapid.SampledFrom([]bool{true, true, true, false}).Draw(rt, "says")
				hash := rapid.SampledFrom([]string{r.Hash, r.Hash, r.Hash, ""}).Draw(rt, "hash")
				_, err := s.Vote(t.Context(), approval.Ballot{Request: r.ID, Voter: sallyport.PrincipalID(fmt.Sprintf(account, person)),
					Person: sallyport.PrincipalID("user:" + person), Yes: says, Hash: hash, Note: noted})
				may := state == approval.Pending && person != "p0" && !yes[person] && hash == r.Hash && account != "service:%s.bot"
				if may != (err == nil) {
					rt.Fatalf("a vote of %s (%v) with %d of %d: %v, want permitted = %v", person, says, len(yes), need, err, may)
				}
				if may && says {
					yes[person] = true
				}
				if may && !says {
					state = approval.Denied
				} else if len(yes) == need {
					state = approval.Approved
				}
			}
			got, err := s.Get(t.Context(), r.ID)
			if err != nil || got.State != state {
				rt.Fatalf("in the end %v, %v, want %v", got.State, err, state)
			}
			if state == approval.Pending {
				_, err = s.Withdraw(t.Context(), r.ID, "user:p0", noted)
			}
			if err != nil {
				rt.Fatal(err)
			}
		})
	})
}

// TestAChangeThatFailsLeavesNothing: an error inside Update rolls back.
func TestAChangeThatFailsLeavesNothing(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		s := newApprovals(db, newTurnedClock())
		r := ask(t, s, 1)
		refused := sallyport.E("test", sallyport.TooLarge, "no", "")
		_, err := db.Approval().Update(t.Context(), r.ID, func(r *approval.Request) error {
			r.State = approval.Approved
			return refused
		})
		if !errors.Is(err, refused) {
			t.Errorf("Update = %v, want the error of the change", err)
		}
		if got, _ := s.Get(t.Context(), r.ID); got.State != approval.Pending {
			t.Errorf("after a change that failed: %v", got.State)
		}
		_, err = db.Approval().Update(t.Context(), "R-NOTHING", func(*approval.Request) error { return nil })
		wantKind(t, "Update of nothing", err, sallyport.NotFound)
	})
}

// together calls work n times at once and waits.
func together(n int, work func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			work(i)
		})
	}
	close(start)
	all.Wait()
}
