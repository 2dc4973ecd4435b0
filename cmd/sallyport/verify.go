package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/verify"
)

// A known log is one that was verified before: its key, and the last checkpoint that was good. A server that shows
// another history afterwards, or another key, is found out.
type known struct {
	Key        string `json:"key"`
	Checkpoint string `json:"checkpoint"`
}

func (a *app) knownPath() (string, error) {
	dir, err := a.dir()
	return filepath.Join(dir, "logs.json"), err
}

func (a *app) knownLogs() (map[string]known, error) {
	path, err := a.knownPath()
	if err != nil {
		return nil, err
	}
	all := map[string]known{}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return nil, sallyport.E("read known logs", sallyport.Invalid, path+": "+err.Error(), "restore it from a backup: without it a rewritten log cannot be told")
	}
	return all, nil
}

func (a *app) keepLog(name string, k known) error {
	all, err := a.knownLogs()
	if err != nil {
		return err
	}
	all[name] = k
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	path, err := a.knownPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// A logSource is a log that can be verified.
type logSource struct {
	name  string // under which it is known
	read  verify.Source
	key   string // verifier key or policy text
	first bool   // the key is the server's own word, believed for the first time
	kept  [][]byte
	seen  *string // the checkpoint that was read
}

// openLog finds a log and whom to trust for it: in a directory, or served. A served log's key is believed the first
// time and kept.
func (a *app) openLog(ctx context.Context, c *client.Client, dir, keyFile string) (logSource, error) {
	s := logSource{name: dir, seen: new(string)}
	read := verify.Dir(dir)
	if dir == "" {
		s.name, read = c.Server(), c.LogFile
	} else if abs, err := filepath.Abs(dir); err == nil {
		s.name = abs
	}
	s.read = func(ctx context.Context, path string) ([]byte, error) {
		b, err := read(ctx, path)
		if path == "checkpoint" {
			*s.seen = string(b)
		}
		return b, err
	}
	all, err := a.knownLogs()
	if err != nil {
		return s, err
	}
	k, ok := all[s.name]
	if ok && k.Checkpoint != "" {
		s.kept = [][]byte{[]byte(k.Checkpoint)}
	}
	switch {
	case keyFile != "":
		s.key, err = readKey(keyFile)
		if err == nil && ok && strings.TrimSpace(s.key) != k.Key {
			s.kept = nil // another trust: what was kept under the old one proves nothing
		}
	case ok:
		s.key = k.Key
	case dir != "":
		err = sallyport.E("verify log", sallyport.Invalid, "nothing says whose log this is", "name a file with the log's public key, with --key FILE")
	default:
		head, herr := c.Head(ctx)
		s.key, s.first, err = head.Key, true, herr
	}
	return s, err
}

func readKey(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", sallyport.E("read key", sallyport.Invalid, err.Error(), "name the file with the log's public key")
	}
	defer f.Close()
	b := make([]byte, 64<<10)
	n, err := f.Read(b)
	if err != nil {
		return "", sallyport.E("read key", sallyport.Invalid, err.Error(), "name the file with the log's public key")
	}
	return strings.TrimSpace(string(b[:n])), nil
}

// verifyLog verifies a whole log and keeps its checkpoint for the next time.
func (a *app) verifyLog(ctx context.Context, s logSource, each func(uint64, []byte) error) (verify.Report, error) {
	m := a.meter()
	r, err := verify.Log(ctx, s.read, s.key, verify.Options{Earlier: s.kept, Each: func(index uint64, leaf []byte) error {
		m.show(client.Progress{Phase: "verify", Done: int64(index + 1), Total: int64(index + 2)})
		if each == nil {
			return nil
		}
		return each(index, leaf)
	}})
	m.done()
	if err != nil {
		return r, findingOf(err)
	}
	return r, a.keepLog(s.name, known{Key: strings.TrimSpace(s.key), Checkpoint: *s.seen})
}

