// Package role owns roles, their inheritance and their assignments: RBAC of
// ANSI INCITS 359 with hierarchies and static separation of duties. It leaves to
// policy what a role permits, and to identity/directory who is in a group.
package role

import (
	"context"
	"encoding/base32"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sallyport"
)

// The limits on what is kept.
const (
	MaxRoles       = 500
	MaxAssignments = 100_000
	MaxInherits    = 32  // roles that one role inherits directly
	MaxDescription = 300 // bytes
)

// A Role is a name that policies speak about.
type Role struct {
	Name        string
	Inherits    []string // whoever has this role has these too; sorted
	Description string
	Privileged  bool // more than everyday rights; a role that inherits a privileged one is privileged
}

// An Assignment gives a role to a principal or a group, on one resource and what
// is in it.
type Assignment struct {
	ID      string // "A-" and 10 characters
	Subject string // a principal id, or "group:ORG/NAME"
	Role    string
	Scope   sallyport.Ref // never empty: there is no scope that means everything
	By      sallyport.PrincipalID
	At      time.Time
	Until   time.Time // exclusive; zero: until somebody takes it away
}

// Active reports whether the assignment holds at now.
func (a Assignment) Active(now time.Time) bool { return a.Until.IsZero() || now.Before(a.Until) }

// A State is all roles, sorted by name, and all assignments, sorted by id.
type State struct {
	Roles       []Role
	Assignments []Assignment
}

// A Change is what one update writes; its zero fields change nothing.
type Change struct {
	Define   *Role       // a new role, or the new text of an old one
	Assign   *Assignment // a new assignment
	Unassign string      // the id of an assignment to remove
}

// A Store keeps roles and assignments. Writes are durable when they return. Its
// methods may be called concurrently, from several nodes on one store.
type Store interface {
	// Load returns one snapshot of everything.
	Load(ctx context.Context) (State, error)
	// Update loads the state, asks decide what to change, and writes that, in one
	// transaction: no other update falls between. An error of decide is returned,
	// and nothing is written. Conflict when the subject has the role on the scope already.
	Update(ctx context.Context, decide func(State) (Change, error)) error
}

// A Service keeps the rules. Its fields are set before its first use.
type Service struct {
	Store Store
	Clock func() time.Time
	Rand  io.Reader
	// People returns the people behind a subject who may act today: of a user
	// itself, of a service its owner, of a group the people of its members. An
	// unknown subject is NotFound. It must not write to the store.
	People func(ctx context.Context, subject string) ([]sallyport.PrincipalID, error)
	// Conflicts are pairs of roles that one person may not have, on whatever resources.
	Conflicts [][2]string
	// Machines reports whether a service or an agent is in a group, "group:ORG/NAME", or in one that it contains. Nil:
	// only those that are named themselves are known as such.
	Machines func(ctx context.Context, group string) (bool, error)
	// OnSystem are the roles that a service may hold on the system, for what nothing else has, such as its log.
	OnSystem []string
	// Administrator is the role whose last lasting holder on a resource stays.
	Administrator string
}

// Define makes a role or changes it. Inheritance has no circles, and no change
// of it may bring a person into a conflict or take the last administrator away.
func (s *Service) Define(ctx context.Context, r Role) error {
	if err := r.check(); err != nil {
		return err
	}
	r.Inherits = slices.Compact(slices.Sorted(slices.Values(r.Inherits)))
	return s.update(ctx, func(State) (Change, error) { return Change{Define: &r}, nil })
}

// Assign gives a role. Of a it takes Subject, Role, Scope, By and Until. It is
// refused when a person behind the subject would have two roles that conflict,
// be it through a group or a second account.
func (s *Service) Assign(ctx context.Context, a Assignment) (Assignment, error) {
	if emergency(a.Role) {
		return Assignment{}, sallyport.E("assign role", sallyport.Conflict, fmt.Sprintf("nobody gives the role %s: it is for emergencies", a.Role),
			"define an emergency right with 'sallyport breakglass define', which two others open")
	}
	return s.assign(ctx, a)
}

// AssignEmergency is Assign for a right that was opened in an emergency: it alone gives
// roles whose names begin with Emergency, and always with an end.
func (s *Service) AssignEmergency(ctx context.Context, a Assignment) (Assignment, error) {
	if a.Until.IsZero() {
		return Assignment{}, sallyport.E("assign role", sallyport.Invalid, "an emergency has an end", "say until when")
	}
	return s.assign(ctx, a)
}

// Emergency is how the names of roles begin that only an emergency gives. What inherits
// one of them is called so too.
const Emergency = "break-glass"

func emergency(name string) bool { return name == Emergency || strings.HasPrefix(name, Emergency+"-") }

func (s *Service) assign(ctx context.Context, a Assignment) (Assignment, error) {
	const op = "assign role"
	a.At, a.Until = s.now(), a.Until.UTC().Truncate(time.Microsecond)
	if err := a.check(); err != nil {
		return Assignment{}, err
	}
	if _, err := s.People(ctx, a.Subject); err != nil {
		return Assignment{}, err
	}
	var err error
	if a.ID, err = newID(s.Rand); err != nil {
		return Assignment{}, err
	}
	err = s.update(ctx, func(old State) (Change, error) {
		if !slices.ContainsFunc(old.Roles, func(r Role) bool { return r.Name == a.Role }) {
			return Change{}, sallyport.E(op, sallyport.NotFound, fmt.Sprintf("there is no role %q", a.Role), "define it first")
		}
		return Change{Assign: &a}, nil
	})
	if err != nil {
		return Assignment{}, err
	}
	return a, nil
}

