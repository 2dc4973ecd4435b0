package main

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/policy/engines"
	"sallyport/internal/web/api"
)

func (a *app) policy() *cobra.Command {
	return noun(&cobra.Command{Use: "policy", Short: "Policies: check and try offline, propose, approve, put in force"},
		a.policyLint(), a.policyTest(), a.policyCheck(), a.policyDiff(), a.policySimulate(), a.policyBlame(), a.policyEval(), a.policyShow(), a.policyPropose(), a.policyProposals(), a.policyVote(true), a.policyVote(false), a.policySign(), a.policyWithdraw(),
		a.policyActivate(), a.policyRollback(), a.policyStatus())
}

// readSet reads the policies of a directory as a server does; without a schema of its own it is the program's.
func readSet(dir string) (policy.Source, error) {
	src, err := engines.Read(os.DirFS(dir), ".")
	if err != nil {
		return src, fmt.Errorf("%s: %w", dir, err)
	}
	src.Schema = cmp.Or(src.Schema, cedar.Schema)
	return src, nil
}

// checked is what policy check prints.
type checked struct {
	Version  string       `json:"version"`
	Policies []policyLine `json:"policies"`
	Warnings []string     `json:"warnings"`
}

type policyLine struct {
	ID           string   `json:"id"`
	Effect       string   `json:"effect"`
	Owner        string   `json:"owner"`
	Requirements []string `json:"requirements"`
	Text         string   `json:"text,omitempty"`
}

func linesOf(e policy.Engine) []policyLine {
	lines := []policyLine{}
	for _, p := range e.Policies() {
		effect := "forbid"
		if p.Effect == policy.Permit {
			effect = "permit"
		}
		lines = append(lines, policyLine{p.ID, effect, p.Owner, p.Requirements, p.Annotations["text"]})
	}
	return lines
}

func (a *app) policyCheck() *cobra.Command {
	var b workshop
	var expression, against string
	most := 0
	c := &cobra.Command{
		Use: "check DIR", Short: "Check a policy set without a server, and that it allows no more than another", Args: arguments("DIR"),
		Long: `Parse and strictly validate the policies of a directory: *.cedar files, or *.rego with *.json. Exit code 2 where the set would
be refused.
With --no-wider-for also search a bounded world, built from the schema and from what the policies compare, for anything that
the set in force (or --against DIR) does not allow and this one does: exit code 2 with the question that shows it. The
expression chooses questions: class == restricted, group in possess, release, environment == production, action, principal,
resource, role, joined by "and"; "" is all of them. What was searched is printed: it is checked, not proved.`,
		Example: `  sallyport policy check examples/acme/policies
  sallyport policy check policy --no-wider-for 'class == restricted'
  sallyport policy check policy --no-wider-for 'group in possess' --against old`,
		RunE: func(cmd *cobra.Command, args []string) error {
			b.dir = args[0]
			if cmd.Flags().Changed("no-wider-for") {
				return a.noWider(cmd, b, against, expression, most)
			}
			src, err := readSet(args[0])
			if err != nil {
				return err
			}
			e, err := engines.Compile(src)
			if err != nil {
				return &exit{client.ExitDenied, err}
			}
			c := checked{e.Version(), linesOf(e), append([]string{}, engines.Warnings(e)...)}
			return a.answer(c, func() {
				a.line("ok: %d policies in %d files, version %s", len(c.Policies), len(src.Policies), c.Version)
				for _, w := range c.Warnings {
					a.line("  warning  %s", w)
				}
			})
		},
	}
	f := c.Flags()
	f.StringVar(&expression, "no-wider-for", "", "search for anything wider among the questions that this `EXPRESSION` chooses")
	f.StringVar(&against, "against", "live", "compare with the set in this `DIR`")
	f.IntVar(&most, "most", 0, "ask at most this `NUMBER` of questions (20000000)")
	return c
}

func (a *app) policyShow() *cobra.Command {
	var versions, text bool
	c := &cobra.Command{
		Use: "show", Short: "Show the policy set in force, or which ones there were", Args: arguments(),
		Example: `  sallyport policy show
  sallyport policy show --text
  sallyport policy show --versions`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if versions {
				all, err := c.PolicyVersions(cmd.Context())
				if err != nil {
					return err
				}
				return a.answer(all, func() { a.policyTable(all) })
			}
			s, err := c.Policy(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(s, func() { a.policySet(s, text) })
		},
	}
	c.Flags().BoolVar(&versions, "versions", false, "every set that is or was in force")
	c.Flags().BoolVar(&text, "text", false, "the policies as they are written")
	return c
}

