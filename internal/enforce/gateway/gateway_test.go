package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard/guardtest"
)

func TestAnAnswerIsPermittedWholeAndRecorded(t *testing.T) {
	data := pattern(300_000)
	s := newSite(t, content(data))
	answer, body, err := s.get(t, "rob", "/toy/files/a/b.bin")
	if err != nil || answer.StatusCode != 200 || body != string(data) {
		t.Fatalf("status %v, %d bytes, %v", answer.Status, len(body), err)
	}
	decided, end := s.Of(sallyport.EventDecided), s.completed(t, 1)
	if len(decided) != 1 || decided[0].Who != "user:rob" || decided[0].Action != sallyport.ModelPull || decided[0].On != "acme/open@v1" || decided[0].Asked.File != "a/b.bin" {
		t.Errorf("decided: %+v", decided)
	}
	if end.Decision != decided[0].Decision || end.Delivered.Bytes != int64(len(data)) || end.Delivered.Status != 200 || end.Delivered.End != "" {
		t.Errorf("completed: %+v", end.Delivered)
	}
	if got := answer.Header.Get("Sallyport-Decision"); got != decided[0].Decision {
		t.Errorf("the answer names the decision %q, want %q", got, decided[0].Decision)
	}
}

func TestARefusalServesNothing(t *testing.T) {
	s := newSite(t, func(*gateway.Delivery, string) error { t.Error("it was served"); return nil })
	for _, c := range []struct {
		name, who, path string
		status          int
		outcome         string
	}{
		{"possession is not use", "ana", "/toy/files/f", 403, "deny"},
		{"who may not know is told nothing", "zoe", "/toy/stream", 404, "deny"},
		{"nobody", "", "/toy/stream", 401, ""},
		{"a token for another door", "", "/toy/stream", 401, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := []string{}
			if c.name == "a token for another door" {
				header = []string{"Authorization", "Bearer " + guardtest.Token("ana", sallyport.MultiFactor, "https://other", "*")}
			}
			answer, body, err := s.get(t, c.who, c.path, header...)
			if err != nil || answer.StatusCode != c.status {
				t.Fatalf("%v %s: %v", answer.Status, body, err)
			}
			if c.outcome != "" {
				d := s.Of(sallyport.EventDecided)
				contains(t, body, d[len(d)-1].Decision)
				if answer.Header.Get("Sallyport-Decision") != d[len(d)-1].Decision || d[len(d)-1].Outcome != c.outcome {
					t.Errorf("header %q, recorded %+v", answer.Header.Get("Sallyport-Decision"), d[len(d)-1])
				}
			}
		})
	}
	if n := len(s.Of(sallyport.EventRefused)); n != 2 {
		t.Errorf("%d refusals without a decision are recorded, want 2", n)
	}
	if n := len(s.Of(sallyport.EventCompleted)); n != 0 {
		t.Errorf("%d ends of what never began", n)
	}
}

