package change

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/policy"
)

// Topic is the topic of our requests for approval.
const Topic = "policy"

// Limits on what is kept.
const (
	maxWhy      = 300
	maxCommit   = 64
	maxRepo     = 200
	maxNamed    = 100 // ids of policies that a request names of each kind
	openFor     = 7 * 24 * time.Hour
	maxProposed = 100 // proposals of one answer
)

// A Proposal is a policy set that somebody wants in force.
type Proposal struct {
	Request    string // id of the request for approval
	Version    string // of the set, as it will be when it is in force
	Base       string // version in force when it was proposed: what approvers compare it with
	Source     policy.Source
	By         sallyport.PrincipalID
	Why        string
	Commit     string // of the repository where the set comes from; may be empty
	Repository string
	At         time.Time
	Author     *approval.Vote // the signature of the person behind By over the request; nil: not yet
}

// Proposals keep them for ever. Writes are durable when they return.
type Proposals interface {
	// Insert keeps a proposal; Conflict when its request has one.
	Insert(ctx context.Context, p Proposal) error
	// Get returns the proposal of a request; NotFound.
	Get(ctx context.Context, request string) (Proposal, error)
	// List returns the newest proposals, newest first, without their sources.
	List(ctx context.Context, most int) ([]Proposal, error)
	// Sign keeps the author's signature of a proposal, in the place of an earlier one; NotFound.
	Sign(ctx context.Context, request string, author approval.Vote) error
}

// A question is the canonical form of a proposal: what voters vote on. The version is the content hash of all its text.
type question struct {
	Version    string   `json:"version"`
	Base       string   `json:"base"`
	Why        string   `json:"why"`
	Commit     string   `json:"commit,omitempty"`
	Repository string   `json:"repository,omitempty"`
	Added      []string `json:"added,omitempty"` // ids of policies, the first hundred
	Removed    []string `json:"removed,omitempty"`
	Changed    []string `json:"changed,omitempty"`
	Counts     [3]int   `json:"counts"`           // of the three lists, whole
	Schema     bool     `json:"schema,omitempty"` // the schema changes
}

func readQuestion(r approval.Request) (question, error) {
	var q question
	d := json.NewDecoder(bytes.NewReader(r.Canonical))
	d.DisallowUnknownFields()
	if r.Topic != Topic || !r.Intact() || d.Decode(&q) != nil {
		return q, sallyport.E("read proposal", sallyport.Conflict, r.ID+" is not the request for a policy that was asked", "propose it again")
	}
	return q, nil
}

// Propose validates a set and asks others to approve it. Of p it takes Source, By, Why, Commit and Repository; person is
// who stands behind By, and never approves. The set must differ from the one in force, and leave people who could change it.
func (s *Service) Propose(ctx context.Context, keeper *facts.Keeper, p Proposal, person sallyport.PrincipalID) (approval.Request, error) {
	const op = "propose policy"
	if err := p.check(); err != nil {
		return approval.Request{}, err
	}
	var engine, old policy.Engine
	var set Set
	var now standing
	err := s.warm.turn(func() (err error) {
		if engine, set, err = s.prepare(p.Source, p.By, p.Why); err != nil {
			return err
		}
		s.mu.Lock()
		now = s.inForce
		s.mu.Unlock()
		if set.Version == now.set.Version {
			return sallyport.E(op, sallyport.Conflict, "this set is in force already", "")
		}
		if err = s.governable(keeper, engine); err == nil {
			old, err = s.standingEngine(keeper, now.set)
		}
		return err
	})
	if err != nil {
		return approval.Request{}, err
	}
	p.Version, p.Base, p.Source, p.At = set.Version, now.set.Version, set.Source, s.now()
	q := question{Version: p.Version, Base: p.Base, Why: p.Why, Commit: p.Commit, Repository: p.Repository, Schema: set.Source.Schema != now.set.Source.Schema}
	q.Added, q.Removed, q.Changed = differences(old, engine)
	for i, list := range []*[]string{&q.Added, &q.Removed, &q.Changed} {
		q.Counts[i] = len(*list)
		*list = (*list)[:min(len(*list), maxNamed)]
	}
	r, err := s.ask(ctx, p, q, person)
	if err != nil {
		return r, err
	}
	p.Request = r.ID
	return r, s.Proposals.Insert(ctx, p)
}

// standingEngine is the engine in force, which keeper has compiled already.
func (s *Service) standingEngine(keeper *facts.Keeper, set Set) (policy.Engine, error) {
	if keeper != nil {
		if e := keeper.Snapshot().Engine(); e.Version() == set.Version {
			return e, nil
		}
	}
	return s.engine(set.Source)
}

