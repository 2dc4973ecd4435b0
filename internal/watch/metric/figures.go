package metric

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport"
)

// A Figure is how fast the orders of one kind were in force. The percentiles are exact: of N orders, the one in the place
// that the percentage names, rounded up.
type Figure struct {
	Kind          Kind
	N             int // orders that were seen in force; where it is 0, nothing else but Unseen is said
	P50, P95, P99 time.Duration
	Slowest       time.Duration
	Decision      string   // that permitted the slowest, "" where no decision did
	Order         uint64   // its number in the log
	Unseen        int      // orders that nobody saw in force within a minute
	Cut           int      // running calls that they ended
	Calls         []string // of these: their decisions, as far as the events name them
}

// one is an order as its events tell of it.
type one struct {
	took     time.Duration
	decision string
	seq      uint64
}

// compare orders by time, the earlier of two that took as long first.
func (x one) compare(y one) int {
	return cmp.Or(cmp.Compare(x.took, y.took), cmp.Compare(x.seq, y.seq))
}

// Of makes the figures of events, for every kind there is, also those without any. The records of one request are one order, which
// is in force when the last of them is.
func Of(events []sallyport.Logged) []Figure {
	orders, figures := map[Kind]map[string]one{}, map[Kind]*Figure{}
	for _, k := range Kinds() {
		orders[k], figures[k] = map[string]one{}, &Figure{Kind: k}
	}
	for _, e := range events {
		f := figures[Kind(e.Detail["kind"])]
		seq, err := strconv.ParseUint(e.Detail["order"], 10, 64)
		if e.Type != sallyport.EventInForce || f == nil || err != nil {
			continue
		}
		if e.Detail["unseen"] != "" {
			f.Unseen++
			continue
		}
		micros, err := strconv.ParseInt(e.Detail["micros"], 10, 64)
		if err != nil {
			continue
		}
		calls := strings.Fields(e.Detail["calls"])
		f.Calls = append(f.Calls, calls...)
		if n, err := strconv.Atoi(e.Detail["cut"]); err == nil {
			f.Cut += n - len(calls)
		}
		x, name := one{time.Duration(micros) * time.Microsecond, e.Decision, seq}, cmp.Or(e.Decision, e.Detail["order"])
		if old, known := orders[f.Kind][name]; !known || x.compare(old) > 0 {
			orders[f.Kind][name] = x
		}
	}
	out := make([]Figure, 0, len(figures))
	for _, k := range Kinds() {
		figures[k].measure(orders[k])
		out = append(out, *figures[k])
	}
	return out
}

func (f *Figure) measure(orders map[string]one) {
	slices.Sort(f.Calls) // one call may have ended by several records of a request
	f.Calls = slices.Compact(f.Calls)
	f.Cut += len(f.Calls)
	var all []one
	for _, x := range orders {
		all = append(all, x)
	}
	if f.N = len(all); f.N == 0 {
		return
	}
	slices.SortFunc(all, one.compare)
	at := func(percent int) time.Duration { return all[(f.N*percent+99)/100-1].took }
	f.P50, f.P95, f.P99 = at(50), at(95), at(99)
	last := all[f.N-1]
	f.Slowest, f.Decision, f.Order = last.took, last.decision, last.seq
}
