package sallyport

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// An EventType names what happened.
type EventType string

// The events of the guard. A decided event is durable before the effect it
// permits; a completed event says what was really delivered.
const (
	EventFacts     EventType = "facts"     // a basis of decisions, written once, under its content hash
	EventPolicy    EventType = "policy"    // a policy set, in parts, written when it becomes active
	EventDecided   EventType = "decided"   // a decision, whatever its outcome
	EventCompleted EventType = "completed" // the end of a permitted call
	EventCut       EventType = "cut"       // a permit was withdrawn while its call was running
	EventRefused   EventType = "refused"   // no decision was made: no valid proof, or an unreadable request
	EventUnmapped  EventType = "route.unmapped"
	EventSearched  EventType = "decision.searched" // an enforcement point asked who may, or what somebody may; Detail says what
	EventAlarm     EventType = "alarm"             // something an operator must look at
)

// The events of who asks.
const (
	EventSignedIn       EventType = "signin.succeeded"
	EventSignInFailed   EventType = "signin.failed"
	EventEnrolled       EventType = "credential.enrolled"
	EventTokenIssued    EventType = "token.issued"
	EventTokenReused    EventType = "token.reused" // a rotated refresh token came back: theft
	EventTokenRevoked   EventType = "token.revoked"
	EventSessionRevoked EventType = "session.revoked"
	EventTokenTheft     EventType = "token.theft"    // a bound token or a device's key was used by somebody else
	EventProofReplayed  EventType = "proof.replayed" // a proof of possession (DPoP) was shown a second time
	EventSteppedUp      EventType = "signin.stepup"  // a session was raised by a further proof
	EventSignedOut      EventType = "signin.out"     // a person ended a session
	EventFactorChanged  EventType = "credential.changed"
	EventCloned         EventType = "credential.cloned" // a passkey's counter went back
	EventRecovery       EventType = "credential.recovery"
	EventDeviceEnrolled EventType = "device.enrolled"
	EventDeviceRenewed  EventType = "device.renewed"
	EventDevicePosture  EventType = "device.posture" // what a device reported of itself has changed
	EventDeviceRemoved  EventType = "device.removed"
	EventIdentityLinked EventType = "identity.linked" // an upstream identity was taken for a member
	EventJoined         EventType = "identity.joined"
	EventMoved          EventType = "identity.moved"
	EventLeft           EventType = "identity.left"
	EventSignalReceived EventType = "signal.received" // a security event token (RFC 8417) of a partner
	EventSignalSent     EventType = "signal.sent"
	EventRiskChanged    EventType = "risk.changed"
	EventFinding        EventType = "finding"  // something unusual, with its evidence in Detail
	EventReported       EventType = "reported" // a person reported a loss, a theft or phishing
	EventBreakGlass     EventType = "breakglass"
	EventTrained        EventType = "training.recorded" // the person in On was trained, or no longer counts as trained; Detail says when
	EventDrill          EventType = "drill"             // somebody joined or left drills, one was started, or somebody answered one; Detail says which
	EventLooked         EventType = "looked"            // somebody read what the log holds about the person in On
)

// The events of changing rights.
const (
	EventGrantRequested EventType = "grant.requested"
	EventGrantVoted     EventType = "grant.voted"
	EventGrantRevoked   EventType = "grant.revoked"
	EventGrantEnded     EventType = "grant.ended"      // the task that it was for is over
	EventApprover       EventType = "approver.changed" // whose keys sign approvals, with the entry of the chain
	EventApprovalVoid   EventType = "approval.void"    // something is kept as approved, and its approval does not verify
	EventBypassed       EventType = "ui.bypassed"      // a form that the page did not offer was sent, and the decision named refused it
	EventHoldPlaced     EventType = "hold.placed"
	EventHoldLifted     EventType = "hold.lifted"
	EventPolicyProposed EventType = "policy.proposed"
	EventPolicySigned   EventType = "policy.signed" // its author's signature over a proposal, which counts as nobody's vote
	EventPolicyVoted    EventType = "policy.voted"
	// EventPolicyActivated is an epoch: the set in On is in force from here on, for the reason and by the request in Detail.
	EventPolicyActivated EventType = "policy.activated"
	EventChanged         EventType = "changed"        // directory, role, catalog or label, named in Detail
	EventDriftDeclared   EventType = "drift.declared" // what is meant to be has changed; On is its hash
	EventDriftFound      EventType = "drift.found"    // the item in On is not what it is meant to be; Who and Decision are of whoever changed it, where a record says so
	EventDriftEnded      EventType = "drift.ended"    // it is again
	EventDriftFixed      EventType = "drift.fixed"    // an approved request put the item in On right, one way or the other
	// EventInForce says that this node acts by the order of an earlier event; Detail has its kind, its number and how long that took.
	EventInForce   EventType = "order.inforce"
	EventAdmission EventType = "admission.reviewed" // a cluster was told whether an object may be let in, named in Detail
)

