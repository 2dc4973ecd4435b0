package drill

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// Below is the path under which the pages of drills lie, with the link's secret behind it.
const Below = "/confirm/"

// A Service runs drills. Its fields are set before its first use; its methods may be called concurrently.
type Service struct {
	Store Store
	// Note writes an event to the trail. Where it fails nothing is kept, and nothing is sent.
	Note func(context.Context, sallyport.Event) error
	// Tell delivers a notice like any other; once names it. NoticeID is the id that it then has.
	Tell     func(ctx context.Context, who sallyport.PrincipalID, kind, text, once string) error
	NoticeID func(who sallyport.PrincipalID, kind, once string) string
	// Person reports whether somebody is an active person of the house, by their main account, and no guest.
	Person func(who sallyport.PrincipalID) bool
	// Learned records that somebody has read what a drill teaches.
	Learned  func(ctx context.Context, who sallyport.PrincipalID, drill string) error
	Key      secret.Bytes // from which links are made: whoever has the store alone can make none
	External string       // our own address, the beginning of every link
	Rand     io.Reader
	Clock    func() time.Time
	Logger   *slog.Logger

	once sync.Once
	wake chan struct{}
}

// By is who does something: the account, the person behind it, and the decision that permitted it.
type By struct {
	Who, Person sallyport.PrincipalID
	Decision    string
}

// note records what somebody did, before it has an effect.
func (s *Service) note(ctx context.Context, by By, on string, detail map[string]string) error {
	return s.Note(ctx, sallyport.Event{Type: sallyport.EventDrill, Who: by.Who, Decision: by.Decision, On: on, Detail: detail})
}

// Join makes a person a volunteer, by their own word; Leave ends it. Both may be said twice.
func (s *Service) Join(ctx context.Context, by By) error {
	if by.Who != by.Person || !s.Person(by.Who) {
		return sallyport.E("join drills", sallyport.Conflict, "drills are for people of the house, by their main account", "sign in as yourself")
	}
	return s.volunteer(ctx, by, "joined", s.now())
}

// Leave is the end of taking part: nothing more is sent, also of a drill that is under way.
func (s *Service) Leave(ctx context.Context, by By) error {
	return s.volunteer(ctx, by, "left", time.Time{})
}

func (s *Service) volunteer(ctx context.Context, by By, what string, since time.Time) error {
	all, err := s.Store.Volunteers(ctx)
	if err != nil {
		return err
	}
	if _, is := all[by.Person]; is != since.IsZero() {
		return nil
	}
	if err := s.note(ctx, by, string(by.Person), map[string]string{"what": what}); err != nil {
		return err
	}
	return s.Store.Volunteer(ctx, by.Person, since)
}

// Start sends a drill to every active volunteer but the one who starts it and those who have one that waits for an answer;
// to 200 of them, by lot, where they are more. It returns the drill and to how many it goes.
func (s *Service) Start(ctx context.Context, kind Kind, span time.Duration, by By) (Drill, int, error) {
	const op = "start drill"
	if _, err := ParseKind(string(kind)); err != nil {
		return Drill{}, 0, err
	}
	if err := checkSpan(span); err != nil {
		return Drill{}, 0, err
	}
	var raw [10]byte
	if _, err := io.ReadFull(s.Rand, raw[:]); err != nil {
		return Drill{}, 0, sallyport.Wrap(op, sallyport.Unavailable, "no randomness", err)
	}
	now := s.now()
	d := Drill{ID: "DR-" + base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").EncodeToString(raw[:])[:10], Kind: kind, By: by.Who, Begun: now, Ends: now.Add(span)}
	lures, err := s.lures(ctx, d, by.Person)
	if err != nil {
		return Drill{}, 0, err
	}
	if len(lures) == 0 {
		return Drill{}, 0, sallyport.E(op, sallyport.Conflict, "no volunteer can be sent one now", "people join by 'sallyport drill join'; whoever has a drill that waits gets no second one")
	}
	detail := map[string]string{"what": "started", "kind": string(kind), "until": d.Ends.Format(time.RFC3339), "people": fmt.Sprint(len(lures))}
	if err := s.note(ctx, by, d.ID, detail); err != nil {
		return Drill{}, 0, err
	}
	if err := s.Store.Begin(ctx, d, lures); err != nil {
		return Drill{}, 0, err
	}
	select {
	case s.waker() <- struct{}{}:
	default: // woken already
	}
	return d, len(lures), nil
}

// lures are those of a new drill. Links are as good as chance: their order is the lot.
func (s *Service) lures(ctx context.Context, d Drill, starter sallyport.PrincipalID) ([]Lure, error) {
	all, err := s.Store.Volunteers(ctx)
	if err != nil {
		return nil, err
	}
	waiting, err := s.Store.Lures(ctx, Filter{Open: d.Begun})
	if err != nil {
		return nil, err
	}
	has := map[sallyport.PrincipalID]bool{}
	for _, x := range waiting {
		has[x.Who] = true
	}
	var lures []Lure
	for who := range all {
		if who != starter && !has[who] && s.Person(who) {
			lures = append(lures, Lure{Link: hash(s.link(d.ID, who)), Drill: d.ID, Who: who, Due: d.Begun})
		}
	}
	slices.SortFunc(lures, func(a, b Lure) int { return cmp.Compare(a.Link, b.Link) })
	return lures[:min(len(lures), MaxPeople)], nil
}

// link is the secret of one person's link: 160 bits that nobody makes without the key.
func (s *Service) link(drill string, who sallyport.PrincipalID) string {
	mac := hmac.New(sha256.New, s.Key.Reveal())
	mac.Write([]byte("drill\x00" + drill + "\x00" + string(who)))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:20])
}

