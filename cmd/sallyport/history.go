package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) userHistory() *cobra.Command {
	var at string
	c := &cobra.Command{
		Use: "history NAME", Short: "What somebody was at an instant, rebuilt from the log: roles, groups, grants, devices", Args: arguments("NAME"),
		Example: `  sallyport user history ana
  sallyport user history ana --at 2026-09-01T00:00:00Z`,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := sallyport.ParsePrincipalID(args[0])
			if err != nil {
				return err
			}
			instant := time.Time{}
			if at != "" {
				if instant, err = a.moment(cmd, at); err != nil {
					return err
				}
			}
			return do(cmd.Context(), a, with2((*client.Client).History, id, instant), a.life)
		},
	}
	c.Flags().StringVar(&at, "at", "", "the instant, such as `2026-09-01T00:00:00Z`; now by default")
	return c
}

func (a *app) life(l api.Life) {
	if l.Known.IsZero() {
		a.line("The log says nothing of %s until %s.", l.Who, a.when(l.At))
		return
	}
	a.line("%s at %s: %s, in %s", l.Who, a.when(l.At), cmp.Or(l.State, "not said to be active"), list(l.Groups))
	for _, r := range l.Roles {
		a.line("%s on %s (%s)", r.Role, r.Scope, r.Subject)
	}
	for _, g := range l.Grants {
		a.line("grant %s: %s on %s until %s", g.ID, g.Actions, g.Resource, a.when(g.Until))
	}
	for _, d := range l.Devices {
		a.line("device %s", d)
	}
	t := table{headings: []string{"ENTRY", "WHEN", "BY", "WHAT"}, none: "Nothing led there."}
	for _, s := range l.Steps {
		t.row(fmt.Sprint(s.Seq), a.when(s.At), cmp.Or(string(s.By), "-"), s.What)
	}
	a.table(t)
}
