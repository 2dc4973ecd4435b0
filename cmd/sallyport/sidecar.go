package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/client/sidecar"
)

// bindingKey finds the key that a login is bound to. Another key is of no use: the server would call it theft.
func (a *app) bindingKey(ctx context.Context, store *client.Store, thumbprint string) (*client.Key, error) {
	const op = "use login"
	if a.computer != nil {
		if key, err := client.NewKey(a.computer.Key()); err == nil && key.Thumbprint() == thumbprint {
			return key, nil
		}
	}
	key, err := store.Key(ctx, false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if key == nil || key.Thumbprint() != thumbprint {
		return nil, &exit{client.ExitStepUp, sallyport.E(op, sallyport.Invalid, "the login is bound to a key that is not on this device",
			"sign in again with 'sallyport login --bind'; a copied configuration directory is of no use elsewhere")}
	}
	return key, nil
}

func (a *app) runCommand() *cobra.Command {
	var job string
	c := &cobra.Command{
		Use: "run -- COMMAND [ARGUMENT]...", Short: "Run a program whose tools go through Sallyport, without a token of its own",
		Long: `Run a program beside a sidecar on the loopback interface. The program's environment points huggingface_hub, openai and others
at the sidecar; tokens, the key they are bound to and their renewal stay outside of it, so that a job of hours never meets
an expired token. The exit code is the program's; 128 and the signal's number where a signal ended it.

With --job what you were granted for it (sallyport request … --task lease:NAME) begins with the program and ends seconds
after it, however it ends. What is approved while the program runs begins then.`,
		Example: `  sallyport run -- python train.py
  sallyport run --job train-fraud -- python train.py
  sallyport run -- hf download acme/fraud`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, "say what to run, after --")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, s, err := a.startSidecar(cmd.Context(), "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer s.Close(cmd.Context())
			running, over := context.WithCancel(context.WithoutCancel(cmd.Context())) // a program may take its time after an interrupt
			defer over()
			if err := a.keepJob(running, c, job); err != nil {
				return err
			}
			return a.child(cmd.Context(), s, args)
		},
	}
	jobFlag(c, &job)
	return c
}

func (a *app) startSidecar(ctx context.Context, listen string) (*client.Client, *sidecar.Sidecar, error) {
	c, err := a.connect()
	if err != nil {
		return nil, nil, err
	}
	if _, err := c.Who(ctx); err != nil { // a login that has ended is said before anything starts
		return nil, nil, err
	}
	if a.computer != nil {
		go a.computer.Keep(ctx, c, a.logger(slog.LevelWarn))
	}
	s, err := sidecar.Start(ctx, c, listen, a.logger(slog.LevelWarn))
	return c, s, err
}

// child runs the program with our standard streams and hands signals on.
func (a *app) child(ctx context.Context, s *sidecar.Sidecar, args []string) error {
	child := exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...)
	child.Stdin, child.Stdout, child.Stderr = a.in, a.raw, a.err
	child.Env = environment(os.Environ(), s.Environment())
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP)
	if !a.terminal { // a terminal sends interrupts to the program itself
		signal.Notify(signals, os.Interrupt)
	}
	defer signal.Stop(signals)
	if err := child.Start(); err != nil {
		return sallyport.Wrap("run", sallyport.Invalid, "the program "+sallyport.OneLine(args[0])+" cannot be started", err)
	}
	done := make(chan error, 1)
	go func() { done <- child.Wait() }()
	for {
		select {
		case sig := <-signals:
			_ = child.Process.Signal(sig) // one that has ended needs none
		case err := <-done:
			if code := childCode(child.ProcessState); err != nil && code > 0 {
				return &exit{code, nil}
			}
			return err
		}
	}
}

// childCode is a program's own, or 128 and the number of the signal that ended it, as shells say it.
func childCode(p *os.ProcessState) int {
	if status, ok := p.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return p.ExitCode()
}

// environment is the present one with other settings in place of those of the same name.
func environment(present []string, settings []sidecar.Setting) []string {
	ours := map[string]bool{}
	for _, s := range settings {
		ours[s.Name] = true
	}
	given := map[string]string{}
	var all []string
	for _, line := range present {
		name, value, _ := strings.Cut(line, "=")
		given[name] = value
		if !ours[name] {
			all = append(all, line)
		}
	}
	for _, s := range settings {
		if strings.EqualFold(s.Name, noProxy) {
			s.Value = spared(given, s)
		}
		all = append(all, s.Name+"="+s.Value)
	}
	return all
}

// noProxy names what is asked for without a proxy: a list, in capitals or not. Tools that know both heed only one of them.
const noProxy = "NO_PROXY"

// spared adds ours to the list that a person gave: what they keep from proxies stays so. A list that they gave in one
// spelling counts for both; "*" is everything, and only by itself.
func spared(given map[string]string, ours sidecar.Setting) string {
	theirs, is := given[ours.Name]
	for _, name := range []string{noProxy, strings.ToLower(noProxy)} {
		if !is {
			theirs, is = given[name]
		}
	}
	switch theirs {
	case "":
		return ours.Value
	case "*":
		return theirs
	}
	return theirs + "," + ours.Value
}

func (a *app) agent() *cobra.Command {
	var listen, job string
	c := &cobra.Command{
		Use: "agent", Short: "Stay as a sidecar on the loopback interface, for tools that are started elsewhere", Args: arguments(),
		Long: `Stay until interrupted and serve the doors on the loopback interface. The environment for tools is printed first, as export
lines; it holds a key that is good at this sidecar only, and no token.`,
		Example: `  sallyport agent > ~/.sallyport.env &
  . ~/.sallyport.env && python train.py`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, s, err := a.startSidecar(cmd.Context(), listen)
			if err != nil {
				return err
			}
			defer s.Close(cmd.Context())
			if err := a.keepJob(cmd.Context(), c, job); err != nil {
				return err
			}
			if err := a.printSettings(s.Environment(), time.Time{}); err != nil {
				return err
			}
			if err := a.flush(); err != nil {
				return err
			}
			a.note("serving at %s until interrupted", s.URL())
			select {
			case <-cmd.Context().Done():
				return nil
			case err := <-s.Ended():
				return err
			}
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "loopback `ADDRESS`; port 0 takes a free one")
	jobFlag(c, &job)
	return c
}

// printSettings prints export lines, or one JSON object; until is left out where it is zero.
func (a *app) printSettings(all []sidecar.Setting, until time.Time) error {
	if a.json {
		env := map[string]string{}
		for _, s := range all {
			env[s.Name] = s.Value
		}
		return a.encode(struct {
			Env     map[string]string `json:"env"`
			Expires time.Time         `json:"expires,omitzero"`
		}{env, until})
	}
	for _, s := range all {
		a.line("%s", "export "+s.Name+"="+quote(s.Value))
	}
	return nil
}
