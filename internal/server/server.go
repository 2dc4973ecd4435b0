// Package server owns the wiring: from a configuration to a running system. It is
// the only package that knows every room and names a wall, and the list in open
// is the whole of it, in the order of starting; stopping is the reverse.
//
// It decides nothing and speaks no protocol.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/artifact/keyring"
	"sallyport/internal/artifact/vault"
	"sallyport/internal/audit/history"
	"sallyport/internal/audit/tally"
	"sallyport/internal/audit/trail"
	"sallyport/internal/audit/trail/tiles"
	"sallyport/internal/authz/facts"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/identity/place"
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
	drift    drifting
	lately   *tally.Ledger // how much each person did
	counter  *tail.Follower
	metric   metering
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
	if s.drift.runs, err = s.config.items(); err != nil { // of one that a program made there are none: it is that program's
		return nil, err
	}
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
		{"drills", s.openDrills},
		{"tasks", s.openTasks},
		{"first administrator", s.openFirst},
		{"drift", s.openDrift},
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
