package signals

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/signals"
)

// The pace of pushing: how often is looked, how many at a time, how long one may
// take, and the longest pause after failures.
const (
	pushEvery  = time.Second
	pushAtOnce = 100
	sendWithin = 15 * time.Second
	mostPause  = time.Hour
)

// Run pushes what waits and polls partners, until ctx ends.
func (d *Doors) Run(ctx context.Context) {
	tick := time.NewTicker(pushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := d.PushAll(ctx); err != nil && ctx.Err() == nil {
			d.Logger.WarnContext(ctx, "events could not be pushed", "err", err)
		}
		for _, p := range d.partners {
			if err := d.pollPartner(ctx, p); err != nil && ctx.Err() == nil {
				d.Logger.WarnContext(ctx, "a partner could not be polled", "partner", p.Name, "err", err)
			}
		}
	}
}

// PushAll pushes what is due on every stream, in order. A stream whose receiver
// does not answer waits, longer each time; the others do not.
func (d *Doors) PushAll(ctx context.Context) error {
	streams, err := d.Streams.Streams.Streams(ctx)
	if err != nil {
		return err
	}
	for _, s := range streams {
		if s.Method != signals.Push || s.Status != signals.Enabled {
			continue
		}
		if err := d.pushStream(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (d *Doors) pushStream(ctx context.Context, s signals.Stream) error {
	now := d.Now()
	items, _, err := d.Streams.Queue.Waiting(ctx, s.ID, now, pushAtOnce)
	if err != nil || len(items) == 0 {
		return err
	}
	first, _, err := d.Streams.Queue.Waiting(ctx, s.ID, now.Add(signals.KeepFor), 1)
	if err != nil || len(first) == 0 || first[0].Due.After(now) {
		return err // the oldest waits for its receiver: those behind it wait with it
	}
	var done []string
	refused := 0
	for _, i := range items {
		outcome, text := d.push(ctx, s, i)
		if outcome == retry {
			i.Tries++
			i.Due = now.Add(min(mostPause, time.Second<<min(i.Tries, 12)))
			d.Logger.WarnContext(ctx, "a receiver did not take an event", "stream", s.ID, "tries", i.Tries, "why", text)
			if err := d.Streams.Queue.Later(ctx, i); err != nil {
				return err
			}
			break
		}
		if outcome == refuse {
			refused++
			d.Logger.WarnContext(ctx, "a receiver refuses an event", "stream", s.ID, "why", text)
		}
		done = append(done, i.ID)
	}
	if len(done) == 0 {
		return nil
	}
	e := sallyport.Event{Type: sallyport.EventSignalSent, Who: s.Owner, On: "stream:" + s.ID, Detail: map[string]string{"events": strconv.Itoa(len(done)), "refused": strconv.Itoa(refused)}}
	if err := d.Streams.Note(ctx, e); err != nil {
		return err
	}
	return d.Streams.Queue.Done(ctx, s.ID, done, time.Time{})
}

// The outcomes of one attempt.
const (
	taken  = "taken"
	refuse = "refuse" // the receiver will not take it, however often
	retry  = "retry"
)

func (d *Doors) push(ctx context.Context, s signals.Stream, i signals.Item) (outcome, why string) {
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, strings.NewReader(i.Text))
	if err != nil {
		return refuse, err.Error()
	}
	header, err := d.Streams.Header(s)
	if err != nil {
		return retry, err.Error()
	}
	r.Header.Set("Content-Type", "application/secevent+jwt")
	r.Header.Set("Accept", "application/json")
	if !header.IsZero() {
		r.Header.Set("Authorization", header.Reveal())
	}
	a, err := d.Send.Do(r)
	if err != nil {
		return retry, err.Error()
	}
	defer a.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(a.Body, 4096)) // what it says is for our log only
	switch {
	case a.StatusCode >= 200 && a.StatusCode < 300:
		return taken, ""
	case a.StatusCode == http.StatusBadRequest:
		var e refusal
		if json.Unmarshal(body, &e) == nil && e.Err != "" && e.Err != "authentication_failed" && e.Err != "access_denied" && e.Err != "invalid_key" {
			return refuse, sallyport.OneLine(e.Err + " " + e.Description)
		}
	}
	return retry, a.Status
}
