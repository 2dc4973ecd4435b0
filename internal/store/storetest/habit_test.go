package storetest

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"context"

	"github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/identity/habit"
	"sallyport/internal/identity/risk"
	"sallyport/internal/store/sqldb"
)

// habits is the room on a store, with sessions and events in memory.
type habits struct {
	*habit.Service
	db    *sqldb.DB
	clock *turnedClock
	live  map[string]habit.Live
	noted []sallyport.Event
	seq   uint64
}

func newHabits(t *testing.T, db *sqldb.DB, clock *turnedClock) *habits {
	h := &habits{db: db, clock: clock, live: map[string]habit.Live{}}
	store := db.Habit()
	h.Service = &habit.Service{Store: store, Raises: store, Share: 0.01, Clock: clock.Now, Rand: rand.Reader, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Place: func(a netip.Addr) habit.Place {
			p, _ := a.Prefix(24)
			out := habit.Place{Prefix: p.String(), ASN: "AS" + p.Addr().String()[:3], Country: "NO", Position: risk.Position{Known: true, Latitude: 59.9, Longitude: 10.7, Radius: 20}}
			if p.Addr().As4()[0] == 203 {
				out.Country, out.Position = "AU", risk.Position{Known: true, Latitude: -33.9, Longitude: 151.2, Radius: 20}
			}
			return out
		},
		Proves: func(_ context.Context, who sallyport.PrincipalID) (sallyport.Assurance, error) {
			if who == "user:weak" {
				return sallyport.MultiFactor, nil
			}
			return sallyport.Hardware, nil
		},
		Sessions: func(_ context.Context, target string) ([]habit.Live, error) {
			var all []habit.Live
			for _, one := range h.live {
				if target == string(one.Who) || target == "session:"+one.ID || target == "device:"+one.Device {
					all = append(all, one)
				}
			}
			return all, nil
		},
		Rate: func(_ context.Context, id string, score int, _ []string) error {
			one := h.live[id]
			one.Risk = score
			h.live[id] = one
			return nil
		},
		Note: func(_ context.Context, e sallyport.Event) error { h.noted = append(h.noted, e); return nil },
	}
	return h
}

// signIn assesses and, unless it is held, lets the trail tell of the sign-in.
func (h *habits) signIn(t *testing.T, who sallyport.PrincipalID, address, agent, device string) habit.Found {
	t.Helper()
	found, err := h.Assess(t.Context(), habit.Attempt{Who: who, Address: netip.MustParseAddr(address), Agent: agent, Device: device})
	must(t, err)
	if !found.Hold {
		h.seq++
		id := fmt.Sprintf("S-%d", h.seq)
		h.live[id] = habit.Live{ID: id, Who: who, Device: device, Risk: found.Score}
		h.hear(t, sallyport.Event{Type: sallyport.EventSignedIn, Who: who, Detail: found.Detail(device), Asked: &sallyport.Asked{Session: id}})
	}
	return found
}

func (h *habits) hear(t *testing.T, e sallyport.Event) {
	t.Helper()
	h.seq++
	e.At = h.clock.Now().UnixMicro()
	must(t, h.Handle(t.Context(), []sallyport.Logged{{Seq: h.seq, Event: e}}, h.seq+1))
}

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0"

func TestHabitStore(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, at := open(), newTurnedClock().Now()
		s := db.Habit()
		row := habit.Row{Seq: 7, Who: "user:ana", At: at, Session: "S-1", Login: risk.Login{Prefix: "192.0.2.0/24", ASN: "AS1", Country: "NO", Agent: "a", Browser: "b", OS: "o", Kind: "k"},
			Device: "DV-1", Score: 33, Reasons: []risk.Reason{{Kind: risk.NewDevice, Points: 33, Text: "x", Evidence: map[string]string{"a": "b"}}}}
		failed := habit.Row{Seq: 8, Who: "user:ana", At: at}
		must(t, s.Put(t.Context(), []habit.Row{row, failed}, 9))
		must(t, s.Put(t.Context(), []habit.Row{row, failed}, 9)) // they may come again
		got, err := s.After(t.Context(), 0, 10)
		if diff := cmp.Diff([]habit.Row{row}, got); diff != "" || err != nil {
			t.Errorf("After (-want +got): %v\n%s", err, diff)
		}
		if got, err := s.After(t.Context(), 7, 10); err != nil || len(got) != 0 {
			t.Errorf("After the last: %v, %v", got, err)
		}
		for since, want := range map[time.Time]int{at: 1, at.Add(time.Second): 0} {
			if n, err := s.Failures(t.Context(), "user:ana", since); err != nil || n != want {
				t.Errorf("failures since %v: %d, %v, want %d", since, n, err, want)
			}
		}
		if n, err := s.Next(t.Context()); err != nil || n != 9 {
			t.Errorf("Next: %d, %v", n, err)
		}
		r := habit.Raise{ID: "K-1", Target: "user:ana", Points: 60, Why: "x", From: at, Until: at.Add(time.Hour)}
		must(t, s.InsertRaise(t.Context(), r))
		wantKind(t, "a raise twice", s.InsertRaise(t.Context(), r), sallyport.Conflict)
		for _, targets := range [][]string{nil, {"user:ana"}, {"x", "user:ana"}} {
			if all, err := s.RaisesAt(t.Context(), at, targets, 10); err != nil || cmp.Diff([]habit.Raise{r}, all) != "" {
				t.Errorf("raises on %v: %v, %v", targets, all, err)
			}
		}
		if all, err := s.RaisesAt(t.Context(), at, []string{"user:bo"}, 10); err != nil || len(all) != 0 {
			t.Errorf("raises on somebody else: %v, %v", all, err)
		}
		ended, err := s.EndRaise(t.Context(), "K-1", at.Add(time.Minute))
		if err != nil || !ended.Until.Equal(at.Add(time.Minute)) {
			t.Errorf("EndRaise: %v, %v", ended, err)
		}
		_, err = s.EndRaise(t.Context(), "K-1", at.Add(time.Minute))
		wantKind(t, "a second end", err, sallyport.NotFound)
		if n, err := s.Prune(t.Context(), at.Add(time.Second)); err != nil || n != 2 {
			t.Errorf("Prune: %d, %v", n, err)
		}
		must(t, s.Reset(t.Context()))
		if n, err := s.Next(t.Context()); err != nil || n != 0 {
			t.Errorf("Next after Reset: %d, %v", n, err)
		}
	})
}

