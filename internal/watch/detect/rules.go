package detect

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/risk"
)

// A Rule is one tripwire, as data.
type Rule struct {
	Name     string
	Severity Severity
	Text     string // what a finding of it says
	// Certain rules rest on evidence that is not chance: only they may end a session or hold anything.
	Certain    bool
	Techniques []string      // MITRE ATT&CK
	Once       time.Duration // a subject is found again after this

	look func(*Detector, *sallyport.Logged) (hit, bool)
}

// A hit is what a rule saw.
type hit struct {
	subject   string
	evidence  []uint64 // nil: the event itself
	detail    map[string]string
	anonymous bool   // it is about nobody in particular
	on        string // the assets of calls, separated by a space; "": the event's
}

// The spans and counts of the rules.
const (
	atOnce     = 10 * time.Minute // two places within it, and back, are two places at once
	burst      = 5 * time.Minute
	manyDenied = 20
	sprayed    = 5 // accounts
)

// The names of the rules.
const (
	TokenReused      = "token-reused"
	TokenTheft       = "token-theft"
	ImpossibleTravel = "impossible-travel"
	SharedCredential = "shared-credential"
	ProofReplayed    = "proof-replayed"
	ProofRepeated    = "proof-repeated"
	TwoDevices       = "two-devices"
	DisabledAccount  = "disabled-account"
	ClonedPasskey    = "cloned-passkey"
	DenialBurst      = "denial-burst"
	Probing          = "probing"
	PasswordSpray    = "password-spray"
	Reported         = "reported"
	UIBypass         = "ui-bypass"
	ApprovalVoid     = "approval-void"
	RolesApart       = "roles-apart"
	PastTheRecord    = "past-the-record"
	Drift            = "drift"
)

// Rules returns every tripwire.
func Rules() []Rule {
	return []Rule{
		{TokenReused, High, "A refresh token was used a second time: somebody else has a copy of it.", true, []string{"T1528", "T1550.001"}, time.Hour, onType(sallyport.EventTokenReused)},
		{TokenTheft, High, "A token or a device's key was used by somebody who does not hold its key.", true, []string{"T1528", "T1550.001"}, 10 * time.Minute, onType(sallyport.EventTokenTheft)},
		{ProofReplayed, High, "A proof of possession was shown again from another network: somebody reads what is sent.", true, []string{"T1528", "T1557"}, 10 * time.Minute, replayed(true)},
		{ProofRepeated, Medium, "A proof of possession was shown twice: a copy of it, or a client that sends again.", false, []string{"T1528", "T1557"}, time.Hour, replayed(false)},
		{ImpossibleTravel, High, "A sign-in came from farther away than anybody travels in the time.", true, []string{"T1078"}, time.Hour, travelled},
		{SharedCredential, High, "One session, one device or one credential of a service was used from two networks at once.", true, []string{"T1078", "T1539"}, time.Hour, shared},
		{TwoDevices, Info, "One identity was used on two devices at once.", false, []string{"T1078"}, 12 * time.Hour, twoDevices},
		{DisabledAccount, Medium, "Somebody tried to use an account that is not active.", false, []string{"T1078"}, time.Hour, disabled},
		{ClonedPasskey, High, "A passkey's counter went back: it exists twice.", true, []string{"T1556.006"}, time.Hour, onType(sallyport.EventCloned)},
		{DenialBurst, Medium, "Many refusals in a short time: somebody tries what they may not do.", false, []string{"T1069", "T1580"}, time.Hour, denials},
		{Probing, Medium, "Many requests that no route covers: somebody looks for a way in.", false, []string{"T1595"}, time.Hour, probing},
		{PasswordSpray, Medium, "One network failed to sign in to many accounts.", false, []string{"T1110.003"}, time.Hour, spray},
		{ApprovalVoid, High, "Something is kept as approved, and its approval does not verify: somebody wrote to the store by hand.", true, []string{"T1098", "T1565.001"}, 24 * time.Hour, onType(sallyport.EventApprovalVoid)},
		{RolesApart, Medium, "An identity provider gives somebody a group whose roles are kept apart from theirs: they are signed in without it.", false, nil, 24 * time.Hour, withheld},
		{PastTheRecord, High, "Something is not as it is meant to be, and the log has no record of the change: somebody wrote to the store or to the configuration by hand.", false, []string{"T1098", "T1565.001"}, time.Minute, drifted(false)},
		{Drift, Medium, "Something was changed beside what is declared.", false, []string{"T1098"}, time.Minute, drifted(true)},
		{UIBypass, Medium, "A form was sent that its page did not offer, and it was refused: somebody goes around the pages.", false, []string{"T1548"}, 10 * time.Minute, onType(sallyport.EventBypassed)},
		{Reported, High, "Somebody reported a loss, a theft or phishing.", false, nil, time.Minute, reported},
	}
}

// RuleNamed returns a rule.
func RuleNamed(name string) (Rule, bool) {
	for _, r := range Rules() {
		if r.Name == name {
			return r, true
		}
	}
	return Rule{}, false
}

