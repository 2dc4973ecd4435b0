package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/hold"
	"sallyport/internal/store/sqldb"
)

// TestFeed looks at an empty feed from two nodes.
func TestFeed(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		for _, db := range []*sqldb.DB{open(), open()} {
			must(t, db.Ping(t.Context()))
			seq, err := db.Latest(t.Context())
			if seq != 0 || err != nil {
				t.Errorf("Latest = %d, %v, want 0, nil", seq, err)
			}
			if got, err := db.Since(t.Context(), 0); len(got) != 0 || err != nil {
				t.Errorf("Since(0) = %v, %v, want nothing", got, err)
			}
			// A database older than what the caller has seen: everything is new.
			if got, err := db.Since(t.Context(), 7); len(got) < 8 || err != nil {
				t.Errorf("Since(7) = %v, %v, want every kind", got, err)
			}
		}
	})
}

// TestFeedMissesNothing writes from three nodes while a fourth follows: at each
// step what it has loaded is no older than what the feed says, and the first
// answer after a write names the write, with every wake-up lost.
func TestFeedMissesNothing(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		const each = 15
		follower, stop := open(), make(chan struct{})
		var following sync.WaitGroup
		following.Go(func() { follow(t, follower, stop) })
		nodes := []*sqldb.DB{open(), open(), open()}
		together(len(nodes), func(n int) {
			for i := range each {
				before, err := follower.Latest(t.Context())
				if err == nil {
					err = placeHold(t.Context(), nodes[n], fmt.Sprintf("H-%d-%d", n, i))
				}
				if err != nil {
					t.Error(err)
					return
				}
				changes, err := follower.Since(t.Context(), before)
				if err != nil || !slices.ContainsFunc(changes, func(c sqldb.Change) bool { return c.Kind == sqldb.Hold && c.Seq > before }) {
					t.Errorf("Since(%d) = %v, %v, want a hold", before, changes, err)
				}
			}
		})
		close(stop)
		following.Wait()
	})
}

// follow polls the feed as the rooms' caches do: it loads when it is told to,
// and must then know every row there is when nothing more is told.
func follow(t *testing.T, db *sqldb.DB, stop <-chan struct{}) {
	var at int64
	known := 0
	for last := false; ; {
		changes, err := db.Since(t.Context(), at)
		if err != nil {
			t.Error(err)
			return
		}
		for _, c := range changes {
			if c.Seq <= at {
				t.Errorf("the feed went from %d to %d", at, c.Seq)
			}
			at = c.Seq
		}
		if len(changes) > 0 {
			active, err := db.Hold().Active(t.Context(), 1000)
			if err != nil || len(active) < known {
				t.Errorf("%d holds after %d, %v", len(active), known, err)
			}
			known = len(active)
		} else if last {
			break
		}
		select {
		case <-stop:
			last = true
		default:
		}
	}
	if known != 45 {
		t.Errorf("the feed led to %d holds, want 45", known)
	}
}

func placeHold(ctx context.Context, db *sqldb.DB, id string) error {
	return db.Hold().Insert(ctx, hold.Hold{ID: id, Target: "org:acme", Kind: hold.Lock, Why: "x", By: "user:bob", ByPerson: "user:bob", At: time.Unix(1, 0)}, 1000)
}

// TestWake: the node that writes and, on a server, every other node is woken.
func TestWake(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		a, b := open(), open()
		mine, also := a.Wake(), a.Wake()
		must(t, placeHold(t.Context(), a, "H-1"))
		<-mine
		<-also
		if !strings.HasSuffix(t.Name(), "/postgres") {
			return
		}
		for i := 2; ; i++ { // the listener may not listen yet: then its start is the hint
			woken := b.Wake()
			must(t, placeHold(t.Context(), a, fmt.Sprintf("H-%d", i)))
			select {
			case <-woken:
				return
			case <-time.After(5 * time.Second):
			}
			if i > 3 {
				t.Fatal("a write of another node wakes nobody")
			}
		}
	})
}

// TestGoingAway: a caller who leaves while waiting for a turn gets an error and
// has written nothing; one who leaves later has written or not, never half.
func TestGoingAway(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		gone, leave := context.WithCancel(t.Context())
		leave()
		err := placeHold(gone, db, "H-1")
		wantKind(t, "a write of somebody gone", err, sallyport.Unavailable)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v does not tell that the caller left", err)
		}
		if active, err := db.Hold().Active(t.Context(), 10); err != nil || len(active) != 0 {
			t.Errorf("somebody gone has written %v, %v", active, err)
		}
	})
}

func TestClosedStoreIsUnavailable(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		must(t, db.Close())
		wantKind(t, "Ping of a closed store", db.Ping(t.Context()), sallyport.Unavailable)
		wantKind(t, "a write to a closed store", placeHold(t.Context(), db, "H-1"), sallyport.Unavailable)
	})
}
