package httpsafe_test

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/plumbing/httpsafe"
)

func TestSegments(t *testing.T) {
	for path, want := range map[string]string{
		"/": "", "/a": "a", "/a/b.c": "a|b.c", "/a%20b": "a b", "/refs%2Fpr%2F1/x": "refs/pr/1|x", "/%61": "a", "/%D1%84": "ф", "/a:b@c": "a:b@c", "/~a/-": "~a|-", "/...": "...",
	} {
		got, err := httpsafe.Segments(path)
		if err != nil || strings.Join(got, "|") != want {
			t.Errorf("%q: %q, %v", path, got, err)
		}
	}
	for _, path := range []string{"", "a", "//", "/a/", "/a//b", "/./a", "/a/..", "/%2e", "/%2E%2e/a", "/a%2f..%2fb", "/a%2F", "/%2Fa", "/a;b", "/a%3bb", "/a\\b", "/a%5cb",
		"/a%00", "/a%0a", "/a%1fb", "/a%7f", "/a%25", "/a%", "/a%4", "/a%zz", "/a%3f", "/a%23", "/%ff", "/%c0%ae", "/%EF%BC%8E", "/%E2%80%8B", "/%EF%BB%BFa", "/%E2%80%AE", "/e%CC%81",
		"/" + strings.Repeat("a", 4096)} {
		if got, err := httpsafe.Segments(path); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%q was taken: %q", path, got)
		}
	}
}

// FuzzSegments: what is taken has one reading: escaped again it is taken for the
// same, and no part of it moves up or means nothing.
func FuzzSegments(f *testing.F) {
	for _, s := range []string{"/a/b", "/refs%2Fpr%2F1", "/%2e%2e/a", "/a;b", "/%E2%80%A4", "//", "/ф"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		segments, err := httpsafe.Segments(path)
		if err != nil {
			return
		}
		again := ""
		for _, s := range segments {
			for part := range strings.SplitSeq(s, "/") {
				if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "\\;%?#\x00\r\n\x7f") {
					t.Fatalf("%q has the part %q", path, part)
				}
			}
			again += "/" + url.PathEscape(s)
		}
		if again == "" {
			again = "/"
		}
		if twice, err := httpsafe.Segments(again); len(again) <= 4096 && (err != nil || strings.Join(twice, "\n") != strings.Join(segments, "\n")) {
			t.Fatalf("%q was read as %q, and again as %q: %v", path, segments, twice, err)
		}
		if u, err := url.ParseRequestURI(path); err == nil && len(segments) > 0 && u.EscapedPath() == path && u.Path != "/"+strings.Join(segments, "/") {
			t.Fatalf("net/url reads %q as %q, not %q", path, u.Path, segments)
		}
	})
}

func TestGuardRefuses(t *testing.T) {
	h := httpsafe.Guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for name, c := range map[string]struct {
		change func(*http.Request)
		status int
	}{
		"plain":         {func(*http.Request) {}, 204},
		"connect":       {func(r *http.Request) { r.Method = http.MethodConnect }, 400},
		"trace":         {func(r *http.Request) { r.Method = http.MethodTrace }, 400},
		"upgrade":       {func(r *http.Request) { r.Header.Set("Upgrade", "h2c") }, 400},
		"two tokens":    {func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer a", "Bearer b"} }, 400},
		"two types":     {func(r *http.Request) { r.Header["Content-Type"] = []string{"a/b", "c/d"} }, 400},
		"two encodings": {func(r *http.Request) { r.Header["Content-Encoding"] = []string{"", "gzip"} }, 400},
		"a dotted path": {func(r *http.Request) { r.URL.Path = "/a/../b" }, 400},
		"too many": {func(r *http.Request) {
			for i := range httpsafe.MaxHeaders + 1 {
				r.Header.Set("X-"+strings.Repeat("a", i+1), "1")
			}
		}, 400},
	} {
		r := httptest.NewRequest(http.MethodGet, "/a/b", nil)
		c.change(r)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status || c.status == 400 && w.Header().Get("Connection") != "close" {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
	}
}

func TestBearer(t *testing.T) {
	for header, want := range map[string]string{"Bearer abc": "abc", "bearer abc": "abc", "Bearer": "", "Bearer ": "", "Bearer a b": "", "Bearer a,b": "", "Basic abc": "", "": "", "Bearer  a": ""} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", header)
		if got, ok := httpsafe.Bearer(r); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v", header, got, ok)
		}
	}
}

