package decision

import (
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// Limits on the texts of a question, in bytes.
const (
	maxDoor  = 64
	maxFile  = 1024
	maxProof = 256 // session, family, client, purpose, network, device
)

// maxActors is how many may stand in a chain of delegation.
const maxActors = 4

// The levels of a device, as policy.Device.Level.
const (
	levelBound = iota + 1
	levelSoftware
	levelHardware
)

// ageUnknown is the age of a proof whose time is not known, in seconds.
const ageUnknown = 1 << 40

// StalenessLimit is how old the snapshot behind a decision may be. What has no
// class counts as restricted.
func StalenessLimit(c sallyport.Class) time.Duration {
	switch c {
	case sallyport.Public:
		return 10 * time.Minute
	case sallyport.Internal:
		return time.Minute
	}
	return 5 * time.Second
}

// Decide answers the question, and looks for a way out of a refusal. It never fails and permits only what the policies
// permit on whole, fresh facts; see the package comment for the order of the
// rules. It is safe for concurrent use.
func Decide(engine policy.Engine, f Facts) sallyport.Decision {
	d := Judge(engine, f)
	d.Remedies, d.Otherwise = Remedies(engine, f, d)
	return d
}

// Judge is Decide without the remedies, which cost more than the decision.
func Judge(engine policy.Engine, f Facts) sallyport.Decision {
	ip, d := f.settle(engine)
	if len(d.Reasons) > 0 {
		return d
	}
	if !f.Scope.Covers(f.Action, f.Resource) {
		return refuse(engine, sallyport.Deny, TokenScope)
	}
	d = f.narrowed(engine, ip, f.evaluate(engine, f.query(ip), &f.Question))
	if d.Outcome == sallyport.StepUp {
		return steppedUp(engine, f, ip, d)
	}
	return f.Carried(f.heeded(engine, d))
}

// steppedUp says how much proof would do, after trying it: a step-up that leads to a denial is a prompt for nothing. It
// takes its own copy of the facts, so that those of most questions stay off the heap.
func steppedUp(engine policy.Engine, f Facts, ip netip.Addr, d sallyport.Decision) sallyport.Decision {
	s := newSearch(engine, &f, ip)
	if level := s.stepUp(d.Needs); level > 0 {
		d.Needs, d.MaxAge = level, s.maxAge(level)
	} else {
		d.Outcome, d.Needs = sallyport.Deny, sallyport.NoAssurance
	}
	return d
}

// Remedies looks for ways out of d, which Judge said of the same facts: one in the first list, all of it together, others
// in the second. None is there where d allows.
func Remedies(engine policy.Engine, f Facts, d sallyport.Decision) ([]sallyport.Remedy, [][]sallyport.Remedy) {
	if d.Outcome == sallyport.Allow {
		return nil, nil
	}
	if len(d.Reasons) > 0 && strings.HasPrefix(d.Reasons[0].ID, opinionReason) {
		return []sallyport.Remedy{{Kind: sallyport.RemedyAsk, Text: "ask whoever answers for the decision point that refuses"}}, nil
	}
	return waysOut(engine, f, d)
}

func waysOut(engine policy.Engine, f Facts, d sallyport.Decision) ([]sallyport.Remedy, [][]sallyport.Remedy) {
	ask := func(text string) ([]sallyport.Remedy, [][]sallyport.Remedy) {
		return []sallyport.Remedy{{Kind: sallyport.RemedyAsk, Text: text}}, nil
	}
	ip, early := f.settle(engine)
	switch {
	case len(early.Reasons) == 0:
		d = newSearch(engine, &f, ip).remedied(d)
		return d.Remedies, d.Otherwise
	case early.Outcome == sallyport.Hold:
		if after, ok := f.afterHolds(); ok {
			s := newSearch(engine, after, ip)
			s.held = true
			if s.levers.Reads&policy.LeverHours != 0 && after.Turns == nil {
				return ask("a hold stands until " + after.At.UTC().Format(time.RFC3339) + "; ask again then")
			}
			if d = s.remedied(d); d.Remedies[0].Kind == sallyport.RemedyWait {
				return d.Remedies, d.Otherwise
			}
		}
		return ask("a hold stands until somebody else lifts it; ask a security reviewer")
	case slices.ContainsFunc(early.Reasons, func(r sallyport.Reason) bool { return r.ID == PrincipalInactive }):
		return ask("an administrator can say why this account may not act")
	case early.Reasons[0].ID == TargetMissing:
		return ask("say into which environment it goes: development, staging or production")
	case early.Reasons[0].ID == AgentAlone:
		return ask("exchange the agent's own proof and a person's token for a token on their behalf")
	}
	return nil, nil
}

// settle applies the rules before scope and policies. The decision has no reason where none of them refuses; f is then
// as it is recorded.
func (f *Facts) settle(engine policy.Engine) (netip.Addr, sallyport.Decision) {
	if engine == nil || !f.prepared() {
		return netip.Addr{}, refuse(engine, sallyport.Deny, FactsUnprepared)
	}
	f.At, f.AuthTime = stamp(f.At), stamp(f.AuthTime)
	if !f.Action.Valid() {
		return netip.Addr{}, refuse(engine, sallyport.Deny, ActionUnknown)
	}
	ip, ok := f.wellFormed()
	if !ok {
		return ip, refuse(engine, sallyport.Deny, QuestionInvalid)
	}
	if f.PrincipalID.Kind() == sallyport.Agent {
		return ip, refuse(engine, sallyport.Deny, AgentAlone)
	}
	if d := f.barred(engine, f.Basis); len(d.Reasons) > 0 {
		return ip, d
	}
	if f.Action.Enters() && f.To == "" && !f.former {
		return ip, refuse(engine, sallyport.Deny, TargetMissing)
	}
	for _, b := range f.Acting {
		if d := f.barred(engine, b); len(d.Reasons) > 0 {
			return ip, blamed(engine, d, b)
		}
	}
	if f.Staleness > StalenessLimit(f.Resource.Class) {
		return ip, refuse(engine, sallyport.Deny, FactsStale)
	}
	return ip, sallyport.Decision{}
}

// afterHolds are the facts when the last of the holds that bear has ended by itself; ok is false where one does not
// within a time that anybody waits.
func (f *Facts) afterHolds() (*Facts, bool) {
	end := f.At
	for _, b := range append([]*Basis{f.Basis}, f.Acting...) {
		for _, h := range f.bearing(b) {
			if h.Until.IsZero() {
				return nil, false
			}
			if h.Until.After(end) {
				end = h.Until
			}
		}
	}
	wait := end.Sub(f.At)
	if wait <= 0 || wait > maxWait {
		return nil, false
	}
	later := *f
	later.At = end
	if f.Turns != nil {
		later.Working = f.Working != (len(f.Turns(f.At, end))%2 == 1)
	}
	if later.Device.Posture >= 0 {
		later.Device.Posture += wait
	}
	return &later, true
}

// prepared reports whether there is a prepared basis for the principal and for
// each actor, all on the same resource.
func (f *Facts) prepared() bool {
	if f.Basis == nil || f.loaded == nil || len(f.Acting) != len(f.Actors) {
		return false
	}
	for i, b := range f.Acting {
		if b == nil || b.loaded == nil || b.PrincipalID != f.Actors[i] || b.Resource != f.Resource {
			return false
		}
	}
	return true
}

// barred is the refusal of one of those who act that needs no policy: inactive,
// on hold, or with facts of another policy set. It has no reason where none bars.
func (f *Facts) barred(engine policy.Engine, b *Basis) sallyport.Decision {
	if !b.Active {
		return refuse(engine, sallyport.Deny, PrincipalInactive)
	}
	if ids := f.holds(b); len(ids) > 0 {
		return refuse(engine, sallyport.Hold, ids...)
	}
	if b.Policy != engine.Version() {
		return refuse(engine, sallyport.Deny, PolicyVersion)
	}
	return sallyport.Decision{}
}

// refuse is a decision without evaluation.
func refuse(engine policy.Engine, o sallyport.Outcome, ids ...string) sallyport.Decision {
	d := sallyport.Decision{Outcome: o, Reasons: reasons(engine, ids)}
	if engine != nil {
		d.Policy = engine.Version()
	}
	return d
}

// wellFormed checks the limits of the question and reads the address.
func (f *Facts) wellFormed() (netip.Addr, bool) {
	ok := !f.At.IsZero() && f.Staleness >= 0 &&
		f.Assurance >= sallyport.NoAssurance && f.Assurance <= sallyport.Hardware &&
		len(f.Door) <= maxDoor && len(f.File) <= maxFile && len(f.Session) <= maxProof && len(f.Family) <= maxProof &&
		utf8.ValidString(f.Door) && utf8.ValidString(f.File) &&
		f.Risk >= 0 && f.Risk <= 100 && f.wellNamed() && f.wellCounted() && f.wellSaid() && f.wellAimed() && len(f.Carries) <= maxProof
	if !ok || f.IP == "" {
		return netip.Addr{}, ok
	}
	ip, err := netip.ParseAddr(f.IP)
	return ip, err == nil
}

// wellNamed checks what others have named: clients, networks, devices, actors. What
// could not be recorded whole is not decided on.
func (q *Question) wellNamed() bool {
	for _, text := range [...]string{q.Client, q.Purpose, q.Network, q.Device.ID, q.Device.Class, q.Device.OS} {
		if len(text) > maxProof || !utf8.ValidString(text) {
			return false
		}
	}
	for _, a := range q.Actors {
		if id, err := sallyport.ParsePrincipalID(string(a)); err != nil || id != a {
			return false
		}
	}
	return len(q.Actors) <= maxActors
}

// wellAimed checks where it goes.
func (q *Question) wellAimed() bool {
	_, err := sallyport.ParseEnvironment(q.target())
	return q.target() == "" || err == nil
}

// target is the environment that the action brings the resource into, "" for one that brings it into none.
func (q *Question) target() string {
	if !q.Action.Enters() {
		return ""
	}
	return string(q.To)
}

// wellCounted checks what was found out of an address and of the past.
func (q *Question) wellCounted() bool {
	for _, w := range [...]policy.Window{q.History.Short, q.History.Day, q.History.Month} {
		if min(w.Bytes, w.Denials, w.Models, w.Exports) < 0 {
			return false
		}
	}
	return q.Country == "" || len(q.Country) == 2 && q.Country[0] >= 'A' && q.Country[0] <= 'Z' && q.Country[1] >= 'A' && q.Country[1] <= 'Z'
}

// bearing returns the holds in b that bear on the call. A hold on a resource does not keep a reviewer from placing or
// lifting holds on it, nor an enforcement point from asking whether somebody may use it: the answer is that it is held.
func (f *Facts) bearing(b *Basis) []Hold {
	var bear []Hold
	for _, h := range b.Holds {
		onResource := !strings.Contains(" user service agent session family device ", " "+kindOf(h.Target)+" ")
		if onResource && (f.Action == sallyport.HoldLift || f.Action == sallyport.HoldPlace || f.Action == sallyport.DecisionAsk) {
			continue
		}
		if f.concerns(h.Target) {
			bear = append(bear, h)
		}
	}
	return bear
}

func kindOf(target string) string {
	kind, _, _ := strings.Cut(target, ":")
	return kind
}

// concerns reports whether a target in the basis is the call's. Sessions, tokens and devices are kept there for everybody,
// and every other one because it bears.
func (q *Question) concerns(target string) bool {
	kind, name, _ := strings.Cut(target, ":")
	switch kind {
	case "session":
		return name == q.Session
	case "family":
		return name == q.Family
	case "device":
		return name == q.Device.ID
	}
	return true
}

// holds returns the reasons of the holds in b that bear on the call.
func (f *Facts) holds(b *Basis) []string {
	var ids []string
	for _, h := range f.bearing(b) {
		ids = append(ids, "hold:"+h.ID)
	}
	return ids
}

// query is the question as the engine reads it, of the principal.
func (f *Facts) query(ip netip.Addr) policy.Query {
	device := f.Device.asked()
	if device.Level == 0 && f.Bound {
		device.Level = levelBound
	}
	return policy.Query{
		Principal: f.Principal,
		Action:    policy.UID{Type: "Action", ID: string(f.Action)},
		Resource:  f.ResourceUID,
		Context: policy.Context{
			Now: f.At, Assurance: f.Assurance, AuthAge: f.authAge(), IP: ip,
			Door: f.Door, File: f.File, Granted: f.Basis.granted(&f.Question), Session: f.Session != "",
			Bound: f.Bound, Client: f.Client, Actor: f.actor(), Purpose: f.Purpose, Network: f.Network, Risk: int64(f.Risk),
			Device: device, Working: f.Working, Country: f.Country, To: f.target(), Probation: len(f.Basis.probation(&f.Question)) > 0, History: f.History, Training: f.training(),
		},
	}
}

// training is how long ago the person was trained; one that is still to come has not been.
func (q *Question) training() policy.Training {
	if q.Trained.IsZero() || q.Trained.After(q.At) {
		return policy.Training{}
	}
	return policy.Training{Held: true, Days: int64(q.At.Sub(q.Trained) / (24 * time.Hour))}
}

// granted reports whether a grant of the basis covers the question.
func (b *Basis) granted(q *Question) bool {
	for i := range b.Grants {
		if b.Grants[i].Covers(q.Action, q.At) && b.Grants[i].reaches(q.File) {
			return true
		}
	}
	return false
}

// actor is who acts at present, "" when the principal does so itself.
func (q *Question) actor() string {
	if len(q.Actors) == 0 {
		return ""
	}
	return string(q.Actors[0])
}

// asked is the device as a policy sees it.
func (d Device) asked() policy.Device {
	age := int64(d.Posture / time.Second)
	if d.ID == "" || d.Posture < 0 {
		age = policy.NoPosture
	}
	if d.ID == "" {
		return policy.Device{Posture: age}
	}
	return policy.Device{Class: d.Class, Level: int64(d.Level), Posture: age, OS: d.OS, Encrypted: d.Encrypted, Locked: d.Locked, Patched: d.Patched}
}

// authAge is how long ago the caller proved themselves, in whole seconds. A proof
// from the future counts as fresh within a minute of clock skew, as unknown beyond.
func (f *Facts) authAge() int64 {
	const skew = time.Minute
	age := f.At.Sub(f.AuthTime)
	if f.AuthTime.IsZero() || age < -skew {
		return ageUnknown
	}
	return max(0, int64(age/time.Second))
}
