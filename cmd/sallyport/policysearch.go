package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy/blame"
	"sallyport/internal/authz/policy/simulate"
	"sallyport/internal/authz/policy/world"
)

// searched is what a search of a bounded world prints.
type searched struct {
	Checked   bool           `json:"checked"`
	For       string         `json:"for"`
	Questions int            `json:"questions"`
	Pairs     int            `json:"pairs"`
	Parents   int            `json:"parents"`
	Actions   []string       `json:"actions"`
	Values    map[string]int `json:"values"`
	Outside   []string       `json:"outside"`
	Example   *world.Example `json:"example,omitempty"`
}

// noWider searches for anything that a set allows and another does not.
func (a *app) noWider(cmd *cobra.Command, b workshop, against, expression string, most int) error {
	f, err := world.ParseFilter(expression)
	if err != nil {
		return err
	}
	oldEngine, err := a.setOf(cmd, against, workshop{})
	if err != nil {
		return err
	}
	nextEngine, err := b.set()
	if err != nil {
		return err
	}
	old, err := surveyor(oldEngine, "policy check")
	if err != nil {
		return err
	}
	next, err := surveyor(nextEngine, "policy check")
	if err != nil {
		return err
	}
	done := a.waiting("searching")
	r, err := world.NoWider(cmd.Context(), old, next, f, world.Limits{Questions: most})
	done()
	if err != nil {
		return err
	}
	x := searched{r.Example == nil, expression, r.Questions, r.Pairs, r.Parents, append([]string{}, r.Actions...), r.Values, append([]string{}, r.Unexplored...), r.Example}
	if err := a.answer(x, func() { a.searched(x) }); err != nil {
		return err
	}
	if r.Example != nil {
		return ended(client.ExitDenied)
	}
	return nil
}

