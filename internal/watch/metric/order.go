package metric

import (
	"slices"
	"strings"
	"time"

	"sallyport"
)

// A Kind is a kind of order that takes a right away.
type Kind string

// The kinds.
const (
	Lock    Kind = "lock"    // a hold was placed, by a person or by the answer to a finding
	Leave   Kind = "leave"   // somebody left, or their account was removed
	Suspend Kind = "suspend" // an account was suspended
	SCIM    Kind = "scim"    // a provider disabled or deleted a user
	Logout  Kind = "logout"  // somebody ended all their sessions
	Session Kind = "session" // one session or login was ended
	Signal  Kind = "signal"  // a partner's event (CAEP) ended sessions
	Report  Kind = "report"  // somebody reported a loss or somebody else's doing
	Grant   Kind = "grant"   // a grant was taken back
	Task    Kind = "task"    // the task of a grant is over
	Device  Kind = "device"  // a device was removed
	Policy  Kind = "policy"  // another policy set was put in force
)

// Kinds returns all kinds, in the order in which they are shown.
func Kinds() []Kind {
	return []Kind{Lock, Leave, Suspend, SCIM, Logout, Session, Signal, Report, Grant, Task, Device, Policy}
}

// Types are the events that give orders.
func Types() []sallyport.EventType {
	return []sallyport.EventType{sallyport.EventHoldPlaced, sallyport.EventLeft, sallyport.EventSessionRevoked, sallyport.EventSignalReceived,
		sallyport.EventReported, sallyport.EventGrantRevoked, sallyport.EventGrantEnded, sallyport.EventDeviceRemoved, sallyport.EventPolicyActivated}
}

// An order is what an event orders.
type order struct {
	kind  Kind
	event sallyport.Logged
	given time.Time
	takes []string // in the words of facts.Snapshot.Took
	read  time.Time
}

// orderOf reads the order of an event; false where it takes nothing away at once. provider reports whose word SCIM is.
func orderOf(e sallyport.Logged, provider func(sallyport.PrincipalID) bool) (order, bool) {
	o := order{event: e, given: e.OrderedAt()}
	switch e.Type {
	case sallyport.EventHoldPlaced:
		o.kind, o.takes = Lock, []string{"hold:" + e.Detail["hold"]}
	case sallyport.EventLeft:
		o.kind, o.takes = Leave, []string{e.On}
		if e.Detail["extent"] == "pause" {
			o.kind = Suspend
		}
		if provider(e.Who) {
			o.kind = SCIM
		}
	case sallyport.EventSessionRevoked:
		o.kind, o.takes = Session, ended(e)
		if e.Detail["everywhere"] != "" {
			o.kind = Logout
		}
	case sallyport.EventSignalReceived:
		o.kind, o.takes = Signal, sessions(e.Detail["ends"])
	case sallyport.EventReported:
		o.kind, o.takes = Report, sessions(e.Detail["ends"])
		if strings.HasPrefix(e.On, "device:") {
			o.takes = append(o.takes, e.On)
		}
	case sallyport.EventGrantRevoked, sallyport.EventGrantEnded:
		o.kind, o.takes = Grant, []string{"grant:" + e.Detail["grant"]}
		if e.Type == sallyport.EventGrantEnded {
			o.kind = Task
		}
	case sallyport.EventDeviceRemoved:
		o.kind, o.takes = Device, []string{e.On}
	case sallyport.EventPolicyActivated:
		o.kind, o.takes = Policy, []string{"policy:" + e.On}
	}
	return o, len(o.takes) > 0
}

// ended are the sessions and logins of a record of their end: named by what it is about, in a list, or as those of the caller.
func ended(e sallyport.Logged) []string {
	switch {
	case strings.HasPrefix(e.On, "session:"):
		return []string{e.On}
	case e.Detail["sessions"] != "":
		return sessions(e.Detail["sessions"])
	case e.Asked != nil && e.Asked.Session != "":
		return []string{"session:" + e.Asked.Session}
	}
	return nil
}

func sessions(ids string) []string {
	all := strings.Fields(ids)
	for i, id := range all {
		all[i] = "session:" + id
	}
	slices.Sort(all)
	return slices.Compact(all)
}