// TestA22Paths: every spelling of a path that two readers could read as two paths
// is refused before anything is decided.
func TestA22Paths(t *testing.T) {
	s := newSite(t, func(d *gateway.Delivery, _ string) error { return d.Whole(200, []byte(d.Permit.File())) })
	bad := []string{
		"/toy/files/../x", "/toy/files/..%2fx", "/toy/files/%2e%2e/x", "/toy/files/%2E%2E%2Fx", "/toy/files/a%2f..%2fb", "/toy/files/./x",
		"/toy/files//x", "/toy//files/x", "/toy/files/x/", "/toy/files/x;y=1", "/toy/files;a/x", "/toy/files/x%3Bx=1", "/toy/files/a%5Cb",
		"/toy/files/a%00b", "/toy/files/a%0d%0ab", "/toy/files/%252e%252e/x", "/toy/files/%25", "/toy/files/a%23b", "/toy/files/a%3Fb", "/toy/files/%7f",
		"/toy/files/%c0%ae%c0%ae/x", "/toy/files/%ef%bc%8e%ef%bc%8e/x", "/toy/files/%e2%80%a4%e2%80%a4/x", "/toy/files/a%e2%80%8bb", "/toy/files/%ef%bd%81", "/toy/files/%ff",
		"/toy/files/%E2%80%AEgnp", "/toy/%2fetc/passwd", "//toy/files/x",
	}
	for _, path := range bad {
		answer := s.raw(t, "GET "+path+" HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer "+token("rob")+"\r\n\r\n")
		if answer.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", path, answer.Status)
		}
	}
	for _, line := range []string{"GET /toy/files/a b HTTP/1.1", "GET toy/files/x HTTP/1.1", "GET \\toy\\x HTTP/1.1", "OPTIONS * HTTP/1.1", "CONNECT gate:443 HTTP/1.1", "GET /toy/files/%zz HTTP/1.1"} {
		if answer := s.raw(t, line+"\r\nHost: gate\r\nAuthorization: Bearer "+token("rob")+"\r\n\r\n"); answer.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", line, answer.Status)
		}
	}
	if n := len(s.Of(sallyport.EventDecided)); n != 0 {
		t.Errorf("%d decisions were made", n)
	}
	for path, file := range map[string]string{
		"/toy/files/x": "x", "/toy/files/%78": "x", "/toy/files/a/b.c": "a/b.c", "/toy/files/a%20b": "a b", "/toy/files/%D1%84": "ф", "/t%6fy/files/x": "", "/toy/files/a%2Fb": "",
	} {
		answer, body, err := s.get(t, "rob", path)
		want := 200
		if file == "" {
			want, body = http.StatusForbidden, ""
		}
		if err != nil || answer.StatusCode != want || body != file {
			t.Errorf("%s: %v, %q, %v", path, answer.Status, body, err)
		}
	}
}

// TestA23Ranges: a range costs the same question and counts its exact bytes.
func TestA23Ranges(t *testing.T) {
	data := pattern(200_000)
	s := newSite(t, content(data))
	n := int64(len(data))
	for i, c := range []struct {
		name, header, ifRange string
		status                int
		from, to              int64 // delivered, when 200 or 206
	}{
		{"the first bytes", "bytes=0-99", "", 206, 0, 100},
		{"inside the last bytes", "bytes=199000-199099", "", 206, 199_000, 199_100},
		{"longer than what is held back", "bytes=10-100000", "", 206, 10, 100_001},
		{"open end", "bytes=199999-", "", 206, n - 1, n},
		{"suffix", "bytes=-500", "", 206, n - 500, n},
		{"a suffix longer than the file", "bytes=-999999999999", "", 206, 0, n},
		{"an end behind the file", "bytes=5-99999999999999", "", 206, 5, n},
		{"a strong validator that holds", "bytes=0-9", `"v1"`, 206, 0, 10},
		{"a strong validator that does not", "bytes=0-9", `"v0"`, 200, 0, n},
		{"a weak validator never holds", "bytes=0-9", `W/"v1"`, 200, 0, n},
		{"a start behind the file", "bytes=200000-", "", 416, 0, 0},
		{"an empty suffix", "bytes=-0", "", 416, 0, 0},
		{"a number out of all bounds", "bytes=99999999999999999999-", "", 416, 0, 0},
		{"backwards", "bytes=9-1", "", 416, 0, 0},
		{"no unit", "0-9", "", 416, 0, 0},
		{"two ranges", "bytes=0-1,5-6", "", 416, 0, 0},
		{"overlapping ranges", "bytes=0-,0-,0-,0-", "", 416, 0, 0},
		{"many small ranges", "bytes=" + strings.Repeat("0-0,", 2000) + "1-1", "", 416, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := []string{"Range", c.header}
			if c.ifRange != "" {
				header = append(header, "If-Range", c.ifRange)
			}
			answer, body, err := s.get(t, "rob", "/toy/files/f", header...)
			if err != nil || answer.StatusCode != c.status {
				t.Fatalf("%v, %v", answer.Status, err)
			}
			end := s.completed(t, i+1)
			if c.status == 416 {
				if len(body) > 100 {
					t.Errorf("%d bytes", len(body))
				}
				return
			}
			if body != string(data[c.from:c.to]) {
				t.Errorf("other bytes were delivered: %d, want %d", len(body), c.to-c.from)
			}
			if end.Delivered.Bytes != c.to-c.from || end.Delivered.Ranges == "" || end.Delivered.Status != c.status {
				t.Errorf("recorded %+v", end.Delivered)
			}
		})
	}
	if n := len(s.Of(sallyport.EventDecided)); n != 18 {
		t.Errorf("%d decisions, want one a request", n)
	}
	if answer := s.raw(t, "GET /toy/files/f HTTP/1.1\r\nHost: g\r\nRange: bytes=0-1\r\nRange: bytes=5-6\r\nAuthorization: Bearer "+token("rob")+"\r\n\r\n"); answer.StatusCode != 400 {
		t.Errorf("two Range fields: %s", answer.Status)
	}
}

