package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) scim() *cobra.Command {
	return noun(&cobra.Command{Use: "scim", Short: "Providers that keep people and groups here: list, connect"}, a.scimList(), a.scimToken())
}

func (a *app) scimList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the sources and how many records each keeps", Args: arguments(),
		Example: "  sallyport scim ls --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := table{headings: []string{"SOURCE", "ORG", "ACCOUNT", "USERS", "GROUPS", "DOMAINS", "URL"}, none: "No provider keeps anybody here: see \"scim\" in the configuration."}
			return rows(cmd.Context(), a, (*client.Client).Sources, t, func(s api.Source) []string {
				return []string{s.Name, s.Organisation, string(s.Principal), strconv.Itoa(s.Users), strconv.Itoa(s.Groups), list(s.Domains), s.URL}
			})
		},
	}
}

func (a *app) scimToken() *cobra.Command {
	return &cobra.Command{
		Use: "token SOURCE", Short: "Print a short-lived access token for a source, to connect and try it", Args: arguments("SOURCE"),
		Long: `Prints an access token for the account of a source. It lives for minutes: it is for trying a connection. A provider gets
tokens of its own from /oauth/token by client credentials.`,
		Example: `  curl -H "Authorization: Bearer $(sallyport scim token okta)" https://sally.acme.example/scim/v2/Users`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, with((*client.Client).SourceToken, args[0]), func(t api.SourceToken) {
				a.line("%s", t.Token)
				a.note("It is good until %s.", a.when(t.Expires))
			})
		},
	}
}
