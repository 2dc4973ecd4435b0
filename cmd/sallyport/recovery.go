package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) recovery() *cobra.Command {
	return noun(&cobra.Command{Use: "recovery", Short: "People who lost their last authenticator: two others let them back in"},
		a.recoveryAsk(), a.recoveryList(),
		a.recoveryStep("vouch", "Approve as somebody whom the operator named for it, without administering identities", (*client.Client).VouchRecovery),
		a.recoveryStep("approve", "Say that it is really them who ask; two others must, then a delay runs", (*client.Client).ApproveRecovery),
		a.recoveryStep("cancel", "End a request", (*client.Client).CancelRecovery), a.recoveryLink())
}

func (a *app) recoveryAsk() *cobra.Command {
	var why string
	c := &cobra.Command{
		Use: "ask NAME", Short: "Ask for a way back in for somebody", Args: arguments("NAME"),
		Example: "  sallyport recovery ask ana --why \"her phone and her key were stolen\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := sallyport.ParsePrincipalID(args[0])
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			r, err := c.AskRecovery(cmd.Context(), id, why)
			if err != nil {
				return err
			}
			return a.recoveryAnswer(r)
		},
	}
	c.Flags().StringVar(&why, "why", "", "what happened; those who approve read it, and it is recorded")
	return c
}

func (a *app) recoveryAnswer(r api.Recovery) error {
	return a.answer(r, func() {
		a.line("%s  %s  %s", r.ID, r.Who, r.State)
		switch {
		case r.State == "asked":
			a.note("%d of 2 other people have approved: sallyport recovery approve %s", len(r.Approved), r.ID)
		case r.State == "approved":
			a.note("From %s on one of them makes the link: sallyport recovery link %s", a.when(r.Ready), r.ID)
		}
	})
}

func (a *app) recoveryList() *cobra.Command {
	var named bool
	list := &cobra.Command{
		Use: "ls", Short: "List open requests", Args: arguments(),
		Example: "  sallyport recovery ls --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list := c.Recoveries
			if named {
				list = c.Vouchable
			}
			all, err := list(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(all, func() {
				t := table{headings: []string{"ID", "WHO", "ASKED BY", "STATE", "APPROVED", "READY", "WHY"}, none: "Nobody asks."}
				for _, r := range all {
					ready := "-"
					if !r.Ready.IsZero() {
						ready = a.when(r.Ready)
					}
					t.row(r.ID, string(r.Who), string(r.By), r.State, strconv.Itoa(len(r.Approved))+" of 2", ready, clean(r.Why))
				}
				a.table(t)
			})
		},
	}
	list.Flags().BoolVar(&named, "vouch", false, "those that you were named to approve")
	return list
}

func (a *app) recoveryStep(verb, short string, do func(*client.Client, context.Context, string) (api.Recovery, error)) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ID", Short: short, Args: arguments("ID"),
		Example: "  sallyport recovery " + verb + " R-…",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			r, err := do(c, cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.recoveryAnswer(r)
		},
	}
}

func (a *app) recoveryLink() *cobra.Command {
	return &cobra.Command{
		Use: "link ID", Short: "After the delay: use an approved request up and print its one enrolment link", Args: arguments("ID"),
		Example: "  sallyport recovery link R-…",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			e, err := c.ClaimRecovery(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.answer(e, func() {
				a.line("%s", e.Link)
				a.note("Give this link to %s, by a way that only they read. It works once, until %s.", clean(string(e.Who)), a.when(e.Expires))
			})
		},
	}
}
