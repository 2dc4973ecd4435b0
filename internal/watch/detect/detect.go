package detect

import (
	"cmp"
	"context"
	"slices"
	"time"

	"sallyport"
)

// A Detector reads the trail. Its fields are set before its first use; Handle is called by one goroutine at a time.
type Detector struct {
	Store Store
	// Note writes an event down, durably: a finding is in the trail before it is in the store.
	Note func(ctx context.Context, e sallyport.Event) error
	// Network names the network of a textual address, so that one that many people share or that belongs to the same
	// operator has one name; "" = not to be compared with others.
	Network func(ip string) string
	Clock   func() time.Time
	// Changed is told, without waiting, that there is a new finding; may be nil.
	Changed func()

	rules []Rule
	seen  memory
}

// lookback is how many events before the cursor are read again after a start: rules remember that far.
const lookback = 20_000

// Types are the events that Handle reads.
func Types() []sallyport.EventType {
	return []sallyport.EventType{sallyport.EventDecided, sallyport.EventRefused, sallyport.EventUnmapped, sallyport.EventTokenIssued, sallyport.EventTokenReused, sallyport.EventTokenTheft, sallyport.EventProofReplayed,
		sallyport.EventSignInFailed, sallyport.EventCloned, sallyport.EventRiskChanged, sallyport.EventReported, sallyport.EventApprovalVoid, sallyport.EventBypassed, sallyport.EventDriftFound}
}

// Next is where reading goes on: before the cursor, because what a rule remembers is not kept. What was found is found
// again under the same name.
func (d *Detector) Next(ctx context.Context) (uint64, error) {
	n, err := d.Store.Next(ctx)
	d.seen = memory{}
	return n - min(n, lookback), err
}

// Handle looks at events, keeps what it finds, and that the trail was read up to next.
func (d *Detector) Handle(ctx context.Context, events []sallyport.Logged, next uint64) error {
	if d.rules == nil {
		d.rules = Rules()
	}
	var found []Finding
	for i := range events {
		for r := range d.rules {
			if f, ok := d.look(&d.rules[r], &events[i]); ok && !slices.ContainsFunc(found, func(x Finding) bool { return x.ID == f.ID }) {
				found = append(found, f)
			}
		}
	}
	if kept, err := d.Store.Next(ctx); err != nil {
		return err
	} else if next < kept && len(found) == 0 {
		return nil // reading again: the cursor stays where it was
	} else {
		next = max(next, kept)
	}
	found, err := d.unknown(ctx, found)
	if err != nil {
		return err
	}
	for i := range found {
		if err := d.Note(ctx, found[i].event()); err != nil {
			return err
		}
	}
	if err := d.Store.Put(ctx, found, next); err != nil {
		return err
	}
	if len(found) > 0 && d.Changed != nil {
		d.Changed()
	}
	return nil
}

// unknown leaves those that are new.
func (d *Detector) unknown(ctx context.Context, found []Finding) ([]Finding, error) {
	if len(found) == 0 {
		return nil, nil
	}
	ids := make([]string, len(found))
	for i, f := range found {
		ids[i] = f.ID
	}
	missing, err := d.Store.Missing(ctx, ids)
	return slices.DeleteFunc(found, func(f Finding) bool { return !slices.Contains(missing, f.ID) }), err
}

// look asks one rule about one event.
func (d *Detector) look(r *Rule, e *sallyport.Logged) (Finding, bool) {
	h, ok := r.look(d, e)
	if !ok {
		return Finding{}, false
	}
	f := Finding{Rule: r.Name, Severity: r.Severity, Who: e.Who, Subject: h.subject, At: e.Time(), Text: r.Text, Detail: h.detail, Evidence: h.evidence, State: New}
	if h.evidence == nil {
		f.Evidence = []uint64{e.Seq}
	}
	if e.Type == sallyport.EventDecided && e.On != "" { // the assets, whose monitors are told
		if f.Detail == nil {
			f.Detail = map[string]string{}
		}
		f.Detail["on"] = cmp.Or(h.on, e.On)
	}
	f.Evidence = f.Evidence[max(0, len(f.Evidence)-maxEvidence):]
	if h.anonymous {
		f.Who = ""
	}
	f.ID = id(r.Name, h.subject, f.At, r.Once)
	return f, true
}

// A memory is what rules have seen of late, by rule and subject.
type memory struct {
	marks map[string][]mark
	// credentials are what the tokens of a family were issued for.
	credentials map[string]string
}

type mark struct {
	at    time.Time
	value string
	seq   uint64
}

// Limits of what is remembered.
const (
	maxMarks    = 64      // of one subject
	maxSubjects = 100_000 // of all rules
)

// add remembers a mark and returns those of a span, the new one last.
func (m *memory) add(key string, span time.Duration, k mark) []mark {
	if m.marks == nil || len(m.marks) >= maxSubjects { // forgetting costs a finding, never the process
		m.marks = map[string][]mark{}
	}
	kept := slices.DeleteFunc(m.marks[key], func(old mark) bool { return k.at.Sub(old.at) > span })
	if len(kept) >= maxMarks {
		kept = slices.Delete(kept, 0, 1)
	}
	kept = append(kept, k)
	m.marks[key] = kept
	return kept
}

// forget drops what is remembered of a subject.
func (m *memory) forget(key string) { delete(m.marks, key) }
