package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/server"
)

// disk measures what a steady caller's calls leave on the disk.
func (r *run) disk(ctx context.Context) (err error) {
	s, err := openStreet(ctx, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if _, err := clients(s.guarded, 1, 0)(ctx); err != nil { // the facts of this caller are written once
		return err
	}
	before, err := s.house.settle(ctx, r.size.idle)
	if err != nil {
		return err
	}
	if err := s.call(ctx, r.size.calls); err != nil {
		return err
	}
	after, err := s.house.settle(ctx, r.size.idle)
	if err != nil {
		return err
	}
	per := func(grown int64) []float64 { return []float64{float64(grown) / float64(r.size.calls)} }
	const group = "disk"
	r.add(figure(per(after.log-before.log), "B").atMost(700), group, "log per call",
		fmt.Sprintf("growth of log and journal over %d calls of one caller, both events of each; the journal's open segment, which stays as large as it is, is left out", r.size.calls))
	r.add(figure(per(after.index-before.index), "B"), group, "search index per call", "growth of the database, which can be rebuilt from the log and holds what 'sallyport log search' finds")
	return nil
}

// call makes n inference calls over a few connections.
func (s *street) call(ctx context.Context, n int) error {
	const at = 8
	callers, err := connect(ctx, s.guarded, at)
	if err != nil {
		return err
	}
	done := make(chan error, at)
	for i, c := range callers {
		share := (n - at + i) / at // with the call that connect made, n in all
		go func() {
			var err error
			for range share {
				if _, err = c.call(); err != nil {
					break
				}
			}
			done <- errors.Join(err, c.conn.Close())
		}()
	}
	var errs []error
	for range callers {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

// grown is what a house has on its disk.
type grown struct{ log, index int64 }

// settle waits until nothing changes on the disk for a while: checkpoints are
// published, segments they cover are gone, the index has caught up.
func (h *house) settle(ctx context.Context, quietFor time.Duration) (grown, error) {
	const most = 30 * time.Second
	var last grown
	since := time.Now()
	for begin := time.Now(); time.Since(begin) < most && time.Since(since) < quietFor; {
		time.Sleep(quietFor / 10)
		now, err := h.grown()
		if err = errors.Join(err, ctx.Err()); err != nil {
			return grown{}, err
		}
		if now != last {
			last, since = now, time.Now()
		}
	}
	return last, nil
}

func (h *house) grown() (grown, error) {
	var g grown
	tree, err := sized(h.data("log"))
	if err != nil {
		return g, err
	}
	segments, err := filepath.Glob(h.data("trail", "journal", "*"))
	if err != nil {
		return g, err
	}
	for _, path := range segments[:max(0, len(segments)-1)] { // named by their first number; the last one is open
		info, err := os.Stat(path)
		if err == nil {
			tree += info.Size()
		} else if err = vanished(err); err != nil {
			return g, err
		}
	}
	g.log = tree
	files, err := filepath.Glob(h.data("sallyport.db*"))
	if err != nil {
		return g, err
	}
	for _, path := range files {
		info, err := os.Stat(path)
		if err == nil {
			g.index += info.Size()
		} else if err = vanished(err); err != nil {
			return g, err
		}
	}
	return g, nil
}

// start measures an existing installation coming up, and what it takes when idle.
func (r *run) start(ctx context.Context) error {
	dir, err := r.sub("start")
	if err != nil {
		return err
	}
	h, err := openHouse(ctx, dir, "", true)
	if err != nil {
		return err
	}
	h.config.Listen = h.server.Addr()
	if err := h.server.Close(); err != nil {
		return err
	}
	begin := h.inProcess
	if r.o.Serve != nil {
		begin = func(ctx context.Context) (installation, error) { return h.outside(ctx, r.o.Serve) }
	}
	var took []float64
	var memory float64
	for range r.size.starts {
		from := time.Now()
		running, err := begin(ctx)
		if err != nil {
			return err
		}
		if err = h.ready(ctx); err == nil {
			took = append(took, float64(time.Since(from).Microseconds())/1e3)
			time.Sleep(r.size.idle)
			memory, err = resident(running.pid)
		}
		if err = errors.Join(err, running.stop()); err != nil {
			return err
		}
	}
	return r.startRows(took, memory)
}

func (r *run) startRows(took []float64, memory float64) error {
	const group = "start"
	program, where := "", "a process of its own"
	if r.o.Serve != nil {
		program = r.o.Serve[0]
	} else {
		var err error
		if program, err = os.Executable(); err != nil {
			return err
		}
		where = "the measuring process itself, so that loading the program is not counted and the memory is too high"
	}
	r.add(figure(took, "ms").atMost(300), group, "start to ready", "from starting an existing installation to the first 200 of /readyz, in "+where)
	if memory > 0 {
		r.add(figure([]float64{memory}, "MiB").atMost(80), group, "idle memory", "resident memory after a start, without a request, in "+where)
	}
	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	r.add(figure([]float64{float64(info.Size()) / (1 << 20)}, "MiB"), group, "binary size", "of "+filepath.Base(program))
	return nil
}

// An installation is a server that was started, in this process or beside it.
type installation struct {
	pid  int
	stop func() error
}

func (h *house) inProcess(ctx context.Context) (installation, error) {
	s, err := server.Start(ctx, h.config, quiet())
	if err != nil {
		return installation{}, err
	}
	return installation{pid: os.Getpid(), stop: s.Close}, nil
}

// outside starts a program that serves the configuration, given as a file.
func (h *house) outside(ctx context.Context, program []string) (installation, error) {
	text, err := yaml.Marshal(h.config)
	if err != nil {
		return installation{}, err
	}
	file := filepath.Join(h.dir, "sallyport.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return installation{}, err
	}
	said := new(bytes.Buffer)
	cmd := exec.CommandContext(ctx, program[0], append(program[1:len(program):len(program)], file)...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = said, said, patience
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Start(); err != nil {
		return installation{}, err
	}
	return installation{pid: cmd.Process.Pid, stop: func() error {
		err := cmd.Process.Signal(os.Interrupt)
		if werr := cmd.Wait(); werr != nil {
			return errors.Join(err, fmt.Errorf("%s: %w: %s", program[0], werr, said))
		}
		return err
	}}, nil
}

// ready asks until the server says that it is.
func (h *house) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	asking := httpsafe.Client(func(a netip.AddrPort) bool { return a.Addr().IsLoopback() }, 1)
	defer asking.CloseIdleConnections()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.config.Listen+"/readyz", nil)
		if err != nil {
			return err
		}
		answer, err := asking.Do(req)
		if err == nil {
			_, err = io.Copy(io.Discard, answer.Body)
			if err = errors.Join(err, answer.Body.Close()); err == nil && answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the server did not become ready: %w", errors.Join(err, ctx.Err()))
		}
		time.Sleep(time.Millisecond)
	}
}

// resident is the memory of a process in MiB, 0 where the system does not tell.
func resident(pid int) (float64, error) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, err
}
