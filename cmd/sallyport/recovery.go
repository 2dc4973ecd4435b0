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
			return do(cmd.Context(), a, with2((*client.Client).AskRecovery, id, why), a.recovering)
		},
	}
	c.Flags().StringVar(&why, "why", "", "what happened; those who approve read it, and it is recorded")
	return c
}

func (a *app) recovering(r api.Recovery) {
	a.line("%s  %s  %s", r.ID, r.Who, r.State)
	switch r.State {
	case "asked":
		a.note("%d of 2 other people have approved: sallyport recovery approve %s", len(r.Approved), r.ID)
	case "approved":
		a.note("From %s on one of them makes the link: sallyport recovery link %s", a.when(r.Ready), r.ID)
	}
}

func (a *app) recoveryList() *cobra.Command {
	var named bool
	list := &cobra.Command{
		Use: "ls", Short: "List open requests", Args: arguments(),
		Example: "  sallyport recovery ls --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := (*client.Client).Recoveries
			if named {
				list = (*client.Client).Vouchable
			}
			t := table{headings: []string{"ID", "WHO", "ASKED BY", "STATE", "APPROVED", "READY", "WHY"}, none: "Nobody asks."}
			return rows(cmd.Context(), a, list, t, func(r api.Recovery) []string {
				return []string{r.ID, string(r.Who), string(r.By), r.State, strconv.Itoa(len(r.Approved)) + " of 2", a.when(r.Ready), r.Why}
			})
		},
	}
	list.Flags().BoolVar(&named, "vouch", false, "those that you were named to approve")
	return list
}

func (a *app) recoveryStep(verb, short string, step func(*client.Client, context.Context, string) (api.Recovery, error)) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ID", Short: short, Args: arguments("ID"),
		Example: "  sallyport recovery " + verb + " R-…",
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, with(step, args[0]), a.recovering)
		},
	}
}

func (a *app) recoveryLink() *cobra.Command {
	return &cobra.Command{
		Use: "link ID", Short: "After the delay: use an approved request up and print its one enrolment link", Args: arguments("ID"),
		Example: "  sallyport recovery link R-…",
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, with((*client.Client).ClaimRecovery, args[0]), func(e api.Enrolment) {
				a.line("%s", e.Link)
				a.note("Give this link to %s, by a way that only they read. It works once, until %s.", clean(string(e.Who)), a.when(e.Expires))
			})
		},
	}
}
