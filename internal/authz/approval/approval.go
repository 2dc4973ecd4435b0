// Package approval owns questions put to m people who are not the asker, and
// their votes: dual control with separation of duties in the sense of NIST SP
// 800-53 AC-3(2) and AC-5. It leaves to others who may vote at all (the guard
// decides that like any action), what an approved question brings about, and what
// a signature over a vote is worth (approval/signed).
package approval

import (
	"context"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval/signed"
)

// The limits on what is kept.
const (
	MaxSubject   = 400                 // bytes of a subject
	MaxReason    = 500                 // bytes of a vote's reason and of the rule
	MaxCanonical = 16 << 10            // bytes of what exactly is asked
	MaxNeed      = signed.MaxNeed      // approvals
	MaxVotes     = 64                  // on one question
	MaxPending   = 20                  // open questions of one person: more prompts tire approvers out
	MaxList      = 200                 // entries of one answer
	maxOpen      = 31 * 24 * time.Hour // how long a question may stay open

	// Fresh is how long after it was put before a voter a signed vote may be cast.
	Fresh = 5 * time.Minute
)

// A State is where a request stands.
type State string

// The states. All but Pending and Approved are final; an Approved request
// becomes Used once.
const (
	Pending   State = "pending"
	Approved  State = "approved"
	Denied    State = "denied"
	Expired   State = "expired" // told by the clock, never stored
	Withdrawn State = "withdrawn"
	Used      State = "used"
)

// A Request is one question. All but State, Decided and Votes never changes.
type Request struct {
	ID          string // "R-" and 10 characters
	Topic       string // what kind of question: "grant", "policy"
	Asker       sallyport.PrincipalID
	AskerPerson sallyport.PrincipalID // the person behind the asker when it was asked
	Subject     string                // for people: one line
	Canonical   []byte                // what exactly is asked, in the spelling of the topic
	Hash        string                // of all the fields above and below, 64 hex digits: what a vote is for
	Need        int                   // distinct people who must say yes, at least 1
	Groups      []Quorum              // who they must be among; none: whoever may vote
	Approvers   string                // for people: who may vote
	Policy      string                // version of the policy set in force when it was asked
	Nonce       string                // 32 hex digits; "" in requests of before there were signatures
	Created     time.Time
	Expires     time.Time // exclusive: at this instant neither a vote nor a use counts
	State       State
	Decided     time.Time // when the last vote or the withdrawal came; zero while pending
	Votes       []Vote    // in order
}

// What a vote, its signature and a quorum are is written down beside the rule that
// verifies them.
type (
	Vote      = signed.Vote
	Signature = signed.Signature
	Quorum    = signed.Quorum
)

// A Filter selects requests; the zero Filter selects all.
type Filter struct {
	Topic  string                // "" = any
	Person sallyport.PrincipalID // who asked; "" = anybody
	State  State                 // "" = any
	At     time.Time             // with State Pending: still open at this time
	Until  time.Time             // asked at this time or before; zero = any
	Newest int                   // how many at most; 0 and more than MaxList are MaxList
}

// A Store keeps requests. Writes are durable when they return, and atomic: of
// two updates of one request the second sees what the first wrote. All methods
// may be called concurrently, from several nodes on one store.
type Store interface {
	// Insert keeps a new request where accept, told how many of the same person are open when it is created, takes it, in one
	// transaction. An error of accept is returned, and nothing is written. Conflict when its id is taken.
	Insert(ctx context.Context, r Request, accept func(open int) error) error
	// Get returns a request as it was written; NotFound.
	Get(ctx context.Context, id string) (Request, error)
	// List returns what f selects, newest first.
	List(ctx context.Context, f Filter) ([]Request, error)
	// Update reads a request, lets change alter its State, Decided and Votes, and
	// writes them, in one transaction. An error of change is returned, and nothing is written.
	Update(ctx context.Context, id string, change func(*Request) error) (Request, error)
}

