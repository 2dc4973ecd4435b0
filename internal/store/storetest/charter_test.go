package storetest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/store/sqldb"
)

// TestCharters: who answers for what is kept as it is said; an asset has from its project what it does not name, and from
// its organisation what that does not; nothing is written where the change refuses.
func TestCharters(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		s := newCatalog(t, db, newTurnedClock())
		must(t, s.Put(t.Context(), catalog.Item{Endpoint: &catalog.Endpoint{Org: "acme", Name: "chat", Project: "risk"}}))
		fraud, project, org := sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "fraud"},
			sallyport.Ref{Kind: sallyport.ProjectKind, Org: "acme", Name: "risk"}, sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "acme"}
		set := func(ref sallyport.Ref, duty catalog.Duty, holders ...string) error {
			return s.SetDuties(t.Context(), ref, func(now map[catalog.Duty][]string) error {
				now[duty] = holders
				return nil
			})
		}
		before, err := db.Latest(t.Context())
		must(t, err)
		must(t, set(org, catalog.Owner, "user:oto"))
		wantChange(t, db, before, sqldb.Catalog)
		must(t, set(org, catalog.Approver, "user:rita"))
		must(t, set(project, catalog.Approver, "user:ravi", "group:acme/soc"))
		must(t, set(fraud, catalog.Monitor, "group:acme/soc"))
		read := func() *catalog.Index {
			t.Helper()
			d, err := s.Dump(t.Context())
			must(t, err)
			return catalog.NewIndex(d)
		}
		x := read()
		want := func(ref sallyport.Ref, duty catalog.Duty, from sallyport.Ref, holders ...string) {
			t.Helper()
			r, ok := x.Resolve(ref)
			got, by := x.Holders(r, duty)
			if diff := cmp.Diff(holders, got); !ok || by != from || diff != "" {
				t.Errorf("the %s of %s by %s, want %s (-want +got):\n%s", duty, ref, by, from, diff)
			}
		}
		chat := sallyport.Ref{Kind: sallyport.EndpointKind, Org: "acme", Name: "chat"}
		want(fraud, catalog.Owner, fraud, "user:ana", "service:bot")
		want(fraud, catalog.Monitor, fraud, "group:acme/soc")
		want(fraud, catalog.Approver, project, "user:ravi", "group:acme/soc")
		want(chat, catalog.Owner, org, "user:oto")
		want(chat, catalog.Responder, sallyport.Ref{})
		must(t, set(fraud, catalog.Owner, "user:eva"))
		must(t, set(fraud, catalog.Responder, "user:eva"))
		x = read()
		want(fraud, catalog.Owner, fraud, "user:eva")
		want(fraud, catalog.Monitor, fraud, "group:acme/soc")

		wantKind(t, "an owner that is a group", set(org, catalog.Owner, "group:acme/soc"), sallyport.Invalid)
		wantKind(t, "a model's owner that is a group", set(fraud, catalog.Owner, "group:acme/soc"), sallyport.Invalid)
		wantKind(t, "a holder without a kind", set(fraud, catalog.Monitor, "rita"), sallyport.Invalid)
		wantKind(t, "two holders in one", set(fraud, catalog.Monitor, "group:acme/soc user:rita"), sallyport.Invalid)
		wantKind(t, "a crowd", set(fraud, catalog.Monitor, make([]string, catalog.MaxOwners+1)...), sallyport.TooLarge)
		wantKind(t, "a version", set(sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "fraud", Revision: "main"}, catalog.Monitor, "user:rita"), sallyport.Invalid)
		wantKind(t, "nothing", set(sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "ghost"}, catalog.Monitor, "user:rita"), sallyport.NotFound)
		broken := errors.New("no")
		err = s.SetDuties(t.Context(), fraud, func(now map[catalog.Duty][]string) error {
			now[catalog.Monitor] = nil
			return broken
		})
		if x = read(); !errors.Is(err, broken) {
			t.Errorf("a change that refuses: %v", err)
		}
		want(fraud, catalog.Monitor, fraud, "group:acme/soc")
	})
}

// TestChargesAreRead: what waits for a successor to a duty is told from every other name.
func TestChargesAreRead(t *testing.T) {
	fraud := sallyport.Ref{Kind: sallyport.DatasetKind, Org: "acme", Name: "claims"}
	if duty, ref, ok := catalog.ParseCharge(catalog.Monitor.Charge(fraud)); !ok || duty != catalog.Monitor || ref != fraud {
		t.Errorf("read as %s of %s, %t", duty, ref, ok)
	}
	for _, name := range []string{"", "acme/fraud", "service:trainer", "dataset:acme/claims", "monitor:", "monitor:x", "reader:acme/fraud"} {
		if duty, ref, ok := catalog.ParseCharge(name); ok {
			t.Errorf("%q was read as %s of %s", name, duty, ref)
		}
	}
}
