package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/engines"
	"sallyport/internal/authz/policy/lint"
	"sallyport/internal/authz/policy/matrix"
	"sallyport/internal/authz/policy/paths"
	tables "sallyport/internal/authz/policy/table"
	"sallyport/internal/authz/policy/world"
)

// tested is what policy test prints.
type tested struct {
	Version string             `json:"version"`
	Rows    int                `json:"rows"`
	Failed  []failedRow        `json:"failed"`
	Rights  int                `json:"rights"`
	Paths   []paths.Difference `json:"paths"`
}

type failedRow struct {
	At   string `json:"at"`
	Row  string `json:"row"`
	Got  string `json:"got"`
	Want string `json:"want"`
}

func (a *app) policyTest() *cobra.Command {
	var b workshop
	c := &cobra.Command{
		Use: "test DIR", Short: "Run the tests of a policy set: tables of who may do what, and the declared paths to rights", Args: arguments("DIR"),
		Long: `Ask every row of the test tables, over an organisation from a file, and hold the chains that lead to each declared right to
those that are written down: one that nobody declared fails. Nothing is asked of a server. Exit code 2 where anything fails.
A row is: who | assurance | action | resource | outcome | reasons | given. docs/policy.md has the format.`,
		Example: `  sallyport policy test examples/acme/policies
  sallyport policy test examples/acme/policies --with examples/acme/strict --tables examples/acme/strict`,
		RunE: func(_ *cobra.Command, args []string) error {
			b.dir = args[0]
			x, err := b.test()
			if err != nil {
				return err
			}
			if err := a.answer(x, func() { a.tested(x) }); err != nil {
				return err
			}
			if len(x.Failed) > 0 || slices.ContainsFunc(x.Paths, func(d paths.Difference) bool { return len(d.Undeclared) > 0 }) {
				return ended(client.ExitDenied)
			}
			return nil
		},
	}
	b.flags(c, "organisation", "tables", "paths", "with")
	return c
}

func (b *workshop) test() (tested, error) {
	e, err := b.set()
	if err != nil {
		return tested{}, err
	}
	c, err := b.people()
	if err != nil {
		return tested{}, err
	}
	rows, err := b.rows()
	if err != nil {
		return tested{}, err
	}
	declared, err := b.declared()
	if err != nil {
		return tested{}, err
	}
	if len(rows)+len(declared) == 0 {
		return tested{}, sallyport.E("policy test", sallyport.Invalid, "there are no test tables and no declared paths beside "+b.dir, "name them with --tables and --paths")
	}
	x := tested{Version: e.Version(), Rows: len(rows), Failed: []failedRow{}, Rights: len(declared), Paths: []paths.Difference{}}
	for _, r := range tables.Run(e, c, rows) {
		if r.Pass {
			continue
		}
		got := fmt.Sprintf("%s %s", r.Got.Outcome, strings.Join(r.Got.ReasonIDs(), " "))
		if r.Err != nil {
			got = r.Err.Error()
		}
		x.Failed = append(x.Failed, failedRow{r.At, strings.Join([]string{r.Who, r.Action, r.Resource}, " "), got, fmt.Sprintf("%s %s", r.Outcome, strings.Join(r.Reasons, " "))})
	}
	d, err := paths.Compare(e, c, declared)
	x.Paths = append(x.Paths, d...)
	return x, err
}

func (a *app) tested(x tested) {
	for _, f := range x.Failed {
		a.line("FAILED %s: %s: %s, want %s", f.At, f.Row, f.Got, f.Want)
	}
	for _, d := range x.Paths {
		for _, p := range d.Undeclared {
			a.line("UNDECLARED %s: %s", d.Target, p)
		}
		for _, p := range d.Gone {
			a.line("gone %s: %s", d.Target, p)
		}
	}
	a.line("%d rows, %d failed; %d rights, %d with other paths than declared", x.Rows, len(x.Failed), x.Rights, len(x.Paths))
}

func (a *app) policyLint() *cobra.Command {
	var b workshop
	var quick bool
	most := 0
	c := &cobra.Command{
		Use: "lint DIR", Short: "Find what is wrong with a policy set that a server would take", Args: arguments("DIR"),
		Long: `Find permits for anybody on anything, rights without effect (a permit that is always forbidden, or that changes nothing), and
policies that no row of the test tables is decided by. Effects are searched for in a bounded world built from the schema.
Exit code 2 on a finding; remarks are none.`,
		Example: `  sallyport policy lint examples/acme/policies
  sallyport policy lint policy --quick`,
		RunE: func(cmd *cobra.Command, args []string) error {
			b.dir = args[0]
			done := a.waiting("searching")
			list, err := b.lint(cmd, quick, world.Limits{Questions: most})
			done()
			if err != nil {
				return err
			}
			if err := a.answer(list, func() {
				for _, f := range list {
					a.line("%s%s", map[bool]string{true: "remark: ", false: ""}[f.Remark], f)
				}
			}); err != nil {
				return err
			}
			if slices.ContainsFunc(list, func(f lint.Finding) bool { return !f.Remark }) {
				return ended(client.ExitDenied)
			}
			return nil
		},
	}
	b.flags(c, "organisation", "tables", "with")
	c.Flags().BoolVar(&quick, "quick", false, "do not search for rights without effect")
	c.Flags().IntVar(&most, "most", 0, "ask at most this `NUMBER` of questions (20000000)")
	return c
}

