// Package signals owns the streams by which partners hear of what happens to our
// people (transmitter of the OpenID Shared Signals Framework 1.0): who listens to
// what, by push (RFC 8935) or poll (RFC 8936), what waits for each, and the keys
// that sign it. It also remembers which tokens of partners were taken, so that none
// counts twice.
//
// An event is signed and queued in the transaction that moves the place in the
// trail, and stays until its receiver has acknowledged it: at least once, in order,
// also over a restart.
//
// It leaves what an event is to identity/secevent, HTTP to web/signals, and what
// partners' events do to identity/heed.
package signals

import (
	"context"
	"encoding/base32"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/secevent"
	"sallyport/internal/plumbing/secret"
)

// The limits of streams.
const (
	MaxStreams  = 64
	MaxWaiting  = 20_000 // tokens of one stream; one more disables it
	MaxExcluded = 10_000 // subjects that one stream does not hear of
	KeepFor     = 7 * 24 * time.Hour
	maxText     = 1024
)

// A Status is whether a stream runs (SSF 1.0, section 8.1.2). What happens while it
// is paused waits; what happens while it is disabled is not told.
type Status string

// The statuses.
const (
	Enabled  Status = "enabled"
	Paused   Status = "paused"
	Disabled Status = "disabled"
)

// The delivery methods.
const (
	Push = "urn:ietf:rfc:8935"
	Poll = "urn:ietf:rfc:8936"
)

// A Stream is what one receiver hears.
type Stream struct {
	ID          string
	Owner       sallyport.PrincipalID // the receiver's account: nobody else sees the stream
	Org         string                // of whose people it hears
	Audience    string
	Method      string
	URL         string   // of Push
	Header      []byte   // of Push: the Authorization header that the receiver wants, sealed; nil for none
	Requested   []string // event types that were asked for
	Description string
	Status      Status
	Reason      string
	Created     time.Time
}

// Delivered are the types that the stream is told: those requested that there are.
func (s Stream) Delivered() []string {
	var all []string
	for _, t := range secevent.Types() {
		if slices.Contains(s.Requested, string(t)) {
			all = append(all, string(t))
		}
	}
	return all
}

// An Item is a token that waits for a receiver.
type Item struct {
	Stream string
	ID     string // jti
	Text   string // the signed token
	At     time.Time
	Due    time.Time // of the next attempt to push
	Tries  int
}

// Streams keeps streams. Changes are durable when a method returns; methods are
// safe for concurrent use, from several nodes on one store.
type Streams interface {
	// PutStream adds a stream, or replaces the one of its id. TooLarge where there would be more than most.
	PutStream(ctx context.Context, s Stream, most int) error
	// Streams returns all streams, sorted by id.
	Streams(ctx context.Context) ([]Stream, error)
	// DropStream removes a stream with all that waits for it; none is no error.
	DropStream(ctx context.Context, id string) error
	// Exclude notes that a stream does not hear of a subject, or hears of it again. TooLarge at most subjects.
	Exclude(ctx context.Context, stream, subject string, excluded bool, most int) error
	// Excluded reports whether a stream does not hear of a subject.
	Excluded(ctx context.Context, stream, subject string) (bool, error)
}

// A Queue keeps what waits, and what was seen, under the same conditions.
type Queue interface {
	// Enqueue adds items and keeps next as the place in the trail, unless it is 0, in one transaction. An item that
	// waits already stays.
	Enqueue(ctx context.Context, items []Item, next uint64) error
	// Next is the place in the trail.
	Next(ctx context.Context) (uint64, error)
	// Waiting returns the oldest items of a stream that are due, at most so many, and how many there are in all.
	Waiting(ctx context.Context, stream string, due time.Time, most int) ([]Item, int, error)
	// Done removes items of a stream by their ids, and with before those that are older.
	Done(ctx context.Context, stream string, ids []string, before time.Time) error
	// Later moves an item to another time.
	Later(ctx context.Context, i Item) error
	// See claims a token of an issuer until a time, for whoever acts on it. It answers Conflict where the token was taken
	// before and Busy where somebody else acts on it now. It forgets what ended before now.
	See(ctx context.Context, issuer, id string, until, now time.Time) error
	// Settle ends a claim: the token was taken, which is known until a time, or, with a zero time, it was not and may
	// come again.
	Settle(ctx context.Context, issuer, id string, until time.Time) error
}

// A Service is the transmitter's side. Its fields are set before its first use.
type Service struct {
	Streams Streams
	Queue   Queue
	Issuer  string // our external URL
	Keys    *Keys
	// Owner returns whose session an id is, "" where it is nobody's any more; Org the organisation of a principal.
	Owner func(ctx context.Context, session string) sallyport.PrincipalID
	Org   func(id sallyport.PrincipalID) string
	// Seal and Open keep receivers' Authorization headers.
	Seal, Open func(text []byte, context string) ([]byte, error)
	Note       func(ctx context.Context, e sallyport.Event) error
	Now        func() time.Time
	Random     io.Reader
}

