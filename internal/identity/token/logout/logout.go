// Package logout owns what clients are told when a session ends (OpenID Connect Back-Channel Logout): a signed logout
// token for each, sent until it is answered, from a queue that outlives a restart.
//
// It leaves to others which sessions end and why (identity/session), and which clients there are (token/clients).
package logout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/identity/token/keys"
)

// How a client is told.
const (
	Type     = "logout+jwt"     // typ of logout tokens: nothing that asks for another accepts one
	life     = 2 * time.Minute  // of a logout token
	patience = 10 * time.Second // for one answer
	first    = 5 * time.Second  // until the second try; then twice as long each time
	longest  = time.Hour        // between two tries
	giveUp   = 24 * time.Hour   // after the session's end
	atOnce   = 50               // notices of one round
)

// A State is where a notice stands.
type State string

// The states of a notice.
const (
	Waiting State = "waiting"
	Sent    State = "sent"
	Failed  State = "failed" // refused by the client, or never answered
)

// A Notice is one client that must be told that one session ended.
type Notice struct {
	Session   string
	Client    string
	Principal sallyport.PrincipalID
	URI       string
	Created   time.Time
	Due       time.Time // the next try
	Tries     int
	State     State
}

// A Store keeps notices. Every method is safe for concurrent use, durable when it returns, and answers Unavailable when
// the store cannot be used.
type Store interface {
	// AddNotice adds a notice. One of the same session and client stays as it is, and is no error.
	AddNotice(ctx context.Context, n Notice) error
	// DueNotices returns waiting notices that are due, the oldest first.
	DueNotices(ctx context.Context, at time.Time, most int) ([]Notice, error)
	// TakeNotice counts one more try and sets when the next is due. Of any number of nodes one succeeds; the others get
	// Conflict, as the number of tries is no longer n.Tries.
	TakeNotice(ctx context.Context, n Notice, due time.Time) error
	// CloseNotice ends a notice.
	CloseNotice(ctx context.Context, n Notice, state State) error
	// SweepNotices forgets notices that were made before a time.
	SweepNotices(ctx context.Context, before time.Time) error
}

// A Sender tells clients. All fields are needed. Methods are safe for concurrent use.
type Sender struct {
	Issuer   string // iss of logout tokens
	Store    Store
	Families token.FamilyStore
	Clients  *clients.Registry
	Keys     *keys.Keys
	HTTP     *http.Client // must refuse addresses that this server may not call, and follow no redirects
	Now      func() time.Time
	Rand     io.Reader
	Record   func(ctx context.Context, e sallyport.Event) error
}

// Ended queues a notice for each client that learned by a session who its person is.
func (s *Sender) Ended(ctx context.Context, session string) error {
	if session == "" {
		return nil
	}
	families, err := s.Families.Families(ctx, token.Selector{Session: session})
	if err != nil {
		return err
	}
	now := s.now()
	for _, f := range families {
		if !f.OpenID || f.Client == "" {
			continue
		}
		c, err := s.Clients.Find(ctx, f.Client)
		if sallyport.KindOf(err) == sallyport.NotFound || err == nil && c.LogoutURI == "" {
			continue
		}
		if err != nil {
			return err
		}
		n := Notice{Session: session, Client: c.ID, Principal: f.Principal, URI: c.LogoutURI, Created: now, Due: now, State: Waiting}
		if err := s.Store.AddNotice(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// Send tells the clients whose turn it is. An error is of our own making; what clients answer is recorded.
func (s *Sender) Send(ctx context.Context) error {
	due, err := s.Store.DueNotices(ctx, s.now(), atOnce)
	for _, n := range due {
		err = errors.Join(err, s.one(ctx, n))
	}
	return err
}

// Sweep forgets old notices.
func (s *Sender) Sweep(ctx context.Context) error {
	return s.Store.SweepNotices(ctx, s.now().Add(-7*giveUp))
}

func (s *Sender) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

func (s *Sender) one(ctx context.Context, n Notice) error {
	pause := min(first<<min(n.Tries, 20), longest)
	err := s.Store.TakeNotice(ctx, n, s.now().Add(pause))
	if sallyport.KindOf(err) == sallyport.Conflict {
		return nil // another node does it
	}
	if err != nil {
		return err
	}
	answer, final, err := s.tell(ctx, n)
	if err != nil {
		return err
	}
	state := Waiting
	switch {
	case answer == "":
		state = Sent
	case final || s.now().Sub(n.Created) >= giveUp:
		state = Failed
	}
	e := sallyport.Event{Type: sallyport.EventSignalSent, At: s.now().UnixMicro(), Who: n.Principal, Asked: &sallyport.Asked{Door: "oidc", Session: n.Session, Client: n.Client},
		Detail: map[string]string{"what": "back-channel logout", "client": n.Client, "state": string(state), "try": fmt.Sprint(n.Tries + 1)}}
	if answer != "" {
		e.Reasons = []string{answer}
	}
	if err := s.Record(ctx, e); err != nil || state == Waiting {
		return err
	}
	return s.Store.CloseNotice(ctx, n, state)
}

// claims are those of OpenID Connect Back-Channel Logout, section 2.4. There is no nonce, so that nothing takes it for an
// ID token.
type claims struct {
	Issuer   string              `json:"iss"`
	Subject  string              `json:"sub"`
	Audience string              `json:"aud"`
	Issued   int64               `json:"iat"`
	Expires  int64               `json:"exp"`
	ID       string              `json:"jti"`
	Session  string              `json:"sid"`
	Events   map[string]struct{} `json:"events"`
}

const event = "http://schemas.openid.net/event/backchannel-logout"

// tell sends one logout token. answer is "" when the client has taken it; final tells that it never will.
func (s *Sender) tell(ctx context.Context, n Notice) (answer string, final bool, err error) {
	_, id, err := token.NewSecret(s.Rand)
	if err != nil {
		return "", false, err
	}
	now := s.now()
	raw, err := s.Keys.Sign(Type, claims{Issuer: s.Issuer, Subject: string(n.Principal), Audience: n.Client, Issued: now.Unix(), Expires: now.Add(life).Unix(),
		ID: fmt.Sprintf("%x", id[:16]), Session: n.Session, Events: map[string]struct{}{event: {}}}, now)
	if err != nil {
		return "", false, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, n.URI, strings.NewReader(url.Values{"logout_token": {raw.Reveal()}}.Encode()))
	if err != nil {
		return "no address", true, nil
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := s.HTTP.Do(r)
	if err != nil {
		return "no answer", false, nil
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 4<<10)) // what it says does not matter
	switch response.StatusCode {
	case http.StatusOK, http.StatusNoContent:
		return "", true, nil
	case http.StatusBadRequest: // section 2.8: the client refused it
		return "status 400", true, nil
	}
	return fmt.Sprintf("status %d", response.StatusCode), false, nil
}
