package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/client/device"
)

// An app is one run of the command: where it reads and writes, and the flags that every command has.
type app struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string
	now      func() time.Time
	terminal bool // err is one

	raw        io.Writer      // out without its buffer, for programs that are started
	key        *client.Key    // that logins are bound to
	bearer     bool           // sign in without one, whatever the last login was
	computer   *device.Device // this one, where it is enrolled; opened by connect
	unenrolled bool           // it is to be used without its certificate

	json, quiet bool
	server, ca  string
	plaintext   bool
}

// run runs one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	out := bufio.NewWriter(a.out)
	a.raw, a.out = a.out, out
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	if a.computer != nil { // a TPM without a resource manager has few places for keys
		if cerr := a.computer.Close(); err == nil {
			err = cerr
		}
	}
	code := a.report(ctx, err)
	a.remember(root, args, err)
	if err := out.Flush(); err != nil && code == 0 {
		fmt.Fprintln(a.err, "sallyport: write the answer:", err)
		return client.ExitError
	}
	return code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sallyport",
		Short: "The guarded way to machine-learning models",
		Long: `Sallyport decides, enforces and records every action on models.

Exit codes: 0 ok, 1 error, 2 denied or finding, 3 sign in (more strongly), 4 pending or held, 5 unreachable.
Every command takes --json. Environment: SALLYPORT_SERVER, SALLYPORT_CA, XDG_CONFIG_HOME.`,
		Example: `  sallyport login --server https://sally.acme.example
  sallyport whoami
  sallyport can model.pull acme/fraud`,
		SilenceErrors: true, SilenceUsage: true,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := root.PersistentFlags()
	flags.BoolVar(&a.json, "json", false, "answer as JSON")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "show no progress")
	flags.StringVar(&a.server, "server", "", "the server's address; default: the one you signed in to last")
	flags.StringVar(&a.ca, "ca", "", "`FILE` with the server's certificate authority (PEM)")
	flags.BoolVar(&a.plaintext, "plaintext", false, "permit http:// to this computer, for trials")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, err.Error()) })
	for _, g := range groups() {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
	}
	for _, g := range []struct {
		id       string
		commands []*cobra.Command
	}{
		{"me", []*cobra.Command{a.login(), a.logout(), a.whoami(), a.sessions(), a.notices(), a.reportCommand(), a.token(), a.delegate(), a.envCommand(), a.device(), a.runCommand(), a.agent(), a.dockerCredential()}},
		{"ask", []*cobra.Command{a.can(), a.why(), a.request(), a.retry(), a.inbox(), a.review(), a.approve(), a.deny(), a.grants(), a.approvers()}},
		{"models", []*cobra.Command{a.ls(), a.show(), a.push(), a.pull()}},
		{"guard", []*cobra.Command{a.lock(), a.unlock(), a.holds(), a.findings(), a.risk(), a.breakglass(), a.metrics(), a.logCommand(), a.replay(), a.verify()}},
		{"govern", []*cobra.Command{a.policy(), a.paths(), a.matrix(), a.user(), a.onboard(), a.recovery(), a.group(), a.role(), a.service(), a.agentIdentity(), a.guest(), a.trust(), a.leave(), a.successor(),
			a.idp(), a.scim(), a.signals(), a.catalog(), a.usage(), a.apply(), a.drift(), a.drill(), a.clients(), a.tokens(), a.keys(), a.routes()}},
		{"run", []*cobra.Command{a.serve(), a.doctor(), a.blocklist(), a.demo(), a.bench()}},
	} {
		for _, c := range g.commands {
			c.GroupID = g.id
			root.AddCommand(c)
		}
	}
	root.AddCommand(a.version())
	return root
}

type helpGroup struct{ id, title string }

func groups() []helpGroup {
	return []helpGroup{
		{"me", "Me:"}, {"ask", "Ask and answer:"}, {"models", "Models:"}, {"guard", "Act and prove:"}, {"govern", "Govern:"}, {"run", "Run it:"},
	}
}

// noun makes a command that only holds others.
func noun(c *cobra.Command, below ...*cobra.Command) *cobra.Command {
	c.Args = arguments()
	c.RunE = func(cmd *cobra.Command, _ []string) error { return usage(cmd, "say what to do") }
	c.AddCommand(below...)
	return c
}

