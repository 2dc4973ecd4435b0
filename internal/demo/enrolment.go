package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/demo/people"
	"sallyport/internal/web/api"
)

// join puts somebody into the cast, with a browser and a command line.
func (s *story) join(name string) (*people.Person, error) {
	p, err := people.New(name, s.house())
	if err == nil {
		s.cast[name] = p
	}
	return p, err
}

func (s *story) firstEnrols(ctx context.Context, _ *people.Person) (seen, error) {
	if s.server.FirstLink == "" {
		return seen{}, errors.New("the first start gave no link")
	}
	adam, err := s.join("adam")
	if err != nil {
		return seen{}, err
	}
	return seen{outcome: "enrolled"}, adam.Enrol(ctx, s.server.FirstLink)
}

func (s *story) linkAgain(ctx context.Context, _ *people.Person) (seen, error) {
	b, err := people.NewBrowser(s.server.CA())
	if err != nil {
		return seen{}, err
	}
	at, err := b.Open(ctx, s.server.FirstLink)
	if err == nil {
		return seen{}, fmt.Errorf("the link leads to %s", at.At.Path)
	}
	if at == nil {
		return seen{}, err
	}
	return seen{outcome: "refused", note: at.Main}, nil
}

func (s *story) adamSignsIn(ctx context.Context, adam *people.Person) (seen, error) {
	return seen{outcome: "signed-in"}, adam.Login(ctx, sallyport.NoAssurance)
}

// invite enrols somebody who is in the directory, and signs their command line in.
func (s *story) invite(ctx context.Context, id sallyport.PrincipalID) error {
	adam, err := s.who("adam")
	if err != nil {
		return err
	}
	e, err := adam.Client.Enrol(ctx, id)
	if err != nil {
		return err
	}
	p, err := people.New(id.Name(), s.house())
	if err != nil {
		return err
	}
	if err := p.Enrol(ctx, e.Link); err != nil {
		return fmt.Errorf("%s enrols: %w", id, err)
	}
	if err := p.Login(ctx, sallyport.NoAssurance); err != nil {
		return fmt.Errorf("%s signs in: %w", id, err)
	}
	if err := p.AddPasskey(ctx, "a laptop's"); err != nil {
		return fmt.Errorf("%s adds a passkey: %w", id, err)
	}
	s.cast[id.Name()] = p
	return nil
}

func (s *story) auditorJoins(ctx context.Context, _ *people.Person) (seen, error) {
	adam, err := s.who("adam")
	if err != nil {
		return seen{}, err
	}
	if err := beforeAnybody(ctx, adam.Client); err != nil {
		return seen{}, err
	}
	if err := s.invite(ctx, "user:alba"); err != nil {
		return seen{}, err
	}
	head, err := s.cast["alba"].Client.Head(ctx)
	s.firstHead = []byte(head.Checkpoint)
	return seen{outcome: "signed-in"}, err
}

func (s *story) setsUp(ctx context.Context, adam *people.Person) (seen, error) {
	n, err := acme().establish(ctx, adam.Client)
	if err != nil {
		return seen{}, err
	}
	return s.latest(ctx, adam, sallyport.IdentityAdminister, fmt.Sprintf("%d changes, each a decision of its own", n))
}

func (s *story) everybodyEnrols(ctx context.Context, _ *people.Person) (seen, error) {
	var names []string
	for _, m := range acme().people {
		if err := s.invite(ctx, m.ID); err != nil {
			return seen{}, err
		}
		names = append(names, m.ID.Name())
	}
	return seen{outcome: "signed-in", note: strings.Join(names, ", ")}, nil
}

func (s *story) proposes(ctx context.Context, adam *people.Person) (seen, error) {
	old, err := adam.Client.Policy(ctx)
	if err != nil {
		return seen{}, err
	}
	next := api.Proposal{Schema: old.Schema, Policies: maps.Clone(old.Policies), Why: "what the demo shows"}
	next.Policies["demo.cedar"] = morePolicies
	if s.proposal, err = adam.Client.Propose(ctx, next); err != nil {
		return seen{}, err
	}
	return s.latest(ctx, adam, sallyport.PolicyPropose, s.proposal.Subject)
}

// activatesAlone tries both ways: the directory at once, and the proposal that nobody approved.
func (s *story) activatesAlone(ctx context.Context, adam *people.Person) (seen, error) {
	_, atOnce := adam.Client.ActivateAlone(ctx, api.PolicySet{Policies: map[string]string{"demo.cedar": morePolicies}, Why: "now"})
	_, unapproved := adam.Client.Activate(ctx, s.proposal.Request)
	for _, err := range []error{atOnce, unapproved} {
		if e, ok := errors.AsType[*client.Error](err); !ok || e.API.Status != http.StatusConflict {
			return seen{}, fmt.Errorf("a set that nobody approved: %w", err)
		}
	}
	e, _ := errors.AsType[*client.Error](unapproved)
	return seen{outcome: "refused", note: e.API.Message}, nil
}

func (s *story) approvesPolicy(ctx context.Context, rita *people.Person) (seen, error) {
	p, err := rita.Client.Proposal(ctx, s.proposal.Request)
	if err != nil {
		return seen{}, err
	}
	if p, err = rita.Client.VotePolicy(ctx, p.Request, api.Vote{Yes: true, Reason: "read it", Hash: p.Hash}); err != nil {
		return seen{}, err
	}
	return s.latest(ctx, rita, sallyport.PolicyApprove, fmt.Sprintf("%s is %s", p.Request, p.State))
}

func (s *story) activates(ctx context.Context, adam *people.Person) (seen, error) {
	e, err := adam.Client.Activate(ctx, s.proposal.Request)
	if err != nil {
		return seen{}, err
	}
	return s.latest(ctx, adam, sallyport.PolicyActivate, fmt.Sprintf("epoch %d: version %.12s replaces %.12s", e.Number, e.Version, e.Before))
}
