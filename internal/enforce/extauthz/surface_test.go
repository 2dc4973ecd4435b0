package extauthz

import (
	"slices"
	"testing"
)

// TestSurface: everything that Envoy's own descriptor says it can tell is read or passed over with a reason.
func TestSurface(t *testing.T) {
	s := Cover()
	if len(s.Missing) > 0 || s.Extra > 0 || s.Mapped == 0 || s.Asked != s.Mapped+s.Refused {
		t.Errorf("%+v, offered: %q", s, offered())
	}
	for _, name := range []string{"attributes.request.http.raw_body", "attributes.source.certificate", "gRPC envoy.service.auth.v3.Authorization.Check"} {
		if !slices.Contains(offered(), name) {
			t.Errorf("the descriptor names no %s: %q", name, offered())
		}
	}
}
