// Package tally owns how much each person did lately: bytes, refusals, different
// models and exports in the last ten minutes, day and thirty days, counted in memory
// while the trail is followed (NIST SP 800-207, section 3.3: usage patterns as an
// input of the decision). It leaves the trail to audit/trail, what a number means to
// policy, and freezing it in a decision to authz/facts.
//
// # What is counted
//
// Every event is counted for the person behind the principal when it is read, so that
// accounts, services and agents of one person add up. A decision counts when it stands
// in the trail: the question that is being asked is not in its own history, and of
// questions that are asked at the same moment none sees the others. The bytes of a call
// count when it ends.
//
// Bytes, refusals and exports are kept by minute, quarter of an hour and quarter of a
// day; a window holds every such span that it touches, so that nothing is forgotten
// early, and at most one span too much is remembered. Different models are exact, up
// to MaxModels of a person; of more, the latest are known.
//
// # Restart
//
// What was counted is kept from time to time together with the number of the next
// entry of the trail. After a restart the entries from there on are read again; that is
// minutes of the trail, not thirty days. Without anything kept, or where that cannot be
// read, the whole trail is read once.
package tally

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// The limits on what is kept.
const (
	MaxPeople = 20_000
	MaxModels = 1_024  // of one person
	maxOpen   = 65_536 // calls whose end has not come
	openFor   = 48 * time.Hour

	keepAfter = 20_000          // entries
	keepEvery = 5 * time.Minute // whichever is sooner
)

// A span is one way of cutting time into cells.
type span struct {
	cell  int64 // microseconds
	cells int64 // in a window
}

// spans are those of ten minutes, a day and thirty days.
func spans() [3]span {
	minute := time.Minute.Microseconds()
	return [3]span{{minute, 10}, {15 * minute, 96}, {6 * 60 * minute, 120}}
}

// A Store keeps what was counted. Methods are safe for concurrent use.
type Store interface {
	// Load returns what was kept last, with the number of the next entry; nil and 0 where nothing was.
	Load(ctx context.Context) (body []byte, next uint64, err error)
	// Save keeps it in place of what was there, unless that is further on.
	Save(ctx context.Context, body []byte, next uint64) error
}

// A Ledger holds the counts. Its fields are set before its first use; its methods may
// be called from many goroutines.
type Ledger struct {
	Store Store
	// Person returns who stands behind a principal.
	Person func(sallyport.PrincipalID) sallyport.PrincipalID
	Clock  func() time.Time
	Logger *slog.Logger

	mu     sync.RWMutex
	loaded bool
	next   uint64
	people map[sallyport.PrincipalID]*page
	open   map[string]call

	saving sync.Mutex
	saved  uint64
	when   time.Time
}

// A page is what is known of one person. Its lists are sorted by time.
type page struct {
	Cells  [3][]cell `json:"c"`
	Models []use     `json:"m,omitempty"`
	Last   int64     `json:"l"` // microseconds
}

type cell struct {
	At      int64 `json:"t"` // number of the cell since 1970
	Bytes   int64 `json:"b,omitempty"`
	Denials int64 `json:"d,omitempty"`
	Exports int64 `json:"e,omitempty"`
}

// A use is the last time that a model was used.
type use struct {
	Model string `json:"m"`
	At    int64  `json:"t"` // microseconds
}

// A call is one whose bytes will count, or one that asks for a right.
type call struct {
	Person sallyport.PrincipalID `json:"p"`
	At     int64                 `json:"t"` // microseconds
	Asks   bool                  `json:"a,omitempty"`
}

// Types are the events that are counted.
func Types() []sallyport.EventType {
	return []sallyport.EventType{sallyport.EventDecided, sallyport.EventCompleted}
}

