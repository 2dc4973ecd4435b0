package server_test

import (
	"strings"
	"testing"

	"sallyport/internal/store/storetest"
)

// TestServerOnPostgres: the same system, its records on the other engine.
func TestServerOnPostgres(t *testing.T) {
	c := config(t)
	c.Store = storetest.Postgres(t)
	s := start(t, c)
	link := s.FirstLink
	if code, body := get(t, trusting(t, s), s.External()+"/readyz"); code != 200 || !strings.Contains(link, "/enrol/") {
		t.Fatalf("%d %s, first link %q", code, body, link)
	}
	c.Listen = s.Addr()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = start(t, c)
	if s.FirstLink == "" || s.FirstLink == link {
		t.Errorf("nobody has enrolled, and the restart printed %q", s.FirstLink)
	}
	if code, body := get(t, trusting(t, s), s.External()+"/readyz"); code != 200 {
		t.Errorf("after a restart: %d %s", code, body)
	}
}
