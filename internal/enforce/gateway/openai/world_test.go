package openai

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

const (
	audience    = "https://gate.test/openai"
	upstreamKey = "sk-upstream-canary-0123456789"
	upstreamFor = "served-name"
)

// A site is the door with a real guard in front of a real upstream.
type site struct {
	*guardtest.World
	addr     string
	upstream *upstream
	log      *lockedBuffer
}

// An upstream is a model server that a test scripts; it remembers what it was asked.
type upstream struct {
	mu     sync.Mutex
	bodies []string
	heads  []http.Header
	paths  []string
	answer func(w http.ResponseWriter, r *http.Request)
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	u.mu.Lock()
	u.bodies, u.heads, u.paths = append(u.bodies, string(raw)), append(u.heads, r.Header.Clone()), append(u.paths, r.URL.Path)
	answer := u.answer
	u.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(raw))
	answer(w, r)
}

func (u *upstream) script(answer func(http.ResponseWriter, *http.Request)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answer = answer
}

// asked returns the bodies so far.
func (u *upstream) asked() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.bodies
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

const plainAnswer = `{"id":"c1","object":"chat.completion","model":"served-name","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`

func answerJSON(body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Upstream-Secret", "internal-host-17")
		w.Header().Set("Set-Cookie", "upstream=1")
		_, _ = io.WriteString(w, body)
	}
}

func anywhere(netip.AddrPort) bool { return true }

func newSite(t testing.TB) *site {
	t.Helper()
	up := &upstream{answer: answerJSON(plainAnswer)}
	server := httptest.NewServer(up)
	t.Cleanup(server.Close)
	s := &site{World: guardtest.New(t), upstream: up, log: &lockedBuffer{}}
	base, err := url.Parse(server.URL + "/v1")
	if err != nil {
		t.Fatal(err)
	}
	var bindings []Binding
	for _, name := range []string{"acme/open", "acme/secret"} {
		ref, err := sallyport.ParseRef(name)
		if err != nil {
			t.Fatal(err)
		}
		bindings = append(bindings, Binding{Ref: ref, URL: base, Model: upstreamFor, Key: secret.NewText(upstreamKey)})
	}
	client := httpsafe.Client(anywhere, 16)
	t.Cleanup(client.CloseIdleConnections)
	s.start(t, bindings, client)
	return s
}

// start opens the door on a listener of its own.
func (s *site) start(t testing.TB, bindings []Binding, client *http.Client) {
	t.Helper()
	chat, err := New(bindings, s.Guard, client)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	door := gateway.New(gateway.Door{Protocol: chat, Guard: s.Guard, Prefix: "/openai", Audience: audience, Logger: logger}, 256)
	mux := http.NewServeMux()
	mux.Handle("/openai/", door)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httpsafe.Server(mux, nil, logger)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	s.addr = l.Addr().String()
}

func token(name string) string { return guardtest.Token(name, sallyport.SingleFactor, audience, "*") }

// do sends a request of name with header pairs.
func (s *site) do(t testing.TB, name, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.addr+"/openai"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token(name))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer, string(text)
}

// chat asks acme/open with more fields.
func (s *site) chat(t testing.TB, name, more string) (*http.Response, string) {
	t.Helper()
	return s.do(t, name, "POST", "/v1/chat/completions", `{"model":"acme/open","messages":[{"role":"user","content":"hi"}]`+more+`}`)
}

// completed waits for the n-th record of an end.
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

// sse streams events, one flush each.
func sse(events ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		for _, e := range events {
			_, _ = io.WriteString(w, e)
			_ = http.NewResponseController(w).Flush()
		}
	}
}

func publicOnly(a netip.AddrPort) bool { return httpsafe.Global(a.Addr()) }
