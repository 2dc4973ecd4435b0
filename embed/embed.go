// Package embed owns the guard inside another Go server: it asks a running Sallyport before the server does what it was
// asked for, and hands out a Permit for that one act and nothing weaker.
//
// The guard itself cannot run twice over one data directory: there is one log, one writer of it, and one place where a
// revocation is felt. So this is an enforcement point of that server (OpenID AuthZEN Authorization API 1.0, with an account
// of its own): it holds no policy, no facts and no decision from before. Every call is decided and written down there before
// this package answers, and while a permit is open it is asked again, so that what was revoked ends here too.
//
// Closed by default: what cannot be asked, read or carried out is refused. What was delivered under a permit is not
// reported: the log of the server has the decision and not the bytes.
//
// It leaves deciding to the server, and what is done under a permit to its callers.
package embed

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	strict "github.com/go-json-experiment/json"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/enforce/authzen/wire"
)

// Config says which server is asked, and as whom. Server and Token are needed.
type Config struct {
	Server    string // external URL of Sallyport: https://HOST[:PORT]
	CAFile    string // PEM file of authorities that are trusted beside the system's; "" = those alone
	Plaintext bool   // permits http:// to a loopback address
	// Token returns this server's own access token, for the audience SERVER/access. It is called for each question.
	Token func(ctx context.Context) (string, error)
	// Certificate is this server's client certificate, for mutual TLS; nil: none is shown.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// CarryOut is what this server carries out besides limit-bytes, which Protect does. A permission that obliges to anything
	// else is refused.
	CarryOut []sallyport.ObligationKind
	// Again is how often an open permit is asked again: between a second and a minute, 5 seconds by default. What was revoked
	// ends at most so much, and one question's time, later.
	Again time.Duration
	HTTP  *http.Client // nil: one with limits that trusts CAFile; one that is given must not follow redirects
}

// Limits.
const (
	defaultAgain = 5 * time.Second
	askWait      = 10 * time.Second
	maxAnswer    = 1 << 20
)

// A Guard asks one server. Make it with Open; it is safe for concurrent use.
type Guard struct {
	cfg    Config
	server string
	http   *http.Client
}

// Open checks a configuration. It asks nobody.
func Open(cfg Config) (*Guard, error) {
	const op = "open guard"
	server, err := client.ParseServer(cfg.Server, cfg.Plaintext)
	if err != nil {
		return nil, err
	}
	if cfg.Token == nil {
		return nil, sallyport.E(op, sallyport.Invalid, "there is no token of this server's own", "set Token")
	}
	if cfg.Again == 0 {
		cfg.Again = defaultAgain
	}
	if cfg.Again < time.Second || cfg.Again > time.Minute {
		return nil, sallyport.E(op, sallyport.Invalid, "Again is not between a second and a minute", "")
	}
	g := &Guard{cfg: cfg, server: server, http: cfg.HTTP}
	if g.http == nil {
		if g.http, err = newHTTP(cfg); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func newHTTP(cfg Config) (*http.Client, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil || !roots.AppendCertsFromPEM(pem) {
			return nil, sallyport.Wrap("open guard", sallyport.Invalid, "the file "+cfg.CAFile+" holds no certificate", err)
		}
	}
	return &http.Client{Timeout: askWait, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: askWait, ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, GetClientCertificate: cfg.Certificate}}}, nil
}

// A Call is one question: who wants to do what on what.
type Call struct {
	Action   sallyport.Action
	Resource sallyport.Ref
	File     string // path inside a version, "" for the whole
	IP       string // of who asks, textual; "" when unknown
	// To is the environment that a promotion goes to, or a deployment runs in; "" for every other action.
	To  sallyport.Environment
	Who sallyport.PrincipalID
	// Token is Who's own access token for the audience SERVER/access, which proves them. It may be empty only where Sallyport
	// believes this server (authzen.points.believed); then Assurance is how strongly they were proved here, at most what the
	// registration says.
	Token     string
	Assurance sallyport.Assurance
}

// An Answer is what was decided. A refusal is an answer, not an error.
type Answer struct {
	ID      string            // of the decision, "D-…"; "" where none was made
	Outcome sallyport.Outcome // of Sallyport
	Hidden  bool              // with a refusal: Who may not know that the resource exists
	Message string            // for Who: the reason and what would help
	Needs   sallyport.Assurance
	Permit  *Permit // nil unless the outcome is sallyport.Allow
}

// Check asks one question. An error means that nothing was decided: sallyport.Unavailable when the server cannot be asked
// or its answer cannot be read. In every such case nothing was permitted.
func (g *Guard) Check(ctx context.Context, c Call) (Answer, error) {
	a, obligations, err := g.ask(ctx, c)
	if err != nil || a.Outcome != sallyport.Allow {
		return a, err
	}
	p := &Permit{guard: g, call: c, id: a.ID, obligations: obligations}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	p.watch.Go(p.follow)
	a.Permit = p
	return a, nil
}

