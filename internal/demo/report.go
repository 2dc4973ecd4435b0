package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// A report tells the story as it goes, and counts.
type report struct {
	out   io.Writer
	json  bool
	steps int
	right int

	terminal io.Writer // where progress is shown; nil: nowhere
	halfway  bool      // the cursor stands behind a progress line
}

// A line is one step as it went, and the form of one line of JSON.
type line struct {
	Step     int    `json:"step"`
	Chapter  string `json:"chapter"`
	Who      string `json:"who"`
	What     string `json:"what"`
	Action   string `json:"action,omitempty"`
	Resource string `json:"resource,omitempty"`
	Want     string `json:"want"`
	Outcome  string `json:"outcome"`
	Reason   string `json:"reason,omitempty"`
	Decision string `json:"decision,omitempty"`
	Note     string `json:"note,omitempty"`
	Problem  string `json:"problem,omitempty"`
	OK       bool   `json:"ok"`
	Millis   int64  `json:"ms"`
}

// say writes a line that is no step.
func (r *report) say(format string, args ...any) {
	r.clear()
	if !r.json {
		fmt.Fprintf(r.out, format+"\n", args...)
	}
}

// progress shows how far something is, on a line that is written over.
func (r *report) progress(format string, args ...any) {
	if r.terminal != nil {
		r.clear()
		fmt.Fprintf(r.terminal, format, args...)
		r.halfway = true
	}
}

func (r *report) clear() {
	if r.halfway {
		fmt.Fprint(r.terminal, "\r\x1b[K") // carriage return, erase the line
		r.halfway = false
	}
}

func (r *report) chapter(name string) {
	r.say("\n%s", name)
}

// columns of a step: number, who, action, resource, outcome, reason, decision.
const columns = "%3d  %-9s %-16s %-18s %-9s %-41s %s\n"

func (r *report) step(l line) {
	r.steps++
	if l.OK {
		r.right++
	}
	l.Step = r.steps
	r.clear()
	if r.json {
		r.object(l)
		return
	}
	fmt.Fprintf(r.out, columns, l.Step, l.Who, dash(l.Action), dash(l.Resource), l.Outcome, dash(l.Reason), dash(l.Decision))
	r.prose(l.What + suffix(": ", l.Note))
	if !l.OK {
		r.prose(fmt.Sprintf("NOT AS EXPECTED: wanted %q%s", l.Want, suffix("; ", l.Problem)))
	}
}

// margin is where the words below a record begin, width how long their lines are.
const (
	margin = "     "
	width  = 110
)

// prose writes words below a record, broken into lines.
func (r *report) prose(text string) {
	at := 0
	for _, word := range strings.FieldsFunc(text, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }) {
		switch {
		case at == 0:
			fmt.Fprint(r.out, margin)
		case at+1+len(word) > width:
			fmt.Fprint(r.out, "\n"+margin)
			at = 0
		default:
			fmt.Fprint(r.out, " ")
			at++
		}
		fmt.Fprint(r.out, word)
		at += len(word)
	}
	fmt.Fprintln(r.out)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func suffix(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

// object writes one line of JSON.
func (r *report) object(v any) {
	text, err := json.Marshal(v)
	if err != nil {
		text = []byte(`{"problem":"a step has no JSON form"}`)
	}
	fmt.Fprintf(r.out, "%s\n", text)
}

// end writes the result.
func (r *report) end(took time.Duration) {
	if r.json {
		r.object(map[string]any{"steps": r.steps, "expected": r.right, "seconds": took.Seconds()})
		return
	}
	r.say("\ndemo: %d of %d steps as expected, in %s", r.right, r.steps, took.Round(time.Second/10))
}

func (r *report) good() bool { return r.steps > 0 && r.right == r.steps }
