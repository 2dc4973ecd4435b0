package storetest

import (
	"fmt"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/passkey"
	"sallyport/internal/store/sqldb"
)

func TestPasskey(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		a, b := open().Passkey(), open().Passkey()
		at := time.Date(2026, 11, 20, 9, 0, 0, 1000, time.UTC)
		handles := make(chan string, 8)
		wantOneWinner(t, func(i int) bool { // whoever comes first gives the handle, and all get the same
			fresh := []byte{byte(i + 1)}
			got, err := []passkey.Store{a, b}[i%2].Handle(t.Context(), "user:ana", fresh)
			handles <- fmt.Sprint(got)
			return err == nil && fmt.Sprint(got) == fmt.Sprint(fresh)
		})
		for one := <-handles; len(handles) > 0; {
			if other := <-handles; other != one {
				t.Errorf("handles %s and %s", one, other)
			}
		}

		p := passkey.Passkey{ID: "K-1", Hash: [32]byte{1}, Member: "user:ana", Label: "blue key", Model: "Key 5", AAGUID: "x", Attested: true, Created: at, Sealed: []byte{1, 2}, Version: 1}
		younger := passkey.Passkey{ID: "K-2", Hash: [32]byte{2}, Member: "user:ana", Backup: true, Created: at.Add(time.Second), Sealed: []byte{3}, Version: 1}
		for _, one := range []passkey.Passkey{younger, p} {
			if err := a.Insert(t.Context(), one); err != nil {
				t.Fatal(err)
			}
		}
		again := p
		again.ID, again.Member = "K-3", "user:bo"
		if err := b.Insert(t.Context(), again); sallyport.KindOf(err) != sallyport.Conflict {
			t.Errorf("one credential for two people = %v", err)
		}
		p.Label, p.Used, p.Locked, p.Why, p.Sealed, p.Version = "red key", at, at.Add(time.Minute), "cloned", []byte{9}, 2
		wantOneWinner(t, func(i int) bool { return []passkey.Store{a, b}[i%2].Update(t.Context(), p) == nil })
		want := func(q passkey.Query, all ...passkey.Passkey) {
			t.Helper()
			if got, err := b.Passkeys(t.Context(), q); err != nil || fmt.Sprint(got) != fmt.Sprint(all) {
				t.Errorf("%v = %v, %v; want %v", q, got, err, all)
			}
		}
		want(passkey.Query{Member: "user:ana"}, p, younger)
		want(passkey.Query{Member: "user:bo"})
		want(passkey.Query{Hash: &[32]byte{1}}, p)
		for _, q := range []passkey.Query{{}, {Member: "user:ana", Hash: &[32]byte{1}}} {
			if got, err := a.Passkeys(t.Context(), q); err == nil {
				t.Errorf("%v = %v, want an error", q, got)
			}
		}
		if err := a.Remove(t.Context(), "user:bo", "K-1"); sallyport.KindOf(err) != sallyport.NotFound {
			t.Errorf("bo removes ana's = %v", err)
		}
		wantOneWinner(t, func(i int) bool { return []passkey.Store{a, b}[i%2].Remove(t.Context(), "user:ana", "K-1") == nil })
		want(passkey.Query{Member: "user:ana"}, younger)
	})
}

func TestPasskeyCeremony(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		a, b := open().Passkey(), open().Passkey()
		at := time.Date(2026, 11, 20, 9, 0, 0, 1000, time.UTC)
		c := passkey.Ceremony{Hash: [32]byte{1}, Kind: passkey.StepUp, Member: "user:ana", Session: "S-1", Data: []byte(`{}`), Expires: at.Add(time.Minute)}
		old := passkey.Ceremony{Hash: [32]byte{2}, Kind: passkey.SignIn, Data: []byte{1}, Expires: at}
		for _, one := range []passkey.Ceremony{old, c} {
			if err := a.PutCeremony(t.Context(), one, at); err != nil {
				t.Fatal(err)
			}
		}
		wantOneWinner(t, func(i int) bool {
			got, err := []passkey.Store{a, b}[i%2].TakeCeremony(t.Context(), c.Hash)
			return err == nil && fmt.Sprint(got) == fmt.Sprint(c)
		})
		if err := a.PutCeremony(t.Context(), c, at); err != nil {
			t.Fatal(err)
		}
		if _, err := b.TakeCeremony(t.Context(), old.Hash); sallyport.KindOf(err) != sallyport.NotFound {
			t.Errorf("an expired ceremony is kept: %v", err)
		}
	})
}
