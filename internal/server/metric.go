package server

import (
	"context"
	"slices"

	"sallyport"
	"sallyport/internal/plumbing/tail"
	"sallyport/internal/watch/metric"
	"sallyport/internal/web/admin"
)

// metering measures how fast orders are in force here.
type metering struct {
	meter    *metric.Meter
	follower *tail.Follower
}

// openMetric has the orders measured that are recorded from now on.
func (s *Server) openMetric() {
	m := &metric.Meter{Note: s.noteOnly, Clock: s.clock, Logger: s.logger, Provider: func(id sallyport.PrincipalID) bool {
		return slices.ContainsFunc(s.config.SCIM, func(x SCIMSource) bool { return x.Principal == string(id) })
	}}
	m.Begin(s.trail.Size())
	s.guard.Swept = m.Swept
	s.metric = metering{meter: m, follower: &tail.Follower{Name: "orders", Source: s.tailed, Types: metric.Types(), Next: m.Next, Handle: m.Handle,
		Skipped: s.skipped("orders"), Logger: s.logger}}
}

// adminMetrics is what the management API needs to show figures.
func (s *Server) adminMetrics() admin.Metrics {
	return admin.Metrics{CatchUp: func(ctx context.Context) error { return s.metric.follower.Await(ctx, s.trail.Size()) }}
}
