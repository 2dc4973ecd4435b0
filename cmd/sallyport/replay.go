package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/engines"
	"sallyport/verify"
)

func (a *app) replay() *cobra.Command {
	var all bool
	var dir, key string
	c := &cobra.Command{
		Use: "replay [D-…]", Short: "Make a decision again on this machine, from the log alone", Args: arguments("[D-…]"),
		Long: `Make decisions again: facts, question and policies come from the log, every entry of it proved by the log's signed
tree, and are decided on here. Exit code 2 where a decision would now be another one.
With --all every decision of the log, which is verified as a whole on the way; with --log DIR that of a directory.`,
		Example: `  sallyport replay D-7f3kq2m1x9ab
  sallyport replay --all
  sallyport replay --all --log /var/lib/sallyport/log --key log.key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) == 1) {
				return usage(cmd, "name one decision, or say --all")
			}
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
			again := newReplayer()
			if all || dir != "" {
				if !all {
					again.only = args[0]
				}
				_, err = a.verifyLog(cmd.Context(), s, again.entry)
			} else {
				err = again.fetch(cmd.Context(), c, s.key, args[0])
			}
			if err != nil {
				return err
			}
			return a.replayed(again)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every decision of the log")
	c.Flags().StringVar(&dir, "log", "", "read the log of this `DIR`")
	c.Flags().StringVar(&key, "key", "", "`FILE` with the log's public key")
	return c
}

// A replayed decision is one made again.
type replayed struct {
	Decision string   `json:"decision"`
	Seq      uint64   `json:"seq"`
	Same     bool     `json:"same"`
	Recorded string   `json:"recorded"`
	Again    string   `json:"again"`
	Problem  string   `json:"problem,omitempty"` // why it could not be made again
	Reasons  []string `json:"reasons"`
}

// A replayer makes decisions again as the entries of a log go by. It reads what the log says and shares no code with
// what wrote it, except the decision itself.
type replayer struct {
	only    string                       // one decision; "" = all
	bases   map[string][]byte            // content hash -> text
	parts   map[string]map[string]string // policy version -> number of part -> text
	counts  map[string]int               // policy version -> number of parts
	engines map[string]policy.Engine
	found   []replayed // those that differ, and the one that was asked for
	n       int
}

func newReplayer() *replayer {
	return &replayer{bases: map[string][]byte{}, parts: map[string]map[string]string{}, counts: map[string]int{}, engines: map[string]policy.Engine{}}
}

// entry takes the next entry of the log.
func (r *replayer) entry(_ uint64, leaf []byte) error {
	l, err := sallyport.DecodeLogged(leaf)
	if err != nil {
		return err
	}
	switch l.Type {
	case sallyport.EventFacts:
		return r.basis(l)
	case sallyport.EventPolicy:
		return r.policy(l)
	case sallyport.EventDecided:
		if r.only == "" || r.only == l.Decision {
			r.decide(l)
		}
	}
	return nil
}

// basis keeps facts, if they are those of their hash.
func (r *replayer) basis(l sallyport.Logged) error {
	sum := sha256.Sum256(l.Basis)
	if base64.RawURLEncoding.EncodeToString(sum[:]) != l.Facts {
		return &exit{client.ExitDenied, fmt.Errorf("the facts of entry %d do not have the hash that they are recorded under", l.Seq)}
	}
	r.bases[l.Facts] = slices.Clone(l.Basis)
	return nil
}

// policy keeps a part of a policy set. A set may be written many times; its parts are always the same.
func (r *replayer) policy(l sallyport.Logged) error {
	of, err := strconv.Atoi(l.Detail["of"])
	if err != nil || of < 1 || of > 1<<12 {
		return fmt.Errorf("entry %d does not say which part of a policy set it is", l.Seq)
	}
	if r.counts[l.On] != of {
		r.counts[l.On], r.parts[l.On] = of, map[string]string{}
	}
	r.parts[l.On][l.Detail["part"]] = l.Detail["text"]
	return nil
}

// engine compiles a policy set from its parts, and checks that it has the content its version names.
func (r *replayer) engine(version string) (policy.Engine, error) {
	if e, ok := r.engines[version]; ok {
		return e, nil
	}
	var text strings.Builder
	for i := range r.counts[version] {
		text.WriteString(r.parts[version][strconv.Itoa(i)])
	}
	var src policy.Source
	if err := json.Unmarshal([]byte(text.String()), &src); err != nil {
		return nil, fmt.Errorf("the log does not hold the whole policy set %s", version)
	}
	e, err := engines.Compile(src) // if its schema was not the program's, the version below tells
	if err != nil {
		return nil, err
	}
	if e.Version() != version {
		return nil, fmt.Errorf("the policy set recorded as %s has the content of %s", version, e.Version())
	}
	r.engines[version] = e
	return e, nil
}

// decide makes one decision again and compares.
func (r *replayer) decide(l sallyport.Logged) {
	r.n++
	out := replayed{Decision: l.Decision, Seq: l.Seq, Recorded: l.Outcome}
	d, err := r.again(l.Event)
	if err != nil {
		out.Problem = err.Error()
	} else {
		out.Again, out.Reasons, out.Same = d.Outcome.String(), d.ReasonIDs(), same(l.Event, d)
	}
	if !out.Same || r.only != "" {
		r.found = append(r.found, out)
	}
}

func (r *replayer) again(e sallyport.Event) (sallyport.Decision, error) {
	basis, ok := r.bases[e.Facts]
	if !ok {
		return sallyport.Decision{}, fmt.Errorf("the log does not hold its facts, %s", e.Facts)
	}
	b, err := decision.Unmarshal(basis)
	if err != nil {
		return sallyport.Decision{}, err
	}
	engine, err := r.engine(b.Policy)
	if err != nil {
		return sallyport.Decision{}, err
	}
	return decision.Again(engine, e, func(hash string) []byte { return r.bases[hash] })
}

// same compares outcome, reasons, failed policies, obligations and the level needed; texts may change.
func same(e sallyport.Event, d sallyport.Decision) bool {
	needs := ""
	if d.Outcome == sallyport.StepUp {
		needs = d.Needs.String()
	}
	var obligations []string
	for _, o := range d.Obligations {
		obligations = append(obligations, o.String())
	}
	return d.Outcome.String() == e.Outcome && needs == e.Needs && slices.Equal(d.ReasonIDs(), e.Reasons) &&
		slices.Equal(d.Errors, e.Errors) && slices.Equal(obligations, e.Obligations)
}

// fetch gets the entries of one decision, each with the proof that it stands in the log.
func (r *replayer) fetch(ctx context.Context, c *client.Client, key, id string) error {
	r.only = id
	w, err := c.Why(ctx, id)
	if err != nil {
		return err
	}
	if w.Facts == nil {
		return sallyport.E("replay", sallyport.NotFound, "you may not read the facts of "+sallyport.OneLine(id), "ask somebody who may read the log")
	}
	decided, err := proven(ctx, c, key, w.Decided.Seq)
	if err != nil {
		return err
	}
	facts, err := proven(ctx, c, key, w.Facts.Seq)
	if err != nil {
		return err
	}
	l, err := sallyport.DecodeLogged(facts)
	if err != nil {
		return err
	}
	b, err := decision.Unmarshal(l.Basis)
	if err != nil {
		return err
	}
	rows, err := c.Search(ctx, client.Search{Types: []string{string(sallyport.EventPolicy)}, On: b.Policy, Most: 1000})
	if err != nil {
		return err
	}
	for i := len(rows) - 1; i >= 0; i-- {
		leaf, err := proven(ctx, c, key, rows[i].Seq)
		if err != nil {
			return err
		}
		if err := r.entry(rows[i].Seq, leaf); err != nil {
			return err
		}
		if len(r.parts[b.Policy]) == r.counts[b.Policy] {
			break
		}
	}
	if err := r.entry(w.Facts.Seq, facts); err != nil {
		return err
	}
	for _, e := range w.Acting {
		leaf, err := proven(ctx, c, key, e.Seq)
		if err != nil {
			return err
		}
		if err := r.entry(e.Seq, leaf); err != nil {
			return err
		}
	}
	return r.entry(w.Decided.Seq, decided)
}

// proven reads an entry out of its receipt.
func proven(ctx context.Context, c *client.Client, key string, seq uint64) ([]byte, error) {
	receipt, err := c.Receipt(ctx, seq)
	if err != nil {
		return nil, err
	}
	p, err := verify.Receipt(receipt, key)
	if err == nil && p.Index != seq {
		err = fmt.Errorf("the receipt for entry %d is one for entry %d", seq, p.Index)
	}
	if err != nil {
		return nil, &exit{client.ExitDenied, err}
	}
	return p.Leaf, nil
}

// replayed prints what came of it.
func (a *app) replayed(r *replayer) error {
	different := 0
	for _, x := range r.found {
		if !x.Same {
			different++
		}
	}
	if r.n == 0 && r.only != "" {
		return sallyport.E("replay", sallyport.NotFound, "the log holds no decision "+sallyport.OneLine(r.only), "")
	}
	out := struct {
		Decisions int        `json:"decisions"`
		Different int        `json:"different"`
		Shown     []replayed `json:"shown"`
	}{r.n, different, r.found}
	err := a.answer(out, func() {
		for _, x := range r.found {
			switch {
			case x.Problem != "":
				a.line("%s  entry %d  cannot be made again: %s", x.Decision, x.Seq, x.Problem)
			case x.Same:
				a.line("%s  entry %d  identical: %s, because of %s", x.Decision, x.Seq, x.Again, list(x.Reasons))
			default:
				a.line("%s  entry %d  DIFFERENT: recorded %s, made again %s, because of %s", x.Decision, x.Seq, x.Recorded, x.Again, list(x.Reasons))
			}
		}
		if r.only == "" {
			a.line("%d decisions made again, %d different", r.n, different)
		}
	})
	if err == nil && different > 0 {
		err = ended(client.ExitDenied)
	}
	return err
}
