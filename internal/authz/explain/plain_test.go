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

// TestBrief: without what it is done to, each action still has words of its own, and they are whole.
func TestBrief(t *testing.T) {
	for _, a := range sallyport.Actions() {
		text := explain.Brief(a)
		for _, end := range []string{" of", " on", " with", " for", " the", " off", " about", " onto"} {
			if strings.HasSuffix(text, end) || strings.Contains(text, "%") || strings.Contains(text, "  ") || text == "" {
				t.Errorf("%s is briefly %q", a, text)
			}
		}
	}
	for a, want := range map[sallyport.Action]string{sallyport.ModelPull: "download the weights", sallyport.ModelInfer: "use", sallyport.ModelRead: "read about it", sallyport.EndpointUse: "use the endpoint",
		sallyport.GrantApprove: "approve rights", sallyport.ModelIntrospect: "see how it is served", sallyport.DatasetExport: "hand the data to somebody outside", "model.dance": "do model.dance"} {
		if got := explain.Brief(a); got != want {
			t.Errorf("%s is briefly %q, want %q", a, got, want)
		}
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
