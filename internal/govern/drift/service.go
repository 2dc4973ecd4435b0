// Package drift owns what is meant to be and where what is differs from it (configuration change control, NIST SP 800-53
// CM-3; unauthorized change, CM-5 and SI-7): the intention with its hash, who declared it, every difference that was found
// with who made it and since when, and the changes that put one right.
//
// What is meant begins as what is there at the first look. As long as nobody declares anything, a change that the log has a
// record of is meant, and one that it has none of is drift. From the first declaration on ('sallyport apply') every change
// of the organisation beside the declared way is drift, recorded or not; only people come and go as the log says. Of the
// configuration every change is.
//
// A record explains one change, and waits for it or is waited for a few seconds: a row that somebody wrote by hand has none.
// The intention is sealed and numbered, and the number is kept outside of the store: whoever owns the database can neither
// change what is meant nor take it away unseen.
//
// It leaves comparing to govern/intent, votes to authz/approval, what is there and how it is put back to functions, and whom
// a finding is told to watch.
package drift

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/govern/intent"
)

// An Observation is what is, at one moment.
type Observation struct {
	Items intent.Set // of the organisation, and of the configuration that runs
	// Disk are the items of the configuration's file as it is now; Unread that it cannot be read, and why. Without a file
	// both are empty, and File is false.
	Disk   intent.Set
	File   bool
	Unread string
	Text   []byte
}

// A Service looks for drift. Its fields are set before its first use; its methods are safe for concurrent use.
type Service struct {
	Store  Store
	Seal   func(plain []byte) []byte
	Unseal func(sealed []byte) ([]byte, error)
	// Seen is the highest number that this node has kept, outside of the store, and See keeps it.
	Seen func() (int64, error)
	See  func(int64) error
	// Observe says what is, from where it is kept and not from memory: what was written past this program is to be seen.
	Observe func(ctx context.Context) (Observation, error)
	// Restore makes an item what it is meant to be, and RestoreText the configuration's file.
	Restore     func(ctx context.Context, d intent.Difference, by By) error
	RestoreText func(ctx context.Context, text []byte) error
	Note        func(ctx context.Context, e sallyport.Event) error
	Clock       func() time.Time
	Logger      *slog.Logger

	mu      sync.Mutex
	cached  state
	sealed  []byte
	records map[string]record  // by the name that the log speaks of an item by
	pending map[string]waiting // differences without a record, until one had the time to come
	next    uint64             // of the trail, and what is kept of it
	kept    uint64
	looked  time.Time
	more    int
	restart []string
	problem string // why nothing is compared, and what of it was told
	alarmed string

	once sync.Once
	wake chan struct{}
}

// Every is how often is looked at least; grace how long a record may follow its change; keep how long a record waits for a
// change that it precedes. Drift is alarmed within Every and grace.
const (
	Every = 10 * time.Second
	pause = time.Second // between two looks, however much happens
	grace = 5 * time.Second
	keep  = 30 * time.Second
)

type waiting struct {
	is    string
	since time.Time
}

func (s *Service) waker() chan struct{} {
	s.once.Do(func() { s.wake = make(chan struct{}, 1) })
	return s.wake
}

// Run looks now and then, and soon after the trail says that something was changed, until ctx ends. What fails is logged and
// due again.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	rest := time.NewTicker(pause)
	defer rest.Stop()
	for ctx.Err() == nil {
		if err := s.Look(ctx); err != nil && ctx.Err() == nil {
			s.Logger.ErrorContext(ctx, "drift could not be looked for", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-rest.C:
		}
		select {
		case <-ctx.Done():
		case <-s.waker():
		case <-tick.C:
		}
	}
}

// Look compares what is with what is meant, and writes down what it finds.
func (s *Service) Look(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.look(ctx)
	return err
}

// look returns what it saw; what it made of that is cached.
func (s *Service) look(ctx context.Context) (Observation, error) {
	now := s.Clock().UTC()
	st, there, err := s.load(ctx)
	if err != nil {
		return Observation{}, s.broken(ctx, err)
	}
	obs, err := s.Observe(ctx)
	if err != nil {
		return obs, s.broken(ctx, err)
	}
	if !there {
		return obs, s.begin(ctx, obs, now)
	}
	return obs, s.compare(ctx, st, obs, now)
}

