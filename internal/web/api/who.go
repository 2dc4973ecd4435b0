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
	name := string(w.ID)
	if w.Display != "" && w.Display != w.ID.Name() {
		name += " (" + w.Display + ")"
	}
	return fmt.Sprintf("%s, proved by %s (%s), %s, until %s", name, cmp.Or(Methods(w.Methods), "nothing"), w.Assurance, device, when(w.Expires))
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

// Watched says until when the caller is on probation and under which limits weights and data leave meanwhile, "" where they
// are not.
func (w Who) Watched(when func(time.Time) string) string {
	if w.Probation.IsZero() {
		return ""
	}
	limits := make([]string, len(w.Limits))
	for i, o := range w.Limits {
		limits[i] = o.String()
	}
	return fmt.Sprintf("until %s: weights and data leave under %s", when(w.Probation), cmp.Or(strings.Join(limits, ", "), "tighter limits"))
}

// Nothing says why there is nothing in the catalog for the caller.
func (w Who) Nothing() string {
	if len(w.Roles)+len(w.Groups) == 0 {
		return "You have no rights yet. Ask an administrator for a role."
	}
	return "There is nothing in the catalog that you may see."
}

// Methods says the names of RFC 8176 in words: "password and one-time code".
func Methods(names []string) string {
	words := map[string]string{"pwd": "password", "otp": "one-time code", "fed": "identity provider", "swk": "passkey", "hwk": "hardware passkey"}
	var said []string
	for _, n := range names {
		if n != "mfa" && n != "user" { // that there are two shows, and that somebody was there goes without saying
			said = append(said, cmp.Or(words[n], n))
		}
	}
	said = slices.Compact(said)
	if last := len(said) - 1; last > 0 {
		return strings.Join(said[:last], ", ") + " and " + said[last]
	}
	return strings.Join(said, "")
}