// TestLimitBytesIsExact: at most what the permission covers leaves, whatever the
// form of the request.
func TestLimitBytesIsExact(t *testing.T) {
	const limit = 1 << 20 // of guardtest's "limited"
	data := pattern(limit + 1)
	s := newSite(t, content(data))
	for i, c := range []struct {
		header string
		status int
		bytes  int
	}{
		{"", 413, 0}, // one byte too long: nothing of it
		{fmt.Sprintf("bytes=0-%d", limit), 413, 0},     // the same as a range
		{fmt.Sprintf("bytes=1-%d", limit), 206, limit}, // exactly what is covered
		{"bytes=0-0", 206, 1},
	} {
		header := []string{}
		if c.header != "" {
			header = []string{"Range", c.header}
		}
		answer, body, err := s.get(t, "lim", "/toy/files/f", header...)
		if err != nil || answer.StatusCode != c.status || c.status == 206 && len(body) != c.bytes {
			t.Errorf("%q: %v, %d bytes, %v", c.header, answer.Status, len(body), err)
		}
		if answer.Header.Get("ETag") != "" && c.status == 413 {
			t.Errorf("%q: the refusal carries headers of the answer", c.header)
		}
		if end := s.completed(t, i+1); end.Delivered.Bytes != int64(c.bytes) {
			t.Errorf("%q: recorded %+v", c.header, end.Delivered)
		}
	}
	s.toy.serve = func(d *gateway.Delivery, _ string) error { // of a length that nobody announced
		for {
			if _, err := d.Write(make([]byte, 1000)); err != nil {
				return err
			}
		}
	}
	_, body, err := s.get(t, "lim", "/toy/files/f")
	if err == nil || len(body) > limit {
		t.Errorf("%d bytes of a stream, %v", len(body), err)
	}
	if end := s.completed(t, 5); end.Delivered.Bytes != limit/1000*1000 || end.Delivered.End != "error" {
		t.Errorf("recorded %+v", end.Delivered)
	}
}

// TestLimitRateHoldsAcrossRanges: many small ranges are no faster than one long
// answer. The test counts what the limiter let through, not time.
func TestLimitRateHoldsAcrossRanges(t *testing.T) {
	s := newSite(t, content(pattern(1<<20)))
	engine, err := guardtest.Compile(guardtest.Policies + `
@id("slow") @owner("test") @requirement("T") @text("Slowly.") @obligation("limit-rate=65536")
permit (principal == User::"ana", action == Action::"model.pull", resource);`)
	if err != nil {
		t.Fatal(err)
	}
	s.Facts.Use(engine)
	start := time.Now()
	for i := range 4 { // 4 × 32 KiB at 64 KiB/s with a burst of 64 KiB
		if _, body, err := s.get(t, "ana", "/toy/files/f", "Range", fmt.Sprintf("bytes=%d-%d", i<<15, (i+1)<<15-1)); err != nil || len(body) != 1<<15 {
			t.Fatalf("%d bytes, %v", len(body), err)
		}
	}
	if took := time.Since(start); took < 900*time.Millisecond {
		t.Errorf("128 KiB took %v at 64 KiB/s with a burst of 64 KiB", took)
	}
}

