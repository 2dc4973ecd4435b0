package main

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

func (a *app) catalogOwn() *cobra.Command {
	var owner, approver, monitor, responder []string
	c := &cobra.Command{
		Use: "own [RESOURCE]", Short: "Show or say who answers for an asset: owner, approver, monitor, responder", Args: arguments("[RESOURCE]"),
		Long: `Say who owns an asset, who approves access to it, who watches how it is used and who responds to incidents: people, or
groups in which anybody does. What an asset does not name it has from its project, and that from its organisation. A version
leaves development only when nobody is missing; what a leaver had waits for a successor. Without a flag it shows who it is.`,
		Example: `  sallyport catalog own
  sallyport catalog own project:acme/risk --owner ana --approver rita --monitor group:acme/soc --responder group:acme/soc
  sallyport catalog own acme/fraud --approver ravi`,
		RunE: func(cmd *cobra.Command, args []string) error {
			d := api.Duties{}
			for from, to := range map[*[]string]*[]string{&owner: &d.Owner, &approver: &d.Approver, &monitor: &d.Monitor, &responder: &d.Responder} {
				for _, name := range *from {
					s, err := subject(name)
					if err != nil {
						return err
					}
					*to = append(*to, s)
				}
			}
			if len(args) == 1 {
				ref, err := sallyport.ParseRef(args[0])
				if err != nil {
					return err
				}
				d.Resource = ref.String()
			}
			t := table{headings: []string{"RESOURCE", "OWNER", "APPROVER", "MONITOR", "RESPONDER", "MISSING"}, none: "There is nothing that you may know of."}
			switch {
			case len(d.Owner)+len(d.Approver)+len(d.Monitor)+len(d.Responder) == 0:
				return rows(cmd.Context(), a, dutiesAbout(d.Resource), t, dutyRow)
			case d.Resource == "":
				return usage(cmd, "name the resource")
			}
			return do(cmd.Context(), a, with((*client.Client).SetDuties, d), func(d api.Duties) {
				t.row(dutyRow(d)...)
				a.table(t)
			})
		},
	}
	c.Flags().StringArrayVar(&owner, "owner", nil, "the `NAME` of who answers for it; may be repeated")
	c.Flags().StringArrayVar(&approver, "approver", nil, "the `NAME` of who approves access, or group:ORG/NAME; may be repeated")
	c.Flags().StringArrayVar(&monitor, "monitor", nil, "the `NAME` of who watches its use, or group:ORG/NAME; may be repeated")
	c.Flags().StringArrayVar(&responder, "responder", nil, "the `NAME` of who responds to incidents, or group:ORG/NAME; may be repeated")
	return c
}

// subject reads the name of an account or of a group, "group:ORG/NAME".
func subject(name string) (string, error) {
	if strings.HasPrefix(name, "group:") {
		return name, nil
	}
	id, err := sallyport.ParsePrincipalID(name)
	return string(id), err
}

// dutiesAbout lists who answers for one resource, or for all where it is "".
func dutiesAbout(resource string) call[[]api.Duties] {
	return func(c *client.Client, ctx context.Context) ([]api.Duties, error) {
		all, err := c.Duties(ctx)
		if resource == "" || err != nil {
			return all, err
		}
		all = slices.DeleteFunc(all, func(d api.Duties) bool { return d.Resource != resource })
		if len(all) == 0 {
			err = sallyport.E("show duties", sallyport.NotFound, "nobody is said to answer for "+resource+", or you may not know of it", "")
		}
		return all, err
	}
}

func dutyRow(d api.Duties) []string {
	row := []string{d.Resource}
	for _, x := range []struct {
		duty    string
		holders []string
	}{{"owner", d.Owner}, {"approver", d.Approver}, {"monitor", d.Monitor}, {"responder", d.Responder}} {
		text := cmp.Or(strings.Join(x.holders, " "), "-")
		if from := d.From[x.duty]; from != "" {
			text += " (" + from + ")"
		}
		row = append(row, text)
	}
	return append(row, cmp.Or(strings.Join(d.Missing, " "), "-"))
}

// charters says who answers for what, where the file names somebody else than the server.
func (p *plan) charters() {
	named := func(names []string) []string {
		var all []string
		for _, n := range names {
			if g, ok := strings.CutPrefix(n, "group:"); ok {
				n = "group:" + p.within(g)
			}
			all = append(all, n)
		}
		return all
	}
	for _, x := range p.file.Duties {
		d := api.Duties{Resource: x.On, Owner: named(x.Owner), Approver: named(x.Approver), Monitor: named(x.Monitor), Responder: named(x.Responder)}
		there := p.duties[x.On]
		same := func(want, have []string, duty string) bool {
			return len(want) == 0 || there.From[duty] == "" && slices.Equal(want, have)
		}
		if same(d.Owner, there.Owner, "owner") && same(d.Approver, there.Approver, "approver") && same(d.Monitor, there.Monitor, "monitor") &&
			same(d.Responder, there.Responder, "responder") {
			continue
		}
		p.add("who answers for "+x.On, func(ctx context.Context, c *client.Client) error {
			_, err := c.SetDuties(ctx, d)
			return err
		})
	}
}
