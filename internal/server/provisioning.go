package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"sallyport"
	"sallyport/internal/identity/intake"
	"sallyport/internal/identity/provision"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/web/admin"
	"sallyport/internal/web/api"
	"sallyport/internal/web/scim"
)

// A SCIMSource is a provider that keeps people and groups here.
type SCIMSource struct {
	Source       string   `yaml:"source"`       // its name in the records
	Organisation string   `yaml:"organisation"` // whose people it keeps
	Principal    string   `yaml:"principal"`    // service:NAME, an account for this source alone
	Domains      []string `yaml:"domains"`      // of the addresses that people sign in with; the part before the @ names the account
}

// scimPrefix is the end of the audience of a source's tokens.
const scimPrefix = "/scim"

func (x SCIMSource) source() provision.Source {
	return provision.Source{Name: x.Source, Organisation: x.Organisation, Principal: sallyport.PrincipalID(x.Principal), Domains: x.Domains}
}

// checkSources wants every source, and its account, once.
func (c *Config) checkSources() error {
	seen := map[string]bool{}
	for _, x := range c.SCIM {
		if err := x.source().Check(); err != nil {
			return err
		}
		if seen[x.Source] || seen[x.Principal] {
			return sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("the source %s or its account is there twice", x.Source), "give each source a name and an account of its own")
		}
		seen[x.Source], seen[x.Principal] = true, true
	}
	return nil
}

// openProvisioning adds the door for upstream providers.
func (s *Server) openProvisioning(mux *http.ServeMux) {
	by := map[sallyport.PrincipalID]provision.Source{}
	for _, x := range s.config.SCIM {
		by[sallyport.PrincipalID(x.Principal)] = x.source()
	}
	s.rooms.provisioned = &provision.Service{Store: s.db.Provision(), Now: s.clock, Random: rand.Reader}
	keeper := &intake.Service{Records: s.rooms.provisioned, Directory: s.rooms.directory, Roles: s.rooms.roles, Leaver: s.rooms.leaver,
		Places: s.config.External + scim.Prefix, Note: s.noteOnly}
	mux.Handle(scim.Prefix+"/", scim.New(scim.Config{Guard: s.guard, Audience: s.config.External + scimPrefix, Intake: keeper,
		Source: func(id sallyport.PrincipalID) (provision.Source, bool) { x, ok := by[id]; return x, ok },
		Enforce: func(ctx context.Context) error {
			err := s.facts.Sync(ctx)
			s.guard.Sweep(ctx, 0)
			return err
		}, Logger: s.logger}))
}

// adminSources is what the management API shows and does of sources.
func (s *Server) adminSources() admin.Sources {
	return admin.Sources{
		List: func(ctx context.Context) ([]api.Source, error) {
			counts, err := s.rooms.provisioned.Store.Counts(ctx)
			out := []api.Source{}
			for _, x := range s.config.SCIM {
				n := counts[x.Source]
				out = append(out, api.Source{Name: x.Source, Organisation: x.Organisation, Principal: sallyport.PrincipalID(x.Principal), Domains: x.Domains,
					URL: s.config.External + scim.Prefix, Users: n[provision.User], Groups: n[provision.Group]})
			}
			return out, err
		},
		Token: s.sourceToken,
	}
}

// sourceToken issues an access token for a source's account, for connecting it and
// for trials. A provider that can gets its own by client credentials.
func (s *Server) sourceToken(ctx context.Context, name string) (text string, expires time.Time, err error) {
	for _, x := range s.config.SCIM {
		if x.Source != name {
			continue
		}
		client := clients.Client{ID: "sallyport-cli", Method: clients.PrivateKey, Grants: []clients.Grant{clients.Credentials}, Principal: sallyport.PrincipalID(x.Principal),
			Scopes:    sallyport.Scope{string(sallyport.IdentityRead), string(sallyport.IdentityAdminister)},
			Default:   sallyport.Scope{string(sallyport.IdentityRead), string(sallyport.IdentityAdminister)},
			Audiences: []string{s.config.External + scimPrefix}}
		issued, err := s.rooms.exchange.Credentials(ctx, token.By{Client: client}, token.Want{})
		if err != nil {
			return "", time.Time{}, err
		}
		return issued.Text(), issued.Expires, nil
	}
	return "", time.Time{}, sallyport.E("source token", sallyport.NotFound, fmt.Sprintf("there is no source %.80q", name), "the configuration lists them under \"scim\"")
}
