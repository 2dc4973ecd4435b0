package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"sallyport/internal/demo/people"
	"sallyport/internal/demo/tinylm"
	"sallyport/internal/demo/tinylm/serve"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/server"
)

// The models of the story. Each name stands for what one may do with it.
const (
	guarded = "acme/harbour" // restricted: ana may call it, and not take its weights
	open    = "acme/jetty"   // internal: ana may call it and take it
	closed  = "acme/keel"    // restricted: ana may read its card and nothing else
)

// pace is how long each token takes at least, so that a stream lasts long enough to be cut.
const pace = 4 * time.Millisecond

// A stage is everything that the story plays on: files, the model server, and Sallyport in front of it.
type stage struct {
	dir    string
	log    *slog.Logger
	config server.Config
	server *server.Server
	models *http.Server // the model server
}

// path is a file below the demo's directory.
func (s *stage) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// house is what the cast needs to know.
func (s *stage) house() people.House {
	return people.House{Server: s.server.External(), CAFile: s.server.CA(), Dir: s.path("people")}
}

// files is where the files of a model lie before they are pushed.
func (s *stage) files(model string) string { return s.path("models", filepath.Base(model)) }

// build trains the models, starts their server and Sallyport before it.
func build(ctx context.Context, o Options, out *report) (*stage, error) {
	s := &stage{dir: o.Dir, log: o.Log}
	leading, err := s.train(ctx, o.Model, out)
	if err != nil {
		return nil, err
	}
	upstream, err := s.serve(ctx, leading)
	if err != nil {
		return nil, err
	}
	s.config = server.Config{
		Listen: "localhost:0", Data: s.path("data"), KeyFile: s.path("keys", "kek.json"), Admin: "adam",
		Upstreams: []server.Upstream{{Name: "tinylm", URL: upstream, KeyFile: s.path("upstream.key")}},
		SCIM:      []server.SCIMSource{{Source: "okta", Organisation: "acme", Principal: "service:okta", Domains: []string{"acme.example"}}},
		Models: []server.ModelBinding{
			{Model: guarded, Upstream: "tinylm", Name: "tinylm"},
			{Model: open, Upstream: "tinylm", Name: "tinylm"},
			{Model: closed, Upstream: "tinylm", Name: "tinylm"},
		},
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	out.say("Sallyport listens on %s, in front of a model server on %s", s.server.External(), upstream)
	return s, nil
}

// train makes the models' files. The leading one is served, too.
func (s *stage) train(ctx context.Context, config tinylm.Config, out *report) (*tinylm.Model, error) {
	began := time.Now()
	out.say("training a small language model on text that ships with Sallyport")
	leading, err := tinylm.Train(ctx, config, func(step, steps int, loss float64) {
		out.progress("training a model: step %d of %d, loss %.2f", step, steps, loss)
	})
	if err != nil {
		return nil, err
	}
	if err := leading.Save(s.files(guarded)); err != nil {
		return nil, err
	}
	for i, name := range []string{open, closed} {
		small := tinylm.Small()
		small.Seed += uint64(i)
		m, err := tinylm.Train(ctx, small, nil)
		if err != nil {
			return nil, err
		}
		if err := m.Save(s.files(name)); err != nil {
			return nil, err
		}
	}
	info, err := os.Stat(filepath.Join(s.files(guarded), weights))
	if err != nil {
		return nil, err
	}
	out.say("a model of %d weights, %s, trained in %s: perplexity %.0f on text it never saw, %.0f by word counts alone",
		leading.Parameters(), mebibytes(info.Size()), time.Since(began).Round(time.Second/10), leading.Report().After, leading.Report().Unigram)
	return leading, nil
}

// serve starts the model server, which wants a key that only Sallyport's configuration names, and returns its base URL.
func (s *stage) serve(ctx context.Context, m *tinylm.Model) (string, error) {
	key := rand.Text()
	if err := os.WriteFile(s.path("upstream.key"), []byte(key+"\n"), 0o600); err != nil {
		return "", err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s.models = httpsafe.Server(serve.Handler(m, serve.Options{Name: "tinylm", APIKey: secret.NewText(key), Pace: pace}), nil, s.log)
	go func() {
		if err := s.models.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the model server ended", "err", err)
		}
	}()
	return "http://" + l.Addr().String() + "/v1", nil
}

// start starts Sallyport; after a stop, at the address that it had.
func (s *stage) start(ctx context.Context) error {
	one, err := server.Start(ctx, s.config, s.log)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(one.Addr())
	if err != nil {
		return errors.Join(err, one.Close())
	}
	s.server, s.config.Listen = one, net.JoinHostPort("localhost", port) // passkeys belong to a name, not to an address
	return nil
}

// restart stops Sallyport and starts it again over the same files.
func (s *stage) restart(ctx context.Context) (time.Duration, error) {
	if err := s.server.Close(); err != nil {
		return 0, err
	}
	s.server = nil
	began := time.Now()
	err := s.start(ctx)
	return time.Since(began), err
}

func (s *stage) close() error {
	var errs []error
	if s.server != nil {
		errs = append(errs, s.server.Close())
	}
	if s.models != nil {
		errs = append(errs, s.models.Close())
	}
	return errors.Join(errs...)
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
