package explain_test

import (
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/explain"
)

// TestEveryActionIsSaidInPlainWords: each action has words of its own, and the thing stands in them.
func TestEveryActionIsSaidInPlainWords(t *testing.T) {
	said := map[string]sallyport.Action{}
	for _, a := range sallyport.Actions() {
		text := explain.Doing(a, "acme/%s") // a name that looks like a place for one
		if strings.Contains(text, string(a)) || strings.Count(text, "acme/%s") != 1 || strings.Contains(text, "!") {
			t.Errorf("%s is said as %q", a, text)
		}
		if other, twice := said[text]; twice {
			t.Errorf("%s and %s are both %q", a, other, text)
		}
		said[text] = a
	}
	if got := explain.Doing("model.dance", "acme/fraud"); got != "do model.dance on acme/fraud" {
		t.Errorf("an action of tomorrow: %q", got)
	}
}

func TestLasting(t *testing.T) {
	for d, want := range map[time.Duration]string{5 * time.Minute: "5 minutes", time.Hour: "1 hour", 90 * time.Minute: "1 hour 30 minutes", 48 * time.Hour: "2 days", 25*time.Hour + time.Second: "1 day 1 hour 1 second",
		0: "no time", -time.Second: "no time"} {
		if got := explain.Lasting(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
