package sqldbtest_test

import (
	"errors"
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

// A database with a breaker takes as many changes as it may, tells what they were, and takes more when it is mended.
func TestBreaker(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "b.db")
	db, err := sqldbtest.Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b, err := sqldbtest.NewBreaker(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	people := &directory.Service{Store: db.Directory(), Now: time.Now}
	define := func(name string) error { return people.DefineGroup(ctx, directory.Group{Name: name}) }
	if err := errors.Join(define("acme/one"), b.After(ctx, 0)); err != nil {
		t.Fatal(err)
	}
	if err := define("acme/two"); err == nil {
		t.Error("a group was defined without power")
	}
	if err := b.Step(ctx, "record"); !errors.Is(err, sqldbtest.ErrPower) {
		t.Errorf("a step without power: %v", err)
	}
	if err := b.After(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Step(ctx, "record"), b.Mend(ctx), define("acme/two")); err != nil {
		t.Error(err)
	}
	if steps, err := b.Steps(ctx); err != nil || len(steps) < 2 || steps[0] != "record" {
		t.Errorf("Steps = %v, %v", steps, err)
	}
}
