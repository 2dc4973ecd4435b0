package main

import (
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/web/api"
)

// TestWhatPagesSayToTypeIsThere: every command that a page names for something permitted is a verb with such arguments and
// flags.
func TestWhatPagesSayToTypeIsThere(t *testing.T) {
	said := 0
	for _, a := range sallyport.Actions() {
		line := api.Command(a, "acme/fraud@v3")
		if line == "" {
			continue
		}
		said++
		words := strings.Fields(line)
		if words[0] != "sallyport" {
			t.Errorf("%s: %q", a, line)
			continue
		}
		c, rest, err := (&app{}).root().Find(words[1:])
		if err == nil && !c.Runnable() {
			t.Errorf("%s: %q is no verb", a, line)
		}
		if err == nil {
			err = c.ParseFlags(rest)
		}
		if err == nil {
			err = c.ValidateArgs(c.Flags().Args())
		}
		if err != nil {
			t.Errorf("%s: %q: %v", a, line, err)
		}
	}
	if said < 8 {
		t.Errorf("%d commands are named", said)
	}
}
