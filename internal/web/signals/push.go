package signals

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// Run pushes what waits and polls partners, until ctx ends. Each stream and each partner is served by itself: one that is
// slow, or whose answers have no end, keeps nobody else waiting.
func (d *Doors) Run(ctx context.Context) {
	work := errands{under: map[string]bool{}}
	defer work.all.Wait()
	tick := time.NewTicker(pushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		streams, err := d.pushed(ctx)
		if err != nil && ctx.Err() == nil {
			d.Logger.WarnContext(ctx, "events could not be pushed", "err", err)
		}
		for _, s := range streams {
			work.start("stream "+s.ID, func() {
				if err := d.pushStream(ctx, s); err != nil && ctx.Err() == nil {
					d.Logger.WarnContext(ctx, "events could not be pushed", "stream", s.ID, "err", err)
				}
			})
		}
		for _, p := range d.partners {
			work.start("partner "+p.Name, func() {
				if err := d.pollPartner(ctx, p); err != nil && ctx.Err() == nil {
					d.Logger.WarnContext(ctx, "a partner could not be polled", "partner", p.Name, "err", err)
				}
			})
		}
	}
}

// errands are done at once, of one name one at a time.
type errands struct {
	all   sync.WaitGroup
	mu    sync.Mutex
	under map[string]bool // way
}

// start begins an errand, unless one of its name is under way.
func (e *errands) start(name string, do func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.under[name] {
		return
	}
	e.under[name] = true
	e.all.Go(func() {
		do()
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.under, name)
	})
}

// pushed are the streams whose events are pushed.
func (d *Doors) pushed(ctx context.Context) ([]signals.Stream, error) {
	all, err := d.Streams.Streams.Streams(ctx)
	return slices.DeleteFunc(all, func(s signals.Stream) bool { return s.Method != signals.Push || s.Status != signals.Enabled }), err
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
