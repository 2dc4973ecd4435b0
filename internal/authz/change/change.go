// Package change owns which policy set is in force, and how another comes to be
// (policy administration point, PAP; XACML 3.0, section 3.1): somebody proposes a
// set, other people approve exactly that text, and only then is it put in force, as
// the next epoch, which every node acknowledges. Every set that was ever in force is
// kept under its content hash and written to the trail before it decides anything.
//
// It leaves the language to authz/policy/cedar, decisions to authz/decision, votes to
// authz/approval, and comparing two sets to authz/policy/world and authz/policy/simulate.
//
// # What is refused
//
// Whatever is read from the store is believed only when all of this holds: the text has
// the content that its version names; the epoch's row carries the seal of this
// installation over each of its fields; its number is not below one that this node has
// seen in force; and the request that it names is, to the byte, one that enough people
// who are not its author approved for this very version. Anything else was written by
// somebody else: at the start the server does not begin, later it stays with the set in
// force, and both are recorded and alarmed.
//
// # The first set
//
// Of a new system the first set comes from its configuration: epoch 1. While one person
// is all there ever was, that person puts sets in force alone, because nobody could
// approve them. The second person who is known here closes that way for good.
//
// # Rolling back
//
// A set was approved against the one before it, so undoing the last approved change
// brings back what was approved last: one person who may activate does that at once,
// within RollbackWindow, and it is alarmed. Any other set, also one that was in force
// once, is proposed and approved again: its approvers knew other models and other people.
package change

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/policy"
)

// RollbackWindow is how long the last approved change can be undone without another approval.
const RollbackWindow = 72 * time.Hour

// A Set is a policy set that is or was in force.
type Set struct {
	Version   string                `json:"version"` // content hash, "sha256:…"
	Source    policy.Source         `json:"source"`
	By        sallyport.PrincipalID `json:"by"`
	Why       string                `json:"why"`
	Activated time.Time             `json:"activated"` // the last time it was put in force
}

// A Store keeps policy sets for ever. Its methods are durable when they return
// and may be called concurrently, from several nodes on one store.
type Store interface {
	// Activate keeps the set and the epoch that puts it in force, in one transaction. Conflict where
	// the newest epoch is not the one before it, or another one spent the same request.
	Activate(ctx context.Context, s Set, e Epoch) error
	// Active returns the newest epoch and its set; NotFound when there was none yet. Of a store of
	// before there were epochs it is the set in force with the zero Epoch.
	Active(ctx context.Context) (Set, Epoch, error)
	// Get returns the set of a version, NotFound when it was never in force.
	Get(ctx context.Context, version string) (Set, error)
	// List returns all sets, newest first, without their sources.
	List(ctx context.Context) ([]Set, error)
	// Epochs returns the newest epochs, newest first, at most as many as asked for.
	Epochs(ctx context.Context, most int) ([]Epoch, error)
	// Acknowledge keeps what a node has in force, in the place of what it said before.
	Acknowledge(ctx context.Context, a Ack) error
	// Acks returns what each node said last, by node.
	Acks(ctx context.Context) ([]Ack, error)
}

// A Service changes the policy set in force. Its fields are set before its first use. Its methods may be called from
// many goroutines; activations happen one after the other in the store's order.
type Service struct {
	Store     Store
	Proposals Proposals
	Approvals *approval.Service
	Need      int               // approvals of a change, at least 1
	Groups    []approval.Quorum // who they must be among; none: whoever may approve policies
	Schema    string            // of sets that bring none: the program's own
	Compile   func(policy.Source) (policy.Engine, error)
	Note      func(context.Context, sallyport.Event) (uint64, error)
	Clock     func() time.Time
	Node      string // names this enforcement point among those on the store

	// Seal and Open bind a row to this installation: Open returns what Seal was given for the same label, or an error.
	Seal func(plain []byte, label string) ([]byte, error)
	Open func(sealed []byte, label string) ([]byte, error)
	// Seen returns the highest epoch that this node had in force, 0 where none; See keeps it, outside of the store.
	Seen func() (int64, error)
	See  func(int64) error
	// Able returns the people who could take an action on Sallyport itself under an engine, at their best.
	Able func(facts *facts.Snapshot, engine policy.Engine, a sallyport.Action) (map[sallyport.PrincipalID]bool, error)
	// Alone reports whether one person is all there ever was here.
	Alone func(context.Context) (bool, error)

	activating sync.Mutex // one at a time on this node
	warm       engines
	mu         sync.Mutex
	inForce    standing
	alarmed    string // what was alarmed last, so that it is said once
}

// standing is what this node has in force.
type standing struct {
	set   Set
	epoch Epoch
}

