package server

import (
	"bytes"
	"context"
	"time"
)

// rememberEvery is how often the store is told how far the log has come. An older
// copy of the log is refused at the start if it ends before that, so that what can
// be taken away unnoticed after a crash are the last seconds.
const rememberEvery = time.Second

// known is the checkpoint that the store kept: the log must still contain it, so
// that an older copy of its directory is refused and not continued.
func (s *Server) known(ctx context.Context) ([][]byte, error) {
	signed, err := s.db.KeptCheckpoint(ctx, s.config.Log)
	if err != nil || signed == nil {
		return nil, err
	}
	return [][]byte{signed}, nil
}

func (s *Server) keepCheckpoint(ctx context.Context) error {
	signed, err := s.trail.Checkpoint(ctx)
	if err != nil || len(signed) == 0 {
		return nil // none is published yet
	}
	return s.db.KeepCheckpoint(ctx, s.config.Log, signed)
}

// remember keeps the log's newest checkpoint in the store until ctx ends. Each is
// kept a tick after it was seen: by then the log's own files are durable, and no
// power cut leaves a store that knows of more than there is.
func (s *Server) remember(ctx context.Context) {
	var seen, kept []byte
	every(ctx, rememberEvery, func() {
		if !bytes.Equal(seen, kept) {
			if err := s.db.KeepCheckpoint(ctx, s.config.Log, seen); err == nil {
				kept = seen
			} else if ctx.Err() == nil {
				s.logger.WarnContext(ctx, "the store cannot keep the log's checkpoint", "err", err)
			}
		}
		if signed, err := s.trail.Checkpoint(ctx); err == nil { // else there is none yet
			seen = signed
		}
	})
}
