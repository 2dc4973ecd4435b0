package server

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"time"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/identity/token/codes"
	"sallyport/internal/identity/token/keys"
	"sallyport/internal/web/login"
	"sallyport/internal/web/oauth"
	"sallyport/internal/web/oidc"
)

// tokenLeeway is by how much the clocks of our own nodes may differ.
const tokenLeeway = 5 * time.Second

// openTokens opens the rooms of the authorization server.
func (s *Server) openTokens(ctx context.Context) error {
	r := &s.rooms
	var err error
	r.clients, err = clients.New(s.db.Token(), s.clock, token.CommandLine(s.config.External), token.Hub(s.config.External))
	if err != nil {
		return err
	}
	r.keys, err = keys.Open(ctx, keys.Config{Store: s.db.Token(), Rand: rand.Reader, Now: s.clock, Life: access.Lifetime + access.MaxLeeway,
		Seal: func(_ context.Context, p, a []byte) ([]byte, error) { return s.box.seal(p, a), nil },
		Open: func(_ context.Context, c, a []byte) ([]byte, error) { return s.box.open(c, a) }})
	if err != nil {
		return err
	}
	r.verifier, err = access.NewVerifier(access.VerifierConfig{Issuer: s.config.External, Keys: r.keys.Current, Leeway: tokenLeeway})
	if err != nil {
		return err
	}
	r.tokens = &token.Issuer{URL: s.config.External, Clients: r.clients, Keys: r.keys, Families: s.db.Token(), Now: s.clock, Rand: rand.Reader,
		Record: s.noteOnly, Forget: r.verifier.Forget, Verifier: r.verifier, Standing: r.standing}
	r.codes = &codes.Service{Issuer: r.tokens, Store: s.db.Token(), Flows: s.db.Token()}
	return nil
}

// standing returns who answers for a service or an agent, as long as it may act.
func (r *rooms) standing(ctx context.Context, id sallyport.PrincipalID) (sallyport.PrincipalID, error) {
	m, err := r.directory.Get(ctx, id)
	if err == nil && m.State != directory.Active {
		err = sallyport.E("token", sallyport.NotFound, string(id)+" is not active", "")
	}
	return m.Person, err
}

// openAuthorization adds the doors of the authorization server.
func (s *Server) openAuthorization(mux *http.ServeMux, pages *login.Door) error {
	forms, err := s.box.file(s.path("secrets"), "forms", random(32))
	if err != nil {
		return err
	}
	r := &s.rooms
	doors, err := oidc.New(oidc.Config{
		Config: oauth.Config{URL: s.config.External, Issuer: r.tokens, Codes: r.codes, Verifier: r.verifier, Proofs: r.proofs,
			Record: s.noteOnly, Now: s.clock, Log: s.logger},
		Current: current(pages), Guess: s.guess, Forgive: r.throttle.Forgive, Key: forms,
	})
	if err != nil {
		return err
	}
	return doors.Register(mux)
}

// tendTokens does what is due for tokens each minute.
func (s *Server) tendTokens(ctx context.Context) error {
	s.rooms.verifier.Prune(s.clock())
	return errors.Join(s.rooms.keys.Tend(ctx), s.db.Token().Sweep(ctx, s.clock().Add(-24*time.Hour)))
}
