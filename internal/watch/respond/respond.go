// Package respond owns what is done about findings (incident response, NIST SP 800-53 IR-4(1)): a ladder from telling the
// person, over asking for more proof and a hold that ends, to the end of a session, by a table that the operator may
// change. Every step is recorded and can be taken back.
//
// Chance never ends anything: only rules that rest on certain evidence may hold and end, and a hold of ours ends by
// itself; one without an end is a person's. Many such steps at once are not taken: somebody may have learned to make us
// lock everybody out.
//
// It leaves what is found to watch/detect, and how each step is carried out to the rooms, by functions.
package respond

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/watch/detect"
)

// A Verb names a step of the ladder.
type Verb string

// The steps, the mildest first.
const (
	Notify Verb = "notify" // the person whom it is about
	Alert  Verb = "alert"  // everybody who runs the system
	Raise  Verb = "raise"  // the risk of their sessions, for a while: policy asks for more proof
	Hold   Verb = "hold"   // what it is about, for a while
	End    Verb = "end"    // the session, the logins and what runs under them
)

// A Step is one of them with its measure: "notify", "raise=60/24h", "raise=60/12h/phr", "hold=1h".
type Step struct {
	Verb   Verb
	Points int           // of Raise
	For    time.Duration // of Raise and Hold
	// Settles is the level of proof, phr or aal3, with which a session that begins later is not raised; 0 = none.
	Settles sallyport.Assurance
}

// The limits of a step.
const (
	maxHold  = 24 * time.Hour
	maxRaise = 7 * 24 * time.Hour
	maxSteps = 8
)

// ParseStep reads a step.
func ParseStep(s string) (Step, error) {
	verb, arg, given := strings.Cut(s, "=")
	step := Step{Verb: Verb(verb)}
	ok := false
	switch step.Verb {
	case Notify, Alert, End:
		ok = !given
	case Raise:
		ok = step.raise(arg)
	case Hold:
		var err error
		step.For, err = time.ParseDuration(arg)
		ok = err == nil && step.For >= time.Minute && step.For <= maxHold
	}
	if !ok {
		return Step{}, sallyport.E("read response", sallyport.Invalid, fmt.Sprintf("%q is no step", sallyport.OneLine(s)), "write notify, alert, raise=POINTS/DURATION, raise=POINTS/DURATION/phr, hold=DURATION (a day at most) or end")
	}
	return step, nil
}

// raise reads the measure of a raise.
func (s *Step) raise(arg string) bool {
	points, span, _ := strings.Cut(arg, "/")
	span, level, settles := strings.Cut(span, "/")
	var err1, err2, err3 error
	s.Points, err1 = strconv.Atoi(points)
	s.For, err2 = time.ParseDuration(span)
	if settles {
		s.Settles, err3 = sallyport.ParseAssurance(level)
	}
	return err1 == nil && err2 == nil && err3 == nil && s.Points >= 1 && s.Points <= 100 && s.For >= time.Minute && s.For <= maxRaise &&
		(!settles || s.Settles >= sallyport.PhishingResistant) // what can be passed on settles nothing
}

// String writes what ParseStep reads.
func (s Step) String() string {
	switch s.Verb {
	case Raise:
		if s.Settles > sallyport.NoAssurance {
			return fmt.Sprintf("raise=%d/%s/%s", s.Points, s.For, s.Settles)
		}
		return fmt.Sprintf("raise=%d/%s", s.Points, s.For)
	case Hold:
		return fmt.Sprintf("hold=%s", s.For)
	}
	return string(s.Verb)
}

// A Table says what is done, by the name of a rule.
type Table map[string][]Step

// defaults are the steps of each rule unless the operator says otherwise.
func defaults() map[string][]string {
	return map[string][]string{
		// What was copied is dead or of no use without its key: whoever begins a session with a passkey afterwards is not the thief.
		detect.TokenReused:      {"end", "raise=60/12h/phr", "notify", "alert"},
		detect.TokenTheft:       {"raise=60/12h/phr", "notify", "alert"},
		detect.ProofReplayed:    {"raise=60/12h/phr", "notify", "alert"},
		detect.ProofRepeated:    {"notify"},
		detect.ImpossibleTravel: {"raise=60/12h", "notify", "alert"},
		detect.SharedCredential: {"raise=60/4h", "notify", "alert"},
		detect.TwoDevices:       {},
		detect.DisabledAccount:  {"alert"},
		detect.ClonedPasskey:    {"raise=60/24h", "notify", "alert"},
		detect.DenialBurst:      {"alert"},
		detect.Probing:          {"alert"},
		detect.UIBypass:         {"alert"},
		detect.PasswordSpray:    {"alert"},
		detect.Reported:         {"alert"},
		detect.ApprovalVoid:     {"alert"},
		detect.RolesApart:       {"alert"},
		detect.PastTheRecord:    {"alert"},
		detect.Drift:            {"alert"},
	}
}

