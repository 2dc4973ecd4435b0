package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
	"sallyport/verify"
)

func (a *app) logCommand() *cobra.Command {
	return noun(&cobra.Command{Use: "log", Short: "What happened: tail, search, verify, export, receipt, reindex"},
		a.logTail(), a.logSearch(), a.logVerify(), a.logExport(), a.logReceipt(), a.logReindex())
}

// event prints one entry.
func (a *app) event(e api.Entry) {
	l, err := sallyport.DecodeLogged(e.Leaf)
	if err != nil {
		a.line("%d  (not readable by this version)", e.Seq)
		return
	}
	a.line("%d  %s  %s  %s", e.Seq, l.Time().Local().Format("2006-01-02 15:04:05.000"), l.Type, strings.Join(eventWords(l.Event), "  "))
}

// eventWords are what an event says, without what is empty.
func eventWords(e sallyport.Event) []string {
	words := []string{string(e.Who), string(e.Action), e.On, e.Outcome, e.Decision, strings.Join(e.Reasons, ",")}
	if d := e.Delivered; d != nil {
		words = append(words, size(d.Bytes), d.End)
	}
	for _, name := range []string{"why", "what", "state", "reason"} {
		words = append(words, e.Detail[name])
	}
	kept := words[:0]
	for _, w := range words {
		if w != "" {
			kept = append(kept, w)
		}
	}
	return kept
}

