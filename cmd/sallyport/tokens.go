package main

import (
	"time"

	"github.com/spf13/cobra"

	"sallyport/client"
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
			c, err := a.connect()
			if err != nil {
				return err
			}
			all, err := c.TokensAlive(cmd.Context(), older)
			if err != nil {
				return err
			}
			err = a.answer(all, func() {
				t := table{none: "No access token is alive.", headings: []string{"LOGIN", "WHO", "CLIENT", "LEVEL", "BOUND", "NEWEST TOKEN", "ENDS"}}
				for _, x := range all {
					bound := "no"
					if x.Bound {
						bound = "yes"
					}
					t.row(x.Login, string(x.Who), x.Client, x.Assurance, bound, a.when(x.Issued), a.when(x.Ends))
				}
				a.table(t)
			})
			if err == nil && older > 0 && len(all) > 0 {
				err = ended(client.ExitDenied)
			}
			return err
		},
	}
	c.Flags().DurationVar(&older, "older-than", 0, "only tokens at least this `TIME` old")
	return c
}
