package main

import (
	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) onboard() *cobra.Command {
	o := api.Onboard{}
	var until, sponsor string
	c := &cobra.Command{
		Use: "onboard NAME --role R --project ORG/P --until T", Short: "Give somebody the least for a job, with an end", Args: arguments("NAME"),
		Long: `Adds a person, or finds them, and gives one everyday role on one project until an end: the least for the job. Prints the
one-time link by which somebody new sets up their proof, and the first commands that their role permits.
With --sponsor somebody new is a guest, whose account ends with the job or when the sponsor leaves.`,
		Example: `  sallyport onboard nina --role evaluator --project acme/risk --until 2027-03-31
  sallyport onboard gus --role reader --project acme/risk --until 30d --sponsor ana --name "Gus (Partner Ltd)"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.ID, err = sallyport.ParsePrincipalID(args[0]); err != nil {
				return err
			}
			if o.Role == "" || o.Project == "" || until == "" {
				return usage(cmd, "say --role, --project and --until")
			}
			if sponsor != "" {
				if o.Sponsor, err = sallyport.ParsePrincipalID(sponsor); err != nil {
					return err
				}
			}
			if o.Until, err = endOf(until, a.now()); err != nil {
				return err
			}
			return do(cmd.Context(), a, with((*client.Client).Onboard, o), func(done api.Onboarded) {
				a.onboarded(done)
			})
		},
	}
	c.Flags().StringVar(&o.Role, "role", "", "the role of the job")
	c.Flags().StringVar(&o.Project, "project", "", "the project, `ORG/NAME`")
	c.Flags().StringVar(&until, "until", "", "when the job ends: a `TERM` such as 30d, 36h or 2027-03-31")
	c.Flags().StringVar(&sponsor, "sponsor", "", "the `NAME` of the person who vouches for a guest")
	c.Flags().StringVar(&o.Display, "name", "", "the name that people read, of somebody new")
	return c
}

func (a *app) onboarded(done api.Onboarded) {
	a.line("%s is %s on %s, until %s", done.Member.ID, done.Assignment.Role, done.Assignment.Scope, a.when(done.Assignment.Until))
	if done.Enrolment != nil {
		a.line("%s", done.Enrolment.Link)
		a.note("Give this link to them, by a way that only they read. It works once, until %s.", a.when(done.Enrolment.Expires))
	}
	a.line("They begin with:")
	for _, command := range done.Commands {
		a.line("  %s", clean(command))
	}
}
