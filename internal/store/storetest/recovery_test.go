package storetest

import (
	"fmt"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/recovery"
	"sallyport/internal/store/sqldb"
)

func TestRecovery(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		a, b := open().Recovery(), open().Recovery()
		at := time.Date(2026, 11, 20, 9, 0, 0, 1000, time.UTC)
		if err := a.ReplaceCodes(t.Context(), "user:ana", [][32]byte{{1}, {2}, {3}}, at); err != nil {
			t.Fatal(err)
		}
		wantOneWinner(t, func(i int) bool {
			good, err := []recovery.Store{a, b}[i%2].UseCode(t.Context(), "user:ana", [32]byte{2})
			return err == nil && good
		})
		if good, err := b.UseCode(t.Context(), "user:bo", [32]byte{1}); good || err != nil {
			t.Errorf("ana's code for bo = %v, %v", good, err)
		}
		if n, err := b.CodesLeft(t.Context(), "user:ana"); n != 2 || err != nil {
			t.Errorf("%d left, %v", n, err)
		}
		if err := b.ReplaceCodes(t.Context(), "user:ana", [][32]byte{{4}}, at); err != nil {
			t.Fatal(err)
		}
		if good, err := a.UseCode(t.Context(), "user:ana", [32]byte{1}); good || err != nil {
			t.Errorf("a code that was replaced = %v, %v", good, err)
		}

		r := recovery.Request{ID: "R-1", Member: "user:ana", Asker: "user:bo", Why: "lost", State: recovery.Asked, Asked: at, Ends: at.Add(time.Hour), Version: 1}
		if err := a.InsertRequest(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		r.State, r.Ready, r.Votes, r.Closed, r.Version = recovery.Approved, at.Add(time.Minute), []sallyport.PrincipalID{"user:eve", "user:dan"}, "user:eve", 2
		wantOneWinner(t, func(i int) bool { return []recovery.Store{a, b}[i%2].UpdateRequest(t.Context(), r) == nil })
		for _, q := range []recovery.Query{{ID: "R-1"}, {Member: "user:ana"}, {Since: at}} {
			if got, err := b.Requests(t.Context(), q); err != nil || len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(r) {
				t.Errorf("%+v = %+v, %v; want %+v", q, got, err, r)
			}
		}
		for _, q := range []recovery.Query{{ID: "R-2"}, {Member: "user:bo"}, {Since: at.Add(time.Hour)}} {
			if got, err := b.Requests(t.Context(), q); err != nil || len(got) != 0 {
				t.Errorf("%+v = %+v, %v; want none", q, got, err)
			}
		}
		for _, q := range []recovery.Query{{}, {ID: "R-1", Member: "user:ana"}} {
			if got, err := b.Requests(t.Context(), q); err == nil {
				t.Errorf("%+v = %+v, want an error", q, got)
			}
		}
	})
}
