// Package past owns what somebody was at an instant, rebuilt from the log alone: state, owner, groups, roles, grants and
// devices (ID-5: the directory's history is the log's, and nobody keeps another).
//
// It is a fold over events in their order. What happened before the log began, and what a later version records in
// words that this one does not know, it cannot tell; Known says from when on it can. It leaves finding the events to the
// index and showing them to the doors.
package past

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"sallyport"
)

// Types are the events that change what somebody is. Whoever rebuilds gathers all of them up to the instant.
func Types() []sallyport.EventType {
	return []sallyport.EventType{
		sallyport.EventChanged, sallyport.EventJoined, sallyport.EventMoved, sallyport.EventLeft, sallyport.EventIdentityLinked,
		sallyport.EventDeviceEnrolled, sallyport.EventDeviceRemoved, sallyport.EventGrantVoted, sallyport.EventGrantRevoked, sallyport.EventGrantEnded,
	}
}

// A Life is what somebody was at an instant.
type Life struct {
	Who     sallyport.PrincipalID
	At      time.Time
	Known   time.Time // of the first event about them; zero when there is none
	State   string    // "active", "suspended", "removed"; "" when the log does not say
	Owner   sallyport.PrincipalID
	Groups  []string // direct membership
	Roles   []Role
	Grants  []Grant
	Devices []string
	Steps   []Step // what led there, in order
}

// A Role is an assignment that held.
type Role struct {
	ID      string // of the assignment, "" where the log does not say
	Name    string
	Scope   string
	Subject string    // themselves, or a group
	Until   time.Time // zero: without an end
}

// A Grant is a right for a time that held.
type Grant struct {
	ID       string
	Actions  string
	Resource string
	Until    time.Time
}

// A Step is one event that changed them.
type Step struct {
	Seq  uint64
	At   time.Time
	By   sallyport.PrincipalID
	What string
}

// fold is the state between two events.
type fold struct {
	life    Life
	groups  map[string]bool
	parents map[string][]string // of every group
	roles   map[string]Role     // of everybody and every group, by assignment
	grants  map[string]Grant
	devices map[string]bool
}

// Rebuild folds events, in the order of the log, into what somebody was at an instant. Events after it do not count.
func Rebuild(who sallyport.PrincipalID, at time.Time, events []sallyport.Logged) Life {
	f := &fold{life: Life{Who: who, At: at}, groups: map[string]bool{}, parents: map[string][]string{}, roles: map[string]Role{},
		grants: map[string]Grant{}, devices: map[string]bool{}}
	for _, e := range events {
		if !time.UnixMicro(e.At).After(at) {
			f.take(e)
		}
	}
	return f.end()
}

// end returns what is left of the fold at its instant.
func (f *fold) end() Life {
	l := f.life
	l.Groups = slices.Sorted(maps.Keys(f.groups))
	l.Devices = slices.Sorted(maps.Keys(f.devices))
	subjects := map[string]bool{string(l.Who): true}
	for todo := slices.Clone(l.Groups); len(todo) > 0; todo = todo[1:] {
		if name := "group:" + todo[0]; !subjects[name] {
			subjects[name] = true
			todo = append(todo, f.parents[todo[0]]...)
		}
	}
	for _, r := range f.roles {
		if subjects[r.Subject] && (r.Until.IsZero() || l.At.Before(r.Until)) {
			l.Roles = append(l.Roles, r)
		}
	}
	slices.SortFunc(l.Roles, func(a, b Role) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.ID, b.ID))
	})
	for _, g := range f.grants {
		if l.At.Before(g.Until) {
			l.Grants = append(l.Grants, g)
		}
	}
	slices.SortFunc(l.Grants, func(a, b Grant) int { return cmp.Compare(a.ID, b.ID) })
	return l
}

