// Package facts owns what is known when a decision is made (policy information
// point, PIP; XACML 3.0, section 3.1): one immutable snapshot in memory of the
// directory, roles, grants, holds, devices, risks, catalog and the policy engine in
// force, kept current from the store's change feed.
//
// The request path reads the snapshot and nothing else. A source that cannot
// answer leaves the last snapshot in place, and its age grows until decisions
// refuse it; a missing fact is never read as an absent one.
//
// The package leaves what the facts mean to authz/decision, and each kind of
// record to its own room.
package facts

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/hold"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/role"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/directory"
)

// A Kind is a kind of record that changes, as the feed names it.
type Kind string

// The kinds that a snapshot is made of. The feed may name others; they are
// ignored here.
const (
	KindDirectory Kind = "directory"
	KindSession   Kind = "session"
	KindRole      Kind = "role"
	KindGrant     Kind = "grant"
	KindHold      Kind = "hold"
	KindCatalog   Kind = "catalog"
	KindDevice    Kind = "device"
	KindTraining  Kind = "training"
)

func kinds() []Kind {
	return []Kind{KindDirectory, KindSession, KindRole, KindGrant, KindHold, KindCatalog, KindDevice, KindTraining}
}

// Sources read the records of the rooms, and the feed that says which changed.
// Each may be called from one goroutine at a time.
type Sources struct {
	Directory func(context.Context) (directory.Dump, error)
	Roles     func(context.Context) (role.State, error)
	Grants    func(context.Context, time.Time) ([]grant.Grant, error)
	Holds     func(context.Context) ([]hold.Hold, error)
	Catalog   func(context.Context) (catalog.Dump, error)
	// Probations returns the lifted holds after which a probation lasts; nil = none does. It is read with KindHold.
	Probations func(context.Context) ([]hold.Hold, error)
	// Tighter are the obligations of weights and data that leave during a probation.
	Tighter []sallyport.Obligation
	// Revoked returns the ids of the sessions and token families that ended since t.
	Revoked func(ctx context.Context, since time.Time) ([]string, error)
	// Devices returns the live enrolled devices; nil = none is enrolled.
	Devices func(context.Context) ([]device.Device, error)
	// Risk returns the risk of each session that has any, 1 to 100; nil = none has.
	// It is read again with KindSession.
	Risk func(context.Context) (map[string]int, error)
	// Trained returns when each person was last trained; nil = nobody was.
	Trained func(context.Context) (map[sallyport.PrincipalID]time.Time, error)
	// Networks are the operator's labels of addresses.
	Networks Networks
	// Calendar says when the organisation works.
	Calendar Calendar
	// Country is where an address lies, ISO 3166-1 in upper case, "" where that is not known; nil = nowhere is known.
	// It reads memory only.
	Country func(netip.Addr) string
	// History is what a person did before a time; nil = nothing is known. It reads memory only.
	History func(person sallyport.PrincipalID, at time.Time) policy.History
	// Graced returns what may act although nobody answers for it any more, until when; nil where nothing may.
	Graced func(context.Context) (map[sallyport.PrincipalID]time.Time, error)

	// Latest is the newest change; Since the kinds of all changes after one.
	Latest func(context.Context) (int64, error)
	Since  func(ctx context.Context, after int64) (kinds []Kind, newest int64, err error)
	// Wake is closed at the next change. A wake-up may be lost: the poll is what counts.
	Wake func() <-chan struct{}
}

// A Keeper holds the present snapshot. Its methods may be called from many
// goroutines.
type Keeper struct {
	sources Sources
	clock   func() time.Time
	logger  *slog.Logger
	turns   decision.Turns // of the calendar

	reload    sync.Mutex // one reload at a time
	applied   int64      // newest change in the snapshot; under reload
	now       atomic.Pointer[Snapshot]
	confirmed atomic.Int64 // when the snapshot was last seen to be current, Unix nanoseconds

	mu      sync.Mutex
	changed chan struct{}
}

// Open reads everything once and returns a keeper of it under engine.
func Open(ctx context.Context, s Sources, engine policy.Engine, clock func() time.Time, logger *slog.Logger) (*Keeper, error) {
	k := &Keeper{sources: s, clock: clock, logger: logger, changed: make(chan struct{}), turns: s.Calendar.Turns}
	empty := &Snapshot{engine: engine, keeper: k}
	newest, err := s.Latest(ctx)
	if err != nil {
		return nil, fmt.Errorf("open facts: %w", err)
	}
	asked := clock()
	next, err := k.load(ctx, empty, kinds())
	if err != nil {
		return nil, fmt.Errorf("open facts: %w", err)
	}
	k.applied = newest
	k.publish(next)
	k.confirm(asked)
	return k, nil
}