func (b *workshop) lint(cmd *cobra.Command, quick bool, limits world.Limits) ([]lint.Finding, error) {
	e, err := b.set()
	if err != nil {
		return nil, err
	}
	list := append([]lint.Finding{}, lint.Texts(e)...)
	s, err := surveyor(e, "policy lint")
	if err != nil && !quick {
		return nil, err
	}
	if err == nil {
		list = append(list, lint.Unscoped(s)...)
	}
	rows, err := b.rows()
	if err != nil {
		return nil, err
	}
	var results []tables.Result
	if len(rows) > 0 {
		c, err := b.people()
		if err != nil {
			return nil, err
		}
		results = tables.Run(e, c, rows)
	}
	list = append(list, lint.Untested(e, results)...)
	if quick {
		return list, nil
	}
	found, _, err := world.Effects(cmd.Context(), s, limits)
	if err != nil {
		return nil, err
	}
	return append(list, lint.Idle(e, found)...), nil
}

// compared is what policy diff prints.
type compared struct {
	Old     string          `json:"old"`
	New     string          `json:"new"`
	Added   []string        `json:"added"`
	Removed []string        `json:"removed"`
	Changed []changedPolicy `json:"changed"`
	Cells   []matrix.Change `json:"cells"`
}

type changedPolicy struct {
	ID  string `json:"id"`
	Old string `json:"old"`
	New string `json:"new"`
}

func (a *app) policyDiff() *cobra.Command {
	var b workshop
	c := &cobra.Command{
		Use: "diff OLD NEW", Short: "Compare two policy sets: the texts, and the cells of an organisation's matrix that change", Args: arguments("OLD", "NEW"),
		Long:    "Compare the sets of two directories. What could be done at two factors on a working day at noon is compared for everybody in an organisation's file.\nOLD may be \"live\": the set in force. Exit code 2 where anybody could do more.",
		Example: "  sallyport policy diff live policy --organisation examples/acme/acme.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			old, err := a.setOf(cmd, args[0], b)
			if err != nil {
				return err
			}
			b.dir = args[1]
			next, err := b.set()
			if err != nil {
				return err
			}
			x, err := b.compare(old, next)
			if err != nil {
				return err
			}
			if err := a.answer(x, func() { a.compared(x) }); err != nil {
				return err
			}
			if slices.ContainsFunc(x.Cells, func(c matrix.Change) bool { return c.Wider }) {
				return ended(client.ExitDenied)
			}
			return nil
		},
	}
	b.flags(c, "organisation", "with")
	return c
}

// setOf compiles a directory's set, or with "live" the one in force.
func (a *app) setOf(cmd *cobra.Command, name string, b workshop) (policy.Engine, error) {
	if name != "live" {
		b.dir, b.with = name, nil
		return b.set()
	}
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	s, err := c.Policy(cmd.Context())
	if err != nil {
		return nil, err
	}
	return engines.Compile(policy.Source{Schema: s.Schema, Policies: s.Policies})
}

func (b *workshop) compare(old, next policy.Engine) (compared, error) {
	x := compared{Old: old.Version(), New: next.Version(), Added: []string{}, Removed: []string{}, Changed: []changedPolicy{}, Cells: []matrix.Change{}}
	was := map[string]string{}
	for _, p := range old.Policies() {
		was[p.ID] = p.Text
	}
	for _, p := range next.Policies() {
		switch text, ok := was[p.ID]; {
		case !ok:
			x.Added = append(x.Added, p.ID)
		case text != p.Text:
			x.Changed = append(x.Changed, changedPolicy{p.ID, text, p.Text})
		}
		delete(was, p.ID)
	}
	x.Removed = slices.AppendSeq(x.Removed, maps.Keys(was))
	slices.Sort(x.Removed)
	c, err := b.people()
	if err != nil {
		if b.organisation == "" && !errors.Is(err, fs.ErrPermission) { // only the texts, where there is no organisation
			return x, nil
		}
		return x, err
	}
	var both [2]*matrix.Matrix
	for i, e := range []policy.Engine{old, next} {
		l, ok := e.(policy.Lister)
		if !ok {
			return x, sallyport.E("policy diff", sallyport.Invalid, "the engine does not say what it can be asked", "")
		}
		if both[i], err = matrix.Of(l, c); err != nil {
			return x, err
		}
	}
	x.Cells = matrix.Diff(both[0], both[1])
	return x, nil
}

func (a *app) compared(x compared) {
	for _, l := range []struct {
		what string
		ids  []string
	}{{"new", x.Added}, {"gone", x.Removed}} {
		for _, id := range l.ids {
			a.line("%-8s %s", l.what, id)
		}
	}
	for _, c := range x.Changed {
		a.line("%-8s %s", "changed", c.ID)
		for _, l := range lineDiff(c.Old, c.New) {
			a.line("    %s", l)
		}
	}
	a.cells(x.Cells)
}

func (a *app) cells(list []matrix.Change) {
	for _, c := range list {
		a.line("%-8s %s %s on %s: %s, was %s", map[bool]string{true: "MORE", false: "less"}[c.Wider], c.Who, c.Action, c.Resource, c.To, c.From)
	}
	wider := 0
	for _, c := range list {
		if c.Wider {
			wider++
		}
	}
	a.line("%d cells change, %d of them are wider", len(list), wider)
}

// lineDiff shows the lines that only one of two texts has.
func lineDiff(old, next string) []string {
	was, is := strings.Split(old, "\n"), strings.Split(next, "\n")
	var out []string
	for _, l := range was {
		if !slices.Contains(is, l) {
			out = append(out, "- "+l)
		}
	}
	for _, l := range is {
		if !slices.Contains(was, l) {
			out = append(out, "+ "+l)
		}
	}
	return out
}
