package crash_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/internal/server"
)

// childVariable names the configuration file of the server that the test binary is to become.
const childVariable = "SALLYPORT_CRASH_CONFIG"

// TestMain turns the test binary into the server that gets killed.
func TestMain(m *testing.M) {
	path := os.Getenv(childVariable)
	if path == "" {
		os.Exit(m.Run())
	}
	fmt.Println("process", os.Getpid())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if err := server.Main(ctx, path, os.Stdout, logger); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A child is one run of the server.
type child struct {
	cmd   *exec.Cmd
	pid   chan int      // of the server itself, once it runs
	ready chan struct{} // closed when it says that it serves
	ended chan struct{}
	err   error // how it ended; to be read after ended
	log   lockedBuffer
}

// lockedBuffer keeps what a process says.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// spawn starts the server; under is the command that it runs under, for example strace.
func (w *world) spawn(t *testing.T, under ...string) *child {
	t.Helper()
	args := append(under, os.Args[0])
	c := &child{cmd: exec.CommandContext(t.Context(), args[0], args[1:]...), pid: make(chan int, 1), ready: make(chan struct{}), ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childVariable+"="+w.configFile)
	c.cmd.Stderr = &c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.cmd.Cancel = func() error { return c.signal(syscall.SIGKILL) }
	out, err := c.cmd.StdoutPipe()
	must(t, err)
	must(t, c.cmd.Start())
	go func() {
		defer close(c.ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if pid, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "process ")); err == nil {
				c.pid <- pid
			}
			if strings.HasPrefix(lines.Text(), "sallyport serves at ") {
				close(c.ready)
			}
		}
		c.err = c.cmd.Wait()
	}()
	return c
}

// signal reaches the server; as long as that has not come to run, what it runs under. Nothing to reach is no error.
func (c *child) signal(s syscall.Signal) error {
	to := -c.cmd.Process.Pid
	select {
	case to = <-c.pid:
		c.pid <- to
	default:
	}
	if err := syscall.Kill(to, s); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// kill is SIGKILL; it returns when the process is gone.
func (c *child) kill(t *testing.T) {
	t.Helper()
	select {
	case <-c.ended: // its number may be somebody else's by now
	default:
		must(t, c.signal(syscall.SIGKILL))
		<-c.ended
	}
}

// stop ends the server as an operator does.
func (c *child) stop(t *testing.T) {
	t.Helper()
	must(t, c.signal(syscall.SIGINT))
	<-c.ended
	if c.err != nil {
		t.Errorf("the server ended with %v:\n%s", c.err, c.log.String())
	}
}

// startLimit is how long a start may take: nobody stands by (I-02).
const startLimit = 5 * time.Second

// start starts the server unattended, and returns when it is ready, and how long that took.
func (w *world) start(t *testing.T) (*child, time.Duration) {
	t.Helper()
	began := time.Now()
	c := w.spawn(t)
	select {
	case <-c.ready:
	case <-c.ended:
		t.Fatalf("the server does not start: %v\n%s", c.err, c.log.String())
	case <-time.After(10 * startLimit):
		c.kill(t)
		t.Fatalf("the server is not up after %s\n%s", 10*startLimit, c.log.String())
	}
	took := time.Since(began)
	if took > startLimit {
		t.Errorf("the server took %s to start, and has %s", took, startLimit)
	}
	w.http.CloseIdleConnections()
	if r, err := w.send(t.Context(), ask{path: "/readyz"}); err != nil || r.status != http.StatusOK {
		t.Fatalf("not ready: %v %+v\n%s", err, r, c.log.String())
	}
	return c, took
}

// An upstream is a model server that notes whom it served.
type upstream struct {
	server *httptest.Server
	mu     sync.Mutex
	asked  []string // the request ids, which are decision ids
	act    func()   // what happens while it acts; may be nil
}

func (u *upstream) acting(act func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.act = act
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{}
	u.server = httptest.NewServer(u)
	t.Cleanup(u.server.Close)
	return u
}

const (
	whole = `{"id":"c","object":"chat.completion","created":1,"model":"small","choices":[{"index":0,"message":{"role":"assistant","content":"a quay at night"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}`
	piece = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"small","choices":[{"index":0,"delta":{"content":"quay "},"finish_reason":null}]}` + "\n\n"
	tail  = "data: [DONE]\n\n"
)

// ServeHTTP notes the id before anything else, and answers at once or as a stream.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.asked = append(u.asked, r.Header.Get("X-Request-Id"))
	act := u.act
	u.mu.Unlock()
	if act != nil {
		act()
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || !bytes.Contains(body, []byte(`"stream":true`)) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, whole)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for range 5 {
		_, _ = io.WriteString(w, piece)
		_ = http.NewResponseController(w).Flush()
		time.Sleep(time.Millisecond)
	}
	_, _ = io.WriteString(w, tail)
}

func (u *upstream) all() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string{}, u.asked...)
}
