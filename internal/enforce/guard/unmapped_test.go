package guard_test

import (
	"context"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/plumbing/secret"
)

// TestUnmappedAfterIdentify: a proof of possession counts once, also where a known caller's request ends as one that no
// route covers.
func TestUnmappedAfterIdentify(t *testing.T) {
	w := guardtest.New(t)
	asked, who := 0, w.Guard.Who
	w.Guard.Who = func(ctx context.Context, p guard.Proof, now time.Time) (sallyport.Principal, error) {
		asked++
		return who(ctx, p, now)
	}
	const audience = "https://gate.test/toy"
	c := guard.Call{Door: "toy", Proof: guard.Proof{Bearer: secret.NewText(guardtest.Token("ana", sallyport.MultiFactor, audience, "*")), Audience: audience}}
	if _, err := w.Guard.Identify(t.Context(), &c); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Guard.Unmapped(t.Context(), c, "POST", "/x"); err != nil {
		t.Fatal(err)
	}
	if e := w.Of(sallyport.EventUnmapped); asked != 1 || len(e) != 1 || e[0].Who != "user:ana" {
		t.Errorf("asked %d times, recorded %+v", asked, e)
	}
}
