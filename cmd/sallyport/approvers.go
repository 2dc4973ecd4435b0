package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
	"sallyport/verify"
)

// approvers are whose keys sign approvals.
func (a *app) approvers() *cobra.Command {
	return noun(&cobra.Command{Use: "approvers", Short: "Whose keys sign approvals"},
		a.approverList(), a.approverKeys(), a.approverFirst(), a.approverEnrol(), a.approverRemove())
}

func (a *app) approverList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List whose keys sign approvals, and your passkeys that could", Args: arguments(),
		Long: `List the keys that sign approvals. As long as there is none, votes are counted by the session alone. An administrator
pins the first; each later one is approved, with a signature, by those who have one.`,
		Example: "  sallyport approvers ls",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return do(cmd.Context(), a, (*client.Client).Approvers, a.approverTable)
		},
	}
}

func (a *app) approverTable(x api.Approvers) {
	t := table{headings: []string{"KEY", "PERSON", "GROUPS", "SINCE", "UNTIL"}, none: "Nobody has an approver's key: votes are counted by the session alone."}
	for _, k := range x.Keys {
		since := a.when(k.Since)
		if k.Pinned {
			since = "pinned"
		}
		until := "-"
		if !k.Until.IsZero() {
			until = a.when(k.Until)
		}
		t.row(k.ID, string(k.Person), strings.Join(k.Groups, " "), since, until)
	}
	a.table(t)
	for _, k := range x.Own {
		a.line("your passkey %s (%s) would be %s", k.Passkey, k.Label, k.ID)
	}
}

func (a *app) approverKeys() *cobra.Command {
	return &cobra.Command{
		Use: "keys", Short: "Print the keys that count, as the configuration and verify read them", Args: arguments(),
		Example: "  sallyport approvers keys > approvers.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			x, err := c.Approvers(cmd.Context())
			if err != nil {
				return err
			}
			keys := []json.RawMessage{}
			for _, k := range x.Keys {
				if k.Until.IsZero() {
					keys = append(keys, k.Key)
				}
			}
			text, err := json.MarshalIndent(keys, "", "  ")
			if err != nil {
				return err
			}
			return a.answer(keys, func() { a.line("%s", string(text)) })
		},
	}
}

// enrolFlags are the flags that name one of the caller's passkeys.
func enrolFlags(c *cobra.Command, in *api.Enrol) {
	c.Flags().StringVar(&in.Passkey, "passkey", "", "one of your passkeys, `K-…`; 'sallyport approvers ls' lists them")
	c.Flags().StringArrayVar(&in.Groups, "group", nil, "a `GROUP` of yours that it votes for, group:ORG/NAME; may be repeated")
}

func (a *app) approverFirst() *cobra.Command {
	var in api.Enrol
	c := &cobra.Command{
		Use: "first", Short: "Pin the first key of all: one of your own passkeys; administrators only", Args: arguments(),
		Long: `Pin the first key. Nobody is there to approve it, and the log says so. From then on every yes must be signed, and grants
that were approved without a signature count no more.`,
		Example: "  sallyport approvers first --passkey K-7M2K…",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if in.Passkey == "" {
				return usage(cmd, "name one of your passkeys, with --passkey")
			}
			return do(cmd.Context(), a, with((*client.Client).FirstApprover, in), a.approverTable)
		},
	}
	enrolFlags(c, &in)
	return c
}

func (a *app) approverEnrol() *cobra.Command {
	var in api.Enrol
	c := &cobra.Command{
		Use: "enrol", Short: "Ask that one of your passkeys signs approvals", Args: arguments(),
		Example: "  sallyport approvers enrol --passkey K-7M2K… --group group:acme/risk",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if in.Passkey == "" {
				return usage(cmd, "name one of your passkeys, with --passkey")
			}
			return judge(cmd.Context(), a, with((*client.Client).EnrolApprover, in), a.asked, stateCode)
		},
	}
	enrolFlags(c, &in)
	return c
}

func (a *app) approverRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove AK-…", Short: "Ask that a key signs no more; another approver says yes to it", Args: arguments("AK-…"),
		Example: "  sallyport approvers remove AK-5tGQ…",
		RunE: func(cmd *cobra.Command, args []string) error {
			return judge(cmd.Context(), a, with((*client.Client).RemoveApprover, args[0]), a.asked, stateCode)
		},
	}
}