func (a *app) searched(x searched) {
	if e := x.Example; e != nil {
		a.line("WIDER: %s may %s on %s: %s, before %s", e.Principal, e.Action, e.Resource, e.After, e.Before)
		for _, entity := range e.Entities {
			if len(entity.Parents) > 0 {
				a.line("  %s is in %v", entity.UID, entity.Parents)
			}
		}
		for _, entity := range e.Entities[:2] {
			for _, name := range slices.Sorted(maps.Keys(entity.Attrs)) {
				if v := entity.Attrs[name]; v.String != "" || v.Entity.ID != "" || len(v.Set) > 0 {
					a.line("  %s has %s %s", entity.UID, name, shown(v.String, v.Entity.String(), len(v.Set)))
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(e.Varied)) {
			a.line("  %s is %s", name, e.Varied[name])
		}
		return
	}
	a.line("checked: no wider for %s", cmp.Or(x.For, "anything"))
	if x.Questions == 0 {
		a.line("  nothing was asked: no permit is new or changed and no forbid is gone or changed where it applies")
		return
	}
	a.line("  %d questions over %d pairs of a principal in at most %d roles and groups and a resource, about %d actions", x.Questions, x.Pairs, x.Parents, len(x.Actions))
	var values []string
	for _, name := range slices.Sorted(maps.Keys(x.Values)) {
		if x.Values[name] > 1 {
			values = append(values, fmt.Sprintf("%s %d", name, x.Values[name]))
		}
	}
	a.line("  values: %s", cmp.Or(strings.Join(values, ", "), "one of each attribute"))
	if len(x.Outside) > 0 {
		a.line("  not varied: %s", strings.Join(x.Outside, ", "))
	}
}

func shown(text, entity string, size int) string {
	switch {
	case text != "":
		return text
	case size > 0:
		return fmt.Sprintf("with %d in it", size)
	}
	return entity
}

func (a *app) policySimulate() *cobra.Command {
	var b workshop
	var against, dir, key string
	var fail bool
	c := &cobra.Command{
		Use: "simulate DIR", Short: "Decide what was recorded once more, by another policy set, and list what flips", Args: arguments("DIR"),
		Long: `Make every recorded decision of a time again on this machine, on its recorded facts, by the set of a directory: what would have
been answered otherwise, by person and model, new exposure first. The log is verified on the way. Needs the right to read it.
With --fail-on-exposure the exit code is 2 where anything would be allowed that was not.`,
		Example: `  sallyport policy simulate policy --against 30d
  sallyport policy simulate policy --against 30d --log /var/lib/sallyport/log --key log.key --fail-on-exposure`,
		RunE: func(cmd *cobra.Command, args []string) error {
			b.dir = args[0]
			since, err := a.moment(cmd, against)
			if err != nil {
				return err
			}
			e, err := b.set()
			if err != nil {
				return err
			}
			s := simulate.New(e)
			log := newReplayer()
			err = a.overLog(cmd, dir, key, func(_ uint64, l sallyport.Logged) error {
				if l.Type == sallyport.EventFacts {
					return log.basis(l)
				}
				if l.Type == sallyport.EventDecided && !l.Time().Before(since) {
					s.Take(l.Event, func(hash string) []byte { return log.bases[hash] })
				}
				return nil
			})
			if err != nil {
				return err
			}
			r := s.Report()
			if err := a.answer(r, func() { a.simulated(r) }); err != nil {
				return err
			}
			if fail && r.Exposures > 0 {
				return ended(client.ExitDenied)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&against, "against", "30d", "decisions since this `TIME`, or so long ago")
	f.StringVar(&dir, "log", "", "read the log of this `DIR`")
	f.StringVar(&key, "key", "", "`FILE` with the log's public key")
	f.BoolVar(&fail, "fail-on-exposure", false, "exit code 2 where anything would be allowed that was not")
	b.flags(c, "with")
	return c
}

// overLog verifies a whole log and hands each entry over.
func (a *app) overLog(cmd *cobra.Command, dir, key string, each func(uint64, sallyport.Logged) error) error {
	var c *client.Client
	var err error
	if dir == "" {
		if c, err = a.connect(); err != nil {
			return err
		}
	}
	s, err := a.openLog(cmd.Context(), c, dir, key)
	if err != nil {
		return err
	}
	_, err = a.verifyLog(cmd.Context(), s, func(n uint64, leaf []byte) error {
		l, err := sallyport.DecodeLogged(leaf)
		if err != nil {
			return err
		}
		return each(n, l)
	})
	return err
}

func (a *app) simulated(r simulate.Report) {
	for _, g := range r.Groups {
		a.line("%-8s %s because of %s, last %s", map[bool]string{true: "EXPOSED", false: "less"}[g.Exposure], g, list(g.Because), g.Decision)
	}
	for _, why := range slices.Sorted(maps.Keys(r.Why)) {
		a.line("not asked: %s (%d times)", why, r.Why[why])
	}
	a.line("%d decisions: %d would be answered otherwise, %d of them allowed that were not; %d could not be asked", r.Decisions, r.Flips, r.Exposures, r.Unasked)
}

// blamed is what policy blame prints.
type blamed struct {
	Old    string        `json:"old"`
	New    string        `json:"new"`
	Was    string        `json:"was"`
	Is     string        `json:"is"`
	Causes []blame.Cause `json:"causes"`
}

func (a *app) policyBlame() *cobra.Command {
	var dir, key string
	c := &cobra.Command{
		Use: "blame D-… D-…", Short: "Name the change that made a decision come out otherwise than an earlier one", Args: arguments("D-…", "D-…"),
		Long: `Compare two recorded decisions on one question, exchange each part of what they were made from (policies, roles, grants, labels,
holds, proof), and name the part that made the difference with the recorded events that changed it: who proposed it, who
approved it, why. The log is verified on the way.`,
		Example: "  sallyport policy blame D-7f3kq2m1x9ab D-91ccq2m1x9zz",
		RunE: func(cmd *cobra.Command, args []string) error {
			x, err := a.blame(cmd, args, dir, key)
			if err != nil {
				return err
			}
			return a.answer(x, func() { a.blamed(x) })
		},
	}
	c.Flags().StringVar(&dir, "log", "", "read the log of this `DIR`")
	c.Flags().StringVar(&key, "key", "", "`FILE` with the log's public key")
	return c
}

// blame gathers both decisions and what happened up to the later one.
func (a *app) blame(cmd *cobra.Command, ids []string, dir, key string) (blamed, error) {
	if dir == "" {
		if err := a.settled(cmd, ids); err != nil {
			return blamed{}, err
		}
	}
	log := newReplayer()
	found := map[string]sallyport.Logged{}
	var events []sallyport.Logged
	err := a.overLog(cmd, dir, key, func(_ uint64, l sallyport.Logged) error {
		switch l.Type {
		case sallyport.EventFacts:
			return log.basis(l)
		case sallyport.EventPolicy:
			return log.policy(l)
		case sallyport.EventDecided:
			if slices.Contains(ids, l.Decision) {
				found[l.Decision] = l
			}
		case sallyport.EventCompleted, sallyport.EventUnmapped, sallyport.EventRefused, sallyport.EventCut:
		default:
			events = append(events, l)
		}
		return nil
	})
	if err != nil {
		return blamed{}, err
	}
	both := make([]blame.Decision, 2)
	for i, id := range ids {
		l, ok := found[id]
		if !ok {
			return blamed{}, sallyport.E("policy blame", sallyport.NotFound, "the log holds no decision "+sallyport.OneLine(id), "")
		}
		if both[i], err = log.made(l); err != nil {
			return blamed{}, err
		}
	}
	if both[0].Logged.Seq > both[1].Logged.Seq {
		both[0], both[1] = both[1], both[0]
	}
	causes, err := blame.Between(both[0], both[1], events)
	return blamed{both[0].Logged.Decision, both[1].Logged.Decision, said(both[0].Logged), said(both[1].Logged), append([]blame.Cause{}, causes...)}, err
}

// settled waits until the signed tree has the decisions: it follows the journal a moment later.
func (a *app) settled(cmd *cobra.Command, ids []string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	for _, id := range ids {
		rows, err := c.Search(cmd.Context(), client.Search{Decision: id, Types: []string{string(sallyport.EventDecided)}})
		if err == nil && len(rows) == 0 {
			err = sallyport.E("policy blame", sallyport.NotFound, "there is no such decision in the log: "+sallyport.OneLine(id), "the id stands in the message somebody got, D-…")
		}
		if err == nil {
			_, err = c.Receipt(cmd.Context(), rows[0].Seq)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func said(l sallyport.Logged) string { return l.Outcome + " because of " + list(l.Reasons) }

// made is a decision with what it was made from.
func (r *replayer) made(l sallyport.Logged) (blame.Decision, error) {
	d := blame.Decision{Logged: l, Basis: r.bases[l.Facts]}
	b, err := decision.Unmarshal(d.Basis)
	if err != nil {
		return d, err
	}
	for _, hash := range decision.ActedOn(l.Event) {
		d.Acting = append(d.Acting, r.bases[hash])
	}
	d.Engine, err = r.engine(b.Policy)
	return d, err
}

func (a *app) blamed(x blamed) {
	a.line("%s: %s", x.Old, x.Was)
	a.line("%s: %s", x.New, x.Is)
	for _, c := range x.Causes {
		a.line("%s%s", c.Part, map[bool]string{true: ": this alone made the difference", false: ": different too"}[c.Alone])
		for _, s := range c.Changes {
			a.line("  %s", s)
		}
		for _, e := range c.Events {
			a.line("  entry %d: %s, by %s: %s", e.Seq, e.What, cmp.Or(string(e.By), "nobody"), e.Why)
			if e.Author != "" {
				a.line("    proposed by %s, approved by %v, commit %s", e.Author, e.Approvers, cmp.Or(e.Commit, "-"))
			}
		}
	}
	if len(x.Causes) == 0 {
		a.line("both were answered alike")
	}
}

// days reads 30d, as people write longer spans.
func days(s string) (time.Duration, bool) {
	n, ok := strings.CutSuffix(s, "d")
	var d int
	if _, err := fmt.Sscanf(n, "%d", &d); !ok || err != nil || fmt.Sprint(d) != n || d < 1 || d > 3650 {
		return 0, false
	}
	return time.Duration(d) * 24 * time.Hour, true
}
