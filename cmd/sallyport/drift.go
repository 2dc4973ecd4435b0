package main

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) drift() *cobra.Command {
	var wider bool
	c := &cobra.Command{
		Use: "drift", Short: "What is not as it is meant to be, who changed it and since when; exit code 2 when there is any", Args: arguments(),
		Long: `Compare roles, groups, assignments, trust rules, the policy set and the configuration with what is meant to be: what
'sallyport apply' declared, and what others approved since. As long as nothing is declared, what the log has a record of is meant.`,
		Example: `  sallyport drift
  sallyport drift fix --restore "role developer" --why "nobody asked for it"`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ask := func(c *client.Client, ctx context.Context) (api.Drift, error) {
				d, err := c.Drift(ctx)
				if wider {
					d.Open = slices.DeleteFunc(d.Open, func(x api.DriftItem) bool { return x.Direction == "narrower" })
				}
				return d, err
			}
			return judge(cmd.Context(), a, ask, a.showDrift, func(d api.Drift) int {
				if len(d.Open) > 0 || d.Problem != "" {
					return client.ExitDenied
				}
				return 0
			})
		},
	}
	c.Flags().BoolVar(&wider, "wider", false, "leave out what only lets less be done")
	c.AddCommand(a.driftFix())
	return c
}

func (a *app) showDrift(d api.Drift) {
	if d.Problem != "" {
		a.line("Nothing is compared: %s", d.Problem)
		return
	}
	if x := d.Declared; x != nil {
		a.line("declared  %s by %s, %s%s", a.when(x.At), x.By, x.Hash, prefixed(", approved as ", x.Request))
	} else {
		a.line("declared  nothing: what the log has a record of is meant; 'sallyport apply' declares")
	}
	a.line("compared  %d items, %s", d.Items, a.when(d.Looked))
	t := table{headings: []string{"ITEM", "MEANT", "IS", "DIRECTION", "SINCE", "BY"}, none: "Everything is as it is meant to be."}
	for _, x := range d.Open {
		by := "no record"
		if x.Recorded {
			by = cmp.Or(string(x.Who), "the system") + prefixed(", ", x.Decision)
		}
		t.row(x.Item, cmp.Or(brief(x.Want), "nothing"), cmp.Or(brief(x.Is), "nothing"), x.Direction, a.when(x.Since), by)
	}
	a.table(t)
	if d.More > 0 {
		a.line("and %d more", d.More)
	}
	if len(d.Restart) > 0 {
		a.line("wait for the server to start again: %s", strings.Join(d.Restart, ", "))
	}
}

// brief bounds a value in a table.
func brief(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// most items that one request fixes.
const mostFixed = 50

func (a *app) driftFix() *cobra.Command {
	var accept, restore bool
	var why string
	names := []string{"ITEM"}
	for range mostFixed - 1 {
		names = append(names, "[ITEM…]")
	}
	c := &cobra.Command{
		Use: "fix ITEM…", Short: "Ask others to put items right: what is meant becomes what is, or what is goes back", Args: arguments(names...),
		Long: `Open the request by which somebody else approves that items are put right. It is carried out with the last yes that it needs;
what has changed meanwhile is not touched. Items of the configuration's file are fixed together.`,
		Example: `  sallyport drift fix --restore "role developer" --why "nobody asked for it"
  sallyport drift fix --accept "assignment user:ana developer project:acme/risk" --why "she moved there"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if accept == restore {
				return usage(cmd, "say --accept or --restore")
			}
			fix := api.DriftFix{Way: "accept", Items: args, Why: why}
			if restore {
				fix.Way = "restore"
			}
			ask := func(c *client.Client, ctx context.Context) (api.DriftChange, error) { return c.FixDrift(ctx, fix) }
			return judge(cmd.Context(), a, ask, a.showDriftChange, func(x api.DriftChange) int {
				if !x.Done {
					return client.ExitPending
				}
				return 0
			})
		},
	}
	c.Flags().BoolVar(&accept, "accept", false, "what is meant becomes what is")
	c.Flags().BoolVar(&restore, "restore", false, "what is becomes what is meant")
	c.Flags().StringVar(&why, "why", "", "the `REASON`, for whoever approves and for the record")
	return c
}

func (a *app) showDriftChange(x api.DriftChange) {
	for _, i := range x.Items {
		from, to := i.Want, i.Is
		if x.Way == "restore" {
			from, to = to, from
		}
		a.line("%s  %s → %s", i.Item, cmp.Or(brief(from), "nothing"), cmp.Or(brief(to), "nothing"))
	}
	if x.Request != nil {
		a.line("%s waits for %d approval(s): %s", x.Request.ID, x.Request.Need, x.Request.Page)
		return
	}
	a.line("done: nobody else is here to ask")
}