// TestA24Smuggling: what is framed in two ways reaches no handler in two readings.
func TestA24Smuggling(t *testing.T) {
	s := newSite(t, func(d *gateway.Delivery, _ string) error { return d.Whole(200, []byte("ok")) })
	auth := "Host: gate\r\nAuthorization: Bearer " + token("ana") + "\r\n"
	for name, text := range map[string]string{
		"two lengths":             "POST /toy/ask HTTP/1.1\r\n" + auth + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"a list of lengths":       "POST /toy/ask HTTP/1.1\r\n" + auth + "Content-Length: 3, 4\r\n\r\nabcd",
		"a negative length":       "POST /toy/ask HTTP/1.1\r\n" + auth + "Content-Length: -1\r\n\r\n",
		"a signed length":         "POST /toy/ask HTTP/1.1\r\n" + auth + "Content-Length: +3\r\n\r\nabc",
		"an unknown coding":       "POST /toy/ask HTTP/1.1\r\n" + auth + "Transfer-Encoding: xchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"two codings":             "POST /toy/ask HTTP/1.1\r\n" + auth + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"a space before a colon":  "POST /toy/ask HTTP/1.1\r\n" + auth + "Content-Length : 3\r\n\r\nabc",
		"a NUL in a field":        "GET /toy/stream HTTP/1.1\r\n" + auth + "X-A: b\x00c\r\n\r\n",
		"two hosts":               "GET /toy/stream HTTP/1.1\r\nHost: other\r\n" + auth + "\r\n",
		"two tokens":              "GET /toy/stream HTTP/1.1\r\n" + auth + "Authorization: Bearer x\r\n\r\n",
		"an upgrade":              "GET /toy/stream HTTP/1.1\r\n" + auth + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"HTTP/2 without TLS":      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"no host":                 "GET /toy/stream HTTP/1.1\r\n\r\n",
		"more fields than a page": "GET /toy/stream HTTP/1.1\r\n" + auth + manyFields(200) + "\r\n",
	} {
		answer := s.raw(t, text)
		if answer.StatusCode < 400 || answer.StatusCode >= 600 || answer.StatusCode == 403 {
			t.Errorf("%s: %s", name, answer.Status)
		}
	}
	if n := len(s.Of(sallyport.EventDecided)); n != 0 {
		t.Errorf("%d decisions were made", n)
	}
	// Both framings at once: the coding counts (RFC 9112, section 6.3), and what the
	// length would make of the rest is never read as a request of its own.
	s.raw(t, "POST /toy/ask HTTP/1.1\r\n"+auth+"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX")
	if body := <-s.toy.body; body != "" {
		t.Errorf("the body was read as %q", body)
	}
	// Trailers are no headers.
	s.raw(t, "POST /toy/ask HTTP/1.1\r\n"+auth+"Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n3\r\nabc\r\n0\r\nAuthorization: Bearer x\r\n\r\n")
	if body := <-s.toy.body; body != "abc" {
		t.Errorf("the body was read as %q", body)
	}
	for _, d := range s.Of(sallyport.EventDecided) {
		if d.Who != "user:ana" {
			t.Errorf("somebody else was decided on: %+v", d)
		}
	}
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "X-F%d: 1\r\n", i)
	}
	return b.String()
}

