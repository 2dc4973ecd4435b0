package main

import (
	"cmp"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) clients() *cobra.Command {
	return noun(&cobra.Command{Use: "clients", Short: "Programs that may ask for tokens (OAuth clients)"},
		a.clientsAdd(), a.clientsList(), a.clientsShow(), a.clientsRemove())
}

func (a *app) clientsAdd() *cobra.Command {
	var p program
	c := &cobra.Command{
		Use: "add ID", Short: "Register a program", Args: arguments("ID"),
		Long: `Register a program that may ask for tokens. Without --method it is public: it is known by its redirect addresses and PKCE.
Grants are authorization_code, refresh_token, client_credentials and, in short, device and exchange.`,
		Example: `  sallyport clients add mlflow --name MLflow --redirect https://mlflow.acme.example/callback --grant authorization_code --grant refresh_token \
      --scope model.read --audience https://sally.acme.example/api --method private_key_jwt --keys mlflow.jwks --push --bind
  sallyport clients add trainer --name Trainer --method private_key_jwt --keys t.jwks --principal service:trainer --grant client_credentials \
      --scope model.pull@acme/base --audience https://sally.acme.example/vault`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.parse(args[0]); err != nil {
				return err
			}
			return do(cmd.Context(), a, with((*client.Client).AddProgram, p.Program), func(p api.Program) { a.line("the client %s is registered", p.ID) })
		},
	}
	p.flags(c)
	return c
}

// A program is what is said of one on the command line.
type program struct {
	api.Program
	keys, authority string // files
	principal       string
}

func (p *program) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&p.Name, "name", "", "the `NAME` that people read")
	f.StringVar(&p.Method, "method", "none", "how it proves who it is")
	f.StringArrayVar(&p.Grants, "grant", nil, "a grant type; may be repeated")
	f.StringArrayVar(&p.Scopes, "scope", nil, "`ACTION@RESOURCE` that it may ask for; may be repeated")
	f.StringArrayVar(&p.Default, "default", nil, "`ACTION@RESOURCE` when it asks for none")
	f.StringArrayVar(&p.Audiences, "audience", nil, "`URL` that its tokens may be for, the default first")
	f.StringArrayVar(&p.RedirectURIs, "redirect", nil, "redirect `URL`; may be repeated")
	f.StringVar(&p.Loopback, "loopback", "", "`PATH` on a loopback address, for programs on people's computers")
	f.StringVar(&p.keys, "keys", "", "`FILE` with its public keys (JWKS)")
	f.StringVar(&p.Thumbprint, "thumbprint", "", "SHA-256 of its certificate, base64url")
	f.StringVar(&p.authority, "authority", "", "`FILE` with the authority of its certificates (PEM)")
	f.StringVar(&p.Certificate, "certificate", "", "the DNS or URI `NAME` in its certificates")
	f.BoolVar(&p.TokenEndpointAudience, "token-endpoint-audience", false, "accept assertions for the token endpoint, for old programs")
	f.StringVar(&p.principal, "principal", "", "`service:NAME` or agent:NAME that it is by itself")
	f.StringArrayVar(&p.Serves, "serves", nil, "`URL` whose tokens it may introspect")
	f.BoolVar(&p.Push, "push", false, "it must push its authorization requests")
	f.BoolVar(&p.Bind, "bind", false, "its tokens must be bound to a key")
	f.StringVar(&p.Overlap, "overlap", "", "`TIME`, up to 30s, in which a refresh token works twice for the same key")
	f.StringArrayVar(&p.PostLogout, "post-logout", nil, "`URL` to which a sign-out may lead")
	f.StringVar(&p.LogoutURI, "logout", "", "`URL` that is told when a session ends")
	complete(c, "method", "none", "private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth")
	complete(c, "grant", "authorization_code", "refresh_token", "client_credentials", "device", "exchange")
	completeActions(c, "scope")
	completeActions(c, "default")
}

// grantNames are the short names of grant types that have long ones.
func grantNames() map[string]string {
	return map[string]string{"device": "urn:ietf:params:oauth:grant-type:device_code", "exchange": "urn:ietf:params:oauth:grant-type:token-exchange"}
}

// parse reads what the flags name.
func (p *program) parse(id string) (err error) {
	p.ID = id
	for i, g := range p.Grants {
		p.Grants[i] = cmp.Or(grantNames()[g], g)
	}
	if p.principal != "" {
		if p.Principal, err = sallyport.ParsePrincipalID(p.principal); err != nil {
			return err
		}
	}
	if p.keys != "" {
		if p.Keys, err = readSmall(p.keys); err != nil {
			return err
		}
	}
	if p.authority != "" {
		raw, err := readSmall(p.authority)
		if err != nil {
			return err
		}
		p.Authority = string(raw)
	}
	return nil
}

// readSmall reads a file of at most 64 KiB.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, sallyport.Wrap("read file", sallyport.Invalid, path+" cannot be opened", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, 64<<10+1))
	if err != nil || len(raw) > 64<<10 {
		return nil, sallyport.Wrap("read file", sallyport.Invalid, path+" cannot be read or is over 64 KiB", err)
	}
	return raw, nil
}

func (a *app) clientsList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the programs", Args: arguments(),
		Example: "  sallyport clients ls --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := table{none: "there are no clients", headings: []string{"ID", "NAME", "PROVES ITSELF BY", "AS", "GRANTS"}}
			return rows(cmd.Context(), a, (*client.Client).Programs, t, func(p api.Program) []string {
				return []string{p.ID, p.Name, p.Method, string(p.Principal), shortGrants(p.Grants)}
			})
		},
	}
}

func shortGrants(grants []string) string {
	all := make([]string, len(grants))
	for i, g := range grants {
		all[i] = g[strings.LastIndexByte(g, ':')+1:]
	}
	return strings.Join(all, ", ")
}

func (a *app) clientsShow() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show all that is registered about a program", Args: arguments("ID"),
		Example: "  sallyport clients show mlflow",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			p, err := c.Program(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.encode(p)
		},
	}
}

func (a *app) clientsRemove() *cobra.Command {
	return &cobra.Command{
		Use: "rm ID", Short: "Remove a program; everything that it was given ends, and its id is never given again", Args: arguments("ID"),
		Example: "  sallyport clients rm mlflow",
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, done((*client.Client).RemoveProgram, args[0], api.Program{ID: args[0]}), func(p api.Program) {
				a.line("the client %s is removed", p.ID)
			})
		},
	}
}