// NewTable is the default table with the operator's changes: for a rule that is named, all of its steps.
func NewTable(changes map[string][]string) (Table, error) {
	all := defaults()
	for name, steps := range changes {
		if _, known := all[name]; !known {
			return nil, sallyport.E("read response", sallyport.Invalid, fmt.Sprintf("there is no rule %q", sallyport.OneLine(name)), "run 'sallyport findings rules'")
		}
		if len(steps) > maxSteps {
			return nil, sallyport.E("read response", sallyport.TooLarge, fmt.Sprintf("%d steps for %s", len(steps), name), fmt.Sprintf("name at most %d", maxSteps))
		}
		all[name] = steps
	}
	table := Table{}
	for name, texts := range all {
		rule, _ := detect.RuleNamed(name)
		for _, text := range texts {
			step, err := ParseStep(text)
			if err != nil {
				return nil, err
			}
			if (step.Verb == End || step.Verb == Hold) && !rule.Certain {
				return nil, sallyport.E("read response", sallyport.Invalid, fmt.Sprintf("%s for %s: its evidence may be chance", step.Verb, name), "use notify, alert or raise; a person may lock")
			}
			table[name] = append(table[name], step)
		}
	}
	return table, nil
}

// Means carry steps out. Each writes its own event down before it acts, and returns what it did in a few words that begin
// with an id where there is one.
type Means struct {
	// Notify tells somebody of a finding about them; Alert those who run the system.
	Notify func(ctx context.Context, f detect.Finding) (string, error)
	Alert  func(ctx context.Context, f detect.Finding, why string) (string, error)
	Raise  func(ctx context.Context, target string, step Step, why string) (id string, err error)
	Hold   func(ctx context.Context, target, why string, lasts time.Duration) (id string, err error)
	End    func(ctx context.Context, f detect.Finding) (string, error)
	// Clear and Lift take a raise and a hold back, by a person.
	Clear func(ctx context.Context, id string, by sallyport.PrincipalID) error
	Lift  func(ctx context.Context, id, why string, by sallyport.Principal) error
}

// A Service answers findings. Its fields are set before its first use.
type Service struct {
	Findings detect.Store
	Table    Table
	Means    Means
	// Protected reports whether somebody may open the last way in, and is held by people only; nil protects nobody.
	Protected func(ctx context.Context, who sallyport.PrincipalID) (bool, error)
	Clock     func() time.Time
	Logger    *slog.Logger

	once   sync.Once
	wake   chan struct{}
	forced []time.Time // when something was held or ended
}

// The breaker: so many steps that hold or end in its span, and the next are not taken.
const (
	breakerSpan = 10 * time.Minute
	breakerMost = 10
	checkEvery  = time.Second
)

func (s *Service) waker() chan struct{} {
	s.once.Do(func() { s.wake = make(chan struct{}, 1) })
	return s.wake
}

// Wake says that there is a finding. It never waits.
func (s *Service) Wake() {
	select {
	case s.waker() <- struct{}{}:
	default:
	}
}

// Run answers findings as they come until ctx ends. What fails is logged and tried again.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := s.Answer(ctx); err != nil && ctx.Err() == nil {
			s.Logger.ErrorContext(ctx, "a finding could not be answered and is tried again", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-s.waker():
		case <-tick.C:
		}
	}
}

// Answer does what is due for every finding that waits, the oldest first. One that cannot be answered now keeps none of the
// others waiting: it might be made to fail by whom the next one is about.
func (s *Service) Answer(ctx context.Context) error {
	waiting, err := s.Findings.Findings(ctx, detect.Filter{State: detect.New, Oldest: true})
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range waiting {
		if err := s.answer(ctx, f); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.ID, err))
		}
	}
	return errors.Join(errs...)
}

