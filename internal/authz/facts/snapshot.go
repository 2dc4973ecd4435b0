package facts

import (
	"cmp"
	"slices"
	"strings"
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

// A Snapshot is everything known at one moment. It never changes (its cache of
// bases apart) and is safe for concurrent use.
type Snapshot struct {
	keeper  *Keeper
	engine  policy.Engine
	catalog *catalog.Index
	people  peopleIndex
	roles   roleIndex
	grants  map[sallyport.PrincipalID][]grant.Grant
	holds   []hold.Hold
	// probations are lifted holds.
	probations []hold.Hold
	revoked    map[string]bool
	risks      map[string]int // by session
	devices    device.Index
	graced     map[sallyport.PrincipalID]time.Time // of whom nobody answers for any more: until when they may act
	trained    map[sallyport.PrincipalID]time.Time // the last time, by person
	bases      *baseCache
	reads      map[Kind]int // how often each kind was read up to here
}

type peopleIndex struct {
	members map[sallyport.PrincipalID]directory.Member
	groups  map[string]directory.Group
}

func indexPeople(d directory.Dump) peopleIndex {
	x := peopleIndex{members: make(map[sallyport.PrincipalID]directory.Member, len(d.Members)), groups: make(map[string]directory.Group, len(d.Groups))}
	for _, m := range d.Members {
		x.members[m.ID] = m
	}
	for _, g := range d.Groups {
		x.groups[g.Name] = g
	}
	return x
}

// acts reports whether a member is active at a time.
func (x peopleIndex) acts(id sallyport.PrincipalID, at time.Time) bool {
	m := x.members[id]
	return m.State == directory.Active && !m.Ended(at)
}

type roleIndex struct {
	roles     map[string]role.Role
	bySubject map[string][]role.Assignment
	until     time.Time // when the first of the assignments ends; zero when none does
}

// indexRoles keeps the assignments that hold at now.
func indexRoles(state role.State, now time.Time) roleIndex {
	x := roleIndex{roles: map[string]role.Role{}, bySubject: map[string][]role.Assignment{}}
	for _, r := range state.Roles {
		x.roles[r.Name] = r
	}
	for _, a := range state.Assignments {
		if !a.Active(now) {
			continue
		}
		x.bySubject[a.Subject] = append(x.bySubject[a.Subject], a)
		if !a.Until.IsZero() && (x.until.IsZero() || a.Until.Before(x.until)) {
			x.until = a.Until
		}
	}
	return x
}

// ended reports whether an assignment has ended since the index was made.
func (x roleIndex) ended(now time.Time) bool { return !x.until.IsZero() && !now.Before(x.until) }

func indexGrants(grants []grant.Grant) map[sallyport.PrincipalID][]grant.Grant {
	x := map[sallyport.PrincipalID][]grant.Grant{}
	for _, g := range grants {
		x[g.Principal] = append(x[g.Principal], g)
	}
	return x
}

func set(ids []string) map[string]bool {
	x := make(map[string]bool, len(ids))
	for _, id := range ids {
		x[id] = true
	}
	return x
}

// Engine is the policy engine in force.
func (s *Snapshot) Engine() policy.Engine { return s.engine }

// Catalog is the index of what is protected.
func (s *Snapshot) Catalog() *catalog.Index { return s.catalog }

// Age is how long ago the snapshot was last seen to be current.
func (s *Snapshot) Age(now time.Time) time.Duration {
	return max(0, now.Sub(time.Unix(0, s.keeper.confirmed.Load())))
}

// Resolve turns a name into one resource.
func (s *Snapshot) Resolve(r sallyport.Ref) (sallyport.Resource, bool) { return s.catalog.Resolve(r) }

// Member returns a member of the directory.
func (s *Snapshot) Member(id sallyport.PrincipalID) (directory.Member, bool) {
	m, ok := s.people.members[id]
	return m, ok
}

// Members calls yield with every member, in no order.
func (s *Snapshot) Members(yield func(directory.Member) bool) {
	for _, m := range s.people.members {
		if !yield(m) {
			return
		}
	}
}

// Live reports, as an error of kind Unknown, that whoever p proves to be can no
// longer act at a time: unknown, not active, or by a session, token family, device
// or actor that ended.
func (s *Snapshot) Live(p sallyport.Principal, at time.Time) error {
	if err := s.alive(p.ID, at); err != nil {
		return err
	}
	for _, actor := range p.Actors {
		if err := s.alive(actor, at); err != nil {
			return unknown(string(actor)+", who acts on behalf of "+string(p.ID)+", may not act at all", "actor.inactive")
		}
	}
	if p.Session != "" && s.revoked[p.Session] || p.Family != "" && s.revoked[p.Family] || slices.ContainsFunc(p.Consents, func(id string) bool { return s.revoked[id] }) {
		return unknown("this session was ended", "session.revoked")
	}
	if p.Device == "" {
		return nil
	}
	if _, ok := s.devices.ByID(p.Device); !ok {
		return sallyport.E("sign in", sallyport.Unknown, "this device is not enrolled any more", "enrol it with 'sallyport device enroll'").Because("device.removed")
	}
	return nil
}

// alive is Live for one member.
func (s *Snapshot) alive(id sallyport.PrincipalID, at time.Time) error {
	m, ok := s.people.members[id]
	switch {
	case !ok || m.State == directory.Removed:
		return unknown("this account is not known here", "principal.unknown")
	case m.State != directory.Active:
		return unknown("this account is suspended", "principal.suspended")
	case m.Ended(at):
		return unknown("this account has ended", "principal.ended")
	case m.Person != m.ID && !s.people.acts(m.Person, at) && !s.inGrace(m.ID, at):
		return unknown("the person who answers for this account is not active", "person.inactive")
	case m.Guest && !s.people.acts(m.Sponsor, at):
		return unknown("the person who vouches for this guest is not active", "sponsor.inactive")
	}
	return nil
}

// inGrace reports whether a service or an agent may still act without anybody who answers for it.
func (s *Snapshot) inGrace(id sallyport.PrincipalID, at time.Time) bool {
	until, ok := s.graced[id]
	return ok && at.Before(until)
}

func unknown(text, reason string) error {
	return sallyport.E("sign in", sallyport.Unknown, text, "sign in again with 'sallyport login', or ask your administrator").Because(reason)
}

// baseCache keeps the bases of one snapshot, so that the second question of the
// same principal about the same resource gathers nothing.
type baseCache struct {
	bases sync.Map // baseKey -> *decision.Basis
	size  atomic.Int64
}

type baseKey struct {
	principal sallyport.PrincipalID
	resource  sallyport.Resource
}

const maxBases = 1 << 16

// Basis gathers what bears on p and x, prepared for the snapshot's engine.
func (s *Snapshot) Basis(p sallyport.Principal, x sallyport.Resource) (*decision.Basis, error) {
	key := baseKey{p.ID, x}
	if b, ok := s.bases.bases.Load(key); ok {
		return b.(*decision.Basis), nil
	}
	b, err := decision.Prepare(s.engine, s.gather(p.ID, x))
	if err != nil {
		return nil, err
	}
	if s.bases.size.Add(1) <= maxBases {
		s.bases.bases.Store(key, b)
	}
	return b, nil
}

// Sorted returns every member, by id.
func (s *Snapshot) Sorted() []directory.Member {
	all := make([]directory.Member, 0, len(s.people.members))
	for _, m := range s.people.members {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b directory.Member) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return all
}

// Assignments returns the roles that a member holds itself or through a group,
// sorted by role and scope.
func (s *Snapshot) Assignments(id sallyport.PrincipalID) []role.Assignment {
	c := closure{snap: s, seen: map[policy.UID]bool{}}
	subjects := []string{string(id)}
	for _, g := range s.people.members[id].Groups {
		subjects = c.group(g, subjects)
	}
	var all []role.Assignment
	for _, subject := range subjects {
		all = append(all, s.roles.bySubject[subject]...)
	}
	slices.SortFunc(all, func(a, b role.Assignment) int {
		return cmp.Or(strings.Compare(a.Role, b.Role), strings.Compare(a.Scope.String(), b.Scope.String()), strings.Compare(a.ID, b.ID))
	})
	return all
}

// Role returns a role.
func (s *Snapshot) Role(name string) (role.Role, bool) {
	r, ok := s.roles.roles[name]
	return r, ok
}
