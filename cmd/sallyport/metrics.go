package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) metrics() *cobra.Command {
	return noun(&cobra.Command{Use: "metrics", Short: "What the server measured of itself"}, a.metricsRevoke())
}

func (a *app) metricsRevoke() *cobra.Command {
	var since string
	c := &cobra.Command{
		Use: "revoke", Short: "How fast orders that take rights away are in force, by kind", Args: arguments(),
		Long: `For each order since a time: how long it took until no call was permitted by what was before and what ran was cut, on the
server that answers. The percentiles are exact, of as many orders as are named. The figures are made from the log.`,
		Example: `  sallyport metrics revoke
  sallyport metrics revoke --since 24h --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := a.moment(cmd, since)
			if err != nil {
				return err
			}
			ask := func(c *client.Client, ctx context.Context) (api.Revocations, error) { return c.Revocations(ctx, from) }
			return do(cmd.Context(), a, ask, a.showRevocations)
		},
	}
	c.Flags().StringVar(&since, "since", "30d", "since this `TIME`, or so long ago")
	return c
}

func (a *app) showRevocations(r api.Revocations) {
	t := table{headings: []string{"ORDER", "N", "P50", "P95", "P99", "SLOWEST", "WHICH", "CUT", "BYTES AFTER"}, none: "No order took a right away."}
	var never []string
	for _, k := range r.Kinds {
		if k.Orders == 0 {
			never = append(never, k.Kind)
			continue
		}
		t.row(k.Kind, fmt.Sprint(k.Orders), micros(k.P50), micros(k.P95), micros(k.P99), micros(k.Slowest),
			cmp.Or(k.Decision, fmt.Sprintf("entry %d", k.Record)), fmt.Sprint(k.Cut), late(k))
	}
	a.table(t)
	if len(never) > 0 {
		a.line("no order of this kind yet: %s", strings.Join(never, ", "))
	}
	a.line("since %s, on this server", a.when(r.Since))
	for _, k := range r.Kinds {
		if k.Unseen > 0 {
			a.line("%s: %d were not seen in force within a minute; sallyport log search --type order.inforce", k.Kind, k.Unseen)
		}
	}
	if r.More {
		a.line("there are older ones that are not counted: say --since")
	}
}

// late says how much left after the order, as far as the log knows.
func late(k api.Revocation) string {
	switch {
	case k.Cut == 0:
		return "-"
	case k.Known < k.Cut:
		return fmt.Sprintf("%d, of %d known", k.Late, k.Known)
	}
	return fmt.Sprint(k.Late)
}

func micros(n int64) string { return (time.Duration(n) * time.Microsecond).String() }
