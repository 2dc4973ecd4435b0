package sallyport_test

import (
	"testing"

	"sallyport"
)

// TestQuorums: who must approve has one spelling, and never nobody.
func TestQuorums(t *testing.T) {
	for text, good := range map[string]bool{
		"1 of owners": true, "2 of group:acme/risk, 1 of owners": true, "16 of owners": true,
		"": false, "0 of owners": false, "-1 of owners": false, "01 of owners": false, "+1 of owners": false, "1 of": false, "1 of everybody": false,
		"17 of owners": false, "9 of owners, 8 of group:acme/a": false, "1 of owners, 1 of owners": false, "1 of group:acme": false, "1 of group:acme/": false,
		"1 of group:acme/a/b": false, "1 of user:ana": false, "1 of owners,": false, "owners": false, "99999999999999999999 of owners": false, "1 of role:x": false,
	} {
		all, err := sallyport.ParseQuorums(text)
		if (err == nil) != good {
			t.Errorf("%q = %v, %v, want good %v", text, all, err, good)
		}
		if err == nil && sallyport.JoinQuorums(all) != text {
			t.Errorf("%q is written %q", text, sallyport.JoinQuorums(all))
		}
	}
}

func FuzzParseQuorums(f *testing.F) {
	for _, s := range []string{"1 of owners", "2 of group:acme/risk, 1 of owners", "0 of owners", ", ", "1 of group:a/b,1 of group:a/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		all, err := sallyport.ParseQuorums(s)
		if err != nil {
			return
		}
		if n := sallyport.Approvals(all); n < 1 || n > sallyport.MaxApprovals {
			t.Errorf("%q asks %d people", s, n)
		}
		if again, err := sallyport.ParseQuorums(sallyport.JoinQuorums(all)); err != nil || len(again) != len(all) {
			t.Errorf("%q does not come back: %v, %v", s, again, err)
		}
	})
}
