// Package directory owns people, services, agents and groups: who there is, which person answers for each identity,
// until when, who is suspended or removed (the joiner, mover and leaver of NIST SP 800-53 AC-2).
//
// A member is keyed by its name and by (issuer, subject) pairs of upstream identity providers, never by e-mail.
// Names are never recycled: a removed member keeps its row for ever, so that no old right finds a new owner.
//
// It leaves to others what members may do (roles, grants), how they prove themselves (credential) and that they are
// signed in (session).
package directory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sallyport"
)

// Limits on what one record may hold.
const (
	maxDisplay    = 128 // characters
	maxEmail      = 254 // bytes, RFC 5321 section 4.5.3.1.3 less the angle brackets
	maxIssuer     = 512 // bytes
	maxSubject    = 255 // bytes, OpenID Connect Core section 2
	maxIdentities = 16
	maxGroups     = 256 // of one member
	maxPurpose    = 256 // characters
	maxSource     = 128 // bytes
)

// A State is where a member stands between joining and leaving.
type State string

// The states. Removed is final.
const (
	Active    State = "active"
	Suspended State = "suspended"
	Removed   State = "removed"
)

// ParseState reads a state; there is no default.
func ParseState(s string) (State, error) {
	switch st := State(s); st {
	case Active, Suspended, Removed:
		return st, nil
	}
	return "", sallyport.E("parse state", sallyport.Invalid, fmt.Sprintf("no state is called %.40q", s), "use active, suspended or removed")
}

// An Identity is how an upstream provider names a member. Both parts are compared byte by byte.
type Identity struct {
	Issuer  string
	Subject string
}

// A Member is the record of a person, a service or an agent.
type Member struct {
	ID sallyport.PrincipalID
	// Person answers for what the member does: the member itself for a person's main account, the main account for
	// a second account of the same person, the owner for a service. Only Reassign changes it, for a service or an agent.
	Person     sallyport.PrincipalID
	Org        string // the organisation it belongs to
	Display    string // for people to read; at most 128 characters; never compared
	Email      string // for people to write to; never a key
	State      State
	Groups     []string   // "acme/risk-team", sorted, direct membership only
	Identities []Identity // upstream names
	Created    time.Time
	Updated    time.Time

	// Purpose says what a service or an agent is for; at most 256 characters.
	Purpose string
	// Ends is when the member may act no longer; zero where nothing ends by itself. Services, agents and guests have
	// an end, at most a year ahead when it is set.
	Ends time.Time
	// Guest marks a person from outside, and Sponsor the person of the house who vouches for them. A guest is in no
	// group but those that take guests.
	Guest   bool
	Sponsor sallyport.PrincipalID
	// Source is the provider that keeps this record, and External its name for the member; both are empty for those
	// that are kept here.
	Source   string
	External string
	// Environment is where a service or an agent runs, "" where that is not known. It is set once: what moves to another
	// environment is another service.
	Environment sallyport.Environment
}

// Ended tells whether the member's time is over.
func (m Member) Ended(now time.Time) bool { return !m.Ends.IsZero() && !now.Before(m.Ends) }

// A Dump is the whole directory at one moment, for in-memory snapshots.
type Dump struct {
	Members []Member // sorted by id
	Groups  []Group  // sorted by name
}

// A Store keeps the directory. Every change is durable when the method returns, happens wholly or not at all, and is
// announced to followers of the directory in the same transaction. Methods are safe for concurrent use.
type Store interface {
	// InsertMember adds a member. A name or an identity that was ever used is a Conflict.
	InsertMember(ctx context.Context, m Member) error
	// Member returns one member, NotFound where there is none.
	Member(ctx context.Context, id sallyport.PrincipalID) (Member, error)
	// MemberByIdentity returns the member of an upstream identity, NotFound where there is none.
	MemberByIdentity(ctx context.Context, i Identity) (Member, error)
	// UpdateMember applies change to all fields of one member but its id, organisation and creation, and adds the
	// identities that change has appended, while nobody else can change it or the groups. The error of change is
	// returned as it is and nothing is written.
	UpdateMember(ctx context.Context, id sallyport.PrincipalID, change func(*Member, []Group) error) error
	// DefineGroup calls change with all groups and writes the one that it returns, in place of one of the same name.
	DefineGroup(ctx context.Context, change func([]Group) (Group, error)) error
	// Dump returns everything as of one moment.
	Dump(ctx context.Context) (Dump, error)
}

