package change_test

import (
	"strings"
	"testing"

	"sallyport"
)

// ID-12: a set under which services govern is not put in force, however it is written.
func TestServicesDoNotGovern(t *testing.T) {
	const forbid = "\n@id(\"no\") @owner(\"s\") @requirement(\"T\")\nforbid (principal is Service, action in Action::\"govern\", resource);"
	for text, refused := range map[string]bool{
		`permit (principal is Service, action, resource);`:                                                         true,
		`permit (principal, action, resource);`:                                                                    true,
		`permit (principal, action in Action::"govern", resource is System);`:                                      true,
		`permit (principal is Service, action == Action::"hold.place", resource) when { context.session };`:        true,
		`permit (principal, action, resource) unless { principal is User };`:                                       true,
		`permit (principal is Service, action, resource);` + forbid:                                                false,
		`permit (principal is User, action, resource);`:                                                            false,
		`permit (principal is Service, action == Action::"model.push", resource);`:                                 false,
		`permit (principal is Service, action == Action::"audit.read", resource);`:                                 false,
		`permit (principal in Role::"administrator", action, resource);`:                                           false,
		`permit (principal == Service::"siem", action in [Action::"audit.read", Action::"model.read"], resource);`: false,
	} {
		s, _ := service(t)
		src := set("")
		src.Policies = map[string]string{"a.cedar": "@id(\"x\") @owner(\"s\") @requirement(\"T\")\n" + text}
		_, err := s.Current(t.Context(), src)
		if refused && (sallyport.KindOf(err) != sallyport.Invalid || !strings.Contains(err.Error(), "services could")) || !refused && err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
