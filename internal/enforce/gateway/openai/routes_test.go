package openai

import (
	"testing"

	"sallyport/internal/enforce/gateway"
)

func TestI15EveryRouteIsClassified(t *testing.T) {
	routes, err := gateway.ParseRoutes(routesTable)
	if err != nil {
		t.Fatal(err)
	}
	c := routes.Cover("openai", upstreamTable)
	t.Logf("coverage: %+v", c)
	if len(c.Missing) > 0 {
		t.Errorf("%d routes of the upstream are not classified: %q", len(c.Missing), c.Missing)
	}
}