// answer takes the steps of one finding. Each is kept when it is done, so that after a failure it is not taken again.
func (s *Service) answer(ctx context.Context, f detect.Finding) error {
	for _, step := range s.Table[f.Rule] {
		if slices.ContainsFunc(f.Did, func(d string) bool { return strings.HasPrefix(d, step.String()+":") }) {
			continue
		}
		did, err := s.take(ctx, f, step)
		if err != nil {
			return err
		}
		entry := step.String() + ": " + did
		if f, err = s.Findings.Update(ctx, f.ID, func(f *detect.Finding) error { f.Did = append(f.Did, entry); return nil }); err != nil {
			return err
		}
	}
	_, err := s.Findings.Update(ctx, f.ID, func(f *detect.Finding) error {
		if f.State == detect.New {
			f.State = detect.Answered
		}
		return nil
	})
	return err
}

func (s *Service) take(ctx context.Context, f detect.Finding, step Step) (string, error) {
	why := f.Rule + " (" + f.ID + ")"
	switch step.Verb {
	case Notify:
		if f.Who == "" {
			return "nobody is known to tell", nil
		}
		return s.Means.Notify(ctx, f)
	case Alert:
		return s.Means.Alert(ctx, f, f.Text)
	case Raise:
		target := raisable(f)
		if target == "" {
			return "nobody is known", nil
		}
		return s.Means.Raise(ctx, target, step, why)
	case Hold, End:
		return s.force(ctx, f, step, why)
	}
	return "", fmt.Errorf("no step %q", step.Verb)
}

// force holds or ends, unless that happens too often or to whoever holds the last way in.
func (s *Service) force(ctx context.Context, f detect.Finding, step Step, why string) (string, error) {
	now := s.Clock()
	s.forced = slices.DeleteFunc(s.forced, func(at time.Time) bool { return now.Sub(at) > breakerSpan })
	if len(s.forced) >= breakerMost {
		if _, err := s.Means.Alert(ctx, f, fmt.Sprintf("more than %d holds and ended sessions in %s: %s is left to a person", breakerMost, breakerSpan, step)); err != nil {
			return "", err
		}
		return "left to a person: too many in a short time", nil
	}
	if step.Verb == End {
		did, err := s.Means.End(ctx, f)
		return s.counted(now, did, err)
	}
	if s.Protected != nil && f.Who != "" {
		if protected, err := s.Protected(ctx, f.Who); err != nil {
			return "", err
		} else if protected {
			return "left to a person: they hold the last way in", nil
		}
	}
	target := holdable(f)
	if target == "" {
		return "nothing that could be held is known", nil
	}
	did, err := s.Means.Hold(ctx, target, why, step.For)
	return s.counted(now, did, err)
}

// counted counts what was done, and not what failed: that is tried again each second.
func (s *Service) counted(now time.Time, did string, err error) (string, error) {
	if err == nil {
		s.forced = append(s.forced, now)
	}
	return did, err
}

// raisable is whose risk is raised: the device that a finding is about, else the person.
func raisable(f detect.Finding) string {
	if strings.HasPrefix(f.Subject, "device:") && f.Who == "" {
		return f.Subject
	}
	if f.Who.Kind() == sallyport.User {
		return string(f.Who)
	}
	return ""
}

// holdable is what can be held of a finding.
func holdable(f detect.Finding) string {
	switch kind, _, _ := strings.Cut(f.Subject, ":"); kind {
	case "session", "family", "device", "user", "service", "agent":
		return f.Subject
	}
	return string(f.Who)
}

// Undo takes back what can be taken back of a finding that was nothing: what was raised is cleared, what was held is
// lifted by the person who closes it. It returns what it did.
func (s *Service) Undo(ctx context.Context, f detect.Finding, by sallyport.Principal) ([]string, error) {
	var undone []string
	for _, did := range f.Did {
		step, what, _ := strings.Cut(did, ": ")
		id, _, _ := strings.Cut(what, " ")
		var err error
		switch verb, _, _ := strings.Cut(step, "="); {
		case verb == string(Raise) && strings.HasPrefix(id, "K-"):
			err = s.Means.Clear(ctx, id, by.ID)
		case verb == string(Hold) && strings.HasPrefix(id, "H-"):
			err = s.Means.Lift(ctx, id, "found to be nothing: "+f.ID, by)
		default:
			continue
		}
		switch kind := sallyport.KindOf(err); {
		case err == nil:
			undone = append(undone, id)
		case kind == sallyport.NotFound || kind == sallyport.Conflict: // it is over already
		default:
			return undone, err
		}
	}
	return undone, nil
}