// Current compiles the set in force. With none yet it puts first in force, on
// behalf of nobody: the set that the program ships with.
func (s *Service) Current(ctx context.Context, first policy.Source) (policy.Engine, error) {
	set, epoch, err := s.Store.Active(ctx)
	if sallyport.KindOf(err) == sallyport.NotFound {
		if err := s.mayBegin(ctx); err != nil {
			return nil, err
		}
		return s.begin(ctx, first, Epoch{Kind: First, Why: "the set that the program ships with"})
	}
	if err != nil {
		return nil, err
	}
	if epoch.Number == 0 { // of before there were epochs
		if err := s.mayBegin(ctx); err != nil {
			return nil, err
		}
		if engine, err := s.compile(set); err != nil {
			return engine, s.alarm(ctx, set, epoch, err)
		}
		return s.begin(ctx, set.Source, Epoch{Kind: Adopted, By: set.By, Why: set.Why})
	}
	engine, err := s.verified(ctx, set, epoch)
	if err != nil {
		return nil, s.alarm(ctx, set, epoch, err)
	}
	if err := s.write(ctx, set); err != nil {
		return nil, err
	}
	return engine, s.stand(ctx, set, epoch)
}

// mayBegin refuses a store without a history to a node that has seen one.
func (s *Service) mayBegin(ctx context.Context) error {
	seen, err := s.Seen()
	if err != nil || seen == 0 {
		return err
	}
	return s.alarm(ctx, Set{}, Epoch{}, fmt.Errorf("the store has no epoch, and number %d was in force here", seen))
}

// begin puts a set in force that nobody approved: the first one.
func (s *Service) begin(ctx context.Context, src policy.Source, e Epoch) (policy.Engine, error) {
	engine, set, err := s.prepare(src, e.By, e.Why)
	if err != nil {
		return nil, err
	}
	if _, err := s.advance(ctx, nil, engine, set, e); err != nil {
		return nil, err
	}
	return engine, nil
}

// ActivateAlone puts a set in force without approvals, while one person is all there ever was: nobody could approve it.
func (s *Service) ActivateAlone(ctx context.Context, keeper *facts.Keeper, src policy.Source, by sallyport.PrincipalID, why string) (Epoch, error) {
	const op = "activate policy"
	alone, err := s.Alone(ctx)
	if err != nil {
		return Epoch{}, err
	}
	if !alone {
		return Epoch{}, sallyport.E(op, sallyport.Conflict, "a set is put in force after other people approved it", "run 'sallyport policy propose DIR --why …'")
	}
	if err := checkWhy(op, why); err != nil {
		return Epoch{}, err
	}
	s.activating.Lock()
	defer s.activating.Unlock()
	engine, set, err := s.prepare(src, by, why)
	if err != nil {
		return Epoch{}, err
	}
	return s.advance(ctx, keeper, engine, set, Epoch{Kind: Bootstrap, By: by, Why: why})
}

// Activate puts the set of an approved proposal in force in keeper. The set is compiled before anything changes, and in
// the trail before any decision is made by it.
func (s *Service) Activate(ctx context.Context, keeper *facts.Keeper, request string, by sallyport.PrincipalID) (Epoch, error) {
	const op = "activate policy"
	s.activating.Lock()
	defer s.activating.Unlock()
	p, r, err := s.proposal(ctx, op, request)
	if err != nil {
		return Epoch{}, err
	}
	if r.State != approval.Approved {
		return Epoch{}, sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s is %s", request, r.State), s.whatNext(r))
	}
	if !s.now().Before(r.Expires) {
		return Epoch{}, sallyport.E(op, sallyport.Conflict, "the time of "+request+" is over: its approvers spoke of another day", "propose it again")
	}
	if err := s.Approvals.Verify(ctx, r); err != nil {
		return Epoch{}, err
	}
	signatures, err := s.signatures(ctx)
	if err != nil {
		return Epoch{}, err
	}
	if signatures {
		if err := s.hasAuthor(ctx, r); err != nil {
			return Epoch{}, err
		}
	}
	engine, set, err := s.prepare(p.Source, by, p.Why)
	if err != nil {
		return Epoch{}, err
	}
	if set.Version != p.Version {
		return Epoch{}, sallyport.E(op, sallyport.Conflict, "the text of "+request+" is not the one that was approved", "propose it again")
	}
	if in := s.InForce(); in.Version != p.Base {
		return Epoch{}, sallyport.E(op, sallyport.Conflict, "another set came into force since "+request+" was proposed: its approvers compared it with "+p.Base, "propose it again")
	}
	if err := s.governable(keeper, engine); err != nil {
		return Epoch{}, err
	}
	e, err := s.advance(ctx, keeper, engine, set, Epoch{Kind: Approved, Request: r.ID, Hash: r.Hash, Signed: signatures, Authored: signatures, By: by, Why: p.Why})
	if err != nil {
		return Epoch{}, err
	}
	_, err = s.Approvals.Use(ctx, r.ID, r.Hash)
	if sallyport.KindOf(err) == sallyport.Conflict { // the epoch has spent it, once, by the store's own rule
		err = nil
	}
	return e, err
}

func (s *Service) whatNext(r approval.Request) string {
	if r.State == approval.Pending {
		return fmt.Sprintf("it needs %d approvals: 'sallyport policy approve %s'", r.Need, r.ID)
	}
	return "propose it again"
}

