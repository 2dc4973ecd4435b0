package crash_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A failure is what goes wrong at the n-th call of some system calls in one thread, in strace's words.
type failure struct {
	calls, how string
	journal    bool // only of the journal's file, else of all files
	deadly     bool // the server is killed in the call
	harmless   bool // it is none: the call is to be made again
}

// quick is how many of the failures the short run makes happen.
const quick = 3

// failures are those that a disk, or a kernel, has in store. A full disk stays full; a bad block is bad once.
func failures() []failure {
	return []failure{
		{calls: "fsync", how: "error=EIO:when=%d", journal: true},
		{calls: "write", how: "error=ENOSPC:when=%d+", journal: true},
		{calls: "fsync", how: "signal=SIGKILL:when=%d", journal: true, deadly: true},
		{calls: "fsync,fdatasync", how: "error=EIO:when=%d"},
		{calls: "write", how: "error=EIO:when=%d", journal: true},
		{calls: "write", how: "signal=SIGKILL:when=%d", journal: true, deadly: true},
		{calls: "fsync,write", how: "error=EINTR:when=%d", journal: true, harmless: true},
		{calls: "fsync,fdatasync", how: "signal=SIGKILL:when=%d", deadly: true},
		{calls: "pwrite64", how: "error=ENOSPC:when=%d+"},
		{calls: "rename,renameat,renameat2", how: "error=EROFS:when=%d"},
		{calls: "openat", how: "error=EIO:when=%d"},
	}
}

// TestKillNthFailureI01I03I04 makes the n-th write or fsync fail, or be the last: there is never a success without a durable
// record, never a permission after the journal has failed once, and the restart verifies. SALLYPORT_KILLS makes n go further.
func TestKillNthFailureI01I03I04(t *testing.T) {
	t.Parallel() // most of the time is waited for disks and starts
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed: it makes the system calls fail")
	}
	all, first, last := failures(), 1, kills(t)/25
	if last < 2 {
		all, first, last = all[:quick], 2, 2
	}
	w := newWorld(t, "", last*len(all))
	w.told.faulty = true
	c, _ := w.start(t)
	w.tokens(t)
	w.firstPush(t)
	c.stop(t)
	for _, f := range all {
		w.failUpTo(t, strace, f, first, last)
	}
	c, _ = w.start(t)
	w.finish(t, c)
	t.Logf("%d log entries, consistent with %d checkpoints; %d answers said that nothing could be served", len(w.book.leaves), len(w.kept), w.told.refused)
}

// TestKillEffectDoneRecordFailedI01 lets the log fail after the model server has acted: the client gets no success, and the
// log shows after the restart what was permitted, without an end.
func TestKillEffectDoneRecordFailedI01(t *testing.T) {
	t.Parallel() // most of the time is waited for disks and starts
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed: it makes the system calls fail")
	}
	w := newWorld(t, "", 0)
	w.told.faulty = true
	for round, stream := range []bool{false, true} {
		c, _ := w.start(t)
		w.tokens(t)
		if round == 0 {
			w.firstPush(t)
		}
		said, segment := make(chan string, 1), w.newestSegment(t)
		w.upstream.acting(func() { said <- c.fault(t, strace, segment) })
		body := fmt.Sprintf(`{"model":%q,"stream":%t,"messages":[{"role":"user","content":"x"}]}`, openModel, stream)
		r, err := w.send(t.Context(), ask{who: "ana", door: "openai", method: http.MethodPost, path: "/openai/v1/chat/completions", body: []byte(body)})
		if len(w.upstream.all()) != round+1 {
			t.Fatalf("the model server was not asked: %d %s, %v", r.status, r.body, err)
		}
		if first := <-said; !strings.Contains(first, "attached") {
			t.Skip("strace may not attach to a running process: " + first)
		}
		if err == nil && r.status < 500 {
			t.Errorf("stream %t: the end could not be recorded, and the client got %d and a whole answer: %s", stream, r.status, r.body)
		}
		w.upstream.acting(nil)
		c.kill(t)
		w.told.blocked = false
		c, _ = w.start(t)
		w.settle(t)
		asked := w.upstream.all()
		id := asked[len(asked)-1]
		if _, ended := w.book.completed[id]; w.book.decided[id] != "allow" || ended {
			t.Errorf("stream %t: the log has %q for what the model server did, and an end: %t", stream, w.book.decided[id], ended)
		}
		c.stop(t)
		w.verify(t)
	}
}

// fault makes every write to a file fail in the running server. It returns when that is so, with the first thing strace says.
func (c *child) fault(t *testing.T, strace, file string) string {
	pid := <-c.pid
	c.pid <- pid
	cmd := exec.CommandContext(t.Context(), strace, "-f", "-p", strconv.Itoa(pid), "-o", os.DevNull, "-P", file, "-e", "trace=write", "-e", "inject=write:error=EIO:when=1+")
	out, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err.Error()
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	first := lines.Text()
	go func() { // it ends with the server
		for lines.Scan() {
		}
		_ = cmd.Wait()
	}()
	return first
}

// failUpTo makes a failure happen at one n after another.
func (w *world) failUpTo(t *testing.T, strace string, f failure, first, last int) {
	t.Helper()
	reached, refusing := 0, 0
	for i := first; i <= last; i++ {
		n := i
		if !f.journal {
			n *= i // most of them come while it starts
		}
		switch w.fail(t, strace, f, n) {
		case survived:
			reached++
		case closed:
			reached, refusing = reached+1, refusing+1
		}
	}
	t.Logf("%s %s, journal only %t: %d of %d reached, after %d of them nothing was served", f.calls, f.how, f.journal, reached, last-first+1, refusing)
	switch {
	case reached == 0:
		t.Fatalf("%s %s: no failure was reached: the test showed nothing", f.calls, f.how)
	case f.harmless && refusing > 0, f.journal && !f.harmless && refusing != reached:
		t.Fatalf("%s %s: it happened %d times, and after %d of them nothing was served", f.calls, f.how, reached, refusing)
	}
}

