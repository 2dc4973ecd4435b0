package codes

import (
	"context"
	"io"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/plumbing/secret"
)

// Polling of a device code (RFC 8628, section 3.5).
const (
	PollInterval = 5 * time.Second // at first
	SlowDown     = 5 * time.Second // what each hurried poll adds
)

// userLetters have no vowels, so that no code is a word, and nothing that looks like something else.
const (
	userLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userLength  = 8 // 34 bits: guessable, and so throttled
)

// newUserCode draws letters without favouring any: bytes from 240 on are drawn again.
func newUserCode(random io.Reader) (string, error) {
	var code [userLength]byte
	var b [1]byte
	for i := 0; i < userLength; {
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return "", sallyport.Wrap("draw a user code", sallyport.Unavailable, "no randomness", err)
		}
		if b[0] < 240 {
			code[i] = userLetters[b[0]%20]
			i++
		}
	}
	return string(code[:]), nil
}

// NormalUserCode accepts a user code as people type it, in any case, with spaces and hyphens, and returns the eight
// letters, or false where it cannot be one.
func NormalUserCode(s string) (string, bool) {
	if len(s) > 32 {
		return "", false
	}
	s = strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(s))
	if len(s) != userLength || strings.Trim(s, userLetters) != "" {
		return "", false
	}
	return s, true
}

// ShowUserCode spells a user code for people: XXXX-XXXX.
func ShowUserCode(code string) string {
	if len(code) != userLength {
		return code
	}
	return code[:4] + "-" + code[4:]
}

// A Started is what a client gets that asked for a device code.
type Started struct {
	Code     secret.Text
	UserCode string // XXXX-XXXX
	Expires  time.Time
	Interval time.Duration
}

// StartDevice notes that a client without a browser of its own asks for an approval. Of the ask it takes what the code
// flow does not have alone.
func (s *Service) StartDevice(ctx context.Context, by token.By, ask Ask) (Started, error) {
	if !by.Client.Allows(clients.Device) {
		return Started{}, fault("unauthorized_client", "the client may not use device codes", "")
	}
	scope, audiences, err := by.Client.Resolve(ask.Scope, ask.Audiences, ask.OpenID)
	if err != nil {
		return Started{}, err
	}
	now := s.now()
	for range 8 { // two of 25,600,000,000 codes meet now and then
		raw, hash, err := token.NewSecret(s.Issuer.Rand)
		if err != nil {
			return Started{}, err
		}
		user, err := newUserCode(s.Issuer.Rand)
		if err != nil {
			return Started{}, err
		}
		err = s.Store.AddDevice(ctx, Device{
			Hash: hash, UserHash: token.HashOf(user), Client: by.Client.ID, Scope: scope, Audiences: audiences, From: by.IP,
			State: Pending, Created: now, Expires: now.Add(DeviceLifetime), Interval: PollInterval,
			OpenID: ask.OpenID, Detailed: ask.Detailed, Purpose: ask.Purpose,
		})
		if sallyport.KindOf(err) == sallyport.Conflict {
			continue
		}
		if err != nil {
			return Started{}, err
		}
		return Started{Code: raw, UserCode: ShowUserCode(user), Expires: now.Add(DeviceLifetime), Interval: PollInterval}, nil
	}
	return Started{}, sallyport.E("start device request", sallyport.Busy, "no free user code", "try again later")
}

// Device returns the request that a user code stands for. The caller throttles: a user code can be guessed.
func (s *Service) Device(ctx context.Context, userCode string) (Device, error) {
	code, ok := NormalUserCode(userCode)
	if ok {
		d, err := s.Store.FindDevice(ctx, token.HashOf(code), s.now())
		if sallyport.KindOf(err) != sallyport.NotFound {
			return d, err
		}
	}
	return Device{}, sallyport.E("device code", sallyport.NotFound, "no request has this code", "check the letters; a code is good for ten minutes")
}

// ApproveDevice starts a family for the request behind a user code.
func (s *Service) ApproveDevice(ctx context.Context, who sallyport.Principal, userCode string) error {
	d, err := s.Device(ctx, userCode)
	if err != nil {
		return err
	}
	c, err := s.Issuer.Clients.Find(ctx, d.Client)
	if err != nil {
		return err
	}
	scope, audiences, err := c.Resolve(d.Scope, d.Audiences, d.OpenID)
	if err != nil {
		return err
	}
	f, err := s.Issuer.Start(ctx, who, token.Approval{Client: c, Scope: scope, Audiences: audiences, Purpose: d.Purpose, OpenID: d.OpenID, Detailed: d.Detailed})
	if err != nil {
		return err
	}
	return s.Store.DecideDevice(ctx, d.UserHash, Approved, f.ID, s.now())
}

// DenyDevice refuses the request behind a user code.
func (s *Service) DenyDevice(ctx context.Context, userCode string) error {
	d, err := s.Device(ctx, userCode)
	if err != nil {
		return err
	}
	return s.Store.DecideDevice(ctx, d.UserHash, Denied, "", s.now())
}

// PollDevice answers a client that waits (RFC 8628, section 3.5): tokens, once, or an error whose reason is
// authorization_pending, slow_down, access_denied, expired_token or invalid_grant.
func (s *Service) PollDevice(ctx context.Context, by token.By, code secret.Text, want token.Want) (token.Issued, error) {
	if !by.Client.Allows(clients.Device) {
		return token.Issued{}, fault("unauthorized_client", "the client may not use device codes", "")
	}
	now := s.now()
	d, err := s.Store.PollDevice(ctx, token.HashOf(code.Reveal()), by.Client.ID, now)
	if sallyport.KindOf(err) == sallyport.NotFound {
		return token.Issued{}, fault("invalid_grant.unknown", "the device code is not valid", "start again")
	}
	if err != nil {
		return token.Issued{}, err
	}
	switch {
	case d.State == Done:
		return token.Issued{}, usedDevice()
	case !now.Before(d.Expires):
		return token.Issued{}, fault("expired_token", "the device code has expired", "start again")
	case d.State == Denied:
		return token.Issued{}, fault("access_denied", "the person refused", "")
	case d.Slow:
		return token.Issued{}, fault("slow_down", "asked too soon", "wait five seconds longer between two requests")
	case d.State != Approved:
		return token.Issued{}, fault("authorization_pending", "nobody has decided yet", "ask again after the interval")
	}
	f, err := s.Issuer.Family(ctx, d.Family)
	if err != nil {
		return token.Issued{}, err
	}
	return s.Issuer.First(ctx, f, want, by, token.Ticket{Use: func(ctx context.Context) error {
		err := s.Store.TakeDevice(ctx, d.Hash)
		if sallyport.KindOf(err) == sallyport.Conflict {
			err = usedDevice()
		}
		return err
	}})
}

func usedDevice() error {
	return fault("invalid_grant.used", "the device code was used", "start again")
}
