package storetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/govern/training"
	"sallyport/internal/store/sqldb"
)

// TestTraining: the newest training of a person is kept, whoever says it and in whatever order.
func TestTraining(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s, other := open().Training(), open().Training()
		at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		record := func(who sallyport.PrincipalID, ago time.Duration, why string) training.Record {
			return training.Record{Who: who, At: at.Add(-ago), By: "user:adam", Why: why, Kept: at}
		}
		if _, err := s.Get(t.Context(), "user:ana"); sallyport.KindOf(err) != sallyport.NotFound {
			t.Errorf("Get of nobody: %v", err)
		}
		if err := s.Withdraw(t.Context(), "user:ana"); sallyport.KindOf(err) != sallyport.NotFound {
			t.Errorf("Withdraw of nothing: %v", err)
		}
		for _, step := range []struct {
			put, want training.Record
		}{
			{record("user:ana", time.Hour, "first"), record("user:ana", time.Hour, "first")},
			{record("user:ana", 2*time.Hour, "older"), record("user:ana", time.Hour, "first")},
			{record("user:ana", time.Hour, "the same time"), record("user:ana", time.Hour, "first")},
			{record("user:ana", time.Minute, "newer"), record("user:ana", time.Minute, "newer")},
			{record("user:bob", 0, "another's"), record("user:bob", 0, "another's")},
		} {
			if got, err := s.Put(t.Context(), step.put); got != step.want || err != nil {
				t.Errorf("Put(%s) = %+v, %v; want %+v", step.put.Why, got, err, step.want)
			}
			if got, err := other.Get(t.Context(), step.put.Who); got != step.want || err != nil {
				t.Errorf("Get after %s = %+v, %v", step.put.Why, got, err)
			}
		}
		all, err := other.All(t.Context())
		if len(all) != 2 || !all["user:ana"].Equal(at.Add(-time.Minute)) || !all["user:bob"].Equal(at) || err != nil {
			t.Errorf("All = %v, %v", all, err)
		}
		must(t, s.Withdraw(t.Context(), "user:ana"))
		if all, err = other.All(t.Context()); len(all) != 1 || err != nil {
			t.Errorf("All after Withdraw = %v, %v", all, err)
		}
		if got, err := s.Put(t.Context(), record("user:ana", 2*time.Hour, "after")); got.Why != "after" || err != nil {
			t.Errorf("Put after Withdraw = %+v, %v", got, err)
		}
	})
}

// TestTrainingIsRecordedBeforeItCounts: nothing is kept that could not be written down, of nobody that is no person, of
// no time that was not, and of nobody by themselves.
func TestTrainingIsRecordedBeforeItCounts(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock, store := newTurnedClock(), open().Training()
		var events []sallyport.Event
		var broken error
		s := &training.Service{Store: store, Clock: clock.Now, Note: func(_ context.Context, e sallyport.Event) error {
			if broken == nil {
				events = append(events, e)
			}
			return broken
		}}
		now := clock.Now()
		adam := training.By{Who: "user:adam", Person: "user:adam", Decision: "D-1"}
		for name, try := range map[string]func() error{
			"himself": func() error { return vouch(s, "user:adam", now, "seminar", adam) },
			"by his alias": func() error {
				return vouch(s, "user:adam", now, "seminar", training.By{Who: "user:adam-admin", Person: "user:adam"})
			},
			"by nobody":        func() error { return vouch(s, "user:ana", now, "seminar", training.By{}) },
			"a service":        func() error { return vouch(s, "service:ci", now, "seminar", adam) },
			"what is to come":  func() error { return vouch(s, "user:ana", now.Add(2*time.Second), "seminar", adam) },
			"eleven years ago": func() error { return vouch(s, "user:ana", now.AddDate(-11, 0, 0), "seminar", adam) },
			"without why":      func() error { return vouch(s, "user:ana", now, " ", adam) },
			"two lines":        func() error { return vouch(s, "user:ana", now, "a\nb", adam) },
			"a long reason":    func() error { return vouch(s, "user:ana", now, strings.Repeat("a", training.MaxWhy+1), adam) },
			"bytes":            func() error { return vouch(s, "user:ana", now, "\xff", adam) },
			"a service learns": func() error { _, err := s.Learned(t.Context(), "service:ci", "DR-1"); return err },
			"nothing to take":  func() error { return s.Withdraw(t.Context(), "user:ana", "wrong", adam) },
			"his own back":     func() error { return s.Withdraw(t.Context(), "user:adam", "wrong", adam) },
		} {
			if err := try(); err == nil || len(events) > 0 {
				t.Errorf("%s: %v, events %v", name, err, events)
			}
		}
		broken = sallyport.E("write", sallyport.Unavailable, "the log is down", "")
		if err := vouch(s, "user:ana", now, "seminar", adam); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("with the log down: %v", err)
		}
		if _, err := s.Learned(t.Context(), "user:ana", "DR-1"); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("with the log down: %v", err)
		}
		if all, err := store.All(t.Context()); len(all) > 0 || err != nil {
			t.Fatalf("kept although it was not recorded: %v, %v", all, err)
		}
		broken = nil
		must(t, vouch(s, "user:ana", now.Add(-time.Hour), "seminar of the house", adam))
		e := events[len(events)-1]
		if e.Type != sallyport.EventTrained || e.Who != "user:adam" || e.On != "user:ana" || e.Decision != "D-1" || e.Detail["trained"] != now.Add(-time.Hour).Format(time.RFC3339) {
			t.Errorf("recorded as %+v", e)
		}
		clock.turn(time.Hour)
		if r, err := s.Learned(t.Context(), "user:ana", "DR-1"); err != nil || !r.At.Equal(clock.Now().Truncate(time.Second)) || r.By != "user:ana" {
			t.Errorf("Learned = %+v, %v", r, err)
		}
		broken = sallyport.E("write", sallyport.Unavailable, "the log is down", "")
		if err := s.Withdraw(t.Context(), "user:ana", "another Ana", adam); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("with the log down: %v", err)
		}
		broken = nil
		must(t, s.Withdraw(t.Context(), "user:ana", "another Ana", adam))
		if _, err := store.Get(t.Context(), "user:ana"); sallyport.KindOf(err) != sallyport.NotFound || events[len(events)-1].Detail["what"] != "withdrawn" {
			t.Errorf("after Withdraw: %v, %+v", err, events[len(events)-1])
		}
	})
}

func vouch(s *training.Service, who sallyport.PrincipalID, at time.Time, why string, by training.By) error {
	_, err := s.Vouch(context.Background(), who, at, why, by)
	return err
}
