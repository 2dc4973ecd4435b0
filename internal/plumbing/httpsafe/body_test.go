package httpsafe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// slow serves h behind limitBody with a patience of a test's own.
func slow(t *testing.T, patience time.Duration, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest := limitBody(w, r, patience)
		h(w, r)
		rest()
	}))
	t.Cleanup(s.Close)
	return s
}

// TestBodyThatDoesNotCome: whoever announces a body and keeps it back is cut off, whether they sent nothing, a part, or drip it.
func TestBodyThatDoesNotCome(t *testing.T) {
	failed := make(chan error, 8)
	s := slow(t, 200*time.Millisecond, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		failed <- err
		w.WriteHeader(http.StatusBadRequest)
	})
	for name, send := range map[string]func(net.Conn){
		"nothing": func(net.Conn) {}, "a part": func(c net.Conn) { fmt.Fprint(c, "abc") },
		"drops": func(c net.Conn) {
			for range 100 {
				if _, err := fmt.Fprint(c, "x"); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		},
	} {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		go send(c)
		select {
		case err := <-failed:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(30 * time.Second):
			t.Errorf("%s: still waited for", name)
		}
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if answer, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) { // reset or not: it is over
			t.Errorf("%s: the connection stays after %.30q", name, answer)
		}
		c.Close()
	}
}

// TestBodyThatComes: one that comes at a rate may take longer than the patience, time in which nobody reads is free, and an
// answer may take as long as it wants.
func TestBodyThatComes(t *testing.T) {
	const patience = 300 * time.Millisecond
	s := slow(t, patience, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/idle" {
			time.Sleep(2 * patience) // a slow disk
		}
		n, err := io.Copy(io.Discard, r.Body)
		time.Sleep(2 * patience) // a slow answer
		if r.Context().Err() != nil {
			err = r.Context().Err()
		}
		fmt.Fprintln(w, n, err)
	})
	for _, path := range []string{"/", "/idle"} {
		body, feed := io.Pipe()
		go func() {
			for range 8 { // 2.4 MiB in 0.8 s: minutes of patience
				if _, err := feed.Write(make([]byte, 300<<10)); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
			feed.Close()
		}()
		a, err := http.Post(s.URL+path, "application/octet-stream", body)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(a.Body)
		a.Body.Close()
		if err != nil || strings.TrimSpace(string(text)) != fmt.Sprint(8*300<<10, " <nil>") {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
}

// TestBodyThatIsLeftOver: a handler that reads nothing leaves a connection that ends, or goes on when the body has come.
func TestBodyThatIsLeftOver(t *testing.T) {
	s := slow(t, time.Minute, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	answers := bufio.NewReader(c)
	for range 2 {
		if _, err := fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"); err != nil {
			t.Fatal(err)
		}
		a, err := http.ReadResponse(answers, nil)
		if err != nil || a.StatusCode != http.StatusForbidden {
			t.Fatalf("%v, %v", a, err)
		}
		a.Body.Close()
	}
}
