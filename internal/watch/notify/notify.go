// Package notify owns notices: what people are told of their own accounts (NIST SP 800-63B-4, section 4.6; OWASP ASVS
// 6.3.7), in an inbox that is always there, and by a signed webhook and e-mail where the operator has set them up. It
// follows the trail, so that what is told is what is recorded.
//
// A notice holds no secret and no link but to our own address. The package leaves what is found to watch/detect, whom an
// address belongs to to identity/directory, and pages to web/login.
package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"sallyport"
)

// The limits on what is kept.
const (
	KeptFor  = 90 * 24 * time.Hour
	MaxList  = 200
	maxText  = 400 // bytes
	maxTries = 10  // of one delivery
	first    = 30 * time.Second
	slowest  = 6 * time.Hour
	dueBatch = 50
)

// A Notice is one thing that somebody is told.
type Notice struct {
	ID   string // "N-" and 16 characters
	Who  sallyport.PrincipalID
	Kind string // "signin.new", "weights.pulled", …
	At   time.Time
	Text string // one sentence, or two
	Link string // of our own
	Seq  uint64 // of the event in the trail, 0 of what did not come from one
	Read time.Time
}

// A Delivery is a notice on its way through a channel.
type Delivery struct {
	Notice
	Channel string
	Tries   int
	Due     time.Time // when it is tried next
	Done    time.Time // when it was delivered, or given up
	Lost    bool      // given up
	Why     string    // of the last failure, without what the other side said
}

// A Store keeps notices and deliveries. Methods are safe for concurrent use.
type Store interface {
	// Put keeps notices with a delivery for each of channels, leaves those that are there as they are, and notes that the
	// trail was read up to next unless it is 0, in one transaction.
	Put(ctx context.Context, notices []Notice, channels []string, next uint64) error
	// Next is the number of the first event that was not read yet.
	Next(ctx context.Context) (uint64, error)
	// Notices returns somebody's, the newest first, at most so many.
	Notices(ctx context.Context, who sallyport.PrincipalID, unread bool, most int) ([]Notice, error)
	// MarkRead marks all of somebody's notices up to a time, and says how many.
	MarkRead(ctx context.Context, who sallyport.PrincipalID, upTo, at time.Time) (int, error)
	// Due returns deliveries that are due, the oldest first.
	Due(ctx context.Context, at time.Time, most int) ([]Delivery, error)
	// Tried keeps what became of a delivery: Tries, Due, Done, Lost, Why.
	Tried(ctx context.Context, d Delivery) error
	// Prune forgets notices before a time, with their deliveries.
	Prune(ctx context.Context, before time.Time) error
}

// A Channel carries notices out of the house.
type Channel interface {
	// Name is what deliveries are kept under.
	Name() string
	// Send delivers one notice to an address, "" where none is known. ErrNowhere: there is nothing to send to.
	Send(ctx context.Context, n Notice, address string) error
}

// About answers what a notice needs to know.
type About struct {
	// Restricted reports whether what a name stands for is restricted; Owners who owns it.
	Restricted func(on string) bool
	Owners     func(on string) []sallyport.PrincipalID
	// Charged are those who have a duty about it: "approver", "monitor", "responder"; nil: nobody has.
	Charged func(on, duty string) []sallyport.PrincipalID
	// Administrators are those who run the system.
	Administrators func(ctx context.Context) ([]sallyport.PrincipalID, error)
	// Approvers are the people who may answer a request for approval, NotFound where it is not kept yet; nil: nobody is told.
	Approvers func(ctx context.Context, request string) ([]sallyport.PrincipalID, error)
	// Address is where somebody is written to, "" where that is not known.
	Address func(ctx context.Context, who sallyport.PrincipalID) (string, error)
}

// A Service writes notices. Its fields are set before its first use.
type Service struct {
	Store    Store
	About    About
	Channels []Channel
	External string // our own address, the beginning of every link
	Clock    func() time.Time
	Logger   *slog.Logger
}

// Inbox returns somebody's notices, the newest first.
func (s *Service) Inbox(ctx context.Context, who sallyport.PrincipalID, unread bool) ([]Notice, error) {
	return s.Store.Notices(ctx, who, unread, MaxList)
}

// MarkRead marks what somebody has seen, up to a time.
func (s *Service) MarkRead(ctx context.Context, who sallyport.PrincipalID, upTo time.Time) (int, error) {
	return s.Store.MarkRead(ctx, who, upTo, s.now())
}

