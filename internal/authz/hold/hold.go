// Package hold owns restrictions that somebody places on people, sessions,
// models and what contains them, and lifts again: emergency removal of access
// and its restoration by a second person (NIST SP 800-53 AC-2(13), AC-5). It
// leaves to authz/decision what a hold forbids and to enforce/guard to cut what
// is under way.
package hold

import (
	"cmp"
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
	MaxWhy    = 500     // bytes of a reason
	MaxActive = 100_000 // holds at one time
	MaxList   = 200     // entries of one answer
	maxIDSize = 128     // bytes of the id of a session or family
)

// A Kind is what a hold does.
type Kind string

// Lock refuses every action, and cuts those under way.
const Lock Kind = "lock"

// CheckTarget refuses what cannot be held. A target has one spelling:
// "user:ana", "service:trainer", "agent:helper", "session:ID", "family:ID", "device:ID", "model:acme/fraud",
// "model:acme/fraud@v3", "project:acme/risk", "dataset:acme/claims",
// "endpoint:acme/chat", "org:acme".
func CheckTarget(target string) error {
	const op = "target of hold"
	switch kind, rest, _ := strings.Cut(target, ":"); kind {
	case "user", "service", "agent":
		_, err := sallyport.NewPrincipalID(sallyport.PrincipalKind(kind), rest)
		return err
	case "session", "family", "device":
		return checkID(op, rest)
	case "model", "project", "dataset", "endpoint", "org":
		ref, err := sallyport.ParseRef(target)
		if err == nil && OfRef(ref) != target {
			err = sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%q is spelled otherwise", OfRef(ref)), "write KIND:ORG/NAME")
		}
		return err
	}
	return sallyport.E(op, sallyport.Invalid, "this cannot be held",
		"write user:, service:, agent:, session:, family:, device:, model:, project:, dataset:, endpoint: or org: and its name")
}

// OfRef is the target that stands for a resource.
func OfRef(r sallyport.Ref) string {
	if r.Kind == sallyport.ModelKind || r.Kind == sallyport.VersionKind {
		return "model:" + r.String()
	}
	return r.String()
}

// A Hold is one restriction.
type Hold struct {
	ID           string // "H-" and 10 characters
	Target       string
	Kind         Kind
	Why          string
	By           sallyport.PrincipalID // who or what placed it
	ByPerson     sallyport.PrincipalID // the person behind it
	Held         sallyport.PrincipalID // the person it is on; "" when it is on a resource
	At           time.Time
	Until        time.Time // when Expire lifts it; zero: when a person does
	LiftedAt     time.Time // zero while it holds
	LiftedBy     sallyport.PrincipalID
	LiftedPerson sallyport.PrincipalID
	LiftReason   string
	Probation    time.Time             // the end of the probation that follows, zero for none
	ProbationWhy string                // why there is none, or why it ended early
	ProbationBy  sallyport.PrincipalID // who ended it early
}

// Active reports whether nobody lifted the hold.
func (h Hold) Active() bool { return h.LiftedAt.IsZero() }

// A Store keeps holds. Writes are durable when they return. All methods may be
// called concurrently, from several nodes on one store.
type Store interface {
	// Insert keeps a new hold; Conflict when its id is taken, Busy when most holds are active already.
	Insert(ctx context.Context, h Hold, most int) error
	// Get returns a hold; NotFound.
	Get(ctx context.Context, id string) (Hold, error)
	// Active returns the holds that nobody lifted, oldest first, at most limit.
	Active(ctx context.Context, limit int) ([]Hold, error)
	// List returns the holds on a target ("" = on any), lifted ones too, newest first, at most limit.
	List(ctx context.Context, target string, limit int) ([]Hold, error)
	// Probation returns the lifted holds whose probation lasts at a time, oldest first, at most limit.
	Probation(ctx context.Context, at time.Time, limit int) ([]Hold, error)
	// Update reads a hold, lets change alter its Lift and Probation fields, and writes them, in
	// one transaction. An error of change is returned, and nothing is written. NotFound.
	Update(ctx context.Context, id string, change func(*Hold) error) (Hold, error)
}

// A Service places and lifts holds. Its fields are set before its first use.
type Service struct {
	Store Store
	Clock func() time.Time
	Rand  io.Reader
	// Person returns the person whom a target concerns today (of a session or
	// family: whose it is), "" when it concerns a resource. NotFound when the
	// target is gone or never was: placing is refused, lifting is not.
	Person func(ctx context.Context, target string) (sallyport.PrincipalID, error)
	// Probation is how long one lasts where nobody says; 0 is DefaultProbation.
	Probation time.Duration
}

// An Actor is who places or lifts: the identity and the person behind it.
type Actor struct {
	ID     sallyport.PrincipalID
	Person sallyport.PrincipalID
}

// Place puts a hold on a target, from now on until a person lifts it. Programs may place holds. It takes no Note: what
// stops is in force also where it cannot be written down.
func (s *Service) Place(ctx context.Context, target string, why string, by Actor) (Hold, error) {
	return s.place(ctx, Hold{Target: target, Why: why}, by)
}