func (a *app) logTail() *cobra.Command {
	var follow bool
	var n uint64
	c := &cobra.Command{
		Use: "tail", Short: "Print the newest entries, and with --follow what comes", Args: arguments(),
		Example: `  sallyport log tail -n 50
  sallyport log tail --follow --json | jq 'select(.leaf.o == "deny")'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			return a.tail(cmd.Context(), c, n, follow)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes")
	c.Flags().Uint64VarP(&n, "lines", "n", 20, "how many of the newest")
	return c
}

// tail prints the newest n entries, and follows. Reading the log is itself recorded: what follows would be about nothing
// else, so that the reader's own reading is left out then.
func (a *app) tail(ctx context.Context, c *client.Client, n uint64, follow bool) error {
	head, err := c.Head(ctx)
	if err != nil {
		return err
	}
	own := ownReading{}
	if follow {
		who, err := c.Who(ctx)
		if err != nil {
			return err
		}
		own = ownReading{who: who.ID, decisions: map[string]bool{}}
	}
	for next := head.Size - min(n, head.Size); follow || next < head.Size; {
		entries, err := c.Entries(ctx, next)
		if err != nil {
			return err
		}
		for _, e := range entries {
			next = e.Seq + 1
			if !follow && e.Seq >= head.Size || e.Seq >= head.Size && own.is(e) {
				continue
			}
			if err := a.printEntry(e); err != nil {
				return err
			}
		}
		if err := a.flush(); err != nil {
			return err
		}
		if next >= head.Size && follow {
			if sleep(ctx, time.Second) != nil {
				return nil // the person ended it
			}
		} else if len(entries) == 0 {
			return nil
		}
	}
	return nil
}

// ownReading knows the events that reading the log causes.
type ownReading struct {
	who       sallyport.PrincipalID
	decisions map[string]bool
}

func (o ownReading) is(e api.Entry) bool {
	l, err := sallyport.DecodeLogged(e.Leaf)
	if err != nil || o.who == "" {
		return false
	}
	if l.Type == sallyport.EventDecided && l.Who == o.who && l.Action == sallyport.AuditRead && l.Outcome == sallyport.Allow.String() {
		o.decisions[l.Decision] = true
		return true
	}
	return l.Type == sallyport.EventCompleted && o.decisions[l.Decision]
}

// printEntry prints an entry as one line, of JSON where that is wanted.
func (a *app) printEntry(e api.Entry) error {
	if a.json {
		return a.compact(e)
	}
	a.event(e)
	return nil
}

func (a *app) flush() error {
	if b, ok := a.out.(*bufio.Writer); ok {
		return b.Flush()
	}
	return nil
}

func (a *app) logSearch() *cobra.Command {
	var s client.Search
	var since, until string
	c := &cobra.Command{
		Use: "search", Short: "Search the log, newest first", Args: arguments(),
		Example: `  sallyport log search --who user:ana --outcome deny --since 24h
  sallyport log search --on 'acme/fraud*' --action model.pull
  sallyport log search --type hold.placed,hold.lifted`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if s.Since, err = a.moment(cmd, since); err != nil {
				return err
			}
			if s.Until, err = a.moment(cmd, until); err != nil {
				return err
			}
			if s.Who != "" {
				id, err := sallyport.ParsePrincipalID(s.Who)
				if err != nil {
					return err
				}
				s.Who = string(id)
			}
			return do(cmd.Context(), a, with((*client.Client).Search, s), a.found)
		},
	}
	f := c.Flags()
	f.StringSliceVar(&s.Types, "type", nil, "types of events, such as decided, completed, cut")
	f.StringVar(&s.Who, "who", "", "`PRINCIPAL`")
	f.StringVar(&s.Action, "action", "", "`ACTION`")
	f.StringVar(&s.On, "on", "", "`RESOURCE`, or the beginning of its name with * behind it")
	f.StringVar(&s.Outcome, "outcome", "", "allow, deny, step-up or hold")
	f.StringVar(&s.Decision, "decision", "", "`D-…`")
	f.StringVar(&since, "since", "", "from this `TIME` on, or so long ago: 2026-01-31T08:00:00Z, 24h")
	f.StringVar(&until, "until", "", "before this `TIME`, or so long ago")
	f.Uint64Var(&s.Before, "before", 0, "only entries of lower numbers, for the next page")
	f.IntVar(&s.Most, "max", 0, "how many at most")
	complete(c, "outcome", "allow", "deny", "step-up", "hold")
	complete(c, "action", actions()...)
	return c
}

// moment reads a time, or how long ago it was.
func (a *app) moment(cmd *cobra.Command, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return a.now().Add(-d), nil
	}
	if d, ok := days(s); ok {
		return a.now().Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage(cmd, "\""+sallyport.OneLine(s)+"\" is not a time; write 24h, 2026-01-31 or 2026-01-31T08:00:00Z")
}

func (a *app) found(found []api.Found) {
	t := table{headings: []string{"SEQ", "AT", "TYPE", "WHO", "ACTION", "ON", "OUTCOME", "DECISION", "REASON"}, none: "Nothing was found."}
	for _, f := range found {
		t.row(strconv.FormatUint(f.Seq, 10), a.when(f.At), string(f.Type), cmp.Or(string(f.Who), "-"), cmp.Or(string(f.Action), "-"),
			cmp.Or(f.On, "-"), cmp.Or(f.Outcome, "-"), cmp.Or(f.Decision, "-"), f.Reason)
	}
	a.table(t)
}

func (a *app) logExport() *cobra.Command {
	var from, to uint64
	var out string
	c := &cobra.Command{
		Use: "export", Short: "Write entries as JSON lines, one entry a line as it stands in the log", Args: arguments(),
		Example: `  sallyport log export --out log.jsonl
  sallyport log export --from 1000 --to 2000 | jq .t`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			w := bufio.NewWriter(a.out)
			if out != "" {
				f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // it says who did what
				if err != nil {
					return sallyport.E("export", sallyport.Invalid, err.Error(), "name a file that is not there yet")
				}
				defer f.Close()
				w = bufio.NewWriter(f)
			}
			n, err := a.export(cmd.Context(), c, w, entries{from, to})
			if err == nil {
				err = w.Flush()
			}
			if err == nil {
				a.note("%d entries", n)
			}
			return err
		},
	}
	c.Flags().Uint64Var(&from, "from", 0, "the first entry")
	c.Flags().Uint64Var(&to, "to", 0, "the entry to stop before; 0 is the end of the log")
	c.Flags().StringVar(&out, "out", "", "write to this `FILE`, which must not exist")
	return c
}

// entries is a range of entries; an end of 0 is the end of the log.
type entries struct{ from, to uint64 }

func (a *app) export(ctx context.Context, c *client.Client, w *bufio.Writer, r entries) (int, error) {
	if r.to == 0 {
		head, err := c.Head(ctx)
		if err != nil {
			return 0, err
		}
		r.to = head.Size
	}
	m := a.meter()
	defer m.done()
	n := 0
	for next := r.from; next < r.to; {
		entries, err := c.Entries(ctx, next)
		if err != nil || len(entries) == 0 {
			return n, err
		}
		for _, e := range entries {
			if e.Seq >= r.to {
				return n, nil
			}
			_, _ = w.Write(e.Leaf) // Flush keeps the error
			if err := w.WriteByte('\n'); err != nil {
				return n, err
			}
			next, n = e.Seq+1, n+1
		}
		m.show(client.Progress{Phase: "export", Done: int64(next - r.from), Total: int64(r.to - r.from)})
	}
	return n, nil
}

func (a *app) logReceipt() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "receipt SEQ|D-…", Short: "Get the proof that an entry stands in the log, for offline verification", Args: arguments("SEQ|D-…"),
		Example: `  sallyport log receipt D-7f3kq2m1x9ab --out pull.tlog-proof
  sallyport verify receipt pull.tlog-proof --key log.key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			seq, err := a.seqOf(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			proof, err := c.Receipt(cmd.Context(), seq)
			if err != nil {
				return err
			}
			if out == "" {
				if a.json {
					return a.encode(map[string]any{"seq": seq, "receipt": string(proof)})
				}
				_, err := a.out.Write(proof)
				return err
			}
			if err := os.WriteFile(out, proof, 0o600); err != nil {
				return sallyport.E("receipt", sallyport.Invalid, err.Error(), "")
			}
			return a.answer(map[string]any{"seq": seq, "file": out}, func() { a.line("%s proves entry %d", out, seq) })
		},
	}
	c.Flags().StringVar(&out, "out", "", "write to this `FILE`")
	return c
}

// seqOf finds the entry that a number or a decision id names.
func (a *app) seqOf(ctx context.Context, c *client.Client, s string) (uint64, error) {
	if n, err := strconv.ParseUint(s, 10, 63); err == nil {
		return n, nil
	}
	if !strings.HasPrefix(s, "D-") {
		return 0, sallyport.E("receipt", sallyport.Invalid, "\""+sallyport.OneLine(s)+"\" is neither the number of an entry nor a decision", "write 1234 or D-…")
	}
	found, err := c.Search(ctx, client.Search{Decision: s, Types: []string{string(sallyport.EventDecided)}})
	if err == nil && len(found) == 0 {
		err = sallyport.E("receipt", sallyport.NotFound, "the log holds no decision "+sallyport.OneLine(s), "")
	}
	if err != nil {
		return 0, err
	}
	return found[0].Seq, nil
}

// findingOf turns a bad log into exit code 2.
func findingOf(err error) error {
	if _, ok := errors.AsType[*verify.Finding](err); ok {
		return &exit{client.ExitDenied, err}
	}
	return err
}
