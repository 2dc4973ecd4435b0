package change

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/approval/signed"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/policy"
)

// A Kind says how an epoch came to be.
type Kind string

// The kinds of epochs.
const (
	First      Kind = "first"     // the set of the configuration, at the first start
	Adopted    Kind = "adopted"   // what was in force before there were epochs
	Bootstrap  Kind = "bootstrap" // by the one person there was
	Approved   Kind = "approved"
	RolledBack Kind = "rolled back" // the last approved change was undone
)

// An Epoch is one time that a set was put in force. It never changes.
type Epoch struct {
	Number  int64  `json:"number"` // 1, 2, 3, …
	Version string `json:"version"`
	Before  string `json:"before"` // version that was in force, "" before the first
	Kind    Kind   `json:"kind"`
	Request string `json:"request"` // with Approved: what was approved, and its hash
	Hash    string `json:"hash"`
	Signed  bool   `json:"signed"` // its votes had to be signed
	// Authored: its author had to sign it, too. Sealed rows of before have no such member.
	Authored bool                  `json:"authored,omitempty"`
	By       sallyport.PrincipalID `json:"by"`
	Why      string                `json:"why"`
	At       time.Time             `json:"at"`
	Seal     []byte                `json:"-"` // of this installation over all other fields
}

// epochLabel is what the seals of epochs are for.
const epochLabel = "policy epoch"

// statement is what the seal is over.
func (e Epoch) statement() []byte {
	text, _ := json.Marshal(e) // cannot fail: strings, numbers, a time within range
	return text
}

// An Ack is what one enforcement point has in force.
type Ack struct {
	Node    string
	Epoch   int64
	Version string
	At      time.Time // when it said so last
}

// AckFresh is how old an acknowledgement of a node that lives may be.
const AckFresh = 3 * time.Minute

// Acknowledge tells the others what this node has in force. Call it now and then: who is silent is taken to be gone.
func (s *Service) Acknowledge(ctx context.Context) error {
	e := s.InForce()
	return s.Store.Acknowledge(ctx, Ack{Node: s.Node, Epoch: e.Number, Version: e.Version, At: s.now()})
}

// A Status is where the enforcement points stand.
type Status struct {
	Newest  Epoch
	Acks    []Ack // of nodes that live
	Silent  []Ack // of nodes that were not heard of for AckFresh
	Settled bool  // every node that lives has the newest epoch in force
}

// Status tells who has acknowledged the newest epoch.
func (s *Service) Status(ctx context.Context) (Status, error) {
	_, e, err := s.Store.Active(ctx)
	if err != nil {
		return Status{}, err
	}
	acks, err := s.Store.Acks(ctx)
	x := Status{Newest: e, Settled: true}
	for _, a := range acks {
		if s.now().Sub(a.At) > AckFresh {
			x.Silent = append(x.Silent, a)
			continue
		}
		x.Acks = append(x.Acks, a)
		x.Settled = x.Settled && a.Epoch == e.Number && a.Version == e.Version
	}
	x.Settled = x.Settled && len(x.Acks) > 0
	return x, err
}

// compile compiles a kept set, and refuses one whose content is not what its version says.
func (s *Service) compile(set Set) (policy.Engine, error) {
	engine, err := s.engine(set.Source)
	if err != nil {
		return nil, fmt.Errorf("the policy set in force, %s: %w", set.Version, err)
	}
	if engine.Version() != set.Version {
		return nil, fmt.Errorf("the set %s does not have the content that its version names", set.Version)
	}
	return engine, nil
}

// verified compiles the set of an epoch that was read from the store, where both are what somebody was entitled to write.
func (s *Service) verified(ctx context.Context, set Set, e Epoch) (policy.Engine, error) {
	engine, err := s.compile(set)
	if err != nil {
		return nil, err
	}
	if e.Version != set.Version {
		return nil, fmt.Errorf("epoch %d is of %s, and %s stands in its place", e.Number, e.Version, set.Version)
	}
	if err := s.authentic(ctx, e); err != nil {
		return nil, err
	}
	seen, err := s.Seen()
	if err != nil {
		return nil, err
	}
	if e.Number < seen {
		return nil, fmt.Errorf("the newest epoch is %d, and number %d was in force here", e.Number, seen)
	}
	return engine, nil
}

// authentic refuses an epoch that this installation did not seal, or that nobody approved.
func (s *Service) authentic(ctx context.Context, e Epoch) error {
	statement, err := s.Open(e.Seal, epochLabel)
	if err != nil || !bytes.Equal(statement, e.statement()) {
		return fmt.Errorf("the row of epoch %d was not written by this installation", e.Number)
	}
	switch e.Kind {
	case First, Adopted, Bootstrap:
		return nil
	case RolledBack:
		_, err := s.comesFrom(ctx, e.Version, e.Number)
		return err
	case Approved:
		r, err := s.Approvals.Get(ctx, e.Request)
		if err != nil {
			return fmt.Errorf("the approval of epoch %d: %w", e.Number, err)
		}
		return s.approved(ctx, r, e)
	}
	return fmt.Errorf("epoch %d is of no kind", e.Number)
}

