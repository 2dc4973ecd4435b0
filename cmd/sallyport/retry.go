package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
)

// A blocked command is one of ours that was refused and can be run again: what was typed, and where.
type blocked struct {
	Decision string    `json:"decision"`
	Args     []string  `json:"args"`
	Dir      string    `json:"dir"`
	At       time.Time `json:"at"`
}

// Limits of what is remembered.
const (
	mostBlocked = 50
	blockedFor  = 31 * 24 * time.Hour
)

// resumes are the commands that can be run again as they were: they take up where they stopped, and hold no secret.
func resumes() []string { return []string{"pull", "push", "ls", "show"} }

func (a *app) blockedPath() (string, error) {
	dir, err := a.dir()
	return filepath.Join(dir, "blocked.json"), err
}

// blocked returns the commands that were refused, the newest last.
func (a *app) blocked() ([]blocked, error) {
	path, err := a.blockedPath()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []blocked
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return nil, sallyport.E("read blocked commands", sallyport.Invalid, path+": "+err.Error(), "remove the file; it holds nothing else")
	}
	return slices.DeleteFunc(all, func(b blocked) bool { return a.now().Sub(b.At) > blockedFor }), nil
}

// remember keeps a command of ours that a decision refused. What cannot be kept costs a retry and nothing else.
func (a *app) remember(root *cobra.Command, args []string, err error) {
	refusal, ok := errors.AsType[*client.Error](err)
	if !ok || refusal.API.Decision == "" {
		return
	}
	if c, _, err := root.Find(args); err != nil || c.Parent() != root || !slices.Contains(resumes(), c.Name()) {
		return
	}
	dir, err := os.Getwd()
	if err != nil {
		return
	}
	all, err := a.blocked()
	if err != nil {
		return
	}
	all = slices.DeleteFunc(all, func(b blocked) bool { return b.Dir == dir && slices.Equal(b.Args, args) })
	all = append(all, blocked{refusal.API.Decision, args, dir, a.now()})
	text, err := json.MarshalIndent(all[max(0, len(all)-mostBlocked):], "", "  ")
	if err != nil {
		return
	}
	path, err := a.blockedPath()
	if err == nil && os.MkdirAll(filepath.Dir(path), 0o700) == nil && os.WriteFile(path+".new", append(text, '\n'), 0o600) == nil {
		_ = os.Rename(path+".new", path) // a retry less
	}
}

func (a *app) retry() *cobra.Command {
	var list bool
	c := &cobra.Command{
		Use: "retry [D-…]", Short: "Run again what was refused, after it was approved", Args: arguments("[D-…]"),
		Long: `Run again, in the same directory, the last command that a decision refused, or the one of the decision. Only this
program's own pull, push, ls and show on this computer are remembered: run other programs again yourself. The new run is decided anew.`,
		Example: `  sallyport request --from D-5n6p… --for 1h --why "…" --wait && sallyport retry
  sallyport retry D-5n6p…
  sallyport retry --list`,
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := a.blocked()
			if err != nil {
				return err
			}
			if list {
				return a.listBlocked(all)
			}
			id := ""
			if len(args) == 1 {
				id = args[0]
			}
			return a.again(cmd.Context(), all, id)
		},
	}
	c.Flags().BoolVar(&list, "list", false, "show what could be run again, and run nothing")
	return c
}

func (a *app) listBlocked(all []blocked) error {
	return a.answer(append([]blocked{}, all...), func() {
		t := table{headings: []string{"DECISION", "COMMAND", "IN", "WHEN"}, none: "Nothing of yours was refused here."}
		for _, b := range slices.Backward(all) {
			t.row(b.Decision, "sallyport "+strings.Join(b.Args, " "), b.Dir, a.when(b.At))
		}
		a.table(t)
	})
}

// again runs a remembered command as if it were typed.
func (a *app) again(ctx context.Context, all []blocked, id string) error {
	for _, b := range slices.Backward(all) {
		if id != "" && b.Decision != id {
			continue
		}
		a.note("in %s: sallyport %s", clean(b.Dir), clean(strings.Join(b.Args, " ")))
		here, err := os.Getwd()
		if err == nil {
			err = os.Chdir(b.Dir)
		}
		if err != nil {
			return sallyport.E("retry", sallyport.Invalid, err.Error(), "run the command again yourself")
		}
		if err := a.flush(); err != nil {
			return err
		}
		code := (&app{in: a.in, out: a.raw, err: a.err, env: a.env, now: a.now, terminal: a.terminal}).run(ctx, b.Args)
		if err := os.Chdir(here); err != nil {
			return fmt.Errorf("retry: %w", err)
		}
		return ended(code)
	}
	return sallyport.E("retry", sallyport.NotFound, "nothing that was refused is remembered here", "run the command again yourself; 'sallyport retry --list' shows what is known")
}
