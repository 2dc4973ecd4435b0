package guard

import (
	"fmt"
	"slices"
	"strings"

	"sallyport"
)

// Sentence is what a refused person reads, whatever the client: the decision id,
// what was refused, why, and what to do next.
func Sentence(a Answer, c Call) string {
	if a.Hidden {
		return oneLine(fmt.Sprintf("Sallyport %s: there is no %s that you may know of.", a.ID, c.Target))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Sallyport %s: %s on %s: %s", a.ID, c.Action, c.Target, a.Outcome)
	if len(a.Reasons) > 0 {
		b.WriteString(" (" + strings.Join(texts(a.Reasons), "; ") + ")")
	}
	b.WriteString(".")
	if len(a.Remedies) > 0 {
		b.WriteString(" Next: " + together(a.Remedies))
	}
	for i, way := range a.Otherwise {
		if i == waysTold {
			break
		}
		b.WriteString(". Or " + together(way))
	}
	if a.Page != "" {
		b.WriteString(". Ask at " + a.Page)
	}
	return oneLine(b.String())
}

// waysTold is how many other ways out a sentence tells: it travels in headers.
const waysTold = 2

// together are the parts of one way out.
func together(way []sallyport.Remedy) string {
	parts := make([]string, len(way))
	for i, r := range way {
		if parts[i] = r.Text; r.Command != "" {
			parts[i] += ": " + r.Command
		}
	}
	return strings.Join(parts, "; then ")
}

// texts are why a decision refuses, for people: its first cause, and on whose side
// of those who act.
func texts(reasons []sallyport.Reason) []string {
	var list []string
	first := cause(reasons)
	for _, r := range reasons {
		if r.ID == first.ID || strings.HasPrefix(r.ID, actorReason) {
			text := strings.TrimSuffix(r.Text, ".")
			if text == "" {
				text = r.ID
			}
			list = append(list, text)
		}
	}
	slices.Reverse(list) // "actor:" stands first among reasons
	return list
}

// actorReason begins the reasons that say whom a refusal concerns, and not why.
const actorReason = "actor:"

// cause is the first reason that says why.
func cause(reasons []sallyport.Reason) sallyport.Reason {
	for _, r := range reasons {
		if !strings.HasPrefix(r.ID, actorReason) {
			return r
		}
	}
	return reasons[0]
}

// oneLine keeps a sentence fit for a header value: one line of printable ASCII.
func oneLine(s string) string {
	s = strings.ReplaceAll(s, "…", "...")
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
}
