package signals

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/identity/heed"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/secevent"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

// A Partner is a transmitter whose events are taken.
type Partner struct {
	heed.Partner
	Audience   string           // what its tokens must be for
	Keys       *jose.Set        // its public keys; nil: fetched from KeysURL
	KeysURL    string           // https address of its key set
	Algorithms []jose.Algorithm // none: RS256, PS256, ES256
	MaxAge     time.Duration    // of a token; 0 is a day
	// Authorization is the header that its pushes must carry besides their signature; empty for none.
	Authorization secret.Text
	PollURL       string // where its events are fetched (RFC 8936); "" = it pushes
	PollToken     secret.Text
	PollEvery     time.Duration // 0 is 10 s
}

// A partner is a Partner at work.
type partner struct {
	Partner
	mu      sync.Mutex
	set     *jose.Set
	fetched time.Time // when its keys were last asked for
	polled  time.Time
	seen    []string           // to acknowledge at the next poll
	wrong   map[string]refusal // to refuse at the next poll
}

const (
	leeway      = time.Minute
	dayOld      = 24 * time.Hour
	keysFresh   = 10 * time.Minute
	keysPause   = 30 * time.Second // between two fetches, whatever asks for one
	actWithin   = time.Minute      // after which another may act on an event whose taker died
	maxToken    = 64 << 10
	maxPolled   = 100
	maxRounds   = 20 // of polling, before there is a pause whatever the partner says
	polledEvery = 10 * time.Second
)

func (p Partner) open(c Config) (*partner, error) {
	bad := func(text string) (*partner, error) {
		return nil, sallyport.E("partner", sallyport.Invalid, fmt.Sprintf("the partner %q %s", p.Name, text), "see docs/scim-and-signals.md")
	}
	if err := sallyport.CheckName("partner", p.Name); err != nil {
		return nil, err
	}
	switch {
	case p.Issuer == "":
		return bad("has no issuer")
	case p.Keys == nil && !https(p.KeysURL) || p.Keys != nil && p.KeysURL != "":
		return bad("has neither a file of keys nor an https address of them, or both")
	case p.PollURL != "" && !https(p.PollURL):
		return bad("is polled at no https address")
	}
	if p.Audience == "" {
		p.Audience = c.External
	}
	if len(p.Algorithms) == 0 {
		p.Algorithms = []jose.Algorithm{jose.RS256, jose.PS256, jose.ES256}
	}
	if p.MaxAge == 0 {
		p.MaxAge = dayOld
	}
	if p.PollEvery == 0 {
		p.PollEvery = polledEvery
	}
	return &partner{Partner: p, set: p.Keys, wrong: map[string]refusal{}}, nil
}

func https(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && u.User == nil && (u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "127.0.0.1" || u.Hostname() == "::1"))
}

// receive takes one pushed token (RFC 8935, section 2).
func (d *Doors) receive(w http.ResponseWriter, r *http.Request) {
	p := d.partners[r.PathValue("partner")]
	if p == nil {
		d.unmapped(w, r)
		return
	}
	if !p.Authorization.IsZero() && subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(p.Authorization.Reveal())) != 1 {
		d.refuse(w, r, p, sallyport.E("event", sallyport.Unknown, "the Authorization header is not the one that was agreed", "").Because("authentication_failed"))
		return
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/secevent+jwt" {
		d.refuse(w, r, p, sallyport.E("event", sallyport.Invalid, "the body is no application/secevent+jwt", "").Because("invalid_request"))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxToken))
	if err != nil {
		d.refuse(w, r, p, sallyport.Wrap("event", sallyport.Invalid, "the token is over 64 KiB or broke off", err).Because("invalid_request"))
		return
	}
	if err := d.accept(r.Context(), p, string(body)); err != nil {
		d.refuse(w, r, p, err)
		return
	}
	d.answer(w, r, http.StatusAccepted, nil)
}

// refuse records a token that was not taken, and says why in the words of RFC 8935,
// section 2.4. What is our own failure is answered as one, so that it comes again.
func (d *Doors) refuse(w http.ResponseWriter, r *http.Request, p *partner, err error) {
	if d.ours(err) {
		d.fail(w, r, err)
		return
	}
	if nerr := d.noteRefused(r.Context(), p, httpsafe.PeerIP(r), err); nerr != nil {
		d.fail(w, r, nerr)
		return
	}
	d.answer(w, r, http.StatusBadRequest, refusal{sallyport.ReasonOf(err), sallyport.PublicText(err)})
}

// ours reports an error that is not about the token.
func (d *Doors) ours(err error) bool {
	kind := sallyport.KindOf(err)
	return kind != sallyport.Unknown && kind != sallyport.Invalid
}

func (d *Doors) noteRefused(ctx context.Context, p *partner, ip string, err error) error {
	return d.Heed.Note(ctx, sallyport.Event{Type: sallyport.EventSignalReceived, Outcome: "refused", Reasons: []string{sallyport.ReasonOf(err)},
		Asked: &sallyport.Asked{Door: "signals", IP: ip}, Detail: map[string]string{"partner": p.Name, "why": sallyport.OneLine(sallyport.PublicText(err))}})
}

