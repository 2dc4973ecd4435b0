package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) serviceAudit(b breed) *cobra.Command {
	var days int
	var shrink bool
	c := &cobra.Command{
		Use: "audit NAME", Short: "Compare what it may do with what it did", Args: arguments("NAME"),
		Long: `Compare what an account may do by today's policy with what it did, by the log. With --shrink the smaller right is
printed: what to do about each role, and a policy that permits what was used and nothing else. Nothing is changed.
The exit code is 2 when less would be enough.`,
		Example: "  sallyport " + b.noun + " audit trainer --days 30 --shrink",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := b.id(args[0])
			if err != nil {
				return err
			}
			return judge(cmd.Context(), a, with2((*client.Client).Audit, id, days), func(x api.Audit) { a.audited(x, shrink) }, func(x api.Audit) int {
				if len(x.Unused) > 0 || slices.ContainsFunc(x.Advice, func(v api.Advice) bool { return v.Unused || len(v.Narrower) > 0 }) {
					return client.ExitDenied
				}
				return 0
			})
		},
	}
	c.Flags().IntVar(&days, "days", 30, "how far back, up to 366")
	c.Flags().BoolVar(&shrink, "shrink", false, "print the smaller right")
	return c
}

func (a *app) audited(x api.Audit, shrink bool) {
	t := table{headings: []string{"RESOURCE", "ACTION", "TIMES", "LAST"}, none: "It did nothing since " + a.when(x.Since) + "."}
	for _, u := range x.Used {
		t.row(u.Resource, string(u.Action), strconv.Itoa(u.Times), a.when(u.Last))
	}
	for _, u := range x.Unused {
		t.row(u.Resource, string(u.Action), "0", "never")
	}
	a.table(t)
	if !x.Complete {
		a.note("There were more decisions than are looked at: the counts are of the newest.")
	}
	if !shrink {
		return
	}
	for _, v := range x.Advice {
		switch s := v.Assignment; {
		case v.Unused:
			a.line("take %s on %s away: nothing in it was used (sallyport role unassign %s)", s.Role, s.Scope, s.ID)
		case len(v.Narrower) > 0:
			a.line("narrow %s from %s to %s", s.Role, s.Scope, strings.Join(v.Narrower, ", "))
		default:
			a.line("keep %s on %s", s.Role, s.Scope)
		}
	}
	if x.Policy != "" {
		a.line("")
		for line := range strings.Lines(x.Policy) {
			a.line("%s", strings.TrimSuffix(line, "\n"))
		}
	}
}