func hash(link string) string {
	sum := sha256.Sum256([]byte(link))
	return hex.EncodeToString(sum[:])
}

// Address is where a lure's page is.
func (s *Service) Address(x Sent) string { return s.External + Below + s.link(x.Drill, x.Who) }

func (s *Service) waker() chan struct{} {
	s.once.Do(func() { s.wake = make(chan struct{}, 1) })
	return s.wake
}

// Run sends what is due, at once when a drill starts and then each minute, until ctx ends. What fails is logged and tried
// again.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(apart)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := s.Tend(ctx); err != nil && ctx.Err() == nil {
			s.Logger.WarnContext(ctx, "a drill could not be sent to everybody and is tried again", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-s.waker():
		case <-tick.C:
		}
	}
}

// Tend sends what is due, to whoever still takes part. Somebody who cannot be told keeps none of the others waiting.
func (s *Service) Tend(ctx context.Context) error {
	due, err := s.Store.Lures(ctx, Filter{Due: s.now()})
	if err != nil {
		return err
	}
	for _, x := range due {
		err = errors.Join(err, s.send(ctx, x))
	}
	return err
}

// send delivers one prompt, and then keeps that it did: after a crash between the two it is told again, which is once.
func (s *Service) send(ctx context.Context, x Sent) error {
	now := s.now()
	sent := x.Open(now) && s.Person(x.Who)
	if sent {
		kind, text := x.Of.Kind.notice(s.Address(x), x.Prompts)
		if err := s.Tell(ctx, x.Who, kind, text, once(x.Drill, x.Prompts)); err != nil {
			return err
		}
	}
	_, err := s.Store.Update(ctx, x.Link, func(is *Sent) error {
		switch {
		case !sent || !is.Open(now):
			is.Due = time.Time{}
		case is.Prompts == x.Prompts:
			is.Prompts++
			is.Due = x.Of.Kind.next(is.Prompts, now)
		}
		return nil
	})
	return err
}

// absent is the answer to whoever may not know that a link is there.
func absent() error {
	return sallyport.E("open page", sallyport.NotFound, "there is no such page", "")
}

// Find returns what a link leads somebody to. Everybody but the one whom it was sent to, and anybody long after the end, is
// told that there is nothing.
func (s *Service) Find(ctx context.Context, who sallyport.PrincipalID, link string) (Sent, error) {
	if who == "" {
		return Sent{}, absent()
	}
	all, err := s.Store.Lures(ctx, Filter{Link: hash(link), Who: who})
	if err != nil {
		return Sent{}, err
	}
	if len(all) != 1 || !s.now().Before(all[0].Of.Ends.Add(ReadWithin)) {
		return Sent{}, absent()
	}
	return all[0], nil
}

// Answer keeps a person's first answer to what they were sent. It brings about nothing else. about is what they said to it.
func (s *Service) Answer(ctx context.Context, by By, x Sent, a Answer, about string) (Sent, error) {
	const op = "answer"
	if by.Who != x.Who || a != Fell && a != Denied && a != Reported {
		return Sent{}, absent()
	}
	now := s.now()
	over := sallyport.E(op, sallyport.Conflict, "this is over", "reload the page")
	if !x.Open(now) {
		return Sent{}, over
	}
	detail := map[string]string{"what": "answered", "kind": string(x.Of.Kind), "answer": string(a)}
	if about != "" {
		detail["about"] = about
	}
	if err := s.note(ctx, by, x.Drill, detail); err != nil {
		return Sent{}, err
	}
	return s.Store.Update(ctx, x.Link, func(is *Sent) error {
		if !is.Open(now) {
			return over
		}
		is.Answer, is.Answered, is.Due = a, now, time.Time{}
		return nil
	})
}

// Read keeps that a person has read the signs of a drill that is over for them, and records that they are trained: once for
// each drill.
func (s *Service) Read(ctx context.Context, x Sent) (Sent, error) {
	now := s.now()
	if x.Open(now) || !x.Learned.IsZero() {
		return Sent{}, sallyport.E("read", sallyport.Conflict, "there is nothing to confirm here", "reload the page")
	}
	if err := s.Learned(ctx, x.Who, x.Drill); err != nil {
		return Sent{}, err
	}
	return s.Store.Update(ctx, x.Link, func(is *Sent) error {
		is.Learned = now
		return nil
	})
}

// Named returns what somebody was sent, where name is one of its notices or its link; ok is false for everything else. It
// guesses nothing: what does not name a drill exactly is none.
func (s *Service) Named(ctx context.Context, who sallyport.PrincipalID, name string) (x Sent, ok bool, err error) {
	link, isLink := strings.CutPrefix(strings.TrimPrefix(name, s.External), Below)
	if !isLink && !strings.HasPrefix(name, "N-") {
		return Sent{}, false, nil
	}
	all, err := s.Store.Lures(ctx, Filter{Who: who})
	if err != nil {
		return Sent{}, false, err
	}
	for _, x := range all {
		if isLink && x.Link == hash(link) {
			return x, true, nil
		}
		for n := range x.Of.Kind.prompts() {
			kind, _ := x.Of.Kind.notice("", n)
			if name == s.NoticeID(who, kind, once(x.Drill, n)) {
				return x, true, nil
			}
		}
	}
	return Sent{}, false, nil
}

func (s *Service) now() time.Time { return s.Clock().UTC().Truncate(time.Microsecond) }
