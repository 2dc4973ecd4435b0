package change

import (
	"context"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/approval/signed"
)

// Sign keeps the author's signature over a proposal: whoever answers for it says with a key that this text is theirs, so
// that nobody who holds the store or the process proposes in their name. Of b it takes Request, Voter, Person, Hash, At
// and Signature. Where approvals are signed, a set without it is not put in force. It counts as nobody's approval.
func (s *Service) Sign(ctx context.Context, b approval.Ballot) (approval.Request, error) {
	const op = "sign proposal"
	p, r, err := s.proposal(ctx, op, b.Request)
	if err != nil {
		return r, err
	}
	now := s.now()
	v := approval.Vote{Voter: b.Voter, Person: b.Person, Yes: true, At: b.At.UTC().Truncate(time.Microsecond), Signature: b.Signature}
	switch {
	case r.State != approval.Pending && r.State != approval.Approved:
		return r, sallyport.E(op, sallyport.Conflict, r.ID+" is "+string(r.State), "propose it again")
	case b.Hash != r.Hash:
		return r, sallyport.E(op, sallyport.Conflict, r.ID+" is not the request that was read", "read it again")
	case v.At.After(now) || now.Sub(v.At) > approval.Fresh:
		return r, sallyport.E(op, sallyport.Conflict, "it was put before you too long ago", "open "+r.ID+" again")
	}
	keys, err := s.keys(ctx)
	if err != nil {
		return r, err
	}
	if err := signed.VerifyAuthor(r.Question(), v, keys); err != nil {
		return r, err
	}
	as := r
	as.Votes = []approval.Vote{v}
	detail, err := as.Voted()
	if err != nil {
		return r, err
	}
	if err := s.note(ctx, sallyport.Event{Type: sallyport.EventPolicySigned, Who: b.Voter, On: p.Version, Detail: detail}); err != nil {
		return r, err
	}
	return r, s.Proposals.Sign(ctx, r.ID, v)
}

// hasAuthor refuses an approved proposal that its author has not signed.
func (s *Service) hasAuthor(ctx context.Context, r approval.Request) error {
	keys, err := s.keys(ctx)
	if err != nil {
		return err
	}
	return s.authored(ctx, r, keys)
}

// authored reports what is wrong with the author's signature of a proposal.
func (s *Service) authored(ctx context.Context, r approval.Request, keys signed.Keys) error {
	p, err := s.Proposals.Get(ctx, r.ID)
	if err != nil {
		return err
	}
	if p.Author == nil {
		p.Author = &approval.Vote{}
	}
	return signed.VerifyAuthor(r.Question(), *p.Author, keys)
}

// keys are the approvers' keys, those that are over too.
func (s *Service) keys(ctx context.Context) (signed.Keys, error) {
	if s.Approvals.Keys == nil {
		return nil, nil
	}
	return s.Approvals.Keys(ctx)
}
