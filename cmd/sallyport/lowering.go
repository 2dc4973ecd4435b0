package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) catalogLowerings() *cobra.Command {
	return &cobra.Command{
		Use: "lowerings", Short: "List the requests to make a class less strict", Args: arguments(),
		Example: "  sallyport catalog lowerings --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return rows(cmd.Context(), a, (*client.Client).Lowerings, table{headings: []string{"ID", "WHO", "RESOURCE", "FROM", "TO", "VOTES", "WHY"}, none: "nobody asks for a class that is less strict"}, func(r api.Lowering) []string {
				return []string{r.ID, string(r.Who), r.Resource, string(r.From), string(r.To), fmt.Sprintf("%d of %d", r.Yes, r.Need), r.Why}
			})
		},
	}
}

// catalogVote votes on a request to lower a class, exactly as it stands.
func (a *app) catalogVote(yes bool) *cobra.Command {
	var why string
	use, short := "approve", "Approve that a class becomes less strict"
	if !yes {
		use, short = "deny", "Deny that a class becomes less strict"
	}
	c := &cobra.Command{
		Use: use + " REQUEST", Short: short, Args: arguments("REQUEST"),
		Example: "  sallyport catalog " + use + " R-0123456789 --why \"looked at the data\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			vote := func(c *client.Client, ctx context.Context) (api.Lowering, error) {
				all, err := c.Lowerings(ctx)
				if err != nil {
					return api.Lowering{}, err
				}
				at := slices.IndexFunc(all, func(r api.Lowering) bool { return r.ID == args[0] })
				if at < 0 {
					return api.Lowering{}, sallyport.E(use, sallyport.NotFound, "there is no such request that you may vote on", "run 'sallyport catalog lowerings'")
				}
				return c.VoteLowering(ctx, all[at], api.Vote{Yes: yes, Reason: why})
			}
			return do(cmd.Context(), a, vote, func(r api.Lowering) {
				a.line("%s: %s from %s to %s is %s, %d of %d", r.ID, r.Resource, r.From, r.To, r.State, r.Yes, r.Need)
			})
		},
	}
	c.Flags().StringVar(&why, "why", "", "the `REASON`, for the record")
	return c
}

func (a *app) usage() *cobra.Command {
	return &cobra.Command{
		Use: "usage [WHO]", Short: "What you did lately, as policies see it: bytes, denials, models, exports", Args: arguments("[WHO]"),
		Example: `  sallyport usage
  sallyport usage ana --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			who := ""
			if len(args) > 0 {
				id, err := sallyport.ParsePrincipalID(args[0])
				if err != nil {
					return err
				}
				who = string(id)
			}
			return do(cmd.Context(), a, with((*client.Client).Usage, who), func(u api.Usage) {
				t := table{headings: []string{"WINDOW", "BYTES", "DENIALS", "MODELS", "EXPORTS"}}
				for _, w := range []struct {
					name string
					api.Window
				}{{"10 minutes", u.Short}, {"24 hours", u.Day}, {"30 days", u.Month}} {
					t.row(w.name, size(w.Bytes), fmt.Sprint(w.Denials), fmt.Sprint(w.Models), fmt.Sprint(w.Exports))
				}
				a.table(t)
			})
		},
	}
}
