package server_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/plumbing/softkey"
	"sallyport/internal/server"
	"sallyport/internal/web/api"
)

// The models of the stories. Ana is a developer of the project risk and nothing in
// the project language.
const (
	fraud = "acme/fraud" // restricted, in risk
	base  = "acme/base"  // internal, in risk
	keel  = "acme/keel"  // restricted, in language
	big   = "acme/big"   // internal, in risk; there once a story asked for it
	ghost = "acme/ghost" // is not there
)

// The files of each model.
const (
	weights   = "model.safetensors"
	tokenizer = "tokenizer.json"
	card      = "README.md"
)

// bigModel is more than the buffers between the server and a client that does not
// read, so that a download is still under way when it is cut.
const bigModel = 40 << 20

// A system is a running server with an upstream, an organisation and its people.
type system struct {
	dir      string
	config   server.Config
	server   *server.Server
	clock    *movedClock
	logs     *sink
	up       *upstream
	canaries *canaries
	maker    *softkey.Maker // of the authenticators that count as hardware

	mu     sync.Mutex
	people map[string]*person
	big    bool         // the big model is there
	served []string     // decisions that were answered with success
	errors bytes.Buffer // every refusal that was answered
	broken bool         // on purpose: an error at the end is expected
}

// A movedClock is the wall clock, moved forward by a test.
type movedClock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *movedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *movedClock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// A sink keeps what a server logs.
type sink struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *sink) Bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.text.Bytes())
}

// shared is one system for all stories that leave it as they found it. TestMain
// ends it.
var shared = sync.OnceValues(func() (*system, error) {
	dir, err := os.MkdirTemp("", "sallyport-story-")
	if err != nil {
		return nil, err
	}
	s, err := newSystem(context.Background(), dir, true, trail.Files{})
	if err == nil {
		sharedStarted = s
	}
	return s, err
})

var sharedStarted *system

