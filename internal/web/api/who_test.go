package api_test

import (
	"testing"
	"time"

	"sallyport/internal/web/api"
)

// TestWho: one sentence, in words; what has no word of its own is said as it is.
func TestWho(t *testing.T) {
	when := func(t time.Time) string { return t.Format("15:04") }
	noon := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for want, w := range map[string]api.Who{
		"user:ana (Ana Lima), proved by password and one-time code (aal2), from no enrolled device, until 12:00": {ID: "user:ana", Display: "Ana Lima", Methods: []string{"pwd", "otp", "mfa"}, Assurance: "aal2", Expires: noon},
		"user:ana (ana), proved by hardware passkey (aal3), from the device DV-1, until 12:00":                   {ID: "user:ana", Methods: []string{"hwk"}, Assurance: "aal3", Device: "DV-1", Expires: noon},
		"service:ci (ci), proved by spiffe (aal1), from no enrolled device, until 12:00":                         {ID: "service:ci", Methods: []string{"spiffe"}, Assurance: "aal1", Expires: noon},
		"service:ci (ci), proved by nothing (none), from no enrolled device, until 12:00":                        {ID: "service:ci", Assurance: "none", Expires: noon},
	} {
		if got := w.Sentence(when); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	got := api.Who{Roles: []api.Assignment{{Role: "reader", Scope: "org:acme"}, {Role: "operator", Scope: "project:acme/risk", Until: noon}}}.Held(when)
	if len(got) != 2 || got[0] != "reader on org:acme" || got[1] != "operator on project:acme/risk, until 12:00" {
		t.Errorf("%q", got)
	}
}
