package trail_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkRecord measures the acknowledgement of durable records of about 600 bytes, and in the same run what one 4 KiB
// append with fsync costs on the same disk, below which no acknowledgement can be.
func BenchmarkRecord(b *testing.B) {
	for _, clients := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			l := newLog(b)
			l.options.FeedEvery = 0 // as in production
			l.options.Logger = nil
			base := diskBaseline(b, l.dir)
			tr := l.mustOpen(b)
			rec := fmt.Appendf(nil, `{"kind":"decided","pad":%q}`, strings.Repeat("x", 530))
			took := make([][]time.Duration, clients)
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ResetTimer()
			start := time.Now()
			for c := range clients {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						from := time.Now()
						if _, err := tr.Record(b.Context(), rec); err != nil {
							b.Error(err)
							return
						}
						took[c] = append(took[c], time.Since(from))
					}
				})
			}
			wg.Wait()
			elapsed := time.Since(start)
			b.StopTimer()
			all := slices.Concat(took...)
			slices.Sort(all)
			b.ReportMetric(float64(len(all))/elapsed.Seconds(), "records/s")
			b.ReportMetric(micros(all[len(all)/2]), "p50-µs")
			b.ReportMetric(micros(all[len(all)*99/100]), "p99-µs")
			b.ReportMetric(micros(base[len(base)/2]), "disk-p50-µs")
			b.ReportMetric(micros(base[len(base)*99/100]), "disk-p99-µs")
			for tr.Health().Fed < tr.Size() {
				time.Sleep(time.Millisecond)
			}
			b.ReportMetric(time.Since(start).Seconds()-elapsed.Seconds(), "catch-up-s")
		})
	}
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// diskBaseline times appends of 4 KiB, each with its fsync.
func diskBaseline(b *testing.B, dir string) []time.Duration {
	f, err := os.Create(filepath.Join(dir, "baseline"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	took := make([]time.Duration, 300)
	for i := range took {
		from := time.Now()
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		took[i] = time.Since(from)
	}
	slices.Sort(took)
	return took
}

// BenchmarkDisk measures what the trail keeps on disk for each record beyond the record itself, when all records are
// covered by a checkpoint and the engine has collected its partial files.
func BenchmarkDisk(b *testing.B) {
	const records = 50_000
	for range b.N {
		l := newLog(b)
		l.options.FeedEvery, l.options.Logger = 0, nil
		tr := l.mustOpen(b)
		rec := fmt.Appendf(nil, `{"kind":"decided","pad":%q}`, strings.Repeat("x", 530))
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for range records / 64 {
					if _, err := tr.Record(b.Context(), rec); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		n := tr.Size()
		covered(b, tr)
		time.Sleep(4 * time.Second) // the engine collects every second, the feeder retires every second
		entries, err := tr.Read(b.Context(), n-1, 1)
		if err != nil {
			b.Fatal(err)
		}
		log, journal := diskUse(b, l.treeDir()), diskUse(b, filepath.Join(l.dir, "journal"))
		b.ReportMetric(float64(log)/float64(n)-float64(len(entries[0].Leaf)), "log-overhead-B/record")
		b.ReportMetric(float64(journal)/(1<<20), "journal-MiB")
		b.ReportMetric(float64(len(entries[0].Leaf)), "leaf-B")
	}
}

func diskUse(b *testing.B, dir string) (total int64) {
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return total
}
