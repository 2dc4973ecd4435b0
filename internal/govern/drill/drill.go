// Package drill owns exercises against fraud: who volunteered for them, which were sent to whom, and how each ended
// (NIST SP 800-53 AT-2(1), practical exercises; MITRE ATLAS AML.M0018).
//
// A drill is composed as an attacker would, and has no power: nothing that is answered here grants, consents to, confirms or
// approves anything. What an answer brings about is a word in a row of this room and an entry of the log; the package holds
// no function by which it could be more.
//
// It leaves delivering to watch/notify, pages to web/drills, who may start one to the guard, and what reading the signs is
// worth to govern/training.
package drill

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sallyport"
)

// The limits of a drill.
const (
	Shortest   = time.Hour
	Longest    = 14 * 24 * time.Hour
	MaxPeople  = 200                 // to whom one drill goes
	MaxDrills  = 200                 // that are listed
	ReadWithin = 30 * 24 * time.Hour // after its end, the page of a drill can still be read
	apart      = time.Minute         // between prompts
)

// A Kind is what a drill exercises.
type Kind string

// The kinds there are.
const (
	ConsentPhish Kind = "consent-phish" // a program asks for everything in somebody's name
	MFAFatigue   Kind = "mfa-fatigue"   // prompts, one after another, to confirm a sign-in that is somebody else's
	FakeApproval Kind = "fake-approval" // a request for a yes whose sentence says less than it asks for
)

// Kinds returns them all.
func Kinds() []Kind { return []Kind{ConsentPhish, MFAFatigue, FakeApproval} }

// ParseKind reads a kind.
func ParseKind(s string) (Kind, error) {
	if k := Kind(s); slices.Contains(Kinds(), k) {
		return k, nil
	}
	return "", sallyport.E("start drill", sallyport.Invalid, "there is no such drill", "start consent-phish, mfa-fatigue or fake-approval")
}

// An Answer is how a drill ended for one person. The zero Answer is none: until the end it is open, then ignored.
type Answer string

// The answers.
const (
	Fell     Answer = "fell"     // said yes
	Denied   Answer = "denied"   // said no on the page
	Reported Answer = "reported" // told those who run the system
)

// A Drill is one exercise.
type Drill struct {
	ID    string // "DR-" and 10 characters
	Kind  Kind
	By    sallyport.PrincipalID // who started it
	Begun time.Time
	Ends  time.Time // exclusive
}

// A Lure is what one person was sent in a drill.
type Lure struct {
	Link     string // SHA-256 of the link's secret, hexadecimal; the secret itself is in the notice only
	Drill    string
	Who      sallyport.PrincipalID
	Prompts  int       // how many were delivered
	Due      time.Time // when the next is, zero: none is
	Answer   Answer
	Answered time.Time // zero while there is none
	Learned  time.Time // when they read by which signs it could be known
}

// Sent is a lure with its drill.
type Sent struct {
	Lure
	Of Drill
}

// Over reports whether nobody can answer the drill any more at a time.
func (d Drill) Over(at time.Time) bool { return !at.Before(d.Ends) }

// Open reports whether the lure waits for an answer at a time.
func (s Sent) Open(at time.Time) bool { return s.Answer == "" && !s.Of.Over(at) }

// A Filter picks lures: those that have all of what is not zero.
type Filter struct {
	Drill, Link string
	Who         sallyport.PrincipalID
	Due         time.Time // a prompt is due at that time
	Open        time.Time // it waits for an answer at that time
}

// A Store keeps volunteers and drills. Writes are durable when they return. All methods may be called concurrently, from
// several nodes on one store.
type Store interface {
	// Volunteer keeps that somebody takes part since a time, or with the zero time no longer does: then no prompt is due for them.
	Volunteer(ctx context.Context, who sallyport.PrincipalID, since time.Time) error
	// Volunteers returns since when each takes part.
	Volunteers(ctx context.Context) (map[sallyport.PrincipalID]time.Time, error)
	// Begin keeps a drill with its lures, all or nothing; Conflict when somebody among them has one that waits for an answer,
	// or takes part no longer.
	Begin(ctx context.Context, d Drill, lures []Lure) error
	// Drills returns drills, the newest first, at most so many.
	Drills(ctx context.Context, most int) ([]Drill, error)
	// Lures returns what was sent, the newest drill first.
	Lures(ctx context.Context, f Filter) ([]Sent, error)
	// Update reads the lure of a link's hash, lets change alter Prompts, Due, Answer, Answered and Learned, and writes them, in
	// one transaction. An error of change is returned, and nothing is written. NotFound.
	Update(ctx context.Context, link string, change func(*Sent) error) (Sent, error)
}

// Counts are how a drill went. They name nobody.
type Counts struct {
	Sent, Fell, Denied, Reported int
	Waiting                      int           // without an answer, while the drill lasts
	Ignored                      int           // without an answer, after its end
	Median                       time.Duration // from the beginning to a report, of those who reported; 0 where nobody did
}

// Passed are those who said no or reported it.
func (c Counts) Passed() int { return c.Denied + c.Reported }

// Count counts the lures of one drill at a time.
func Count(lures []Sent, at time.Time) Counts {
	c := Counts{Sent: len(lures)}
	var took []time.Duration
	for _, s := range lures {
		switch {
		case s.Answer == Fell:
			c.Fell++
		case s.Answer == Denied:
			c.Denied++
		case s.Answer == Reported:
			c.Reported++
			took = append(took, s.Answered.Sub(s.Of.Begun))
		case s.Of.Over(at):
			c.Ignored++
		default:
			c.Waiting++
		}
	}
	if n := len(took); n > 0 {
		slices.Sort(took)
		c.Median = (took[(n-1)/2] + took[n/2]) / 2
	}
	return c
}

// checkSpan refuses what a drill cannot last.
func checkSpan(span time.Duration) error {
	if span < Shortest || span > Longest {
		return sallyport.E("start drill", sallyport.Invalid, fmt.Sprintf("a drill does not last %s", span), "say --for 1h to 336h (14 days)")
	}
	return nil
}
