package server

import (
	"context"
	"time"

	"sallyport"
	"sallyport/internal/identity/leaver"
)

func (s *Server) newLeaver() *leaver.Service {
	r := &s.rooms
	return &leaver.Service{Store: s.db.Leaver(), Now: s.clock, Devices: r.devices.RemoveAll,
		Grace: s.config.SuccessorGrace, Note: s.noteOnly, Logger: s.logger,
		Rooms: leaver.Rooms{Directory: r.directory, Sessions: r.sessions, Tokens: r.tokens, Grants: r.grants, Approvals: r.approvals, Roles: r.roles, Catalog: r.catalog}}
}

// openLeavers finishes what an earlier process began, now that there are facts
// and a guard to bring it into force.
func (s *Server) openLeavers(ctx context.Context) error {
	s.rooms.leaver.Enforce = func(ctx context.Context, since time.Time, accounts []sallyport.PrincipalID) (int, error) {
		if err := s.facts.Sync(ctx); err != nil {
			return 0, sallyport.Wrap("leave", sallyport.Unavailable, "the account is ended, and that could not be brought into force here yet", err)
		}
		return len(s.guard.EnforceFor(ctx, since, accounts, 0)), nil
	}
	_, err := s.rooms.leaver.Recover(ctx)
	return err
}

// hasProof reports whether a person has set up a proof of their own: a password or
// a passkey.
func (s *Server) hasProof(ctx context.Context, id sallyport.PrincipalID) (bool, error) {
	f, err := s.db.Credential().Factors(ctx, id)
	if err == nil && f.Password.Hash != "" {
		return true, nil
	}
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return false, err
	}
	keys, err := s.rooms.passkeys.List(ctx, id)
	return len(keys) > 0, err
}
