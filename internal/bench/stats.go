package bench

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// A sample is what one side did in one round.
type sample struct {
	rate     float64       // operations, or bytes, a second
	p50, p99 time.Duration // of one operation
	most     time.Duration // the longest operation
}

// sampled sums up the times of single operations that took elapsed together.
func sampled(times []time.Duration, elapsed time.Duration) sample {
	if len(times) == 0 || elapsed <= 0 {
		return sample{}
	}
	slices.Sort(times)
	return sample{rate: float64(len(times)) / elapsed.Seconds(), p50: quantile(times, 50), p99: quantile(times, 99), most: times[len(times)-1]}
}

// quantile returns the percent-th percentile of what is sorted and not empty.
func quantile[T any](sorted []T, percent int) T {
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)]
}

func rate(s sample) float64   { return s.rate }
func micros(s sample) float64 { return float64(s.p50.Nanoseconds()) / 1e3 }
func worst(s sample) float64  { return float64(s.p99.Nanoseconds()) / 1e3 }

// longest is the longest operation, in milliseconds.
func longest(s sample) float64 { return float64(s.most.Nanoseconds()) / 1e6 }

// megabytes is a rate of bytes in 10^6 a second.
func megabytes(s sample) float64 { return s.rate / 1e6 }

// A side is one thing to measure for one round.
type side func(context.Context) (sample, error)

// turns measures the sides by turns, A B A B …, so that whatever else the machine
// does falls on all of them, and returns what each did, a sample a round. What the
// first turn of each side does is warming up and not kept.
func turns(ctx context.Context, rounds int, sides ...side) ([][]sample, error) {
	all := make([][]sample, len(sides))
	for round := range rounds + 1 {
		for i, measure := range sides {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			s, err := measure(ctx)
			if err != nil {
				return nil, err
			}
			if s.rate <= 0 {
				return nil, fmt.Errorf("side %d did nothing in round %d", i, round)
			}
			if round > 0 {
				all[i] = append(all[i], s)
			}
		}
	}
	return all, nil
}

// of takes one figure out of every sample.
func of(samples []sample, figure func(sample) float64) []float64 {
	list := make([]float64, len(samples))
	for i, s := range samples {
		list[i] = figure(s)
	}
	return list
}

func median[T cmp.Ordered](list []T) T {
	sorted := slices.Clone(list)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}

// figure is a row about one side: one value a round.
func figure(values []float64, unit string) Row {
	return Row{Value: median(values), Low: slices.Min(values), High: slices.Max(values), Unit: unit, Ours: median(values), In: unit}
}

// ratio is a row that divides ours by base, round by round.
func ratio(ours, base []float64, in, against string) Row {
	values := make([]float64, len(ours))
	for i := range ours {
		values[i] = ours[i] / base[i]
	}
	return figure(values, "×").against(ours, base, in, against)
}

// added is a row that takes base from ours, round by round.
func added(ours, base []float64, in, against string) Row {
	values := make([]float64, len(ours))
	for i := range ours {
		values[i] = ours[i] - base[i]
	}
	return figure(values, in).against(ours, base, in, against)
}

// against adds the two sides that a row compares.
func (r Row) against(ours, base []float64, in, what string) Row {
	r.Ours, r.Base, r.In, r.Against = median(ours), median(base), in, what
	return r
}

// atMost sets the target of a row: its value is not above limit.
func (r Row) atMost(limit float64) Row {
	return r.target(fmt.Sprintf("≤ %s", number(limit)), r.Value <= limit)
}

// atLeast sets the target of a row: its value is not below limit.
func (r Row) atLeast(limit float64) Row {
	return r.target(fmt.Sprintf("≥ %s", number(limit)), r.Value >= limit)
}

func (r Row) target(text string, met bool) Row {
	r.Target, r.Met = text, &met
	return r
}

// add puts a row into the report.
func (r *run) add(row Row, group, name, means string) {
	row.Group, row.Name, row.Means = group, name, means
	r.rows = append(r.rows, row)
}