// comesFrom finds the epoch before another by which a version came into force in its own right.
func (s *Service) comesFrom(ctx context.Context, version string, before int64) (Epoch, error) {
	all, err := s.Store.Epochs(ctx, maxEpochs)
	if err != nil {
		return Epoch{}, err
	}
	for _, e := range all {
		if e.Number < before && e.Version == version && e.Kind != RolledBack {
			return e, s.authentic(ctx, e)
		}
	}
	return Epoch{}, fmt.Errorf("%s was never approved", version)
}

// maxEpochs is how far back what was in force is looked for.
const maxEpochs = 1000

// approved reports, as an error, that a request is not one that enough other people approved for the version of an epoch.
// It counts the votes anew, and does not look at what the store says of its state. What was approved before there were
// approvers' keys has no signatures; what was asked after the first was enrolled has.
func (s *Service) approved(ctx context.Context, r approval.Request, e Epoch) error {
	const op = "verify policy"
	q, err := readQuestion(r)
	if err != nil {
		return err
	}
	if q.Version != e.Version || r.Hash != e.Hash {
		return sallyport.E(op, sallyport.Conflict, r.ID+" is about another set", "propose this one")
	}
	keys, err := s.keys(ctx)
	if err != nil {
		return err
	}
	if e.Authored {
		if err := s.authored(ctx, r, keys); err != nil {
			return err
		}
	}
	enrolled := slices.ContainsFunc(keys, func(k signed.Key) bool { return !k.Since.IsZero() && !k.Since.After(r.Created) })
	if e.Signed || enrolled {
		return signed.Verify(r.Question(), r.Votes, keys)
	}
	return signed.Count(r.Question(), r.Votes)
}

// signatures reports whether votes have to be signed today.
func (s *Service) signatures(ctx context.Context) (bool, error) {
	if s.Approvals.Signed || s.Approvals.Keys == nil {
		return s.Approvals.Signed, nil
	}
	keys, err := s.Approvals.Keys(ctx)
	return len(keys) > 0, err
}

// alarm records that what the store holds was not written by somebody who may, once, and returns what is told.
func (s *Service) alarm(ctx context.Context, set Set, e Epoch, cause error) error {
	why := strings.Join(strings.Fields(cause.Error()), " ")
	told := sallyport.E("open policy", sallyport.Unavailable, "the policy set in the store is not one that was approved: "+why, "somebody edited the database: bring it back from a backup")
	s.mu.Lock()
	again := s.alarmed == told.Error()
	s.alarmed = told.Error()
	s.mu.Unlock()
	if again {
		return told
	}
	if err := s.note(ctx, sallyport.Event{Type: sallyport.EventAlarm, On: set.Version, Reasons: []string{"policy.tampered"},
		Detail: map[string]string{"what": "a policy set was refused", "epoch": fmt.Sprint(e.Number), "cause": why}}); err != nil {
		return err
	}
	return told
}

// Reload puts in force what another node activated, and refuses what nobody was entitled to write: the set in force stays.
func (s *Service) Reload(ctx context.Context, keeper *facts.Keeper) error {
	s.activating.Lock()
	defer s.activating.Unlock()
	set, e, err := s.Store.Active(ctx)
	if sallyport.KindOf(err) == sallyport.NotFound {
		err = s.alarm(ctx, set, e, fmt.Errorf("there is none any more"))
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	now := s.inForce
	s.mu.Unlock()
	if bytes.Equal(e.statement(), now.epoch.statement()) && bytes.Equal(e.Seal, now.epoch.Seal) && sameSource(set.Source, now.set.Source) {
		s.mu.Lock()
		s.alarmed = ""
		s.mu.Unlock()
		return nil
	}
	if e.Number <= now.epoch.Number {
		return s.alarm(ctx, set, e, fmt.Errorf("epoch %d is in force here, and the store has another one under number %d", now.epoch.Number, e.Number))
	}
	engine, err := s.verified(ctx, set, e)
	if err != nil {
		return s.alarm(ctx, set, e, err)
	}
	if err := s.write(ctx, set); err != nil {
		return err
	}
	keeper.Use(engine)
	return s.stand(ctx, set, e)
}

func sameSource(a, b policy.Source) bool {
	return a.Schema == b.Schema && maps.Equal(a.Policies, b.Policies)
}

// Follow reloads at each wake-up and at the latest every interval, until ctx ends. What fails is told to report.
func (s *Service) Follow(ctx context.Context, keeper *facts.Keeper, wake func() <-chan struct{}, interval time.Duration, report func(error)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		woken := wake()
		if err := s.Reload(ctx, keeper); err != nil && ctx.Err() == nil {
			report(err)
		}
		s.prewarm(ctx)
		select {
		case <-ctx.Done():
		case <-woken:
		case <-tick.C:
		}
	}
}

// ids returns the ids of an engine's policies with their texts.
func ids(e policy.Engine) map[string]string {
	all := map[string]string{}
	for _, p := range e.Policies() {
		all[p.ID] = p.Text
	}
	return all
}

// differences names what changes from one set to another, each sorted.
func differences(old, next policy.Engine) (added, removed, changed []string) {
	a, b := ids(old), ids(next)
	for id, text := range b {
		switch was, ok := a[id]; {
		case !ok:
			added = append(added, id)
		case was != text:
			changed = append(changed, id)
		}
	}
	for id := range a {
		if _, ok := b[id]; !ok {
			removed = append(removed, id)
		}
	}
	slices.Sort(added)
	slices.Sort(removed)
	slices.Sort(changed)
	return added, removed, changed
}
