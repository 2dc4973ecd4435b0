package server

import (
	"context"
	"time"

	"sallyport"
	"sallyport/internal/audit/tally"
	"sallyport/internal/plumbing/tail"
)

// catchUp is how long a start waits until what people did lately is counted up to the
// end of the trail. A longer count goes on while the server serves.
const catchUp = 30 * time.Second

// openLately opens the count of what people did lately.
func (s *Server) openLately(context.Context) error {
	s.lately = &tally.Ledger{Store: s.db.Tally(), Clock: s.clock, Logger: s.logger,
		Person: func(id sallyport.PrincipalID) sallyport.PrincipalID { return s.facts.Snapshot().Behind(id) }}
	s.counter = &tail.Follower{Name: "lately", Source: s.tailed, Types: tally.Types(), Next: s.lately.Next, Handle: s.lately.Handle, Logger: s.logger}
	s.closers = append(s.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return s.lately.Keep(ctx)
	})
	return nil
}

// countUp waits until the count has reached what is in the trail now.
func (s *Server) countUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	if err := s.counter.Await(ctx, s.trail.Size()); err != nil {
		s.logger.WarnContext(ctx, "what people did lately is still being counted; until then their history looks shorter", "err", err)
	}
	return nil
}
