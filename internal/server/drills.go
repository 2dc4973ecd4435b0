package server

import (
	"context"
	"crypto/rand"

	"sallyport"
	"sallyport/internal/govern/drill"
	"sallyport/internal/identity/directory"
	"sallyport/internal/watch/notify"
)

// openDrills opens exercises against fraud. What they send goes the way of every notice.
func (s *Server) openDrills(context.Context) error {
	key, err := s.box.file(s.path("secrets"), "drill", random(32))
	if err != nil {
		return err
	}
	s.rooms.drills = &drill.Service{Store: s.db.Drill(), Note: s.noteOnly, Tell: s.watch.notices.Tell, NoticeID: notify.ID,
		Person: func(who sallyport.PrincipalID) bool {
			m, ok := s.facts.Snapshot().Member(who)
			return ok && who.Kind() == sallyport.User && m.Person == who && m.State == directory.Active && !m.Guest
		},
		Learned: func(ctx context.Context, who sallyport.PrincipalID, id string) error {
			_, err := s.rooms.training.Learned(ctx, who, "drill "+id)
			return err
		},
		Key: key, External: s.config.External, Rand: rand.Reader, Clock: s.steady.Now, Logger: s.logger}
	return nil
}
