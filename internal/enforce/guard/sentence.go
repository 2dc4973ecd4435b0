package guard

import (
	"fmt"
	"strings"
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
		text := a.Reasons[0].Text
		if text == "" {
			text = a.Reasons[0].ID
		}
		b.WriteString(" (" + strings.TrimSuffix(text, ".") + ")")
	}
	b.WriteString(".")
	for _, r := range a.Remedies {
		b.WriteString(" " + r.Text)
		if r.Command != "" {
			b.WriteString(": " + r.Command)
		}
	}
	return oneLine(b.String())
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
