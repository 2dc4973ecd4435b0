package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"sallyport/client"
	"sallyport/internal/server"
)

func (a *app) routes() *cobra.Command {
	return noun(&cobra.Command{Use: "routes", Short: "How much of each upstream's surface is mapped to actions"}, a.routesCoverage())
}

func (a *app) routesCoverage() *cobra.Command {
	return &cobra.Command{
		Use: "coverage", Short: "Count the routes of each dialect that are mapped, denied, or not classified", Args: arguments(),
		Long: `Compare the tables of the doors with the upstreams' own lists of routes. What is not classified is refused all the same,
and is a finding: exit code 2.`,
		Example: "  sallyport routes coverage --json",
		RunE: func(*cobra.Command, []string) error {
			all, err := server.RouteCoverage()
			if err != nil {
				return err
			}
			missing := 0
			err = a.answer(all, func() {
				t := table{headings: []string{"DIALECT", "ROUTES", "MAPPED", "DENIED", "NOT CLASSIFIED", "OURS BESIDE"}}
				for _, c := range all {
					t.row(c.Dialect, strconv.Itoa(c.Upstream), strconv.Itoa(c.Mapped), strconv.Itoa(c.Denied), strconv.Itoa(len(c.Missing)), strconv.Itoa(c.Extra))
				}
				a.table(t)
				for _, c := range all {
					for _, r := range c.Missing {
						a.line("  %s: %s is not classified", c.Dialect, r)
					}
				}
			})
			for _, c := range all {
				missing += len(c.Missing)
			}
			if err == nil && missing > 0 {
				err = ended(client.ExitDenied)
			}
			return err
		},
	}
}
