package signin

import (
	"context"
	"errors"
	"time"

	"sallyport"
	"sallyport/internal/identity/session"
	"sallyport/internal/plumbing/secret"
)

// next keeps a flow under a new handle.
func (s *Service) next(ctx context.Context, f Flow) (Step, error) {
	handle, hash, err := session.NewToken(s.Random)
	if err != nil {
		return Step{}, err
	}
	now := s.Now().UTC().Truncate(time.Microsecond)
	if f.Hash = hash; f.Expires.IsZero() {
		f.Expires = now.Add(flowLife)
	}
	if len(f.Return) > maxReturn {
		f.Return = ""
	}
	if err := s.Flows.PutFlow(ctx, f, now); err != nil {
		return Step{}, err
	}
	return Step{Next: f.Stage, Flow: handle, Return: f.Return}, nil
}

// again records a wrong code and opens the way to another attempt, while one is left.
func (s *Service) again(ctx context.Context, c Client, f Flow, cause error) (Step, error) {
	if err := s.failed(ctx, c, f.Member, cause); err != cause {
		return Step{}, err
	}
	if k := sallyport.KindOf(cause); k != sallyport.Unknown && k != sallyport.Busy {
		return Step{}, cause
	}
	if f.Attempts++; f.Attempts >= mostCodes {
		return Step{}, cause
	}
	step, err := s.next(ctx, f)
	if err != nil {
		return Step{}, err
	}
	return step, cause
}

// goOn uses a handle up and goes on with its flow. Where that fails because something is down, the handle stays good: whoever
// tries again when it is up need not begin again. A code that was tried counts all the same.
func (s *Service) goOn(ctx context.Context, handle secret.Text, stage Stage, next func(Flow) (Step, error)) (Step, error) {
	f, err := s.take(ctx, handle, stage)
	if err != nil {
		return Step{}, err
	}
	step, err := next(f)
	if sallyport.KindOf(err) != sallyport.Unavailable {
		return step, err
	}
	if stage == NeedsCode {
		f.Attempts++
	}
	if f.Attempts < mostCodes {
		if kept := s.Flows.PutFlow(context.WithoutCancel(ctx), f, s.Now()); kept != nil {
			err = errors.Join(err, kept)
		}
	}
	return step, err
}

// take uses a handle up. One of another stage is used up too: it has no other use.
func (s *Service) take(ctx context.Context, handle secret.Text, stage Stage) (Flow, error) {
	hash, ok := session.HashToken(handle)
	if !ok {
		return Flow{}, flowEnded()
	}
	f, err := s.Flows.TakeFlow(ctx, hash)
	return s.usable(f, err, stage)
}

func (s *Service) peek(ctx context.Context, handle secret.Text, stage Stage) (Flow, error) {
	hash, ok := session.HashToken(handle)
	if !ok {
		return Flow{}, flowEnded()
	}
	f, err := s.Flows.Flow(ctx, hash)
	return s.usable(f, err, stage)
}

// Waiting tells whether a handle stands at a stage, without using it up.
func (s *Service) Waiting(ctx context.Context, handle secret.Text, stage Stage) error {
	_, err := s.peek(ctx, handle, stage)
	return err
}

func (s *Service) usable(f Flow, err error, stage Stage) (Flow, error) {
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return Flow{}, err
	}
	if err != nil || f.Stage != stage || !s.Now().Before(f.Expires) {
		return Flow{}, flowEnded()
	}
	return f, nil
}

func flowEnded() error {
	return sallyport.E("sign in", sallyport.Unknown, "this sign-in has ended", "begin again").Because("flow.unknown")
}
