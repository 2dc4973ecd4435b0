package server

import (
	"sallyport/internal/identity/caller"
	"sallyport/internal/identity/token/dpop"
)

// openCaller makes the guard's first phase: who makes a call. The secret behind the
// nonces is the same on all nodes.
func (s *Server) openCaller() error {
	r := &s.rooms
	key, err := s.box.file(s.path("secrets"), "dpop", random(32))
	if err != nil {
		return err
	}
	if r.proofs, err = dpop.New(key, s.clock); err != nil {
		return err
	}
	r.caller = &caller.Service{Verify: r.verifier.Verify, Prove: r.proofs.Check, Facts: s.facts, External: s.config.External, Record: s.noteOnly, Pages: s.onPages}
	return nil
}
