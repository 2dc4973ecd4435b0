package page_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"sallyport/internal/web/page"
)

func dir(text string) fstest.MapFS { return fstest.MapFS{"pages/one.html": {Data: []byte(text)}} }

const good = `{{define "title"}}{{.Title}}{{end}}{{define "main"}}<p>{{.Text}}</p>{{end}}`

type data struct{ Title, Text string }

func TestWrite(t *testing.T) {
	set, err := page.New(dir(good), "http://127.0.0.1:*", "https://app.example")
	if err != nil {
		t.Fatal(err)
	}
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
	if err := set.Write(w, r, 418, "one", page.View{Who: "<ana>", Data: data{"<b>", "<script>"}}); err != nil {
		t.Fatal(err)
	}
	text, h := w.Body.String(), w.Header()
	for _, want := range []string{"<title>&lt;b&gt; · Sallyport</title>", "<p>&lt;script&gt;</p>", `id="who">&lt;ana&gt;<`, "<!doctype html>", `lang="en"`, "width=device-width"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	const policy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' http://127.0.0.1:* https://app.example"
	if w.Code != 418 || h.Get("Content-Security-Policy") != policy || h.Get("Content-Type") != "text/html; charset=utf-8" || h.Get("Strict-Transport-Security") != "" {
		t.Errorf("%d %v", w.Code, h)
	}
	r.TLS = &tls.ConnectionState{}
	page.Headers(w, r)
	if h.Get("Strict-Transport-Security") == "" {
		t.Error("no HSTS over TLS")
	}
	other := httptest.NewRecorder()
	for name, bad := range map[string]any{"none": data{}, "one": struct{ Title string }{}} {
		if err := set.Write(other, r, 200, name, page.View{Data: bad}); err == nil || other.Body.Len() != 0 {
			t.Errorf("page %s: %v after %d bytes, want an error and nothing sent", name, err, other.Body.Len())
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, source := range []string{"", "*", "https:", "'unsafe-inline'", "https://a;script-src *", "https://*", "https://a b", "javascript:alert", "https://a/path", "https://a:*x"} {
		if _, err := page.New(dir(good), source); err == nil {
			t.Errorf("a form may lead to %q", source)
		}
	}
	for name, files := range map[string]fstest.MapFS{"nothing": {}, "a broken page": dir("{{define")} {
		if _, err := page.New(files); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// What a page loads is there, under the name and the checksum that the page says.
func TestStaticFiles(t *testing.T) {
	set, err := page.New(dir(good))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	page.Routes(mux)
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
	if err := set.Write(w, r, 200, "one", page.View{Data: data{}}); err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?:href|src)="(/static/[^"]+)"`).FindAllStringSubmatch(w.Body.String(), -1)
	if len(found) != 2 {
		t.Fatalf("the page loads %v", found)
	}
	for _, f := range found {
		got := httptest.NewRecorder()
		mux.ServeHTTP(got, httptest.NewRequest(http.MethodGet, f[1], nil))
		if got.Code != 200 || got.Body.Len() == 0 || !strings.Contains(got.Header().Get("Cache-Control"), "immutable") || got.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", f[1], got.Code, got.Header())
		}
	}
}
