package habit

import (
	"context"
	"encoding/base32"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/risk"
)

// A Raise is held against a person, a session or a device since something was found, and fades.
type Raise struct {
	ID     string // "K-" and 10 characters
	Target string // "user:ana", "session:S-…", "device:DV-…"
	Points int    // when it began
	Why    string // one line
	From   time.Time
	Until  time.Time // nothing is left of it
	// Settles is the level of proof with which a session that began later is not concerned; none where it is 0.
	Settles sallyport.Assurance
}

// A Measure is how much is held against somebody, and for how long.
type Measure struct {
	Points  int           // 1 to risk.MostPoints
	Fade    time.Duration // a minute to MaxFade
	Settles sallyport.Assurance
}

// concerns reports whether a raise counts against a session. What was copied before it was found says nothing of a session
// that began afterwards with a proof that cannot be copied; raised later, an old one is still what may have been copied.
func (r Raise) concerns(one Live) bool {
	return r.Settles == sallyport.NoAssurance || one.Assurance < r.Settles || !one.Created.After(r.From) || !one.Proved.After(r.From)
}

// Left is how many of the points are left at a time.
func (r Raise) Left(at time.Time) int { return risk.Faded(r.Points, r.From, r.Until, at) }

// Raises keep what is held against people. Methods are safe for concurrent use.
type Raises interface {
	// InsertRaise keeps a raise.
	InsertRaise(ctx context.Context, r Raise) error
	// RaisesAt returns those that end after a time, the oldest first, at most so many: on the targets, or on any where
	// there are none.
	RaisesAt(ctx context.Context, at time.Time, targets []string, most int) ([]Raise, error)
	// EndRaise ends one at a time, NotFound where there is none that ends later.
	EndRaise(ctx context.Context, id string, at time.Time) (Raise, error)
}

// Limits of raises.
const (
	MaxRaises = 1000               // that are looked at of one target
	MaxFade   = 7 * 24 * time.Hour // the longest time in which one fades
	maxWhy    = 200
	fadeEvery = time.Minute // how often Fade is called
)

// Raise holds points against a target for a while, and every session that it concerns is rated anew before it returns.
func (s *Service) Raise(ctx context.Context, target string, m Measure, why string) (Raise, error) {
	const op = "raise risk"
	kind, name, _ := strings.Cut(target, ":")
	if kind != "user" && kind != "session" && kind != "device" || name == "" || len(target) > maxText {
		return Raise{}, sallyport.E(op, sallyport.Invalid, "this has no risk", "name user:NAME, session:S-… or device:DV-…")
	}
	if m.Points < 1 || m.Points > risk.MostPoints || m.Fade < time.Minute || m.Fade > MaxFade {
		return Raise{}, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%d points for %v", m.Points, m.Fade), fmt.Sprintf("give 1 to %d points for a minute to %v", risk.MostPoints, MaxFade))
	}
	id, err := s.newID()
	if err != nil {
		return Raise{}, err
	}
	why = sallyport.OneLine(why)
	now := s.Clock().UTC().Truncate(time.Microsecond)
	r := Raise{ID: id, Target: target, Points: m.Points, Why: why[:min(len(why), maxWhy)], From: now, Until: now.Add(m.Fade), Settles: m.Settles}
	e := sallyport.Event{Type: sallyport.EventRiskChanged, On: target, Detail: map[string]string{"what": "raised", "raise": r.ID,
		"points": strconv.Itoa(r.Points), "why": r.Why, "until": r.Until.Format(time.RFC3339)}}
	if r.Settles > sallyport.NoAssurance {
		e.Detail["settles"] = r.Settles.String()
	}
	if kind == "user" {
		e.Who = sallyport.PrincipalID(target)
	}
	if err := s.Note(ctx, e); err != nil {
		return Raise{}, err
	}
	if err := s.Raises.InsertRaise(ctx, r); err != nil {
		return Raise{}, err
	}
	return r, s.Rerate(ctx, target)
}

// Clear ends a raise: what was found was explained.
func (s *Service) Clear(ctx context.Context, id string, by sallyport.PrincipalID) (Raise, error) {
	r, err := s.Raises.EndRaise(ctx, id, s.Clock().UTC().Truncate(time.Microsecond))
	if sallyport.KindOf(err) == sallyport.NotFound {
		err = sallyport.E("clear risk", sallyport.NotFound, "nothing of this id is held against anybody now", "see 'sallyport risk show NAME'")
	}
	if err != nil {
		return Raise{}, err
	}
	e := sallyport.Event{Type: sallyport.EventRiskChanged, Who: by, On: r.Target, Detail: map[string]string{"what": "cleared", "raise": r.ID}}
	if err := s.Note(ctx, e); err != nil {
		return Raise{}, err
	}
	return r, s.Rerate(ctx, r.Target)
}

