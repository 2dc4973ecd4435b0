package openai

import (
	"strings"
	"testing"

	"sallyport/internal/enforce/gateway"
)

// TestI15EveryRouteIsClassified: the table names every route of the upstreams, and
// says of each that it is served or why not.
func TestI15EveryRouteIsClassified(t *testing.T) {
	routes, err := gateway.ParseRoutes(routesTable)
	if err != nil {
		t.Fatal(err)
	}
	c := routes.Cover("openai", Upstream())
	t.Logf("upstream %d, mapped %d, denied %d, extra %d", c.Upstream, c.Mapped, c.Denied, c.Extra)
	if len(c.Missing) > 0 || c.Upstream < 390 {
		t.Errorf("of %d routes %d are not classified: %q", c.Upstream, len(c.Missing), c.Missing)
	}
	for _, r := range routes {
		path := r.Pattern
		for _, wild := range []string{"{", "}", "..."} {
			path = strings.ReplaceAll(path, wild, "-")
		}
		m, ok := routes.Match(r.Method, path)
		if !ok || m.Pattern != r.Pattern && !(m.Deny && r.Deny) {
			t.Errorf("%s %s is hidden behind %s", r.Method, r.Pattern, m.Pattern)
		}
		if !r.Deny && r.Name != "models" && r.Name != "model" && upstreamPath(r.Name) == "" {
			t.Errorf("%s %s has no handler", r.Method, r.Pattern)
		}
	}
}