// Create adds a stream. Of s it takes all but ID, Status and Created.
func (x *Service) Create(ctx context.Context, s Stream, header secret.Text) (Stream, error) {
	var err error
	if s.ID, err = x.newID(); err != nil {
		return Stream{}, err
	}
	s.Status, s.Reason, s.Created = Enabled, "", x.now()
	if s.Audience == "" {
		s.Audience = x.Issuer + "/signals/receivers/" + s.Owner.Name()
	}
	return x.put(ctx, s, header, "created")
}

// Replace changes a stream: its delivery, types and description.
func (x *Service) Replace(ctx context.Context, s Stream, header secret.Text) (Stream, error) {
	return x.put(ctx, s, header, "changed")
}

func (x *Service) put(ctx context.Context, s Stream, header secret.Text, what string) (Stream, error) {
	if err := s.check(); err != nil {
		return Stream{}, err
	}
	var err error
	if !header.IsZero() {
		if s.Header, err = x.Seal([]byte(header.Reveal()), "signals "+s.ID); err != nil {
			return Stream{}, err
		}
	}
	if err := x.note(ctx, s, what); err != nil {
		return Stream{}, err
	}
	return s, x.Streams.PutStream(ctx, s, MaxStreams)
}

func (s Stream) check() error {
	bad := func(text string) error { return sallyport.E("event stream", sallyport.Invalid, text, "") }
	switch {
	case s.Method != Push && s.Method != Poll:
		return bad("the delivery method is neither push (RFC 8935) nor poll (RFC 8936)")
	case s.Method == Push && !pushable(s.URL):
		return bad("the endpoint is not an https address without credentials and fragment")
	case len(s.Delivered()) == 0 || len(s.Requested) > 64:
		return bad("none of the events that there are is requested")
	case len(s.Description) > maxText || len(s.Audience) > maxText || len(s.Reason) > maxText:
		return bad("a text is too long")
	}
	return nil
}

func pushable(to string) bool {
	u, err := url.Parse(to)
	return err == nil && len(to) <= maxText && u.Host != "" && u.User == nil && u.Fragment == "" &&
		(u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "127.0.0.1" || u.Hostname() == "::1" || u.Hostname() == "localhost"))
}

// Get returns a stream of an owner; NotFound for everybody else's.
func (x *Service) Get(ctx context.Context, owner sallyport.PrincipalID, id string) (Stream, error) {
	all, err := x.Of(ctx, owner)
	if err != nil {
		return Stream{}, err
	}
	for _, s := range all {
		if s.ID == id {
			return s, nil
		}
	}
	return Stream{}, sallyport.E("event stream", sallyport.NotFound, "there is no such stream", "")
}

// Of returns the streams of an owner.
func (x *Service) Of(ctx context.Context, owner sallyport.PrincipalID) ([]Stream, error) {
	all, err := x.Streams.Streams(ctx)
	return slices.DeleteFunc(all, func(s Stream) bool { return s.Owner != owner }), err
}

// Drop ends a stream.
func (x *Service) Drop(ctx context.Context, s Stream) error {
	if err := x.note(ctx, s, "deleted"); err != nil {
		return err
	}
	return x.Streams.DropStream(ctx, s.ID)
}

// SetStatus runs, pauses or disables a stream. What waited for one that is disabled
// is forgotten.
func (x *Service) SetStatus(ctx context.Context, s Stream, to Status, reason string) (Stream, error) {
	if to != Enabled && to != Paused && to != Disabled || len(reason) > maxText {
		return s, sallyport.E("event stream", sallyport.Invalid, "there is no such status, or its reason is too long", "say enabled, paused or disabled")
	}
	s.Status, s.Reason = to, sallyport.OneLine(reason)
	if err := x.note(ctx, s, string(to)); err != nil {
		return s, err
	}
	if err := x.Streams.PutStream(ctx, s, MaxStreams); err != nil {
		return s, err
	}
	if to == Disabled {
		return s, x.Queue.Done(ctx, s.ID, nil, x.now().Add(time.Hour))
	}
	return s, nil
}

// Hear adds a subject to a stream, or takes it out. A stream hears of everybody of
// its organisation at first.
func (x *Service) Hear(ctx context.Context, s Stream, subject secevent.Subject, hears bool) error {
	return x.Streams.Exclude(ctx, s.ID, subject.Key(), !hears, MaxExcluded)
}

