package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) risk() *cobra.Command {
	return noun(&cobra.Command{Use: "risk", Short: "How risky sessions look, and why"}, a.riskShow(), a.riskClear(), a.riskRelearn())
}

func (a *app) riskShow() *cobra.Command {
	return &cobra.Command{
		Use: "show [NAME]", Short: "Each factor of somebody's risk with its weight and evidence; your own without a name", Args: arguments("[NAME]"),
		Example: "  sallyport risk show\n  sallyport risk show ana --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var r api.Risk
			if len(args) == 0 {
				r, err = c.MyRisk(cmd.Context())
			} else if id, perr := sallyport.ParsePrincipalID(args[0]); perr != nil {
				return perr
			} else {
				r, err = c.Risk(cmd.Context(), id)
			}
			if err != nil {
				return err
			}
			return a.answer(r, func() { a.showRisk(r) })
		},
	}
}

func (a *app) showRisk(r api.Risk) {
	a.line("%s: %d sign-ins are known, the last %s from %s", r.Who, r.SignIns, a.when(r.Last), cmp.Or(r.From, "nowhere that is known"))
	a.line("a stronger proof is asked for from a score of %d on", r.Threshold)
	t := table{headings: []string{"SESSION", "SCORE", "WEIGHT", "FACTOR", "WHAT", "EVIDENCE"}, none: "No session is live."}
	for _, s := range r.Sessions {
		if len(s.Factors) == 0 {
			t.row(s.Session, fmt.Sprint(s.Score), "-", "-", "nothing unusual", "-")
		}
		for _, f := range s.Factors {
			t.row(s.Session, fmt.Sprint(s.Score), fmt.Sprint(f.Weight), f.Kind, f.Text, pairs(f.Evidence))
		}
	}
	a.table(t)
	if len(r.Raised) > 0 {
		t = table{headings: []string{"HELD AGAINST THEM", "ON", "LEFT", "OF", "UNTIL", "WHY"}}
		for _, x := range r.Raised {
			t.row(x.ID, x.Target, fmt.Sprint(x.Left), fmt.Sprint(x.Points), a.when(x.Until), x.Why)
		}
		a.table(t)
	}
	a.line("%s", r.Note)
}

// pairs writes evidence on one line, sorted.
func pairs(m map[string]string) string {
	var all []string
	for k, v := range m {
		all = append(all, k+"="+v)
	}
	slices.Sort(all)
	return list(all)
}

func (a *app) riskClear() *cobra.Command {
	return &cobra.Command{
		Use: "clear K-…", Short: "End what is held against somebody else", Args: arguments("K-…"),
		Example: "  sallyport risk clear K-4F2KQ81MZT",
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, with((*client.Client).ClearRisk, args[0]), func(r api.Raise) {
				a.line("%s on %s is cleared", r.ID, r.Target)
			})
		},
	}
}

func (a *app) riskRelearn() *cobra.Command {
	return &cobra.Command{
		Use: "relearn", Short: "Make what is known of sign-ins anew from the log", Args: arguments(),
		Example: "  sallyport risk relearn",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if err := c.RelearnRisk(cmd.Context()); err != nil {
				return err
			}
			return a.answer(struct{}{}, func() { a.line("what is known of sign-ins is being made anew") })
		},
	}
}

func (a *app) notices() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "notices", Short: "What happened to your account; shown once, unless --all", Args: arguments(),
		Example: "  sallyport notices\n  sallyport notices --all",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.Notices(cmd.Context(), all)
			if err != nil {
				return err
			}
			if err := a.answer(list, func() {
				t := table{headings: []string{"WHEN", "WHAT"}, none: "Nothing new."}
				for _, n := range list {
					t.row(a.when(n.At), n.Text)
				}
				a.table(t)
			}); err != nil || len(list) == 0 || all {
				return err
			}
			return c.ReadNotices(cmd.Context(), list[0].At)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "those that you have seen too")
	return c
}

