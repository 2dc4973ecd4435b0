package token_test

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/clients"
)

func decode(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestA08 compares redirect addresses: the port of a loopback address is free, nothing else is.
func TestA08(t *testing.T) {
	w := newWorld(t)
	cli, narrow := w.by("sallyport-cli").Client, w.by("narrow").Client
	for _, good := range []string{"http://127.0.0.1:1/callback", "http://127.0.0.1:65535/callback", "http://[::1]:4242/callback"} {
		if !cli.AllowsRedirect(good) {
			t.Errorf("%q is refused", good)
		}
	}
	if !narrow.AllowsRedirect("https://client.example/callback") {
		t.Error("the registered address is refused")
	}
	for _, bad := range []string{
		"", "http://127.0.0.1/callback", "http://127.0.0.1:/callback", "http://127.0.0.1:0/callback", "http://127.0.0.1:65536/callback", "http://127.0.0.1:080/callback",
		"http://127.0.0.1:+80/callback", "http://127.0.0.1:80/callback/", "http://127.0.0.1:80/callback/x", "http://127.0.0.1:80/Callback", "http://127.0.0.1:80//callback",
		"http://127.0.0.1:80/callback?x=1", "http://127.0.0.1:80/callback#x", "http://127.0.0.1:80/%63allback", "http://127.0.0.1:80/./callback", "http://127.0.0.1:80/x/../callback",
		"http://127.0.0.1:80@evil.example/callback", "http://evil@127.0.0.1:80/callback", "http://127.0.0.1.evil.example:80/callback", "http://127.0.0.1.:80/callback",
		"http://127.1:80/callback", "http://127.0.0.2:80/callback", "http://localhost:80/callback", "http://0x7f000001:80/callback", "https://127.0.0.1:80/callback", "HTTP://127.0.0.1:80/callback",
		"http://[::1%25lo]:80/callback", "http://[0:0:0:0:0:0:0:1]:80/callback", "http://[::ffff:127.0.0.1]:80/callback", "http://127.0.0.1:80\\callback", " http://127.0.0.1:80/callback", "http://127.0.0.1:80/callback\n",
		"https://client.example/callback/", "https://client.example/callbac", "https://client.example/callback2", "https://CLIENT.example/callback", "https://client.example./callback", "https://client.example:443/callback",
		"https://evilclient.example/callback", "https://client.example.evil.example/callback", "https://user@client.example/callback", "https://client.example/callback?x", "https://client.example/callback#", "https://client.example/%63allback",
		"http://client.example/callback", "//client.example/callback", "javascript:alert(1)",
	} {
		if cli.AllowsRedirect(bad) || narrow.AllowsRedirect(bad) {
			t.Errorf("%q is allowed", bad)
		}
	}
}

// TestResolve asks a client for more than it is registered for (OA14), and for nothing.
func TestResolve(t *testing.T) {
	w := newWorld(t)
	cli, narrow := w.by("sallyport-cli").Client, w.by("narrow").Client
	scope, audiences, err := narrow.Resolve(nil, nil, false)
	if err != nil || scope.String() != "model.infer" || !slices.Equal(audiences, []string{hub}) {
		t.Errorf("the default = %v, %v, %v", scope, audiences, err)
	}
	_, _, err = cli.Resolve(nil, nil, false)
	wantReason(t, "no scope and no default", err, "invalid_scope")
	_, _, err = narrow.Resolve(sallyport.Scope{"model.pull"}, nil, false)
	wantReason(t, "another scope", err, "invalid_scope")
	_, _, err = narrow.Resolve(nil, []string{api}, false)
	wantReason(t, "another resource", err, "invalid_target")
	_, audiences, err = cli.Resolve(sallyport.Scope{"*"}, []string{hub, api, hub}, false)
	if err != nil || !slices.Equal(audiences, []string{api, hub}) {
		t.Errorf("two resources = %v, %v, want the default first", audiences, err)
	}
}

func TestNewRegistryRefuses(t *testing.T) {
	for name, change := range map[string]func(*clients.Client){
		"name of a user": func(c *clients.Client) { c.ID = "user:ana" }, "no name": func(c *clients.Client) { c.Name = "" }, "plain http": func(c *clients.Client) { c.RedirectURIs = []string{"http://a.example/"} },
		"fragment": func(c *clients.Client) { c.RedirectURIs = []string{"https://a.example/#x"} }, "wildcard": func(c *clients.Client) { c.RedirectURIs = []string{"https://*.example/"} },
		"user": func(c *clients.Client) { c.RedirectURIs = []string{"https://u@a.example/"} }, "loopback pattern": func(c *clients.Client) { c.LoopbackRedirect = "/*" },
		"loopback without slash": func(c *clients.Client) { c.LoopbackRedirect = "callback" }, "no audiences": func(c *clients.Client) { c.Audiences = nil },
		"no grants": func(c *clients.Client) { c.Grants = nil }, "default too wide": func(c *clients.Client) { c.Scopes, c.Default = sallyport.Scope{"model.infer"}, sallyport.Scope{"*"} },
	} {
		c := token.CommandLine(external)
		change(&c)
		if _, err := clients.New(nil, nil, c); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	if _, err := clients.New(nil, nil, token.CommandLine(external), token.CommandLine(external)); err == nil {
		t.Error("one id twice is accepted")
	}
}

// TestRefreshNeverWidens narrows approved scopes at random: what comes out lies within what went in.
func TestRefreshNeverWidens(t *testing.T) {
	w := newWorld(t)
	issued := w.login()
	items := rapid.SampledFrom([]string{"model.infer", "model.infer@acme/fraud", "model.*", "*", "model.read", "model.pull", "dataset.*"})
	rapid.Check(t, func(t *rapid.T) {
		asked := sallyport.Scope(rapid.SliceOfN(items, 1, 4).Draw(t, "scope"))
		next, err := w.issuer.Refresh(w.t.Context(), w.by("sallyport-cli"), issued.Refresh, token.Want{Scope: asked})
		if err != nil {
			if sallyport.ReasonOf(err) != "invalid_scope" {
				t.Fatalf("%v: %v", asked, err)
			}
			return
		}
		issued.Refresh = next.Refresh
		if !next.Scope.Within(sallyport.Scope{"model.infer", "model.read"}) || strings.Contains(next.Scope.String(), "*") {
			t.Fatalf("%v became %v", asked, next.Scope)
		}
	})
}
