package drift

import (
	"context"
	"maps"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/govern/intent"
)

// A record is an event of the trail that says who changed an item.
type record struct {
	Seq      uint64
	Read     time.Time
	tried    bool // a look that is kept has had it
	Who      sallyport.PrincipalID
	Decision string
	// Value is what the change left behind, where the event tells.
	Value string
	Told  bool
	// carries: the change was asked for and approved by a machinery of its own, and is meant.
	carries bool
}

// Types are the events that Handle reads.
func Types() []sallyport.EventType {
	return []sallyport.EventType{sallyport.EventChanged, sallyport.EventMoved, sallyport.EventJoined, sallyport.EventLeft, sallyport.EventBreakGlass, sallyport.EventPolicy, sallyport.EventPolicyActivated}
}

// Next is the number of the first event that Handle was not given yet.
func (s *Service) Next(ctx context.Context) (uint64, error) { return s.Store.Next(ctx) }

// Handle remembers who changed what, and has Run look soon.
func (s *Service) Handle(ctx context.Context, events []sallyport.Logged, next uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records == nil {
		s.records = map[string]record{}
	}
	now := s.Clock()
	for i := range events {
		e := &events[i]
		value, told := says(e)
		for _, name := range speaks(e) {
			s.records[name] = record{Value: value, Told: told, Seq: e.Seq, Read: now, Who: e.Who, Decision: e.Decision, carries: e.Type != sallyport.EventChanged && e.Type != sallyport.EventMoved}
		}
	}
	if s.next = next; len(events) > 0 {
		select {
		case s.waker() <- struct{}{}:
		default:
		}
	}
	return s.advance(ctx)
}

// advance keeps how far the trail was read: what still waits for its change is read again after a crash.
func (s *Service) advance(ctx context.Context) error {
	next := s.next
	for _, r := range s.records {
		next = min(next, r.Seq)
	}
	if next == s.kept {
		return nil
	}
	if err := s.Store.Advance(ctx, next); err != nil {
		return err
	}
	s.kept = next
	return nil
}

// Names by which events speak of more than one item: of what they take away, and never of what they give.
const (
	ofSubject  = "subject:"
	ofMember   = "member:"
	ofEnded    = "ended:" // a group, and so who was in it
	PolicyName = "in force"
)

// speaks are the names of the items that an event is about: keys, and what stands in Names of an item.
func speaks(e *sallyport.Logged) []string {
	who := string(e.Who) // of a provider's word
	if id, err := sallyport.ParsePrincipalID(e.On); err == nil {
		who = string(id)
	}
	switch e.Type {
	case sallyport.EventLeft:
		return []string{ofSubject + e.On, ofMember + e.On}
	case sallyport.EventJoined:
		return memberships(who, e.Detail)
	case sallyport.EventBreakGlass:
		return emergencies(e)
	case sallyport.EventPolicy, sallyport.EventPolicyActivated:
		return []string{string(intent.Policy) + " " + PolicyName}
	case sallyport.EventChanged, sallyport.EventMoved:
	default:
		return nil
	}
	if rule := e.Detail["rule"]; rule != "" {
		return []string{string(intent.Trust) + " " + rule}
	}
	kind, name, _ := strings.Cut(e.On, ":")
	if e.Detail["what"] == "role assigned" {
		scope := e.Detail["scope"]
		if ref, err := sallyport.ParseRef(scope); err == nil {
			scope = ref.String()
		}
		return []string{string(intent.Assignment) + " " + intent.AssignmentName(e.On, e.Detail["role"], scope)}
	}
	switch {
	case kind == "group" && e.Detail["what"] == "group ended":
		return []string{kind + " " + name, ofEnded + name}
	case kind == "role" || kind == "group":
		return []string{kind + " " + name}
	case kind == "assignment":
		return []string{e.On}
	case e.Detail["what"] == "state":
		return []string{ofMember + who}
	}
	return memberships(who, e.Detail)
}

// emergencies are what opens and ends: asking for an emergency, and looking at it later, changes nothing.
func emergencies(e *sallyport.Logged) []string {
	switch e.Detail["what"] {
	case "opened":
		return []string{string(intent.Assignment) + " " + intent.AssignmentName(string(e.Who), e.Detail["role"], e.Detail["scope"])}
	case "ended":
		return []string{"assignment:" + e.Detail["assignment"]}
	}
	return nil
}