// take folds one event.
func (f *fold) take(e sallyport.Logged) {
	who := string(f.life.Who)
	switch x := e.Detail; e.Type {
	case sallyport.EventChanged:
		f.changed(e)
	case sallyport.EventJoined:
		if f.about(e) {
			f.life.State = "active"
			f.join(strings.Fields(x["groups"]))
			f.step(e, "joined")
		}
	case sallyport.EventMoved:
		if x["what"] != "" { // by an administrator
			f.changed(e)
		} else if f.about(e) {
			f.join(strings.Fields(x["joined"]))
			for _, g := range strings.Fields(x["left"]) {
				delete(f.groups, g)
			}
			f.step(e, "moved: into "+cmp.Or(x["joined"], "-")+", out of "+cmp.Or(x["left"], "-"))
		}
	case sallyport.EventIdentityLinked:
		if f.about(e) {
			f.step(e, "linked to "+cmp.Or(x["issuer"], x["provider"], "an identity provider"))
		}
	case sallyport.EventLeft:
		if e.On == who {
			f.left(e)
		}
	case sallyport.EventDeviceEnrolled:
		if e.Who == f.life.Who {
			f.devices[strings.TrimPrefix(e.On, "device:")] = true
			f.step(e, "enrolled "+e.On)
		}
	case sallyport.EventDeviceRemoved:
		if id := strings.TrimPrefix(e.On, "device:"); f.devices[id] {
			delete(f.devices, id)
			f.step(e, "lost "+e.On)
		}
	case sallyport.EventGrantVoted:
		if until, err := time.Parse(time.RFC3339, x["until"]); x["who"] == who && x["grant"] != "" && err == nil {
			f.grants[x["grant"]] = Grant{ID: x["grant"], Actions: x["actions"], Resource: e.On, Until: until}
			f.step(e, "got the grant "+x["grant"])
		}
	case sallyport.EventGrantRevoked, sallyport.EventGrantEnded:
		if _, had := f.grants[x["grant"]]; had {
			delete(f.grants, x["grant"])
			f.step(e, "lost the grant "+x["grant"])
		}
	}
}

// about tells whether an event of a provider is about them: it names them as whom it is on, or else as who did it.
func (f *fold) about(e sallyport.Logged) bool {
	return e.On == string(f.life.Who) || e.On == "" && e.Who == f.life.Who
}

func (f *fold) join(groups []string) {
	for _, g := range groups {
		f.groups[g] = true
	}
}

func (f *fold) step(e sallyport.Logged, what string) {
	at := time.UnixMicro(e.At).UTC()
	if f.life.Known.IsZero() {
		f.life.Known = at
	}
	f.life.Steps = append(f.life.Steps, Step{Seq: e.Seq, At: at, By: e.Who, What: what})
}

// left folds the end, or the pause, of an account: grants end in any case, memberships, roles and devices with a departure.
func (f *fold) left(e sallyport.Logged) {
	f.life.State = e.Detail["state"]
	clear(f.grants)
	if e.Detail["extent"] == "departure" {
		clear(f.groups)
		clear(f.devices)
		maps.DeleteFunc(f.roles, func(_ string, r Role) bool { return r.Subject == string(f.life.Who) })
	}
	f.step(e, "left ("+e.Detail["extent"]+"): "+e.Detail["why"])
}

// changed folds what administrators did.
func (f *fold) changed(e sallyport.Logged) {
	x, own := e.Detail, e.On == string(f.life.Who)
	switch what := x["what"]; {
	case what == "group defined":
		f.parents[strings.TrimPrefix(e.On, "group:")] = strings.Fields(x["parents"])
	case what == "role assigned":
		until, _ := time.Parse(time.RFC3339, x["until"]) // "" = without an end
		f.roles[cmp.Or(x["id"], e.On+" "+x["role"]+" "+x["scope"])] = Role{ID: x["id"], Name: x["role"], Scope: x["scope"], Subject: e.On, Until: until}
		if own {
			f.step(e, "is "+x["role"]+" on "+x["scope"])
		}
	case what == "role taken away":
		id := strings.TrimPrefix(e.On, "assignment:")
		if f.roles[id].Subject == string(f.life.Who) {
			f.step(e, "is not "+f.roles[id].Name+" on "+f.roles[id].Scope)
		}
		delete(f.roles, id)
	case !own:
	case what == "joined":
		f.life.State, f.life.Owner = "active", sallyport.PrincipalID(x["owner"])
		f.join(strings.Fields(x["groups"]))
		f.step(e, "joined "+x["org"])
	case what == "state":
		f.life.State = x["to"]
		f.step(e, "is "+x["to"])
	case what == "group" && x["removed"] == "true":
		delete(f.groups, x["group"])
		f.step(e, "out of "+x["group"])
	case what == "group":
		f.groups[x["group"]] = true
		f.step(e, "into "+x["group"])
	case what == "owner":
		f.life.Owner = sallyport.PrincipalID(x["owner"])
		f.step(e, "is answered for by "+x["owner"])
	default:
		f.step(e, what)
	}
}
