// Package client owns calls to a Sallyport server from Go: signing in by OAuth 2.0 (RFC 6749 with PKCE, RFC 7636, over
// the loopback address, RFC 8252, or by device code, RFC 8628), tokens kept on disk, the management API, and moving
// models into the vault and out of it.
//
// It leaves every decision to the server, and talking to a person to its callers. Beside the standard library
// it uses internal/identity/jose, for proofs.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/web/api"
)

// Limits on what a server may answer, in bytes.
const (
	maxAnswer = 64 << 20 // JSON: a matrix of an organisation is long
	maxRefuse = 1 << 20
)

// Config says which server to call and how. The zero value is no server.
type Config struct {
	Server    string       // external URL: https://HOST[:PORT], without a path
	CAFile    string       // PEM file of authorities that are trusted beside the system's; "" = those alone
	Plaintext bool         // permits http:// to a loopback address, and nowhere else
	Tokens    TokenSource  // nil: Store, or no token at all
	Store     *Store       // where logins are kept; nil: they are not
	HTTP      *http.Client // nil: one with limits that trusts CAFile; one that is given has a Transport and must not follow redirects
	Key       *Key         // the key that logins are bound to: every token is asked for and used with its proof; nil: bearer tokens
	// Certificate returns the client certificate of this device, for mutual TLS; nil: none is shown.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
}

// A TokenSource gives access tokens. It is safe for concurrent use.
type TokenSource interface {
	// Token returns an access token for an audience, such as "https://HOST/api".
	Token(ctx context.Context, audience string) (secret.Text, error)
	// Refused tells that the server did not accept a token any more: it is not to be returned again.
	Refused(ctx context.Context, audience string, refused secret.Text)
}

// A Door is a part of a server that wants tokens of its own: a token is good at one door only.
type Door string

// The doors.
const (
	API    Door = "api"    // management
	Hub    Door = "hf"     // Hugging Face dialect
	OpenAI Door = "openai" // OpenAI dialect
	Vault  Door = "vault"  // push and pull
)

// Doors returns every door, the management API first.
func Doors() []Door { return []Door{API, Hub, OpenAI, Vault} }

// A Client calls one server. It is safe for concurrent use.
type Client struct {
	server string
	cfg    Config
	http   *http.Client
	tokens TokenSource
	pause  func(ctx context.Context, d time.Duration) error // between attempts
}

// New checks the configuration and reads the CA file. It calls nobody.
func New(cfg Config) (*Client, error) {
	server, err := ParseServer(cfg.Server, cfg.Plaintext)
	if err != nil {
		return nil, err
	}
	c := &Client{server: server, cfg: cfg, http: cfg.HTTP, tokens: cfg.Tokens, pause: pause}
	if c.http == nil {
		if c.http, err = newHTTP(cfg.CAFile, cfg.Certificate); err != nil {
			return nil, err
		}
	}
	if c.tokens == nil && cfg.Store != nil {
		c.tokens = &stored{client: c, store: cfg.Store}
	}
	return c, nil
}

// Server returns the server's URL, in its one spelling.
func (c *Client) Server() string { return c.server }

// Bound reports whether the client's tokens are bound to a key, so that nobody else can use them.
func (c *Client) Bound() bool { return c.cfg.Key != nil }

// Audience returns what a token for a door is for.
func (c *Client) Audience(d Door) string { return c.server + "/" + string(d) }

// ParseServer checks the URL of a server and returns its one spelling: scheme and host in lower case, no path.
// Plaintext is refused, except to this computer when it is asked for.
func ParseServer(raw string, plaintext bool) (string, error) {
	const op = "server address"
	bad := func(why, hint string) (string, error) {
		return "", sallyport.E(op, sallyport.Invalid, "\""+sallyport.OneLine(raw)+"\" "+why, hint)
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return bad("is not the address of a server", "write https://HOST or https://HOST:PORT")
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return bad("would send tokens in the clear", "write https://; http:// is for this computer only")
	case u.Scheme == "http" && !plaintext:
		return bad("is not encrypted", "write https://, or say --plaintext for a trial on this computer")
	case u.Scheme != "http":
		return bad("is not the address of a server", "write https://HOST or https://HOST:PORT")
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// newHTTP makes a client that trusts the system's authorities and those of a file, and follows no redirect: a token
// goes to the server that it is for.
func newHTTP(caFile string, certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)) (*http.Client, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, sallyport.E("read CA file", sallyport.Invalid, err.Error(), "give the file that the server wrote, with --ca FILE")
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, sallyport.E("read CA file", sallyport.Invalid, caFile+" holds no certificate", "give a PEM file")
		}
	}
	anywhere := func(netip.AddrPort) bool { return true } // a person's own machine calls whom the person names
	h := httpsafe.Client(anywhere, 4)
	t, ok := h.Transport.(*http.Transport)
	if !ok {
		return nil, sallyport.E("set up client", sallyport.Other, "the transport has another type", "")
	}
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, GetClientCertificate: certificate}
	t.ExpectContinueTimeout = 10 * time.Second // a long body waits for the server to want it
	t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	return h, nil
}

