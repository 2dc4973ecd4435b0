// Package grant owns just-in-time grants: somebody may take some actions on one
// resource for a time, with a reason, after other people said yes (privileged
// access without standing privilege, NIST SP 800-53 AC-2(6)). It leaves the
// voting to authz/approval and what a grant permits to policy.
//
// # Time
//
// A grant begins when the last approval that it needs arrives, and ends by
// itself at Until, exclusive; nothing has to happen for it to end, and no method
// makes it longer. This is as good as the clock that it is compared with, so
// Clock must be steady, here and where decisions are made: it never runs
// backward, follows the wall clock forward, and after a restart goes on no
// earlier than the newest time the store has seen. A wall clock that is set back
// then prolongs nothing; one that is set forward only shortens.
package grant

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/approval/signed"
)

// The limits on what is kept.
const (
	MaxActions    = 16             // of one grant
	MaxWhy        = 500            // bytes
	DefaultMaxFor = 24 * time.Hour // of one grant
	MaxActive     = 10_000         // grants at one time, of everybody
	MaxList       = 200            // entries of one answer
	openFor       = 72 * time.Hour // a request waits so long for approval

	// Topic is the topic of our requests for approval.
	Topic = "grant"
)

// An Ask is what somebody wants.
type Ask struct {
	Principal sallyport.PrincipalID
	Person    sallyport.PrincipalID // the person behind the principal
	Actions   []sallyport.Action
	Ref       sallyport.Ref // to be safe against names that move: pinned by the caller
	For       time.Duration // whole seconds, above zero
	Why       string        // one line, never empty
	Digest    string        // of the version that is asked for, "" where it has none
	Purpose   string        // of the token that it was asked with
	Task      *Task         // what it ends with, if that is earlier; nil: nothing
	// Groups are who must approve; none: whoever may.
	Groups []approval.Quorum
	// Scope narrows what it is for: files, ranges, tokens. None: all of it.
	Scope []sallyport.Obligation
	// Note writes the request down before it is put to anybody.
	Note approval.Note
}

// A Grant is an approved Ask.
type Grant struct {
	ID         string // "G-" and the characters of the request's id
	Principal  sallyport.PrincipalID
	Person     sallyport.PrincipalID
	Actions    []sallyport.Action // sorted
	Ref        sallyport.Ref
	From       time.Time // when the last approval came
	Until      time.Time // exclusive
	Why        string
	Request    string                  // id of the request for approval
	ApprovedBy []sallyport.PrincipalID // people
	RevokedAt  time.Time               // zero when nobody revoked it
	RevokedBy  sallyport.PrincipalID
	Task       *Task                  // what it ends with, before Until; nil: nothing
	Seen       time.Time              // when its task was last seen to go on; zero: never
	Scope      []sallyport.Obligation // what it is narrowed to, as it was asked
}

// Active reports whether the grant holds at now. One that is bound to a lease holds from the first renewal.
func (g Grant) Active(now time.Time) bool {
	return !now.Before(g.From) && now.Before(g.Until) && g.RevokedAt.IsZero() && (!g.leased() || !g.Seen.IsZero())
}

// A Store keeps grants. Writes are durable when they return. All methods may be
// called concurrently, from several nodes on one store.
type Store interface {
	// Insert keeps a new grant; Conflict when its id or its request has one already.
	Insert(ctx context.Context, g Grant) error
	// Get returns a grant; NotFound.
	Get(ctx context.Context, id string) (Grant, error)
	// Active returns the grants that hold at now, oldest first, at most limit.
	Active(ctx context.Context, now time.Time, limit int) ([]Grant, error)
	// List returns the grants of one principal ("" = of all), newest first, at most limit.
	List(ctx context.Context, principal sallyport.PrincipalID, limit int) ([]Grant, error)
	// Revoke ends a grant that nobody revoked yet, and returns it as it stands
	// then; a second call changes nothing. NotFound.
	Revoke(ctx context.Context, id string, by sallyport.PrincipalID, at time.Time) (Grant, error)
	// Touch keeps that the task of a grant that nobody revoked was seen to go on, and returns the grant. NotFound.
	Touch(ctx context.Context, id string, at time.Time) (Grant, error)
	// RevokePerson ends all grants of a person that end after at, and returns how many.
	RevokePerson(ctx context.Context, person, by sallyport.PrincipalID, at time.Time) (int, error)
}

