// Sallyport is one binary for everybody: people sign in, ask and move models with it, reviewers approve and lock,
// auditors verify, and operators run the server. It owns flags, the terminal and exit codes, and leaves the work to the
// packages it calls.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	a := &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv, now: time.Now,
		terminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
	args, helper := asHelper(os.Args)
	if helper {
		a.err = os.Stdout // where the protocol wants errors
	}
	code := a.run(ctx, args)
	stop()
	os.Exit(code)
}