func TestPeerIP(t *testing.T) {
	for remote, want := range map[string]string{"192.0.2.1:80": "192.0.2.1", "[::1]:80": "::1", "[::ffff:10.0.0.1]:80": "10.0.0.1", "[fe80::1%eth0]:80": "fe80::1", "@": "", "": ""} {
		r := &http.Request{RemoteAddr: remote}
		if got := httpsafe.PeerIP(r); got != want {
			t.Errorf("%q: %q", remote, got)
		}
	}
}

// TestA37Global: what stands for a private or special address is not public.
func TestA37Global(t *testing.T) {
	for _, public := range []string{"1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "2001:4860::1"} {
		if !httpsafe.Global(netip.MustParseAddr(public)) {
			t.Errorf("%s is public", public)
		}
	}
	for _, private := range []string{"127.0.0.1", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "0.0.0.0", "0.1.2.3",
		"::", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.9", "224.0.0.1", "240.0.0.1", "255.255.255.255", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2001:0:1::", "2001:db8::1", "fec0::1", "ff02::1", "100::1"} {
		if httpsafe.Global(netip.MustParseAddr(private)) {
			t.Errorf("%s is not public", private)
		}
	}
}

// TestA37Client: the client asks about the address it connects to, whatever the
// name was, and follows nobody.
func TestA37Client(t *testing.T) {
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
	}))
	defer inside.Close()
	port := inside.Listener.Addr().(*net.TCPAddr).Port
	asked := []netip.AddrPort{}
	closed := httpsafe.Client(func(a netip.AddrPort) bool { asked = append(asked, a); return httpsafe.Global(a.Addr()) }, 1)
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"} {
		u := url.URL{Scheme: "http", Host: net.JoinHostPort(strings.Trim(host, "[]"), "80"), Path: "/"}
		if answer, err := closed.Get(u.String()); err == nil {
			_ = answer.Body.Close()
			t.Errorf("%s was reached", host)
		}
	}
	for _, a := range asked {
		if a.Addr().Is4In6() {
			t.Errorf("asked about %v, which hides an address", a)
		}
	}
	open := httpsafe.Client(func(a netip.AddrPort) bool { return int(a.Port()) == port }, 1)
	answer, err := open.Get(inside.URL)
	if err != nil || answer.StatusCode != http.StatusFound {
		t.Fatalf("%v, %v", answer, err)
	}
	_ = answer.Body.Close()
	if _, err := open.Get("gopher://127.0.0.1/"); err == nil {
		t.Error("another scheme was followed")
	}
}

func TestStatus(t *testing.T) {
	for kind, want := range map[sallyport.Kind]int{sallyport.Invalid: 400, sallyport.Unknown: 401, sallyport.NotFound: 404, sallyport.Conflict: 409, sallyport.TooLarge: 413, sallyport.Busy: 429, sallyport.Unavailable: 503, sallyport.Other: 500} {
		if got := httpsafe.Status(sallyport.E("x", kind, "x", "")); got != want {
			t.Errorf("%s: %d", kind, got)
		}
	}
	if got := httpsafe.Status(errors.New("x")); got != 500 {
		t.Errorf("any error: %d", got)
	}
}

// TestServerLimits: the limits are those of the listener that serves.
func TestServerLimits(t *testing.T) {
	s := httpsafe.Server(http.NotFoundHandler(), nil, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if s.ReadHeaderTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes != httpsafe.MaxHeaderBytes || !s.DisableGeneralOptionsHandler {
		t.Errorf("%+v", s)
	}
}
