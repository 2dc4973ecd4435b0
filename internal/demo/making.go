package demo

import (
	"context"
	"fmt"
	"os"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func (s *story) pushHarbour(ctx context.Context) (seen, error) { return s.push(ctx, "ana", guarded) }
func (s *story) pushJetty(ctx context.Context) (seen, error)   { return s.push(ctx, "ana", open) }
func (s *story) pushKeel(ctx context.Context) (seen, error)    { return s.push(ctx, "tess", closed) }

func (s *story) push(ctx context.Context, name, model string) (seen, error) {
	p, err := s.who(name)
	if err != nil {
		return seen{}, err
	}
	var size int64
	done, err := p.client.Push(ctx, s.files(model), model, client.PushOptions{Alias: "main", Progress: func(at client.Progress) {
		size = at.Total
		s.out.progress("     %s %s: %s of %s", at.Phase, at.File, mebibytes(at.Done), mebibytes(at.Total))
	}})
	if err != nil {
		return seen{}, err
	}
	return s.latest(ctx, p, sallyport.ModelPush, fmt.Sprintf("%s in %s, sha256:%.12s", mebibytes(size), done.Version, done.Digest))
}

func (s *story) pushPickle(ctx context.Context) (seen, error) {
	ana, err := s.who("ana")
	if err != nil {
		return seen{}, err
	}
	dir := s.path("models", "pickle")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return seen{}, err
	}
	if err := os.WriteFile(s.path("models", "pickle", "model.bin"), []byte("\x80\x04\x95\x0a\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94."), 0o600); err != nil {
		return seen{}, err
	}
	_, err = ana.client.Push(ctx, dir, open, client.PushOptions{})
	e, err := refusal(err)
	return seen{outcome: "refused", note: e.Message}, err
}

func (s *story) promote(ctx context.Context, p *person) error {
	_, err := p.client.Promote(ctx, api.Thing{Resource: guarded, Environment: sallyport.Staging})
	return err
}

func (s *story) promoteOwn(ctx context.Context) (seen, error) {
	ana, err := s.who("ana")
	if err != nil {
		return seen{}, err
	}
	if err := s.age(ctx, ana); err != nil {
		return seen{}, err
	}
	e, err := refusal(s.promote(ctx, ana))
	if err != nil {
		return seen{}, err
	}
	return s.decided(ctx, e.Decision, "")
}

// age waits until somebody's proof is too old for what wants a fresh one.
func (s *story) age(ctx context.Context, p *person) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(p.proved.Add(freshness + time.Second))):
		return nil
	}
}

// freshness is how old a proof may be under demo.promote-needs-fresh-proof.
const freshness = 10 * time.Second

func (s *story) promoteStale(ctx context.Context) (seen, error) {
	oto, err := s.who("oto")
	if err != nil {
		return seen{}, err
	}
	if err := s.age(ctx, oto); err != nil {
		return seen{}, err
	}
	e, err := refusal(s.promote(ctx, oto))
	if err != nil {
		return seen{}, err
	}
	return s.decided(ctx, e.Decision, e.Message)
}

func (s *story) raises(ctx context.Context) (seen, error) {
	oto, err := s.who("oto")
	if err != nil {
		return seen{}, err
	}
	if err := oto.stepUp(ctx); err != nil {
		return seen{}, err
	}
	return seen{outcome: "raised"}, nil
}

func (s *story) promotes(ctx context.Context) (seen, error) {
	oto, err := s.who("oto")
	if err != nil {
		return seen{}, err
	}
	if err := oto.login(ctx); err != nil {
		return seen{}, err
	}
	if err := s.promote(ctx, oto); err != nil {
		return seen{}, err
	}
	return s.latest(ctx, oto, sallyport.ModelPromote, "")
}