// Next is the number of the first entry that was not counted yet.
func (l *Ledger) Next(ctx context.Context) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.loaded {
		return l.next, nil
	}
	body, next, err := l.Store.Load(ctx)
	if err != nil {
		return 0, err
	}
	l.people, l.open, l.next = map[sallyport.PrincipalID]*page{}, map[string]call{}, 0
	if body != nil {
		if err := l.read(body); err != nil {
			l.Logger.WarnContext(ctx, "what people did lately cannot be read and is counted anew from the whole log", "err", err)
		} else {
			l.next = next
		}
	}
	l.loaded, l.saved, l.when = true, l.next, l.Clock()
	return l.next, nil
}

// Handle counts events up to the entry next. Entries that were counted are passed over.
func (l *Ledger) Handle(ctx context.Context, events []sallyport.Logged, next uint64) error {
	l.mu.Lock()
	for _, e := range events {
		if e.Seq >= l.next {
			l.count(e.Event)
		}
	}
	l.next = max(l.next, next)
	l.mu.Unlock()
	l.saving.Lock()
	due := next-min(next, l.saved) >= keepAfter || l.Clock().Sub(l.when) >= keepEvery
	l.saving.Unlock()
	if !due {
		return nil
	}
	return l.Keep(ctx)
}

// Keep writes down what was counted so far.
func (l *Ledger) Keep(ctx context.Context) error {
	l.saving.Lock()
	defer l.saving.Unlock()
	body, next, ok := l.write()
	if !ok || next == l.saved {
		l.when = l.Clock()
		return nil
	}
	if err := l.Store.Save(ctx, body, next); err != nil {
		return err
	}
	l.saved, l.when = next, l.Clock()
	return nil
}

// count takes one event in. The caller holds mu.
func (l *Ledger) count(e sallyport.Event) {
	switch e.Type {
	case sallyport.EventDecided:
		if e.Who != "" {
			l.decided(e)
		}
	case sallyport.EventCompleted:
		c, ok := l.open[e.Decision]
		delete(l.open, e.Decision)
		switch {
		case !ok || e.Delivered == nil:
		case c.Asks && e.Delivered.Status == http.StatusNotFound: // as for what does not exist, or the counts would tell which it is
			l.page(c.Person, e.At).add(e.At, cell{Denials: 1})
		case !c.Asks && e.Delivered.Bytes > 0:
			l.page(c.Person, e.At).add(e.At, cell{Bytes: e.Delivered.Bytes})
		}
	}
}

func (l *Ledger) decided(e sallyport.Event) {
	person := l.Person(e.Who)
	if e.Outcome != sallyport.Allow.String() {
		l.page(person, e.At).add(e.At, cell{Denials: 1})
		return
	}
	if e.Action == sallyport.GrantRequest { // to ask for a model is not to use it
		if e.Decision != "" {
			l.enter(e.Decision, call{Person: person, At: e.At, Asks: true})
		}
		return
	}
	if exporting(e.Action) {
		l.page(person, e.At).add(e.At, cell{Exports: 1})
	}
	if model := modelOf(e); model != "" {
		l.page(person, e.At).used(model, e.At)
	}
	if delivering(e.Action) && e.Decision != "" {
		l.enter(e.Decision, call{Person: person, At: e.At})
	}
}

// enter remembers a call until it ends, and forgets those whose end never came.
func (l *Ledger) enter(id string, c call) {
	if len(l.open) >= maxOpen {
		for old, x := range l.open {
			if c.At-x.At > openFor.Microseconds() {
				delete(l.open, old)
			}
		}
	}
	if len(l.open) < maxOpen {
		l.open[id] = c
	}
}

// page returns the page of a person, and makes room for a new one by forgetting the
// person of whom nothing was heard for longest.
func (l *Ledger) page(person sallyport.PrincipalID, at int64) *page {
	p := l.people[person]
	if p == nil {
		if len(l.people) >= MaxPeople {
			oldest := sallyport.PrincipalID("")
			for id, x := range l.people {
				if oldest == "" || x.Last < l.people[oldest].Last {
					oldest = id
				}
			}
			delete(l.people, oldest)
		}
		p = &page{}
		l.people[person] = p
	}
	p.Last = max(p.Last, at)
	return p
}