// What came of a failure.
const (
	unreached = iota
	survived  // the server went on
	closed    // it did not start, it ended, or it served nothing any more
)

// fail runs the server into a failure under load, restarts it, and checks everything.
func (w *world) fail(t *testing.T, strace string, f failure, n int) int {
	t.Helper()
	what := fmt.Sprintf("%s "+f.how, f.calls, n)
	trace := filepath.Join(t.TempDir(), "trace")
	args := []string{strace, "-f", "-qq", "-o", trace, "-e", "trace=" + f.calls, "-e", "inject=" + f.calls + ":" + fmt.Sprintf(f.how, n)}
	if f.journal {
		args = append(args, "-P", w.newestSegment(t))
	}
	w.told.rotating, w.spare = &rotation{current: w.spare[0]}, w.spare[1:]
	c := w.spawn(t, args...)
	came := closed
	select {
	case <-c.ready:
		if !w.oneByOne(t, c, what) {
			came = survived
		}
	case <-c.ended: // a start may fail
	case <-time.After(10 * startLimit):
		t.Errorf("%s: the server neither starts nor ends", what)
	}
	ended := false
	select {
	case <-c.ended:
		ended = true
	default:
	}
	c.kill(t)
	w.told.blocked = false
	said := c.log.String()
	w.verify(t)
	c, _ = w.start(t)
	w.settle(t)
	if t.Failed() {
		t.Fatalf("%s: the server said, then and after the restart:\n%s\n%s", what, said, c.log.String())
	}
	c.kill(t)
	text, err := os.ReadFile(trace)
	must(t, err)
	if strings.Contains(string(text), "(INJECTED)") || f.deadly && ended {
		return came
	}
	return unreached
}

// oneByOne is a small fixed load: one request after the other, so that what follows a failure came after it. It reports
// whether nothing is served any more: the server ended, or its log is blocked, which it must then say by itself.
func (w *world) oneByOne(t *testing.T, c *child, what string) bool {
	t.Helper()
	w.http.CloseIdleConnections()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 4 {
		for _, work := range w.workers() {
			_ = work(ctx, random) // an answer that broke off is no answer
		}
	}
	if _, err := w.send(ctx, ask{path: "/healthz"}); err != nil {
		<-c.ended
		return true
	}
	if !w.told.isBlocked() {
		return false
	}
	if r, err := w.send(ctx, ask{path: "/readyz"}); err != nil || r.status != http.StatusServiceUnavailable || !strings.Contains(string(r.body), "audit blocked") {
		t.Errorf("%s: the log is blocked, and /readyz answers %v %d %s", what, err, r.status, r.body)
	}
	return true
}

// newestSegment is the file that the journal appends to.
func (w *world) newestSegment(t *testing.T) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(w.data, "trail", "journal", "*.journal"))
	must(t, err)
	if len(all) == 0 {
		t.Fatal("the journal has no segment")
	}
	return slices.Max(all)
}

// TestKillDiskFullI01I03 fills the disk under a running server: it refuses, loses nothing that it acknowledged, and goes on
// when there is room again.
func TestKillDiskFullI01I03(t *testing.T) {
	t.Parallel() // most of the time is waited for disks and starts
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=48m"); err != nil {
		t.Skipf("a disk of its own needs the right to mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w := newWorld(t, filepath.Join(disk, "data"), 4)
	w.told.faulty = true
	c, _ := w.start(t)
	w.tokens(t)
	w.firstPush(t)
	rounds := 1
	if kills(t) > 10 {
		rounds = 3
	}
	for round := range rounds {
		w.told.rotating, w.spare = &rotation{current: w.spare[0]}, w.spare[1:]
		filler := filepath.Join(disk, "filler")
		fill(t, filler, []int64{0, 64 << 10, 1 << 20}[round])
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		for seed := uint64(0); !w.told.isBlocked() && ctx.Err() == nil; seed++ {
			part, stop := context.WithTimeout(ctx, 200*time.Millisecond)
			w.load(part, seed)
			stop()
		}
		cancel()
		if !w.told.isBlocked() {
			t.Fatal("the disk is full, and the log is not blocked")
		}
		w.oneByOne(t, c, "disk full")
		c.kill(t)
		w.told.blocked = false
		must(t, os.Remove(filler))
		must(t, syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%dm", 64+16*round)))
		w.verify(t)
		said := c.log.String()
		c, _ = w.start(t)
		w.settle(t)
		if t.Failed() {
			t.Fatalf("the server said, then and after the restart:\n%s\n%s", said, c.log.String())
		}
	}
	w.finish(t, c)
	t.Logf("%d log entries, consistent with %d checkpoints; %d answers said that nothing could be served", len(w.book.leaves), len(w.kept), w.told.refused)
	if w.told.refused == 0 {
		t.Error("nothing was refused: the test showed nothing")
	}
}

// fill writes a file until the disk has only so many bytes left.
func fill(t *testing.T, path string, leave int64) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	block := make([]byte, 4096)
	var size int64
	for {
		n, err := f.Write(block)
		size += int64(n)
		if errors.Is(err, syscall.ENOSPC) {
			break
		}
		must(t, err)
	}
	must(t, f.Truncate(max(0, size-leave)))
}
