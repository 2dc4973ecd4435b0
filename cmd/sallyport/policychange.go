package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/client"
	"sallyport/internal/authz/policy/engines"
	"sallyport/internal/web/api"
)

func (a *app) policyPropose() *cobra.Command {
	var p api.Proposal
	c := &cobra.Command{
		Use: "propose [DIR]", Short: "Ask others to approve a policy set", Args: arguments("[DIR]"),
		Long: `Ask other people to approve exactly this text. Who proposes does not approve, through any account.
From a pipeline, name the commit and the repository. With --version a set that was in force before is proposed again.
Exit code 4: it waits for approvals.`,
		Example: `  sallyport policy propose examples/acme/policies --why "interns may evaluate"
  sallyport policy propose policy --why "ML-412" --commit 4f1955c --repo https://git.acme.example/policy
  sallyport policy propose --version sha256:… --why "back to August"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if p.Why == "" {
				return usage(cmd, "say why, with --why: approvers read it, and it is recorded")
			}
			if (len(args) == 1) == (p.Version != "") {
				return usage(cmd, "name a directory, or a version with --version")
			}
			if len(args) == 1 {
				src, err := readSet(args[0])
				if err != nil {
					return err
				}
				if _, err := engines.Compile(src); err != nil { // what the server would refuse is not sent
					return &exit{client.ExitDenied, err}
				}
				p.Schema, p.Policies = src.Schema, src.Policies
			}
			return judge(cmd.Context(), a, with((*client.Client).Propose, p), a.proposal, func(api.Proposal) int { return client.ExitPending })
		},
	}
	c.Flags().StringVar(&p.Why, "why", "", "the `REASON`, for approvers and the record")
	c.Flags().StringVar(&p.Commit, "commit", "", "the `SHA` that the set is at")
	c.Flags().StringVar(&p.Repository, "repo", "", "the `URL` of its repository")
	c.Flags().StringVar(&p.Version, "version", "", "propose the set of this `VERSION` again")
	return c
}

func (a *app) policyProposals() *cobra.Command {
	return &cobra.Command{
		Use: "proposals [R-…]", Short: "List proposed policy sets, or show one with what it would change", Args: arguments("[R-…]"),
		Example: `  sallyport policy proposals
  sallyport policy proposals R-7m2k9x`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return do(cmd.Context(), a, with((*client.Client).Proposal, args[0]), a.proposal)
			}
			return rows(cmd.Context(), a, (*client.Client).Proposals, proposalTable(), a.proposalRow)
		},
	}
}

func proposalTable() table {
	return table{headings: []string{"REQUEST", "STATE", "VOTES", "BY", "AT", "VERSION", "WHY"}, none: "Nothing was proposed."}
}

func (a *app) proposalRow(p api.Proposal) []string {
	return []string{p.Request, p.State, fmt.Sprintf("%d of %d", len(p.Votes), p.Need), string(p.By), a.when(p.At), short(p.Version), p.Why}
}

// short is a version as far as people compare it.
func short(version string) string {
	const most = 19 // "sha256:" and twelve digits
	return version[:min(len(version), most)]
}

// proposal prints one for whoever votes on it.
func (a *app) proposal(p api.Proposal) {
	a.line("%s: %s, by %s: %s", p.Request, p.State, p.By, p.Why)
	a.line("  version   %s", p.Version)
	a.line("  instead   %s", p.Base)
	if p.Commit != "" || p.Repository != "" {
		a.line("  commit    %s", strings.TrimSpace(p.Commit+" "+p.Repository))
	}
	for _, x := range []struct {
		what string
		ids  []string
	}{{"new", p.Added}, {"gone", p.Removed}, {"changed", p.Changed}} {
		if len(x.ids) > 0 {
			a.line("  %-9s %s", x.what, strings.Join(x.ids, ", "))
		}
	}
	a.line("  approvals %d of %d, by %s", yeses(p.Votes), p.Need, p.Approvers)
	for _, v := range p.Votes {
		a.line("  %-9s %s %s", yesNo(v.Yes), v.By, v.Reason)
	}
	for _, x := range p.Rows {
		what := "less"
		if x.Wider {
			what = "MORE"
		}
		a.line("  %-9s %s %s on %s: %s, was %s", what, x.Who, x.Action, x.Resource, x.To, x.From)
	}
	if p.More > 0 {
		a.line("  and %d more rows of the matrix", p.More)
	}
	if p.Sign && p.Authored {
		a.line("  signed    by whoever answers for it")
	}
	if p.Sign && !p.Authored && (p.State == pending || p.State == approved) {
		a.line("  next      its author signs it: sallyport policy sign %s", p.Request)
	}
	switch p.State {
	case pending:
		a.line("  next      somebody else: sallyport policy approve %s", p.Request)
	case approved:
		a.line("  next      sallyport policy activate %s", p.Request)
	}
}

func yeses(votes []api.Vote) int {
	n := 0
	for _, v := range votes {
		if v.Yes {
			n++
		}
	}
	return n
}

func (a *app) policyVote(yes bool) *cobra.Command {
	var reason, hash string
	c := &cobra.Command{
		Use: "approve R-…", Short: "Approve a proposed policy set of somebody else", Args: arguments("R-…"),
		Long:    "Approve exactly the text that is printed. With --hash the vote counts only for a proposal that you have read before under that hash.",
		Example: `  sallyport policy approve R-7m2k9x --reason "simulated over 30 days"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && reason == "" {
				return usage(cmd, "say why, with --reason")
			}
			if signs, err := a.policySigned(cmd, args[0], yes); signs || err != nil {
				return err
			}
			return do(cmd.Context(), a, func(c *client.Client, ctx context.Context) (api.Proposal, error) {
				p, err := c.Proposal(ctx, args[0])
				if err != nil {
					return p, err
				}
				a.note("%s: %s proposes %s: %s", clean(p.Request), clean(string(p.By)), short(p.Version), clean(p.Why))
				return c.VotePolicy(ctx, p.Request, api.Vote{Yes: yes, Reason: reason, Hash: cmp.Or(hash, p.Hash)})
			}, a.proposal)
		},
	}
	if !yes {
		c.Use, c.Short, c.Long = "deny R-…", "Refuse a proposed policy set of somebody else", ""
		c.Example = `  sallyport policy deny R-7m2k9x --reason "it opens the weights to interns"`
	}
	c.Flags().StringVar(&reason, "reason", "", "the `REASON`, for the record")
	c.Flags().StringVar(&hash, "hash", "", "the `HASH` of the proposal that you have read")
	return c
}

