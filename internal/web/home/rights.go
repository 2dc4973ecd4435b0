package home

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/explain"
	"sallyport/internal/web/api"
	"sallyport/internal/web/within"
)

// A thing is what the visitor may do with one thing.
type thing struct {
	Project, Name, Class, About string
	Can                         []string
	Commands                    []command
	Proof, Device, Ask          []next // after more proof, from an enrolled device, on request
	Not                         []next
}

// A command is what to type for something that is permitted.
type command struct {
	What string
	Text typed
}

// A typed is a command line.
type typed string

// Words are what a line breaks between: a flag is never torn.
func (t typed) Words() []string { return strings.Fields(string(t)) }

// A next is some actions that are not permitted now for the same reason, and the one step that would help.
type next struct {
	What           []string
	Why            string
	Link, LinkText string
	Command        typed // where no page does it
}

// everyday are the actions that a page asks about, by the kind of thing. What one may know of is listed, so that looking at
// it needs no word.
func everyday(k sallyport.ResourceKind) []sallyport.Action {
	switch k {
	case sallyport.DatasetKind:
		return []sallyport.Action{sallyport.DatasetWrite, sallyport.DatasetExport, sallyport.DatasetDelete}
	case sallyport.EndpointKind:
		return []sallyport.Action{sallyport.EndpointUse, sallyport.EndpointManage}
	}
	return []sallyport.Action{sallyport.ModelInfer, sallyport.ModelEvaluate, sallyport.ModelPullAux, sallyport.ModelPull,
		sallyport.ModelPush, sallyport.ModelPromote, sallyport.ModelDeploy, sallyport.ModelDelete}
}

// across are the questions that are of no one thing: whether there is a list of things, and how the organisation is governed.
func across(org string) []api.CanAsk {
	on := "system"
	if org != "" {
		on = "org:" + org
	}
	return []api.CanAsk{{Action: sallyport.ModelList, Resource: "system"},
		{Action: sallyport.GrantApprove, Resource: on}, {Action: sallyport.HoldPlace, Resource: on}, {Action: sallyport.IdentityAdminister, Resource: on},
		{Action: sallyport.AuditRead, Resource: "system"}, {Action: sallyport.PolicyPropose, Resource: "system"}, {Action: sallyport.PolicyApprove, Resource: "system"},
		{Action: sallyport.SystemConfigure, Resource: "system"}}
}

// A listed is a thing with the questions about it.
type listed struct {
	api.Thing
	asks []api.CanAsk
}

// sheets cuts what may be known of, by project, into pages whose questions fit into one batch.
func sheets(list []api.Thing) ([][]listed, error) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b api.Thing) int { return strings.Compare(a.Project, b.Project) })
	var all [][]listed
	left := 0
	for _, t := range list {
		ref, err := sallyport.ParseRef(t.Resource)
		if err != nil {
			return nil, err
		}
		one := listed{Thing: t}
		for _, a := range everyday(ref.Kind) {
			one.asks = append(one.asks, api.CanAsk{Action: a, Resource: t.Resource})
		}
		if len(one.asks) > left {
			all, left = append(all, nil), api.MostAsks
		}
		all[len(all)-1] = append(all[len(all)-1], one)
		left -= len(one.asks)
	}
	return all, nil
}

// governs puts on the page what is of no one thing, and reports whether there is a list of things: it is not asked for only
// to be refused.
func (d *Door) governs(v within.Visit, s *shown) (list bool, err error) {
	answers, err := d.Can(v, across(v.Who.Org)...)
	if err != nil {
		return false, err
	}
	for i := range answers {
		if unknown(answers[i : i+1]) { // that there is one's own organisation is no secret
			answers[i].Reasons = []sallyport.Reason{{Text: "no policy permits this"}}
		}
	}
	if g := grouped(answers[1:], within.Here(v.R), nil); len(g.Can)+len(g.Proof)+len(g.Device) > 0 {
		g.Name = "Across " + cmp.Or(v.Who.Org, "the system")
		s.Across = &g
	}
	list = answers[0].Outcome == sallyport.Allow.String()
	if !list {
		s.Empty = "You may not list what there is. " + because(answers[0].Reasons, answers[0].Remedies)
	}
	return list, nil
}

// rights asks about one sheet of the list in one batch, and puts the answers on the page.
func (d *Door) rights(v within.Visit, list []api.Thing, s *shown) error {
	all, err := sheets(list)
	if err != nil || len(all) == 0 {
		return err
	}
	at := place(all, v.R.URL.Query().Get("from"))
	s.turns(all, at)
	var asks []api.CanAsk
	for _, t := range all[at] {
		asks = append(asks, t.asks...)
	}
	answers, err := d.Can(v, asks...)
	if err != nil {
		return err
	}
	for _, t := range all[at] {
		if one := answers[:len(t.asks)]; !unknown(one) {
			x := grouped(one, within.Here(v.R), s.Waiting.asked)
			x.Project, x.Name, x.Class, x.About = t.Project, t.Resource, string(t.Class), about(t.Thing)
			s.Things = append(s.Things, x)
		}
		answers = answers[len(t.asks):]
	}
	return nil
}

