package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"

	"sallyport"
	"sallyport/internal/authz/change"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/policy/engines"
	"sallyport/internal/authz/whatif"
)

// openPolicies makes the room of policy sets.
func (s *Server) openPolicies() (*change.Service, error) {
	node, err := s.node()
	if err != nil {
		return nil, err
	}
	groups, err := s.config.policyApprovers()
	if err != nil {
		return nil, err
	}
	return &change.Service{Store: s.db.Policy(), Proposals: s.db.Proposals(), Approvals: s.rooms.approvals, Need: s.config.policyNeed(), Groups: groups,
		Schema: cedar.Schema, Compile: engines.Compile, Note: s.note, Clock: s.clock, Node: node,
		Seal: func(v []byte, c string) ([]byte, error) { return s.box.seal(v, label(c)), nil },
		Open: func(v []byte, c string) ([]byte, error) { return s.box.open(v, label(c)) },
		Seen: s.seenEpoch, See: s.seeEpoch, Alone: s.alone, Able: able}, nil
}

// policyNeed is how many people approve a change of policy: as many as a grant, where nothing else is said.
func (c Config) policyNeed() int {
	if c.PolicyNeed > 0 {
		return c.PolicyNeed
	}
	return c.Approvals.Need
}

func (c Config) policyApprovers() ([]sallyport.Quorum, error) {
	if c.PolicyApprovers == "" {
		return nil, nil
	}
	return sallyport.ParseQuorums(c.PolicyApprovers)
}

func (c *Config) checkPolicies() error {
	if c.PolicyNeed < 0 || c.PolicyNeed > sallyport.MaxApprovals {
		return sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("\"policy_approvals\" is not within 1 to %d", sallyport.MaxApprovals), "")
	}
	groups, err := c.policyApprovers()
	for _, q := range groups {
		if q.Group == sallyport.Owners {
			return sallyport.E("configuration", sallyport.Invalid, "\"policy_approvers\" names owners, and a policy set has none", "name groups")
		}
	}
	return err
}

// node names this process's data directory among those on one store.
func (s *Server) node() (string, error) {
	id, err := s.box.file(s.path("secrets"), "node", random(8))
	if err != nil {
		return "", err
	}
	host, err := os.Hostname()
	if err != nil || len(host) > 100 {
		host = "node"
	}
	return sallyport.OneLine(host) + "-" + hex.EncodeToString(id.Reveal()), nil
}

// epochFile keeps the newest epoch that was in force here, outside of the store and sealed: a store that went back is noticed.
const epochFile = "policy-epoch"

func (s *Server) seenEpoch() (int64, error) { return s.seenNumber(epochFile) }

func (s *Server) seeEpoch(n int64) error { return s.seeNumber(epochFile, n) }

// seenNumber is the newest number of a kind that was seen here, 0 where none was.
func (s *Server) seenNumber(name string) (int64, error) {
	sealed, err := os.ReadFile(s.path("secrets", name+".sealed"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	plain, err := s.box.open(sealed, label(name))
	if err != nil {
		return 0, fmt.Errorf("the file %s does not open: it belongs to another installation, or its key is gone: %w", name, err)
	}
	return strconv.ParseInt(string(plain), 10, 64)
}

func (s *Server) seeNumber(name string, n int64) error {
	if seen, err := s.seenNumber(name); err != nil || seen == n {
		return err
	}
	return writeNew(s.path("secrets", name+".sealed"), s.box.seal(strconv.AppendInt(nil, n, 10), label(name)))
}

func able(s *facts.Snapshot, engine policy.Engine, a sallyport.Action) (map[sallyport.PrincipalID]bool, error) {
	return whatif.Able(s.Under(engine), a, sallyport.Ref{Kind: sallyport.SystemKind})
}

// alone reports whether one person is all there ever was: accounts are never deleted.
func (s *Server) alone(ctx context.Context) (bool, error) {
	d, err := s.rooms.directory.Dump(ctx)
	people := map[sallyport.PrincipalID]bool{}
	for _, m := range d.Members {
		if m.ID.Kind() == sallyport.User {
			people[m.Person] = true
		}
	}
	return len(people) <= 1, err
}

// followPolicies puts in force what other nodes activated, and finds what nobody was entitled to write.
func (s *Server) followPolicies(ctx context.Context) {
	s.rooms.policies.Follow(ctx, s.facts, s.db.Wake, policyEvery, func(err error) {
		s.logger.ErrorContext(ctx, "the policy set in the store was refused", "err", err)
	})
}