// An Event is one entry of the trail. It is written as a JSON object with short
// names, because two of them are kept for every call. The trail adds the name of
// the log and the sequence number as the first members.
type Event struct {
	Type        EventType         `json:"t"`
	At          int64             `json:"at"` // microseconds since 1970, UTC
	Decision    string            `json:"d,omitempty"`
	Who         PrincipalID       `json:"who,omitempty"`
	Action      Action            `json:"a,omitempty"`
	On          string            `json:"on,omitempty"` // the resource's pinned name, or what was asked for
	Outcome     string            `json:"o,omitempty"`
	Facts       string            `json:"f,omitempty"` // content hash of the basis
	Reasons     []string          `json:"r,omitempty"`
	Errors      []string          `json:"e,omitempty"` // policies that could not be evaluated
	Obligations []string          `json:"ob,omitempty"`
	Needs       string            `json:"needs,omitempty"`
	Asked       *Asked            `json:"q,omitempty"`
	Delivered   *Delivered        `json:"n,omitempty"`
	Detail      map[string]string `json:"x,omitempty"`
	Basis       json.RawMessage   `json:"basis,omitempty"`
}

// Asked is the part of a question that is new in each call.
type Asked struct {
	Door      string `json:"w,omitempty"`
	IP        string `json:"ip,omitempty"`
	File      string `json:"p,omitempty"`
	Scope     string `json:"sc,omitempty"`
	Assurance int    `json:"al,omitempty"`
	AuthTime  int64  `json:"au,omitempty"` // seconds since 1970
	Session   string `json:"s,omitempty"`
	Family    string `json:"fm,omitempty"`
	Staleness int64  `json:"st,omitempty"` // milliseconds

	Client  string       `json:"cl,omitempty"`
	Actors  string       `json:"ac,omitempty"` // ids, the present actor first, separated by one space
	ActedOn string       `json:"af,omitempty"` // content hashes of the actors' bases, in the same order
	Bound   bool         `json:"bd,omitempty"`
	Purpose string       `json:"pu,omitempty"`
	Network string       `json:"nw,omitempty"` // the operator's label of the address
	Risk    int          `json:"rk,omitempty"` // 0 to 100
	Device  *AskedDevice `json:"dv,omitempty"`

	Working  bool   `json:"wk,omitempty"` // inside the calendar's working hours
	Country  string `json:"co,omitempty"` // ISO 3166-1 of the address
	To       string `json:"to,omitempty"` // the environment that the action brings it into, "-" where nobody said; "" for actions that bring nothing anywhere, and in logs from before it was asked
	Carries  string `json:"ca,omitempty"` // kinds of obligations that the door can carry out, one space between, "none"; only where one was asked for
	Opinions string `json:"op,omitempty"` // of decision points elsewhere: their names with + or - behind, one space between
	History  string `json:"h,omitempty"`  // bytes, denials, models and exports in 10 minutes, 24 hours and 30 days: twelve numbers, one space between
	Trained  int64  `json:"tr,omitempty"` // when the person behind it was last trained, seconds since 1970
}

// AskedDevice is what was known of the caller's device.
type AskedDevice struct {
	ID      string `json:"id"`
	Class   string `json:"c,omitempty"`
	Level   int    `json:"l,omitempty"`
	Posture int64  `json:"pa,omitempty"` // age of its posture in seconds, -1 when there is none
	OS      string `json:"os,omitempty"`
	Good    string `json:"g,omitempty"` // what it reports as in order, of "encrypted", "locked", "patched", separated by one space
}

// Delivered is what a permitted call really did.
type Delivered struct {
	Status    int    `json:"c,omitempty"` // of the protocol, for example 206
	Bytes     int64  `json:"b,omitempty"` // of the body, handed to the client's connection
	Ranges    string `json:"rg,omitempty"`
	TokensIn  int64  `json:"ti,omitempty"`
	TokensOut int64  `json:"to,omitempty"`
	AfterCut  int64  `json:"ac,omitempty"`  // bytes handed over after the order to stop
	Micros    int64  `json:"us,omitempty"`  // duration
	End       string `json:"end,omitempty"` // "" when it ended well; "cut", "client", "upstream", "error"
}

// Time returns when the event happened.
func (e Event) Time() time.Time { return time.UnixMicro(e.At).UTC() }

// Ordered is the name in Detail of when an order was given, in microseconds since 1970, where its event is written after what it
// orders was done.
const Ordered = "ordered"

// OrderedAt returns when the order that the event tells of was given.
func (e Event) OrderedAt() time.Time {
	if micros, err := strconv.ParseInt(e.Detail[Ordered], 10, 64); err == nil {
		return time.UnixMicro(micros).UTC()
	}
	return e.Time()
}

// Encode returns the event as a JSON object.
func (e Event) Encode() ([]byte, error) {
	if e.Detail == nil && e.Basis == nil {
		return e.append(make([]byte, 0, 512)), nil
	}
	b, err := json.Marshal(e)
	if err != nil {
		return nil, Wrap("encode event", Other, string(e.Type), err)
	}
	return b, nil
}

// A Logged event is an event as it stands in the trail.
type Logged struct {
	Log string `json:"log"`
	Seq uint64 `json:"seq"`
	Event
}

// DecodeLogged reads a leaf of the trail. It is strict about nothing but JSON:
// leaves of later versions stay readable.
func DecodeLogged(leaf []byte) (Logged, error) {
	var l Logged
	if err := json.Unmarshal(leaf, &l); err != nil {
		return Logged{}, Wrap("decode event", Invalid, "the leaf is not an event", err)
	}
	return l, nil
}

// OneLine makes s safe for one line of a terminal or log: control characters and
// line breaks become spaces, and it is clipped. What others wrote goes through it
// before it is shown.
func OneLine(s string) string { return Flat(clip(s)) }

// Flat is OneLine of a text whose length is limited elsewhere: nothing of it is clipped.
func Flat(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff {
			return ' '
		}
		return r
	}, s)
}
