package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

// maxClaims bounds a file of claims.
const maxClaims = 256 << 10

func (a *app) idp() *cobra.Command {
	return noun(&cobra.Command{Use: "idp", Short: "Other people's identity providers: list, test, link, try the mapping"}, a.idpList(), a.idpTest(), a.idpLink(), a.idpMap())
}

func (a *app) idpList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the identity providers that people sign in by", Args: arguments(),
		Example: "  sallyport idp ls --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := table{headings: []string{"NAME", "KIND", "ISSUER", "PEOPLE", "JOIN", "GROUPS"}, none: "No identity provider is set up: see federation in the configuration."}
			return rows(cmd.Context(), a, (*client.Client).Providers, t, func(p api.Provider) []string {
				return []string{p.Name, p.Kind, p.Issuer, fmt.Sprint(p.People), cmp.Or(p.Joins, "-"), cmp.Or(strings.Join(p.Groups, " "), "-")}
			})
		},
	}
}

func (a *app) idpTest() *cobra.Command {
	return &cobra.Command{
		Use: "test NAME", Short: "Ask a provider whether it answers, and what it presents", Args: arguments("NAME"),
		Example: "  sallyport idp test corp",
		RunE: func(cmd *cobra.Command, args []string) error {
			return do(cmd.Context(), a, with((*client.Client).TestProvider, args[0]), func(found api.ProviderTest) {
				for _, l := range found.Lines {
					a.line("%s", l)
				}
			})
		},
	}
}

func (a *app) idpLink() *cobra.Command {
	return &cobra.Command{
		Use: "link NAME USER SUBJECT", Short: "Let whom a provider knows by a subject sign in as somebody", Args: arguments("NAME", "USER", "SUBJECT"),
		Example: "  sallyport idp link corp ana 8a7f3c1e-5a0b-4a43-9a52-3f0c8e6f1d2b",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := sallyport.ParsePrincipalID(args[1])
			if err != nil {
				return err
			}
			return do(cmd.Context(), a, with2((*client.Client).LinkIdentity, args[0], api.ProviderLink{Who: id, Subject: args[2]}), func(l api.ProviderLink) {
				a.line("%s of %s signs in as %s", sallyport.OneLine(l.Subject), args[0], l.Who)
			})
		},
	}
}

func (a *app) idpMap() *cobra.Command {
	return &cobra.Command{
		Use: "map NAME FILE", Short: "Try what a provider's rules make of claims; nothing changes", Args: arguments("NAME", "FILE"),
		Long: `Reads a JSON object of claims, such as the payload of an ID token, and shows who that would be here, in which groups and at which
level. FILE may be - for standard input.`,
		Example: `  sallyport idp map corp claims.json
  echo '{"sub": "4711", "groups": ["/ml"], "acr": "1"}' | sallyport idp map corp -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := readClaims(cmd, args[1])
			if err != nil {
				return err
			}
			return do(cmd.Context(), a, with2((*client.Client).MapClaims, args[0], raw), func(m api.Mapped) {
				who := string(m.Member)
				if who == "" {
					who = "nobody yet; a new member would be called " + cmp.Or(m.Name, "- (no usable name)")
				}
				a.line("who        %s", who)
				a.line("groups     %s", cmp.Or(strings.Join(m.Groups, " "), "-"))
				a.line("assurance  %s (%s)", m.Level, strings.Join(m.Methods, " "))
				if m.Email != "" {
					a.line("e-mail     %s, which may find a member: %t", sallyport.OneLine(m.Email), m.Trusted)
				}
			})
		},
	}
}

func readClaims(cmd *cobra.Command, path string) ([]byte, error) {
	in := cmd.InOrStdin()
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, sallyport.Wrap("read claims", sallyport.Invalid, "the file "+path+" cannot be opened", err)
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxClaims+1))
	if err != nil || len(raw) > maxClaims {
		return nil, sallyport.Wrap("read claims", sallyport.Invalid, path+" cannot be read or is over 256 KiB", err)
	}
	return raw, nil
}
