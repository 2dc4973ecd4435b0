package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/web/api"
)

func (a *app) why() *cobra.Command {
	var audience string
	c := &cobra.Command{
		Use: "why D-…", Short: "Explain a decision: who, what, when, outcome, policies, facts, what was delivered, what would help", Args: arguments("D-…"),
		Long: `Explain a decision. Whom it was about is told the outcome, the reasons, what was looked at about them and what would
help. Who may read the log is told all of it: every policy that bore on it clause by clause, every input with its source
and age, and what is kept from the other ("auditors only"). With --for asker they see what the other sees.`,
		Example: "  sallyport why D-7f3kq2m1x9ab\n  sallyport why D-7f3kq2m1x9ab --for asker",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !strings.HasPrefix(args[0], "D-") {
				return usage(cmd, "\""+sallyport.OneLine(args[0])+"\" is not a decision; its id begins with D-")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			w, err := c.WhyFor(cmd.Context(), args[0], audience)
			if err != nil {
				return err
			}
			l, err := sallyport.DecodeLogged(w.Decided.Leaf)
			if err != nil {
				return err
			}
			return a.answer(w, func() { a.explainDecision(w, l) })
		},
	}
	c.Flags().StringVar(&audience, "for", "", "`AUDIENCE` that it is explained to, asker or auditor: the most that you may read unless said otherwise")
	complete(c, "for", "asker", "auditor")
	return c
}

// explainDecision prints one decision for people.
func (a *app) explainDecision(w api.Why, l sallyport.Logged) {
	a.line("%s  %s", w.ID, cmp.Or(l.Outcome, string(l.Type)))
	a.line("  who        %s", cmp.Or(string(l.Who), "nobody proved themselves"))
	a.line("  what       %s on %s", cmp.Or(l.Action, "(no action)"), cmp.Or(l.On, "(nothing)"))
	a.line("  when       %s, entry %d of %s", a.when(l.Time()), l.Seq, l.Log)
	if q := l.Asked; q != nil {
		a.line("  where      door %s, from %s%s", cmp.Or(q.Door, "-"), cmp.Or(q.IP, "an unknown address"), prefixed(", file ", q.File)+prefixed(", into ", strings.TrimPrefix(q.To, "-")))
		a.line("  proof      %s%s, token for %s", sallyport.Assurance(q.Assurance), prefixed(", session ", q.Session), cmp.Or(q.Scope, "nothing"))
		a.circumstances(q)
	}
	if l.Needs != "" {
		a.line("  needs      %s", l.Needs)
	}
	a.policies(w, l)
	for _, id := range l.Errors {
		a.line("  failed     policy %s could not be evaluated", id)
	}
	if len(l.Obligations) > 0 {
		a.line("  under      %s", strings.Join(l.Obligations, ", "))
	}
	if w.Facts != nil {
		a.facts(w.Facts.Leaf)
	}
	for _, e := range w.Acting {
		a.facts(e.Leaf)
	}
	a.delivered(w)
	a.explained(w.Explained)
	for _, r := range w.Remedies {
		a.line("  next       %s", remedy(r))
	}
	for _, way := range w.Otherwise {
		a.line("  or         %s", remedies(way))
	}
	if w.Replay != nil {
		a.line("  replay     the server says: made again it is %s, the same: %s (check it yourself: sallyport replay %s)", w.Replay.Again, yesNo(w.Replay.Same), w.ID)
	}
}

// remedies are the parts of one way out, on one line.
func remedies(way []sallyport.Remedy) string {
	parts := make([]string, len(way))
	for i, r := range way {
		parts[i] = remedy(r)
	}
	return strings.Join(parts, "; then ")
}

// explained prints how the policies came to it: each clause with what it came to, and each input with source and age.
func (a *app) explained(x *policy.Explanation) {
	if x == nil {
		return
	}
	if x.Refused != "" {
		a.line("  refused    %s", x.Refused)
	}
	for _, side := range x.Sides {
		for _, t := range side.Policies {
			word := map[policy.Truth]string{policy.True: "applies", policy.False: "does not apply", policy.Failed: "could not be evaluated"}[t.Applies]
			a.line("  %-10s %s %s%s", t.Effect, t.Policy, word, prefixed(", asked of ", string(side.Who)))
			for _, c := range t.Clauses {
				if c.Under != "scope" {
					a.line("             %-7s  %s %s", c.Value, c.Under, c.Text)
				}
			}
		}
	}
	for _, in := range x.Inputs {
		age := "of unknown age"
		if in.Age >= 0 {
			age = (time.Duration(in.Age) * time.Second).String() + " old"
		}
		secret := ""
		if in.Secret {
			secret = ", auditors only"
		}
		a.line("  input      %s = %s (%s, %s%s)", in.Name, clean(in.Value), clean(in.Source), age, secret)
	}
}

