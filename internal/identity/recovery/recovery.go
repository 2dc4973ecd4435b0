// Package recovery owns the ways back into an account whose authenticators are lost (SP 800-63B-4 section 4.2): saved
// recovery codes, and requests that two other people approve.
//
//	asked --two approvals--> approved --the delay--> ready --Claim--> done
//	   \________\______________\___ Cancel by the person, at any time ___> cancelled
//
// The delay gives the person time to hear of a request that is not theirs. A request that is not finished in a week is
// over. What comes of a claim (an enrolment link), who may approve, and telling the person are for others.
package recovery

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"io"
	"slices"
	"time"

	"sallyport"
)

const (
	// Approvals is how many other people must say that it is the person.
	Approvals = 2
	life      = 7 * 24 * time.Hour
	maxWhy    = 500 // bytes
)

// A State is where a request stands.
type State string

// The states.
const (
	Asked     State = "asked"
	Approved  State = "approved" // from its time Ready on it can be claimed
	Done      State = "done"
	Cancelled State = "cancelled"
)

// A Request is one way back for one person.
type Request struct {
	ID      string // "R-" and 26 characters
	Member  sallyport.PrincipalID
	Asker   sallyport.PrincipalID // the person themselves, or who asks for them
	Why     string
	State   State
	Asked   time.Time
	Ready   time.Time               // when it can be claimed; zero before it is approved
	Ends    time.Time               // it is over then, whatever its state
	Votes   []sallyport.PrincipalID // who approved, as people
	Closed  sallyport.PrincipalID   // who claimed or cancelled it
	Version int64
}

// Open tells whether anything can still come of a request.
func (r Request) Open(at time.Time) bool {
	return (r.State == Asked || r.State == Approved) && at.Before(r.Ends)
}

// A Query selects requests by exactly one field.
type Query struct {
	ID     string
	Member sallyport.PrincipalID
	Since  time.Time // that end after this time
}

// A Store keeps codes and requests. Every change is durable when the method returns. Methods are safe for concurrent use.
type Store interface {
	// ReplaceCodes forgets a person's codes and keeps others.
	ReplaceCodes(ctx context.Context, id sallyport.PrincipalID, hashes [][sha256.Size]byte, made time.Time) error
	// FindCode reports whether a code is there, and how many codes a person has.
	FindCode(ctx context.Context, id sallyport.PrincipalID, hash [sha256.Size]byte) (left int, there bool, err error)
	// UseCode removes a code and reports whether it was there. Of parallel calls with one code, one wins.
	UseCode(ctx context.Context, id sallyport.PrincipalID, hash [sha256.Size]byte) (bool, error)
	// CodesLeft counts a person's codes.
	CodesLeft(ctx context.Context, id sallyport.PrincipalID) (int, error)
	// Requests returns what a query selects, the newest first.
	Requests(ctx context.Context, q Query) ([]Request, error)
	// InsertRequest adds a request.
	InsertRequest(ctx context.Context, r Request) error
	// UpdateRequest replaces a request whose version is one less, Conflict where it is not.
	UpdateRequest(ctx context.Context, r Request) error
}

// A Service keeps codes and requests. All fields but Named are needed; methods are safe for concurrent use.
type Service struct {
	Store Store
	Delay time.Duration // from the second approval to the claim
	// Throttle counts a guess at a key before it is checked; Right begins its count again.
	Throttle func(ctx context.Context, key string) error
	Right    func(ctx context.Context, key string) error
	// Person returns the person behind a principal.
	Person func(ctx context.Context, id sallyport.PrincipalID) (sallyport.PrincipalID, error)
	// Named reports whether somebody may approve recoveries without administering identities; nil names nobody.
	Named  func(ctx context.Context, id sallyport.PrincipalID) (bool, error)
	Now    func() time.Time
	Random io.Reader
}

// A Note writes down what a request is about to become. It is called before, and its error leaves everything as it was.
type Note func(Request) error

// Ask makes a request for a person. One that is open already is returned as it is: asking again does not begin again.
func (s *Service) Ask(ctx context.Context, member, asker sallyport.PrincipalID, why string, note Note) (Request, bool, error) {
	const op = "ask for recovery"
	if member.Kind() != sallyport.User || asker == "" {
		return Request{}, false, sallyport.E(op, sallyport.Invalid, "only people get back into accounts", "name a user")
	}
	now := s.now()
	before, err := s.Store.Requests(ctx, Query{Member: member})
	if err != nil {
		return Request{}, false, err
	}
	for _, r := range before {
		if r.Open(now) {
			return r, false, nil
		}
	}
	bits := make([]byte, 16)
	if _, err := io.ReadFull(s.Random, bits); err != nil {
		return Request{}, false, sallyport.Wrap(op, sallyport.Unavailable, "no randomness", err)
	}
	why = sallyport.OneLine(why)
	r := Request{ID: "R-" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(bits), Member: member, Asker: asker, Why: why[:min(len(why), maxWhy)],
		State: Asked, Asked: now, Ends: now.Add(life), Version: 1}
	if err := note(r); err != nil {
		return Request{}, false, err
	}
	return r, true, s.Store.InsertRequest(ctx, r)
}