// compare writes down what is new in what is there, and keeps it.
func (s *Service) compare(ctx context.Context, st state, obs Observation, now time.Time) error {
	s.drop(now)
	next := st
	if err := next.expire(obs, now); err != nil {
		return err
	}
	is, err := s.settle(&next, obs)
	if err != nil {
		return s.broken(ctx, err)
	}
	o := s.judge(next, intent.Compare(next.Want, is), now)
	if err := s.tell(ctx, o); err != nil {
		return err
	}
	next.Open = o.open
	if next.Want, err = next.Want.With(o.meant...); err != nil {
		return err
	}
	for digest, c := range next.Asked {
		if now.Sub(c.At) > askedFor {
			next.Asked = without(next.Asked, digest)
		}
	}
	renamed, err := next.rename(is)
	if err != nil {
		return err
	}
	if renamed || !same(st, next) {
		if err := s.save(ctx, next); err != nil {
			return err
		}
	}
	s.looked, s.more, s.problem, s.alarmed = now, o.more, "", ""
	s.spend(o.explained)
	return s.advance(ctx)
}

// begin makes what is there at the first look what is meant: of a new system that is what it made itself.
func (s *Service) begin(ctx context.Context, obs Observation, now time.Time) error {
	st := state{Want: obs.Items, Text: obs.Text}
	if err := s.Note(ctx, sallyport.Event{Type: sallyport.EventDriftDeclared, On: st.meant(), Detail: map[string]string{"what": "what was there at the first look"}}); err != nil {
		return err
	}
	s.looked, s.problem, s.alarmed = now, "", ""
	return s.save(ctx, st)
}

// broken alarms once that the intention cannot be believed, or what is there cannot be read: a row that makes it so must not
// keep every other from being compared unseen. A store that is down is no such thing.
func (s *Service) broken(ctx context.Context, cause error) error {
	if ctx.Err() != nil || sallyport.KindOf(cause) == sallyport.Unavailable {
		return cause
	}
	s.problem = sallyport.Flat(sallyport.PublicText(cause))
	cause = sallyport.Wrap("look for drift", sallyport.Conflict, s.problem, cause)
	if s.alarmed == s.problem {
		return cause
	}
	err := s.Note(ctx, sallyport.Event{Type: sallyport.EventDriftFound, On: "intention", Reasons: []string{ReasonUnrecorded}, Detail: map[string]string{"what": s.problem}})
	if err == nil {
		s.alarmed = s.problem
	}
	return errors.Join(cause, err)
}

// expire forgets what was meant to end and has.
func (st *state) expire(obs Observation, now time.Time) error {
	var over []intent.Item
	for _, i := range st.Want.Items() {
		if i.Kind == intent.Assignment && obs.Items.Find(i.Key()).Value == "" && intent.Over(i, now) {
			over = append(over, intent.Item{Kind: i.Kind, Name: i.Name})
		}
	}
	if over == nil {
		return nil
	}
	var err error
	st.Want, err = st.Want.With(over...)
	return err
}

// rename takes over by which other names the log speaks of what is as it is meant.
func (st *state) rename(is intent.Set) (bool, error) {
	var others []intent.Item
	for _, i := range is.Items() {
		if want := st.Want.Find(i.Key()); want.Value == i.Value && !slices.Equal(want.Names, i.Names) {
			others = append(others, i)
		}
	}
	if others == nil {
		return false, nil
	}
	var err error
	st.Want, err = st.Want.With(others...)
	return true, err
}

// settle says what is, of what runs and what stands in the file: the file, where it is not what is meant, because it runs
// next; otherwise what runs, unless that was meant before and only waits for the server to start again.
func (s *Service) settle(st *state, obs Observation) (intent.Set, error) {
	var changed []intent.Item
	s.restart = nil
	if obs.Unread != "" {
		value, err := intent.Value(map[string]string{"unread": obs.Unread})
		if err != nil {
			return obs.Items, err
		}
		changed = append(changed, intent.Item{Kind: intent.Setting, Name: unread, Value: value})
	}
	ran := true
	for _, i := range unite(obs.Items, obs.Disk, st.Want) {
		if !i.Kind.Configured() {
			continue
		}
		key := i.Key()
		runs, disk, want := obs.Items.Find(key), obs.Disk.Find(key), st.Want.Find(key)
		switch {
		case obs.File && obs.Unread == "" && disk.Value != want.Value:
			changed = append(changed, disk)
		case runs.Value != want.Value && slices.ContainsFunc(st.Before.Items(), func(b intent.Item) bool { return b.Key() == key && b.Value == before(runs) }):
			changed = append(changed, want)
			s.restart = append(s.restart, key)
			ran = false
		}
	}
	if ran && st.Before.Len() > 0 {
		st.Before = intent.Set{}
	}
	return obs.Items.With(changed...)
}

// unread is the setting that stands for a file that cannot be read.
const (
	unread    = "file"
	unreadKey = string(intent.Setting) + " " + unread
)