// Rollback undoes the last approved change: the set before it is in force again. It needs no approval within
// RollbackWindow, and is alarmed; any other set is proposed.
func (s *Service) Rollback(ctx context.Context, keeper *facts.Keeper, version string, by sallyport.PrincipalID, why string) (Epoch, error) {
	const op = "roll back policy"
	if err := checkWhy(op, why); err != nil {
		return Epoch{}, err
	}
	s.activating.Lock()
	defer s.activating.Unlock()
	last := s.InForce()
	if version == "" {
		version = last.Before
	}
	if last.Kind != Approved || version != last.Before || s.Clock().Sub(last.At) > RollbackWindow {
		return Epoch{}, sallyport.E(op, sallyport.Conflict, "only the last approved change is undone without approvals, within "+RollbackWindow.String(),
			"run 'sallyport policy propose --version VERSION --why …'")
	}
	set, err := s.Store.Get(ctx, version)
	if err != nil {
		return Epoch{}, err
	}
	if _, err := s.comesFrom(ctx, version, last.Number); err != nil {
		return Epoch{}, s.alarm(ctx, set, last, err)
	}
	engine, again, err := s.prepare(set.Source, by, why)
	if err != nil {
		return Epoch{}, err
	}
	if again.Version != version {
		return Epoch{}, s.alarm(ctx, set, last, fmt.Errorf("the set %s does not have the content that its version names", version))
	}
	if err := s.note(ctx, sallyport.Event{Type: sallyport.EventAlarm, Who: by, On: version, Reasons: []string{"policy.rolled-back"}, Detail: map[string]string{"why": why, "from": last.Version}}); err != nil {
		return Epoch{}, err
	}
	return s.advance(ctx, keeper, engine, again, Epoch{Kind: RolledBack, By: by, Why: why})
}

// prepare compiles a set and refuses what must not govern.
func (s *Service) prepare(src policy.Source, by sallyport.PrincipalID, why string) (policy.Engine, Set, error) {
	if src.Schema == "" {
		src.Schema = s.Schema // kept and written down with the set: another program may come with another one
	}
	if len(src.Policies) == 0 {
		return nil, Set{}, sallyport.E("activate policy", sallyport.Invalid, "the set is empty: nobody could do anything under it, nor put another in force", "name a directory with .cedar files, or with .rego and .json files")
	}
	engine, err := s.engine(src)
	if err != nil {
		return nil, Set{}, err
	}
	if err := checkMachines(engine); err != nil {
		return nil, Set{}, err
	}
	return engine, Set{Version: engine.Version(), Source: src, By: by, Why: why, Activated: s.now()}, nil
}

// advance makes the next epoch: in the trail, in the store, in force, in this order.
func (s *Service) advance(ctx context.Context, keeper *facts.Keeper, engine policy.Engine, set Set, e Epoch) (Epoch, error) {
	last := s.InForce()
	e.Number, e.Before, e.Version, e.At = last.Number+1, last.Version, set.Version, set.Activated
	var err error
	if e.Seal, err = s.Seal(e.statement(), epochLabel); err != nil {
		return Epoch{}, err
	}
	if err := s.write(ctx, set); err != nil {
		return Epoch{}, err
	}
	detail := map[string]string{"epoch": fmt.Sprint(e.Number), "before": e.Before, "kind": string(e.Kind), "why": e.Why}
	if e.Request != "" {
		detail["request"], detail["hash"] = e.Request, e.Hash
	}
	if err := s.note(ctx, sallyport.Event{Type: sallyport.EventPolicyActivated, Who: e.By, On: e.Version, Detail: detail}); err != nil {
		return Epoch{}, err
	}
	if err := s.Store.Activate(ctx, set, e); err != nil {
		return Epoch{}, err
	}
	if keeper != nil {
		keeper.Use(engine)
	}
	return e, s.stand(ctx, set, e)
}

// stand keeps what is in force here, and tells the others.
func (s *Service) stand(ctx context.Context, set Set, e Epoch) error {
	s.mu.Lock()
	s.inForce, s.alarmed = standing{set, e}, ""
	s.mu.Unlock()
	if err := s.See(e.Number); err != nil {
		return err
	}
	return s.Acknowledge(ctx)
}

// InForce is the epoch that this node decides by.
func (s *Service) InForce() Epoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inForce.epoch
}

func (s *Service) now() time.Time { return s.Clock().UTC().Truncate(time.Microsecond) }

func (s *Service) note(ctx context.Context, e sallyport.Event) error {
	_, err := s.Note(ctx, e)
	return err
}

func checkWhy(op, why string) error {
	if why == "" {
		return sallyport.E(op, sallyport.Invalid, "a change of policy needs a reason", "say why")
	}
	return checkLine(op, "reason", why, maxWhy)
}

func checkLine(op, what, text string, most int) error {
	if len(text) > most || !utf8.ValidString(text) || strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return sallyport.E(op, sallyport.Invalid, "the "+what+" is no line of a usual length", fmt.Sprintf("write at most %d bytes", most))
	}
	return nil
}
