package main

import (
	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) userTrained() *cobra.Command {
	var at string
	var in api.Trained
	c := &cobra.Command{
		Use: "trained [NAME]", Short: "When somebody was last trained, or record training held elsewhere; your own without a name", Args: arguments("[NAME]"),
		Long: `Show when somebody was last trained to see through fraud, or record it with --at. Policies may demand it (context.training).
Nobody records their own. The newest training counts; --withdraw takes back what was recorded by mistake.`,
		Example: `  sallyport user trained
  sallyport user trained ana --at 2026-03-04 --why "seminar of the security team"
  sallyport user trained ana --withdraw --why "that was another Ana"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 && (at != "" || in.Withdraw || in.Why != ""):
				return usage(cmd, "name the person")
			case len(args) == 0:
				return do(cmd.Context(), a, (*client.Client).MyTraining, a.showTraining)
			case at != "" && in.Withdraw:
				return usage(cmd, "--at and --withdraw exclude each other")
			case (at != "" || in.Withdraw) != (in.Why != ""):
				return usage(cmd, "to record, say --at or --withdraw, and --why: it is recorded")
			}
			id, err := sallyport.ParsePrincipalID(args[0])
			if err != nil {
				return err
			}
			if in.Why == "" {
				return do(cmd.Context(), a, with((*client.Client).Training, id), a.showTraining)
			}
			if at != "" {
				if in.At, err = a.moment(cmd, at); err != nil {
					return err
				}
			}
			return do(cmd.Context(), a, with2((*client.Client).RecordTraining, id, in), a.showTraining)
		},
	}
	c.Flags().StringVar(&at, "at", "", "when the training was, such as `2026-03-04`")
	c.Flags().StringVar(&in.Why, "why", "", "the `REASON`: where it was held, or why it is taken back")
	c.Flags().BoolVar(&in.Withdraw, "withdraw", false, "take back what is recorded")
	return c
}

func (a *app) showTraining(t api.Training) {
	if t.At.IsZero() {
		a.line("%s: no training is known", t.Who)
		return
	}
	a.line("%s: trained %s, %d days ago; said by %s: %s", t.Who, a.when(t.At), t.Days, t.By, t.Why)
}