// policySigned has a yes signed on the request's page, where a signature is asked for.
func (a *app) policySigned(cmd *cobra.Command, id string, yes bool) (bool, error) {
	if !yes {
		return false, nil
	}
	c, err := a.connect()
	if err != nil {
		return false, err
	}
	p, err := c.Proposal(cmd.Context(), id)
	if err != nil || !p.Sign || p.State != pending {
		return false, err
	}
	r, err := c.Request(cmd.Context(), id)
	if err != nil {
		return false, err
	}
	return true, a.sign(cmd.Context(), c, r, true)
}

func (a *app) policySign() *cobra.Command {
	return &cobra.Command{
		Use: "sign R-…", Short: "Sign a policy set that you proposed, as its author", Args: arguments("R-…"),
		Long: `Say with your approver's key that this text is yours: where approvals are signed, a set is put in force only with its author's
signature beside the others'. A proposal of a service is signed by the person who answers for it. Exit code 4: not signed yet.`,
		Example: "  sallyport policy sign R-7m2k9x",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			p, err := c.Proposal(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			r, err := c.Request(cmd.Context(), p.Request)
			if err != nil {
				return err
			}
			if !a.terminal || a.json {
				a.note("sign it at %s", clean(r.Page))
			} else if err := a.browsePage(cmd.Context(), r.Page); err != nil {
				return err
			}
			done := a.waiting("waiting for your signature on " + p.Request)
			for err == nil && a.terminal && !p.Authored && (p.State == pending || p.State == approved) {
				if err = sleep(cmd.Context(), 2*time.Second); err == nil {
					p, err = c.Proposal(cmd.Context(), p.Request)
				}
			}
			done()
			if err == nil {
				err = a.answer(p, func() { a.proposal(p) })
			}
			if err != nil || p.Authored {
				return err
			}
			return ended(client.ExitPending)
		},
	}
}

