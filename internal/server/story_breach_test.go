package server_test

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/identity/blocklist"
	"sallyport/internal/web/api"
)

// ID-7: a password that came onto the list of breached ones is a reason in the risk of whoever still uses it, and opens
// nothing but the page where they choose another.
func TestID7BreachedPassword(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	ana := r.As("ana").who
	list := filepath.Join(r.dir, "blocklist.bin")
	var built bytes.Buffer
	if _, err := blocklist.Build(&built, bytes.NewReader(fmt.Appendf(nil, "%X:7\n", sha1.Sum([]byte(ana.password))))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list, built.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	r.restartWith(func() { r.config.Blocklist = list })
	external := r.server.External()
	if _, err := ana.open(ctx, external+"/logout"); err != nil {
		t.Fatal(err)
	}
	at, err := ana.open(ctx, external+"/login?again=1")
	if err != nil {
		t.Fatal(err)
	}
	if at, err = ana.signIn(ctx, at); err != nil || at.path != "/login/renew" {
		t.Fatalf("the sign-in ended on %s, %v", at.path, err)
	}
	if got, err := ana.send(ctx, at, "/login/renew", map[string]string{"password": ana.password, "again": ana.password}); err != nil || got.status != http.StatusBadRequest {
		t.Errorf("the same password again: %d, %v", got.status, err)
	}
	fresh := r.canaries.add("fresh password of ana")
	if at, err = ana.send(ctx, at, "/login/renew", map[string]string{"password": fresh, "again": fresh}); err != nil || at.path != landing {
		t.Fatalf("the change ended on %s (%d), %v", at.path, at.status, err)
	}
	ana.password = fresh
	ana.noteCookies()
	r.eventually("the end of what the known password began", func() bool { _, err := ana.client.Who(ctx); return err != nil })
	if err := ana.login(ctx); err != nil {
		t.Fatal(err)
	}
	known := func(f api.Factor) bool { return f.Kind == "breached-password" && f.Weight > 0 }
	r.eventually("the reason in what is said of her risk", func() bool {
		seen, err := ana.client.MyRisk(ctx)
		return err == nil && slices.ContainsFunc(seen.Sessions, func(s api.SessionRisk) bool { return slices.ContainsFunc(s.Factors, known) })
	})
	if _, ok := r.found(func(e sallyport.Logged) bool {
		return e.Type == sallyport.EventFactorChanged && e.Who == "user:ana" && e.Detail["why"] == "password.breached"
	}); !ok {
		t.Error("the change is not in the log with its reason")
	}
	// Signed in again, she is asked for nothing more.
	r.Later(time.Minute)
	if at, err = ana.open(ctx, external+"/login?again=1"); err == nil {
		at, err = ana.signIn(ctx, at)
	}
	if err != nil || at.path != landing {
		t.Errorf("the next sign-in ended on %s, %v", at.path, err)
	}
}