// policies prints each reason: the policy's sentence and code, or the rule's name.
func (a *app) policies(w api.Why, l sallyport.Logged) {
	for _, id := range l.Reasons {
		a.line("  because    %s", id)
		for _, p := range w.Policies {
			if p.ID != id {
				continue
			}
			if p.Text != "" {
				a.line("             %s", p.Text)
			}
			if p.Owner != "" {
				a.line("             owner: %s", p.Owner)
			}
			for line := range strings.SplitSeq(strings.TrimSpace(p.Code), "\n") {
				if line != "" {
					a.line("             | %s", line)
				}
			}
		}
	}
}

// circumstances prints by whom, with which key, from what device and network and at which risk it was asked.
func (a *app) circumstances(q *sallyport.Asked) {
	if q.Actors != "" {
		a.line("  through    %s, on behalf of the principal", strings.ReplaceAll(q.Actors, " ", " for "))
	}
	bearer := "a bearer token"
	if q.Bound {
		bearer = "a token bound to a key that the call proved"
	}
	a.line("  token      %s%s%s", bearer, prefixed(", of client ", q.Client), prefixed(", for the purpose ", q.Purpose))
	if q.Network != "" || q.Risk > 0 {
		a.line("  risk       %d of 100, network %s", q.Risk, cmp.Or(q.Network, "without a label"))
	}
	d := q.Device
	if d == nil {
		a.line("  device     none that is enrolled")
		return
	}
	posture := "it never reported its state"
	if d.Posture >= 0 {
		posture = fmt.Sprintf("reported %s ago: %s; %s", time.Duration(d.Posture)*time.Second, cmp.Or(d.OS, "no system"), cmp.Or(d.Good, "nothing in order"))
	}
	a.line("  device     %s, class %s, level %d, %s", d.ID, d.Class, d.Level, posture)
}

func prefixed(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

// facts prints the basis in short: what the principal is in, what the resource is, grants and holds.
func (a *app) facts(leaf json.RawMessage) {
	l, err := sallyport.DecodeLogged(leaf)
	if err != nil {
		return
	}
	b, err := decision.Unmarshal(l.Basis)
	if err != nil {
		a.line("  facts      not readable by this version (entry %d)", l.Seq)
		return
	}
	x := b.Resource
	a.line("  facts      entry %d: %s, %s%s, policy set %s", l.Seq, x, x.Class, prefixed(", ", string(x.Environment)), b.Policy)
	var in []string
	for _, e := range b.Entities {
		if e.UID == b.Principal {
			for _, p := range e.Parents {
				in = append(in, p.Type+" "+p.ID)
			}
		}
	}
	a.line("             %s is in: %s", b.PrincipalID, list(in))
	if b.Person != b.PrincipalID {
		a.line("             the person behind it is %s", b.Person)
	}
	for _, g := range b.Grants {
		a.line("             grant %s: %s until %s", g.ID, list(g.Actions), a.when(g.Until))
	}
	for _, h := range b.Holds {
		a.line("             hold %s on %s: %s", h.ID, h.Target, h.Why)
	}
}

// delivered prints what really happened.
func (a *app) delivered(w api.Why) {
	if w.Cut != nil {
		if l, err := sallyport.DecodeLogged(w.Cut.Leaf); err == nil {
			a.line("  cut        %s%s", a.when(l.Time()), prefixed(": ", l.Detail["why"]))
		}
	}
	if w.Completed == nil {
		return
	}
	l, err := sallyport.DecodeLogged(w.Completed.Leaf)
	if err != nil || l.Delivered == nil {
		return
	}
	d := l.Delivered
	text := fmt.Sprintf("%s in %.1f ms, status %d", size(d.Bytes), float64(d.Micros)/1000, d.Status)
	if d.TokensIn+d.TokensOut > 0 {
		text += fmt.Sprintf(", %d tokens in, %d out", d.TokensIn, d.TokensOut)
	}
	if d.AfterCut > 0 {
		text += fmt.Sprintf(", %d bytes after the order to stop", d.AfterCut)
	}
	a.line("  delivered  %s%s%s", text, prefixed(", ranges ", d.Ranges), prefixed(", ended by ", d.End))
}
