package caller

import "testing"

// TestRecentIsBounded fills a memory many times over: what is used stays, and there is never more than two generations.
func TestRecentIsBounded(t *testing.T) {
	var r recent[int, int]
	for i := range 5 * mostRecent {
		r.put(i, i)
		if v, ok := r.get(0); !ok || v != 0 {
			t.Fatalf("after %d entries the one that is used is gone", i)
		}
		if n := len(r.young) + len(r.old); n > 2*mostRecent {
			t.Fatalf("%d entries are kept", n)
		}
	}
	if v, ok := r.get(5*mostRecent - mostRecent/2); !ok || v != 5*mostRecent-mostRecent/2 {
		t.Error("what was put of late is gone")
	}
	if _, ok := r.get(1); ok {
		t.Error("what nobody uses is never forgotten")
	}
}
