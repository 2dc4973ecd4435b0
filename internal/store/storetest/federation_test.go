package storetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/identity/federation"
	"sallyport/internal/store/sqldb"
)

func TestFederation(t *testing.T) { Run(t, testFederation) }

func testFederation(t *testing.T, open func() *sqldb.DB) {
	a, b := open().Federation(), open().Federation()
	at := time.Date(2026, 11, 20, 9, 0, 0, 1000, time.UTC)
	t.Run("flows", func(t *testing.T) { testFederationFlows(t, a, b, at) })
	t.Run("messages", func(t *testing.T) { testFederationOnce(t, a, b, at) })
}

func testFederationFlows(t *testing.T, a, b federation.Store, at time.Time) {
	person := &federation.Person{Provider: "corp", Issuer: "https://idp", Subject: "s", Groups: []string{"acme/x"}, Assurance: sallyport.MultiFactor, Methods: []string{"fed"}, AuthTime: at, Email: "ana@acme.example", Trusted: true}
	full := federation.Flow{Key: federation.Hash{1}, Provider: "corp", Request: "id-1", Finish: federation.Hash{2}, Return: "/x?y=z", Fresh: true, Proved: person,
		Member: "user:ana", Attempts: 3, Begun: at, Expires: at.Add(time.Minute)}
	bare := federation.Flow{Key: federation.Hash{3}, Provider: "corp", Begun: at, Expires: at.Add(time.Hour)}
	for _, f := range []federation.Flow{full, bare} {
		if err := a.PutFlow(t.Context(), f, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.PutFlow(t.Context(), bare, at); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("a second flow under one key: %v", err)
	}
	got, err := b.TakeFlow(t.Context(), full.Key)
	if d := cmp.Diff(full, got); err != nil || d != "" {
		t.Errorf("TakeFlow: %v\n%s", err, d)
	}
	if _, err := a.TakeFlow(t.Context(), full.Key); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("taken twice: %v", err)
	}
	wantOneWinner(t, func(i int) bool {
		f, err := []federation.Store{a, b}[i%2].TakeFlow(t.Context(), bare.Key)
		return err == nil && f.Provider == "corp"
	})
	old := federation.Flow{Key: federation.Hash{4}, Provider: "corp", Begun: at, Expires: at.Add(time.Minute)}
	fresh := federation.Flow{Key: federation.Hash{5}, Provider: "corp", Begun: at, Expires: at.Add(time.Hour)}
	if err := a.PutFlow(t.Context(), old, at); err != nil {
		t.Fatal(err)
	}
	if err := a.PutFlow(t.Context(), fresh, old.Expires); err != nil {
		t.Fatal(err)
	}
	if _, err := a.TakeFlow(t.Context(), old.Key); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("an expired flow is still there: %v", err)
	}
}

func testFederationOnce(t *testing.T, a, b federation.Store, at time.Time) {
	once := func(s federation.Store, provider, id string, now time.Time) error {
		return s.Once(t.Context(), provider, id, at.Add(time.Minute), now)
	}
	if err := once(a, "corp", "m1", at); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		provider, id string
		at           time.Time
		want         bool
	}{{"corp", "m1", at, true}, {"corp", "m1", at.Add(time.Minute), false}, {"other", "m1", at, false}, {"corp", "m", at, false}} {
		if used, err := b.Used(t.Context(), x.provider, x.id, x.at); err != nil || used != x.want {
			t.Errorf("%s %s was used: %v, %v", x.provider, x.id, used, err)
		}
	}
	if err := once(b, "corp", "m1", at.Add(time.Second)); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("a message twice: %v", err)
	}
	for _, other := range [][2]string{{"other", "m1"}, {"corp", "m2"}} {
		if err := once(b, other[0], other[1], at); err != nil {
			t.Errorf("%v: %v", other, err)
		}
	}
	wantOneWinner(t, func(i int) bool { return once([]federation.Store{a, b}[i%2], "corp", "race", at) == nil })
	if err := once(a, "corp", "m1", at.Add(time.Minute)); err != nil {
		t.Errorf("after its end a message is forgotten: %v", err)
	}
}
