package signals

import (
	"context"
	"net/http"
	"time"

	"sallyport"
	"sallyport/internal/identity/secevent"
	"sallyport/internal/identity/signals"
	"sallyport/internal/plumbing/secret"
)

// A delivery is how a receiver gets its events.
type delivery struct {
	Method string `json:"method"`
	URL    string `json:"endpoint_url,omitempty"`
	Header string `json:"authorization_header,omitempty"` // of push; never shown again
}

// A wanted is a stream as a receiver asks for it; in a PATCH what is nil stays.
type wanted struct {
	ID          string    `json:"stream_id"`
	Delivery    *delivery `json:"delivery"`
	Requested   *[]string `json:"events_requested"`
	Description *string   `json:"description"`
}

// A shown is a stream as its receiver sees it (SSF 1.0, section 8.1.1).
type shown struct {
	ID          string   `json:"stream_id"`
	Issuer      string   `json:"iss"`
	Audience    string   `json:"aud"`
	Supported   []string `json:"events_supported"`
	Requested   []string `json:"events_requested"`
	Delivered   []string `json:"events_delivered"`
	Delivery    delivery `json:"delivery"`
	Interval    int      `json:"min_verification_interval"` // seconds
	Description string   `json:"description,omitempty"`
}

func (d *Doors) shown(s signals.Stream) shown {
	out := shown{ID: s.ID, Issuer: d.External, Audience: s.Audience, Supported: supported(), Requested: s.Requested, Delivered: s.Delivered(),
		Delivery: delivery{Method: s.Method, URL: s.URL}, Description: s.Description}
	if s.Method == signals.Poll {
		out.Delivery.URL = d.External + Prefix + "/poll/" + s.ID
	}
	return out
}

// apply puts what is wanted into a stream.
func (w wanted) apply(s *signals.Stream) (header secret.Text) {
	if w.Delivery != nil {
		s.Method, s.URL, s.Header = w.Delivery.Method, w.Delivery.URL, nil
		if s.Method == signals.Poll {
			s.URL = ""
		}
		header = secret.NewText(w.Delivery.Header)
	}
	if w.Requested != nil {
		s.Requested = *w.Requested
	}
	if w.Description != nil {
		s.Description = *w.Description
	}
	return header
}

func (d *Doors) createStream(c *call) (int, any, error) {
	var in wanted
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	s := signals.Stream{Owner: c.who, Org: c.org, Method: signals.Poll}
	header := in.apply(&s)
	s, err := d.Streams.Create(c.Context(), s, header)
	return http.StatusCreated, d.shown(s), err
}

func (d *Doors) getStreams(c *call) (int, any, error) {
	if id := c.URL.Query().Get("stream_id"); id != "" {
		s, err := d.Streams.Get(c.Context(), c.who, id)
		return http.StatusOK, d.shown(s), err
	}
	all, err := d.Streams.Of(c.Context(), c.who)
	out := []shown{}
	for _, s := range all {
		out = append(out, d.shown(s))
	}
	return http.StatusOK, out, err
}

// changeStream is PATCH, and PUT, which puts back what it does not say.
func (d *Doors) changeStream(c *call) (int, any, error) {
	var in wanted
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	s, err := d.Streams.Get(c.Context(), c.who, in.ID)
	if err != nil {
		return 0, nil, err
	}
	if c.Method == http.MethodPut {
		s.Requested, s.Description = nil, ""
		if in.Delivery == nil {
			in.Delivery = &delivery{Method: signals.Poll}
		}
	}
	header := in.apply(&s)
	s, err = d.Streams.Replace(c.Context(), s, header)
	return http.StatusOK, d.shown(s), err
}

func (d *Doors) deleteStream(c *call) (int, any, error) {
	s, err := d.Streams.Get(c.Context(), c.who, c.URL.Query().Get("stream_id"))
	if err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, d.Streams.Drop(c.Context(), s)
}

// A status is whether a stream runs.
type status struct {
	ID     string         `json:"stream_id"`
	Status signals.Status `json:"status"`
	Reason string         `json:"reason,omitempty"`
}

func (d *Doors) getStatus(c *call) (int, any, error) {
	s, err := d.Streams.Get(c.Context(), c.who, c.URL.Query().Get("stream_id"))
	return http.StatusOK, status{s.ID, s.Status, s.Reason}, err
}

