package world_test

import (
	"strings"
	"testing"

	"sallyport/internal/authz/policy/world"
)

// AZ-9: a set that forgets that entering production concerns production is found, with a question that enters it. A
// promotion goes somewhere in every question of the world, and other actions go nowhere.
func TestAZ9ForgettingTheWayIntoProductionIsFound(t *testing.T) {
	src := acmePolicies(t)
	old := compiled(t, src)
	const way = ` || context.to == "production" }
unless {
  context.granted ||`
	if !strings.Contains(src.Policies["release.cedar"], way) {
		t.Fatal("acme's office hours are written otherwise")
	}
	src.Policies["release.cedar"] = strings.Replace(src.Policies["release.cedar"], way, strings.Replace(way, ` || context.to == "production"`, "", 1), 1)
	r, err := world.NoWider(t.Context(), old, compiled(t, src), filter(t, `action == model.promote and principal == User`), world.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	x := r.Example
	if x == nil || x.Context.To != "production" || x.Varied["context.to"] != "production" || !strings.Contains(x.Before, "production.office-hours") {
		t.Fatalf("after %d questions: %+v", r.Questions, x)
	}
	if r.Values["context.to"] != 3 {
		t.Errorf("%d targets in the world", r.Values["context.to"])
	}
	t.Logf("%d questions: %s on %s into %s, %s, was %s", r.Questions, x.Principal, x.Resource, x.Context.To, x.After, x.Before)
}
