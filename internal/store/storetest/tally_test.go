package storetest

import (
	"testing"

	"sallyport/internal/store/sqldb"
)

// TestTally: what was kept last is found again, and nobody who is behind replaces it.
func TestTally(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := open().Tally()
		if body, next, err := s.Load(t.Context()); body != nil || next != 0 || err != nil {
			t.Fatalf("Load of nothing = %q, %d, %v", body, next, err)
		}
		must(t, s.Save(t.Context(), []byte("one"), 7))
		must(t, s.Save(t.Context(), []byte("two"), 9))
		must(t, s.Save(t.Context(), []byte("late"), 8))
		if body, next, err := s.Load(t.Context()); string(body) != "two" || next != 9 || err != nil {
			t.Errorf("Load = %q, %d, %v", body, next, err)
		}
	})
}
