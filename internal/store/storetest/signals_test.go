package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/identity/signals"
	"sallyport/internal/store/sqldb"
)

func TestSignals(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		ctx, clock := t.Context(), newTurnedClock()
		a, b := open().Signals(), open().Signals()
		now := clock.Now()
		want := []signals.Stream{{ID: "s1", Owner: "service:x", Org: "acme", Audience: "aud", Method: signals.Push, URL: "https://x", Header: []byte{1, 2}, Requested: []string{"e1", "e2"},
			Description: "d", Status: signals.Enabled, Created: now}, {ID: "s2", Owner: "service:y", Org: "acme", Audience: "aud", Method: signals.Poll, Requested: []string{"e1"}, Status: signals.Paused, Reason: "r", Created: now}}
		for _, s := range want {
			must(t, a.PutStream(ctx, s, 2))
		}
		third := want[0]
		third.ID = "s3"
		wantKind(t, "one stream too many", a.PutStream(ctx, third, 2), sallyport.TooLarge)
		want[0].Status, want[0].Header = signals.Disabled, nil
		must(t, b.PutStream(ctx, want[0], 2))
		got, err := b.Streams(ctx)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("Streams (-want +got): %v\n%s", err, diff)
		}

		must(t, a.Exclude(ctx, "s1", "ana", true, 1))
		must(t, a.Exclude(ctx, "s1", "ana", true, 1))
		wantKind(t, "one subject too many", a.Exclude(ctx, "s1", "bob", true, 1), sallyport.TooLarge)
		for subject, out := range map[string]bool{"ana": true, "bob": false} {
			if is, err := b.Excluded(ctx, "s1", subject); err != nil || is != out {
				t.Errorf("Excluded(%s) = %v, %v", subject, is, err)
			}
		}
		must(t, a.Exclude(ctx, "s1", "ana", false, 1))
		if is, err := b.Excluded(ctx, "s1", "ana"); err != nil || is {
			t.Errorf("Excluded = %v, %v", is, err)
		}

		var items []signals.Item
		for n := range 5 {
			items = append(items, signals.Item{Stream: "s1", ID: fmt.Sprint(n), Text: "t", At: now, Due: now})
		}
		must(t, a.Enqueue(ctx, items[:3], 7))
		must(t, b.Enqueue(ctx, items, 5)) // an older place, and some again
		if next, err := a.Next(ctx); err != nil || next != 7 {
			t.Errorf("Next = %d, %v", next, err)
		}
		late := items[0]
		late.Due, late.Tries = now.Add(time.Hour), 3
		must(t, a.Later(ctx, late))
		waiting, total, err := b.Waiting(ctx, "s1", now, 2)
		if diff := cmp.Diff(items[1:3], waiting); diff != "" || err != nil || total != 5 {
			t.Errorf("Waiting (-want +got): %d, %v\n%s", total, err, diff)
		}
		if first, _, err := b.Waiting(ctx, "s1", late.Due, 1); err != nil || !cmp.Equal(first, []signals.Item{late}) {
			t.Errorf("Waiting later = %+v, %v", first, err)
		}
		must(t, b.Done(ctx, "s1", []string{"1", "3", "ghost"}, time.Time{}))
		must(t, b.Done(ctx, "s2", []string{"2"}, now.Add(time.Hour)))
		if _, total, err := a.Waiting(ctx, "s1", now, 9); err != nil || total != 3 {
			t.Errorf("%d wait, %v", total, err)
		}
		must(t, b.Done(ctx, "s1", nil, now.Add(time.Microsecond)))
		if _, total, err := a.Waiting(ctx, "s1", now, 9); err != nil || total != 0 {
			t.Errorf("%d wait, %v", total, err)
		}
		must(t, a.Enqueue(ctx, items, 0))
		must(t, a.DropStream(ctx, "s1"))
		must(t, a.DropStream(ctx, "s1"))
		if _, total, err := a.Waiting(ctx, "s1", now, 9); err != nil || total != 0 {
			t.Errorf("%d wait for nobody, %v", total, err)
		}

		must(t, a.AddSignalKey(ctx, signals.KeyRow{ID: "k1", From: now, Sealed: []byte{1}}, now.Add(-time.Hour)))
		must(t, b.AddSignalKey(ctx, signals.KeyRow{ID: "k2", From: now, Sealed: []byte{2}}, now.Add(-time.Hour))) // another node was faster
		must(t, b.AddSignalKey(ctx, signals.KeyRow{ID: "k3", From: now.Add(2 * time.Hour), Sealed: []byte{3}}, now.Add(time.Hour)))
		keys, err := a.SignalKeys(ctx)
		if err != nil || len(keys) != 2 || keys[0].ID != "k1" || keys[1].ID != "k3" {
			t.Errorf("keys = %+v, %v", keys, err)
		}
		must(t, a.DropSignalKey(ctx, "k1"))
		if keys, err := a.SignalKeys(ctx); err != nil || len(keys) != 1 {
			t.Errorf("keys = %+v, %v", keys, err)
		}
	})
}

// A token of a partner counts once, on whatever node, until it could not be taken
// any more.
func TestSignalSeenOnce(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		ctx, clock := t.Context(), newTurnedClock()
		nodes := []signals.Queue{open().Signals(), open().Signals()}
		var won atomic.Int64
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if err := nodes[i%2].See(ctx, "https://idp", "j1", clock.Now().Add(time.Hour), clock.Now()); err == nil {
					won.Add(1)
				} else if sallyport.KindOf(err) != sallyport.Busy {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Errorf("it counted %d times", won.Load())
		}
		must(t, nodes[0].See(ctx, "https://other", "j1", clock.Now().Add(time.Hour), clock.Now()))
		must(t, nodes[0].Settle(ctx, "https://idp", "j1", time.Time{})) // it could not be acted on
		must(t, nodes[1].See(ctx, "https://idp", "j1", clock.Now().Add(time.Minute), clock.Now()))
		clock.turn(2 * time.Minute) // whoever took it died
		must(t, nodes[0].See(ctx, "https://idp", "j1", clock.Now().Add(time.Minute), clock.Now()))
		must(t, nodes[0].Settle(ctx, "https://idp", "j1", clock.Now().Add(time.Hour)))
		must(t, nodes[1].Settle(ctx, "https://idp", "j1", time.Time{})) // one that is late takes nothing back
		clock.turn(2 * time.Minute)
		wantKind(t, "one that was taken", nodes[1].See(ctx, "https://idp", "j1", clock.Now().Add(time.Minute), clock.Now()), sallyport.Conflict)
		clock.turn(2 * time.Hour)
		must(t, nodes[0].See(ctx, "https://idp", "j1", clock.Now().Add(time.Hour), clock.Now())) // its own time refuses it before
	})
}
