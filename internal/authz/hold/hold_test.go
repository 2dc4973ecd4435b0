package hold

import (
	"strings"
	"testing"

	"sallyport"
)

// FuzzCheckTarget: what is taken has one spelling, which reads back as the same thing.
func FuzzCheckTarget(f *testing.F) {
	for _, seed := range []string{"user:ana", "service:trainer", "agent:helper", "device:DV-1", "session:aB-9_", "family:x", "model:acme/fraud", "model:acme/fraud@v3",
		"model:acme/fraud@sha256:" + strings.Repeat("0", 64), "org:acme", "project:acme/risk", "user:a:b", "model:model:a/b", "org:a/b", "system", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if CheckTarget(s) != nil {
			return
		}
		for _, c := range s {
			if c <= ' ' || c > '~' {
				t.Errorf("%q is taken with %q in it", s, c)
			}
		}
		switch kind, rest, _ := strings.Cut(s, ":"); kind {
		case "user", "service", "agent":
			if id, err := sallyport.ParsePrincipalID(s); err != nil || string(id) != s {
				t.Errorf("%q reads as principal %q, %v", s, id, err)
			}
		case "session", "family", "device":
			if rest == "" || len(rest) > maxIDSize {
				t.Errorf("%q is taken", s)
			}
		default:
			if ref, err := sallyport.ParseRef(s); err != nil || OfRef(ref) != s {
				t.Errorf("%q reads as %v, %v", s, ref, err)
			}
		}
	})
}

func TestOfRef(t *testing.T) {
	for ref, want := range map[string]string{"acme/fraud": "model:acme/fraud", "acme/fraud@v3": "model:acme/fraud@v3", "org:acme": "org:acme", "dataset:acme/d": "dataset:acme/d"} {
		r, err := sallyport.ParseRef(ref)
		if got := OfRef(r); err != nil || got != want || CheckTarget(got) != nil {
			t.Errorf("OfRef(%s) = %q, %v, want %q", ref, got, err, want)
		}
	}
	if CheckTarget(OfRef(sallyport.Ref{Kind: sallyport.SystemKind})) == nil {
		t.Error("the whole system can be held, which would lock out whoever lifts")
	}
}