func (a *app) policyTable(all []api.PolicySet) {
	t := table{headings: []string{"VERSION", "IN FORCE SINCE", "BY", "WHY"}, none: "There was none."}
	for _, s := range all {
		t.row(s.Version, a.when(s.At), cmp.Or(string(s.By), "-"), s.Why)
	}
	a.table(t)
}

func (a *app) policySet(s api.PolicySet, text bool) {
	a.line("version %s, in force since %s, by %s: %s", s.Version, a.when(s.At), cmp.Or(string(s.By), "nobody"), s.Why)
	names := make([]string, 0, len(s.Policies))
	for name := range s.Policies {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !text {
			a.line("  %s, %d bytes", name, len(s.Policies[name]))
			continue
		}
		a.line("// %s", name)
		for l := range strings.SplitSeq(s.Policies[name], "\n") {
			a.line("%s", l)
		}
	}
}

func (a *app) matrix() *cobra.Command {
	var format, level, project string
	c := &cobra.Command{
		Use: "matrix", Short: "Show who may do what, computed from the live policy", Args: arguments(),
		Example: `  sallyport matrix --project acme/risk
  sallyport matrix --format csv > access.csv`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.json {
				format = "json"
			}
			if !slices.Contains(formats(), format) {
				return usage(cmd, "no format is called \""+sallyport.OneLine(format)+"\"; there are "+strings.Join(formats(), ", "))
			}
			assurance := sallyport.MultiFactor
			if level != "" {
				var err error
				if assurance, err = sallyport.ParseAssurance(level); err != nil {
					return err
				}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if format == "signed" {
				return a.signedMatrix(cmd, c, assurance, project)
			}
			done := a.waiting("asking for everybody")
			m, err := c.Matrix(cmd.Context(), assurance, project)
			done()
			if err != nil {
				return err
			}
			return a.writeMatrix(m, format)
		},
	}
	c.Flags().StringVar(&format, "format", "table", "table, md, csv, json or signed")
	c.Flags().StringVar(&level, "assurance", "", "as if everybody were proved at this `LEVEL` (aal2)")
	c.Flags().StringVar(&project, "project", "", "only what is in this project, `ORG/NAME`")
	complete(c, "format", formats()...)
	complete(c, "assurance", levels()...)
	c.AddCommand(a.matrixDiff(), a.matrixVerify())
	return c
}

func formats() []string { return []string{"table", "md", "csv", "json", "signed"} }

// writeMatrix writes one row for each principal and resource.
func (a *app) writeMatrix(m api.Matrix, format string) error {
	head := []string{"who", "resource"}
	for _, x := range m.Actions {
		head = append(head, string(x))
	}
	switch format {
	case "json":
		return a.encode(m)
	case "csv":
		w := csv.NewWriter(a.out)
		_ = w.Write(head) // Flush keeps the error
		for _, r := range m.Rows {
			_ = w.Write(cells(r, inert))
		}
		w.Flush()
		return w.Error()
	case "md":
		a.line("| %s |", strings.Join(head, " | "))
		a.line("|%s", strings.Repeat(" --- |", len(head)))
		for _, r := range m.Rows {
			a.line("| %s |", strings.Join(cells(r, func(s string) string { return strings.ReplaceAll(s, "|", `\|`) }), " | "))
		}
		a.line("")
		a.line("Policy %s, computed %s.", m.Policy, m.At.Format("2006-01-02 15:04:05 MST"))
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(strings.Join(head, "\t")))
	for _, r := range m.Rows {
		fmt.Fprintln(w, strings.Join(cells(r, clean), "\t"))
	}
	return w.Flush()
}

func cells(r api.MatrixRow, escape func(string) string) []string {
	all := []string{escape(string(r.Who)), escape(r.Resource)}
	for _, c := range r.Cells {
		all = append(all, escape(c))
	}
	return all
}

// inert keeps a spreadsheet from reading a cell as a formula.
func inert(s string) string {
	s = clean(s)
	if s != "-" && strings.IndexAny(s, "=+-@\t\r") == 0 {
		return "'" + s
	}
	return s
}