func (a *app) policyWithdraw() *cobra.Command {
	return &cobra.Command{
		Use: "withdraw R-…", Short: "Take back a policy set that you proposed", Args: arguments("R-…"),
		Example: "  sallyport policy withdraw R-7m2k9x",
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, with((*client.Client).WithdrawPolicy, args[0]), a.proposal)
		},
	}
}

func (a *app) policyActivate() *cobra.Command {
	var why string
	c := &cobra.Command{
		Use: "activate R-…|DIR", Short: "Put an approved policy set in force", Args: arguments("R-…|DIR"),
		Long: `Put the set of an approved proposal in force: the next epoch. A directory is put in force at once only while you are
the only person that Sallyport has ever known, because nobody could approve it; the second person closes that way for good.`,
		Example: `  sallyport policy activate R-7m2k9x
  sallyport policy activate examples/acme/policies --why "the first rules"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.HasPrefix(args[0], "R-") {
				return do(cmd.Context(), a, with((*client.Client).Activate, args[0]), a.epoch)
			}
			if why == "" {
				return usage(cmd, "say why, with --why: it is recorded")
			}
			src, err := readSet(args[0])
			if err != nil {
				return err
			}
			if _, err := engines.Compile(src); err != nil { // what the server would refuse is not sent
				return &exit{client.ExitDenied, err}
			}
			return do(cmd.Context(), a, with((*client.Client).ActivateAlone, api.PolicySet{Schema: src.Schema, Policies: src.Policies, Why: why}), a.epoch)
		},
	}
	c.Flags().StringVar(&why, "why", "", "with a directory: the `REASON`, for the record")
	return c
}

func (a *app) epoch(e api.Epoch) {
	a.line("in force: %s, epoch %d (%s)", e.Version, e.Number, e.Kind)
}

func (a *app) policyRollback() *cobra.Command {
	var why string
	c := &cobra.Command{
		Use: "rollback [VERSION]", Short: "Undo the last approved change of policy", Args: arguments("[VERSION]"),
		Long: `Put the set back in force that was there before the last approved change. It needs no approval within 72 hours, and is
alarmed. Any other set that was in force once is proposed again: 'sallyport policy propose --version VERSION'.`,
		Example: `  sallyport policy rollback --why "evaluations fail"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if why == "" {
				return usage(cmd, "say why, with --why: it is recorded")
			}
			x := api.Activation{Why: why}
			if len(args) == 1 {
				x.Version = args[0]
			}
			return do(cmd.Context(), a, with((*client.Client).Rollback, x), a.epoch)
		},
	}
	c.Flags().StringVar(&why, "why", "", "the `REASON`, for the record")
	return c
}

func (a *app) policyStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the epoch in force, who has acknowledged it, and what is proposed", Args: arguments(),
		Long:    "Exit code 4 while an enforcement point that lives has another epoch in force.",
		Example: "  sallyport policy status",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return judge(cmd.Context(), a, (*client.Client).PolicyStatus, a.policyStanding, func(s api.PolicyStatus) int {
				if s.Settled {
					return 0
				}
				return client.ExitPending
			})
		},
	}
}

func (a *app) policyStanding(s api.PolicyStatus) {
	a.line("epoch %d: %s, %s by %s, %s: %s", s.Epoch.Number, s.Epoch.Version, s.Epoch.Kind, cmp.Or(string(s.Epoch.By), "nobody"), a.when(s.Epoch.At), s.Epoch.Why)
	t := table{headings: []string{"ENFORCEMENT POINT", "EPOCH", "VERSION", "SAID SO", ""}, none: "No enforcement point has acknowledged anything."}
	for _, n := range s.Nodes {
		state := "in force"
		switch {
		case n.Silent:
			state = "silent"
		case n.Epoch != s.Epoch.Number:
			state = "behind"
		}
		t.row(n.Node, fmt.Sprint(n.Epoch), short(n.Version), a.when(n.At), state)
	}
	a.table(t)
	if len(s.Open) > 0 {
		t := proposalTable()
		for _, p := range s.Open {
			t.row(a.proposalRow(p)...)
		}
		a.table(t)
	}
}
