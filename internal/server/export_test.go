package server

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"sallyport/internal/audit/trail"
)

// StartOn starts a server on a clock and on files of a test's own; zero files are
// the file system's.
func StartOn(ctx context.Context, config Config, logger *slog.Logger, clock func() time.Time, files trail.Files) (*Server, error) {
	return (&Server{config: config, logger: logger, clock: clock, files: files}).start(ctx)
}

// CloseStore takes the store away from a running server.
func (s *Server) CloseStore() error { return s.db.Close() }

// TakeTicket answers one message of a ticket's system.
func (s *Server) TakeTicket(w http.ResponseWriter, r *http.Request) { s.takeTicket(w, r) }
