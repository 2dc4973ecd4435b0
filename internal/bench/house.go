package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"sallyport"
	"sallyport/client"
	"sallyport/examples/acme"
	"sallyport/internal/demo/people"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/server"
	"sallyport/internal/web/api"
)

// A house is a server as an operator would run it, on the example organisation's
// policies, with an administrator and one caller who have signed in through its
// pages.
type house struct {
	dir    string
	config server.Config
	server *server.Server
	admin  *client.Client
	caller *client.Client
}

// The names in a house.
const (
	organisation = "bench"
	project      = organisation + "/speed"
	model        = organisation + "/model"
	weights      = "model.safetensors"
)

// everything lets the two people of a house do whatever the example organisation
// does not forbid.
const everything = `@id("bench.everything") @owner("bench") @requirement("AZ-1")
permit(principal is User, action, resource);
`

// openHouse starts a server in dir with the model bound to an upstream.
func openHouse(ctx context.Context, dir, upstream string, plaintext bool) (*house, error) {
	policies := filepath.Join(dir, "policies")
	shipped, err := fs.Sub(acme.Files, "policies")
	if err != nil {
		return nil, err
	}
	if err := os.CopyFS(policies, shipped); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(policies, "bench.cedar"), []byte(everything), 0o600); err != nil {
		return nil, err
	}
	h := &house{dir: dir, config: server.Config{Listen: "127.0.0.1:0", Data: filepath.Join(dir, "data"), KeyFile: filepath.Join(dir, "keys", "kek"),
		Plaintext: plaintext, Admin: "admin", Policies: policies}}
	if upstream != "" {
		h.config.Upstreams = []server.Upstream{{Name: "local", URL: upstream}}
		h.config.Models = []server.ModelBinding{{Model: model, Upstream: "local", Name: "local"}}
	}
	if h.server, err = server.Start(ctx, h.config, quiet()); err != nil {
		return nil, err
	}
	if err := h.furnish(ctx); err != nil {
		return nil, errors.Join(err, h.server.Close())
	}
	return h, nil
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// furnish signs the administrator in, adds a model and the caller, and signs the
// caller in.
func (h *house) furnish(ctx context.Context) error {
	admin, err := h.signIn(ctx, "admin", h.server.FirstLink)
	if err != nil {
		return fmt.Errorf("sign in the administrator: %w", err)
	}
	for _, t := range []api.Thing{{Resource: "org:" + organisation}, {Resource: "project:" + project},
		{Resource: model, Project: project, Class: sallyport.Internal}} {
		if _, err := admin.Add(ctx, t); err != nil {
			return err
		}
	}
	h.admin = admin
	h.caller, err = h.join(ctx, "caller")
	return err
}

// join adds a person and signs them in.
func (h *house) join(ctx context.Context, name string) (*client.Client, error) {
	m := api.Member{ID: sallyport.PrincipalID("user:" + name), Org: organisation, Display: name}
	if _, err := h.admin.AddPerson(ctx, m); err != nil {
		return nil, err
	}
	invited, err := h.admin.Enrol(ctx, m.ID)
	if err != nil {
		return nil, err
	}
	c, err := h.signIn(ctx, name, invited.Link)
	if err != nil {
		return nil, fmt.Errorf("sign in %s: %w", name, err)
	}
	return c, nil
}

// signIn enrols a person by their link and signs their command line in.
func (h *house) signIn(ctx context.Context, name, link string) (*client.Client, error) {
	p, err := people.New(name, people.House{Server: h.server.External(), CAFile: h.server.CA(), Plaintext: h.config.Plaintext, Dir: filepath.Join(h.dir, "people")})
	if err != nil {
		return nil, err
	}
	if err := p.Enrol(ctx, link); err != nil {
		return nil, err
	}
	return p.Client, p.Login(ctx, sallyport.NoAssurance)
}

// trust is the TLS configuration of a client of the server, nil for plaintext.
func (h *house) trust() (*tls.Config, error) {
	if h.server.CA() == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(h.server.CA())
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("the server's CA file holds no certificate")
	}
	return &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}, nil
}

// token is a fresh access token of the caller for one door.
func (h *house) token(ctx context.Context, door client.Door) (secret.Text, error) {
	t, _, err := h.caller.Token(ctx, door, nil)
	return t, err
}

func (h *house) data(parts ...string) string {
	return filepath.Join(append([]string{h.config.Data}, parts...)...)
}

// request writes an HTTP/1.1 request as the thin client sends it.
func request(method, host, path string, header map[string]string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	for name, value := range header {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	if body != nil {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}