// TestA25ForwardedHeaders: nobody is anybody because a header says so.
func TestA25ForwardedHeaders(t *testing.T) {
	seen := make(chan http.Header, 100)
	s := newSite(t, func(d *gateway.Delivery, _ string) error {
		seen <- d.Request().Header
		return d.Whole(200, nil)
	})
	claims := []string{"X-Forwarded-User", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Uri", "x-forwarded-uri", "Forwarded", "X-Original-URL", "X-Rewrite-URL",
		"X-Real-IP", "X-User", "X-Remote-User", "Remote-User", "X-Auth-Request-User", "X-SSL-Client-Cert", "X-Client-Cert", "True-Client-IP", "Via",
		"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_Forwarded_User", "X-Forwarded_User", "x_real_ip"}
	for _, name := range claims {
		answer, _, err := s.get(t, "", "/toy/stream", name, "rita")
		if err != nil || answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %v, %v", name, answer.Status, err)
		}
		if _, _, err := s.get(t, "ana", "/toy/stream", name, "rita", "Connection", "x-identity", "X-Identity", "rita"); err != nil {
			t.Fatal(err)
		}
		for got := range <-seen {
			if strings.EqualFold(got, name) {
				t.Errorf("%s reached the protocol", name)
			}
		}
	}
	for _, d := range s.Of(sallyport.EventDecided) {
		if d.Who != "user:ana" || d.Asked.IP != "127.0.0.1" {
			t.Errorf("decided for %s at %s", d.Who, d.Asked.IP)
		}
	}
	answer := s.raw(t, "GET /toy/stream HTTP/1.1\r\nHost: gate#@evil\r\nAuthorization: Bearer "+token("ana")+"\r\n\r\n")
	if answer.StatusCode == 200 {
		<-seen // the name of the host means nothing here
	}
}

// TestA29UnknownRoutes: what the table does not name is refused and recorded.
func TestA29UnknownRoutes(t *testing.T) {
	s := newSite(t, func(*gateway.Delivery, string) error { t.Error("it was served"); return nil })
	n := 0
	for _, c := range [][2]string{{"GET", "/toy/other"}, {"GET", "/toy/ask"}, {"OPTIONS", "/toy/stream"}, {"PATCH", "/toy/files/f"}, {"HEAD", "/toy/stream"}, {"POST", "/toy/stream"},
		{"PUT", "/toy/files/f"}, {"DELETE", "/toy/files/f"}, {"GET", "/toy/files"}, {"GET", "/toy/v2/stream"}, {"get", "/toy/stream"}, {"FOO", "/toy/stream"}, {"GET", "/toy/Stream"}} {
		r := s.request(t, "rob", c[0], c[1], nil)
		r.Header.Set("X-HTTP-Method-Override", "GET")
		answer, body, err := s.do(t, r)
		if err != nil || answer.StatusCode != http.StatusForbidden {
			t.Errorf("%v: %v, %v", c, answer.Status, err)
			continue
		}
		n++
		all := s.Of(sallyport.EventUnmapped)
		last := all[len(all)-1]
		if len(all) != n || last.Who != "user:rob" || last.Detail["method"] != c[0] || last.Detail["path"] != c[1] {
			t.Errorf("%v: recorded %d, %+v", c, len(all), last)
		}
		if c[0] != "HEAD" {
			contains(t, body, last.Decision, "not offered")
		}
		if c[0] == "DELETE" {
			contains(t, body, "files stay")
		}
	}
	s.BreakLog()
	if answer, _, _ := s.get(t, "rob", "/toy/other"); answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a refusal that cannot be recorded: %s", answer.Status)
	}
}

// TestA33LogInjection: what callers send is one escaped line in the record and in
// the answer.
func TestA33LogInjection(t *testing.T) {
	s := newSite(t, nil)
	r := s.request(t, "rob", "GET", "/toy/x%20%22%7D%5B31m"+strings.Repeat("y", 3000), nil)
	r.Header.Set("User-Agent", strings.Repeat("\u202ea", 4000))
	answer, body, err := s.do(t, r)
	if err != nil || answer.StatusCode != 403 || strings.Count(body, "\n") != 1 {
		t.Fatalf("%v %q %v", answer.Status, body, err)
	}
	if e := s.Of(sallyport.EventUnmapped)[0]; len(e.Detail["path"]) > 100 || strings.ContainsAny(e.Detail["path"], "\r\n\x1b") {
		t.Errorf("recorded %q", e.Detail["path"])
	}
}