func (a *app) reportCommand() *cobra.Command {
	var about string
	c := &cobra.Command{
		Use: "report WHAT [ID]", Short: "Tell of a lost device, somebody else's doing or phishing; it acts at once", Args: arguments("WHAT", "[ID]"),
		Long: `lost-device [DV-…]     your device is removed, its certificate revoked, and all your sessions and logins
                        end that are not this one or known to be on another device
wasnt-me [D-…|S-…]      the session behind a decision, or the one named, ends; without an id all but this one
phish [N-…|LINK]        your sessions must be proved anew for what is sensitive
What names the notice or the link of a drill counts as reporting the drill, and holds nothing against you.
Those who run the system are told, and a finding is opened, after it was done.`,
		Example: `  sallyport report lost-device
  sallyport report wasnt-me D-7k2m9x --about "I was on a train"
  sallyport report phish https://sallyport.acme.example/confirm/… --about "I connected nothing"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r := api.Report{What: args[0], About: about}
			if len(args) == 2 {
				r.ID = args[1]
			}
			return do(cmd.Context(), a, with((*client.Client).Report, r), func(done api.Reported) {
				if done.Drill == "" {
					a.line("reported: %s, in force after %s", done.What, done.InForce)
				} else {
					a.line("reported: %s, %s", done.What, done.Drill)
				}
				for _, d := range done.Did {
					a.line("  %s", d)
				}
				if len(done.Cut) > 0 {
					a.cuts(api.Hold{Cut: done.Cut})
				}
			})
		},
	}
	c.Flags().StringVar(&about, "about", "", "in your own words, `TEXT`")
	c.ValidArgsFunction = words([]string{"lost-device", "wasnt-me", "phish"})
	return c
}

func (a *app) findings() *cobra.Command {
	return noun(&cobra.Command{Use: "findings", Short: "What was found in the log: list, show, close, rules"},
		a.findingsList(), a.findingsShow(), a.findingsClose(), a.findingsRules())
}

func (a *app) findingsList() *cobra.Command {
	var state string
	c := &cobra.Command{
		Use: "ls", Short: "List findings that nobody closed yet; exit code 2 when there are any", Args: arguments(),
		Example: "  sallyport findings ls --state closed",
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := table{headings: []string{"FINDING", "SEVERITY", "RULE", "WHO", "ABOUT", "WHEN", "STATE"}, none: "Nothing is open."}
			text := listed(a, t, func(f api.Finding) []string {
				return []string{f.ID, f.Severity, f.Rule, cmp.Or(string(f.Who), "-"), f.Subject, a.when(f.At), f.State}
			})
			return judge(cmd.Context(), a, with((*client.Client).Findings, state), text, func(all []api.Finding) int {
				if len(all) > 0 && state == "" {
					return client.ExitDenied
				}
				return 0
			})
		},
	}
	c.Flags().StringVar(&state, "state", "", "only those in this `STATE`")
	complete(c, "state", "new", "answered", "closed")
	return c
}

func (a *app) findingsShow() *cobra.Command {
	return &cobra.Command{
		Use: "show F-…", Short: "Show a finding, its evidence and what was done", Args: arguments("F-…"),
		Example: "  sallyport findings show F-8Q2M4K7T1ZXN",
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, with((*client.Client).Finding, args[0]), func(f api.Finding) {
				a.showFinding(f)
			})
		},
	}
}

func (a *app) showFinding(f api.Finding) {
	a.line("%s  %s, %s: %s", f.ID, f.Rule, f.Severity, f.Text)
	a.line("  about     %s %s, %s", f.Who, f.Subject, a.when(f.At))
	a.line("  evidence  entries %s of the log", strings.Trim(fmt.Sprint(f.Evidence), "[]"))
	if len(f.Detail) > 0 {
		a.line("  detail    %s", pairs(f.Detail))
	}
	for _, d := range f.Did {
		a.line("  did       %s", d)
	}
	if f.Closer != "" {
		a.line("  closed    as %s by %s: %s", f.Verdict, f.Closer, f.Why)
	}
	for _, u := range f.Undone {
		a.line("  undone    %s", u)
	}
}

func (a *app) findingsClose() *cobra.Command {
	var why string
	var benign bool
	c := &cobra.Command{
		Use: "close F-…", Short: "Say what a finding was; what was done about a benign one is taken back", Args: arguments("F-…"),
		Example: `  sallyport findings close F-8Q2M4K7T1ZXN --why "token found on a mirror, rotated"
  sallyport findings close F-8Q2M4K7T1ZXN --benign --why "two VPN exits"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if why == "" {
				return usage(cmd, "say why, with --why: it is recorded")
			}
			v := api.Verdict{Verdict: "confirmed", Why: why}
			if benign {
				v.Verdict = "benign"
			}
			return do(cmd.Context(), a, with2((*client.Client).CloseFinding, args[0], v), func(f api.Finding) {
				a.showFinding(f)
			})
		},
	}
	c.Flags().StringVar(&why, "why", "", "the `REASON`, for the record")
	c.Flags().BoolVar(&benign, "benign", false, "it was nothing")
	return c
}

func (a *app) findingsRules() *cobra.Command {
	return &cobra.Command{
		Use: "rules", Short: "List the tripwires and what is done about each", Args: arguments(),
		Example: "  sallyport findings rules",
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := table{headings: []string{"RULE", "SEVERITY", "MAY END AND HOLD", "DONE", "ATT&CK", "WHAT"}}
			return rows(cmd.Context(), a, (*client.Client).Tripwires, t, func(r api.Tripwire) []string {
				return []string{r.Name, r.Severity, yesNo(r.Certain), list(r.Steps), list(r.Techniques), r.Text}
			})
		},
	}
}