// A Service asks and counts. Its fields are set before its first use.
type Service struct {
	Store Store
	Clock func() time.Time
	Rand  io.Reader
	// Person returns who stands behind a principal today. A question is refused
	// to the person who asked and to the one who would profit from the answer now.
	Person func(ctx context.Context, id sallyport.PrincipalID) (sallyport.PrincipalID, error)
	// Policy returns the version of the policy set in force; nil: none is noted.
	Policy func() string
	// Keys returns the approvers' keys, those that are over too; nil: nobody has any.
	Keys func(ctx context.Context) (signed.Keys, error)
	// Signed asks for a signature on every yes. Without it one is asked for as soon as anybody has an approver's key.
	Signed bool
}

// Ask puts a question. Of r it takes Topic, Asker, AskerPerson, Subject,
// Canonical, Need, Groups, Approvers and Expires. Where there are Groups, Need is
// at least as many people as they ask for.
func (s *Service) Ask(ctx context.Context, r Request, note Note) (Request, error) {
	now := s.now()
	r.Created, r.State, r.Decided, r.Votes = now, Pending, time.Time{}, nil
	r.Expires = r.Expires.UTC().Truncate(time.Microsecond)
	if r.Policy == "" && s.Policy != nil {
		r.Policy = s.Policy()
	}
	if r.Need > 0 {
		r.Need = max(r.Need, sallyport.Approvals(r.Groups))
	}
	if err := r.check(); err != nil {
		return Request{}, err
	}
	var err error
	if r.ID, err = newID(s.Rand); err != nil {
		return Request{}, err
	}
	if r.Nonce, err = newNonce(s.Rand); err != nil {
		return Request{}, err
	}
	r.Hash = r.Question().Hash()
	err = s.Store.Insert(ctx, r, func(open int) error {
		if open >= MaxPending {
			return sallyport.E("ask for approval", sallyport.Busy, fmt.Sprintf("%d requests of yours are open", open),
				"withdraw one, or wait for the answers")
		}
		return note.write(ctx, r)
	})
	if err != nil {
		return Request{}, err
	}
	return r, nil
}

// A Ballot is a vote to be cast.
type Ballot struct {
	Request string
	Voter   sallyport.PrincipalID // a user: programs do not approve
	Person  sallyport.PrincipalID // the person behind the voter
	Yes     bool
	Reason  string // may be empty
	Hash    string // of the request that the voter has read
	// Groups are those of the request's groups that the voter belongs to today, in the request's order.
	Groups []string
	// At is when a signed ballot was put before the voter; a ballot by session has none.
	At        time.Time
	Signature *Signature // nil: by session
	Note      Note       // of the vote: what is not written down does not count
}

// vote is the ballot as it is counted and signed.
func (b Ballot) vote(now time.Time) Vote {
	v := Vote{Voter: b.Voter, Person: b.Person, Yes: b.Yes, Reason: b.Reason, At: now, Groups: b.Groups, Signature: b.Signature}
	if b.Signature != nil {
		v.At = b.At.UTC().Truncate(time.Microsecond)
	}
	return v
}

// Vote counts a ballot and returns the request as it stands then. It is refused
// to whoever asked, through any identity; for any other text than the one that
// stands; when the question is decided or its time is over; and a second time to
// one person. One no denies; the last yes that is needed approves. Where a
// signature is asked for, a yes without a good one is refused. A vote that counts is
// written down before it is kept; where it could not be kept it may be cast again, and is then
// written down twice.
func (s *Service) Vote(ctx context.Context, b Ballot) (Request, error) {
	const op = "vote"
	if err := checkText(op, "reason", b.Reason, 0, MaxReason); err != nil {
		return Request{}, err
	}
	if b.Voter.Kind() != sallyport.User || b.Person.Kind() != sallyport.User {
		return Request{}, sallyport.E(op, sallyport.Invalid, "only a person votes", "sign in as yourself and vote again")
	}
	r, err := s.get(ctx, op, b.Request)
	if err != nil {
		return Request{}, err
	}
	askerToday, err := s.Person(ctx, r.Asker)
	if err != nil {
		return Request{}, err
	}
	keys, asked, err := s.asked(ctx)
	if err != nil {
		return Request{}, err
	}
	return s.Store.Update(ctx, r.ID, func(r *Request) error {
		if b.Person == askerToday {
			return errSelf()
		}
		now := s.now()
		vote := b.vote(now)
		if err := r.matches(op, b.Hash); err != nil { // before the signature: the voter read something else
			return err
		}
		if vote.At.After(now) || now.Sub(vote.At) > Fresh {
			return sallyport.E(op, sallyport.Conflict, "it was put before you too long ago", "open "+r.ID+" again")
		}
		if vote.Signature != nil || asked && vote.Yes {
			if err := signed.VerifyVote(r.Question(), vote, keys); err != nil {
				return err
			}
		}
		if err := r.count(vote, b.Hash, now); err != nil {
			return err
		}
		return b.Note.write(ctx, *r)
	})
}