// before is the value under which something that runs is remembered, also when it is not there.
func before(i intent.Item) string {
	if i.Value == "" {
		return `"nothing"`
	}
	return i.Value
}

// unite are the items of all sets, each key once.
func unite(sets ...intent.Set) []intent.Item {
	seen := map[string]bool{}
	var all []intent.Item
	for _, s := range sets {
		for _, i := range s.Items() {
			if key := i.Key(); !seen[key] {
				seen[key] = true
				all = append(all, i)
			}
		}
	}
	return all
}

// An outcome is what a look makes of what differs. None of it counts before it is kept: until then records explain what they did.
type outcome struct {
	open        []Drift
	found, over []Drift
	meant       []intent.Item       // as a record says
	explained   []intent.Difference // by records of their own
	more        int
}

// judge says of every difference whether it is drift.
func (s *Service) judge(st state, differs []intent.Difference, now time.Time) (o outcome) {
	was, room := st.still(differs)
	pending := map[string]waiting{}
	for _, d := range differs {
		if i, ok := s.told(d); ok && st.follows(d) { // somebody changed it again, past the record
			d.Want, o.meant = i, append(o.meant, i)
		}
		old, known := was[d.Key()]
		rec, recorded := s.recordOf(d)
		switch {
		case known && old.Same(d) && (old.Recorded || !recorded):
			o.open = append(o.open, old)
		case recorded && (rec.carries || d.Kind() == intent.Membership || st.follows(d)):
			o.meant, o.explained = append(o.meant, d.Is), append(o.explained, d)
			continue // what was open is over
		case !recorded && !d.Kind().Configured() && !s.waited(pending, d, now):
			if known { // until it is known who changed it once more
				o.open = append(o.open, old)
			}
		case !known && room <= 0:
			o.more++
		default:
			if !known {
				room--
			}
			x := Drift{Difference: d, Since: now, Who: rec.Who, Decision: rec.Decision, Seq: rec.Seq, Recorded: recorded}
			o.open, o.found, o.explained = append(o.open, x), append(o.found, x), append(o.explained, d)
		}
		delete(was, d.Key())
	}
	s.pending = pending
	o.over = slices.Collect(maps.Values(was))
	return o
}

// still is what was found, by its key, and how many may be found beside what of it differs still.
func (st state) still(differs []intent.Difference) (was map[string]Drift, room int) {
	was, room = map[string]Drift{}, maxOpen
	for _, d := range st.Open {
		was[d.Key()] = d
	}
	for _, d := range differs {
		if _, known := was[d.Key()]; known {
			room--
		}
	}
	return was, room
}

// follows reports whether a difference is meant as soon as the log has a record of it.
func (st state) follows(d intent.Difference) bool {
	return st.Declared == nil && !d.Kind().Configured()
}

// tell writes down what is new and what is over.
func (s *Service) tell(ctx context.Context, o outcome) error {
	for _, d := range o.found {
		if err := s.Note(ctx, d.event(sallyport.EventDriftFound)); err != nil {
			return err
		}
	}
	for _, d := range o.over {
		if err := s.Note(ctx, d.event(sallyport.EventDriftEnded)); err != nil {
			return err
		}
	}
	return nil
}

// waited reports whether a record of a difference had the time to come.
func (s *Service) waited(pending map[string]waiting, d intent.Difference, now time.Time) bool {
	w, ok := s.pending[d.Key()]
	if !ok || w.is != d.Is.Value {
		w = waiting{d.Is.Value, now}
	}
	pending[d.Key()] = w
	return now.Sub(w.since) >= grace
}

// Why a drift was found.
const (
	ReasonRecorded   = "drift.recorded"   // a decision permitted the change, and nobody declared it
	ReasonUnrecorded = "drift.unrecorded" // the log knows nothing of it
)

// event is what the trail says of a drift.
func (d Drift) event(t sallyport.EventType) sallyport.Event {
	reason := ReasonUnrecorded
	if d.Recorded {
		reason = ReasonRecorded
	}
	return sallyport.Event{Type: t, Who: d.Who, Decision: d.Decision, On: d.Key(), Reasons: []string{reason},
		Detail: map[string]string{"want": shorten(d.Want.Value), "is": shorten(d.Is.Value), "direction": string(d.Direction())}}
}

// shorten bounds what an event repeats of a value.
func shorten(s string) string {
	const most = 1000
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

func same(a, b state) bool {
	return a.Want.Hash() == b.Want.Hash() && a.Before.Hash() == b.Before.Hash() && len(a.Asked) == len(b.Asked) &&
		slices.EqualFunc(a.Open, b.Open, func(x, y Drift) bool { return x.Same(y.Difference) && x.Seq == y.Seq })
}
