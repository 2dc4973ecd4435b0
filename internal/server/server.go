// Package server owns the wiring: from a configuration to a running system. It is
// the only package that knows every room and names a wall, and the list in open
// is the whole of it, in the order of starting; stopping is the reverse.
//
// It decides nothing and speaks no protocol.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/artifact/blob"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/keyring"
	"sallyport/internal/artifact/vault"
	"sallyport/internal/audit/history"
	"sallyport/internal/audit/tally"
	"sallyport/internal/audit/tlog"
	"sallyport/internal/audit/trail"
	"sallyport/internal/audit/trail/tiles"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/engines"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/identity/place"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/tail"
	"sallyport/internal/store/sqldb"
)

// A Server is a running system. Make one with Start.
type Server struct {
	config Config
	logger *slog.Logger
	clock  func() time.Time // the wall clock, with its monotonic reading
	files  trail.Files      // the zero value is the file system; for tests of what happens when it fails

	db       *sqldb.DB
	steady   *sqldb.Clock
	wrapper  *keyring.Local
	ring     *keyring.Ring
	box      *box
	tree     *tiles.Tree
	trail    *trail.Trail
	trust    string                            // verifier key of the log
	signText func(text string) ([]byte, error) // a text that is no checkpoint: it says what it is in its first line
	facts    *facts.Keeper
	guard    *guard.Guard
	index    *history.Index
	sweeps   []sweep // of directories whose leavers are looked for
	vault    *vault.Vault
	places   *place.Atlas
	habits   *tail.Follower
	signals  signalsAtWork
	watch    watch
	lately   *tally.Ledger // how much each person did
	counter  *tail.Follower
	rooms    rooms
	void     void
	tasks    tasks
	http     *http.Server
	socket   net.Listener

	ca                 *authority                  // nil until it is needed
	dialects           map[string]gateway.Protocol // by the prefix of their doors
	meshGRPC, meshHTTP string                      // where proxies ask
	ends               []func()                    // of further listeners

	stop    context.CancelFunc
	running sync.WaitGroup
	closers []func() error // in the order of opening

	// FirstLink is the one-time enrolment link of the first administrator, "" unless this was the first start.
	FirstLink string
}

// Start opens everything that config names and serves until Close. When it
// returns, the server answers.
func Start(ctx context.Context, config Config, logger *slog.Logger) (*Server, error) {
	return (&Server{config: config, logger: logger, clock: time.Now}).start(ctx)
}

// start opens everything on the clock and the files that s has.
func (s *Server) start(ctx context.Context) (*Server, error) {
	var err error
	if s.config, err = s.config.check(); err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start: %w", err), s.Close())
	}
	return s, nil
}

// open is the list of wiring.
func (s *Server) open(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"listener", s.openSocket},
		{"data directory", s.openData},
		{"store", s.openStore},
		{"keys", s.openKeys},
		{"audit log", s.openTrail},
		{"rooms", s.openRooms},
		{"what people did lately", s.openLately},
		{"policy and facts", s.openFacts},
		{"search index", s.openHistory},
		{"leavers", s.openLeavers},
		{"identity providers", s.openFederation},
		{"vault", s.openVault},
		{"risk", s.openRisk},
		{"watch", s.openWatch},
		{"tasks", s.openTasks},
		{"first administrator", s.openFirst},
		{"waivers", s.noteWaivers},
		{"doors", s.openDoors},
		{"external authorization", s.openExtAuthz},
		{"background work", s.openBackground},
		{"catching up", s.countUp},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func (s *Server) path(parts ...string) string {
	return filepath.Join(append([]string{s.config.Data}, parts...)...)
}