// stateCode is the exit code of where a request stands.
func stateCode(r api.Request) int {
	switch r.State {
	case pending:
		return client.ExitPending
	case "approved":
		return 0
	}
	return client.ExitDenied
}

func (a *app) review() *cobra.Command {
	return &cobra.Command{
		Use: "review R-…", Short: "See what a request would change, who asks, and what was like it", Args: arguments("R-…"),
		Example: "  sallyport review R-7m2k9x",
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, with((*client.Client).Review, args[0]), a.reviewed)
		},
	}
}

func (a *app) reviewed(x api.Review) {
	a.line("%s", x.Sentence)
	if x.Request.Why != "" {
		a.line("  why       %s", x.Request.Why)
	}
	a.line("  approvals %d of %d; %s", yes(x.Request), x.Request.Need, x.Request.Approvers)
	for _, c := range x.Changes {
		a.line("  changes   %s", c)
	}
	a.line("  risk now  %d of 100", x.Risk)
	for _, h := range x.History {
		a.line("  asker     %s", h)
	}
	for _, s := range x.Similar {
		a.line("  before    %s %s, %s, for %s: %s", s.ID, s.Who, s.State, s.For, s.Why)
	}
	switch {
	case x.Why != "":
		a.line("  you       %s", x.Why)
	case x.Sign:
		a.line("  sign at   %s", x.Request.Page)
	case x.MayVote:
		a.line("  you       sallyport approve %s", x.Request.ID)
	}
}

// sign hands a vote over to the browser, where the passkey is, and waits for it.
func (a *app) sign(ctx context.Context, c *client.Client, r api.Request, wait bool) error {
	if a.terminal && !a.json {
		if err := a.browsePage(ctx, r.Page); err != nil {
			return err
		}
	} else {
		a.note("sign it at %s", clean(r.Page))
	}
	before := len(r.Votes)
	if wait {
		done := a.waiting("waiting for your signature on " + r.ID)
		var err error
		for err == nil && r.State == pending && len(r.Votes) == before {
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
	if len(r.Votes) > before {
		return nil
	}
	return ended(client.ExitPending)
}

func (a *app) standing() *cobra.Command {
	return &cobra.Command{
		Use: "standing", Short: "Count the rights that have no end, by person and service", Args: arguments(),
		Long:    "Count role assignments without an end, given directly or by a group. What ends by itself is counted beside them. Needs the right to read the log.",
		Example: "  sallyport grants standing",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return rows(cmd.Context(), a, (*client.Client).Standing, table{headings: []string{"WHO", "PERSON", "WITHOUT END", "ENDING", "WHICH"}, none: "Nobody has any right."},
				func(s api.Standing) []string {
					return []string{string(s.Who), string(s.Person), strconv.Itoa(s.Standing), strconv.Itoa(s.Ending), strings.Join(s.Rights, ", ")}
				})
		},
	}
}

func (a *app) renewGrant() *cobra.Command {
	return &cobra.Command{
		Use: "renew G-…", Short: "Keep a grant that is bound to a lease alive, until interrupted", Args: arguments("G-…"),
		Long:    "Begin a grant that was asked for with --task lease and keep it alive. It ends seconds after this command does.",
		Example: "  sallyport grants renew G-3kd81x & trainer; kill $!",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			return c.KeepGrant(cmd.Context(), args[0], func(g api.Grant) { a.note("%s holds while this runs, until %s at most", clean(g.ID), a.when(g.Until)) })
		},
	}
}

// readApprovers reads a file of approvers' keys, "" is none.
func readApprovers(name string) (*verify.Approvals, error) {
	a := &verify.Approvals{}
	if name == "" {
		return a, nil
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, sallyport.E("read approvers' keys", sallyport.Invalid, err.Error(), "name the file that 'sallyport approvers keys' printed")
	}
	a.Pins, err = verify.ParseApprovers(raw)
	return a, err
}

// approvalProblems says how an examination of a log's approvals ended.
func (a *app) approvalProblems(r verify.ApprovalReport) error {
	if len(r.Problems) == 0 {
		return nil
	}
	p := r.Problems[0]
	return &exit{client.ExitDenied, fmt.Errorf("verify approvals: %d problems; the first at entry %d, %s: %s", len(r.Problems)+r.More, p.Index, p.About, p.Problem)}
}
