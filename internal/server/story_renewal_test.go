package server_test

import (
	"slices"
	"testing"
	"time"

	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

// TK-6: the server says when a login ends, use does not move that, and the command line knows it two minutes before.
func TestTK6LoginKnowsItsEnd(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	ana := r.As("ana").who
	wire, err := r.system.wire()
	if err != nil {
		t.Fatal(err)
	}
	ana.store = &client.Store{Dir: t.TempDir(), Clock: r.clock.Now}
	if ana.client, err = client.New(client.Config{Server: r.server.External(), HTTP: wire, Store: ana.store}); err != nil {
		t.Fatal(err)
	}
	if err := ana.login(ctx); err != nil {
		t.Fatal(err)
	}
	kept := func() client.Login {
		t.Helper()
		l, err := ana.store.Current()
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	ends := kept().Ends
	list, err := ana.client.Sessions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(s api.Session) bool { return s.Current && s.Kind != "browser" })
	if i < 0 || ends.Sub(list[i].Expires).Abs() > patience {
		t.Fatalf("it is said to end at %v; the server lists %+v", ends, list)
	}
	r.Later(2 * time.Hour) // its tokens are over: it is refreshed, which puts nothing off
	if _, err := ana.client.Who(ctx); err != nil {
		t.Fatal(err)
	}
	if d := kept().Ends.Sub(ends).Abs(); d > patience {
		t.Errorf("use moved the end by %v", d)
	}
	for before, want := range map[time.Duration]bool{3 * time.Minute: false, 100 * time.Second: true, 0: false} {
		if got := kept().Ending(kept().Ends.Add(-before)); got != want {
			t.Errorf("%v before its end: ending %v", before, got)
		}
	}
}