// Verify queues a verification event with the receiver's state (SSF 1.0, section
// 8.1.4).
func (x *Service) Verify(ctx context.Context, s Stream, state string) error {
	if len(state) > maxText {
		return sallyport.E("verify stream", sallyport.Invalid, "the state is too long", "")
	}
	e := secevent.Event{Type: secevent.Verification, Subject: secevent.Opaque(s.ID), Fields: map[string]string{}}
	if state != "" {
		e.Fields["state"] = state
	}
	i, err := x.item(ctx, s, e, "")
	if err != nil {
		return err
	}
	return x.Queue.Enqueue(ctx, []Item{i}, 0)
}

// Handle queues what events of the trail are for partners; it is a follower of the
// trail. Each is told to every stream that asks for it once, under an id that
// follows from its place: the same events again are the same tokens.
func (x *Service) Handle(ctx context.Context, events []sallyport.Logged, next uint64) error {
	streams, err := x.Streams.Streams(ctx)
	if err != nil {
		return err
	}
	var items []Item
	for _, l := range events {
		e, about, ok := secevent.Of(l, x.Issuer, func(session string) sallyport.PrincipalID { return x.Owner(ctx, session) })
		if !ok {
			continue
		}
		org := x.Org(about)
		for _, s := range streams {
			told, err := x.hears(ctx, s, e, org, about)
			if err != nil {
				return err
			}
			if !told {
				continue
			}
			i, err := x.item(ctx, s, e, fmt.Sprintf("%d.%s", l.Seq, s.ID))
			if err != nil {
				return err
			}
			items = append(items, i)
		}
	}
	return x.Queue.Enqueue(ctx, items, next)
}

func (x *Service) hears(ctx context.Context, s Stream, e secevent.Event, org string, about sallyport.PrincipalID) (bool, error) {
	if s.Status == Disabled || s.Org != org || !slices.Contains(s.Delivered(), string(e.Type)) {
		return false, nil
	}
	out, err := x.Streams.Excluded(ctx, s.ID, secevent.IssSub(x.Issuer, string(about)).Key())
	return !out, err
}

// item signs an event for a stream. An empty id is drawn.
func (x *Service) item(ctx context.Context, s Stream, e secevent.Event, id string) (Item, error) {
	var err error
	if id == "" {
		if id, err = x.newID(); err != nil {
			return Item{}, err
		}
	}
	now := x.now()
	text, err := x.Keys.Sign(ctx, secevent.Token{Issuer: x.Issuer, Audience: []string{s.Audience}, ID: id, Issued: now, Event: e})
	return Item{Stream: s.ID, ID: id, Text: text, At: now, Due: now}, err
}

// Take acknowledges tokens of a stream and returns the oldest that wait, at most so
// many, and whether there are more. A paused stream is given none.
func (x *Service) Take(ctx context.Context, s Stream, done []string, most int) (items []Item, more bool, err error) {
	if len(done) > 0 {
		if err := x.Queue.Done(ctx, s.ID, done, time.Time{}); err != nil {
			return nil, false, err
		}
	}
	if s.Status != Enabled || most <= 0 {
		return nil, false, nil
	}
	items, total, err := x.Queue.Waiting(ctx, s.ID, x.now().Add(KeepFor), most)
	return items, total > len(items), err
}

// Tend forgets what waited for longer than KeepFor, disables streams for which too
// much waits, and rotates keys. Call it every minute.
func (x *Service) Tend(ctx context.Context) error {
	streams, err := x.Streams.Streams(ctx)
	if err != nil {
		return err
	}
	for _, s := range streams {
		if err := x.Queue.Done(ctx, s.ID, nil, x.now().Add(-KeepFor)); err != nil {
			return err
		}
		_, waiting, err := x.Queue.Waiting(ctx, s.ID, x.now().Add(KeepFor), 1)
		if err != nil {
			return err
		}
		if waiting > MaxWaiting && s.Status != Disabled {
			if _, err := x.SetStatus(ctx, s, Disabled, fmt.Sprintf("%d events waited", waiting)); err != nil {
				return err
			}
		}
	}
	return x.Keys.Tend(ctx)
}

// Header returns the Authorization header that a push receiver wants.
func (x *Service) Header(s Stream) (secret.Text, error) {
	if len(s.Header) == 0 {
		return secret.Text{}, nil
	}
	b, err := x.Open(s.Header, "signals "+s.ID)
	return secret.NewText(string(b)), err
}

func (x *Service) note(ctx context.Context, s Stream, what string) error {
	return x.Note(ctx, sallyport.Event{Type: sallyport.EventChanged, Who: s.Owner, On: "stream:" + s.ID,
		Detail: map[string]string{"what": "event stream " + what, "delivery": s.Method, "events": strings.Join(s.Requested, " "), "why": s.Reason}})
}

func (x *Service) newID() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(x.Random, b[:]); err != nil {
		return "", sallyport.Wrap("event stream", sallyport.Unavailable, "no randomness", err)
	}
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])), nil
}

func (x *Service) now() time.Time { return x.Now().UTC().Truncate(time.Microsecond) }
