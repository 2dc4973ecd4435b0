package main

import (
	"cmp"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) leave() *cobra.Command {
	l := api.Leave{}
	c := &cobra.Command{
		Use: "leave NAME", Short: "Somebody leaves: everything they hold ends at once", Args: arguments("NAME"),
		Long: `Ends sessions, logins, grants, questions, votes, devices, roles, groups and running calls of a person or a service,
at once and everywhere. What they answered for waits for a successor: see 'sallyport successor ls'.`,
		Example: `  sallyport leave ana --why "last day"
  sallyport leave service:trainer --why "replaced by trainer2" --for-good`,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := sallyport.ParsePrincipalID(args[0])
			if err != nil {
				return err
			}
			if l.Why == "" {
				return usage(cmd, "say --why")
			}
			return do(cmd.Context(), a, with2((*client.Client).Leave, id, l), func(left api.Left) {
				a.line("%s is %s, in force after %s", left.Who, left.State, left.InEffect)
				a.line("ended: %d sessions, %d logins, %d grants, %d questions, %d votes, %d devices, %d roles, %d groups, %d running calls",
					left.Sessions, left.Families, left.Grants, left.Requests, left.Votes, left.Devices, left.Roles, left.Groups, left.Cut)
				if left.Successors > 0 {
					a.line("%d waiting for a successor: sallyport successor ls", left.Successors)
				}
			})
		},
	}
	c.Flags().StringVar(&l.Why, "why", "", "the reason, for the record")
	c.Flags().BoolVar(&l.Remove, "for-good", false, "remove the account; the name is never given again")
	return c
}

func (a *app) successor() *cobra.Command {
	return noun(&cobra.Command{Use: "successor", Short: "What leavers answered for: list, assign"}, a.successorList(), a.successorAssign())
}

func (a *app) successorList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List what waits for somebody to answer for it", Args: arguments(),
		Example: "  sallyport successor ls --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := table{headings: []string{"WHAT", "ORG", "LEFT BY", "SINCE", "STOPS"}, none: "Everything has somebody who answers for it."}
			return rows(cmd.Context(), a, (*client.Client).Successors, t, func(s api.Successor) []string {
				stops := "-"
				switch {
				case s.Stopped:
					stops = "stopped"
				case !s.Due.IsZero():
					stops = a.when(s.Due)
				}
				return []string{s.Thing, cmp.Or(s.Org, "-"), string(s.From), a.when(s.Since), stops}
			})
		},
	}
}

func (a *app) successorAssign() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use: "assign WHAT --to NAME", Short: "Make somebody answer for it", Args: arguments("WHAT"),
		Example: `  sallyport successor assign service:trainer --to eva
  sallyport successor assign acme/fraud --to eva`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return usage(cmd, "say --to")
			}
			id, err := sallyport.ParsePrincipalID(to)
			if err != nil {
				return err
			}
			return do(cmd.Context(), a, with((*client.Client).AssignSuccessor, api.Successor{Thing: args[0], To: id}), func(s api.Successor) {
				a.line("%s answers for %s", s.To, s.Thing)
			})
		},
	}
	c.Flags().StringVar(&to, "to", "", "the `NAME` of the person")
	return c
}
