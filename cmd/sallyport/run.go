package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/client"
	"sallyport/internal/bench"
	"sallyport/internal/demo"
	"sallyport/internal/server"
)

// logger writes what operators read to standard error.
func (a *app) logger(level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if a.json {
		return slog.New(slog.NewJSONHandler(a.err, o))
	}
	return slog.New(slog.NewTextHandler(a.err, o))
}

func (a *app) serve() *cobra.Command {
	var config string
	var debug bool
	c := &cobra.Command{
		Use: "serve", Short: "Run a server", Args: arguments(),
		Long: `Run a server until it is interrupted. The configuration is a YAML file, strictly read: "data" and "key_file" are needed.
The first start prints a one-time link by which the first administrator sets up their proof; there is no default password.`,
		Example: "  sallyport serve --config sallyport.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config == "" {
				return usage(cmd, "name the configuration, with --config FILE")
			}
			level := slog.LevelInfo
			if debug {
				level = slog.LevelDebug
			}
			return server.Main(cmd.Context(), config, direct{a}, a.logger(level))
		},
	}
	c.Flags().StringVar(&config, "config", "", "the configuration `FILE`")
	c.Flags().BoolVar(&debug, "debug", false, "log more")
	return c
}

// direct writes through the buffer: who waits for the first line of a server waits for it now.
type direct struct{ app *app }

func (d direct) Write(b []byte) (int, error) {
	n, err := d.app.out.Write(b)
	if err == nil {
		err = d.app.flush()
	}
	return n, err
}

func (a *app) demo() *cobra.Command {
	o := demo.Options{}
	c := &cobra.Command{
		Use: "demo", Short: "Play the whole story on this machine: a real model, real people, real doors", Args: arguments(),
		Long: `Start the whole system in a temporary directory on free ports, train a small language model, and walk through it as
different people. Every step says what it expects; exit code 0 only when all went so. With --keep it stays for trying.`,
		Example: `  sallyport demo
  sallyport demo --keep`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.JSON, o.Out = a.json, direct{a}
			if a.terminal && !a.quiet {
				o.Progress = a.err
			}
			err := demo.Run(cmd.Context(), o)
			if errors.Is(err, demo.ErrUnexpected) {
				return &exit{client.ExitDenied, err}
			}
			return err
		},
	}
	c.Flags().BoolVar(&o.Keep, "keep", false, "stay until interrupted, and print what to try next")
	c.Flags().StringVar(&o.Dir, "dir", "", "work in this `DIR` and leave everything there")
	return c
}

func (a *app) bench() *cobra.Command {
	o := bench.Options{}
	c := &cobra.Command{
		Use: "bench", Short: "Measure the system on this machine, against the bare thing it stands in front of", Args: arguments(),
		Example: `  sallyport bench --quick
  sallyport bench --only chain --only sealed`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.JSON, o.Out = a.json, direct{a}
			if self, err := os.Executable(); err == nil {
				o.Serve = []string{self, "serve", "--config"}
			}
			done := a.waiting("measuring")
			_, err := bench.Run(cmd.Context(), o)
			done()
			if err != nil {
				return fmt.Errorf("bench: %w", err)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&o.Quick, "quick", false, "show that everything runs; the figures mean nothing")
	c.Flags().StringArrayVar(&o.Only, "only", nil, "a group of rows: "+strings.Join(bench.Groups(), ", ")+"; may be repeated")
	c.Flags().StringVar(&o.Dir, "dir", "", "work in this `DIR`, on the disk to measure")
	c.Flags().StringVar(&o.CPUProfile, "cpuprofile", "", "write a profile to this `FILE`, for 'go tool pprof'")
	c.Flags().StringVar(&o.MemProfile, "memprofile", "", "write a profile to this `FILE`")
	complete(c, "only", bench.Groups()...)
	return c
}
