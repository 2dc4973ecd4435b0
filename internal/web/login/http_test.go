package login

import (
	"fmt"
	"image/color"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/boombuler/barcode/qr"

	"sallyport"
)

// The path, filled in again, is the code that somebody else's encoder made.
func TestQRPathIsTheCode(t *testing.T) {
	const text = "otpauth://totp/Sallyport%3Aana?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Sallyport&algorithm=SHA1&digits=6&period=30"
	got, err := encodeQR(text)
	if err != nil {
		t.Fatal(err)
	}
	want, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		t.Fatal(err)
	}
	dark := map[[2]int]bool{}
	for _, run := range strings.Split(strings.TrimPrefix(got.Path, "M"), "M") {
		var x, y, n, back int
		if _, err := fmt.Sscanf(run, "%d %dh%dv1h-%dz", &x, &y, &n, &back); err != nil || n != back {
			t.Fatalf("run %q: %v", run, err)
		}
		for i := range n {
			dark[[2]int{x + i, y}] = true
		}
	}
	side := want.Bounds().Dx()
	if got.Size != side+8 || len(dark) == 0 {
		t.Fatalf("size %d for %d modules, %d dark", got.Size, side, len(dark))
	}
	for y := range got.Size {
		for x := range got.Size {
			inside := x >= 4 && y >= 4 && x < side+4 && y < side+4
			if is := inside && want.At(x-4, y-4) == color.Black; is != dark[[2]int{x, y}] {
				t.Fatalf("module %d, %d is %v", x, y, !is)
			}
		}
	}
	if _, err := encodeQR(strings.Repeat("x", 5000)); err == nil {
		t.Error("5,000 characters fit a QR code")
	}
}

// FuzzLocalPath: whatever passes leads nowhere but to this server, as Go's own client and a browser's rules read it.
func FuzzLocalPath(f *testing.F) {
	for _, s := range []string{"/", "//", "/a?b=c", "//evil", "/\\evil", "/a//b", "https://evil", "/%2F%2Fevil", "/\tevil", "/x#y", "/..//evil", "/a?return=//evil"} {
		f.Add(s)
	}
	base, err := url.Parse("https://idp.example/login/code")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := localPath(s)
		if p == "" {
			return
		}
		to, err := base.Parse(p)
		if err != nil || to.Host != "idp.example" || to.Scheme != "https" || to.User != nil || p != s {
			t.Errorf("%q leads to %v, %v", s, to, err)
		}
		browsers := strings.Map(func(r rune) rune { // browsers drop tabs and line ends, and read \ as /
			switch r {
			case '\t', '\n', '\r':
				return -1
			case '\\':
				return '/'
			}
			return r
		}, p)
		if !strings.HasPrefix(browsers, "/") || strings.HasPrefix(browsers, "//") {
			t.Errorf("a browser reads %q as an address elsewhere", p)
		}
		w := httptest.NewRecorder()
		seeOther(w, httptest.NewRequest(http.MethodGet, "https://idp.example/login", nil), p)
		if at := w.Header().Get("Location"); !strings.HasPrefix(at, "/") || strings.HasPrefix(at, "//") || strings.HasPrefix(at, "/\\") {
			t.Errorf("%q became Location %q", p, at)
		}
	})
}

func TestSourceAndAgent(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.77:1234": "192.0.2.0/24", "[2001:db8:1:2::3]:1": "2001:db8:1::/48", "[::ffff:192.0.2.77]:1": "192.0.2.0/24",
		"[fe80::1%eth0]:1": "fe80::/48", "@": "", "": ""} {
		if got := source(in); got != want {
			t.Errorf("source(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0":           "Edge on Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15":                   "Safari on macOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1": "Safari on iPhone",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36":                         "Chrome on Android",
		"Go-http-client/1.1": "Go program", "": "Unknown browser", "<script>": "Unknown browser",
	} {
		if got := agent(in); got != want {
			t.Errorf("agent(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSentences(t *testing.T) {
	for want, err := range map[string]error{
		"The code is wrong. Wait.": sallyport.E("check", sallyport.Unknown, "the code is wrong", "wait"),
		"The link is old.":         sallyport.E("enrol", sallyport.Unknown, "the link is old", ""),
		"Internal error; the operator finds the cause in the server's log.": fmt.Errorf("table member: no such column"),
	} {
		if got := sentence(err); got != want {
			t.Errorf("sentence = %q, want %q", got, want)
		}
	}
	for kind, want := range map[sallyport.Kind]int{sallyport.Other: 500, sallyport.Invalid: 400, sallyport.Unknown: 401, sallyport.NotFound: 404,
		sallyport.Conflict: 409, sallyport.TooLarge: 413, sallyport.Busy: 429, sallyport.Unavailable: 503} {
		w := httptest.NewRecorder()
		if got := setStatus(w, sallyport.E("x", kind, "y", "")); got != want || (kind == sallyport.Busy || kind == sallyport.Unavailable) != (w.Header().Get("Retry-After") != "") {
			t.Errorf("status of %v = %d, want %d", kind, got, want)
		}
	}
}