// A Service turns asks into grants. Its fields are set before its first use.
type Service struct {
	Store     Store
	Approvals *approval.Service
	Clock     func() time.Time // steady: see the package comment
	Need      int              // approvals a grant needs; 0 is an error
	MaxFor    time.Duration    // longest grant; 0 is DefaultMaxFor
}

// A question is the canonical form of an Ask: what voters vote on.
type question struct {
	Principal sallyport.PrincipalID `json:"principal"`
	Person    sallyport.PrincipalID `json:"person"`
	Actions   []sallyport.Action    `json:"actions"` // sorted, each once
	Ref       string                `json:"ref"`
	Seconds   int64                 `json:"seconds"`
	Why       string                `json:"why"`
	Digest    string                `json:"digest,omitempty"`
	Purpose   string                `json:"purpose,omitempty"`
	Task      *Task                 `json:"task,omitempty"`
	Scope     []string              `json:"scope,omitempty"` // obligations
}

// Ask asks for a grant and returns the request that others vote on.
func (s *Service) Ask(ctx context.Context, a Ask) (approval.Request, error) {
	if err := s.check(a); err != nil {
		return approval.Request{}, err
	}
	actions := slices.Compact(slices.Sorted(slices.Values(a.Actions)))
	q := question{a.Principal, a.Person, actions, a.Ref.String(), int64(a.For / time.Second), a.Why, a.Digest, a.Purpose, a.Task, scopeText(a.Scope)}
	canonical, err := json.Marshal(q)
	if err != nil {
		return approval.Request{}, err
	}
	return s.Approvals.Ask(ctx, approval.Request{
		Topic:       Topic,
		Asker:       a.Principal,
		AskerPerson: a.Person,
		Subject:     q.subject(),
		Canonical:   canonical,
		Need:        s.Need,
		Groups:      a.Groups,
		Approvers:   approvers(a.Groups, q.Ref),
		Expires:     s.now().Add(openFor),
	}, a.Note)
}

// Vote casts a ballot on a request for a grant. With the last approval the grant
// begins, and is returned; otherwise it is nil.
func (s *Service) Vote(ctx context.Context, b approval.Ballot) (approval.Request, *Grant, error) {
	before, err := s.Approvals.Get(ctx, b.Request)
	if err != nil {
		return approval.Request{}, nil, err
	}
	if before.Topic != Topic {
		return approval.Request{}, nil, sallyport.E("vote", sallyport.Invalid, before.ID+" does not ask for a grant", "vote where it was asked")
	}
	r, err := s.Approvals.Vote(ctx, b)
	if err != nil || r.State != approval.Approved {
		return r, nil, err
	}
	g, err := s.Settle(ctx, r.ID)
	if err != nil {
		return r, nil, err
	}
	return r, &g, nil
}

// Settle returns the grant of an approved request and makes it where it is
// missing, because the process ended between the vote and the grant. However
// often and late it is called, a request has one grant, whose time began with
// the approval.
func (s *Service) Settle(ctx context.Context, request string) (Grant, error) {
	r, err := s.Approvals.Get(ctx, request)
	if err != nil {
		return Grant{}, err
	}
	g, err := Of(r)
	if err != nil {
		return Grant{}, err
	}
	if have, err := s.Store.Get(ctx, g.ID); sallyport.KindOf(err) != sallyport.NotFound {
		return have, err
	}
	if err := s.Approvals.Verify(ctx, r); err != nil {
		return Grant{}, err
	}
	err = s.Store.Insert(ctx, g)
	if sallyport.KindOf(err) == sallyport.Conflict {
		return s.Store.Get(ctx, g.ID)
	}
	return g, err
}

// Recover settles what an earlier process left approved but without a grant. It
// is called once at start, and returns how many requests it looked at.
func (s *Service) Recover(ctx context.Context) (int, error) {
	approved, err := s.Approvals.List(ctx, approval.Filter{Topic: Topic, State: approval.Approved})
	if err != nil {
		return 0, err
	}
	for _, r := range approved {
		if _, err := s.Settle(ctx, r.ID); err != nil && sallyport.KindOf(err) != sallyport.Conflict {
			return 0, err // what does not verify begins no grant, and stops nothing else
		}
	}
	return len(approved), nil
}