// pause waits, or returns early with the context's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// A request is one call to a door.
type request struct {
	op     string // for errors: what the caller wanted
	door   Door   // "": public, no token is shown
	method string
	path   string     // below the server, escaped
	query  url.Values // may be nil
	header http.Header
	body   []byte
	prove  bool // without a token: shows the proof of the key all the same
}

// send sends a request with a token and returns an answer of 200 or 206, which the caller closes. A token that the
// server does not accept any more is replaced once.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	for try := 0; ; try++ {
		token, err := c.token(ctx, r.door)
		if err != nil {
			return nil, err
		}
		answer, err := c.once(ctx, r, token)
		if err != nil {
			return nil, err
		}
		if answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusPartialContent {
			return answer, nil
		}
		refusal := refused(r.op, answer)
		if refusal.API.Status == http.StatusUnauthorized && refusal.API.Outcome == "" && !token.IsZero() {
			c.tokens.Refused(ctx, c.Audience(r.door), token)
			if try == 0 {
				continue
			}
		}
		return nil, refusal
	}
}

func (c *Client) token(ctx context.Context, d Door) (secret.Text, error) {
	if c.tokens == nil || d == "" {
		return secret.Text{}, nil
	}
	return c.tokens.Token(ctx, c.Audience(d))
}

// once sends a request, and a second time where the server wants a newer nonce in the proof.
func (c *Client) once(ctx context.Context, r request, token secret.Text) (*http.Response, error) {
	answer, err := c.try(ctx, r, token)
	if err == nil && c.cfg.Key.learn(answer.Request, answer) {
		answer.Body.Close()
		answer, err = c.try(ctx, r, token)
	}
	return answer, err
}

func (c *Client) try(ctx context.Context, r request, token secret.Text) (*http.Response, error) {
	address := c.server + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	q, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(r.body))
	if err != nil {
		return nil, sallyport.Wrap(r.op, sallyport.Invalid, "the request cannot be made", err)
	}
	for name, values := range r.header {
		q.Header[name] = values
	}
	q.Header.Set("User-Agent", "sallyport-client")
	if r.prove || !token.IsZero() {
		if err := c.authorize(q, token); err != nil {
			return nil, err
		}
	}
	answer, err := c.http.Do(q)
	if err != nil {
		return nil, unreachable(r.op, c.server, err)
	}
	return answer, nil
}

// call is send for JSON: in becomes the body, unless it is nil, and the answer is read into out, unless that is nil.
func (c *Client) call(ctx context.Context, r request, in, out any) error {
	r.header = http.Header{"Accept": {"application/json"}}
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return sallyport.Wrap(r.op, sallyport.Invalid, "the request has no JSON form", err)
		}
		r.body = body
		r.header.Set("Content-Type", "application/json")
	}
	answer, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := readAll(answer.Body, maxAnswer)
	if err != nil {
		return unreachable(r.op, c.server, err)
	}
	if out == nil {
		return nil
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = text
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return sallyport.Wrap(r.op, sallyport.Unavailable, "the answer of "+c.server+" is not what this version understands", err)
	}
	return nil
}

// readAll reads at most this many bytes; more is an error.
func readAll(r io.Reader, most int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(text)) > most {
		err = errors.New("the answer is too long")
	}
	return text, err
}

// refused reads a refusal and closes it. Servers of other kinds, or a proxy on the way, do not answer in our form.
func refused(op string, answer *http.Response) *Error {
	defer answer.Body.Close()
	e := &Error{Op: op}
	text, err := readAll(answer.Body, maxRefuse)
	if err != nil || json.Unmarshal(text, &e.API) != nil || e.API.Message == "" {
		e.API = api.Error{Message: "the server answered " + http.StatusText(answer.StatusCode) + " without saying why"}
		if kind := answer.Header.Get("Content-Type"); err == nil && strings.HasPrefix(kind, "text/plain") && len(text) > 0 {
			line, _, _ := strings.Cut(string(text), "\n")
			e.API.Message = strings.TrimPrefix(strings.ToValidUTF8(line[:min(len(line), 500)], ""), "sallyport: ")
		}
	}
	e.API.Status = answer.StatusCode
	return e
}