// openSocket takes the address first: with port 0 it says what the external URL is.
func (s *Server) openSocket(ctx context.Context) error {
	var err error
	if s.socket, err = new(net.ListenConfig).Listen(ctx, "tcp", s.config.Listen); err != nil {
		return err
	}
	s.closers = append(s.closers, func() error {
		if err := s.socket.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	s.config, err = s.config.at(s.socket.Addr().String())
	return err
}

func (s *Server) openData(context.Context) error {
	for _, dir := range []string{s.config.Data, s.path("secrets"), s.path("blobs"), filepath.Dir(s.config.KeyFile)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) openStore(ctx context.Context) error {
	dsn := s.config.Store
	if dsn == "" {
		dsn = "sqlite:" + s.path("sallyport.db")
	}
	var err error
	if s.db, err = sqldb.Open(ctx, dsn); err != nil {
		return err
	}
	s.closers = append(s.closers, s.db.Close)
	if s.steady, err = s.db.Clock(ctx, s.clock); err != nil {
		return err
	}
	s.clock = s.steady.Now // one clock for everything that ends by itself, and it never runs backward
	return nil
}

func (s *Server) openKeys(ctx context.Context) error {
	passphrase, err := readSecret(s.config.PassphraseFile)
	if err != nil {
		return err
	}
	local := keyring.LocalConfig{Path: s.config.KeyFile, DataDir: s.config.Data, Passphrase: passphrase, Random: rand.Reader, Now: s.clock}
	_, err = os.Stat(s.config.KeyFile)
	switch {
	case err == nil:
		s.wrapper, err = keyring.OpenLocal(local)
	case errors.Is(err, os.ErrNotExist) && s.fresh():
		s.wrapper, err = keyring.CreateLocal(local)
	case errors.Is(err, os.ErrNotExist):
		return sallyport.E("open keys", sallyport.Unavailable, "the key file "+s.config.KeyFile+" is gone, and without it nothing in the data directory can be read", "put it back from its backup")
	}
	if err != nil {
		return err
	}
	s.ring = &keyring.Ring{Store: s.db.Keyring(), Wrapper: s.wrapper, Random: rand.Reader}
	s.box, err = openBox(ctx, s.ring)
	return err
}

// fresh reports whether the data directory has never held a system: only then is
// a missing key file made.
func (s *Server) fresh() bool {
	_, err := os.Stat(s.path("secrets", "log-key.sealed"))
	return errors.Is(err, os.ErrNotExist)
}

func (s *Server) openTrail(ctx context.Context) error {
	key, err := s.box.file(s.path("secrets"), "log-key", func() ([]byte, error) {
		private, _, err := note.GenerateKey(rand.Reader, s.config.Log)
		return []byte(private), err
	})
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(string(key.Reveal()))
	if err != nil {
		return fmt.Errorf("the log's key: %w", err)
	}
	s.signText = func(text string) ([]byte, error) { return note.Sign(&note.Note{Text: text}, signer) }
	if s.trust, err = verifierKey(string(key.Reveal())); err != nil {
		return err
	}
	trusted, err := tlog.ParsePolicy(s.trust)
	if err != nil {
		return err
	}
	if s.tree, err = tiles.Open(ctx, s.path("log"), signer, tiles.Options{Logger: s.logger}); err != nil {
		return err
	}
	known, err := s.known(ctx)
	if err == nil {
		s.trail, err = trail.Open(ctx, s.tree, trail.Options{Dir: s.path("trail"), Origin: signer.Name(), Policy: trusted, Known: known, Logger: s.logger, Files: s.files})
	}
	if err != nil {
		return errors.Join(err, s.tree.Close())
	}
	s.closers = append(s.closers, s.trail.Close, func() error { return s.keepCheckpoint(context.Background()) })
	return writeIfChanged(s.path("log.vkey"), []byte(s.trust+"\n"))
}

func writeIfChanged(path string, data []byte) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == string(data) {
		return nil
	}
	return writeNew(path, data)
}

// note writes an event of a room to the trail.
func (s *Server) note(ctx context.Context, e sallyport.Event) (uint64, error) {
	if e.At == 0 {
		e.At = s.clock().UnixMicro()
	}
	body, err := e.Encode()
	if err != nil {
		return 0, err
	}
	return s.record(ctx, body)
}

func (s *Server) record(ctx context.Context, bodies ...[]byte) (uint64, error) {
	seq, err := s.trail.Record(context.WithoutCancel(ctx), bodies...)
	if err != nil {
		return 0, sallyport.Wrap("record", sallyport.Unavailable, "the audit log cannot be written, so nothing is served", err)
	}
	return seq, nil
}

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
		Directory: s.rooms.directory.Dump,
		Roles:     s.rooms.roles.List,
		Grants:    s.provedGrants,
		Holds:     s.rooms.holds.Active,
		Catalog:   s.rooms.catalog.Dump,
		Revoked:   s.rooms.revoked,
		Devices:   s.rooms.devices.Dump,
		Risk:      s.rooms.risks,
		Networks:  s.config.labels,
		Calendar:  s.config.calendar,
		Country:   func(a netip.Addr) string { return s.places.Find(a).Country },
		History:   s.lately.Of,
		Graced:    s.rooms.leaver.Graced,
		Latest:    s.db.Latest,
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

func (s *Server) openHistory(ctx context.Context) error {
	var err error
	s.index, err = history.Open(ctx, s.db.History(), s.leaves, s.logger)
	return err
}

func (s *Server) openVault(ctx context.Context) error {
	blobs, err := blob.NewDir(s.path("blobs"), blob.Hooks{})
	if err != nil {
		return err
	}
	s.vault, err = vault.New(vault.Config{Catalog: s.rooms.catalog, Index: func() *catalog.Index { return s.facts.Snapshot().Catalog() },
		Blobs: blobs, Keys: s.ring, Uploads: s.path("uploads"), Random: rand.Reader, Now: s.clock, Sync: s.facts.Sync})
	return err
}

// followEvery bounds how stale the facts may silently be; sweepEvery how long a
// call outlives an expired grant.
const (
	followEvery = 200 * time.Millisecond
	sweepEvery  = 500 * time.Millisecond
	policyEvery = 2 * time.Second // at the latest, where no wake-up came
	tendEvery   = time.Minute
)

func (s *Server) openBackground(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	for _, work := range []func(){
		func() { s.facts.Follow(ctx, followEvery) },
		func() { s.followPolicies(ctx) },
		func() { s.guard.Watch(ctx, sweepEvery) },
		func() { s.index.Run(ctx) },
		func() { s.keepWatch(ctx) },
		func() { s.followTasks(ctx) },
		func() { s.tend(ctx) },
		func() { s.remember(ctx) },
		func() { s.followTokens(ctx) },
		func() { s.sendLogouts(ctx) },
		func() { s.signals.follower.Run(ctx) },
		func() { s.signals.doors.Run(ctx) },
	} {
		s.running.Go(work)
	}
	for _, w := range s.sweeps {
		s.running.Go(func() { s.runSweep(ctx, w) })
	}
	return nil
}

// tend does what is due now and then. What fails is logged and due again.
func (s *Server) tend(ctx context.Context) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for name, work := range map[string]func(context.Context) error{
			"tend tokens": s.tendTokens, "sweep uploads": s.vault.Sweep,
			"tend what is watched": s.tendWatch,
			"forget old guesses":   s.rooms.throttle.Prune, "mark the time": s.steady.Mark, "forget old sessions": s.rooms.sessions.Prune,
			"tend devices":          s.rooms.devices.Tend,
			"acknowledge policy":    s.rooms.policies.Acknowledge,
			"end what leavers left": s.rooms.leaver.Tend,
			"tend signals":          s.signals.streams.Tend,
		} {
			if err := work(ctx); err != nil && ctx.Err() == nil {
				s.logger.WarnContext(ctx, "upkeep failed", "what", name, "err", err)
			}
		}
	}
}