func (a *app) logVerify() *cobra.Command {
	var o verifying
	c := &cobra.Command{
		Use: "verify [DIR]", Short: "Verify the whole log: every entry, the tree, the signature, and that nothing was rewritten", Args: arguments("[DIR]"),
		Long: `Verify a log, served or in a directory. Nothing but its key is believed. The checkpoint is kept: the next time the
log must still begin with all that it had now. Exit code 2 names the first bad entry.`,
		Example: `  sallyport log verify
  sallyport log verify --key log.key
  sallyport log verify /var/lib/sallyport/log --key log.key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := ""
			var c *client.Client
			if len(args) == 1 {
				dir = args[0]
			} else {
				var err error
				if c, err = a.connect(); err != nil {
					return err
				}
			}
			return a.reportLog(cmd.Context(), c, dir, o)
		},
	}
	o.flags(c)
	return c
}

// logReport is what a verification prints.
type logReport struct {
	Log     string `json:"log"`
	Origin  string `json:"origin"`
	Entries uint64 `json:"entries"`
	Root    string `json:"root"`
	Earlier int    `json:"earlierCheckpoints"`
	Trusted string `json:"trusted"` // "given", "known", or "first use"

	Approvals verify.ApprovalReport `json:"approvals"`
}

func (a *app) reportLog(ctx context.Context, c *client.Client, dir string, o verifying) error {
	key := o.key
	s, err := a.openLog(ctx, c, dir, key)
	if err != nil {
		return err
	}
	approvals, err := readApprovers(o.approvers)
	if err != nil {
		return err
	}
	approvals.Signed = o.signed
	r, err := a.verifyLog(ctx, s, approvals.Each)
	if err != nil {
		return err
	}
	out := logReport{Log: s.name, Origin: r.Origin, Entries: r.Checked, Root: r.Root, Earlier: r.Earlier, Trusted: "known", Approvals: approvals.Report()}
	switch {
	case key != "":
		out.Trusted = "given"
	case s.first:
		out.Trusted = "first use"
	}
	if err := a.answer(out, func() {
		a.line("ok: %s, %d entries, root %s", out.Origin, out.Entries, out.Root)
		if p := out.Approvals; p.Keys+p.Signed+p.Session > 0 {
			a.line("  approvals: %d requests approved; %d votes signed by %d keys, %d by session alone; %d calls had a grant", p.Approved, p.Signed, p.Keys, p.Session, p.Used)
		}
		if p := out.Approvals; p.Policies > 0 {
			a.line("  policies: %d sets put in force as they must be; %d proposals signed by their authors", p.Policies, p.Authors)
		}
		for _, p := range out.Approvals.Problems {
			a.line("  entry %d, %s: %s", p.Index, p.About, p.Problem)
		}
		if out.Earlier > 0 {
			a.line("  it still begins with what was verified before")
		}
		if s.first {
			a.line("  the key is the server's own word, and kept from now on; compare it with one that you got by another way:")
			a.line("  %s", strings.TrimSpace(s.key))
		}
	}); err != nil {
		return err
	}
	return a.approvalProblems(out.Approvals)
}

// verifying is whom a verification believes.
type verifying struct {
	key       string // file of the log's public key
	approvers string // file of the first approvers' keys
	signed    bool   // no approval counts without a signature
}

func (v *verifying) flags(c *cobra.Command) {
	c.Flags().StringVar(&v.key, "key", "", "`FILE` with the log's public key, or with a policy of witnesses")
	c.Flags().StringVar(&v.approvers, "approvers", "", "`FILE` with the first approvers' keys; without it the log's own first key is believed")
	c.Flags().BoolVar(&v.signed, "signed", false, "an approval that nobody signed is a finding, also from before there were keys")
}

func (a *app) verify() *cobra.Command {
	return noun(&cobra.Command{Use: "verify", Short: "Verify a log or a receipt offline, with nothing but files"}, a.verifyDir(), a.verifyReceipt())
}

func (a *app) verifyDir() *cobra.Command {
	var o verifying
	c := &cobra.Command{
		Use: "log DIR", Short: "Verify a log's directory", Args: arguments("DIR"),
		Example: "  sallyport verify log ./log --key log.key",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.reportLog(cmd.Context(), nil, args[0], o)
		},
	}
	o.flags(c)
	return c
}

func (a *app) verifyReceipt() *cobra.Command {
	var key, approvers string
	c := &cobra.Command{
		Use: "receipt FILE", Short: "Verify a receipt and print the entry it proves", Args: arguments("FILE"),
		Example: "  sallyport verify receipt pull.tlog-proof --key log.key",
		RunE: func(cmd *cobra.Command, args []string) error {
			if key == "" {
				return usage(cmd, "name a file with the log's public key, with --key FILE")
			}
			trust, err := readKey(key)
			if err != nil {
				return err
			}
			text, err := os.ReadFile(args[0])
			if err != nil {
				return sallyport.E("verify receipt", sallyport.Invalid, err.Error(), "")
			}
			p, err := verify.Receipt(text, trust)
			if err != nil {
				return &exit{client.ExitDenied, err}
			}
			statement := ""
			if approvers != "" {
				keys, err := readApprovers(approvers)
				if err != nil {
					return err
				}
				if statement, err = verify.Vote(p.Leaf, keys.Pins); err != nil {
					return &exit{client.ExitDenied, err}
				}
			}
			return a.answer(struct {
				Origin string          `json:"origin"`
				Index  uint64          `json:"index"`
				Size   uint64          `json:"size"`
				Entry  json.RawMessage `json:"entry"`
				Signed string          `json:"signed,omitempty"` // the statement of a vote whose signature verifies
			}{p.Origin, p.Index, p.Size, p.Leaf, statement}, func() {
				a.line("ok: entry %d of %s, under a checkpoint of %d entries", p.Index, p.Origin, p.Size)
				a.line("%s", string(p.Leaf))
				if statement != "" {
					a.line("signed: %s", statement)
				}
			})
		},
	}
	c.Flags().StringVar(&approvers, "approvers", "", "`FILE` with approvers' keys: the entry must be a vote that one of them signed")
	c.Flags().StringVar(&key, "key", "", "`FILE` with the log's public key, or with a policy of witnesses")
	return c
}
