package client_test

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func TestParseServer(t *testing.T) {
	tests := []struct {
		raw       string
		plaintext bool
		want      string // "" = refused
	}{
		{"https://sally.example", false, "https://sally.example"},
		{"https://Sally.Example:7443/", false, "https://sally.example:7443"},
		{"http://127.0.0.1:80", true, "http://127.0.0.1:80"},
		{"http://[::1]:80", true, "http://[::1]:80"},
		{"http://localhost", true, "http://localhost"},
		{"http://127.0.0.1:80", false, ""},
		{"http://sally.example", true, ""},
		{"http://127.0.0.1.sally.example", true, ""},
		{"https://user:word@sally.example", false, ""},
		{"https://sally.example/path", false, ""},
		{"https://sally.example?x=1", false, ""},
		{"https://sally.example#x", false, ""},
		{"ftp://sally.example", true, ""},
		{"sally.example", false, ""},
		{"https://", false, ""},
		{"", false, ""},
	}
	for _, test := range tests {
		got, err := client.ParseServer(test.raw, test.plaintext)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("ParseServer(%q, %v) = %q, %v, want %q", test.raw, test.plaintext, got, err, test.want)
		}
	}
}

func TestAServerWithAnotherAuthorityIsNotTrusted(t *testing.T) {
	f := newFake(t)
	cfg := f.config(t)
	cfg.CAFile = ""
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Login(t.Context(), client.LoginOptions{Open: func(context.Context, string) error { t.Error("the browser was opened"); return nil }})
	wantExit(t, err, client.ExitUnreachable, "not trusted; name the server's own authority with --ca FILE")
}

func TestNoRedirectIsFollowed(t *testing.T) {
	f := newFake(t)
	c, _ := f.signedIn(t)
	f.mux.HandleFunc("GET /api/v1/log/head", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, f.URL+"/stolen", http.StatusFound)
	})
	f.mux.HandleFunc("GET /stolen", func(http.ResponseWriter, *http.Request) { t.Error("the token went elsewhere") })
	if _, err := c.Head(t.Context()); err == nil {
		t.Error("a redirect was taken for an answer")
	}
}

func TestLogFilesThatAreMissing(t *testing.T) {
	f := newFake(t)
	c, _ := f.signedIn(t)
	f.mux.HandleFunc("GET /log/checkpoint", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("a token was shown for a public file")
		}
		_, _ = w.Write([]byte("head"))
	})
	f.mux.HandleFunc("GET /log/tile/entries/", f.guarded("api", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "sallyport: the log has no such file", http.StatusNotFound)
	}))
	f.mux.HandleFunc("GET /log/tile/0/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "sallyport: the log cannot be read now", http.StatusServiceUnavailable)
	})
	if b, err := c.LogFile(t.Context(), "checkpoint"); err != nil || string(b) != "head" {
		t.Errorf("checkpoint: %q, %v", b, err)
	}
	if _, err := c.LogFile(t.Context(), "tile/entries/000"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	_, err := c.LogFile(t.Context(), "tile/0/000")
	wantExit(t, err, client.ExitUnreachable, "read log: the log cannot be read now")
}

// TestCallsNameTheResourceTheyArePermittedOn holds the paths and queries of what changes things.
func TestCallsNameTheResourceTheyArePermittedOn(t *testing.T) {
	f := newFake(t)
	c, _ := f.signedIn(t)
	var got string
	f.mux.HandleFunc("/api/v1/", f.guarded("api", func(w http.ResponseWriter, r *http.Request) {
		got = r.Method + " " + r.URL.RequestURI()
		reply(w, 200, struct{}{})
	}))
	ctx := t.Context()
	call := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	tests := []struct {
		do   func()
		want string
	}{
		{func() { call(c.Lock(ctx, api.Lock{Target: "user:ana"})) }, "POST /api/v1/holds"},
		{func() { call(c.Lock(ctx, api.Lock{Target: "family:f"})) }, "POST /api/v1/holds"},
		{func() { call(c.Lock(ctx, api.Lock{Target: "model:acme/fraud@v1"})) }, "POST /api/v1/holds?resource=acme%2Ffraud%40v1"},
		{func() { call(c.Lock(ctx, api.Lock{Target: "project:acme/risk"})) }, "POST /api/v1/holds?resource=project%3Aacme%2Frisk"},
		{func() { call(c.Unlock(ctx, "H-1/x", api.Lock{Target: "org:acme"})) }, "POST /api/v1/holds/H-1%2Fx/lift?resource=org%3Aacme"},
		{func() { call(c.Ask(ctx, api.Ask{Resource: "acme/fraud"})) }, "POST /api/v1/requests?resource=acme%2Ffraud"},
		{func() { call(c.Vote(ctx, api.Request{ID: "R-1", Resource: "system"}, true, "")) }, "POST /api/v1/requests/R-1/vote"},
		{func() { call(c.RevokeGrant(ctx, "G-1", "acme/fraud@v1")) }, "POST /api/v1/grants/G-1/revoke?resource=acme%2Ffraud%40v1"},
		{func() { call(c.Add(ctx, api.Thing{Resource: "org:acme"})) }, "POST /api/v1/catalog/orgs"},
		{func() { call(c.Add(ctx, api.Thing{Resource: "acme/m"})) }, "POST /api/v1/catalog/things?resource=org%3Aacme"},
		{func() { call(c.Add(ctx, api.Thing{Resource: "dataset:acme/d", Project: "acme/risk"})) }, "POST /api/v1/catalog/things?resource=project%3Aacme%2Frisk"},
		{func() { call(c.Label(ctx, api.Thing{Resource: "acme/m"})) }, "POST /api/v1/catalog/label?resource=acme%2Fm"},
		{func() { call(c.Enrol(ctx, "user:ana")) }, "POST /api/v1/people/user:ana/enrol"},
		{func() {
			call(c.Can(ctx, client.Can{Action: "model.pull", Resource: "acme/m", As: "user:bo", Assurance: sallyport.SingleFactor}))
		}, "GET /api/v1/can?action=model.pull&as=user%3Abo&assurance=aal1&resource=acme%2Fm"},
		{func() { call(c.LogoutEverywhere(ctx)) }, "POST /api/v1/logout?everywhere=true"},
	}
	for _, test := range tests {
		test.do()
		if got != test.want {
			t.Errorf("called %s, want %s", got, test.want)
		}
	}
}

// FuzzCheckPath holds what is accepted to what a pull needs: one reading, below the directory, on every system.
func FuzzCheckPath(f *testing.F) {
	for _, seed := range []string{"model.safetensors", "a/b.json", "../x", "/x", "a//b", "a/./b", "a\\b", "C:x", "nul", "com1.txt", "a.part", "a ", ".gitattributes", "\x00", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if client.CheckPath(p) != nil {
			return
		}
		if path.Clean(p) != p || path.IsAbs(p) || !filepath.IsLocal(p) || !fs.ValidPath(p) || strings.ContainsAny(p, "\\:\x00\n") || strings.HasSuffix(p, ".part") {
			t.Errorf("%q was accepted", p)
		}
	})
}
