package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sallyport/internal/audit/tlog"
	"sallyport/internal/audit/trail"
	"sallyport/internal/audit/trail/tiles"
)

// records measures how many records a second the trail makes durable.
func (r *run) records(ctx context.Context) (err error) {
	dir, err := r.sub("records")
	if err != nil {
		return err
	}
	log, err := openTrail(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	for _, n := range r.size.recorders {
		all, err := turns(ctx, r.size.rounds, recording(log, n, r.size.round), appends(dir, r.size.round/2))
		if err != nil {
			return err
		}
		r.recordRows(n, all)
	}
	return nil
}

func (r *run) recordRows(n int, all [][]sample) {
	const group, against = "records", "write and fsync, one by one"
	who := fmt.Sprintf("%d clients", n)
	if n == 1 {
		who = "1 client"
	}
	r.add(ratio(of(all[0], rate), of(all[1], rate), "records/s", against), group, "gain, "+who,
		"durable records a second against a loop that writes and fsyncs each alone: what one fsync for many gains; the Merkle log is fed meanwhile")
	if n == 256 {
		r.add(figure(of(all[0], rate), "records/s").atLeast(30_000), group, "rate, "+who, "durable records a second in bursts; what lasts is bounded by how fast the Merkle log takes them")
	}
	r.add(ratio(of(all[0], micros), of(all[1], micros), "µs", "p50 of write and fsync"), group, "acknowledgement p50, "+who, "how long a call waits for its record")
	r.add(ratio(of(all[0], worst), of(all[1], worst), "µs", "p99 of write and fsync"), group, "acknowledgement p99, "+who, "how long one call in a hundred waits for its record")
}

// openTrail makes a trail of its own, kept as a server keeps it.
func openTrail(ctx context.Context, dir string) (*trail.Trail, error) {
	const origin = "sallyport.bench/log"
	private, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return nil, err
	}
	trusted, err := tlog.ParsePolicy(public)
	if err != nil {
		return nil, err
	}
	tree, err := tiles.Open(ctx, filepath.Join(dir, "log"), signer, tiles.Options{})
	if err != nil {
		return nil, err
	}
	t, err := trail.Open(ctx, tree, trail.Options{Dir: filepath.Join(dir, "trail"), Origin: origin, Policy: trusted})
	if err != nil {
		return nil, errors.Join(err, tree.Close())
	}
	return t, nil
}

// recording writes records of about 350 bytes from n goroutines for d, and then
// waits until the Merkle log has them, so that no round pays for the one before.
func recording(log *trail.Trail, n int, d time.Duration) side {
	event := fmt.Appendf(nil, `{"t":"decided","pad":%q}`, strings.Repeat("x", 320))
	return func(ctx context.Context) (sample, error) {
		times, errs := make([][]time.Duration, n), make([]error, n)
		var running sync.WaitGroup
		begin := time.Now()
		for i := range n {
			running.Go(func() {
				for from := time.Now(); errs[i] == nil && (len(times[i]) == 0 || from.Sub(begin) < d); {
					_, err := log.Record(ctx, event)
					now := time.Now()
					times[i], errs[i], from = append(times[i], now.Sub(from)), errors.Join(err, ctx.Err()), now
				}
			})
		}
		running.Wait()
		s := sampled(slices.Concat(times...), time.Since(begin))
		return s, errors.Join(errors.Join(errs...), caughtUp(ctx, log))
	}
}

func caughtUp(ctx context.Context, log *trail.Trail) error {
	for {
		h := log.Health()
		if err := errors.Join(h.Ready(), ctx.Err()); err != nil {
			return err
		}
		if h.Fed == h.Durable {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}
