package cedar_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sallyport/internal/authz/policy"
	own "sallyport/internal/authz/policy/cedar"
)

// workload compiles and loads a set for measuring.
func workload(t testing.TB, policies int) (*own.Engine, policy.Entities, []policy.Query) {
	t.Helper()
	w := own.NewWorkload(policies, 10_000)
	engine := mustCompile(t, w.Source)
	loaded, err := engine.Load(w.Entities)
	if err != nil {
		t.Fatal(err)
	}
	return engine, loaded, w.Queries
}

// p50 and p99 of the times of fn over the questions.
func percentiles(queries []policy.Query, fn func(policy.Query)) (p50, p99 time.Duration) {
	times := make([]time.Duration, 0, len(queries))
	for _, q := range queries {
		start := time.Now()
		fn(q)
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return times[len(times)/2], times[len(times)*99/100]
}

// BenchmarkEvaluate reports p50 and p99 with the index and without it, over
// 10,000 entities.
func BenchmarkEvaluate(b *testing.B) {
	for _, n := range []int{10, 100, 1_000, 10_000} {
		engine, loaded, queries := workload(b, n)
		b.Run(fmt.Sprintf("indexed-%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				engine.Evaluate(queries[i%len(queries)], loaded)
			}
			p50, p99 := percentiles(queries, func(q policy.Query) { engine.Evaluate(q, loaded) })
			b.ReportMetric(float64(p50.Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(p99.Nanoseconds()), "p99-ns")
		})
		set := engine.FullSet()
		b.Run(fmt.Sprintf("full-%d", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				r, over := own.RawQuery(queries[i%len(queries)], loaded)
				own.EvaluateFull(set, r, over)
			}
			p50, p99 := percentiles(queries[:min(len(queries), 200_000/n)], func(q policy.Query) {
				r, over := own.RawQuery(q, loaded)
				own.EvaluateFull(set, r, over)
			})
			b.ReportMetric(float64(p50.Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(p99.Nanoseconds()), "p99-ns")
		})
	}
}

// BenchmarkCompile reports what activating a policy set costs.
func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		w := own.NewWorkload(n, 1_000)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				mustCompile(b, w.Source)
			}
		})
	}
}

// TestIndexStaysFlat is PX6 without a clock: the work behind a question, counted
// in candidates, does not grow with the set.
func TestIndexStaysFlat(t *testing.T) {
	mean := func(n int) float64 {
		engine, loaded, queries := workload(t, n)
		total := 0
		for _, q := range queries {
			r, over := own.RawQuery(q, loaded)
			first, _ := engine.Candidates(r, over)
			total += len(first)
		}
		return float64(total) / float64(len(queries))
	}
	small, large := mean(100), mean(2_000)
	if large > 2*small {
		t.Errorf("%.1f candidates a question among 2,000 policies, %.1f among 100: want at most twice as many", large, small)
	}
	t.Logf("%.1f candidates a question among 100 policies, %.1f among 2,000", small, large)
}

// TestWorkloadAllowsSome keeps the workload honest: it has answers of both kinds,
// equal with and without the index.
func TestWorkloadAllowsSome(t *testing.T) {
	engine, loaded, queries := workload(t, 1_000)
	set := engine.FullSet()
	allowed := 0
	for _, q := range queries[:400] {
		got := engine.Evaluate(q, loaded)
		r, over := own.RawQuery(q, loaded)
		if want := own.EvaluateFull(set, r, over); !sameResult(got, want) {
			t.Fatalf("%+v: indexed %+v, full %+v", q, got, want)
		}
		if got.Allowed {
			allowed++
		}
	}
	if allowed == 0 || allowed == 400 {
		t.Errorf("%d of 400 questions allowed: want some of both", allowed)
	}
	t.Logf("%d of 400 questions allowed", allowed)
}
