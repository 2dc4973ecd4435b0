package server

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"sallyport"
	"sallyport/internal/audit/history"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/gateway/hfhub"
	"sallyport/internal/enforce/gateway/native"
	"sallyport/internal/enforce/gateway/openai"
	"sallyport/internal/enforce/obligation"
	"sallyport/internal/identity/credential"
	"sallyport/internal/web/admin"
	"sallyport/internal/web/api"
	"sallyport/internal/web/device"
	"sallyport/internal/web/login"
)

// The prefixes of the doors. Each is also the end of the audience that tokens for
// it carry.
const (
	apiPrefix   = "/api"
	hubPrefix   = "/hf"
	chatPrefix  = "/openai"
	vaultPrefix = "/vault"
)

// concurrent is how many requests one door serves at once.
const concurrent = 1024

func (s *Server) openDoors(context.Context) error {
	mux := http.NewServeMux()
	if err := s.openPages(mux); err != nil {
		return err
	}
	if err := s.openGateways(mux); err != nil {
		return err
	}
	mux.Handle(apiPrefix+"/", admin.New(admin.API{Guard: s.guard, Facts: s.facts, Audience: s.config.External + apiPrefix,
		External: s.config.External, Logger: s.logger, Nonce: s.rooms.proofs.Nonce, Rooms: s.adminRooms()}))
	(&device.Door{Devices: s.rooms.devices, Sync: s.facts.Sync, Logger: s.logger}).Routes(mux)
	s.openProvisioning(mux)
	if err := s.openAdmission(mux); err != nil {
		return err
	}
	if err := s.openSignals(mux); err != nil {
		return err
	}
	if err := s.openAuthZEN(mux); err != nil {
		return err
	}
	mux.Handle("/log/", &admin.LogFiles{Guard: s.guard, Audience: s.config.External + apiPrefix, Fetch: s.tree.Fetch, Logger: s.logger})
	mux.HandleFunc("POST "+hooksPrefix+"{name}", s.takeTicket)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("/", &admin.Nowhere{Guard: s.guard, Logger: s.logger, Home: homePage})
	return s.serve(mux)
}

// homePage is where people begin, and land who signed in for nothing in particular.
const homePage = "/home"

// openPages adds what people see: sign-in, account, consent.
func (s *Server) openPages(mux *http.ServeMux) error {
	pages, err := login.New(login.Config{SignIn: s.rooms.signin, Log: s.logger, Plain: s.config.Plaintext, Now: s.clock, Notices: s.pageNotices(), Device: s.deviceOf, Home: homePage})
	if err != nil {
		return err
	}
	pages.Routes(mux)
	if err := s.openOwnPages(mux, pages); err != nil {
		return err
	}
	return s.openAuthorization(mux, pages)
}

// current tells the authorization server who is signed in.
func current(pages *login.Door) func(*http.Request) (sallyport.Principal, error) {
	return func(r *http.Request) (sallyport.Principal, error) {
		x, err := pages.Session(r)
		return sallyport.Principal{ID: x.Principal, Person: x.Person, Session: x.ID, Assurance: x.Assurance, Methods: x.Methods, AuthTime: x.AuthTime, Expires: x.End}, err
	}
}

// guess counts a guess at a code under the throttle that passwords are under.
func (s *Server) guess(ctx context.Context, key string) error {
	err := s.rooms.throttle.Try(ctx, key)
	if wait, ok := errors.AsType[*credential.Wait](err); ok {
		return sallyport.Wrap("check code", sallyport.Busy, "too many tries", wait)
	}
	return err
}

// openGateways adds the doors for model traffic.
func (s *Server) openGateways(mux *http.ServeMux) error {
	hub, err := hfhub.New(s.vault, s.guard, s.config.External+hubPrefix)
	if err != nil {
		return err
	}
	bindings, reach, err := s.bindings()
	if err != nil {
		return err
	}
	chat, err := openai.New(bindings, s.guard, reach.client())
	if err != nil {
		return err
	}
	own, err := native.New(s.vault, s.guard)
	if err != nil {
		return err
	}
	rates := &obligation.Rates{} // one for all doors: limit-rate is a person's, not a door's
	s.dialects = map[string]gateway.Protocol{hubPrefix: hub, chatPrefix: chat, vaultPrefix: own}
	for prefix, protocol := range s.dialects {
		mux.Handle(prefix+"/", gateway.New(gateway.Door{Protocol: protocol, Guard: s.guard, Prefix: prefix,
			Audience: s.config.External + prefix, Help: s.config.External, Rates: rates, Logger: s.logger, Nonce: s.rooms.proofs.Nonce}, concurrent))
	}
	return nil
}

