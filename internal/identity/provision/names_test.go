package provision_test

import (
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/identity/provision"
)

func TestNames(t *testing.T) {
	s := provision.Source{Name: "okta", Organisation: "acme", Principal: "service:okta", Domains: []string{"acme.example"}}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]sallyport.PrincipalID{"Ana.Lima@ACME.example": "user:ana.lima", "ana": "user:ana", "ana@evil.example": "", "ana@": "", "@acme.example": "",
		"a b@acme.example": "", "änne@acme.example": "", "ana@x@acme.example": "", "": "", "service:ana": "", strings.Repeat("a", 64): ""} {
		got, err := s.Account(in)
		if got != want || (err == nil) != (want != "") || err != nil && sallyport.ReasonOf(err) != "invalidValue" {
			t.Errorf("Account(%q) = %q, %v", in, got, err)
		}
	}
	for in, want := range map[string]string{"Risk Team": "acme/risk-team", "  risk   TEAM ": "acme/risk-team", "a/b": "", "": "", "Équipe": ""} {
		got, err := s.Group(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("Group(%q) = %q, %v", in, got, err)
		}
	}
	for _, wrong := range []provision.Source{{}, {Name: "okta", Organisation: "acme"}, {Name: "okta", Organisation: "acme", Principal: "user:ana"}, {Name: "O", Organisation: "acme", Principal: "service:a"},
		{Name: "okta", Organisation: "acme", Principal: "service:a", Domains: []string{"Acme.example"}}, {Name: "okta", Organisation: "acme", Principal: "service:a", Domains: []string{""}}} {
		if wrong.Check() == nil {
			t.Errorf("%+v was accepted", wrong)
		}
	}
}
