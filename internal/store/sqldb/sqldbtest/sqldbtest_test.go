package sqldbtest_test

import (
	"path/filepath"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/store/sqldb/sqldbtest"
)

// Two databases are two: what is written to one is not in the other, and is there again when it is opened again.
func TestCopiesAreApart(t *testing.T) {
	dir := t.TempDir()
	groups := func(name string, define bool) error {
		db, err := sqldbtest.Open(t.Context(), filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		people := &directory.Service{Store: db.Directory(), Now: time.Now}
		if define {
			if err := people.DefineGroup(t.Context(), directory.Group{Name: "acme/all"}); err != nil {
				t.Fatal(err)
			}
		}
		_, err = people.Create(t.Context(), directory.Member{ID: "user:ana", Org: "acme", Groups: []string{"acme/all"}})
		return err
	}
	if err := groups("one", true); err != nil {
		t.Fatal(err)
	}
	if err := groups("two", false); err == nil {
		t.Error("a group of one database is in another")
	}
	if err := groups("one", false); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("opened again: %v, want ana to be there", err)
	}
}