// A Service is the directory. Its methods are safe for concurrent use.
type Service struct {
	Store Store
	Now   func() time.Time
	// Apart refuses, by an error of kind Conflict, what would give somebody rights that are kept apart; nil = nothing is.
	// It is asked within the change, reads and writes nothing.
	Apart func(ctx context.Context, before, after Dump) error
}

// Create adds a member, which is active unless its State is Suspended. Created and Updated are set here; an empty Person of a
// user means the user itself. A service or an agent needs a Person, the user who owns it, a purpose and an end; a guest a
// sponsor and an end.
func (s *Service) Create(ctx context.Context, m Member) (Member, error) {
	const op = "create member"
	if m.Person == "" && m.ID.Kind() == sallyport.User {
		m.Person = m.ID
	}
	if m.State != Suspended {
		m.State = Active
	}
	m.Created = s.Now().UTC().Truncate(time.Microsecond)
	m.Updated, m.Ends = m.Created, m.Ends.UTC().Truncate(time.Microsecond)
	if err := m.check(op); err != nil {
		return Member{}, err
	}
	if m.Person != m.ID {
		if _, err := s.answerable(ctx, op, m.Person); err != nil {
			return Member{}, err
		}
	}
	if m.Guest {
		if err := s.checkSponsor(ctx, op, m.Sponsor); err != nil {
			return Member{}, err
		}
	}
	if err := s.checked(ctx, func(d *Dump) { d.put(m) }); err != nil {
		return Member{}, err
	}
	groups := m.Groups
	m.Groups = nil
	if err := s.Store.InsertMember(ctx, m); err != nil {
		return Member{}, err
	}
	for _, g := range groups {
		if err := s.AddGroup(ctx, m.ID, g); err != nil {
			return Member{}, err
		}
	}
	return s.Store.Member(ctx, m.ID)
}

// answerable returns the main account of a person who has not left. No race: members are never deleted, and a person
// always answers for itself.
func (s *Service) answerable(ctx context.Context, op string, id sallyport.PrincipalID) (Member, error) {
	m, err := s.Store.Member(ctx, id)
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return Member{}, err
	}
	if err != nil || m.Person != m.ID || m.State == Removed {
		return Member{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s is not a person's main account", id), "name the account of the person who answers for it")
	}
	return m, nil
}

// Get returns one member, whatever its state; NotFound where there is none.
func (s *Service) Get(ctx context.Context, id sallyport.PrincipalID) (Member, error) {
	return s.Store.Member(ctx, id)
}

// ByIdentity returns the member whom an upstream provider knows by subject, whatever its state.
func (s *Service) ByIdentity(ctx context.Context, issuer, subject string) (Member, error) {
	return s.Store.MemberByIdentity(ctx, Identity{Issuer: issuer, Subject: subject})
}

// List returns all members, sorted by id.
func (s *Service) List(ctx context.Context) ([]Member, error) {
	d, err := s.Store.Dump(ctx)
	return d.Members, err
}

// Dump returns the whole directory as of one moment.
func (s *Service) Dump(ctx context.Context) (Dump, error) { return s.Store.Dump(ctx) }

// SetState suspends a member, brings one back, or removes one for good. A removed member leaves its groups and keeps
// its name. Ending sessions and tokens is the caller's next step.
func (s *Service) SetState(ctx context.Context, id sallyport.PrincipalID, to State) error {
	const op = "set state"
	if _, err := ParseState(string(to)); err != nil {
		return err
	}
	return s.update(ctx, id, func(m *Member, _ []Group) error {
		if m.State == Removed && to != Removed {
			return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s was removed for good", id), "create a member under another name")
		}
		if m.State = to; to == Removed {
			m.Groups = nil
		}
		return nil
	})
}

