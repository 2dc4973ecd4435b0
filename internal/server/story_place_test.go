package server_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"sallyport"
	"sallyport/internal/audit/trail"
)

// atlas writes a file of places in which two networks of this computer lie on two sides of the world.
func atlas(t *testing.T, path string) {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "Test", Description: map[string]string{"en": "made by a test"}, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for network, at := range map[string]struct {
		country  string
		lat, lon float64
	}{"127.0.2.0/24": {"NO", 59.9, 10.7}, "127.0.3.0/24": {"AU", -33.9, 151.2}} {
		_, block, err := net.ParseCIDR(network)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(block, mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(at.country)},
			"location": mmdbtype.Map{"latitude": mmdbtype.Float64(at.lat), "longitude": mmdbtype.Float64(at.lon), "accuracy_radius": mmdbtype.Uint16(20)}}); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ID-7: a sign-in from the other side of the world, minutes after one here, is held at the page, whatever the proofs; one
// from here goes on; and days later the journey is possible. Addresses, files and pages are real: only the networks are
// this computer's own.
func TestID7FarPlacesOverHTTP(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux answers on all of 127.0.0.0/8")
	}
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	ana := r.As("ana").who
	file := filepath.Join(r.dir, "places.mmdb")
	atlas(t, file)
	r.restartWith(func() { r.config.Risk.Places = []string{file} })
	from := func(address string) {
		t.Helper()
		transport, ok := ana.web.Transport.(*tapped)
		if !ok {
			t.Fatalf("the transport is %T", ana.web.Transport)
		}
		transport.CloseIdleConnections()
		transport.DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext
	}
	signIn := func(ctx context.Context) page {
		t.Helper()
		at, err := ana.open(ctx, r.server.External()+"/login?again=1")
		if err == nil {
			at, err = ana.send(ctx, at, "/login", map[string]string{"username": "ana", "password": ana.password})
		}
		if err == nil && at.path == "/login/code" {
			var code string
			if code, err = ana.code(ctx); err == nil {
				at, err = ana.send(ctx, at, "/login/code", map[string]string{"code": code})
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		ana.noteCookies()
		return at
	}
	from("127.0.2.1")
	for range 3 {
		if at := signIn(ctx); at.path != landing {
			t.Fatalf("from here: %s (%d)", at.path, at.status)
		}
		r.Later(10 * time.Minute)
	}
	known := func() bool {
		seen, err := r.As("rita").who.client.Risk(ctx, "user:ana")
		return err == nil && seen.SignIns == 4 && strings.Contains(seen.From, "NO") // with the one of her enrolment
	}
	r.eventually("what is known of the sign-ins", known)

	from("127.0.3.1")
	at := signIn(ctx)
	if at.path != "/login" || at.status != http.StatusUnauthorized || !strings.Contains(at.text, "is held because it looks unusual") {
		t.Errorf("from the other side of the world: %s (%d)", at.path, at.status)
	}
	held, ok := r.found(func(e sallyport.Logged) bool {
		return e.Type == sallyport.EventSignInFailed && e.Who == "user:ana" && slices.Contains(e.Reasons, "risk.held")
	})
	if !ok || held.Asked == nil || held.Asked.IP != "127.0.3.0/24" {
		t.Errorf("in the log: %v, %+v", ok, held.Asked)
	}
	if _, ok := r.found(func(e sallyport.Logged) bool {
		return e.Type == sallyport.EventRiskChanged && e.Who == "user:ana" && e.Detail["what"] == "held"
	}); !ok {
		t.Error("what was held is not in the log, from which she is told")
	}
	// From here she is not held: at most she is asked for a stronger proof.
	from("127.0.2.1")
	if at := signIn(ctx); strings.Contains(at.text, "is held") || at.path == "/login" {
		t.Errorf("from here again: %s (%d)", at.path, at.status)
	}
}
