package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

// A story is a test told as one: who does what, and what they want to see.
//
//	r := tell(t)
//	r.As("ana").Pull(fraud)
//	r.Want(denied, "weights.restricted-need-a-grant")
type story struct {
	*scene
	who *person // who acts; nil sends no credential
}

// A scene is what everybody in a story shares.
type scene struct {
	*system
	t    *testing.T
	wire *http.Client
	last seen
}

// seen is what came back of the last thing that somebody did.
type seen struct {
	what     string
	status   int
	header   http.Header
	body     []byte
	decision string
	api      api.Error // of a refusal of the management API or the vault
	err      error     // anything else that went wrong
}

// What people want to see.
const (
	allowed = "allow"
	denied  = "deny"
	stepUp  = "step-up"
	held    = "hold"
)

// tell begins a story on the shared system, which it must leave as it found it.
func tell(t *testing.T) *story {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return on(t, s)
}

// tellAnew begins a story on a system of its own.
func tellAnew(t *testing.T, files trail.Files) *story {
	t.Helper()
	s, err := newSystem(t.Context(), t.TempDir(), false, files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return on(t, s)
}

func on(t *testing.T, s *system) *story {
	t.Helper()
	wire, err := s.wire()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(wire.CloseIdleConnections)
	return &story{scene: &scene{system: s, t: t, wire: wire}}
}

// As lets somebody act; they enrol when they were not there yet.
func (r *story) As(name string) *story {
	r.t.Helper()
	p, err := r.person(r.t.Context(), name)
	if err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
	return &story{scene: r.scene, who: p}
}

// Nobody acts without a credential.
func (r *story) Nobody() *story { return &story{scene: r.scene} }

// Later lets time pass. It returns when the system has seen that it did: until
// then what is known is too old to decide on.
func (r *story) Later(d time.Duration) {
	r.t.Helper()
	if err := r.pass(r.t.Context(), d); err != nil {
		r.t.Fatalf("%s later: %v", d, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.people {
		clear(p.tokens)
	}
}

// Until lets time pass until it is just after that full hour, UTC.
func (r *story) Until(hour int) {
	r.t.Helper()
	now := r.clock.Now().UTC()
	then := time.Date(now.Year(), now.Month(), now.Day(), hour, 0, 1, 0, time.UTC)
	if !then.After(now) {
		then = then.AddDate(0, 0, 1)
	}
	r.Later(then.Sub(now))
}

// Big returns a model of the class internal in the project risk whose download
// takes until somebody reads it. Stories that change it put it right.
func (r *story) Big() string {
	r.t.Helper()
	if !r.big {
		if _, err := r.As("adam").who.client.Add(r.t.Context(), api.Thing{Resource: big, Project: "acme/risk", Class: sallyport.Internal}); err != nil {
			r.t.Fatal(err)
		}
		if err := r.push(r.t.Context(), r.As("ana").who, big, bigModel); err != nil {
			r.t.Fatal(err)
		}
		r.big = true
	}
	return big
}

// Join adds somebody new for this story, with a role on scopes.
func (r *story) Join(name, role, scopes string) {
	r.t.Helper()
	adam := r.As("adam").who
	if err := join(r.t.Context(), adam.client, name, "", role, scopes); err != nil {
		r.t.Fatal(err)
	}
}

// patience is how long a test waits for what follows from something: followers and sweeps share two cores with every other test.
const patience = time.Minute

// soon waits until something is so, and reports whether it became so.
func soon(so func() bool) bool {
	for end := time.Now().Add(patience); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// eventually fails the story if something does not become so.
func (r *story) eventually(what string, so func() bool) {
	r.t.Helper()
	if !soon(so) {
		r.t.Fatalf("it never came: %s", what)
	}
}

// A request is one HTTP request at a door, as a stock client sends it.
type request struct {
	door   client.Door // whose token is sent; none when empty
	method string      // GET when empty
	path   string
	body   string
	header map[string]string
	bearer string // instead of the person's own token
}

func (r *story) build(ctx context.Context, q request) *http.Request {
	r.t.Helper()
	if q.method == "" {
		q.method = http.MethodGet
	}
	h, err := http.NewRequestWithContext(ctx, q.method, r.server.External()+q.path, strings.NewReader(q.body))
	if err != nil {
		r.t.Fatal(err)
	}
	if q.body != "" {
		h.Header.Set("Content-Type", "application/json")
	}
	if q.bearer == "" && r.who != nil && q.door != "" {
		if q.bearer, err = r.who.token(ctx, q.door); err != nil {
			r.t.Fatalf("%s gets no token: %v", r.who.id, err)
		}
	}
	if q.bearer != "" {
		h.Header.Set("Authorization", "Bearer "+q.bearer)
	}
	for k, v := range q.header {
		h.Header.Set(k, v)
	}
	return h
}

// Send sends a request and keeps what came back.
func (r *story) Send(q request) *story {
	r.t.Helper()
	h := r.build(r.t.Context(), q)
	r.last = seen{what: h.Method + " " + q.path}
	a, err := r.wire.Do(h)
	if err != nil {
		r.last.err = err
		return r
	}
	defer a.Body.Close()
	r.last.body, r.last.err = io.ReadAll(a.Body)
	r.last.status, r.last.header, r.last.decision = a.StatusCode, a.Header, a.Header.Get("Sallyport-Decision")
	_ = json.Unmarshal(r.last.body, &r.last.api) // other doors say it otherwise
	r.answered(r.last)
	if r.last.decision == "" {
		r.last.decision = r.last.api.Decision
	}
	return r
}

// Pull takes weights as Hugging Face clients do, Read another file of the model.
func (r *story) Pull(model string) *story { r.t.Helper(); return r.Read(model, weights) }

func (r *story) Read(model, file string) *story {
	r.t.Helper()
	return r.Send(request{door: client.Hub, path: hubFile(model, file)})
}

func hubFile(model, file string) string { return "/hf/" + model + "/resolve/main/" + file }

func vaultFile(model, file string) string {
	return "/vault/v1/" + model + "/versions/main/files/" + file
}

// PullVault takes weights through Sallyport's own dialect.
func (r *story) PullVault(model string) *story { r.t.Helper(); return r.ReadVault(model, weights) }

func (r *story) ReadVault(model, file string) *story {
	r.t.Helper()
	return r.Send(request{door: client.Vault, path: vaultFile(model, file)})
}

// Infer calls a model as OpenAI clients do.
func (r *story) Infer(model string) *story { r.t.Helper(); return r.Send(chat(model, false, 1)) }

func chat(model string, stream bool, tokens int) request {
	return request{door: client.OpenAI, method: http.MethodPost, path: "/openai/v1/chat/completions",
		body: fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hello"}],"max_tokens":%d,"stream":%t}`, model, tokens, stream)}
}

// heard keeps the answer of the management API.
func (r *story) heard(what string, err error) *story {
	r.last = seen{what: what, status: http.StatusOK}
	e, ok := errors.AsType[*client.Error](err)
	switch {
	case ok:
		r.last.api, r.last.status, r.last.decision = e.API, e.API.Status, e.API.Decision
		if e.API.Status == 0 {
			r.last.err = e
		}
	case err != nil:
		r.last.err = err
	}
	return r
}

// Request asks for a grant, and returns the request.
func (r *story) Request(a sallyport.Action, resource, d string) api.Request {
	r.t.Helper()
	x, err := r.who.client.Ask(r.t.Context(), api.Ask{Action: a, Resource: resource, For: d, Why: "the story needs it"})
	r.heard("request", err)
	return x
}

// Approve votes yes on a request.
func (r *story) Approve(x api.Request) api.Request {
	r.t.Helper()
	after, err := r.who.client.Vote(r.t.Context(), x, true, "fine")
	r.heard("approve", err)
	return after
}

// Lock places a hold and returns it with what it cut; Unlock lifts it.
func (r *story) Lock(target string) api.Hold {
	r.t.Helper()
	h, err := r.who.client.Lock(r.t.Context(), api.Lock{Target: target, Why: "the story needs it"})
	r.heard("lock "+target, err)
	return h
}

func (r *story) Unlock(h api.Hold, why string) *story {
	r.t.Helper()
	_, err := r.who.client.Unlock(r.t.Context(), h.ID, api.Lock{Target: h.Target, Why: why, Without: "other stories go on"})
	return r.heard("unlock "+h.Target, err)
}

// Want checks the last decision: its outcome and, when named, its reasons, as the
// log has them; and that it can be made again from the log alone.
func (r *story) Want(outcome string, reasons ...string) *story {
	r.t.Helper()
	if r.last.err != nil {
		r.t.Errorf("%s: %v, want %s", r.last.what, r.last.err, outcome)
		return r
	}
	if r.last.decision == "" {
		r.t.Errorf("%s: answered %d without a decision, want %s: %.300s", r.last.what, r.last.status, outcome, r.last.body)
		return r
	}
	e, w := r.decided(r.last.decision)
	if e.Outcome != outcome || len(reasons) > 0 && !slices.Equal(e.Reasons, reasons) {
		r.t.Errorf("%s: %s because of %q, want %s because of %q", r.last.what, e.Outcome, e.Reasons, outcome, reasons)
	}
	if e.Type == sallyport.EventDecided && (w.Replay == nil || !w.Replay.Same) {
		r.t.Errorf("%s: the decision made again is %+v", r.last.what, w.Replay)
	}
	if (outcome == allowed) != (r.last.status < 300) {
		r.t.Errorf("%s: %s answered %d", r.last.what, outcome, r.last.status)
	}
	return r
}

// WantStatus checks the status of the last answer.
func (r *story) WantStatus(status int) *story {
	r.t.Helper()
	if r.last.err != nil || r.last.status != status {
		r.t.Errorf("%s: answered %d (%v), want %d: %.300s %s", r.last.what, r.last.status, r.last.err, status, r.last.body, r.last.api.Message)
	}
	return r
}

// decided reads a decision as the auditor does.
func (r *story) decided(id string) (sallyport.Logged, api.Why) {
	r.t.Helper()
	alba, err := r.person(r.t.Context(), "alba")
	if err != nil {
		r.t.Fatal(err)
	}
	var w api.Why
	soon(func() bool { // the index follows the log, and is waited for seconds only
		w, err = alba.client.Why(r.t.Context(), id)
		e, refused := errors.AsType[*client.Error](err)
		return !refused || e.API.Status != http.StatusServiceUnavailable
	})
	if err != nil {
		r.t.Fatalf("decision %s: %v", id, err)
	}
	l, err := sallyport.DecodeLogged(w.Decided.Leaf)
	if err != nil {
		r.t.Fatal(err)
	}
	return l, w
}

// A transfer is an answer that is read while other things happen.
type transfer struct {
	status   int
	decision string
	first    chan struct{} // closed when the first bytes came
	goOn     chan struct{} // close it to read the rest
	ended    chan struct{} // closed at the end
	got      atomic.Int64
	text     []byte // after ended
	err      error  // after ended: io.EOF for a whole answer
}

// Begin sends a request and reads the first bytes of its answer. With wait it
// reads on only when told.
func (r *story) Begin(q request, wait bool) *transfer {
	r.t.Helper()
	a, err := r.wire.Do(r.build(context.WithoutCancel(r.t.Context()), q))
	if err != nil {
		r.t.Fatal(err)
	}
	t := &transfer{status: a.StatusCode, decision: a.Header.Get("Sallyport-Decision"),
		first: make(chan struct{}), goOn: make(chan struct{}), ended: make(chan struct{})}
	if !wait {
		close(t.goOn)
	}
	r.t.Cleanup(func() { a.Body.Close() })
	go t.read(a.Body)
	select {
	case <-t.first:
	case <-t.ended:
		r.t.Fatalf("%s ended at once: %d %v %.200s", q.path, t.status, t.err, t.text)
	}
	return t
}

func (t *transfer) read(body io.ReadCloser) {
	defer close(t.ended)
	defer body.Close()
	var keep bytes.Buffer
	buffer := make([]byte, 16<<10)
	for n := 0; ; {
		n, t.err = body.Read(buffer)
		keep.Write(buffer[:n])
		if t.got.Add(int64(n)) == int64(n) && n > 0 {
			close(t.first)
			<-t.goOn
		}
		if t.err != nil {
			t.text = keep.Bytes()
			return
		}
	}
}

// End waits for the end of a transfer.
func (r *story) End(t *transfer) *transfer {
	r.t.Helper()
	select {
	case <-t.ended:
	case <-time.After(patience):
		r.t.Fatal("the answer goes on and on")
	}
	return t
}

// whole reports whether the answer came to its proper end.
func (t *transfer) whole() bool { return errors.Is(t.err, io.EOF) }
