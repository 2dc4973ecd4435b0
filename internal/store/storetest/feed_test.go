package storetest

import (
	"testing"

	"sallyport"
	"sallyport/internal/store/sqldb"
)

func TestFeed(t *testing.T) { Run(t, testFeed) }

// testFeed looks at an empty feed from two nodes; the rooms' tests fill it.
func testFeed(t *testing.T, open func() *sqldb.DB) {
	a, b := open(), open()
	for _, db := range []*sqldb.DB{a, b} {
		if err := db.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
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
}

func TestClosedStoreIsUnavailable(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := db.Ping(t.Context()); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("Ping of a closed store = %v, want an error of kind unavailable", err)
		}
	})
}
