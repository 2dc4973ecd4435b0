package storetest

import (
	"testing"

	"sallyport"
	"sallyport/internal/govern/drift"
	"sallyport/internal/store/sqldb"
)

// TestDrift: one intention is kept, each behind the one before; who is behind replaces nothing.
func TestDrift(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s, other := open().Drift(), open().Drift()
		if k, err := s.Load(t.Context()); k.Number != 0 || k.Body != nil || err != nil {
			t.Fatalf("Load of nothing = %+v, %v", k, err)
		}
		must(t, s.Save(t.Context(), drift.Kept{Number: 1, Body: []byte("one")}))
		must(t, other.Save(t.Context(), drift.Kept{Number: 2, Body: []byte{0, 0xff}}))
		for _, n := range []int64{0, 1, 2, 4} {
			if err := s.Save(t.Context(), drift.Kept{Number: n, Body: []byte("late")}); sallyport.KindOf(err) != sallyport.Conflict {
				t.Errorf("Save of %d behind 2: %v", n, err)
			}
		}
		if k, err := s.Load(t.Context()); k.Number != 2 || string(k.Body) != "\x00\xff" || err != nil {
			t.Errorf("Load = %+v, %v", k, err)
		}
		if n, err := s.Next(t.Context()); n != 0 || err != nil {
			t.Errorf("Next = %d, %v", n, err)
		}
		must(t, s.Advance(t.Context(), 9))
		if n, err := other.Next(t.Context()); n != 9 || err != nil {
			t.Errorf("Next = %d, %v", n, err)
		}
	})
}