// TestA31LogFailure: when the record cannot be written no byte leaves, and of an
// answer that is under way the client sees that it is not whole.
func TestA31LogFailure(t *testing.T) {
	data := pattern(500_000)
	t.Run("before", func(t *testing.T) {
		s := newSite(t, func(*gateway.Delivery, string) error { t.Error("it was served"); return nil })
		s.BreakLog()
		answer, _, err := s.get(t, "rob", "/toy/files/f")
		if err != nil || answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" {
			t.Errorf("%v, %v", answer.Status, err)
		}
	})
	t.Run("in the middle", func(t *testing.T) {
		s := newSite(t, nil)
		s.toy.serve = func(d *gateway.Delivery, n string) error { s.BreakLog(); return content(data)(d, n) }
		_, body, err := s.get(t, "rob", "/toy/files/f")
		if err == nil || len(body) > len(data)-32<<10 {
			t.Errorf("%d of %d bytes left, %v", len(body), len(data), err)
		}
	})
	t.Run("at the end of a short answer", func(t *testing.T) {
		s := newSite(t, nil)
		s.toy.serve = func(d *gateway.Delivery, _ string) error { s.BreakLog(); return d.Whole(200, []byte("secret")) }
		answer, body, err := s.get(t, "rob", "/toy/files/f")
		if err != nil || answer.StatusCode != 503 || strings.Contains(body, "secret") {
			t.Errorf("%v %q, %v", answer.Status, body, err)
		}
	})
}

// TestA27CutDownload: a download that is cut ends, the client sees that it is not
// whole, and the record says how much left.
func TestA27CutDownload(t *testing.T) {
	data := pattern(8 << 20)
	s := newSite(t, nil)
	reached := make(chan struct{})
	s.toy.serve = func(d *gateway.Delivery, _ string) error {
		d.Header().Set("Content-Length", strconv.Itoa(len(data)))
		if _, err := d.Write(data[:1<<20]); err != nil {
			return err
		}
		close(reached)
		<-d.Permit.Context().Done()
		_, err := d.Write(data[1<<20:])
		return err
	}
	go func() {
		<-reached
		s.Suspend("rob")
		s.Guard.Sweep(context.Background(), 0)
	}()
	_, body, err := s.get(t, "rob", "/toy/files/f")
	if err == nil || len(body) >= len(data) {
		t.Errorf("%d of %d bytes, %v", len(body), len(data), err)
	}
	if end := s.completed(t, 1); end.Delivered.End != "cut" || end.Delivered.Bytes != 1<<20 {
		t.Errorf("recorded %+v", end.Delivered)
	}
	if answer, _, _ := s.get(t, "rob", "/toy/files/f"); answer.StatusCode != 401 {
		t.Errorf("afterwards: %s", answer.Status)
	}
}

// TestA27CutShortAnswer: what was held back does not leave after a cut.
func TestA27CutShortAnswer(t *testing.T) {
	s := newSite(t, nil)
	s.toy.serve = func(d *gateway.Delivery, _ string) error {
		err := d.Whole(200, []byte("secret"))
		s.Suspend("rob")
		s.Guard.Sweep(context.Background(), 0)
		return err
	}
	answer, body, err := s.get(t, "rob", "/toy/files/f")
	if err != nil || answer.StatusCode != 403 || strings.Contains(body, "secret") {
		t.Errorf("%v %q %v", answer.Status, body, err)
	}
	contains(t, body, "withdrawn")
	if end := s.completed(t, 1); end.Delivered.End != "cut" || end.Delivered.Bytes != 0 {
		t.Errorf("recorded %+v", end.Delivered)
	}
}

// TestA27CutReachesAClientThatDoesNotRead: a client that stops reading cannot keep
// its call open.
func TestA27CutReachesAClientThatDoesNotRead(t *testing.T) {
	s := newSite(t, nil)
	full := make(chan struct{})
	s.toy.serve = func(d *gateway.Delivery, _ string) error {
		time.AfterFunc(100*time.Millisecond, func() { close(full) })
		for {
			if _, err := d.Write(make([]byte, 1<<20)); err != nil {
				return err
			}
		}
	}
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /toy/files/f HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer %s\r\n\r\n", token("rob"))
	<-full
	s.Suspend("rob")
	for _, cut := range s.Guard.Sweep(t.Context(), 5*time.Second) {
		if !cut.Ended {
			t.Error("the call went on")
		}
	}
	if end := s.completed(t, 1); end.Delivered.End != "cut" {
		t.Errorf("recorded %+v", end.Delivered)
	}
}

