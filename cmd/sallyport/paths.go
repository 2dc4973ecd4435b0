package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/authz/policy/paths"
	"sallyport/internal/web/api"
)

func (a *app) paths() *cobra.Command {
	var b workshop
	var to string
	live := false
	c := &cobra.Command{
		Use: "paths", Short: "List every chain that leads to a right: over the living directory, or by files", Args: arguments(),
		Long: `List every chain that leads to a right: a role, a group, an owner, a name, an assignment, a grant, an agent, somebody else's
account, an emergency, an edit of the policies. Without --policies the server is asked, about everybody it knows and the set in
force, and says who stands at the end of each chain today. With --policies everything comes from files, and nothing is asked.
With --paths the chains are held to a file of declared ones: exit code 2 where one is undeclared.`,
		Example: `  sallyport paths --to model.pull@acme/fraud@v1
  sallyport paths --to model.export@acme/fraud@v1 --live --paths examples/acme/paths.txt
  sallyport paths --to policy.activate@system --policies examples/acme/policies`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch files := b.organisation != "" || len(b.with) > 0; {
			case to == "":
				return usage(cmd, "say --to ACTION@RESOURCE")
			case live && (b.dir != "" || files):
				return usage(cmd, "--live asks the server, and takes no files but --paths")
			case b.dir == "" && files:
				return usage(cmd, "say --policies DIR beside --organisation and --with")
			}
			t, err := paths.ParseTarget(to)
			if err != nil {
				return err
			}
			var declared []paths.Target
			if b.paths != "" {
				if declared, err = b.declared(); err != nil {
					return err
				}
			}
			if b.dir == "" {
				return judge(cmd.Context(), a, with((*client.Client).Paths, to), a.pathsText, func(x api.Paths) int {
					if is, err := paths.ParseTarget(x.Right); err == nil { // a name may stand for its newest version
						t = is
					}
					return b.undeclared(a, t, texts(x), declared)
				})
			}
			all, err := b.chains(t)
			if err != nil {
				return err
			}
			if err := a.answer(all, func() { a.chainsText(all) }); err != nil {
				return err
			}
			return ended(b.undeclared(a, t, all, declared))
		},
	}
	f := c.Flags()
	f.StringVar(&to, "to", "", "the right, `ACTION@RESOURCE`")
	f.BoolVar(&live, "live", false, "ask the server, as without --policies")
	f.StringVar(&b.dir, "policies", "", "`DIR` of the policies: from files alone")
	b.flags(c, "organisation", "with", "paths")
	completeActions(c, "to")
	return c
}

// chains are those of files.
func (b *workshop) chains(t paths.Target) ([]string, error) {
	e, err := b.set()
	if err != nil {
		return nil, err
	}
	people, err := b.people()
	if err != nil {
		return nil, err
	}
	return paths.To(e, people, t.Action, t.Resource)
}

func texts(x api.Paths) []string {
	var all []string
	for _, c := range x.Chains {
		all = append(all, c.Chain)
	}
	return all
}

// undeclared is the exit code of chains beside those that a file declares, which may be none at all; no file was named: 0.
func (b *workshop) undeclared(a *app, t paths.Target, chains []string, declared []paths.Target) int {
	if b.paths == "" {
		return 0
	}
	i := slices.IndexFunc(declared, func(d paths.Target) bool { return d.Action == t.Action && d.Resource == t.Resource })
	code := 0
	for _, c := range chains {
		if i < 0 || !slices.Contains(declared[i].Chains, c) {
			a.note("undeclared: %s", clean(c))
			code = client.ExitDenied
		}
	}
	return code
}

func (a *app) chainsText(chains []string) {
	for _, c := range chains {
		a.line("%s", c)
	}
}

func (a *app) pathsText(x api.Paths) {
	for _, c := range x.Chains {
		a.line("%s", c.Chain)
		const most = 10
		if n := len(c.Who); n > 0 {
			a.line("    now: %s%s", sallyport.OneLine(list(names(c.Who[:min(n, most)]))), map[bool]string{true: fmt.Sprintf(" and %d more", n-most)}[n > most])
		}
	}
}

func names(ids []sallyport.PrincipalID) []string {
	var all []string
	for _, id := range ids {
		all = append(all, string(id))
	}
	return all
}