func TestMain(m *testing.M) {
	code := m.Run()
	if s := sharedStarted; s != nil {
		if err := errors.Join(s.close(), os.RemoveAll(s.dir)); err != nil {
			fmt.Fprintln(os.Stderr, "the shared system did not end well:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// newSystem starts a system below dir and sets up acme in it, through the doors.
func newSystem(ctx context.Context, dir string, sealed bool, files trail.Files) (*system, error) {
	s := &system{dir: dir, clock: &movedClock{}, logs: &sink{}, people: map[string]*person{}, canaries: newCanaries()}
	s.up = newUpstream(s.canaries.add("upstream key"))
	key := filepath.Join(dir, "upstream.key")
	if err := os.WriteFile(key, []byte(s.up.key+"\n"), 0o600); err != nil {
		return nil, err
	}
	s.config = server.Config{Listen: "localhost:0", Data: filepath.Join(dir, "data"), KeyFile: filepath.Join(dir, "keys", "kek.json"),
		Admin: "adam", Organisation: "acme",
		AuthZEN:   server.AuthZEN{Points: []server.EnforcementPoint{{Service: "mesh", Believed: true, Assurance: "aal2", Bearer: true}}},
		Upstreams: []server.Upstream{{Name: "up", URL: s.up.URL + "/v1", KeyFile: key}}}
	if err := s.makeKeys(dir); err != nil {
		return nil, err
	}
	for _, m := range []string{fraud, base, keel, big} {
		s.config.Models = append(s.config.Models, server.ModelBinding{Model: m, Upstream: "up", Name: "served-" + filepath.Base(m)})
	}
	for name, org := range map[string]string{"okta": "acme", "entra": "acme"} {
		s.config.SCIM = append(s.config.SCIM, server.SCIMSource{Source: name, Organisation: org, Principal: "service:" + name, Domains: []string{"acme.example"}})
	}
	if sealed { // by a passphrase: a start then takes seconds
		s.config.PassphraseFile = filepath.Join(dir, "passphrase")
		if err := os.WriteFile(s.config.PassphraseFile, []byte(s.canaries.add("passphrase")+"\n"), 0o600); err != nil {
			return nil, err
		}
	}
	if err := s.start(ctx, files); err != nil {
		return nil, err
	}
	return s, s.setUp(ctx)
}

func (s *system) start(ctx context.Context, files trail.Files) error {
	logger := slog.New(slog.NewTextHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	one, err := server.StartOn(ctx, s.config, logger, s.clock.Now, files)
	if err == nil {
		s.server, s.config.Listen = one, strings.Replace(one.Addr(), "127.0.0.1", "localhost", 1) // a restart answers where it did
	}
	return err
}

func (s *system) close() error {
	s.up.Close()
	if err := s.server.Close(); err != nil && !s.broken {
		return err
	}
	return nil
}

// setUp enrols the first administrator with the link of the first start, who
// makes the organisation. Everybody else enrols when a story first needs them.
func (s *system) setUp(ctx context.Context) error {
	adam, err := s.newPerson("adam")
	if err != nil {
		return err
	}
	if err := adam.enrol(ctx, s.server.FirstLink); err != nil {
		return err
	}
	if err := adam.login(ctx); err != nil {
		return err
	}
	s.people["adam"] = adam
	if err := establish(ctx, adam.client); err != nil {
		return err
	}
	for _, m := range []struct{ who, name string }{{"ana", fraud}, {"ana", base}, {"tess", keel}} {
		p, err := s.person(ctx, m.who)
		if err != nil {
			return err
		}
		if err := s.push(ctx, p, m.name, 256<<10); err != nil {
			return err
		}
	}
	return nil
}

// answered keeps what the whole run is judged by.
func (s *system) answered(a seen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case a.status >= 400:
		s.errors.Write(a.body)
		fmt.Fprintln(&s.errors, a.header)
	case a.status < 300 && a.decision != "":
		s.served = append(s.served, a.decision)
	}
}

// pass lets time pass. It returns when the server has seen that it did: until then
// what is known is too old to decide on.
func (s *system) pass(ctx context.Context, d time.Duration) error {
	s.clock.Add(d)
	s.mu.Lock()
	adam := s.people["adam"]
	s.mu.Unlock()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		_, err := adam.client.Who(ctx)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// establish makes acme: the people and roles of examples/acme that the stories
// are about.
func establish(ctx context.Context, c *client.Client) error {
	if _, err := c.DefineGroup(ctx, api.Group{Name: "acme/staff"}); err != nil {
		return err
	}
	for _, r := range []api.Role{{Name: "reader"}, {Name: "model-developer", Inherits: []string{"reader"}}, {Name: "evaluator", Inherits: []string{"reader"}},
		{Name: "operator", Inherits: []string{"reader"}}, {Name: "assistant"}, {Name: "auditor"}, {Name: "governance-reviewer", Inherits: []string{"auditor"}},
		{Name: "security-reviewer", Inherits: []string{"auditor"}}} {
		if _, err := c.DefineRole(ctx, r); err != nil {
			return err
		}
	}
	for _, t := range []api.Thing{{Resource: "project:acme/risk"}, {Resource: "project:acme/language"},
		{Resource: fraud, Project: "acme/risk", Class: sallyport.Restricted, Owners: []sallyport.PrincipalID{"user:ana", "user:rita"}},
		{Resource: base, Project: "acme/risk", Class: sallyport.Internal},
		{Resource: keel, Project: "acme/language", Class: sallyport.Restricted}} {
		if _, err := c.Add(ctx, t); err != nil {
			return err
		}
	}
	for _, p := range []struct{ name, person, role, scopes string }{
		{"ana", "", "model-developer", "project:acme/risk"},
		{"ana.admin", "ana", "security-reviewer", "org:acme system"}, // her second account, with every right to approve
		{"tess", "", "model-developer", keel},
		{"eva", "", "evaluator", "org:acme"},
		{"oto", "", "operator", "org:acme"},
		{"rita", "", "security-reviewer", "org:acme system"},
		{"ravi", "", "security-reviewer", "org:acme system"},
		{"alba", "", "governance-reviewer", "org:acme system"},
		{"nora", "", "", ""},
	} {
		if err := join(ctx, c, p.name, p.person, p.role, p.scopes); err != nil {
			return err
		}
	}
	_, err := c.SetDuties(ctx, api.Duties{Resource: "org:acme", Owner: []string{"user:oto"}, Approver: []string{"user:rita"}, Monitor: []string{"user:rita"},
		Responder: []string{"user:ravi"}})
	return err
}

// join adds somebody, with a role on each of scopes.
func join(ctx context.Context, c *client.Client, name, person, role, scopes string) error {
	id := sallyport.PrincipalID("user:" + name)
	m := api.Member{ID: id, Org: "acme", Groups: []string{"acme/staff"}}
	if person != "" {
		m.Person = sallyport.PrincipalID("user:" + person)
	}
	if _, err := c.AddPerson(ctx, m); err != nil {
		return err
	}
	for scope := range splitSeq(scopes) {
		if _, err := c.Assign(ctx, api.Assignment{Subject: string(id), Role: role, Scope: scope}); err != nil {
			return fmt.Errorf("%s to %s on %s: %w", role, name, scope, err)
		}
	}
	return nil
}

// push sends a model of size bytes of weights, with tokenizer and card.
func (s *system) push(ctx context.Context, p *person, model string, size int) error {
	dir, err := os.MkdirTemp(s.dir, "model-")
	if err != nil {
		return err
	}
	for name, text := range modelFiles(model, size) {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	_, err = p.client.Push(ctx, dir, model, client.PushOptions{Alias: "main"})
	return errors.Join(err, os.RemoveAll(dir))
}

// modelFiles are the files of a model. Their bytes follow from its name.
func modelFiles(model string, size int) map[string][]byte {
	seed := [32]byte{}
	copy(seed[:], model)
	data := make([]byte, size)
	if _, err := rand.NewChaCha8(seed).Read(data); err != nil {
		panic(err) // cannot happen: it never fails
	}
	header := fmt.Sprintf(`{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}`, size, size)
	for len(header)%8 != 0 {
		header += " "
	}
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return map[string][]byte{
		weights:       append(append(file, header...), data...),
		tokenizer:     []byte(`{"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":[]}}`),
		"config.json": []byte(`{"architectures":["Tiny"]}`),
		card:          []byte("# " + model + "\n\nA model for tests.\n"),
	}
}