// TestAClientThatLeavesEndsTheCall and is recorded with what it got.
func TestAClientThatLeavesEndsTheCall(t *testing.T) {
	s := newSite(t, func(d *gateway.Delivery, _ string) error {
		if _, err := d.Write([]byte("first")); err != nil {
			return err
		}
		d.Flush()
		<-d.Permit.Context().Done()
		return context.Cause(d.Permit.Context())
	})
	ctx, cancel := context.WithCancel(t.Context())
	answer, err := s.http.Do(s.request(t, "ana", "GET", "/toy/stream", nil).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(answer.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	cancel()
	_ = answer.Body.Close()
	if end := s.completed(t, 1); end.Delivered.End != "client" || end.Delivered.Bytes != 5 {
		t.Errorf("recorded %+v", end.Delivered)
	}
}

// TestEveryEndIsRecordedOnce: whatever Serve does, the permit ends with one record,
// and the client never takes a part for the whole.
func TestEveryEndIsRecordedOnce(t *testing.T) {
	oops := errors.New("oops")
	for _, c := range []struct {
		name  string
		serve func(d *gateway.Delivery) error
		ok    bool // the client believes the answer
		code  int
		end   string
		bytes int64
	}{
		{"nothing", func(*gateway.Delivery) error { return nil }, true, 200, "", 0},
		{"a panic before the first byte", func(*gateway.Delivery) error { panic("x") }, true, 500, "error", 0},
		{"a panic after it", func(d *gateway.Delivery) error { _, _ = d.Write([]byte("ab")); d.Flush(); panic("x") }, false, 200, "error", 2},
		{"a panic of net/http", func(*gateway.Delivery) error { panic(http.ErrAbortHandler) }, true, 500, "error", 0},
		{"an error before the first byte", func(d *gateway.Delivery) error { d.Header().Set("Content-Length", "7"); return oops }, true, 500, "error", 0},
		{"an error with everything held back", func(d *gateway.Delivery) error { _ = d.Whole(200, []byte("abc")); return oops }, true, 500, "error", 0},
		{"an error after the first byte", func(d *gateway.Delivery) error { _, _ = d.Write([]byte("ab")); d.Flush(); return oops }, false, 200, "error", 2},
		{"too few bytes", func(d *gateway.Delivery) error {
			d.Header().Set("Content-Length", "7")
			_, err := d.Write([]byte("abc"))
			return err
		}, true, 500, "error", 0},
		{"far too few bytes", func(d *gateway.Delivery) error {
			d.Header().Set("Content-Length", "100000")
			_, err := d.Write(make([]byte, 90_000))
			return err
		}, false, 200, "error", 67_232},
		{"too many bytes", func(d *gateway.Delivery) error {
			d.Header().Set("Content-Length", "2")
			_, err := d.Write([]byte("abc"))
			return err
		}, true, 500, "error", 0},
		{"a told error", func(d *gateway.Delivery) error {
			_, _ = d.Write([]byte("ab"))
			return d.Tell([]byte("!"), sallyport.E("x", sallyport.Unavailable, "gone", "").Because(gateway.UpstreamReason))
		}, true, 200, "upstream", 2},
		{"an error of a kind", func(*gateway.Delivery) error { return sallyport.E("x", sallyport.NotFound, "not there", "") }, true, 404, "error", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, func(d *gateway.Delivery, _ string) error { return c.serve(d) })
			answer, body, err := s.get(t, "rob", "/toy/files/f")
			if answer == nil || answer.StatusCode != c.code || (err == nil) != c.ok {
				t.Fatalf("%v %q, %v", answer, body, err)
			}
			end := s.completed(t, 1)
			if end.Delivered.End != c.end || end.Delivered.Bytes != c.bytes {
				t.Errorf("recorded %+v", end.Delivered)
			}
			if n := s.Guard.Open(); n != 0 {
				t.Errorf("%d calls are still open", n)
			}
			if n := len(s.Of(sallyport.EventCompleted)); n != 1 {
				t.Errorf("%d records of the end", n)
			}
			if c.code != 200 && strings.Contains(body, "oops") {
				t.Errorf("the client reads %q", body)
			}
		})
	}
}

