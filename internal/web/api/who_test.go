package api_test

import (
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/web/api"
)

// TestWho: one sentence, in words; what has no word of its own is said as it is.
func TestWho(t *testing.T) {
	when := func(t time.Time) string { return t.Format("15:04") }
	noon := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for want, w := range map[string]api.Who{
		"user:ana (Ana Lima), proved by password and one-time code (aal2), from no enrolled device, until 12:00":     {ID: "user:ana", Display: "Ana Lima", Methods: []string{"pwd", "otp", "mfa"}, Assurance: "aal2", Expires: noon},
		"user:ana, proved by password, one-time code and hardware passkey (aal3), from the device DV-1, until 12:00": {ID: "user:ana", Display: "ana", Methods: []string{"pwd", "otp", "hwk", "user"}, Assurance: "aal3", Device: "DV-1", Expires: noon},
		"service:ci, proved by spiffe (aal1), from no enrolled device, until 12:00":                                  {ID: "service:ci", Methods: []string{"spiffe"}, Assurance: "aal1", Expires: noon},
		"service:ci, proved by nothing (none), from no enrolled device, until 12:00":                                 {ID: "service:ci", Assurance: "none", Expires: noon},
	} {
		if got := w.Sentence(when); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := (api.Who{}).Watched(when); got != "" {
		t.Errorf("on no probation: %q", got)
	}
	if got := (api.Who{Probation: noon, Limits: []sallyport.Obligation{{Kind: sallyport.LimitBytes, Value: 5}}}).Watched(when); got != "until 12:00: weights and data leave under "+string(sallyport.LimitBytes)+"=5" {
		t.Errorf("on probation: %q", got)
	}
	if (api.Who{}).Nothing() == (api.Who{Groups: []string{"acme/staff"}}).Nothing() {
		t.Error("who has a group is told to ask for a role")
	}
	got := api.Who{Roles: []api.Assignment{{Role: "reader", Scope: "org:acme"}, {Role: "operator", Scope: "project:acme/risk", Until: noon}}}.Held(when)
	if len(got) != 2 || got[0] != "reader on org:acme" || got[1] != "operator on project:acme/risk, until 12:00" {
		t.Errorf("%q", got)
	}
}
