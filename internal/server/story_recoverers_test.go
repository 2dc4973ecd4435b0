package server_test

import (
	"testing"
	"time"

	"sallyport/internal/audit/trail"
)

// ID-4: people whom the operator named approve recoveries without administering anybody; two of them, who are neither the
// person nor who asks, and under whichever account.
func TestNamedRecoverers(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	rita := r.As("rita").who.client
	asked, err := rita.AskRecovery(ctx, "user:eva", "she lost her phone")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.As("tess").who.client.VouchRecovery(ctx, asked.ID); err == nil {
		t.Error("with nobody named, somebody approves")
	}
	r.restartWith(func() {
		r.config.Recovery.Recoverers = []string{"user:eva", "user:rita", "user:tess", "user:ana", "user:ana.admin"}
	})
	if _, err := r.As("oto").who.client.VouchRecovery(ctx, asked.ID); err == nil {
		t.Error("somebody who was not named approves")
	}
	if seen, err := r.As("oto").who.client.Vouchable(ctx); err != nil || len(seen) != 0 {
		t.Errorf("somebody who was not named sees %+v, %v", seen, err)
	}
	if seen, err := r.As("tess").who.client.Vouchable(ctx); err != nil || len(seen) != 1 || seen[0].ID != asked.ID {
		t.Errorf("tess sees %+v, %v", seen, err)
	}
	if _, err := r.As("tess").who.client.ApproveRecovery(ctx, asked.ID); err == nil {
		t.Error("who was named administers identities")
	}
	for who, why := range map[string]string{"rita": "who asks", "eva": "the person"} {
		if _, err := r.As(who).who.client.VouchRecovery(ctx, asked.ID); err == nil {
			t.Errorf("%s approves", why)
		}
	}
	if x, err := r.As("ana").who.client.VouchRecovery(ctx, asked.ID); err != nil || len(x.Approved) != 1 {
		t.Fatalf("%+v, %v", x, err)
	}
	for _, again := range []string{"ana", "ana.admin"} {
		if _, err := r.As(again).who.client.VouchRecovery(ctx, asked.ID); err == nil {
			t.Errorf("one person approves twice, as %s", again)
		}
	}
	x, err := r.As("tess").who.client.VouchRecovery(ctx, asked.ID)
	if err != nil || x.State != "approved" || x.Ready.Sub(r.clock.Now()) < 23*time.Hour {
		t.Fatalf("%+v, %v", x, err)
	}
	if _, err := r.As("tess").who.client.ClaimRecovery(ctx, asked.ID); err == nil {
		t.Error("who was named makes links")
	}
}
