package server

import (
	"context"
	"crypto/rand"
	"net/netip"
	"os"

	"sallyport/examples/acme"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/engines"
	"sallyport/internal/enforce/guard"
)

func (s *Server) openFacts(ctx context.Context) error {
	first, err := s.firstPolicies()
	if err != nil {
		return err
	}
	if s.rooms.policies, err = s.openPolicies(); err != nil {
		return err
	}
	engine, err := s.rooms.policies.Current(ctx, first)
	if err != nil {
		return err
	}
	if s.facts, err = facts.Open(ctx, s.sources(), engine, s.clock, s.logger); err != nil {
		return err
	}
	if err := s.openCaller(); err != nil {
		return err
	}
	s.guard = &guard.Guard{Who: s.rooms.caller.Who, Facts: s.facts, Record: s.trail.Record, Clock: s.clock, Rand: rand.Reader, Logger: s.logger, External: s.config.External}
	s.openMetric()
	return nil
}

// firstPolicies reads the set that a new system begins with.
func (s *Server) firstPolicies() (policy.Source, error) {
	if s.config.Policies != "" {
		return engines.Read(os.DirFS(s.config.Policies), ".")
	}
	src, err := engines.Read(acme.Files, "policies")
	delete(src.Policies, "acme.cedar") // the rest fits any organisation with these roles
	return src, err
}

func (s *Server) sources() facts.Sources {
	return facts.Sources{
		Directory:  s.rooms.directory.Dump,
		Roles:      s.rooms.roles.List,
		Grants:     s.provedGrants,
		Holds:      s.rooms.holds.Active,
		Catalog:    s.rooms.catalog.Dump,
		Probations: s.rooms.holds.OnProbation,
		Tighter:    s.config.Probation.limits,
		Revoked:    s.rooms.revoked,
		Devices:    s.rooms.devices.Dump,
		Risk:       s.rooms.risks,
		Trained:    s.rooms.training.Store.All,
		Networks:   s.config.labels,
		Calendar:   s.config.calendar,
		Country:    func(a netip.Addr) string { return s.places.Find(a).Country },
		History:    s.lately.Of,
		Graced:     s.rooms.leaver.Graced,
		Latest:     s.db.Latest,
		Since: func(ctx context.Context, after int64) ([]facts.Kind, int64, error) {
			changes, err := s.db.Since(ctx, after)
			kinds := make([]facts.Kind, len(changes))
			newest := after
			for i, c := range changes {
				kinds[i], newest = facts.Kind(c.Kind), max(newest, c.Seq)
			}
			return kinds, newest, err
		},
		Wake: s.db.Wake,
	}
}