// subject is what an event of a token is about: the narrowest that can be ended.
func subject(e *sallyport.Logged) string {
	kind, _, _ := strings.Cut(e.On, ":")
	switch a := e.Asked; {
	case kind == "family" || kind == "session" || kind == "device":
		return e.On
	case a != nil && a.Family != "":
		return "family:" + a.Family
	case a != nil && a.Session != "":
		return "session:" + a.Session
	case e.Who != "":
		return string(e.Who)
	}
	return e.On
}

// details of an event that a finding shows.
func details(e *sallyport.Logged) map[string]string {
	d := map[string]string{}
	for k, v := range e.Detail {
		d[k] = v
	}
	if e.Asked != nil {
		for k, v := range map[string]string{"ip": e.Asked.IP, "session": e.Asked.Session, "family": e.Asked.Family, "door": e.Asked.Door} {
			if v != "" {
				d[k] = v
			}
		}
		if e.Asked.Device != nil {
			d["device"] = e.Asked.Device.ID
		}
	}
	return d
}

// onType finds every event of a type: what wrote it knew that it is theft.
func onType(t sallyport.EventType) func(*Detector, *sallyport.Logged) (hit, bool) {
	return func(_ *Detector, e *sallyport.Logged) (hit, bool) {
		return hit{subject: subject(e), detail: details(e)}, e.Type == t
	}
}

// replayed finds a proof that was shown twice: from two networks, or otherwise. A connection that breaks makes some clients
// send the same again, and anybody can show the token endpoint proofs by a key of their own: that takes many.
func replayed(elsewhere bool) func(*Detector, *sallyport.Logged) (hit, bool) {
	return func(d *Detector, e *sallyport.Logged) (hit, bool) {
		if e.Type != sallyport.EventProofReplayed || d.apart(e.Detail["from.ip"], e.Detail["last.ip"]) != elsewhere {
			return hit{}, false
		}
		if e.Who == "" {
			return d.count(ProofRepeated, e)
		}
		return hit{subject: subject(e), detail: details(e)}, true
	}
}

// apart reports whether two addresses are of two networks. Two kinds of addresses (IPv4 and IPv6) of one machine are not.
func (d *Detector) apart(a, b string) bool {
	if a == "" || b == "" || strings.Contains(a, ":") != strings.Contains(b, ":") {
		return false
	}
	one, other := d.Network(a), d.Network(b)
	return one != "" && other != "" && one != other
}

// drifted finds what is not as it is meant to be: with a record of who changed it, or without.
func drifted(recorded bool) func(*Detector, *sallyport.Logged) (hit, bool) {
	return func(_ *Detector, e *sallyport.Logged) (hit, bool) {
		ok := e.Type == sallyport.EventDriftFound && contains(e.Reasons, "drift.recorded") == recorded
		return hit{subject: e.On, detail: details(e)}, ok
	}
}

func travelled(_ *Detector, e *sallyport.Logged) (hit, bool) {
	ok := e.Type == sallyport.EventRiskChanged && e.Who != "" && len(e.Reasons) > 0 && contains(e.Reasons, string(risk.Travel))
	return hit{subject: string(e.Who), detail: details(e)}, ok
}

func withheld(_ *Detector, e *sallyport.Logged) (hit, bool) {
	return hit{subject: string(e.Who), detail: details(e)}, e.Type == sallyport.EventRefused && slices.Contains(e.Reasons, "roles.apart")
}

func reported(_ *Detector, e *sallyport.Logged) (hit, bool) {
	return hit{subject: e.On, detail: details(e)}, e.Type == sallyport.EventReported
}

// shared finds a session or an enrolled device that is in two networks by turns: a laptop that changes its network does
// not go to and fro within minutes.
func shared(d *Detector, e *sallyport.Logged) (hit, bool) {
	if h, ok := d.service(e); ok {
		return h, true
	}
	if e.Type != sallyport.EventDecided || e.Asked == nil {
		return hit{}, false
	}
	network := d.Network(e.Asked.IP)
	if network == "" {
		return hit{}, false
	}
	subjects := []string{}
	if e.Asked.Device != nil && e.Asked.Device.ID != "" {
		subjects = append(subjects, "device:"+e.Asked.Device.ID)
	}
	if e.Asked.Session != "" {
		subjects = append(subjects, "session:"+e.Asked.Session)
	} else if e.Asked.Family != "" {
		subjects = append(subjects, "family:"+e.Asked.Family)
	}
	for _, s := range subjects {
		// Two kinds of addresses (IPv4 and IPv6) of one machine are no two networks: each is compared with its own kind.
		key := SharedCredential + " " + s + " " + strconv.FormatBool(strings.Contains(e.Asked.IP, ":"))
		if marks, ok := d.back(key, atOnce, mark{e.Time(), network, e.Seq}); ok {
			h := hit{subject: s, evidence: marks, detail: details(e)}
			h.detail["networks"] = d.values(key)
			d.seen.forget(key)
			return h, true
		}
	}
	return hit{}, false
}

