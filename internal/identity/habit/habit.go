// Package habit owns what is known of people's sign-ins: from where, with what and when they came, how unusual that was,
// and what was held against them since (risk-based authentication, NIST SP 800-63B-4, section 4.4). Records are made by
// following the trail, so that they can be made anew from it; an address is kept as its prefix, network and country.
//
// It leaves the score to identity/risk, places to identity/place, sessions to identity/session, and what a score brings
// about to policy.
package habit

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/identity/risk"
)

// The limits on what is kept.
const (
	// KeptFor is how long a sign-in is remembered.
	KeptFor   = 180 * 24 * time.Hour
	failedFor = 15 * time.Minute // how long a wrong proof counts
	newest    = 5000             // scores that a threshold is picked from
	loadRows  = 2048             // rows read at once
	maxText   = 200              // bytes of a text of a row
	ratedFor  = 48 * time.Hour   // longer than any session lives
)

// A Row is one sign-in, or one that failed.
type Row struct {
	Seq     uint64 // of its event in the trail
	Who     sallyport.PrincipalID
	At      time.Time
	Session string // "" of one that failed
	Login   risk.Login
	Device  string // of the enrolled device, or the mark of a browser
	Score   int
	Reasons []risk.Reason
}

// Failed reports whether the row is of a sign-in that failed.
func (r *Row) Failed() bool { return r.Session == "" }

// A Store keeps rows and how far the trail was read. Methods are safe for concurrent use.
type Store interface {
	// Put adds rows, of which some may be there already, and notes that the trail was read up to next, in one transaction.
	Put(ctx context.Context, rows []Row, next uint64) error
	// Next is the number of the first event that was not read yet.
	Next(ctx context.Context) (uint64, error)
	// After returns sign-ins that succeeded, with numbers above seq, in order, at most so many.
	After(ctx context.Context, seq uint64, most int) ([]Row, error)
	// Failures counts the failed sign-ins of somebody since a time.
	Failures(ctx context.Context, who sallyport.PrincipalID, since time.Time) (int, error)
	// Prune forgets rows before a time and says how many.
	Prune(ctx context.Context, before time.Time) (int, error)
	// Reset forgets all rows and that the trail was ever read.
	Reset(ctx context.Context) error
}

// A Place is where an address lies, as far as it is known.
type Place struct {
	Prefix, ASN, Country string
	Position             risk.Position
	Shared               bool // many people leave from here: the house's own network, by the operator's word
}

// A Live is a live session as it is rated.
type Live struct {
	ID     string
	Who    sallyport.PrincipalID
	Device string
	Risk   int

	Assurance       sallyport.Assurance
	Created, Proved time.Time // when it began, and the last proof that Assurance rests on
}

// A Service assesses sign-ins and keeps the risk of sessions current. Its fields are set before its first use; methods
// are safe for concurrent use.
type Service struct {
	Store  Store
	Raises Raises
	// Place says where an address lies.
	Place func(netip.Addr) Place
	// Proves is the strongest level that somebody's proofs can reach: more is not asked of them.
	Proves func(ctx context.Context, who sallyport.PrincipalID) (sallyport.Assurance, error)
	// Sessions returns the live sessions of a target of a Raise; Rate keeps a session's risk and its reasons' names.
	Sessions func(ctx context.Context, target string) ([]Live, error)
	Rate     func(ctx context.Context, session string, score int, reasons []string) error
	// Note writes an event down, durably.
	Note   func(ctx context.Context, e sallyport.Event) error
	Share  float64 // of sign-ins that may be asked again, above 0 to 1
	Clock  func() time.Time
	Rand   interface{ Read([]byte) (int, error) }
	Logger *slog.Logger

	mu     sync.Mutex
	book   *risk.Book
	read   uint64            // number of the last row in the book
	scores []int             // the newest, a ring
	turn   int               // where the next one goes
	rated  map[string]rating // by session
}

type rating struct {
	at      time.Time
	reasons []risk.Reason
}

// An Attempt is a sign-in whose first proof was good.
type Attempt struct {
	Who      sallyport.PrincipalID
	Address  netip.Addr // whole; only its prefix is kept
	Agent    string     // the User-Agent header
	Device   string     // id of the device or mark of the browser, "" where unknown
	Breached bool       // the password is on a list of known ones
	StepUp   bool       // a session exists and is being raised: nothing more is asked for
}

