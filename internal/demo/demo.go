package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"sallyport"
	"sallyport/internal/demo/tinylm"
)

// ErrUnexpected is the error of a run in which some step did not go as it said.
var ErrUnexpected = errors.New("demo: not every step went as expected")

// Options say how the demo runs. Out is needed.
type Options struct {
	Keep bool      // stay until the context ends, for trying things out
	JSON bool      // one JSON object a step and line, in place of text
	Out  io.Writer // where the story is told
	// Progress is a terminal, on which how far training, pushes and pulls are is shown on one line; nil: it is not.
	Progress io.Writer
	Log      *slog.Logger  // of the server; nil: nowhere
	Dir      string        // where everything lies; "": a temporary directory, removed at the end
	Model    tinylm.Config // of the model in the leading part; zero: tinylm.Default
}

// Run plays the story once. It returns nil only when every step went as expected, ErrUnexpected when one did not, and
// another error when the story could not be told to its end. With Keep it then stays until ctx ends, which is no error.
func Run(ctx context.Context, o Options) (err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Model == (tinylm.Config{}) {
		o.Model = tinylm.Default()
	}
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "sallyport-demo-"); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
	} else if err := emptyDir(o.Dir); err != nil {
		return err
	}
	out := &report{out: o.Out, json: o.JSON, terminal: o.Progress}
	began := time.Now()
	st, err := build(ctx, o, out)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, st.close()) }()
	s := newStory(st, out)
	if err := s.tell(ctx); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if out.end(time.Since(began)); !out.good() {
		return ErrUnexpected
	}
	if o.Keep {
		return s.keep(ctx)
	}
	return nil
}

// emptyDir makes the directory where it is missing. The story begins with nothing: what lies there is not touched.
func emptyDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if len(there) > 0 {
		return sallyport.E("demo", sallyport.Conflict, "the directory "+dir+" is not empty", "name a new one")
	}
	return nil
}