// Unassign takes a role away. The last lasting administrator of a resource stays.
func (s *Service) Unassign(ctx context.Context, id string) error {
	return s.update(ctx, func(old State) (Change, error) {
		if !slices.ContainsFunc(old.Assignments, func(a Assignment) bool { return a.ID == id }) {
			return Change{}, sallyport.E("unassign role", sallyport.NotFound, "there is no such assignment", "list the assignments to see their ids")
		}
		return Change{Unassign: id}, nil
	})
}

// List returns all roles and the assignments that hold now.
func (s *Service) List(ctx context.Context) (State, error) {
	state, err := s.Store.Load(ctx)
	now := s.now()
	state.Assignments = slices.DeleteFunc(state.Assignments, func(a Assignment) bool { return !a.Active(now) })
	return state, err
}

// A Violation is a person who has two roles that conflict.
type Violation struct {
	Person sallyport.PrincipalID
	Roles  [2]string // as in Conflicts
}

// Violations returns the conflicts there are. Assign and Define make none, and CheckMoving keeps whoever joins a group from
// making one; a new pair in Conflicts can.
func (s *Service) Violations(ctx context.Context) ([]Violation, error) {
	state, err := s.Store.Load(ctx)
	if err != nil {
		return nil, err
	}
	return s.judge(ctx).violations(state)
}

// CheckLeaving refuses when a resource would be left without an administrator
// once a person may not act any more. Whoever suspends or removes people asks first.
func (s *Service) CheckLeaving(ctx context.Context, person sallyport.PrincipalID) error {
	state, err := s.Store.Load(ctx)
	if err != nil {
		return err
	}
	before, err := s.judge(ctx).administered(state)
	if err != nil {
		return err
	}
	without := s.judge(ctx)
	without.leaving = person
	after, err := without.administered(state)
	if err != nil {
		return err
	}
	return stillAdministered(before, after)
}

// update applies a change where the rules hold after it as well as before.
func (s *Service) update(ctx context.Context, decide func(State) (Change, error)) error {
	return s.Store.Update(ctx, func(old State) (Change, error) {
		change, err := decide(old)
		if err != nil {
			return Change{}, err
		}
		changed := old.apply(change)
		if err := changed.check(); err != nil {
			return Change{}, err
		}
		j := s.judge(ctx)
		if err := j.noNewViolation(old, changed); err != nil {
			return Change{}, err
		}
		if err := j.noNewMachine(old, changed); err != nil {
			return Change{}, err
		}
		before, err := j.administered(old)
		if err != nil {
			return Change{}, err
		}
		after, err := j.administered(changed)
		if err != nil {
			return Change{}, err
		}
		return change, stillAdministered(before, after)
	})
}

func (s *Service) now() time.Time { return s.Clock().UTC().Truncate(time.Microsecond) }

func (r Role) check() error {
	const op = "define role"
	if err := sallyport.CheckName(op, r.Name); err != nil {
		return err
	}
	if len(r.Inherits) > MaxInherits {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%d inherited roles", len(r.Inherits)), fmt.Sprintf("inherit at most %d", MaxInherits))
	}
	d := r.Description
	if len(d) > MaxDescription || !utf8.ValidString(d) || slices.ContainsFunc([]rune(d), func(c rune) bool { return !unicode.IsPrint(c) }) {
		return sallyport.E(op, sallyport.Invalid, "the description cannot be kept", fmt.Sprintf("write one line of at most %d bytes", MaxDescription))
	}
	return nil
}

func (a Assignment) check() error {
	const op = "assign role"
	if err := checkSubject(op, a.Subject); err != nil {
		return err
	}
	if err := sallyport.CheckName(op, a.Role); err != nil {
		return err
	}
	if ref, err := sallyport.ParseRef(a.Scope.String()); err != nil || ref != a.Scope {
		return sallyport.E(op, sallyport.Invalid, "no resource is named", "say on what: org:ORG, project:ORG/NAME, ORG/MODEL or system")
	}
	if a.By == "" {
		return sallyport.E(op, sallyport.Invalid, "nobody assigns the role", "name who does")
	}
	if !a.Active(a.At) {
		return sallyport.E(op, sallyport.Invalid, "the assignment ends before it begins", "give an end in the future, or none")
	}
	return nil
}

func checkSubject(op, subject string) error {
	if group, ok := strings.CutPrefix(subject, "group:"); ok {
		org, name, _ := strings.Cut(group, "/")
		if err := sallyport.CheckName(op, org); err != nil {
			return err
		}
		return sallyport.CheckName(op, name)
	}
	id, err := sallyport.ParsePrincipalID(subject)
	if err == nil && string(id) != subject {
		err = sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%q is not how a subject is spelled", subject), "write user:NAME, service:NAME or group:ORG/NAME")
	}
	return err
}

// newID makes an identifier that is easy to read out: no I, L, O, U.
func newID(random io.Reader) (string, error) {
	var b [10]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", sallyport.Wrap("assign role", sallyport.Unavailable, "no randomness", err)
	}
	return "A-" + base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").EncodeToString(b[:])[:10], nil
}