// TestI20NobodyMakesUsReadABody: without a proof no byte of a body is parsed, and
// who does not send it in time is refused.
func TestI20NobodyMakesUsReadABody(t *testing.T) {
	s := newSite(t, func(d *gateway.Delivery, _ string) error { return d.Whole(200, nil) })
	answer, _, err := s.do(t, s.request(t, "", "POST", "/toy/ask", bytes.NewReader(make([]byte, 64<<10))))
	if err != nil || answer.StatusCode != 401 {
		t.Fatalf("%v %v", answer, err)
	}
	select {
	case <-s.toy.body:
		t.Error("the body of nobody was read")
	default:
	}
	answer, _, err = s.do(t, s.request(t, "ana", "POST", "/toy/ask", strings.NewReader("good")))
	if err != nil || answer.StatusCode != 200 || <-s.toy.body != "good" {
		t.Fatalf("%v %v", answer, err)
	}
	answer, _, err = s.do(t, s.request(t, "ana", "POST", "/toy/ask", strings.NewReader("bad")))
	if err != nil || answer.StatusCode != 400 {
		t.Fatalf("%v %v", answer, err)
	}
	refused := s.Of(sallyport.EventRefused)
	if last := refused[len(refused)-1]; last.Who != "user:ana" || last.Action != sallyport.ModelInfer || last.Reasons[0] != "invalid" {
		t.Errorf("an unreadable request is recorded as %+v", last)
	}
	answer = s.raw(t, "GET /toy/stream HTTP/1.1\r\nHost: g\r\nX-Long: "+strings.Repeat("x", 80<<10)+"\r\n\r\n")
	if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("80 KiB of headers: %s", answer.Status)
	}
}

// TestI20TooManyAtOnce: beyond its limit a door says so at once.
func TestI20TooManyAtOnce(t *testing.T) {
	s := newSite(t, nil)
	inside, leave := make(chan struct{}, 100), make(chan struct{})
	s.toy.serve = func(*gateway.Delivery, string) error { inside <- struct{}{}; <-leave; return nil }
	for range 64 {
		go func() { _, _, _ = s.get(t, "ana", "/toy/stream") }()
	}
	for range 64 {
		<-inside
	}
	answer, _, err := s.get(t, "ana", "/toy/stream")
	if err != nil || answer.StatusCode != http.StatusTooManyRequests || answer.Header.Get("Retry-After") == "" {
		t.Errorf("%v, %v", answer, err)
	}
	close(leave)
	s.completed(t, 64)
	if answer, _, err := s.get(t, "ana", "/toy/stream"); err != nil || answer.StatusCode != 200 {
		t.Errorf("afterwards: %v, %v", answer, err)
	}
}

func TestHeadHasNoBytes(t *testing.T) {
	s := newSite(t, func(d *gateway.Delivery, _ string) error { return d.Whole(200, []byte("abc")) })
	answer, body, err := s.do(t, s.request(t, "rob", "HEAD", "/toy/files/f", nil))
	if err != nil || answer.StatusCode != 200 || answer.ContentLength != 3 || body != "" {
		t.Fatalf("%v %q %v", answer, body, err)
	}
	if end := s.completed(t, 1); end.Delivered.Bytes != 0 || end.Delivered.End != "" {
		t.Errorf("recorded %+v", end.Delivered)
	}
}

// TestI16NoTokenInTheLog: neither log nor record nor answer holds the proof.
func TestI16NoTokenInTheLog(t *testing.T) {
	s := newSite(t, func(d *gateway.Delivery, _ string) error { panic("x") })
	for _, name := range []string{"rob", "zoe", "ana"} {
		_, body, _ := s.get(t, name, "/toy/files/f")
		if strings.Contains(body, token(name)) {
			t.Error("the answer holds the token")
		}
	}
	if strings.Contains(s.log.String(), token("rob")) || !strings.Contains(s.log.String(), "panicked") {
		t.Errorf("the log: %s", s.log.String())
	}
}