// MustSign reports whether a yes must be signed now. With an error, of keys that cannot be trusted, it must.
func (s *Service) MustSign(ctx context.Context) (bool, error) {
	_, asked, err := s.asked(ctx)
	return asked || err != nil, err
}

// asked returns the approvers' keys, and whether a yes must be signed.
func (s *Service) asked(ctx context.Context) (signed.Keys, bool, error) {
	if s.Keys == nil {
		return nil, s.Signed, nil
	}
	keys, err := s.Keys(ctx)
	return keys, s.Signed || len(keys) > 0 || err != nil, err
}

// Verify reports why the votes of a request do not make it approved, nil where they do: signed ones where signatures are
// asked for, and otherwise by their number. Whoever acts on an approved request calls it again before each use.
func (s *Service) Verify(ctx context.Context, r Request) error {
	keys, asked, err := s.asked(ctx)
	if err != nil {
		return err
	}
	if !r.Intact() {
		return sallyport.E("verify approval", sallyport.Conflict, r.ID+" was altered where it is kept", "ask again").Because(signed.ReasonSignature)
	}
	if asked {
		return signed.Verify(r.Question(), r.Votes, keys)
	}
	return signed.Count(r.Question(), r.Votes)
}

// Withdraw takes a pending question back; only the person who asked may.
func (s *Service) Withdraw(ctx context.Context, id string, person sallyport.PrincipalID, note Note) (Request, error) {
	const op = "withdraw"
	if _, err := s.get(ctx, op, id); err != nil {
		return Request{}, err
	}
	return s.Store.Update(ctx, id, func(r *Request) error {
		if person != r.AskerPerson {
			return sallyport.E(op, sallyport.Conflict, "somebody else asked for "+r.ID, "deny it instead")
		}
		if err := r.expect(op, Pending, s.now()); err != nil {
			return err
		}
		r.State, r.Decided = Withdrawn, s.now()
		return note.write(ctx, *r)
	})
}

// Use spends an approved request: of all callers on all nodes one succeeds, and
// only before it expires, for the very text that was approved.
func (s *Service) Use(ctx context.Context, id, hash string) (Request, error) {
	const op = "use approval"
	if _, err := s.get(ctx, op, id); err != nil {
		return Request{}, err
	}
	return s.Store.Update(ctx, id, func(r *Request) error {
		if err := r.matches(op, hash); err != nil {
			return err
		}
		if err := r.expect(op, Approved, s.now()); err != nil {
			return err
		}
		r.State = Used
		return nil
	})
}

// Get returns a request as it stands now.
func (s *Service) Get(ctx context.Context, id string) (Request, error) {
	r, err := s.get(ctx, "read request", id)
	r.State = r.stateAt(s.now())
	return r, err
}

// List returns what f selects as it stands now, newest first.
func (s *Service) List(ctx context.Context, f Filter) ([]Request, error) {
	f.At = s.now()
	all, err := s.Store.List(ctx, f)
	for i := range all {
		all[i].State = all[i].stateAt(f.At)
	}
	return all, err
}