func twoDevices(d *Detector, e *sallyport.Logged) (hit, bool) {
	if e.Type != sallyport.EventDecided || e.Who == "" || e.Asked == nil || e.Asked.Device == nil || e.Asked.Device.ID == "" {
		return hit{}, false
	}
	key := TwoDevices + " " + string(e.Who)
	marks, ok := d.back(key, atOnce, mark{e.Time(), e.Asked.Device.ID, e.Seq})
	if !ok {
		return hit{}, false
	}
	h := hit{subject: string(e.Who), evidence: marks, detail: map[string]string{"devices": d.values(key)}}
	d.seen.forget(key)
	return h, true
}

// back remembers a value and reports whether values that were left for another came back twice within the span: once is
// somebody whose connection changed and changed again. Only changes are remembered: who stays where they are fills nothing.
func (d *Detector) back(key string, span time.Duration, k mark) ([]uint64, bool) {
	if old := d.seen.marks[key]; len(old) > 0 && old[len(old)-1].value == k.value {
		old[len(old)-1].at = k.at
		return nil, false
	}
	marks := d.seen.add(key, span, k)
	return seqs(marks), returns(marks) >= 2
}

// returns counts how often marks come back to a value that they had.
func returns(marks []mark) int {
	n, known := 0, map[string]bool{}
	for _, m := range marks {
		if known[m.value] {
			n++
		}
		known[m.value] = true
	}
	return n
}

// values are the values that are remembered, each once.
func (d *Detector) values(key string) string {
	var all []string
	for _, m := range d.seen.marks[key] {
		if !contains(all, m.value) {
			all = append(all, m.value)
		}
	}
	return strings.Join(all, " ")
}

// disabled finds the proof of somebody who may not act, good as it was.
func disabled(_ *Detector, e *sallyport.Logged) (hit, bool) {
	ok := (e.Type == sallyport.EventSignInFailed || e.Type == sallyport.EventRefused) && e.Who != "" && len(e.Reasons) > 0
	if ok {
		switch e.Reasons[0] {
		case "member.inactive", "principal.suspended", "principal.ended", "principal.unknown", "person.inactive", "sponsor.inactive", "actor.inactive":
		default:
			ok = false
		}
	}
	return hit{subject: string(e.Who), detail: details(e)}, ok
}

// who is whom an event is about: the principal, or the network of somebody unknown.
func (d *Detector) who(e *sallyport.Logged) (subject string, anonymous bool) {
	if e.Who != "" {
		return string(e.Who), false
	}
	if e.Asked == nil || d.Network(e.Asked.IP) == "" {
		return "", true
	}
	return "network:" + d.Network(e.Asked.IP), true
}

func denials(d *Detector, e *sallyport.Logged) (hit, bool) {
	if e.Type != sallyport.EventDecided || e.Outcome != sallyport.Deny.String() {
		return hit{}, false
	}
	return d.count(DenialBurst, e)
}

func probing(d *Detector, e *sallyport.Logged) (hit, bool) {
	if e.Type != sallyport.EventUnmapped {
		return hit{}, false
	}
	return d.count(Probing, e)
}

// count finds the event that makes a burst full.
func (d *Detector) count(rule string, e *sallyport.Logged) (hit, bool) {
	s, anonymous := d.who(e)
	if s == "" {
		return hit{}, false
	}
	key := rule + " " + s
	marks, on := d.seen.add(key, burst, mark{e.Time(), e.On, e.Seq}), d.values(key)
	if len(marks) < manyDenied {
		return hit{}, false
	}
	d.seen.forget(key)
	return hit{subject: s, evidence: seqs(marks), anonymous: anonymous, on: on, detail: map[string]string{"count": strconv.Itoa(len(marks)), "within": burst.String()}}, true
}

// spray finds one network that fails on many accounts.
func spray(d *Detector, e *sallyport.Logged) (hit, bool) {
	if e.Type != sallyport.EventSignInFailed || e.Asked == nil || e.Asked.IP == "" || e.Who == "" {
		return hit{}, false
	}
	key := PasswordSpray + " " + e.Asked.IP // the door keeps it shortened already
	marks := d.seen.add(key, atOnce, mark{e.Time(), string(e.Who), e.Seq})
	people := map[string]bool{}
	for _, m := range marks {
		people[m.value] = true
	}
	if len(people) < sprayed {
		return hit{}, false
	}
	d.seen.forget(key)
	return hit{subject: "network:" + e.Asked.IP, evidence: seqs(marks), anonymous: true, detail: map[string]string{"accounts": strconv.Itoa(len(people))}}, true
}

func seqs(marks []mark) []uint64 {
	all := make([]uint64, len(marks))
	for i, m := range marks {
		all[i] = m.seq
	}
	return all
}

func contains(all []string, s string) bool {
	for _, x := range all {
		if x == s {
			return true
		}
	}
	return false
}
