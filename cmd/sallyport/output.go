package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

// An exit is an error with an exit code of its own.
type exit struct {
	code int
	err  error // nil: everything was said already
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

// ended ends a command whose answer was printed.
func ended(code int) error {
	if code == 0 {
		return nil
	}
	return &exit{code: code}
}

// report prints an error, once, and gives the exit code for it.
func (a *app) report(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.err, "sallyport: interrupted")
		return client.ExitError
	}
	code := exitCode(err)
	if own, ok := errors.AsType[*exit](err); ok && own.err == nil {
		return code
	}
	e := api.Error{Message: message(err), Kind: sallyport.KindOf(err).String()}
	if refusal, ok := errors.AsType[*client.Error](err); ok {
		e = refusal.API
		e.Message = message(err)
	}
	if a.json {
		a.encode(struct {
			Error api.Error `json:"error"`
			Exit  int       `json:"exit"`
		}{e, code})
		return code
	}
	a.explain(e, code)
	return code
}

// exitCode is what a command ends with that ended with this error.
func exitCode(err error) int {
	if own, ok := errors.AsType[*exit](err); ok {
		return own.code
	}
	if refusal, ok := errors.AsType[*client.Error](err); ok {
		return refusal.ExitCode()
	}
	return client.ExitError
}

// message is what a person reads. The causes of our own errors are theirs to know: it is their machine.
func message(err error) string {
	if refusal, ok := errors.AsType[*client.Error](err); ok {
		text := refusal.API.Message
		if refusal.Op != "" {
			text = refusal.Op + ": " + text
		}
		if refusal.API.Status == 0 && refusal.Err != nil {
			text += " (" + refusal.Err.Error() + ")"
		}
		return clean(text)
	}
	return clean(err.Error())
}

// explain prints a refusal: the sentence, the decision, the reasons and the next step, which is never left out where
// signing in is one.
func (a *app) explain(e api.Error, code int) {
	headline := e.Message
	for _, r := range e.Remedies { // they stand below, ready to copy
		if before, _, found := strings.Cut(headline, " "+clean(r.Text)); found && r.Text != "" {
			headline = strings.TrimSuffix(before, " Next:")
		}
	}
	fmt.Fprintln(a.err, "sallyport: "+headline)
	if code == client.ExitStepUp && len(e.Remedies) == 0 && !strings.Contains(headline, "sallyport login") {
		e.Remedies = []sallyport.Remedy{{Command: "sallyport login" + prefixed(" --assurance ", e.Needs)}}
	}
	w := tabwriter.NewWriter(a.err, 0, 0, 2, ' ', 0)
	if e.Decision != "" {
		fmt.Fprintf(w, "  decision\t%s\n", clean(e.Decision))
	}
	if e.Needs != "" {
		fmt.Fprintf(w, "  needs\t%s\n", clean(e.Needs))
	}
	for _, r := range e.Reasons {
		fmt.Fprintf(w, "  because\t%s\n", reason(r))
	}
	for _, r := range e.Remedies {
		fmt.Fprintf(w, "  next\t%s\n", remedy(r))
	}
	for _, way := range e.Otherwise {
		fmt.Fprintf(w, "  or\t%s\n", remedies(way))
	}
	if e.Page != "" {
		fmt.Fprintf(w, "  page\t%s\n", clean(e.Page))
	}
	if e.Decision != "" {
		fmt.Fprintf(w, "  explain\tsallyport why %s\n", clean(e.Decision))
	}
	w.Flush()
}

func reason(r sallyport.Reason) string {
	if r.Text == "" {
		return clean(r.ID)
	}
	return clean(r.ID + ": " + r.Text)
}

func remedy(r sallyport.Remedy) string {
	switch {
	case r.Command == "":
		return clean(r.Text)
	case r.Text == "":
		return clean(r.Command)
	}
	return clean(r.Command + "  # " + r.Text)
}

// clean makes what others wrote safe for one line of a terminal, whatever its length: sallyport.OneLine clips.
func clean(s string) string {
	const piece = 64
	var b strings.Builder
	for len(s) > 0 {
		n := min(piece, len(s))
		for n < len(s) && n > 1 && !utf8.RuneStart(s[n]) {
			n--
		}
		b.WriteString(sallyport.OneLine(s[:n]))
		s = s[n:]
	}
	return b.String()
}

// line prints one line. Every text among the arguments is made safe.
func (a *app) line(format string, args ...any) {
	for i, v := range args {
		switch v := v.(type) {
		case string:
			args[i] = clean(v)
		case fmt.Stringer:
			args[i] = clean(v.String())
		case sallyport.Action, sallyport.PrincipalID, sallyport.Class, sallyport.Environment, sallyport.EventType:
			args[i] = clean(fmt.Sprint(v))
		}
	}
	fmt.Fprintf(a.out, format+"\n", args...)
}

// note prints a line for people, beside the answer; not with --quiet.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// answer prints v as JSON, or lets text print it for people.
func (a *app) answer(v any, text func()) error {
	if a.json {
		return a.encode(v)
	}
	text()
	return nil
}

func (a *app) encode(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// A table is rows under headings, or a sentence where there are none.
type table struct {
	headings []string
	rows     [][]string
	none     string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (a *app) table(t table) {
	if len(t.rows) == 0 {
		a.line("%s", t.none)
		return
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	write := func(cells []string) {
		for i, c := range cells {
			if i > 0 {
				_, _ = io.WriteString(w, "\t")
			}
			_, _ = io.WriteString(w, clean(c))
		}
		_, _ = io.WriteString(w, "\n")
	}
	write(t.headings)
	for _, r := range t.rows {
		write(r)
	}
	w.Flush()
}

// when is a time as people on this machine read it, with how far away it is.
func (a *app) when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	now := a.now()
	layout := "2006-01-02 15:04:05"
	if y, m, d := now.Local().Date(); func() bool { ty, tm, td := t.Local().Date(); return ty == y && tm == m && td == d }() {
		layout = "15:04:05"
	}
	return t.Local().Format(layout) + " (" + distance(t.Sub(now)) + ")"
}

func distance(d time.Duration) string {
	if d < 0 {
		return span(-d) + " ago"
	}
	return "in " + span(d)
}

// span is a duration in its greatest unit, rounded.
func span(d time.Duration) string {
	switch {
	case d < time.Minute-time.Second/2:
		return fmt.Sprintf("%ds", int(d.Round(time.Second).Seconds()))
	case d < time.Hour-time.Minute/2:
		return fmt.Sprintf("%dm", int(d.Round(time.Minute).Minutes()))
	case d < 48*time.Hour:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Round(24*time.Hour).Hours()/24))
}

// size is a number of bytes in a unit that people read.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// list joins words for a cell; "-" where there are none.
func list[T ~string](words []T) string {
	if len(words) == 0 {
		return "-"
	}
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
}

// A buildInfo says which program this is.
type buildInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

func build() buildInfo {
	v := buildInfo{Version: "(devel)", Commit: "no commit recorded", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Commit = s.Value[:min(len(s.Value), 12)]
		}
	}
	return v
}

// compact writes v as one line of JSON.
func (a *app) compact(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
