package main

import (
	"time"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) delegate() *cobra.Command {
	var d api.Delegation
	var life time.Duration
	c := &cobra.Command{
		Use: "delegate agent:NAME", Short: "Let an agent act for you, within a scope and for a while", Args: arguments("agent:NAME"),
		Long: `Let an agent act for you. It gets no token by this: it needs one of yours and a proof of its own, and then has no more than
you, it, and this permission have in common. The permission ends by itself, with your session, or by 'delegate rm'.`,
		Example: "  sallyport delegate agent:helper --scope 'model.infer@acme/fraud' --for 1h",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := sallyport.ParsePrincipalID(args[0])
			if err != nil {
				return err
			}
			if d.Scope == "" {
				return usage(cmd, "say what it may do, with --scope ACTION@RESOURCE")
			}
			d.Agent, d.For = id, life.String()
			return do(cmd.Context(), a, with((*client.Client).Delegate, d), func(d api.Delegation) {
				a.line("%s may act for you until %s (%s)", d.Agent, a.when(d.Until), d.ID)
			})
		},
	}
	c.Flags().StringVar(&d.Scope, "scope", "", "`ACTION@RESOURCE`; several in quotes, separated by spaces")
	c.Flags().DurationVar(&life, "for", time.Hour, "how long, up to 24h")
	completeActions(c, "scope")
	c.AddCommand(a.delegateList(), a.delegateEnd())
	return c
}

func (a *app) delegateList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List who may act for you", Args: arguments(),
		Example: "  sallyport delegate ls",
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := table{none: "nobody may act for you", headings: []string{"ID", "AGENT", "UNTIL", "SCOPE"}}
			return rows(cmd.Context(), a, (*client.Client).Delegations, t, func(d api.Delegation) []string {
				return []string{d.ID, string(d.Agent), a.when(d.Until), d.Scope}
			})
		},
	}
}

func (a *app) delegateEnd() *cobra.Command {
	return &cobra.Command{
		Use: "rm ID", Short: "Take a permission back", Args: arguments("ID"),
		Example: "  sallyport delegate rm 2bv3qk…",
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, with((*client.Client).EndDelegation, args[0]), func(d api.Delegation) {
				a.line("%s may not act for you any more", d.Agent)
			})
		},
	}
}
