package blame

import (
	"slices"
	"strings"

	"sallyport"
)

// explaining are the events between two decisions that bear on a part, the last first.
func explaining(p part, before, after state, events []sallyport.Logged) []Change {
	out := []Change{}
	for i := len(events) - 1; i >= 0 && len(out) < maxEvents; i-- {
		e := events[i]
		if e.Seq <= before.logged.Seq || e.Seq >= after.logged.Seq || !bears(p.name, e, after) {
			continue
		}
		c := Change{Seq: e.Seq, What: told(e), By: e.Who, Why: e.Detail["why"], Request: e.Detail["request"]}
		if c.Request != "" {
			c.Author, c.Commit, c.Approvers = voters(c.Request, events[:i+1], &c.Why)
		}
		out = append(out, c)
	}
	return out
}

// bears reports whether an event may have brought a part about.
func bears(part string, e sallyport.Logged, after state) bool {
	who := string(after.basis.PrincipalID)
	about := func() bool { return e.On == who || slices.Contains(values(e.Detail), who) }
	switch part {
	case "policies":
		return e.Type == sallyport.EventPolicyActivated
	case "roles and groups":
		if e.Type == sallyport.EventBreakGlass || e.Type == sallyport.EventMoved {
			return e.Who == after.basis.PrincipalID || about()
		}
		return e.Type == sallyport.EventChanged && (about() || member(e, after))
	case "resource":
		name, _, _ := strings.Cut(after.basis.Resource.String(), "@")
		return e.Type == sallyport.EventChanged && strings.HasPrefix(e.On, name)
	case "grants":
		if e.Type != sallyport.EventGrantVoted && e.Type != sallyport.EventGrantRevoked {
			return false
		}
		return e.Detail["who"] == who || e.Detail["grant"] != "" && named(e.Detail["grant"], after)
	case "holds":
		return e.Type == sallyport.EventHoldPlaced || e.Type == sallyport.EventHoldLifted
	case "training":
		return e.Type == sallyport.EventTrained && e.On == string(after.basis.Person)
	case "account":
		return (e.Type == sallyport.EventChanged || e.Type == sallyport.EventLeft || e.Type == sallyport.EventJoined) && about()
	}
	return false
}

// member reports whether a change was to a role or a group that the principal is in, or was.
func member(e sallyport.Logged, after state) bool {
	role, group := e.Detail["role"], e.On
	for _, u := range find(after, after.basis.Principal).Parents {
		if u.Type == "Role" && u.ID == role || u.Type == "Group" && strings.TrimPrefix(group, "group:") == u.ID {
			return true
		}
	}
	return strings.HasPrefix(e.On, "group:") || strings.HasPrefix(e.Detail["who"], "group:")
}

// named reports whether a grant stood in the facts.
func named(id string, s state) bool {
	for _, g := range s.basis.Grants {
		if g.ID == id {
			return true
		}
	}
	return false
}

func values(detail map[string]string) []string {
	var all []string
	for _, v := range detail {
		all = append(all, v)
	}
	return all
}

// told is an event in a few words.
func told(e sallyport.Logged) string {
	words := []string{string(e.Type)}
	for _, name := range []string{"what", "kind", "epoch", "role", "scope", "grant", "class", "state"} {
		if v := e.Detail[name]; v != "" {
			words = append(words, name+" "+sallyport.OneLine(v))
		}
	}
	if e.On != "" {
		words = append(words, "on "+sallyport.OneLine(e.On))
	}
	return strings.Join(words, ", ")
}

// voters finds who asked for a request, from which commit and why, and who said yes.
func voters(request string, events []sallyport.Logged, why *string) (author sallyport.PrincipalID, commit string, approvers []sallyport.PrincipalID) {
	for _, e := range events {
		if e.Detail["request"] != request {
			continue
		}
		switch e.Type {
		case sallyport.EventPolicyProposed, sallyport.EventGrantRequested:
			author, commit = e.Who, e.Detail["commit"]
			if *why == "" {
				*why = e.Detail["why"]
			}
		case sallyport.EventPolicyVoted, sallyport.EventGrantVoted:
			if e.Detail["yes"] == "yes" && !slices.Contains(approvers, e.Who) {
				approvers = append(approvers, e.Who)
			}
		}
	}
	return author, commit, approvers
}
