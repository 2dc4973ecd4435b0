package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/enforce/guard"
)

// TestFull makes a whole run of the groups that the environment names: the figures
// of the report, with profiles.
func TestFull(t *testing.T) {
	only := os.Getenv("SALLYPORT_BENCH")
	if only == "" {
		t.Skip("a full run takes minutes: set SALLYPORT_BENCH to the groups to measure")
	}
	_, err := Run(t.Context(), Options{Only: strings.Fields(only), Out: os.Stdout, Dir: t.TempDir(), CPUProfile: os.Getenv("SALLYPORT_CPUPROFILE")})
	if err != nil {
		t.Fatal(err)
	}
}

// spread makes b.N calls from n connections.
func spread(b *testing.B, to target, n int) {
	b.Helper()
	callers, err := connect(b.Context(), to, n)
	if err != nil {
		b.Fatal(err)
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	before := processor(b)
	b.ResetTimer()
	var running sync.WaitGroup
	for _, c := range callers {
		running.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := c.call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	b.StopTimer()
	b.ReportMetric((processor(b)-before).Seconds()*1e6/float64(b.N), "cpu-µs/op")
	for _, c := range callers {
		c.conn.Close()
	}
}

// processor is the time that this process spent on processors. It says what a call
// costs even where other programs make it wait.
func processor(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func BenchmarkChain(b *testing.B) {
	s, err := openStreet(b.Context(), &run{o: Options{}, dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.close(); err != nil {
			b.Error(err)
		}
	})
	for _, n := range fullSize().clients {
		b.Run(fmt.Sprintf("guarded-%d", n), func(b *testing.B) { spread(b, s.guarded, n) })
		b.Run(fmt.Sprintf("bare-%d", n), func(b *testing.B) { spread(b, s.bare, n) })
	}
}

func BenchmarkSealed(b *testing.B) {
	dir := b.TempDir()
	h, err := openHouse(b.Context(), dir, "", false)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := h.server.Close(); err != nil {
			b.Error(err)
		}
	})
	plain := filepath.Join(dir, "model", weights)
	length, err := writeWeights(plain, fullSize().file)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := h.caller.Push(b.Context(), filepath.Dir(plain), model, client.PushOptions{Alias: "main"}); err != nil {
		b.Fatal(err)
	}
	ours, err := h.reads(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	files, base, err := serveFile(plain)
	if err != nil {
		b.Fatal(err)
	}
	defer files.Close()
	for _, x := range []struct {
		name string
		at   place
	}{{"sealed", ours}, {"plain", base}} {
		b.Run("whole-"+x.name, func(b *testing.B) {
			b.SetBytes(length)
			spread(b, x.at.whole(), 1)
		})
		for _, n := range rangeReaders() {
			b.Run(fmt.Sprintf("ranges-%s-%d", x.name, n), func(b *testing.B) {
				b.SetBytes(piece)
				spread(b, x.at.ranges(length), n)
			})
		}
	}
}

func BenchmarkDecision(b *testing.B) {
	for _, outcome := range []sallyport.Outcome{sallyport.Allow, sallyport.Deny} {
		for _, n := range fullSize().policies {
			w := cedar.NewWorkload(n, fullSize().entities)
			engine, err := cedar.Compile(w.Source)
			if err != nil {
				b.Fatal(err)
			}
			f, err := factsOf(engine, w.Entities, 0, outcome)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%v-%d", outcome, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					decision.Decide(engine, f)
				}
			})
		}
	}
}

// BenchmarkIdentity tells who calls, in the ways there are.
func BenchmarkIdentity(b *testing.B) {
	g, err := newGatehouse(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	bearer, err := g.issue("")
	if err != nil {
		b.Fatal(err)
	}
	bound, err := g.issue(g.certified)
	if err != nil {
		b.Fatal(err)
	}
	p := guard.Proof{Bearer: bearer, Audience: issuer + "/vault", IP: "192.0.2.7"}
	over := p
	over.Bearer, over.Certificate = bound, g.certificate
	now := time.Now()
	for name, p := range map[string]guard.Proof{"remembered": p, "certificate": over} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				who, err := g.caller.Who(b.Context(), p, now)
				if err != nil || g.facts.Snapshot().Live(who, now) != nil {
					b.Fatal(who.ID, err)
				}
			}
		})
	}
}