// Approve adds the word of another person that it is really them who ask. The person, whoever asked for them, and
// whoever has approved already count for nothing, under whichever account. With the second approval the delay begins.
func (s *Service) Approve(ctx context.Context, id string, by sallyport.PrincipalID, note Note) (Request, error) {
	const op = "approve recovery"
	r, err := s.open(ctx, op, id)
	if err != nil {
		return Request{}, err
	}
	voter, err := s.Person(ctx, by)
	if err != nil {
		return Request{}, err
	}
	for _, who := range []sallyport.PrincipalID{r.Member, r.Asker} {
		person, err := s.Person(ctx, who)
		if err != nil {
			return Request{}, err
		}
		if voter == person {
			return Request{}, sallyport.E(op, sallyport.Conflict, "the person and who asks for them cannot approve it", "two other people approve")
		}
	}
	if r.State != Asked || slices.Contains(r.Votes, voter) {
		return Request{}, sallyport.E(op, sallyport.Conflict, "you have approved it already, or it needs no more approvals", "another person approves, or the delay runs")
	}
	r.Votes = append(slices.Clone(r.Votes), voter)
	if len(r.Votes) >= Approvals {
		r.State, r.Ready = Approved, s.now().Add(s.Delay)
	}
	return s.update(ctx, op, r, note)
}

// Vouch is Approve by somebody who was named for it. Whoever was not is told that there is no such request.
func (s *Service) Vouch(ctx context.Context, id string, by sallyport.PrincipalID, note Note) (Request, error) {
	named, err := s.Recoverer(ctx, by)
	if err == nil && !named {
		err = none("approve recovery")
	}
	if err != nil {
		return Request{}, err
	}
	return s.Approve(ctx, id, by, note)
}

// Recoverer reports whether a person was named to approve recoveries.
func (s *Service) Recoverer(ctx context.Context, id sallyport.PrincipalID) (bool, error) {
	if s.Named == nil || id.Kind() != sallyport.User {
		return false, nil
	}
	return s.Named(ctx, id)
}

// Cancel ends a request: by its person at any time, or by whoever else may.
func (s *Service) Cancel(ctx context.Context, id string, by sallyport.PrincipalID, note Note) (Request, error) {
	const op = "cancel recovery"
	r, err := s.open(ctx, op, id)
	if err != nil {
		return Request{}, err
	}
	r.State, r.Closed = Cancelled, by
	return s.update(ctx, op, r, note)
}

// Claim uses an approved request up, once, after its delay: the caller then makes one enrolment link. The one who claims
// is another person than the one who gets back in.
func (s *Service) Claim(ctx context.Context, id string, by sallyport.PrincipalID, note Note) (Request, error) {
	const op = "claim recovery"
	r, err := s.open(ctx, op, id)
	if err != nil {
		return Request{}, err
	}
	person, err := s.Person(ctx, by)
	if err != nil {
		return Request{}, err
	}
	member, err := s.Person(ctx, r.Member)
	if err != nil {
		return Request{}, err
	}
	switch {
	case person == member:
		return Request{}, sallyport.E(op, sallyport.Conflict, "the person cannot claim it", "one who approved it does, and hands the link over")
	case r.State != Approved:
		return Request{}, sallyport.E(op, sallyport.Conflict, "it is not approved by two people", "ask them")
	case s.now().Before(r.Ready):
		return Request{}, sallyport.E(op, sallyport.Conflict, "its delay runs until "+r.Ready.Format(time.RFC3339), "come back then; until then the person can cancel it")
	}
	r.State, r.Closed = Done, by
	return s.update(ctx, op, r, note)
}

// Requests returns those that a person has open.
func (s *Service) Requests(ctx context.Context, member sallyport.PrincipalID) ([]Request, error) {
	if member == "" {
		return nil, sallyport.E("list recoveries", sallyport.Invalid, "no principal", "name one: user:NAME")
	}
	return s.only(s.Store.Requests(ctx, Query{Member: member}))
}

// All returns every open request, the newest first.
func (s *Service) All(ctx context.Context) ([]Request, error) {
	return s.only(s.Store.Requests(ctx, Query{Since: s.now()}))
}

func (s *Service) only(all []Request, err error) ([]Request, error) {
	now := s.now()
	return slices.DeleteFunc(all, func(r Request) bool { return !r.Open(now) }), err
}

// Get returns a request, whatever its state, NotFound where there is none.
func (s *Service) Get(ctx context.Context, id string) (Request, error) {
	if id == "" {
		return Request{}, none("find recovery")
	}
	found, err := s.Store.Requests(ctx, Query{ID: id})
	if err == nil && len(found) != 1 {
		err = none("find recovery")
	}
	if err != nil {
		return Request{}, err
	}
	return found[0], nil
}

func (s *Service) open(ctx context.Context, op, id string) (Request, error) {
	r, err := s.Get(ctx, id)
	if err == nil && !r.Open(s.now()) {
		err = sallyport.E(op, sallyport.Conflict, "this request is over", "ask again")
	}
	return r, err
}

func (s *Service) update(ctx context.Context, op string, r Request, note Note) (Request, error) {
	if err := note(r); err != nil {
		return Request{}, err
	}
	r.Version++
	if err := s.Store.UpdateRequest(ctx, r); err != nil {
		if sallyport.KindOf(err) == sallyport.Conflict {
			err = sallyport.Wrap(op, sallyport.Conflict, "somebody changed it at the same moment; look again", err)
		}
		return Request{}, err
	}
	return r, nil
}

func none(op string) error {
	return sallyport.E(op, sallyport.NotFound, "there is no such request", "list them with 'sallyport recovery ls'")
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
