package admin

import (
	"testing"

	"sallyport"
)

// TestNobodyIsNamedByTheirDisplayNameAlone: what people are told apart by stands in every name.
func TestNobodyIsNamedByTheirDisplayNameAlone(t *testing.T) {
	for _, x := range []struct {
		id            sallyport.PrincipalID
		display, want string
	}{
		{"user:ana", "Ana Alvarez", "Ana Alvarez (ana)"}, {"user:ana", "", "ana"}, {"user:ana", "Ana", "ana"},
		{"user:eva", "Ana Alvarez", "Ana Alvarez (eva)"}, {"service:nightly", "Nightly evaluation", "Nightly evaluation (service:nightly)"},
		{"service:ana", "ana", "service:ana"},
	} {
		if got := nameFor(x.id, x.display); got != x.want {
			t.Errorf("%s, %q, is named %q, want %q", x.id, x.display, got, x.want)
		}
	}
}