// Tell tells somebody at once what does not come from one event. once names it: it is told one time.
func (s *Service) Tell(ctx context.Context, who sallyport.PrincipalID, kind, text, once string) error {
	return s.Store.Put(ctx, []Notice{s.notice(who, kind, text, once, s.now())}, s.channels(), 0)
}

// Alert tells everybody who runs the system.
func (s *Service) Alert(ctx context.Context, kind, text, once string) (int, error) {
	people, err := s.About.Administrators(ctx)
	if err != nil {
		return 0, err
	}
	var all []Notice
	for _, who := range people {
		all = append(all, s.notice(who, kind, text, once, s.now()))
	}
	return len(all), s.Store.Put(ctx, all, s.channels(), 0)
}

// Handle writes notices of events, and keeps that the trail was read up to next.
func (s *Service) Handle(ctx context.Context, events []sallyport.Logged, next uint64) error {
	var all []Notice
	for i := range events {
		made, err := s.compose(ctx, &events[i])
		if err != nil {
			return err
		}
		all = append(all, made...)
	}
	return s.Store.Put(ctx, all, s.channels(), next)
}

func (s *Service) notice(who sallyport.PrincipalID, kind, text, once string, at time.Time) Notice {
	return Notice{ID: ID(who, kind, once), Who: who, Kind: kind, At: at, Text: clip(text), Link: s.External + "/account"}
}

// ID is the id of the notice that Tell makes.
func ID(who sallyport.PrincipalID, kind, once string) string {
	sum := sha256.Sum256([]byte(string(who) + "\x00" + kind + "\x00" + once))
	return "N-" + hex.EncodeToString(sum[:8])
}

func (s *Service) channels() []string {
	names := make([]string, len(s.Channels))
	for i, c := range s.Channels {
		names[i] = c.Name()
	}
	return names
}

// Tend forgets what is too old. Call it now and then.
func (s *Service) Tend(ctx context.Context) error {
	return s.Store.Prune(ctx, s.now().Add(-KeptFor))
}

func (s *Service) now() time.Time { return s.Clock().UTC().Truncate(time.Microsecond) }

// Run delivers what is due until ctx ends.
func (s *Service) Run(ctx context.Context) {
	if len(s.Channels) == 0 {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := s.Deliver(ctx); err != nil && ctx.Err() == nil {
			s.Logger.ErrorContext(ctx, "notices could not be delivered and are tried again", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Deliver tries what is due once.
func (s *Service) Deliver(ctx context.Context) error {
	due, err := s.Store.Due(ctx, s.now(), dueBatch)
	if err != nil {
		return err
	}
	for _, d := range due {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.Store.Tried(ctx, s.try(ctx, d)); err != nil {
			return err
		}
	}
	return nil
}

// try sends a delivery once and says what became of it: delivered, due again later, or lost after too many tries.
func (s *Service) try(ctx context.Context, d Delivery) Delivery {
	d.Tries++
	i := slices.IndexFunc(s.Channels, func(c Channel) bool { return c.Name() == d.Channel })
	var err error
	if i < 0 {
		err = ErrNowhere // the channel was taken out of the configuration
	} else {
		var address string
		if address, err = s.About.Address(ctx, d.Who); err == nil {
			sending, cancel := context.WithTimeout(ctx, sendWithin)
			err = s.Channels[i].Send(sending, d.Notice, address)
			cancel()
		}
	}
	now := s.now()
	switch {
	case err == nil:
		d.Done, d.Why = now, ""
	case err == ErrNowhere || d.Tries >= maxTries:
		d.Done, d.Lost, d.Why = now, true, clip(err.Error())
		if err != ErrNowhere {
			s.Logger.ErrorContext(ctx, "a notice is lost", "notice", d.ID, "channel", d.Channel, "tries", d.Tries, "err", err)
		}
	default:
		d.Due, d.Why = now.Add(min(slowest, first<<min(d.Tries-1, 12))), clip(err.Error())
	}
	return d
}

func clip(s string) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() >= maxText {
			break
		}
		b.WriteString(sallyport.OneLine(string(r)))
	}
	return b.String()
}

func on(e *sallyport.Logged) string { return fmt.Sprintf("record %d", e.Seq) }
