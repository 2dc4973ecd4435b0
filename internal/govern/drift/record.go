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
	Who      sallyport.PrincipalID
	Decision string
	// carries: the change was asked for and approved by a machinery of its own, and is meant.
	carries bool
}

// Types are the events that Handle reads.
func Types() []sallyport.EventType {
	return []sallyport.EventType{sallyport.EventChanged, sallyport.EventMoved, sallyport.EventLeft, sallyport.EventBreakGlass, sallyport.EventPolicy, sallyport.EventPolicyActivated}
}

// Next is the number of the first event that Handle was not given yet.
func (s *Service) Next(ctx context.Context) (uint64, error) { return s.Store.Next(ctx) }

// Handle remembers who changed what, and looks at once.
func (s *Service) Handle(ctx context.Context, events []sallyport.Logged, next uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records == nil {
		s.records = map[string]record{}
	}
	now := s.Clock()
	for i := range events {
		e := &events[i]
		for _, name := range speaks(e) {
			s.records[name] = record{Seq: e.Seq, Read: now, Who: e.Who, Decision: e.Decision, carries: e.Type != sallyport.EventChanged && e.Type != sallyport.EventMoved}
		}
	}
	if len(events) > 0 {
		if err := s.look(ctx); err != nil {
			return err
		}
	}
	for _, r := range s.records { // what still waits for its change is read again after a crash
		next = min(next, r.Seq)
	}
	return s.Store.Advance(ctx, next)
}

// Names by which events speak of more than one item.
const (
	ofSubject  = "subject:"
	Emergency  = "breakglass"
	PolicyName = "in force"
)

// speaks are the names of the items that an event is about: keys, and what stands in Names of an item.
func speaks(e *sallyport.Logged) []string {
	switch e.Type {
	case sallyport.EventLeft:
		return []string{ofSubject + e.On}
	case sallyport.EventBreakGlass:
		return []string{Emergency}
	case sallyport.EventPolicy, sallyport.EventPolicyActivated:
		return []string{string(intent.Policy) + " " + PolicyName}
	case sallyport.EventChanged, sallyport.EventMoved:
	default:
		return nil
	}
	if rule := e.Detail["rule"]; rule != "" {
		return []string{string(intent.Trust) + " " + rule}
	}
	if e.Detail["what"] == "role assigned" {
		scope := e.Detail["scope"]
		if ref, err := sallyport.ParseRef(scope); err == nil {
			scope = ref.String()
		}
		return []string{string(intent.Assignment) + " " + intent.AssignmentName(e.On, e.Detail["role"], scope)}
	}
	switch kind, name, _ := strings.Cut(e.On, ":"); kind {
	case "role", "group":
		return []string{kind + " " + name}
	case "assignment":
		return []string{e.On}
	}
	return nil
}

// NamesOf are the other names of an assignment.
func NamesOf(id, subject, role, emergency string) []string {
	names := []string{"assignment:" + id, ofSubject + subject}
	if strings.HasPrefix(role, emergency) {
		names = append(names, Emergency)
	}
	return names
}

// named are all names of what differs.
func named(d intent.Difference) []string {
	return append(append([]string{d.Key()}, d.Want.Names...), d.Is.Names...)
}

// recordOf is the newest record of a difference.
func (s *Service) recordOf(d intent.Difference) (record, bool) {
	var newest record
	found := false
	for _, name := range named(d) {
		if r, ok := s.records[name]; ok && (!found || r.Seq > newest.Seq) {
			newest, found = r, true
		}
	}
	return newest, found
}

// spend forgets the records of a difference: one record explains one change. Those that are about many items stay their time.
func (s *Service) spend(d intent.Difference) {
	for _, name := range named(d) {
		if name != Emergency && !strings.HasPrefix(name, ofSubject) {
			delete(s.records, name)
		}
	}
}

// drop forgets records that no change followed.
func (s *Service) drop(now time.Time) {
	maps.DeleteFunc(s.records, func(_ string, r record) bool { return now.Sub(r.Read) > keep })
}

func without[V any](m map[string]V, key string) map[string]V {
	m = maps.Clone(m)
	delete(m, key)
	return m
}
