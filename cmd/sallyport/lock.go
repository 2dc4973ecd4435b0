package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

// lockable are the kinds that can be held, as people say them.
func lockable() []string {
	return []string{"user", "service", "agent", "device", "session", "token", "family", "model", "project", "dataset", "endpoint", "org"}
}

// target spells what a hold is on. A token is held with its family: everything that came from one login.
func target(cmd *cobra.Command, kind, name string) (string, error) {
	switch kind {
	case "token", "family":
		return "family:" + name, nil
	case "session", "device":
		return kind + ":" + name, nil
	case "user", "service", "agent":
		id, err := sallyport.NewPrincipalID(sallyport.PrincipalKind(kind), strings.TrimPrefix(name, kind+":"))
		return string(id), err
	case "model":
		ref, err := sallyport.ParseRef(name)
		if err == nil && ref.Kind != sallyport.ModelKind {
			err = usage(cmd, "\""+sallyport.OneLine(name)+"\" is not a model")
		}
		return "model:" + ref.String(), err
	case "project", "dataset", "endpoint", "org":
		ref, err := sallyport.ParseRef(kind + ":" + strings.TrimPrefix(name, kind+":"))
		return ref.String(), err
	}
	return "", usage(cmd, "a \""+sallyport.OneLine(kind)+"\" cannot be locked; name one of "+strings.Join(lockable(), ", "))
}

func (a *app) lock() *cobra.Command {
	var why string
	c := &cobra.Command{
		Use: "lock KIND NAME", Short: "Stop somebody or something at once, also what is running", Args: arguments("KIND", "NAME"),
		Long: `Place a hold: new requests are refused, running downloads and streams are cut. It reports what was cut and how many
bytes left after the order. Kinds: ` + strings.Join(lockable(), ", ") + `.`,
		Example: `  sallyport lock user bo --why "laptop stolen"
  sallyport lock model acme/fraud --why "leak suspected"
  sallyport lock session S-4f2kq81mzt --why "not me"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			on, err := target(cmd, args[0], args[1])
			if err != nil {
				return err
			}
			if why == "" {
				return usage(cmd, "say why, with --why: it is recorded")
			}
			return do(cmd.Context(), a, waitingFor(a, "cutting", with((*client.Client).Lock, api.Lock{Target: on, Why: why})), func(h api.Hold) {
				a.line("%s: %s is locked, in force after %s", h.ID, h.Target, h.InForce)
				a.cuts(h)
				a.line("  to lift it, another person runs: sallyport unlock %s --why …", h.ID)
			})
		},
	}
	c.Flags().StringVar(&why, "why", "", "the `REASON`, for the record")
	c.ValidArgsFunction = words(lockable())
	return c
}

// cuts prints what an order ended.
func (a *app) cuts(h api.Hold) {
	if len(h.Cut) == 0 {
		a.line("  nothing was running under it")
		return
	}
	t := table{headings: []string{"CUT", "WHO", "ACTION", "ON", "BYTES", "AFTER THE ORDER", "ENDED"}}
	for _, x := range h.Cut {
		t.row(x.Decision, string(x.Who), string(x.Action), x.On, size(x.Bytes), size(x.AfterCut), yesNo(x.Ended))
	}
	a.table(t)
}

func (a *app) unlock() *cobra.Command {
	var on string
	var l api.Lock
	c := &cobra.Command{
		Use: "unlock H-…", Short: "Lift a hold that somebody else placed, or end the probation after it", Args: arguments("H-…"),
		Long: `Lift a hold, with a reason. Where approvals are signed this asks for it: another person, who did not place the hold, signs.
The exit code is 4 then. A probation with tighter limits follows, usually for 72h: --probation says how long (30 days at most),
and --without why there is none. Unlocking a hold that is lifted already ends its probation, by another person than who
lifted it.`,
		Example: `  sallyport unlock H-91kd2mz --why "laptop found, disk was encrypted" --probation 24h
  sallyport unlock H-91kd2mz --why "the wrong person" --without "it was not them"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if l.Why == "" {
				return usage(cmd, "say why, with --why: it is recorded")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if on == "" {
				if on, err = heldTarget(cmd.Context(), c, args[0]); err != nil {
					return err
				}
			}
			l.Target = on
			h, err := c.Unlock(cmd.Context(), args[0], l)
			if err != nil {
				return err
			}
			if err := a.answer(h, func() {
				if h.Request != nil {
					a.asked(*h.Request)
					return
				}
				switch {
				case h.OnProbation:
					a.line("%s on %s is lifted; on probation until %s", h.ID, h.Target, a.when(h.Probation))
				case !h.Probation.IsZero():
					a.line("the probation after %s on %s has ended", h.ID, h.Target)
				default:
					a.line("%s on %s is lifted, without a probation", h.ID, h.Target)
				}
			}); err != nil || h.Request == nil {
				return err
			}
			return ended(client.ExitPending)
		},
	}
	c.Flags().StringVar(&l.Why, "why", "", "the `REASON`, for the record")
	c.Flags().StringVar(&l.Probation, "probation", "", "how long tighter limits follow, such as 24h")
	c.Flags().StringVar(&l.Without, "without", "", "the `REASON` why no probation follows")
	c.Flags().StringVar(&on, "target", "", "what is held, as user:NAME or model:ORG/NAME, where you may not list holds")
	return c
}

func heldTarget(ctx context.Context, c *client.Client, id string) (string, error) {
	all, err := c.Holds(ctx, "")
	if err != nil {
		return "", err
	}
	for _, h := range all {
		if h.ID == id {
			return h.Target, nil
		}
	}
	return "", sallyport.E("unlock", sallyport.NotFound, "there is no hold "+sallyport.OneLine(id), "run 'sallyport holds'")
}

func (a *app) holds() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "holds", Short: "List holds", Args: arguments(),
		Example: "  sallyport holds --all",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return do(cmd.Context(), a, with((*client.Client).Holds, ""), func(holds []api.Hold) {
				t := table{headings: []string{"HOLD", "ON", "BY", "SINCE", "ACTIVE", "PROBATION", "WHY"}, none: "Nothing is held, and nobody on probation."}
				for _, h := range holds {
					if h.Active || h.OnProbation || all {
						probation := "-"
						if h.OnProbation {
							probation = "until " + a.when(h.Probation)
						}
						t.row(h.ID, h.Target, string(h.By), a.when(h.At), yesNo(h.Active), probation, h.Why)
					}
				}
				a.table(t)
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "lifted ones too")
	return c
}