func (s *Service) place(ctx context.Context, h Hold, by Actor) (Hold, error) {
	const op = "place hold"
	target, why := h.Target, h.Why
	if err := CheckTarget(target); err != nil {
		return Hold{}, err
	}
	if by.ID == "" || by.Person == "" {
		return Hold{}, sallyport.E(op, sallyport.Invalid, "nobody places the hold", "sign in first")
	}
	if err := checkReason(op, why); err != nil {
		return Hold{}, err
	}
	held, err := s.Person(ctx, target)
	if err != nil {
		return Hold{}, err
	}
	id, err := newID(s.Rand)
	if err != nil {
		return Hold{}, err
	}
	h.ID, h.Kind, h.By, h.ByPerson, h.Held, h.At = id, Lock, by.ID, by.Person, held, s.now()
	err = s.Store.Insert(ctx, h, MaxActive)
	if sallyport.KindOf(err) == sallyport.Busy {
		err = sallyport.E(op, sallyport.Busy, fmt.Sprintf("%d holds are active", MaxActive), "hold what contains the targets, such as the organisation")
	}
	if err != nil {
		return Hold{}, err
	}
	return h, nil
}

// A Note writes a hold down, durably, as it is about to be lifted or acquitted. With its error nothing changes: what stops
// goes on stopping.
type Note func(ctx context.Context, h Hold) error

// Lift ends a hold. It takes a person, with a reason, who is neither the person
// who placed it nor the one it is on. It is written down before it is kept; where it could not be kept it is written down
// again by whoever lifts it next.
func (s *Service) Lift(ctx context.Context, id string, l Lifting, by Actor, note Note) (Hold, error) {
	const op = "lift hold"
	reason := l.Why
	if err := checkReason(op, reason); err != nil {
		return Hold{}, err
	}
	if err := l.Check(); err != nil {
		return Hold{}, err
	}
	if by.ID.Kind() != sallyport.User || by.Person.Kind() != sallyport.User {
		return Hold{}, sallyport.E(op, sallyport.Invalid, "only a person lifts a hold", "sign in as yourself")
	}
	h, err := s.Get(ctx, id)
	if err != nil {
		return Hold{}, err
	}
	heldToday, err := s.Person(ctx, h.Target)
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return Hold{}, err
	}
	return s.Store.Update(ctx, id, func(h *Hold) error {
		if !h.Active() {
			return sallyport.E(op, sallyport.Conflict, h.ID+" is lifted already", "")
		}
		if by.Person == h.ByPerson || by.ID == h.By {
			return sallyport.E(op, sallyport.Conflict, "who placed a hold does not lift it", "ask another person to lift "+h.ID)
		}
		if by.Person == h.Held || by.Person == heldToday || string(by.ID) == h.Target {
			return sallyport.E(op, sallyport.Conflict, "nobody lifts a hold on themselves", "ask another person to lift "+h.ID)
		}
		h.LiftedAt, h.LiftedBy, h.LiftedPerson, h.LiftReason = s.now(), by.ID, by.Person, reason
		if h.ProbationWhy = l.Without; l.Without == "" {
			h.Probation = h.LiftedAt.Add(cmp.Or(l.Probation, s.Probation, DefaultProbation))
		}
		return note(ctx, *h)
	})
}

// Active returns every hold that nobody lifted. It is all of them or an error: a
// hold left out of a list would be lifted.
func (s *Service) Active(ctx context.Context) ([]Hold, error) {
	all, err := s.Store.Active(ctx, MaxActive+1)
	if len(all) > MaxActive {
		return nil, sallyport.E("list holds", sallyport.TooLarge, "more holds are active than can be listed", "lift some")
	}
	return all, err
}

// List returns the newest holds on a target, "" for any, lifted ones too, at
// most MaxList.
func (s *Service) List(ctx context.Context, target string) ([]Hold, error) {
	return s.Store.List(ctx, target, MaxList)
}

// Get returns a hold.
func (s *Service) Get(ctx context.Context, id string) (Hold, error) {
	h, err := s.Store.Get(ctx, id)
	if sallyport.KindOf(err) == sallyport.NotFound {
		err = sallyport.E("read hold", sallyport.NotFound, "there is no such hold", "list the holds to see their ids")
	}
	return h, err
}

func (s *Service) now() time.Time { return s.Clock().UTC().Truncate(time.Microsecond) }

func checkReason(op, s string) error {
	if strings.TrimSpace(s) == "" || len(s) > MaxWhy || !utf8.ValidString(s) || slices.ContainsFunc([]rune(s), func(c rune) bool { return !unicode.IsPrint(c) }) {
		return sallyport.E(op, sallyport.Invalid, "the reason cannot be kept", fmt.Sprintf("say why in one line of 1 to %d bytes", MaxWhy))
	}
	return nil
}

func checkID(op, id string) error {
	ok := len(id) >= 1 && len(id) <= maxIDSize
	for i := 0; ok && i < len(id); i++ {
		c := id[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
	}
	if !ok {
		return sallyport.E(op, sallyport.Invalid, "this is not the id of a session or token family", "'sallyport sessions' lists them")
	}
	return nil
}

// newID makes an identifier that is easy to read out: no I, L, O, U.
func newID(random io.Reader) (string, error) {
	var b [10]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", sallyport.Wrap("place hold", sallyport.Unavailable, "no randomness", err)
	}
	return "H-" + base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").EncodeToString(b[:])[:10], nil
}
