package server_test

import (
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/server"
	"sallyport/verify"
)

// TestOddPathsAreRecorded: what no door has seen, because it has more than one
// reading, is refused and stands in the log all the same.
func TestOddPathsAreRecorded(t *testing.T) {
	s := start(t, config(t))
	c := trusting(t, s)
	for _, path := range []string{"/openai/", "/hf/a//b", "/hf/a;b/c", "/hf/%2e%2e/secrets", "/hf/a%00b"} {
		if code, body := get(t, c, s.External()+path); code != 400 {
			t.Errorf("GET %s: %d %s", path, code, body)
		}
	}
	n := 0
	if !soon(func() bool { // the tiles follow the journal
		n = strings.Count(leaves(t, s), `"t":"`+string(sallyport.EventUnmapped)+`"`)
		return n == 5
	}) {
		t.Fatalf("%d of 5 odd requests stand in the log", n)
	}
}

// leaves is the text of all entries of the log that a checkpoint covers.
func leaves(t *testing.T, s *server.Server) string {
	t.Helper()
	var all strings.Builder
	_, err := verify.Log(t.Context(), verify.Dir(s.LogDir()), s.LogKey(), verify.Options{Each: func(_ uint64, leaf []byte) error {
		all.Write(leaf)
		return nil
	}})
	if err != nil {
		return "" // no checkpoint yet
	}
	return all.String()
}
