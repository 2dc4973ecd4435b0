package storetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"sync/atomic"
	"testing"

	"sallyport"
	"sallyport/internal/authz/approval/signed"
	"sallyport/internal/authz/approver"
	"sallyport/internal/store/sqldb"
)

func approverKey(t *testing.T, name string) signed.Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	must(t, err)
	return signed.Key{Credential: []byte("credential of " + name), Person: sallyport.PrincipalID("user:" + name), Algorithm: -7, Public: public, Party: "localhost", Origin: "https://localhost"}
}

// kept is for entries whose record is not looked at.
func kept(signed.Entry) error { return nil }

// TestApprovers: of many that pin the first key one does; a chain that was seen and is gone, or is another, is refused.
func TestApprovers(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		var seen atomic.Pointer[approver.Seen]
		seen.Store(&approver.Seen{})
		service := func(db *sqldb.DB) *approver.Service {
			return &approver.Service{Store: db.Approver(), Clock: clock.Now, Recall: func() (approver.Seen, error) { return *seen.Load(), nil },
				Remember: func(s approver.Seen) error { seen.Store(&s); return nil }}
		}
		db := open()
		nodes := []*approver.Service{service(db), service(open())}
		if keys, err := nodes[0].Keys(t.Context()); err != nil || len(keys) != 0 {
			t.Fatalf("before anybody: %v, %v", keys, err)
		}
		keys := []signed.Key{approverKey(t, "ana"), approverKey(t, "bob"), approverKey(t, "eve"), approverKey(t, "joe")}
		if _, err := nodes[0].First(t.Context(), keys[0], func(signed.Entry) error { return sallyport.E("record", sallyport.Unavailable, "the disk is full", "") }); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("a first key that nobody wrote down: %v", err)
		}
		if got, err := nodes[1].Keys(t.Context()); err != nil || len(got) != 0 {
			t.Fatalf("it counts: %v, %v", got, err)
		}
		var first atomic.Int32
		before, err := db.Latest(t.Context())
		must(t, err)
		together(4, func(i int) {
			if _, err := nodes[i%2].First(t.Context(), keys[i], kept); err == nil {
				first.Add(1)
			} else if sallyport.KindOf(err) != sallyport.Conflict {
				t.Error(err)
			}
		})
		if first.Load() != 1 {
			t.Fatalf("%d first keys", first.Load())
		}
		wantChange(t, db, before, sqldb.Grant)
		got, err := nodes[1].Keys(t.Context())
		if err != nil || len(got) != 1 || !got[0].Since.Equal(clock.Now()) {
			t.Errorf("after it: %+v, %v", got, err)
		}
		if _, err := nodes[0].Keys(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := nodes[0].First(t.Context(), approverKey(t, "late"), kept); sallyport.KindOf(err) != sallyport.Conflict {
			t.Errorf("a second first key = %v", err)
		}
		other := service(open())
		was := *seen.Load()
		seen.Store(&approver.Seen{Entries: 1, Head: "another"})
		_, err = other.Keys(t.Context())
		wantKind(t, "another chain", err, sallyport.Conflict)
		seen.Store(&approver.Seen{Entries: 2, Head: was.Head})
		_, err = service(open()).Keys(t.Context())
		wantKind(t, "a shorter chain", err, sallyport.Conflict)
		seen.Store(&was)
		pinned := service(open())
		pinned.Pins = []signed.Key{approverKey(t, "config")}
		_, err = pinned.Keys(t.Context())
		wantKind(t, "a pinned first key where the configuration pins another", err, sallyport.Conflict)
	})
}
