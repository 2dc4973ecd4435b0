package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/demo/people"
	"sallyport/internal/web/api"
)

func (s *story) pushHarbour(ctx context.Context, ana *people.Person) (seen, error) {
	return s.push(ctx, ana, guarded)
}
func (s *story) pushJetty(ctx context.Context, ana *people.Person) (seen, error) {
	return s.push(ctx, ana, open)
}
func (s *story) pushKeel(ctx context.Context, tess *people.Person) (seen, error) {
	return s.push(ctx, tess, closed)
}

func (s *story) push(ctx context.Context, p *people.Person, model string) (seen, error) {
	var size int64
	done, err := p.Client.Push(ctx, s.files(model), model, client.PushOptions{Alias: "main", Progress: func(at client.Progress) {
		size = at.Total
		s.out.progress("     %s %s: %s of %s", at.Phase, at.File, mebibytes(at.Done), mebibytes(at.Total))
	}})
	if err != nil {
		return seen{}, err
	}
	return s.latest(ctx, p, sallyport.ModelPush, fmt.Sprintf("%s in %s, sha256:%.12s", mebibytes(size), done.Version, done.Digest))
}

func (s *story) pushPickle(ctx context.Context, ana *people.Person) (seen, error) {
	dir := s.path("models", "pickle")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return seen{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "model.bin"), []byte("\x80\x04\x95\x0a\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94."), 0o600); err != nil {
		return seen{}, err
	}
	_, err := ana.Client.Push(ctx, dir, open, client.PushOptions{})
	e, err := refusal(err)
	return seen{outcome: "refused", note: e.Message}, err
}

func (s *story) promote(ctx context.Context, p *people.Person) error {
	_, err := p.Client.Promote(ctx, api.Thing{Resource: guarded, Environment: sallyport.Staging})
	return err
}

func (s *story) promoteOwn(ctx context.Context, ana *people.Person) (seen, error) {
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
func (s *story) age(ctx context.Context, p *people.Person) error {
	return pause(ctx, time.Until(p.Proved.Add(freshness+time.Second)))
}

// freshness is how old a proof may be under demo.fresh-proof.
const freshness = 10 * time.Second

func (s *story) promoteStale(ctx context.Context, oto *people.Person) (seen, error) {
	if err := s.age(ctx, oto); err != nil {
		return seen{}, err
	}
	e, err := refusal(s.promote(ctx, oto))
	if err != nil {
		return seen{}, err
	}
	return s.decided(ctx, e.Decision, e.Message)
}

// raises does what the denial said: 'sallyport login --assurance aal2', and a code in the browser.
func (s *story) raises(ctx context.Context, oto *people.Person) (seen, error) {
	return seen{outcome: "raised"}, oto.Login(ctx, sallyport.MultiFactor)
}

func (s *story) promotes(ctx context.Context, oto *people.Person) (seen, error) {
	if err := s.promote(ctx, oto); err != nil {
		return seen{}, err
	}
	return s.latest(ctx, oto, sallyport.ModelPromote, "")
}