// usage is an error about how a command was called.
func usage(cmd *cobra.Command, problem string) error {
	_, op, _ := strings.Cut(cmd.CommandPath(), " ")
	return sallyport.E(op, sallyport.Invalid, problem, "see '"+cmd.CommandPath()+" --help'")
}

// arguments wants exactly the arguments with these names; a name in brackets may be missing.
func arguments(names ...string) cobra.PositionalArgs {
	least := 0
	for _, n := range names {
		if !strings.HasPrefix(n, "[") {
			least++
		}
	}
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage(cmd, "missing "+names[len(args)])
		case len(args) > len(names) && len(names) == 0 && cmd.HasSubCommands():
			return usage(cmd, fmt.Sprintf("there is no command %q", sallyport.OneLine(args[0])))
		case len(args) > len(names):
			return usage(cmd, fmt.Sprintf("%q is one word too many", sallyport.OneLine(args[len(names)])))
		}
		return nil
	}
}

// dir is where logins and what was learned about logs are kept.
func (a *app) dir() (string, error) {
	base := a.env("XDG_CONFIG_HOME")
	if base == "" && a.env("HOME") != "" {
		base = filepath.Join(a.env("HOME"), ".config")
	}
	if base == "" {
		var err error
		if base, err = os.UserConfigDir(); err != nil {
			return "", sallyport.E("find configuration", sallyport.Invalid, "neither XDG_CONFIG_HOME nor HOME is set", "set one of them")
		}
	}
	return filepath.Join(base, "sallyport"), nil
}

func (a *app) store() (*client.Store, error) {
	dir, err := a.dir()
	return &client.Store{Dir: dir, Clock: a.now}, err
}

// connect makes a client for the server that is meant: by flag, by environment, or the one signed in to last.
func (a *app) connect() (*client.Client, error) {
	store, err := a.store()
	if err != nil {
		return nil, err
	}
	cfg := client.Config{Server: cmp.Or(a.server, a.env("SALLYPORT_SERVER")), CAFile: cmp.Or(a.ca, a.env("SALLYPORT_CA")), Plaintext: a.plaintext, Store: store}
	login, err := a.kept(store, cfg.Server)
	if err != nil {
		return nil, err
	}
	if cfg.Server == "" {
		cfg.Server = login.Server
	}
	if cfg.Server == "" {
		return nil, &exit{client.ExitStepUp, sallyport.E("connect", sallyport.Invalid, "you are not signed in to any server", "run 'sallyport login --server URL'")}
	}
	if login.Server != "" {
		cfg.CAFile = cmp.Or(a.ca, login.CAFile, cfg.CAFile)
		cfg.Plaintext = cfg.Plaintext || login.Plaintext
	}
	if login.Ending(a.now()) {
		a.note("your login at %s ends in %s: run 'sallyport login' to go on", clean(login.Server), span(login.Ends.Sub(a.now())))
	}
	d, err := a.shown(context.Background(), &cfg)
	if err != nil {
		return nil, err
	}
	if login.Bound != "" && a.key == nil && !a.bearer {
		if a.key, err = a.bindingKey(context.Background(), store, login.Bound); err != nil {
			return nil, err
		}
	}
	cfg.Key = a.key
	if cfg.CAFile != "" { // it is kept with the login, and used from any directory
		if cfg.CAFile, err = filepath.Abs(cfg.CAFile); err != nil {
			return nil, err
		}
	}
	c, err := client.New(cfg)
	if err == nil && d != nil {
		a.renewed(context.Background(), c)
	}
	return c, err
}

// kept finds the login for a server, or the last one; none is no error.
func (a *app) kept(store *client.Store, server string) (client.Login, error) {
	if server == "" {
		l, err := store.Current()
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return l, err
	}
	all, err := store.Logins()
	for _, l := range all {
		if l.Server == strings.TrimSuffix(server, "/") {
			return l, err
		}
	}
	return client.Login{}, err
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this program", Args: arguments(),
		Example: "  sallyport version --json",
		RunE: func(*cobra.Command, []string) error {
			v := build()
			return a.answer(v, func() { a.line("sallyport %s (%s, %s)", v.Version, v.Commit, v.Go) })
		},
	}
}