// Two nodes judge by what either has seen; a rebuilt book judges as the old one.
func TestHabitsAreShared(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		one, two := newHabits(t, open(), clock), newHabits(t, open(), clock)
		for range 12 {
			clock.turn(24 * time.Hour)
			if found := one.signIn(t, "user:ana", "192.0.2.7", firefox, ""); found.Needs != 0 || found.Hold {
				t.Fatalf("an ordinary day: %+v", found.Verdict)
			}
		}
		clock.turn(24 * time.Hour)
		known := func(h *habits) habit.Known {
			k, err := h.Known(t.Context(), "user:ana")
			must(t, err)
			return k
		}
		if a, b := known(one), known(two); a.SignIns != 12 || cmp.Diff(a, b) != "" || a.From.Prefix != "192.0.2.0/24" {
			t.Errorf("what is known differs: %s", cmp.Diff(a, b))
		}
		try := habit.Attempt{Who: "user:ana", Address: netip.MustParseAddr("198.51.100.9"), Agent: "curl/8"}
		a, err := one.Assess(t.Context(), try)
		must(t, err)
		b, err := two.Assess(t.Context(), try)
		must(t, err)
		if diff := cmp.Diff(a, b); diff != "" || a.Score < risk.Lowest || a.Needs != sallyport.PhishingResistant || a.Hold {
			t.Errorf("two nodes differ, or a new device on a new network is nothing: %+v %s", a, diff)
		}
		must(t, two.Rebuild(t.Context()))
		if k := known(two); k.SignIns != 0 {
			t.Errorf("%d sign-ins are known after all was forgotten", k.SignIns)
		}
	})
}

// ID-7: what a sign-in is asked for, by what, and that it is recorded.
func TestID7Assess(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		h := newHabits(t, open(), clock)
		for range 12 {
			clock.turn(24 * time.Hour)
			h.signIn(t, "user:ana", "192.0.2.7", firefox, "browser:1")
			h.signIn(t, "user:weak", "192.0.2.8", firefox, "browser:2")
		}
		h.noted = nil
		clock.turn(time.Hour)
		found := h.signIn(t, "user:ana", "203.0.113.5", firefox, "browser:1")
		if !found.Hold || !found.Notify || len(h.noted) != 1 || h.noted[0].Detail["what"] != "held" || h.noted[0].Reasons[0] != string(risk.Travel) {
			t.Errorf("from the other side of the earth within the hour: %+v, recorded %+v", found.Verdict, h.noted)
		}
		clock.turn(30 * time.Hour)
		h.noted = nil
		found = h.signIn(t, "user:weak", "198.51.100.5", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36", "")
		if found.Hold || found.Needs != sallyport.MultiFactor || len(h.noted) != 1 {
			t.Errorf("somebody without a passkey is asked for %v, not for what they can prove: %+v", found.Needs, found.Verdict)
		}
		h.hear(t, sallyport.Event{Type: sallyport.EventSignInFailed, Who: "user:ana", Reasons: []string{"password.wrong"}})
		found = h.signIn(t, "user:ana", "192.0.2.7", firefox, "browser:1")
		if names := habit.Names(found.Reasons); len(names) == 0 || names[0] != string(risk.OddHour) && names[0] != string(risk.Failures) {
			t.Errorf("after a wrong password: %v", names)
		}
	})
}