func (s *Server) adminRooms() admin.Rooms {
	r := &s.rooms
	return admin.Rooms{Directory: r.directory, Enrol: r.credentials, Recovery: r.recovery, Sessions: r.sessions, Tokens: r.tokens, Roles: r.roles, Approvals: r.approvals,
		Approvers: s.adminApprovers(),
		Grants:    r.grants, Labels: r.labels, Holds: r.holds, Catalog: r.catalog, Policies: r.policies, Leaver: r.leaver, Sources: s.adminSources(), Enrolled: s.hasProof, Signals: s.adminSignals(), Federation: r.federation, Workloads: r.workloads, History: s.index, Watch: s.adminWatch(),
		Log:  admin.Log{Size: s.trail.Size, Read: s.readLog, Head: s.headLog, Receipt: s.trail.Receipt, Sign: s.signText},
		Keys: admin.Keys{Rotate: s.vault.RotateKeys, Retire: s.vault.Retire}, Programs: s.programs(), Devices: r.devices, Drift: s.adminDrift(), Training: r.training, Metrics: s.adminMetrics(), Drills: r.drills}
}

func (s *Server) readLog(ctx context.Context, from uint64, most int) ([]api.Entry, error) {
	leaves, err := s.trail.Read(ctx, from, most)
	entries := make([]api.Entry, len(leaves))
	for i, l := range leaves {
		entries[i] = api.Entry{Seq: l.Seq, Leaf: l.Leaf}
	}
	return entries, err
}

func (s *Server) headLog(ctx context.Context) (api.Head, error) {
	cp, err := s.trail.Checkpoint(ctx)
	return api.Head{Origin: s.config.Log, Key: s.trust, Size: s.trail.Size(), Checkpoint: string(cp)}, err
}

// leaves follows the trail for the search index.
func (s *Server) leaves(ctx context.Context, from uint64) iter.Seq2[history.Leaf, error] {
	return func(yield func(history.Leaf, error) bool) {
		for e, err := range s.trail.Follow(ctx, from) {
			if !yield(history.Leaf{Seq: e.Seq, Data: e.Leaf}, err) {
				return
			}
		}
	}
}

// ready tells what keeps the server from serving, if anything does.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	problems := []string{}
	if err := s.trail.Health().Ready(); err != nil {
		problems = append(problems, "audit blocked")
		s.logger.WarnContext(r.Context(), "not ready", "err", err)
	}
	if err := s.wrapper.Health(r.Context()); err != nil {
		problems = append(problems, "sealed")
	}
	if err := s.db.Ping(r.Context()); err != nil {
		problems = append(problems, "store down")
	}
	if len(problems) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, strings.Join(problems, ", "))
		return
	}
	e := s.rooms.policies.InForce()
	fmt.Fprintf(w, "ready\npolicy epoch %d %s\n", e.Number, e.Version)
}

// tls is the listener's configuration, nil for plaintext.
func (s *Server) tls() (*tls.Config, error) {
	if s.config.Plaintext {
		return nil, nil
	}
	c, err := s.serverTLS()
	if err != nil {
		return nil, err
	}
	return s.askForCertificates(c), nil
}

// serverTLS serves with the configured certificate, or one of our own authority.
func (s *Server) serverTLS() (*tls.Config, error) {
	if s.config.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(s.config.CertFile, s.config.CertKey)
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}, err
	}
	ca, err := s.ownAuthority()
	if err != nil {
		return nil, err
	}
	return ca.config(), nil
}

// noteVerifier builds the verifier key of a note signing key of Ed25519 from its
// name and encoded key.
func noteVerifier(name, encoded string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return "", errors.New("the log's key is no Ed25519 note key")
	}
	public, ok := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return "", errors.New("the log's key has no public half")
	}
	return note.NewEd25519VerifierKey(name, public)
}
