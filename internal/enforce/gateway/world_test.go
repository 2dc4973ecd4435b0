package gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/plumbing/httpsafe"
)

const toyRoutes = `
GET,HEAD /files/{file...}   model.pull   file
GET      /stream            model.infer  stream
POST     /ask               model.infer  ask
GET      /panic             model.infer  panic
DELETE   /files/{file}      deny files stay
`

// A toy is a dialect with nothing in it but what a test puts there.
type toy struct {
	routes gateway.Routes
	serve  func(d *gateway.Delivery, name string) error
	body   chan string // what Read read
}

func (p *toy) Name() string           { return "toy" }
func (p *toy) Routes() gateway.Routes { return p.routes }

func (p *toy) Read(r *http.Request, m gateway.Match) (gateway.Asked, error) {
	ref := sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "open"}
	a := gateway.Asked{Target: ref, File: m.Params["file"], Serve: func(d *gateway.Delivery) error { return p.serve(d, m.Name) }}
	if m.Name == "ask" {
		raw, err := io.ReadAll(io.LimitReader(r.Body, 1<<10))
		p.body <- string(raw)
		if err != nil || bytes.Contains(raw, []byte("bad")) {
			return a, sallyport.E("ask", sallyport.Invalid, "that is bad", "")
		}
	}
	return a, nil
}

func (p *toy) Refuse(w http.ResponseWriter, _ *http.Request, f gateway.Refusal) {
	w.Header().Set("X-Text", f.Text)
	w.WriteHeader(f.Status)
	fmt.Fprintln(w, f.Text)
}

// A site is the toy behind a real guard on a real listener.
type site struct {
	*guardtest.World
	toy  *toy
	addr string
	log  *lockedBuffer
	door *gateway.Door
	http *http.Client
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const audience = "https://gate.test/toy"

func newSite(t testing.TB, serve func(d *gateway.Delivery, name string) error) *site {
	t.Helper()
	routes, err := gateway.ParseRoutes(toyRoutes)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{World: guardtest.New(t), toy: &toy{routes: routes, serve: serve, body: make(chan string, 100)}, log: &lockedBuffer{}}
	logger := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	door := gateway.New(gateway.Door{Protocol: s.toy, Guard: s.Guard, Prefix: "/toy", Audience: audience, Logger: logger}, 64)
	s.door = door
	mux := http.NewServeMux()
	mux.Handle("/toy/", door)
	s.addr = listen(t, httpsafe.Server(mux, nil, logger))
	s.http = &http.Client{Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(s.http.CloseIdleConnections)
	return s
}

func listen(t testing.TB, server *http.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

func token(name string) string { return guardtest.Token(name, sallyport.MultiFactor, audience, "*") }

// request builds a request of name; "" sends no token.
func (s *site) request(t testing.TB, name, method, path string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.addr+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if name != "" {
		r.Header.Set("Authorization", "Bearer "+token(name))
	}
	return r
}

// do sends a request and reads the answer whole; err is the client's.
func (s *site) do(t testing.TB, r *http.Request) (*http.Response, string, error) {
	t.Helper()
	answer, err := s.http.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer, string(body), err
}

func (s *site) get(t testing.TB, name, path string, header ...string) (*http.Response, string, error) {
	t.Helper()
	r := s.request(t, name, http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return s.do(t, r)
}

// raw sends bytes and returns the first answer.
func (s *site) raw(t testing.TB, text string) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return answer
}

// completed waits for the n-th record of an end and returns it. The record may
// come after the client has its answer, when that is cut short.
func (s *site) completed(t testing.TB, n int) sallyport.Event {
	t.Helper()
	for range 500 {
		if ends := s.Of(sallyport.EventCompleted); len(ends) >= n {
			return ends[n-1]
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("want %d records of an end, have %d", n, len(s.Of(sallyport.EventCompleted)))
	return sallyport.Event{}
}

// content serves data as the file, with an ETag.
func content(data []byte) func(*gateway.Delivery, string) error {
	return func(d *gateway.Delivery, _ string) error {
		d.Header().Set("ETag", `"v1"`)
		d.Header().Set("Content-Type", "application/octet-stream")
		return d.Content(time.Unix(1_700_000_000, 0), bytes.NewReader(data))
	}
}

// pattern is n bytes of which no two stretches are alike for long.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q does not hold %q", text, p)
		}
	}
}