// Revoke ends a grant now. A grant that is over already stays as it is.
func (s *Service) Revoke(ctx context.Context, id string, by sallyport.PrincipalID) (Grant, error) {
	g, err := s.Store.Revoke(ctx, id, by, s.now())
	if sallyport.KindOf(err) == sallyport.NotFound {
		err = sallyport.E("revoke grant", sallyport.NotFound, "there is no such grant", "run 'sallyport grants' to see them")
	}
	return g, err
}

// RevokePerson ends all grants of a person through any of their identities, as
// when they leave, and returns how many.
func (s *Service) RevokePerson(ctx context.Context, person, by sallyport.PrincipalID) (int, error) {
	return s.Store.RevokePerson(ctx, person, by, s.now())
}

// A Refused is a grant that is kept and does not count, and why.
type Refused struct {
	Grant
	Why error
}

// Proved returns every grant that holds at now and is what its approval, verified anew, says: the same principal, actions,
// resource and times. refused are those that are not: somebody altered them, or their approval, where they are kept. A
// store that cannot be read is an error.
func (s *Service) Proved(ctx context.Context, now time.Time) (good []Grant, refused []Refused, err error) {
	all, err := s.Active(ctx, now)
	if err != nil {
		return nil, nil, err
	}
	for _, g := range all {
		why := s.prove(ctx, g)
		switch sallyport.KindOf(why) {
		case sallyport.Unavailable:
			return nil, nil, why
		default:
			if why != nil {
				refused = append(refused, Refused{g, why})
				continue
			}
		}
		good = append(good, g)
	}
	return good, refused, nil
}

// prove reports why a grant is not what was approved.
func (s *Service) prove(ctx context.Context, g Grant) error {
	const op = "verify grant"
	r, err := s.Approvals.Get(ctx, g.Request)
	if sallyport.KindOf(err) == sallyport.NotFound {
		return sallyport.E(op, sallyport.Conflict, "nobody was asked for it", "revoke it")
	}
	if err != nil {
		return err
	}
	if err := s.Approvals.Verify(ctx, r); err != nil {
		return err
	}
	want, err := Of(r)
	if err != nil {
		return err
	}
	if !r.Decided.Equal(signed.Decided(r.Votes)) || !want.same(g) {
		return sallyport.E(op, sallyport.Conflict, "it is not what was approved in "+r.ID, "revoke it")
	}
	return nil
}

// same compares what was approved.
func (g Grant) same(o Grant) bool {
	return g.ID == o.ID && g.Principal == o.Principal && g.Person == o.Person && slices.Equal(g.Actions, o.Actions) && g.Ref == o.Ref &&
		g.From.Equal(o.From) && g.Until.Equal(o.Until) && g.Task.String() == o.Task.String() && slices.Equal(g.Scope, o.Scope)
}

// Active returns every grant that holds at now. It is all of them or an error:
// a list cut short would look like revocations.
func (s *Service) Active(ctx context.Context, now time.Time) ([]Grant, error) {
	all, err := s.Store.Active(ctx, now, MaxActive+1)
	if len(all) > MaxActive {
		return nil, sallyport.E("list grants", sallyport.TooLarge, fmt.Sprintf("more than %d grants are active", MaxActive), "revoke some, or turn them into roles")
	}
	return all, err
}

// List returns the newest grants of a principal, "" for everybody, ended ones
// too, at most MaxList.
func (s *Service) List(ctx context.Context, principal sallyport.PrincipalID) ([]Grant, error) {
	return s.Store.List(ctx, principal, MaxList)
}

// Get returns a grant.
func (s *Service) Get(ctx context.Context, id string) (Grant, error) { return s.Store.Get(ctx, id) }

func (s *Service) now() time.Time { return s.Clock().UTC().Truncate(time.Microsecond) }

// On is the resource that a request for a grant is about.
func On(r approval.Request) (sallyport.Ref, error) {
	var q question
	if err := json.Unmarshal(r.Canonical, &q); err != nil || r.Topic != Topic {
		return sallyport.Ref{}, sallyport.E("read request", sallyport.Invalid, r.ID+" does not ask for a grant", "")
	}
	return sallyport.ParseRef(q.Ref)
}

