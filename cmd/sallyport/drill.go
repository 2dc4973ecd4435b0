package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) drill() *cobra.Command {
	return noun(&cobra.Command{Use: "drill", Short: "Exercises against fraud, on volunteers: join, leave, start, ls, show, mine"},
		a.drillTakePart("join", "Take part in drills: you will be sent what an attacker might send", true),
		a.drillTakePart("leave", "Take part no longer: nothing more is sent", false),
		a.drillStart(), a.drillList(), a.drillShow(), a.drillMine())
}

func (a *app) drillTakePart(verb, short string, join bool) *cobra.Command {
	return &cobra.Command{
		Use: verb, Short: short, Args: arguments(),
		Example: "  sallyport drill " + verb,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return do(cmd.Context(), a, with((*client.Client).Volunteer, api.Volunteering{Join: join}), func(v api.Volunteering) {
				if v.Join {
					a.line("you take part in drills, until 'sallyport drill leave'")
				} else {
					a.line("you take no part in drills")
				}
			})
		},
	}
}

func (a *app) drillStart() *cobra.Command {
	in := api.StartDrill{For: "72h"}
	kinds := []string{"consent-phish", "mfa-fatigue", "fake-approval"}
	c := &cobra.Command{
		Use: "start KIND", Short: "Send a drill to every volunteer but you: consent-phish, mfa-fatigue or fake-approval", Args: arguments("KIND"),
		Long: `Send a drill to every volunteer but you, by the notices that people always get. Nothing that is answered to it has any power.
consent-phish   a program asks for everything in somebody's name
mfa-fatigue     prompts within minutes to confirm a sign-in that is somebody else's
fake-approval   a request for a yes whose sentence says less than its scope`,
		Example: "  sallyport drill start consent-phish --for 72h",
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Kind = args[0]
			return do(cmd.Context(), a, with((*client.Client).StartDrill, in), func(d api.Drill) {
				a.line("%s: %s is sent to %d, until %s", d.ID, d.Kind, d.Sent, a.when(d.Ends))
			})
		},
	}
	c.Flags().StringVar(&in.For, "for", in.For, "how `LONG` it waits for answers, 1h to 336h")
	c.ValidArgsFunction = words(kinds)
	return c
}

func (a *app) drillTable() table {
	return table{headings: []string{"DRILL", "KIND", "BEGUN", "ENDS", "SENT", "PASSED", "REPORTED", "FELL", "IGNORED", "WAITING", "MEDIAN REPORT"}, none: "There were no drills."}
}

func (a *app) drillRow(d api.Drill) []string {
	median := "-"
	if d.Median > 0 {
		median = (time.Duration(d.Median) * time.Second).String()
	}
	return []string{d.ID, d.Kind, a.when(d.Begun), a.when(d.Ends), fmt.Sprint(d.Sent), fmt.Sprint(d.Passed), fmt.Sprint(d.Reported), fmt.Sprint(d.Fell), fmt.Sprint(d.Ignored), fmt.Sprint(d.Waiting), median}
}

func (a *app) drillList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "How drills went, in numbers", Args: arguments(),
		Example: "  sallyport drill ls --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return rows(cmd.Context(), a, (*client.Client).Drills, a.drillTable(), a.drillRow)
		},
	}
}

func (a *app) drillShow() *cobra.Command {
	return &cobra.Command{
		Use: "show DR-…", Short: "How one drill went, in numbers", Args: arguments("DR-…"),
		Example: "  sallyport drill show DR-4F2KQ81MZT",
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, with((*client.Client).Drill, args[0]), func(d api.Drill) {
				t := a.drillTable()
				t.row(a.drillRow(d)...)
				a.table(t)
			})
		},
	}
}

func (a *app) drillMine() *cobra.Command {
	return &cobra.Command{
		Use: "mine", Short: "Whether you take part, your training, and how your drills ended", Args: arguments(),
		Example: "  sallyport drill mine",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return do(cmd.Context(), a, (*client.Client).MyDrills, func(m api.MyDrills) {
				if m.Volunteer.IsZero() {
					a.line("you take no part in drills; 'sallyport drill join' changes that")
				} else {
					a.line("you take part in drills since %s", a.when(m.Volunteer))
				}
				a.showTraining(m.Training)
				t := table{headings: []string{"DRILL", "KIND", "BEGUN", "ENDED", "READ", "SIGNS"}, none: "No drill of yours is over."}
				for _, d := range m.Drills {
					t.row(d.ID, d.Kind, a.when(d.Begun), d.Ended, yesNo(!d.Learned.IsZero()), d.Page)
				}
				a.table(t)
			})
		},
	}
}