// Addr is the address that the server listens on.
func (s *Server) Addr() string { return s.socket.Addr().String() }

// External is the URL that clients use.
func (s *Server) External() string { return s.config.External }

// CA is the file of the certificate that clients must trust, "" when the server
// has a certificate of its own or none.
func (s *Server) CA() string {
	if s.config.Plaintext || s.config.CertFile != "" {
		return ""
	}
	return s.path(CAFile)
}

// LogKey is the verifier key of the audit log.
func (s *Server) LogKey() string { return s.trust }

// LogDir is the directory of the audit log's files.
func (s *Server) LogDir() string { return s.tree.Dir() }

// stopWait is how long running answers may take to end when the server stops.
const stopWait = 5 * time.Second

// Close stops serving, ends what runs, and closes everything in the reverse of
// the order of opening.
func (s *Server) Close() error {
	var errs []error
	if s.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopWait)
		if err := s.http.Shutdown(ctx); err != nil {
			errs = append(errs, s.http.Close())
		}
		cancel()
	}
	for _, end := range s.ends {
		end()
	}
	if s.stop != nil {
		s.stop()
	}
	s.running.Wait()
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	return errors.Join(errs...)
}

// serve begins to answer.
func (s *Server) serve(h http.Handler) error {
	config, err := s.tls()
	if err != nil {
		return err
	}
	s.http = httpsafe.Server(h, config, s.logger)
	s.http.Handler = &certificates{server: s, next: httpsafe.Recorded(h, s.odd), proxies: s.config.Devices.Proxies, logger: s.logger}
	s.running.Go(func() {
		var err error
		if config == nil {
			err = s.http.Serve(s.socket)
		} else {
			err = s.http.ServeTLS(s.socket, "", "")
		}
		if !errors.Is(err, http.ErrServerClosed) {
			s.logger.Error("the listener ended", "err", err)
		}
	})
	return nil
}

// odd records a request that no door has seen, because it can be read in more
// than one way.
func (s *Server) odd(r *http.Request) error {
	_, err := s.guard.Unmapped(r.Context(), guard.Call{Door: "none", IP: httpsafe.PeerIP(r)}, r.Method, r.URL.EscapedPath())
	return err
}

// verifierKey derives the public key of a note signing key.
func verifierKey(private string) (string, error) {
	f := strings.SplitN(private, "+", 5)
	if len(f) != 5 {
		return "", errors.New("the log's key is no note key")
	}
	return noteVerifier(f[2], f[4])
}
