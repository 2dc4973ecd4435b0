package server

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/token/exchange"
	"sallyport/internal/identity/workload"
	"sallyport/internal/plumbing/secret"
)

// Workloads says which issuers of workload proofs may be called for their keys although they are not on the public
// Internet. Which proofs are trusted is said by trust rules, not here.
type Workloads struct {
	Issuers      []string `yaml:"issuers"`       // https addresses; of each its host counts
	AuthorityPEM string   `yaml:"authority_pem"` // file of the authorities that vouch for them; "" = the system's
}

// The roles that a service may hold on the system: what copies the log, and what proposes policies from their repository,
// need them there. They give no more than the policies say.
const (
	auditors  = "auditor"
	proposers = "policy-ci"
)

func (w Workloads) below(dir string) Workloads {
	if w.AuthorityPEM != "" && !filepath.IsAbs(w.AuthorityPEM) {
		w.AuthorityPEM = filepath.Join(dir, w.AuthorityPEM)
	}
	return w
}

func (s *Server) openWorkloads() error {
	var hosts []*url.URL
	for _, one := range s.config.Workloads.Issuers {
		u, err := url.Parse(one)
		if err != nil || u.Scheme != "https" || u.Host == "" {
			return sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("%.80q of \"workloads: issuers\" is not an https address", one), "")
		}
		hosts = append(hosts, u)
	}
	roots, err := authorities(s.config.Workloads.AuthorityPEM)
	if err != nil {
		return err
	}
	s.rooms.workloads = &workload.Service{Store: s.db.Workload(), Issuer: s.config.External, Now: s.clock, Client: providerClient(hosts, roots),
		Audiences: []string{s.config.External + hubPrefix, s.config.External + apiPrefix}}
	s.rooms.exchange.Workload = func(ctx context.Context, client string, proof secret.Text) (exchange.Workload, error) {
		p, err := s.rooms.workloads.Verify(ctx, proof, client)
		return exchange.Workload{Principal: p.Principal, Scope: p.Scope, Expires: p.Expires, Rule: p.Rule}, err
	}
	return nil
}

// machines reports whether a service or an agent that was not removed is in a group.
func (r *rooms) machines(ctx context.Context, subject string) (bool, error) {
	d, err := r.directory.Dump(ctx)
	if err != nil {
		return false, err
	}
	group := strings.TrimPrefix(subject, "group:")
	for _, m := range d.Members {
		if m.ID.Kind() == sallyport.User || m.State == directory.Removed {
			continue
		}
		for _, g := range d.Above(m.Groups) {
			if g == group {
				return true, nil
			}
		}
	}
	return false, nil
}
