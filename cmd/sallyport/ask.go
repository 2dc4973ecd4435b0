package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) can() *cobra.Command {
	var as, level, to string
	c := &cobra.Command{
		Use: "can ACTION RESOURCE", Short: "Ask whether you, or somebody, may do something, without doing it", Args: arguments("ACTION", "RESOURCE"),
		Long: "Ask without doing. The exit code is the answer: 0 yes, 2 no, 3 after a step-up, 4 held.",
		Example: `  sallyport can model.pull acme/fraud
  sallyport can model.promote acme/fraud@v3 --to production
  sallyport can model.deploy acme/fraud@v3 --as dina --assurance aal1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := question(args[0], args[1])
			if err != nil {
				return err
			}
			if as != "" {
				id, err := sallyport.ParsePrincipalID(as)
				if err != nil {
					return err
				}
				q.As = string(id)
			}
			if level != "" {
				if q.Assurance, err = sallyport.ParseAssurance(level); err != nil {
					return err
				}
			}
			if to != "" {
				if q.To, err = sallyport.ParseEnvironment(to); err != nil {
					return err
				}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			x, err := c.Can(cmd.Context(), q)
			if err != nil {
				return err
			}
			return a.verdict(x)
		},
	}
	c.Flags().StringVar(&as, "as", "", "ask for this `PRINCIPAL`; needs the right to read the policy")
	c.Flags().StringVar(&level, "assurance", "", "with --as: as if proved at this `LEVEL`")
	c.Flags().StringVar(&to, "to", "", "of a promotion or deployment, the `ENVIRONMENT` that it would go to; the next one, and its own, otherwise")
	complete(c, "assurance", levels()...)
	complete(c, "to", "development", "staging", "production")
	c.ValidArgsFunction = actionThenNothing
	return c
}

func question(action, resource string) (client.Can, error) {
	act, err := sallyport.ParseAction(action)
	if err != nil {
		return client.Can{}, err
	}
	ref, err := sallyport.ParseRef(resource)
	return client.Can{Action: act, Resource: ref.String()}, err
}

// verdict prints an answer; its exit code is the outcome's.
func (a *app) verdict(x api.Answer) error {
	err := a.answer(x, func() {
		a.line("%s: %s on %s for %s", x.Outcome, x.Action, x.Resource, x.Who)
		if x.Needs != "" {
			a.line("  needs    %s", x.Needs)
		}
		for _, r := range x.Reasons {
			a.line("  because  %s", reason(r))
		}
		for _, r := range x.Remedies {
			a.line("  next     %s", remedy(r))
		}
		for _, way := range x.Otherwise {
			a.line("  or       %s", remedies(way))
		}
	})
	if err != nil {
		return err
	}
	o, err := sallyport.ParseOutcome(x.Outcome)
	if err != nil {
		return err
	}
	return ended(o.ExitCode())
}

func (a *app) request() *cobra.Command {
	var for_, why, from, task string
	var scope []string
	var wait, withdraw bool
	c := &cobra.Command{
		Use: "request ACTION RESOURCE", Short: "Ask other people for a right, for a time", Args: cobra.MaximumNArgs(2),
		Long: `Ask for a just-in-time grant. Somebody else decides; the grant ends by itself.
Without arguments: list what you asked for. The exit code is 4 while the request is pending.`,
		Example: `  sallyport request model.pull acme/fraud --for 1h --why "compare with the retrained one"
  sallyport request model.pull acme/fraud --for 1h --why "…" --wait && sallyport pull acme/fraud ./fraud
  sallyport request --from D-5n6p… --for 1h --why "…"
  sallyport request model.pull acme/fraud --for 8h --why "…" --task mlflow:lab/9f2c
  sallyport request --withdraw R-7m2k9x
  sallyport request`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case withdraw && len(args) == 1:
				return a.withdraw(cmd.Context(), args[0])
			case withdraw || len(args) == 1 || from != "" && len(args) > 0:
				return usage(cmd, "write ACTION RESOURCE, or --from D-…, or --withdraw R-…, or nothing")
			case len(args) == 0 && from == "":
				return a.myRequests(cmd.Context())
			}
			ask, err := newAsk(cmd, args, for_, why) // before anybody is asked for anything
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if from != "" {
				if ask.Action, ask.Resource, err = a.refused(cmd.Context(), c, from); err != nil {
					return err
				}
			}
			ask.Task, ask.Scope = task, scope
			return a.ask(cmd.Context(), c, ask, wait)
		},
	}
	c.Flags().StringVar(&for_, "for", "", "how long you need it: 30m, `1h`, 8h")
	c.Flags().StringVar(&why, "why", "", "the `REASON`, for whoever decides")
	c.Flags().StringVar(&from, "from", "", "ask for what this refusal, `D-…`, says can be asked for")
	c.Flags().StringVar(&task, "task", "", "end with this `TASK` too: lease, lease:JOB, mlflow:CONNECTOR/RUN, kubernetes:CONNECTOR/NAMESPACE/JOB, ticket:CONNECTOR/TICKET")
	c.Flags().BoolVar(&wait, "wait", false, "wait until it is decided")
	c.Flags().BoolVar(&withdraw, "withdraw", false, "take the named request back")
	c.Flags().StringArrayVar(&scope, "scope", nil, "ask for a part only: `files=*.json`, range=0-1023, max-tokens=256, logprobs=0; may be repeated")
	c.ValidArgsFunction = actionThenNothing
	return c
}

func (a *app) withdraw(ctx context.Context, id string) error {
	return do(ctx, a, with((*client.Client).Withdraw, id), func(r api.Request) { a.line("%s is %s", r.ID, r.State) })
}

func (a *app) myRequests(ctx context.Context) error {
	return do(ctx, a, (*client.Client).Asked, func(all []api.Request) { a.requests(all, "You asked for nothing.") })
}

// refused reads what a refusal says can be asked for.
func (a *app) refused(ctx context.Context, c *client.Client, id string) (sallyport.Action, string, error) {
	w, err := c.Why(ctx, id)
	if err != nil {
		return "", "", err
	}
	action, resource, err := w.Request()
	if err == nil {
		a.note("asking for %s on %s", action, clean(resource))
	}
	return action, resource, err
}

// newAsk reads what is asked for, all but the action and the resource where args is empty.
func newAsk(cmd *cobra.Command, args []string, for_, why string) (api.Ask, error) {
	var q client.Can
	if len(args) > 0 {
		var err error
		if q, err = question(args[0], args[1]); err != nil {
			return api.Ask{}, err
		}
	}
	d, err := time.ParseDuration(for_)
	if for_ == "" || err != nil || d <= 0 {
		return api.Ask{}, usage(cmd, "say how long you need it, for example --for 1h")
	}
	if why == "" {
		return api.Ask{}, usage(cmd, "say why you need it, with --why")
	}
	return api.Ask{Action: q.Action, Resource: q.Resource, For: for_, Why: why}, nil
}

// ask files a request and, if asked to, waits until it is decided.
func (a *app) ask(ctx context.Context, c *client.Client, ask api.Ask, wait bool) error {
	r, err := c.Ask(ctx, ask)
	if err != nil {
		return err
	}
	if wait && r.State == pending {
		a.note("%s waits for %d approval(s), until %s", r.ID, r.Need, a.when(r.Expires))
		done := a.waiting("waiting for an answer to " + r.ID)
		for err == nil && r.State == pending {
			if err = sleep(ctx, 2*time.Second); err == nil {
				r, err = c.Request(ctx, r.ID)
			}
		}
		done()
		if err != nil {
			return err
		}
	}
	if err := a.answer(r, func() { a.asked(r) }); err != nil {
		return err
	}
	switch r.State {
	case pending:
		return ended(client.ExitPending)
	case "approved":
		return nil
	}
	return ended(client.ExitDenied)
}

const (
	pending  = "pending"
	approved = "approved"
)

func (a *app) asked(r api.Request) {
	switch {
	case r.State == pending:
		a.line("%s asks: %s; %d of %d approvals, until %s", r.ID, r.Subject, yes(r), r.Need, a.when(r.Expires))
		a.line("  who may approve     %s", r.Approvers)
		a.line("  approver's command  sallyport approve %s", r.ID)
		a.line("  approver's page     %s", r.Page)
	case r.Grant != nil:
		a.line("%s approved: %s on %s until %s (grant %s)", r.ID, r.Action, r.Resource, a.when(r.Grant.Until), r.Grant.ID)
		switch job, named := strings.CutPrefix(r.Task, client.JobTask); {
		case named:
			a.line("  begin it with       sallyport run --job %s -- COMMAND", job)
		case r.Task == "lease":
			a.line("  begin it with       sallyport grants renew %s", r.Grant.ID)
		}
	default:
		a.line("%s is %s", r.ID, r.State)
	}
	for _, v := range r.Votes {
		word := "no"
		if v.Yes {
			word = "yes"
		}
		a.line("  %s says %s: %s", v.By, word, cmp.Or(v.Reason, "-"))
	}
}

func yes(r api.Request) int {
	n := 0
	for _, v := range r.Votes {
		if v.Yes {
			n++
		}
	}
	return n
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (a *app) requests(all []api.Request, none string) {
	t := table{headings: []string{"REQUEST", "WHO", "ACTION", "RESOURCE", "FOR", "STATE", "UNTIL", "WHY"}, none: none}
	for _, r := range all {
		// what is no grant is named by what it is about, and says what it asks in its subject
		t.row(r.ID, string(r.Who), cmp.Or(string(r.Action), r.Topic), r.Resource, r.For, fmt.Sprintf("%s %d/%d", r.State, yes(r), r.Need), a.when(r.Expires), cmp.Or(r.Why, r.Subject))
	}
	a.table(t)
}

func (a *app) inbox() *cobra.Command {
	return &cobra.Command{
		Use: "inbox", Short: "List the requests that wait for your vote", Args: arguments(),
		Example: "  sallyport inbox",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return do(cmd.Context(), a, (*client.Client).Inbox, func(all []api.Request) {
				a.requests(all, "Nothing waits for you.")
			})
		},
	}
}

func (a *app) approve() *cobra.Command {
	var why string
	var wait bool
	c := &cobra.Command{
		Use: "approve R-…", Short: "Approve a request of somebody else", Args: arguments("R-…"),
		Long: `Approve a request. Where a yes is signed with a passkey, the browser opens the request's page: there you see what it
would change and sign it. The exit code is 4 until you have.`,
		Example: `  sallyport approve R-7m2k9x --reason "agreed with risk"
  sallyport approve R-7m2k9x --wait`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.vote(cmd.Context(), args[0], true, why, wait) },
	}
	c.Flags().StringVar(&why, "reason", "", "the `REASON`, for the record")
	c.Flags().BoolVar(&wait, "wait", false, "wait until you have signed it in the browser")
	return c
}

func (a *app) deny() *cobra.Command {
	var why string
	c := &cobra.Command{
		Use: "deny R-…", Short: "Refuse a request of somebody else", Args: arguments("R-…"),
		Example: `  sallyport deny R-7m2k9x --reason "use the staging version"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if why == "" {
				return usage(cmd, "say why, with --reason")
			}
			return a.vote(cmd.Context(), args[0], false, why, false)
		},
	}
	c.Flags().StringVar(&why, "reason", "", "the `REASON`, for whoever asked")
	return c
}