// ask asks one question and reads the answer.
func (g *Guard) ask(ctx context.Context, c Call) (Answer, []sallyport.Obligation, error) {
	const op = "ask for a decision"
	q, err := question(c)
	if err != nil {
		return Answer{}, nil, err
	}
	token, err := g.cfg.Token(ctx)
	if err != nil {
		return Answer{}, nil, sallyport.Wrap(op, sallyport.Unavailable, "this server has no token to ask with", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.server+wire.EvaluationPath, bytes.NewReader(q))
	if err != nil {
		return Answer{}, nil, sallyport.Wrap(op, sallyport.Invalid, "the question cannot be sent", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := g.http.Do(r)
	if err != nil {
		return Answer{}, nil, sallyport.Wrap(op, sallyport.Unavailable, "Sallyport cannot be asked, so nothing is served", err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil || len(raw) > maxAnswer || res.StatusCode != http.StatusOK {
		return Answer{}, nil, sallyport.Wrap(op, sallyport.Unavailable, fmt.Sprintf("Sallyport answers with %d, so nothing is served", res.StatusCode), err)
	}
	var d wire.Decision
	if err := strict.Unmarshal(raw, &d); err != nil {
		return Answer{}, nil, sallyport.Wrap(op, sallyport.Unavailable, "the answer of Sallyport cannot be read", err)
	}
	return g.read(d)
}

func question(c Call) ([]byte, error) {
	if !c.Action.Valid() || c.Resource.Kind == "" || c.Who.Name() == "" {
		return nil, sallyport.E("ask for a decision", sallyport.Invalid, "the question has no action, resource or subject", "")
	}
	context := map[string]any{}
	for name, value := range map[string]string{"subject_token": c.Token, "ip": c.IP} {
		if value != "" {
			context[name] = value
		}
	}
	subject := &wire.Entity{Type: string(c.Who.Kind()), ID: c.Who.Name()}
	if c.Token == "" {
		subject.Properties = map[string]any{"acr": c.Assurance.String()}
	}
	resource := &wire.Entity{Type: string(c.Resource.Kind), ID: strings.TrimPrefix(c.Resource.String(), prefix(c.Resource.Kind))}
	if c.File != "" {
		resource.Properties = map[string]any{"file": c.File}
	}
	action := &wire.Action{Name: string(c.Action)}
	if c.To != "" {
		action.Properties = map[string]any{"environment": string(c.To)}
	}
	return json.Marshal(wire.Request{Subject: subject, Action: action, Resource: resource, Context: context})
}

// prefix is what stands before the name in the spelling of a Ref.
func prefix(k sallyport.ResourceKind) string {
	if k == sallyport.OrganisationKind {
		return "org:"
	}
	return string(k) + ":"
}

// read reads a decision; what is not understood permits nothing.
func (g *Guard) read(d wire.Decision) (Answer, []sallyport.Obligation, error) {
	x := d.Context
	if x == nil {
		x = &wire.Context{}
	}
	a := Answer{ID: x.ID, Outcome: sallyport.Deny}
	if d.Decision {
		return g.allowed(a, x)
	}
	switch x.Outcome {
	case sallyport.StepUp.String():
		a.Outcome = sallyport.StepUp
		a.Needs, _ = sallyport.ParseAssurance(x.ACR) // what is not understood asks for nothing in particular, and permits nothing
	case sallyport.Hold.String():
		a.Outcome = sallyport.Hold
	}
	a.Message = "this is not permitted"
	for status, text := range x.Reason {
		a.Message, a.Hidden = text, status == "404"
	}
	if x.Error != nil {
		a.Message, a.Hidden = x.Error.Message, x.Error.Status == http.StatusNotFound
	}
	return a, nil, nil
}

// allowed is a permission, where it was written down and this server carries out what it obliges to.
func (g *Guard) allowed(a Answer, x *wire.Context) (Answer, []sallyport.Obligation, error) {
	if !strings.HasPrefix(x.ID, "D-") {
		return Answer{}, nil, sallyport.E("ask for a decision", sallyport.Unavailable, "the answer of Sallyport names no decision", "")
	}
	var list []sallyport.Obligation
	for _, o := range x.Obligations {
		duty, err := sallyport.ParseObligation(o.Properties["sallyport"])
		if err != nil || duty.Kind != sallyport.LimitBytes && !slices.Contains(g.cfg.CarryOut, duty.Kind) {
			a.Message = "Sallyport " + x.ID + ": this is permitted under a condition that this server cannot carry out"
			return a, nil, nil
		}
		list = append(list, duty)
	}
	a.Outcome = sallyport.Allow
	return a, list, nil
}