// AddGroup makes a member a direct member of a group of its own organisation. Doing it twice is no error.
func (s *Service) AddGroup(ctx context.Context, id sallyport.PrincipalID, group string) error {
	const op = "add to group"
	return s.update(ctx, id, func(m *Member, all []Group) error {
		at := slices.IndexFunc(all, func(g Group) bool { return g.Name == group })
		switch {
		case m.State == Removed:
			return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s was removed for good", id), "")
		case at < 0:
			return sallyport.E(op, sallyport.NotFound, fmt.Sprintf("no group is called %.130q", group), "define it first")
		case m.Guest && !all[at].admits(*m):
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s is a guest, and %s takes none", id, group), "define a group that takes guests, with what they need and nothing else")
		case !all[at].admits(*m):
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s belongs to %s, the group %s to another organisation", id, m.Org, group), "")
		case slices.Contains(m.Groups, group):
			return nil
		case len(m.Groups) >= maxGroups:
			return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%s is in %d groups already", id, maxGroups), "use a group of groups")
		}
		m.Groups = append(m.Groups, group)
		slices.Sort(m.Groups)
		return nil
	})
}

// RemoveGroup ends a direct membership. Ending one that is not there is no error.
func (s *Service) RemoveGroup(ctx context.Context, id sallyport.PrincipalID, group string) error {
	return s.update(ctx, id, func(m *Member, _ []Group) error {
		m.Groups = slices.DeleteFunc(m.Groups, func(g string) bool { return g == group })
		return nil
	})
}

func (s *Service) update(ctx context.Context, id sallyport.PrincipalID, change func(*Member, []Group) error) error {
	return s.Store.UpdateMember(ctx, id, func(m *Member, all []Group) error {
		was := *m
		was.Groups = slices.Clone(m.Groups)
		m.Updated = s.Now().UTC().Truncate(time.Microsecond)
		if err := change(m, all); err != nil || !m.gains(was) {
			return err
		}
		return s.checked(ctx, func(d *Dump) { d.put(*m) })
	})
}

// check refuses a record with a field that is not understood. It does not look at groups: AddGroup does.
func (m *Member) check(op string) error {
	bad := func(message, hint string) error { return sallyport.E(op, sallyport.Invalid, message, hint) }
	for _, id := range []sallyport.PrincipalID{m.ID, m.Person} {
		if parsed, err := sallyport.ParsePrincipalID(string(id)); err != nil || parsed != id {
			return bad(fmt.Sprintf("%.80q is not the id of a principal", string(id)), "write user:NAME, service:NAME or agent:NAME; the last two also need the person who owns them")
		}
	}
	if m.Person.Kind() != sallyport.User {
		return bad(fmt.Sprintf("%s cannot answer for %s", m.Person, m.ID), "name a person, user:NAME")
	}
	if err := sallyport.CheckName(op, m.Org); err != nil {
		return err
	}
	if !printable(m.Display, maxDisplay) {
		return bad("the display name is too long or holds characters that do not print", fmt.Sprintf("use at most %d printing characters", maxDisplay))
	}
	if m.Email != "" && !plainAddress(m.Email) {
		return bad("the e-mail address is not one plain address", "write local@domain")
	}
	if err := m.checkTerm(op); err != nil {
		return err
	}
	return m.checkIdentities(op)
}

func (m *Member) checkIdentities(op string) error {
	if len(m.Identities) > maxIdentities {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("more than %d upstream identities", maxIdentities), "")
	}
	for n, i := range m.Identities {
		if i.Issuer == "" || i.Subject == "" || len(i.Issuer) > maxIssuer || len(i.Subject) > maxSubject || slices.Contains(m.Identities[:n], i) {
			return sallyport.E(op, sallyport.Invalid, "an upstream identity is empty, too long or named twice", "write issuer and subject as the provider does")
		}
	}
	return nil
}

func plainAddress(s string) bool {
	return len(s) <= maxEmail && printable(s, maxEmail) && strings.Count(s, "@") == 1 && !strings.ContainsAny(s, " <>,;\"")
}

// printable tells whether s is at most most characters that print, plain spaces included.
func printable(s string, most int) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= most && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}