func (d *Doors) setStatus(c *call) (int, any, error) {
	var in status
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	s, err := d.Streams.Get(c.Context(), c.who, in.ID)
	if err == nil {
		s, err = d.Streams.SetStatus(c.Context(), s, in.Status, in.Reason)
	}
	return http.StatusOK, status{s.ID, s.Status, s.Reason}, err
}

func (d *Doors) verifyStream(c *call) (int, any, error) {
	var in struct {
		ID    string `json:"stream_id"`
		State string `json:"state"`
	}
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	s, err := d.Streams.Get(c.Context(), c.who, in.ID)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, d.Streams.Verify(c.Context(), s, in.State)
}

func (d *Doors) addSubject(c *call) (int, any, error) {
	return http.StatusOK, nil, d.hear(c, true)
}

func (d *Doors) removeSubject(c *call) (int, any, error) {
	return http.StatusNoContent, nil, d.hear(c, false)
}

func (d *Doors) hear(c *call, hears bool) error {
	var in struct {
		ID      string           `json:"stream_id"`
		Subject secevent.Subject `json:"subject"`
	}
	if err := c.decode(&in); err != nil {
		return err
	}
	s, err := d.Streams.Get(c.Context(), c.who, in.ID)
	if err != nil {
		return err
	}
	if in.Subject.Format != "iss_sub" || in.Subject.Fields["iss"] != d.External {
		return sallyport.E("subjects of a stream", sallyport.Invalid, "a subject is named by our issuer and its id here", "write {\"format\":\"iss_sub\",\"iss\":…,\"sub\":\"user:NAME\"}")
	}
	return d.Streams.Hear(c.Context(), s, secevent.IssSub(d.External, in.Subject.Fields["sub"]), hears)
}

// The limits of a poll.
const (
	mostPolled = 1000
	longPoll   = 20 * time.Second // that a poll without returnImmediately waits
	pollEvery  = 200 * time.Millisecond
)

// poll acknowledges tokens and returns those that wait (RFC 8936, section 2).
func (d *Doors) poll(c *call) (int, any, error) {
	in := struct {
		Most        *int               `json:"maxEvents"`
		Immediately bool               `json:"returnImmediately"`
		Ack         []string           `json:"ack"`
		Errors      map[string]refusal `json:"setErrs"`
	}{}
	if err := c.decode(&in); err != nil {
		return 0, nil, err
	}
	s, err := d.Streams.Get(c.Context(), c.who, c.PathValue("id"))
	if err != nil || s.Method != signals.Poll {
		return 0, nil, sallyport.E("poll", sallyport.NotFound, "there is no such stream that is polled", "")
	}
	most := mostPolled
	if in.Most != nil {
		most = min(max(0, *in.Most), mostPolled)
	}
	if len(in.Ack)+len(in.Errors) > 10*mostPolled {
		return 0, nil, sallyport.E("poll", sallyport.TooLarge, "too many tokens are acknowledged at once", "")
	}
	done := in.Ack
	for id, e := range in.Errors { // the receiver will not take it, however often
		d.Logger.WarnContext(c.Context(), "a receiver refuses an event", "stream", s.ID, "err", sallyport.OneLine(e.Err), "description", sallyport.OneLine(e.Description))
		done = append(done, id)
	}
	items, more, err := d.take(c.Context(), s, done, most, in.Immediately)
	sets := map[string]string{}
	for _, i := range items {
		sets[i.ID] = i.Text
	}
	return http.StatusOK, map[string]any{"sets": sets, "moreAvailable": more}, err
}

func (d *Doors) take(ctx context.Context, s signals.Stream, done []string, most int, immediately bool) ([]signals.Item, bool, error) {
	items, more, err := d.Streams.Take(ctx, s, done, most)
	if immediately || most == 0 || s.Status != signals.Enabled {
		return items, more, err
	}
	end := time.NewTimer(longPoll)
	defer end.Stop()
	again := time.NewTicker(pollEvery)
	defer again.Stop()
	for err == nil && len(items) == 0 {
		select {
		case <-ctx.Done():
			return nil, false, nil
		case <-end.C:
			return nil, false, nil
		case <-again.C:
		}
		items, more, err = d.Streams.Take(ctx, s, nil, most)
	}
	return items, more, err
}