// Fade rates every session anew that something is held against. Call it each minute, so that what fades is seen to.
func (s *Service) Fade(ctx context.Context) error {
	all, err := s.Raises.RaisesAt(ctx, s.Clock().Add(-2*time.Minute), nil, MaxRaises) // those that just ended too
	if err != nil {
		return err
	}
	done := map[string]bool{}
	for _, r := range all {
		if done[r.Target] {
			continue
		}
		done[r.Target] = true
		if err := s.Rerate(ctx, r.Target); err != nil {
			return err
		}
	}
	return nil
}

// Rerate rates the live sessions of a target: what their sign-in had, and what is left of all that is held against the
// session, its person and its device.
func (s *Service) Rerate(ctx context.Context, target string) error {
	live, err := s.Sessions(ctx, target)
	if err != nil {
		return err
	}
	for _, one := range live {
		score, reasons, err := s.Session(ctx, one)
		if err != nil {
			return err
		}
		if score == one.Risk {
			continue
		}
		if err := s.Rate(ctx, one.ID, score, Names(reasons)); err != nil && sallyport.KindOf(err) != sallyport.NotFound {
			return err
		}
	}
	return nil
}

// Session returns the risk of a live session now, and its reasons.
func (s *Service) Session(ctx context.Context, one Live) (int, []risk.Reason, error) {
	reasons, err := s.signedIn(ctx, one.ID)
	if err != nil {
		return 0, nil, err
	}
	raised, err := s.raised(ctx, one, s.Clock())
	if err != nil {
		return 0, nil, err
	}
	score, all := risk.Total(append(reasons, raised...))
	return score, all, nil
}

// signedIn is what the sign-in of a session was judged by. Raises of then are left out: they count as they stand now.
func (s *Service) signedIn(ctx context.Context, session string) ([]risk.Reason, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	var reasons []risk.Reason
	for _, r := range s.rated[session].reasons {
		if r.Kind != risk.Raised {
			reasons = append(reasons, r)
		}
	}
	return reasons, nil
}

// raised are the reasons that raises make now of a session, or of one that does not exist yet and has no id.
func (s *Service) raised(ctx context.Context, one Live, at time.Time) ([]risk.Reason, error) {
	on := []string{string(one.Who)}
	if device := deviceTarget(one.Device); device != "" {
		on = append(on, device)
	}
	if one.ID != "" {
		on = append(on, "session:"+one.ID)
	}
	all, err := s.Raises.RaisesAt(ctx, at, on, MaxRaises)
	if err != nil {
		return nil, err
	}
	var reasons []risk.Reason
	for _, r := range all {
		if r.concerns(one) {
			reasons = append(reasons, risk.Reason{Kind: risk.Raised, Points: r.Left(at), Text: r.Why, Evidence: r.evidence()})
		}
	}
	return reasons, nil
}

// evidence is what is shown of a raise.
func (r Raise) evidence() map[string]string {
	e := map[string]string{"raise": r.ID, "on": r.Target, "points": strconv.Itoa(r.Points), "until": r.Until.Format(time.RFC3339)}
	if r.Settles > sallyport.NoAssurance {
		e["settles"] = r.Settles.String()
	}
	return e
}

// deviceTarget is the target of an enrolled device; a browser's mark has none.
func deviceTarget(device string) string {
	if device == "" || strings.Contains(device, ":") {
		return ""
	}
	return "device:" + device
}

// A Known is what is known of somebody, for people to look at.
type Known struct {
	SignIns   int
	Last      time.Time
	From      risk.Login // of the last
	Threshold int        // from which score on more is asked
	Raises    []Raise
}

// Known returns what is known of somebody.
func (s *Service) Known(ctx context.Context, who sallyport.PrincipalID) (Known, error) {
	raises, err := s.Raises.RaisesAt(ctx, s.Clock(), []string{string(who)}, MaxRaises)
	if err != nil {
		return Known{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(ctx); err != nil {
		return Known{}, err
	}
	c := s.book.Counts(who, risk.Login{})
	k := Known{SignIns: c.Own, Threshold: risk.Threshold(s.scores, s.Share), Raises: raises}
	k.Last, k.From, _ = s.book.Last(who)
	return k, nil
}

func (s *Service) newID() (string, error) {
	var b [10]byte
	if _, err := io.ReadFull(s.Rand, b[:]); err != nil {
		return "", sallyport.Wrap("raise risk", sallyport.Unavailable, "no randomness", err)
	}
	return "K-" + base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").EncodeToString(b[:])[:10], nil
}