// ID-8: what is found about a person raises the risk of their sessions at once, fades, and can be cleared.
func TestID8RaisesAndFades(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		h := newHabits(t, open(), clock)
		h.signIn(t, "user:ana", "192.0.2.7", firefox, "DV-1")
		h.signIn(t, "user:bo", "192.0.2.8", firefox, "DV-2")
		base := h.live["S-1"].Risk
		risks := func() [2]int { return [2]int{h.live["S-1"].Risk, h.live["S-3"].Risk} }
		r, err := h.Raise(t.Context(), "user:ana", habit.Measure{Points: 60, Fade: time.Hour}, "a refresh token was used twice")
		must(t, err)
		if got := risks(); got != [2]int{base + 60, base} {
			t.Errorf("after a finding: %v, the sign-ins had %d", got, base)
		}
		if found := h.signIn(t, "user:ana", "192.0.2.7", firefox, "DV-1"); found.Score < 60 || found.Needs == 0 {
			t.Errorf("a sign-in while something is found: %+v", found.Verdict)
		}
		clock.turn(30 * time.Minute)
		must(t, h.Fade(t.Context()))
		if got := risks()[0]; got != base+30 {
			t.Errorf("half an hour later: %d, want %d", got, base+30)
		}
		_, err = h.Raise(t.Context(), "device:DV-2", habit.Measure{Points: 100, Fade: 24 * time.Hour}, "it was lost")
		must(t, err)
		_, err = h.Raise(t.Context(), "session:S-3", habit.Measure{Points: 100, Fade: 24 * time.Hour}, "phishing")
		must(t, err)
		if got := risks()[1]; got != risk.MostPoints {
			t.Errorf("with more than can be: %d", got)
		}
		_, err = h.Clear(t.Context(), r.ID, "user:eve")
		must(t, err)
		if got := risks()[0]; got != base {
			t.Errorf("after it was cleared: %d, want %d", got, base)
		}
		_, err = h.Clear(t.Context(), r.ID, "user:eve")
		wantKind(t, "clearing twice", err, sallyport.NotFound)
		clock.turn(24*time.Hour + time.Minute)
		must(t, h.Fade(t.Context()))
		if got := risks(); got != [2]int{base, base} {
			t.Errorf("a day later: %v", got)
		}
		for target, points := range map[string]int{"": 10, "user:": 10, "model:x": 10, "user:ana": 0, "user:bo": 101} {
			_, err := h.Raise(t.Context(), target, habit.Measure{Points: points, Fade: time.Hour}, "x")
			wantKind(t, fmt.Sprintf("%d against %q", points, target), err, sallyport.Invalid)
		}
	})
}

// What was copied before it was found does not count against a session that began afterwards with a proof that cannot be
// copied. It counts against every other: one that was there before, also when it is proved anew, and one with less.
func TestRaisesAreSettled(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		h := newHabits(t, open(), clock)
		h.signIn(t, "user:ana", "192.0.2.7", firefox, "DV-1")
		base := h.live["S-1"].Risk
		clock.turn(time.Minute)
		r, err := h.Raise(t.Context(), "user:ana", habit.Measure{Points: 60, Fade: 12 * time.Hour, Settles: sallyport.PhishingResistant}, "token-reused")
		must(t, err)
		if all, err := h.Raises.RaisesAt(t.Context(), clock.Now(), nil, 10); err != nil || len(all) != 1 || all[0] != r {
			t.Fatalf("kept %+v, %v", all, err)
		}
		before, at := clock.Now().Add(-time.Second), clock.Now()
		clock.turn(time.Second)
		after := clock.Now()
		for _, test := range []struct {
			name            string
			level           sallyport.Assurance
			created, proved time.Time
			settled         bool
		}{
			{"a new one by passkey", sallyport.PhishingResistant, after, after, true},
			{"a new one by hardware", sallyport.Hardware, after, after, true},
			{"a new one by code", sallyport.MultiFactor, after, after, false},
			{"an old one that was proved anew", sallyport.PhishingResistant, before, after, false},
			{"a new one by an old proof elsewhere", sallyport.PhishingResistant, after, before, false},
			{"one of the same moment", sallyport.PhishingResistant, at, at, false},
		} {
			one := h.live["S-1"]
			one.Assurance, one.Created, one.Proved = test.level, test.created, test.proved
			h.live["S-1"] = one
			h.hear(t, sallyport.Event{Type: sallyport.EventSteppedUp, Who: "user:ana", Asked: &sallyport.Asked{Session: "S-1"}})
			want := base
			if !test.settled {
				want += r.Left(clock.Now())
			}
			if got := h.live["S-1"].Risk; got != want {
				t.Errorf("%s: risk %d, want %d", test.name, got, want)
			}
		}
		if k, err := h.Known(t.Context(), "user:ana"); err != nil || k.SignIns != 1 || len(k.Raises) != 1 {
			t.Errorf("a proof anew is no sign-in, and takes nothing away from what is held against others: %+v, %v", k, err)
		}
		if found, err := h.Assess(t.Context(), habit.Attempt{Who: "user:ana", Address: netip.MustParseAddr("192.0.2.7"), Agent: firefox, Device: "DV-1"}); err != nil || found.Needs < sallyport.PhishingResistant {
			t.Errorf("the next sign-in needs %v, %v", found.Needs, err)
		}
	})
}