func (s *Service) get(ctx context.Context, op, id string) (Request, error) {
	r, err := s.Store.Get(ctx, id)
	if sallyport.KindOf(err) == sallyport.NotFound {
		return Request{}, sallyport.E(op, sallyport.NotFound, "there is no such request", "run 'sallyport inbox' to see the open ones")
	}
	return r, err
}

func (s *Service) now() time.Time { return s.Clock().UTC().Truncate(time.Microsecond) }

// Question is what is under the hash of a request.
func (r Request) Question() signed.Question {
	return signed.Question{ID: r.ID, Topic: r.Topic, Asker: r.Asker, AskerPerson: r.AskerPerson, Subject: r.Subject, Canonical: r.Canonical, Need: r.Need,
		Groups: r.Groups, Approvers: r.Approvers, Policy: r.Policy, Nonce: r.Nonce, Created: r.Created, Expires: r.Expires}
}

// Intact reports whether the request is, to the byte, the one that was asked.
func (r Request) Intact() bool { return r.Hash == r.Question().Hash() }

// count adds a vote where it may be cast.
func (r *Request) count(v Vote, hash string, now time.Time) error {
	const op = "vote"
	if err := r.matches(op, hash); err != nil {
		return err
	}
	if v.Person == r.AskerPerson || v.Voter == r.Asker {
		return errSelf()
	}
	if err := r.expect(op, Pending, now); err != nil {
		return err
	}
	if v.Yes && len(r.Groups) > 0 && !slices.ContainsFunc(r.Groups, func(q Quorum) bool { return slices.Contains(v.Groups, q.Group) }) {
		return sallyport.E(op, sallyport.Conflict, "you are in none of the groups that "+r.ID+" asks: "+r.Approvers, "somebody of them votes").Because(signed.ReasonQuorum)
	}
	if len(r.Votes) >= MaxVotes {
		return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s has %d votes, and not the right ones", r.ID, MaxVotes), "ask again")
	}
	if slices.ContainsFunc(r.Votes, func(old Vote) bool { return old.Person == v.Person || old.Voter == v.Voter }) {
		return sallyport.E(op, sallyport.Conflict, "you have voted on "+r.ID+" already", "another person votes next")
	}
	r.Votes = append(slices.Clone(r.Votes), v)
	switch {
	case !v.Yes:
		r.State, r.Decided = Denied, v.At
	case signed.Enough(r.Question(), r.Votes): // a no would have ended it
		r.State, r.Decided = Approved, signed.Decided(r.Votes)
	}
	return nil
}

// matches refuses a request that is not the one somebody has read, or that was
// altered where it is kept.
func (r *Request) matches(op, hash string) error {
	if hash != r.Hash || !r.Intact() {
		return sallyport.E(op, sallyport.Conflict, r.ID+" is not the request that was read", "read it again and decide anew")
	}
	return nil
}

// expect refuses a request in another state, or past its time.
func (r *Request) expect(op string, want State, now time.Time) error {
	if is := r.stateAt(now); is != want {
		return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s is %s", r.ID, is), "ask again")
	}
	if !now.Before(r.Expires) {
		return sallyport.E(op, sallyport.Conflict, "the time of "+r.ID+" is over", "ask again")
	}
	return nil
}

func (r *Request) stateAt(now time.Time) State {
	if r.State == Pending && !now.Before(r.Expires) {
		return Expired
	}
	return r.State
}

func errSelf() error {
	return sallyport.E("vote", sallyport.Conflict, "nobody approves their own request, through any identity", "ask somebody else to look at it")
}

// newID makes an identifier that is easy to read out: no I, L, O, U.
func newID(random io.Reader) (string, error) {
	var b [10]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", sallyport.Wrap("ask for approval", sallyport.Unavailable, "no randomness", err)
	}
	return "R-" + base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").EncodeToString(b[:])[:10], nil
}

// newNonce makes what no two requests have in common.
func newNonce(random io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", sallyport.Wrap("ask for approval", sallyport.Unavailable, "no randomness", err)
	}
	return hex.EncodeToString(b[:]), nil
}