// Of is the grant that an approved request begins: read out of what was approved, never out of anything else.
func Of(r approval.Request) (Grant, error) {
	const op = "begin grant"
	if r.Topic != Topic || r.State != approval.Approved || !r.Intact() {
		return Grant{}, sallyport.E(op, sallyport.Conflict, r.ID+" is not an approved request for a grant", "ask for one")
	}
	var q question
	decoder := json.NewDecoder(bytes.NewReader(r.Canonical))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&q); err != nil {
		return Grant{}, sallyport.Wrap(op, sallyport.Other, "what was approved cannot be read", err)
	}
	ref, err := sallyport.ParseRef(q.Ref)
	if err != nil {
		return Grant{}, err
	}
	g := Grant{
		ID: "G-" + strings.TrimPrefix(r.ID, "R-"), Principal: q.Principal, Person: q.Person, Actions: q.Actions, Ref: ref,
		From: r.Decided, Until: r.Decided.Add(time.Duration(q.Seconds) * time.Second), Why: q.Why, Request: r.ID, Task: q.Task,
	}
	if g.Scope, err = ParseScope(q.Scope); err != nil {
		return Grant{}, err
	}
	for _, v := range r.Votes {
		g.ApprovedBy = append(g.ApprovedBy, v.Person)
	}
	return g, nil
}

func (s *Service) check(a Ask) error {
	const op = "request grant"
	most := s.MaxFor
	if most == 0 {
		most = DefaultMaxFor
	}
	if a.For <= 0 || a.For > most || a.For%time.Second != 0 {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("a grant for %v is not possible", a.For), fmt.Sprintf("ask for 1s to %v, in whole seconds", most))
	}
	if len(a.Actions) == 0 || len(a.Actions) > MaxActions {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%d actions are asked for", len(a.Actions)), fmt.Sprintf("name 1 to %d", MaxActions))
	}
	for _, action := range a.Actions {
		if _, err := sallyport.ParseAction(string(action)); err != nil {
			return err
		}
	}
	if _, err := ParseScope(scopeText(a.Scope)); err != nil {
		return err
	}
	if ref, err := sallyport.ParseRef(a.Ref.String()); err != nil || ref != a.Ref {
		return sallyport.E(op, sallyport.Invalid, "no resource is named", "name one, such as ORG/MODEL@VERSION")
	}
	if err := a.Task.check(); err != nil {
		return err
	}
	for _, id := range []sallyport.PrincipalID{a.Principal, a.Person} {
		if parsed, err := sallyport.ParsePrincipalID(string(id)); err != nil || parsed != id {
			return sallyport.E(op, sallyport.Invalid, "nobody asks", "sign in first")
		}
	}
	if len(a.Digest) > 128 || len(a.Purpose) > 80 {
		return sallyport.E(op, sallyport.Invalid, "the digest or the purpose is too long", "")
	}
	why := strings.TrimSpace(a.Why)
	if why == "" || len(a.Why) > MaxWhy || !utf8.ValidString(a.Why) || slices.ContainsFunc([]rune(a.Why), func(c rune) bool { return !unicode.IsPrint(c) }) {
		return sallyport.E(op, sallyport.Invalid, "the reason cannot be kept", fmt.Sprintf("say why in one line of 1 to %d bytes", MaxWhy))
	}
	return nil
}

// approvers tells people who may vote.
func approvers(groups []approval.Quorum, ref string) string {
	who := "people who may " + string(sallyport.GrantApprove) + " on " + ref
	if len(groups) == 0 {
		return who
	}
	return sallyport.JoinQuorums(groups) + ", among " + who
}

// subject is the question in one line: "user:ana: model.pull on acme/fraud@v3 for 1h0m0s".
func (q question) subject() string {
	what := string(q.Actions[0])
	if n := len(q.Actions); n > 1 {
		what += fmt.Sprintf(" and %d more", n-1)
	}
	if len(q.Scope) > 0 {
		what += " (" + strings.Join(q.Scope, ", ") + ")"
	}
	return fmt.Sprintf("%s: %s on %s for %v", q.Principal, what, q.Ref, time.Duration(q.Seconds)*time.Second)
}
