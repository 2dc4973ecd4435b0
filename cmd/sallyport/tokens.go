package main

import (
	"time"

	"github.com/spf13/cobra"

	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) tokens() *cobra.Command {
	return noun(&cobra.Command{Use: "tokens", Short: "Access tokens that may be alive"}, a.tokensList())
}

func (a *app) tokensList() *cobra.Command {
	var older time.Duration
	c := &cobra.Command{
		Use: "ls", Short: "List the logins whose access tokens may be alive", Args: arguments(),
		Long: `List every login whose newest access token may still be good. Tokens themselves are kept nowhere. With --older-than nothing
should be left that is older than tokens may live; anything is a finding: exit code 2.`,
		Example: `  sallyport tokens ls
  sallyport tokens ls --older-than 1h --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := table{none: "No access token is alive.", headings: []string{"LOGIN", "WHO", "CLIENT", "LEVEL", "BOUND", "NEWEST TOKEN", "ENDS"}}
			text := listed(a, t, func(x api.TokenAlive) []string {
				return []string{x.Login, string(x.Who), x.Client, x.Assurance, yesNo(x.Bound), a.when(x.Issued), a.when(x.Ends)}
			})
			return judge(cmd.Context(), a, with((*client.Client).TokensAlive, older), text, func(all []api.TokenAlive) int {
				if older > 0 && len(all) > 0 {
					return client.ExitDenied
				}
				return 0
			})
		},
	}
	c.Flags().DurationVar(&older, "older-than", 0, "only tokens at least this `TIME` old")
	return c
}
