package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/store/sqldb"
)

func TestDirectory(t *testing.T) { Run(t, testDirectory) }

func testDirectory(t *testing.T, open func() *sqldb.DB) {
	a, b := open(), open()
	at := time.Date(2026, 11, 20, 9, 0, 0, 123456000, time.UTC)
	member := directory.Member{ID: "user:ana", Person: "user:ana", Org: "acme", Display: "Ana Núñez 日本", Email: "ana@acme.example", State: directory.Active,
		Identities: []directory.Identity{{Issuer: "z", Subject: "1"}, {Issuer: "a", Subject: "2"}}, Created: at, Updated: at,
		Purpose: "visits", Ends: at.Add(time.Hour), Guest: true, Sponsor: "user:bo", Source: "hr", External: "00u1"}
	if err := a.Directory().InsertMember(t.Context(), member); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Directory().Member(t.Context(), "user:ana"); err != nil || fmt.Sprint(got) != fmt.Sprint(member) {
		t.Errorf("the other node reads %v, %v; want %v", got, err, member)
	}
	wantChange(t, b, 0, sqldb.Directory)

	for _, again := range []directory.Member{{ID: "user:ana"}, {ID: "user:bo", Identities: member.Identities[1:]}} {
		again.Person, again.State, again.Created, again.Updated = again.ID, directory.Active, at, at
		if err := b.Directory().InsertMember(t.Context(), again); sallyport.KindOf(err) != sallyport.Conflict {
			t.Errorf("InsertMember(%v) = %v, want a conflict", again.ID, err)
		}
	}

	group := func(db *sqldb.DB, g directory.Group) error {
		return db.Directory().DefineGroup(t.Context(), func([]directory.Group) (directory.Group, error) { return g, nil })
	}
	for _, g := range []directory.Group{{Name: "acme/b", Guests: true, Source: "okta", External: "g-1"}, {Name: "acme/a", Parents: []string{"acme/b"}}, {Name: "acme/a"}} {
		if err := group(a, g); err != nil {
			t.Fatal(err)
		}
	}
	refusal := errors.New("not this one")
	err := a.Directory().UpdateMember(t.Context(), "user:ana", func(m *directory.Member, _ []directory.Group) error {
		m.Display = "changed"
		return refusal
	})
	if !errors.Is(err, refusal) {
		t.Errorf("UpdateMember = %v, want the error of change", err)
	}
	var wg sync.WaitGroup // two nodes change one member at once: neither change is lost
	for db, name := range map[*sqldb.DB]string{a: "acme/a", b: "acme/b"} {
		wg.Go(func() {
			err := db.Directory().UpdateMember(t.Context(), "user:ana", func(m *directory.Member, all []directory.Group) error {
				if len(all) != 2 {
					t.Errorf("change saw groups %v", all)
				}
				m.Groups = append(m.Groups, name)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	d, err := b.Directory().Dump(t.Context())
	if err != nil || len(d.Members) != 1 || fmt.Sprint(d.Members[0].Groups) != "[acme/a acme/b]" || d.Members[0].Display != member.Display {
		t.Errorf("Dump = %+v, %v", d, err)
	}
	if want := []directory.Group{{Name: "acme/a"}, {Name: "acme/b", Guests: true, Source: "okta", External: "g-1"}}; fmt.Sprint(d.Groups) != fmt.Sprint(want) {
		t.Errorf("groups %v, want %v", d.Groups, want)
	}
	changed := d.Members[0]
	changed.Person, changed.Purpose, changed.Ends, changed.Guest, changed.Sponsor = "user:eve", "stays", time.Time{}, false, ""
	changed.Source, changed.External, changed.State, changed.Updated = "", "", directory.Suspended, at.Add(time.Minute)
	err = a.Directory().UpdateMember(t.Context(), "user:ana", func(m *directory.Member, _ []directory.Group) error { *m = changed; return nil })
	if got, gerr := b.Directory().Member(t.Context(), "user:ana"); err != nil || gerr != nil || fmt.Sprint(got) != fmt.Sprint(changed) {
		t.Errorf("after an update of every field: %v, %v, %v; want %v", got, err, gerr, changed)
	}
	err = a.Directory().UpdateMember(t.Context(), "user:none", func(*directory.Member, []directory.Group) error { return nil })
	if sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("UpdateMember of nobody = %v, want not found", err)
	}
}

// wantChange looks for a kind in the feed after a number.
func wantChange(t *testing.T, db *sqldb.DB, after int64, kind sqldb.Kind) {
	t.Helper()
	changes, err := db.Since(t.Context(), after)
	for _, c := range changes {
		if c.Kind == kind {
			return
		}
	}
	t.Errorf("Since(%d) = %v, %v; want a change of kind %s", after, changes, err, kind)
}