// accept acts on one token and takes it: the same again is acknowledged and does
// nothing. One that could not be acted on to the end is not taken, and comes again.
func (d *Doors) accept(ctx context.Context, p *partner, text string) error {
	ctx = context.WithoutCancel(ctx)
	now := d.Now()
	set, err := p.keys(ctx, d, text, now)
	if err != nil {
		return err
	}
	t, err := secevent.Verify(text, set, secevent.Rules{Issuer: p.Issuer, Audience: p.Audience, Algorithms: p.Algorithms, Now: now, MaxAge: p.MaxAge, Leeway: leeway})
	if err != nil {
		return err
	}
	queue := d.Streams.Queue
	switch err := queue.See(ctx, t.Issuer, t.ID, now.Add(actWithin), now); {
	case sallyport.KindOf(err) == sallyport.Conflict && err != nil:
		return nil // it was taken before
	case err != nil:
		return sallyport.Wrap("event", sallyport.Unavailable, "the event cannot be acted on now", err)
	}
	did, err := d.Heed.Heed(ctx, p.Partner.Partner, t)
	if err != nil {
		if serr := queue.Settle(ctx, t.Issuer, t.ID, time.Time{}); serr != nil {
			d.Logger.WarnContext(ctx, "an event that failed comes again a minute later than it could", "partner", p.Name, "err", serr)
		}
		return sallyport.Wrap("event", sallyport.Unavailable, "the event cannot be acted on now", err)
	}
	// Acted on first and known as taken afterwards: twice costs a sign-in, never would leave a thief signed in.
	if err := queue.Settle(ctx, t.Issuer, t.ID, now.Add(p.MaxAge+2*leeway)); err != nil {
		return sallyport.Wrap("event", sallyport.Unavailable, "the event was acted on, and that could not be kept", err)
	}
	d.Logger.InfoContext(ctx, "a partner's event", "partner", p.Name, "event", t.Event.Type.Name(), "did", did)
	return nil
}

// keys returns the partner's keys, fetched anew where they are old or lack the one
// that the token names, and not more often than each half minute.
func (p *partner) keys(ctx context.Context, d *Doors, text string, now time.Time) (*jose.Set, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.KeysURL == "" {
		return p.set, nil
	}
	u, err := jose.Peek(text)
	if err != nil {
		return nil, sallyport.Wrap("event", sallyport.Unknown, "the token cannot be read", err).Because("authentication_failed")
	}
	old := p.set == nil || now.Sub(p.fetched) > keysFresh || !p.set.Has(u.Header.KeyID)
	if !old || !p.fetched.IsZero() && now.Sub(p.fetched) < keysPause {
		if p.set == nil {
			return nil, sallyport.E("event", sallyport.Unavailable, "the partner's keys cannot be had", "")
		}
		return p.set, nil
	}
	p.fetched = now
	set, err := fetchKeys(ctx, d.Send, p.KeysURL)
	if err != nil && p.set == nil {
		return nil, sallyport.Wrap("event", sallyport.Unavailable, "the partner's keys cannot be had", err)
	}
	if err != nil {
		d.Logger.WarnContext(ctx, "a partner's keys cannot be fetched", "partner", p.Name, "err", err)
		return p.set, nil
	}
	p.set = set
	return set, nil
}

func fetchKeys(ctx context.Context, client *http.Client, from string) (*jose.Set, error) {
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	a, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(a.Body, maxToken+1))
	if err != nil || a.StatusCode != http.StatusOK || len(raw) > maxToken {
		return nil, fmt.Errorf("the address of the keys answered %s: %w", a.Status, err)
	}
	return jose.ParseSet(raw)
}

// pollPartner fetches the events of a partner that does not push, until there are
// none or it was asked maxRounds times, and acknowledges those of the time before.
func (d *Doors) pollPartner(ctx context.Context, p *partner) error {
	if p.PollURL == "" || d.Now().Sub(p.polled) < p.PollEvery {
		return nil
	}
	p.polled = d.Now()
	for more, round := true, 0; more && round < maxRounds && ctx.Err() == nil; round++ {
		sets, again, err := d.pollOnce(ctx, p)
		if err != nil {
			return err
		}
		p.seen, p.wrong = nil, map[string]refusal{}
		for id, text := range sets {
			switch err := d.accept(ctx, p, text); {
			case err == nil:
				p.seen = append(p.seen, id)
			case d.ours(err):
				return err // it stays there, and comes again
			default:
				p.wrong[id] = refusal{sallyport.ReasonOf(err), sallyport.PublicText(err)}
				if err := d.noteRefused(ctx, p, "", err); err != nil {
					return err
				}
			}
		}
		more = again || len(p.seen)+len(p.wrong) > 0 // once more, to acknowledge
	}
	return nil
}

func (d *Doors) pollOnce(ctx context.Context, p *partner) (map[string]string, bool, error) {
	body, err := json.Marshal(map[string]any{"maxEvents": maxPolled, "returnImmediately": true, "ack": append([]string{}, p.seen...), "setErrs": p.wrong})
	if err != nil {
		return nil, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.PollURL, bytes.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	if !p.PollToken.IsZero() {
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(p.PollToken.Reveal()))
	}
	a, err := d.Send.Do(r)
	if err != nil {
		return nil, false, err
	}
	defer a.Body.Close()
	var out struct {
		Sets map[string]string `json:"sets"`
		More bool              `json:"moreAvailable"`
	}
	if a.StatusCode != http.StatusOK {
		return nil, false, fmt.Errorf("the partner answered %s", a.Status)
	}
	err = json.NewDecoder(io.LimitReader(a.Body, (maxPolled+1)*maxToken)).Decode(&out)
	return out.Sets, out.More, err
}