// memberships are those that an event about somebody names.
func memberships(who string, detail map[string]string) []string {
	var keys []string
	for _, field := range []string{"groups", "group", "joined", "left"} {
		for _, group := range strings.Fields(detail[field]) {
			keys = append(keys, intent.NewMembership(who, group).Key())
		}
	}
	return keys
}

// says is the value that an event tells of: without it, a row that is written by hand right behind a recorded change would
// pass for that change.
func says(e *sallyport.Logged) (value string, told bool) {
	switch e.Type {
	case sallyport.EventChanged, sallyport.EventMoved:
	case sallyport.EventBreakGlass:
		return "", e.Detail["what"] == "ended"
	default:
		return "", false
	}
	kind, name, _ := strings.Cut(e.On, ":")
	inherits, role := e.Detail["inherits"]
	parents, group := e.Detail["parents"]
	var i intent.Item
	var err error
	switch {
	case kind == "role" && role:
		i, err = intent.NewRole(name, intent.RoleValue{Inherits: strings.Fields(inherits), Privileged: e.Detail["privileged"] == "true"})
	case kind == "group" && group:
		i, err = intent.NewGroup(name, intent.GroupValue{In: strings.Fields(parents), Guests: e.Detail["guests"] == "true"})
	case kind == "assignment" || e.Detail["what"] == "trust rule removed":
		return "", true
	case e.Detail["what"] == "role assigned" && e.Detail["until"] == "":
		return "{}", true
	default:
		return "", false
	}
	return i.Value, err == nil
}

// told is the item that the newest record of a difference speaks of, where it tells another value than the one that is there.
func (s *Service) told(d intent.Difference) (intent.Item, bool) {
	var newest record
	for _, name := range named(d) {
		if r := s.records[name]; own(d, name) && r.Told && r.Seq >= newest.Seq {
			newest = r
		}
	}
	return intent.Item{Kind: d.Want.Kind, Name: d.Want.Name, Value: newest.Value}, newest.Told && newest.Value != d.Is.Value && newest.Value != d.Want.Value
}

// NamesOf are the other names of an assignment.
func NamesOf(id, subject, person string) []string {
	names := []string{"assignment:" + id, ofSubject + subject}
	if person != "" && person != subject {
		names = append(names, ofSubject+person) // who leaves takes all accounts along
	}
	return names
}

// NamesOfMember are the other names of the membership of an account that is not somebody's own.
func NamesOfMember(person string) []string { return []string{ofMember + person} }

// named are all names of what differs.
func named(d intent.Difference) []string {
	names := append(append([]string{d.Key()}, d.Want.Names...), d.Is.Names...)
	if who, group, ok := strings.Cut(d.Want.Name, " "); ok && d.Kind() == intent.Membership {
		names = append(names, ofMember+who, ofEnded+group)
	}
	return names
}

// own reports whether a name is of nothing else than what differs: its record explains one change, and what it tells is the value.
func own(d intent.Difference, name string) bool {
	return name == d.Key() || strings.HasPrefix(name, "assignment:")
}

// explains reports whether a record that is found under a name of what differs may be of this very difference.
func (r record) explains(d intent.Difference, name string) bool {
	if own(d, name) {
		return !r.Told || r.Value == d.Is.Value
	}
	return d.Is.Value == ""
}

// recordOf is the newest record of a difference.
func (s *Service) recordOf(d intent.Difference) (record, bool) {
	var newest record
	found := false
	for _, name := range named(d) {
		r, ok := s.records[name]
		if ok && (!found || r.Seq > newest.Seq) && r.explains(d, name) {
			newest, found = r, true
		}
	}
	return newest, found
}

// spend forgets the records of what they explained: one record explains one change. Those that are about many items stay their
// time. The others have had a look, which is kept.
func (s *Service) spend(explained []intent.Difference) {
	for _, d := range explained {
		for _, name := range named(d) {
			if own(d, name) && s.records[name].explains(d, name) {
				delete(s.records, name)
			}
		}
	}
	for name, r := range s.records {
		r.tried = true
		s.records[name] = r
	}
}

// drop forgets records that no change followed, and not before a look has had them: a computer that slept is late.
func (s *Service) drop(now time.Time) {
	maps.DeleteFunc(s.records, func(_ string, r record) bool { return r.tried && now.Sub(r.Read) > keep })
}

func without[V any](m map[string]V, key string) map[string]V {
	m = maps.Clone(m)
	delete(m, key)
	return m
}