// A Found is what is thought of an attempt.
type Found struct {
	risk.Verdict
	Login risk.Login
}

// Names are the kinds of the reasons, the heaviest first.
func Names(reasons []risk.Reason) []string {
	names := make([]string, len(reasons))
	for i, r := range reasons {
		names[i] = string(r.Kind)
	}
	return names
}

// Assess judges an attempt. Whatever asks for more than usual is written down with its reasons before it is asked.
func (s *Service) Assess(ctx context.Context, a Attempt) (Found, error) {
	now := s.Clock()
	here := s.Place(a.Address)
	found := Found{Login: risk.Login{Prefix: here.Prefix, ASN: here.ASN, Country: here.Country}}
	found.Login.ReadAgent(a.Agent)
	failures, err := s.Store.Failures(ctx, a.Who, now.Add(-failedFor))
	if err != nil {
		return Found{}, err
	}
	raised, err := s.raised(ctx, Live{Who: a.Who, Device: a.Device}, now)
	if err != nil {
		return Found{}, err
	}
	score, reasons, threshold, err := s.judge(ctx, risk.Attempt{Who: a.Who, At: now, Login: found.Login, Device: a.Device, Here: here.Position,
		Shared: here.Shared, Failures: failures, Breached: a.Breached}, raised)
	if err != nil {
		return Found{}, err
	}
	found.Verdict = risk.Rule(score, reasons, threshold)
	if a.StepUp {
		found.Needs = sallyport.NoAssurance
	}
	if found.Needs > sallyport.NoAssurance {
		most, err := s.Proves(ctx, a.Who)
		if err != nil {
			return Found{}, err
		}
		found.Needs = min(found.Needs, most)
	}
	if !found.Hold && found.Needs == sallyport.NoAssurance && !found.Notify {
		return found, nil
	}
	return found, s.Note(ctx, found.event(a.Who))
}

// judge brings the book up to date and asks it.
func (s *Service) judge(ctx context.Context, a risk.Attempt, raised []risk.Reason) (score int, reasons []risk.Reason, threshold int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(ctx); err != nil {
		return 0, nil, 0, err
	}
	if _, last, known := s.book.Last(a.Who); known {
		if p, err := netip.ParsePrefix(last.Prefix); err == nil {
			a.Before = s.Place(p.Addr()).Position
		}
	}
	_, reasons = s.book.Judge(a)
	score, reasons = risk.Total(append(reasons, raised...))
	return score, reasons, risk.Threshold(s.scores, s.Share), nil
}

// load adds the rows that came since, this node's and others'.
func (s *Service) load(ctx context.Context) error {
	if s.book == nil {
		s.forget()
	}
	for {
		rows, err := s.Store.After(ctx, s.read, loadRows)
		if err != nil {
			return err
		}
		for i := range rows {
			s.add(&rows[i])
		}
		if len(rows) < loadRows {
			return nil
		}
	}
}

func (s *Service) add(r *Row) {
	s.book.Add(r.Who, r.At, r.Login, r.Device)
	s.rated[r.Session] = rating{r.At, r.Reasons}
	if s.read = r.Seq; len(s.scores) < newest {
		s.scores = append(s.scores, r.Score)
		return
	}
	s.scores[s.turn%newest] = r.Score
	s.turn++
}

// forget begins the book anew; the next question reads it from the store. Rows are numbered from the trail, where the
// number 0 is no sign-in.
func (s *Service) forget() {
	s.book, s.read, s.scores, s.turn, s.rated = risk.NewBook(), 0, nil, 0, map[string]rating{}
}

// Tend forgets what is too old. Call it now and then.
func (s *Service) Tend(ctx context.Context) error {
	now := s.Clock()
	gone, err := s.Store.Prune(ctx, now.Add(-KeptFor))
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, r := range s.rated {
		if now.Sub(r.at) > ratedFor {
			delete(s.rated, id)
		}
	}
	if err == nil && gone > 0 {
		s.book = nil
	}
	return err
}

// Rebuild forgets every sign-in; following the trail from its beginning makes them anew.
func (s *Service) Rebuild(ctx context.Context) error {
	if err := s.Store.Reset(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book = nil
	return nil
}