// ask puts the question to the approvers.
func (s *Service) ask(ctx context.Context, p Proposal, q question, person sallyport.PrincipalID) (approval.Request, error) {
	canonical, err := json.Marshal(q)
	if err != nil {
		return approval.Request{}, err
	}
	for len(canonical) > approval.MaxCanonical && len(q.Added)+len(q.Removed)+len(q.Changed) > 0 { // long ids: their numbers still stand there
		q.Added, q.Removed, q.Changed = q.Added[:len(q.Added)/2], q.Removed[:len(q.Removed)/2], q.Changed[:len(q.Changed)/2]
		if canonical, err = json.Marshal(q); err != nil {
			return approval.Request{}, err
		}
	}
	return s.Approvals.Ask(ctx, approval.Request{Topic: Topic, Asker: p.By, AskerPerson: person,
		Subject:   fmt.Sprintf("put policy %.19s in force: %d new, %d gone, %d changed policies", p.Version, q.Counts[0], q.Counts[1], q.Counts[2]),
		Canonical: canonical, Need: s.Need, Groups: s.Groups, Approvers: s.approvers(), Expires: s.Approvals.Clock().Add(openFor)},
		func(ctx context.Context, r approval.Request) error {
			return s.note(ctx, sallyport.Event{Type: sallyport.EventPolicyProposed, Who: p.By, On: p.Version, Detail: map[string]string{"request": r.ID, "hash": r.Hash, "base": p.Base, "why": p.Why, "commit": p.Commit, "repository": p.Repository}})
		})
}

// approvers says for people who may vote.
func (s *Service) approvers() string {
	text := "people who may " + string(sallyport.PolicyApprove)
	for i, q := range s.Groups {
		text += []string{": ", ", "}[min(i, 1)] + q.String()
	}
	return text
}

func (p Proposal) check() error {
	const op = "propose policy"
	if err := checkWhy(op, p.Why); err != nil {
		return err
	}
	if err := checkLine(op, "commit", p.Commit, maxCommit); err != nil {
		return err
	}
	return checkLine(op, "repository", p.Repository, maxRepo)
}

// Vote counts a ballot on a proposal; approval.Service.Vote says who is refused. The record of it is made here.
func (s *Service) Vote(ctx context.Context, b approval.Ballot) (approval.Request, error) {
	const op = "vote on policy"
	p, r, err := s.proposal(ctx, op, b.Request)
	if err != nil {
		return r, err
	}
	b.Note = func(ctx context.Context, r approval.Request) error {
		detail, err := r.Voted()
		if err != nil {
			return err
		}
		return s.note(ctx, sallyport.Event{Type: sallyport.EventPolicyVoted, Who: b.Voter, On: p.Version, Detail: detail})
	}
	return s.Approvals.Vote(ctx, b)
}

// Proposal returns a proposal with its request as it stands now.
func (s *Service) Proposal(ctx context.Context, request string) (Proposal, approval.Request, error) {
	return s.proposal(ctx, "read proposal", request)
}

// proposal reads a proposal that is what was asked.
func (s *Service) proposal(ctx context.Context, op, request string) (Proposal, approval.Request, error) {
	r, err := s.Approvals.Get(ctx, request)
	if err == nil && r.Topic != Topic {
		err = sallyport.E(op, sallyport.NotFound, "there is no such proposal", "run 'sallyport policy proposals' to see them")
	}
	if err != nil {
		return Proposal{}, r, err
	}
	q, err := readQuestion(r)
	if err != nil {
		return Proposal{}, r, err
	}
	p, err := s.Proposals.Get(ctx, request)
	if err == nil && (p.Version != q.Version || p.Base != q.Base) {
		err = sallyport.E(op, sallyport.Conflict, request+" was altered where it is kept", "propose it again")
	}
	return p, r, err
}

// Proposed returns the newest proposals without their sources, newest first.
func (s *Service) Proposed(ctx context.Context) ([]Proposal, error) {
	return s.Proposals.List(ctx, maxProposed)
}

// Kept returns a set that was in force, for proposing it again.
func (s *Service) Kept(ctx context.Context, version string) (Set, error) {
	set, err := s.Store.Get(ctx, version)
	if sallyport.KindOf(err) == sallyport.NotFound {
		err = sallyport.E("read policy", sallyport.NotFound, "no set "+sallyport.OneLine(version)+" was ever in force", "run 'sallyport policy show --versions'")
	}
	return set, err
}
