package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/identity/token/codes"
	"sallyport/internal/identity/token/exchange"
	"sallyport/internal/identity/token/keys"
	"sallyport/internal/identity/token/logout"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/web/admin"
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
		Record: s.noteOnly, Forget: r.verifier.Forget}
	r.exchange = &exchange.Service{Issuer: r.tokens, Verifier: r.verifier, Standing: r.standing}
	r.codes = &codes.Service{Issuer: r.tokens, Store: s.db.Token(), Flows: s.db.Token()}
	hosts := make([]*url.URL, len(s.config.LogoutHosts))
	for i, one := range s.config.LogoutHosts {
		if hosts[i], err = url.Parse(one); err != nil || hosts[i].Host == "" || hosts[i].Path != "" {
			return sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("%.80q of \"logout_hosts\" is not https://HOST or https://HOST:PORT", one), "")
		}
	}
	r.logouts = &logout.Sender{Issuer: s.config.External, Store: s.db.Token(), Families: s.db.Token(), Clients: r.clients, Keys: r.keys,
		HTTP: providerClient(hosts, nil), Now: s.clock, Rand: rand.Reader, Record: s.noteOnly}
	return nil
}

// standing returns who answers for a service or an agent, as long as it may act.
func (r *rooms) standing(ctx context.Context, id sallyport.PrincipalID) (sallyport.PrincipalID, error) {
	m, err := r.directory.Get(ctx, id)
	if err == nil && (m.State != directory.Active || m.Ended(r.directory.Now())) {
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
		Config: oauth.Config{URL: s.config.External, Issuer: r.tokens, Codes: r.codes, Exchange: r.exchange, Verifier: r.verifier, Proofs: r.proofs,
			Record: s.noteOnly, Now: s.clock, Log: s.logger},
		Current: current(pages), SignOut: pages.SignOut, Guess: s.guess, Forgive: r.throttle.Forgive, Key: forms,
	})
	if err != nil {
		return err
	}
	return doors.Register(mux)
}

// programs is what the management API does to the authorization server.
func (s *Server) programs() admin.Programs {
	return admin.Programs{Clients: s.rooms.clients, Exchange: s.rooms.exchange, Inventory: s.inventory, RotateSigning: func(ctx context.Context, now bool) error {
		if now {
			return s.rooms.keys.Replace(ctx)
		}
		return s.rooms.keys.Rotate(ctx)
	}}
}

// tendTokens does what is due for tokens each minute.
func (s *Server) tendTokens(ctx context.Context) error {
	s.rooms.verifier.Prune(s.clock())
	return errors.Join(s.rooms.keys.Tend(ctx), s.rooms.logouts.Sweep(ctx), s.db.Token().Sweep(ctx, s.clock().Add(-24*time.Hour)))
}

// tokensEvery bounds how late a change by another node, or a client that must be told of a sign-out, is noticed.
const tokensEvery = time.Second

// followTokens takes over what other nodes did to signing keys as soon as the feed tells it, and queues what clients must
// be told of sessions that end, until ctx ends. What fails is due again.
func (s *Server) followTokens(ctx context.Context) {
	tick := time.NewTicker(tokensEvery)
	defer tick.Stop()
	at, since := int64(0), s.clock().Add(-24*time.Hour) // some ended while no node was there to see it; who was told is not told again
	for ctx.Err() == nil {
		wake := s.db.Wake()
		next, err := s.followed(ctx, at, since)
		if err == nil {
			at, since = next, s.clock().Add(-time.Minute)
		} else if ctx.Err() == nil {
			s.logger.WarnContext(ctx, "keys and sign-outs could not be followed", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-tick.C:
		}
	}
}

// followed does what the changes after one ask for, and returns the last one.
func (s *Server) followed(ctx context.Context, at int64, since time.Time) (int64, error) {
	changes, err := s.db.Since(ctx, at)
	for _, c := range changes {
		at = max(at, c.Seq)
		switch c.Kind {
		case sqldb.Key:
			err = errors.Join(err, s.rooms.keys.Reload(ctx))
		case sqldb.Session:
			gone, failed := s.rooms.sessions.Revoked(ctx, since)
			err = errors.Join(err, failed)
			for _, one := range gone {
				err = errors.Join(err, s.rooms.logouts.Ended(ctx, one.ID))
			}
		}
	}
	return at, err
}

// sendLogouts tells clients what is queued for them, until ctx ends.
func (s *Server) sendLogouts(ctx context.Context) {
	every(ctx, tokensEvery, func() {
		if err := s.rooms.logouts.Send(ctx); err != nil && ctx.Err() == nil {
			s.logger.WarnContext(ctx, "clients could not be told of sign-outs", "err", err)
		}
	})
}
