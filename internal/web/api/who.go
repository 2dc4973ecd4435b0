package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Sentence says who the caller is, by what they are proved and how strongly, from which device, and until when, as when
// writes a time.
func (w Who) Sentence(when func(time.Time) string) string {
	device := "from no enrolled device"
	if w.Device != "" {
		device = "from the device " + w.Device
	}
	return fmt.Sprintf("%s (%s), proved by %s (%s), %s, until %s", w.ID, cmp.Or(w.Display, w.ID.Name()), cmp.Or(Methods(w.Methods), "nothing"), w.Assurance, device, when(w.Expires))
}

// Held are the caller's roles, each with its scope and, where it has one, its end: "reader on project:acme/risk, until …".
func (w Who) Held(when func(time.Time) string) []string {
	held := make([]string, 0, len(w.Roles))
	for _, r := range w.Roles {
		text := r.Role + " on " + r.Scope
		if !r.Until.IsZero() {
			text += ", until " + when(r.Until)
		}
		held = append(held, text)
	}
	return held
}

// Methods says the names of RFC 8176 in words: "password and one-time code".
func Methods(names []string) string {
	words := map[string]string{"pwd": "password", "otp": "one-time code", "fed": "identity provider", "swk": "passkey", "hwk": "hardware passkey"}
	var said []string
	for _, n := range names {
		if n != "mfa" { // that there are two shows
			said = append(said, cmp.Or(words[n], n))
		}
	}
	return strings.Join(slices.Compact(said), " and ")
}
