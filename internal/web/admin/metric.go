package admin

import (
	"context"
	"time"

	"sallyport"
	"sallyport/internal/audit/history"
	"sallyport/internal/watch/metric"
	"sallyport/internal/web/api"
)

// Metrics is what the API needs of those who measure.
type Metrics struct {
	// CatchUp waits until what the log says so far is measured, or waits for its measure.
	CatchUp func(ctx context.Context) error
}

// metricRoutes are about figures.
func metricRoutes() []Route {
	return []Route{{"GET", "/metrics/revoke", sallyport.AuditRead, system, (*API).revocations}}
}

// Limits of one answer.
const (
	metricSpan   = 30 * 24 * time.Hour // where nobody says since when
	maxMeasured  = 5_000               // records, the newest
	maxDelivered = 500                 // cut calls whose end is looked up
	metricWait   = 2 * time.Second
)

// revocations are how fast orders that take rights away were in force here, from what the log has of each.
func (a *API) revocations(c *Call) (any, error) {
	out := api.Revocations{Since: a.Guard.Clock().Add(-metricSpan).UTC().Truncate(time.Second), Kinds: []api.Revocation{}}
	if s := c.URL.Query().Get("since"); s != "" {
		var err error
		if out.Since, err = time.Parse(time.RFC3339, s); err != nil {
			return nil, sallyport.E("metrics", sallyport.Invalid, "the parameter \"since\" must be a time", "write it like 2026-01-31T08:00:00Z")
		}
	}
	wait, cancel := context.WithTimeout(c.Context(), metricWait)
	defer cancel()
	if err := a.Rooms.Metrics.CatchUp(wait); err != nil {
		return nil, err
	}
	events, err := a.measured(c, &out)
	if err != nil {
		return nil, err
	}
	looks := maxDelivered
	for _, f := range metric.Of(events) {
		x := api.Revocation{Kind: string(f.Kind), Orders: f.N, P50: f.P50.Microseconds(), P95: f.P95.Microseconds(), P99: f.P99.Microseconds(),
			Slowest: f.Slowest.Microseconds(), Decision: f.Decision, Record: f.Order, Unseen: f.Unseen, Cut: f.Cut}
		for _, id := range f.Calls[:min(len(f.Calls), looks)] {
			looks--
			d, err := a.delivered(c, id)
			if err != nil {
				return nil, err
			}
			if d != nil {
				x.Known++
				x.Late += d.AfterCut
			}
		}
		out.Kinds = append(out.Kinds, x)
	}
	return out, nil
}

// measured reads the records of orders that were in force since a time, the newest first.
func (a *API) measured(c *Call, out *api.Revocations) ([]sallyport.Logged, error) {
	var all []sallyport.Logged
	q := history.Query{Types: []sallyport.EventType{sallyport.EventInForce}, Since: out.Since, Most: history.MaxRows}
	for {
		rows, err := a.find(c, q)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if len(all) == maxMeasured {
				out.More = true
				return all, nil
			}
			e, err := a.logged(c, row.Seq)
			if err != nil {
				return nil, err
			}
			all = append(all, e)
			q.Before = row.Seq
		}
		if len(rows) < q.Most {
			return all, nil
		}
	}
}

func (a *API) logged(c *Call, seq uint64) (sallyport.Logged, error) {
	entry, err := a.leaf(c, seq)
	if err != nil {
		return sallyport.Logged{}, err
	}
	return sallyport.DecodeLogged(entry.Leaf)
}

// delivered is what a call that was cut delivered, nil where it has not ended.
func (a *API) delivered(c *Call, decision string) (*sallyport.Delivered, error) {
	rows, err := a.Rooms.History.Find(c.Context(), history.Query{Decision: decision, Types: []sallyport.EventType{sallyport.EventCompleted}, Most: 1})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	e, err := a.logged(c, rows[0].Seq)
	return e.Delivered, err
}