// vote votes on exactly what is printed.
func (a *app) vote(ctx context.Context, id string, yes bool, why string, wait bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	r, err := c.Request(ctx, id)
	if err != nil {
		return err
	}
	a.note("%s: %s: %s", clean(r.ID), clean(r.Subject), clean(r.Why))
	if yes && r.Sign && r.State == pending {
		return a.sign(ctx, c, r, wait)
	}
	if r, err = c.Vote(ctx, r, yes, why); err != nil {
		return err
	}
	return a.answer(r, func() { a.asked(r) })
}

func (a *app) grants() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "grants", Short: "List grants", Args: arguments(),
		Example: `  sallyport grants
  sallyport grants --all
  sallyport grants standing
  sallyport grants revoke G-3kd81x`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return do(cmd.Context(), a, with((*client.Client).Grants, all), func(list []api.Grant) {
				a.grantTable(list)
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "everybody's; needs the right to read the log")
	c.AddCommand(a.revokeGrant(), a.standing(), a.renewGrant())
	return c
}

func (a *app) grantTable(all []api.Grant) {
	t := table{headings: []string{"GRANT", "WHO", "ACTIONS", "RESOURCE", "ENDS", "APPROVED BY", "ACTIVE", "WHY"}, none: "There are no grants."}
	for _, g := range all {
		ends := a.when(g.Until)
		if g.Task != "" {
			ends += ", or with " + g.Task
		}
		t.row(g.ID, string(g.Who), list(g.Actions), g.Resource, ends, cmp.Or(string(g.By), "-"), yesNo(g.Active), g.Why)
	}
	a.table(t)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (a *app) revokeGrant() *cobra.Command {
	var resource string
	c := &cobra.Command{
		Use: "revoke G-…", Short: "End a grant before its time", Args: arguments("G-…"),
		Example: "  sallyport grants revoke G-3kd81x",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			on := resource
			if on == "" {
				if on, err = grantedOn(cmd.Context(), c, args[0]); err != nil {
					return err
				}
			}
			g, err := c.RevokeGrant(cmd.Context(), args[0], on)
			if err != nil {
				return err
			}
			return a.answer(g, func() { a.line("%s of %s on %s is revoked", g.ID, g.Who, g.Resource) })
		},
	}
	c.Flags().StringVar(&resource, "resource", "", "the grant's `RESOURCE`, where you may not list it")
	return c
}

// grantedOn looks up what a grant is for: among all, or where that is not permitted, among the caller's own.
func grantedOn(ctx context.Context, c *client.Client, id string) (string, error) {
	all, err := c.Grants(ctx, true)
	if err != nil {
		if all, err = c.Grants(ctx, false); err != nil {
			return "", err
		}
	}
	for _, g := range all {
		if g.ID == id {
			return g.Resource, nil
		}
	}
	return "", sallyport.E("revoke grant", sallyport.NotFound, "there is no grant "+sallyport.OneLine(id)+" that you may list", "name what it is for with --resource")
}