// Snapshot returns the present snapshot. A call loads it once and keeps it.
func (k *Keeper) Snapshot() *Snapshot { return k.now.Load() }

// Changed returns a channel that is closed at the next change of the snapshot.
func (k *Keeper) Changed() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changed
}

// Sync returns when every change that was committed before the call is in the
// snapshot. Whoever changes rights calls it before telling anybody that the
// change is in force.
func (k *Keeper) Sync(ctx context.Context) error {
	k.reload.Lock()
	defer k.reload.Unlock()
	asked := k.clock()
	kinds, newest, err := k.sources.Since(ctx, k.applied)
	if err != nil {
		return fmt.Errorf("sync facts: %w", err)
	}
	if k.now.Load().roles.ended(asked) {
		kinds = append(kinds, KindRole)
	}
	if len(kinds) > 0 {
		next, err := k.load(ctx, k.now.Load(), kinds)
		if err != nil {
			return fmt.Errorf("sync facts: %w", err)
		}
		k.publish(next)
	}
	k.applied = max(k.applied, newest)
	k.confirm(asked)
	return nil
}

// Use puts an engine in force for every decision from now on.
func (k *Keeper) Use(engine policy.Engine) {
	k.reload.Lock()
	defer k.reload.Unlock()
	next := *k.now.Load()
	next.engine = engine
	k.publish(&next)
}

// Follow keeps the snapshot current until ctx ends: at each wake-up, and at the
// latest every interval. What fails is logged and tried again; the age of the
// snapshot tells the decisions.
func (k *Keeper) Follow(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		wake := k.sources.Wake()
		if err := k.Sync(ctx); err != nil && ctx.Err() == nil {
			k.logger.WarnContext(ctx, "the facts could not be brought up to date", "age", k.Snapshot().Age(k.clock()), "err", err)
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-tick.C:
		}
	}
}

func (k *Keeper) publish(next *Snapshot) {
	next.keeper = k
	next.bases = &baseCache{}
	k.now.Store(next)
	k.mu.Lock()
	defer k.mu.Unlock()
	close(k.changed)
	k.changed = make(chan struct{})
}

func (k *Keeper) confirm(at time.Time) { k.confirmed.Store(at.UnixNano()) }

// revokedFor is how long the end of a session or family is remembered: longer
// than any access token lives.
const revokedFor = 2 * time.Hour

// load returns a copy of s with the kinds read again.
func (k *Keeper) load(ctx context.Context, s *Snapshot, kinds []Kind) (*Snapshot, error) {
	next := *s
	next.reads = maps.Clone(s.reads)
	if next.reads == nil {
		next.reads = map[Kind]int{}
	}
	done := map[Kind]bool{}
	for _, kind := range kinds {
		if done[kind] {
			continue
		}
		done[kind] = true
		next.reads[kind]++
		if err := k.loadKind(ctx, &next, kind); err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
	}
	return &next, nil
}

func (k *Keeper) loadKind(ctx context.Context, s *Snapshot, kind Kind) error {
	switch kind {
	case KindDirectory:
		d, err := k.sources.Directory(ctx)
		s.people = indexPeople(d)
		if err == nil && k.sources.Graced != nil {
			s.graced, err = k.sources.Graced(ctx)
		}
		return err
	case KindSession:
		ids, err := k.sources.Revoked(ctx, k.clock().Add(-revokedFor))
		s.revoked = set(ids)
		if err == nil && k.sources.Risk != nil {
			s.risks, err = k.sources.Risk(ctx)
		}
		return err
	case KindDevice:
		if k.sources.Devices == nil {
			return nil
		}
		all, err := k.sources.Devices(ctx)
		s.devices = device.NewIndex(all)
		return err
	case KindTraining:
		if k.sources.Trained == nil {
			return nil
		}
		var err error
		s.trained, err = k.sources.Trained(ctx)
		return err
	case KindRole:
		state, err := k.sources.Roles(ctx)
		s.roles = indexRoles(state, k.clock())
		return err
	case KindGrant:
		grants, err := k.sources.Grants(ctx, k.clock())
		s.grants = indexGrants(grants)
		return err
	case KindHold:
		holds, err := k.sources.Holds(ctx)
		s.holds, s.probations = holds, nil
		if err == nil && k.sources.Probations != nil {
			var all []hold.Hold
			all, err = k.sources.Probations(ctx)
			s.probations = longest(all)
		}
		return err
	case KindCatalog:
		d, err := k.sources.Catalog(ctx)
		s.catalog = catalog.NewIndex(d)
		return err
	}
	return nil
}