// place is the sheet on which a thing stands, the first where there is none such.
func place(all [][]listed, from string) int {
	return max(0, slices.IndexFunc(all, func(sheet []listed) bool {
		return slices.ContainsFunc(sheet, func(t listed) bool { return t.Resource == from })
	}))
}

// turns says which sheet this is and links the others.
func (s *shown) turns(all [][]listed, at int) {
	if len(all) < 2 {
		return
	}
	link := func(t listed) string { return "/home?from=" + url.QueryEscape(t.Resource) + "#may" }
	s.Sheet = fmt.Sprintf("Sheet %d of %d", at+1, len(all))
	if at > 0 {
		s.Before = link(all[at-1][0])
	}
	if at+1 < len(all) {
		s.After = link(all[at+1][0])
	}
	last := ""
	for _, sheet := range all {
		for _, t := range sheet {
			if t.Project != last {
				last = t.Project
				s.Projects = append(s.Projects, jump{t.Project, link(t)})
			}
		}
	}
}

// unknown reports whether answers are about something that the visitor may not know of any more.
func unknown(all []api.Answer) bool {
	return !slices.ContainsFunc(all, func(a api.Answer) bool {
		return !slices.ContainsFunc(a.Reasons, func(r sallyport.Reason) bool { return r.ID == "resource.unknown" })
	})
}

// grouped puts answers about one thing into their groups; asked has the pages of what is asked for already.
func grouped(all []api.Answer, back string, asked map[api.CanAsk]string) thing {
	var t thing
	for _, a := range all {
		what := explain.Brief(a.Action)
		if a.Action == sallyport.SystemConfigure {
			what = explain.Doing(a.Action, "the system")
		}
		n := next{What: []string{what}, Why: because(a.Reasons, nil)}
		switch a.Cell {
		case "allow":
			t.Can = append(t.Can, what)
			if text := api.Command(a.Action, a.Resource); text != "" {
				t.Commands = append(t.Commands, command{what, typed(text)})
			}
		case "step-up":
			n.Command = lineOf(a.Remedies)
			if a.Needs != "" {
				n.Link, n.LinkText, n.Command = within.StepUp(a.Needs, back), "Prove it", ""
			}
			t.Proof = gather(t.Proof, n)
		case "device":
			n.Command = lineOf(a.Remedies)
			t.Device = gather(t.Device, n)
		case "request":
			if len(a.Reasons) == 1 && a.Reasons[0].ID == decision.DefaultDeny {
				n.Why = "" // that nothing permits it without a grant is what the group says
			}
			n.Link, n.LinkText = "/approvals/ask?"+url.Values{"action": {string(a.Action)}, "resource": {a.Resource}}.Encode(), "Ask"
			if page, ok := asked[api.CanAsk{Action: a.Action, Resource: a.Resource}]; ok {
				n.Link, n.LinkText, n.Why = page, "See", "You have asked for it."
			}
			t.Ask = append(t.Ask, n) // each is asked for by itself
		default:
			n.Why, n.Command = because(a.Reasons, a.Remedies), lineOf(a.Remedies)
			t.Not = gather(t.Not, n)
		}
	}
	return t
}

// gather adds n to the one of all that has the same reason and the same step.
func gather(all []next, n next) []next {
	for i, o := range all {
		if o.Why == n.Why && o.Link == n.Link && o.Command == n.Command {
			all[i].What = append(o.What, n.What...)
			return all
		}
	}
	return append(all, n)
}

// because are the reasons in words, and what would help where something is said of it.
func because(reasons []sallyport.Reason, remedies []sallyport.Remedy) string {
	var said []string
	for _, r := range reasons {
		said = append(said, sentence(r.Text))
	}
	for _, r := range remedies {
		said = append(said, sentence(r.Text))
	}
	return strings.Join(slices.Compact(said), " ")
}

// lineOf is the first command of a way out.
func lineOf(remedies []sallyport.Remedy) typed {
	for _, r := range remedies {
		if r.Command != "" {
			return typed(r.Command)
		}
	}
	return ""
}

func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

// about says the rest that is known of a thing.
func about(t api.Thing) string {
	var said []string
	for _, s := range []string{t.Version, string(t.Environment), t.Model} {
		if s != "" {
			said = append(said, s)
		}
	}
	return strings.Join(said, " · ")
}