// add counts what happened at a time.
func (p *page) add(at int64, n cell) {
	for i, s := range spans() {
		cells, number := p.Cells[i], at/s.cell
		k, found := slices.BinarySearchFunc(cells, number, func(c cell, t int64) int { return cmp.Compare(c.At, t) })
		if !found {
			cells = slices.Insert(cells, k, cell{At: number})
		}
		c := &cells[k]
		c.Bytes, c.Denials, c.Exports = plus(c.Bytes, n.Bytes), plus(c.Denials, n.Denials), plus(c.Exports, n.Exports)
		newest := cells[len(cells)-1].At
		over, _ := slices.BinarySearchFunc(cells, newest-s.cells, func(c cell, t int64) int { return cmp.Compare(c.At, t) })
		p.Cells[i] = slices.Delete(cells, 0, over)
	}
}

// plus adds what is not below zero, and stays at the highest number.
func plus(a, b int64) int64 {
	if b > maxCount-a {
		return maxCount
	}
	return a + max(0, b)
}

const maxCount = 1<<62 - 1

// used notes that a model was used.
func (p *page) used(model string, at int64) {
	if k := slices.IndexFunc(p.Models, func(u use) bool { return u.Model == model }); k >= 0 {
		at = max(at, p.Models[k].At)
		p.Models = slices.Delete(p.Models, k, k+1)
	}
	k, _ := slices.BinarySearchFunc(p.Models, at, func(u use, t int64) int { return cmp.Compare(u.At, t) })
	p.Models = slices.Insert(p.Models, k, use{model, at})
	month := spans()[2]
	gone, _ := slices.BinarySearchFunc(p.Models, p.Models[len(p.Models)-1].At-month.cell*month.cells, func(u use, t int64) int { return cmp.Compare(u.At, t) })
	p.Models = slices.Delete(p.Models, 0, max(gone, len(p.Models)-MaxModels))
}

// Of is what a person did before a time, as far as the trail was read.
func (l *Ledger) Of(person sallyport.PrincipalID, at time.Time) policy.History {
	l.mu.RLock()
	defer l.mu.RUnlock()
	p := l.people[person]
	if p == nil {
		return policy.History{}
	}
	var h policy.History
	now := at.UnixMicro()
	for i, w := range []*policy.Window{&h.Short, &h.Day, &h.Month} {
		s := spans()[i]
		for _, c := range slices.Backward(p.Cells[i]) {
			if c.At < now/s.cell-s.cells {
				break
			}
			w.Bytes, w.Denials, w.Exports = plus(w.Bytes, c.Bytes), plus(w.Denials, c.Denials), plus(w.Exports, c.Exports)
		}
		first, _ := slices.BinarySearchFunc(p.Models, now-s.cell*s.cells, func(u use, t int64) int { return cmp.Compare(u.At, t) })
		w.Models = int64(len(p.Models) - first)
	}
	return h
}

func exporting(a sallyport.Action) bool {
	return a == sallyport.ModelExport || a == sallyport.DatasetExport
}

// delivering reports whether the bytes of a call are of weights or data.
func delivering(a sallyport.Action) bool {
	switch a {
	case sallyport.ModelPull, sallyport.ModelPullAux, sallyport.ModelExport, sallyport.DatasetRead, sallyport.DatasetExport,
		sallyport.ArtifactRead, sallyport.TraceRead:
		return true
	}
	return false
}

// modelOf is the name of the model that a permitted decision opened, "" of none.
func modelOf(e sallyport.Event) string {
	switch e.Action {
	case sallyport.ModelRead, sallyport.ModelIntrospect, sallyport.ModelInfer, sallyport.ModelEmbed, sallyport.ModelEvaluate,
		sallyport.ModelPull, sallyport.ModelPullAux, sallyport.ModelExport, sallyport.ModelTrain, sallyport.ModelTune:
	default:
		return ""
	}
	name, _, _ := strings.Cut(e.On, "@")
	if ref, err := sallyport.ParseRef(name); err != nil || ref.Kind != sallyport.ModelKind {
		return ""
	}
	return name
}
