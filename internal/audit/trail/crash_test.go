package trail_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sallyport/internal/audit/tlog"
	"sallyport/internal/audit/trail"
	"sallyport/internal/audit/trail/tiles"
)

// TestMain turns the test binary into the process that gets killed when SALLYPORT_CRASH_DIR is set.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SALLYPORT_CRASH_DIR"); dir != "" {
		if err := crashChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, "crash child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// crashChild records from 16 goroutines and prints each acknowledgement as "seq body", until it is killed.
func crashChild(dir string) error {
	policy, err := tlog.ParsePolicy(os.Getenv("SALLYPORT_CRASH_VKEY"))
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(os.Getenv("SALLYPORT_CRASH_SKEY"))
	if err != nil {
		return err
	}
	tree, err := tiles.Open(context.Background(), filepath.Join(dir, "log"), signer, tiles.Options{CheckpointInterval: 100 * time.Millisecond})
	if err != nil {
		return err
	}
	at, err := strconv.ParseInt(os.Getenv("SALLYPORT_CRASH_AT"), 10, 64)
	if err != nil {
		return err
	}
	tr, err := trail.Open(context.Background(), tree, trail.Options{Dir: dir, Origin: origin, Policy: policy,
		SegmentBytes: 64 << 10, FeedEvery: 5 * time.Millisecond, Files: dying(at)})
	if err != nil {
		return err
	}
	fmt.Println("ready", tr.Size())
	var out sync.Mutex
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := 0; ; i++ {
				b := fmt.Sprintf(`{"pid":%d,"w":%d,"i":%d,"pad":%q}`, os.Getpid(), w, i, strings.Repeat("x", (w*i)%900))
				seq, err := tr.Record(context.Background(), []byte(b))
				out.Lock()
				if err != nil {
					fmt.Println("error", err)
				} else {
					fmt.Println(seq, b)
				}
				out.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// dying kills the process at the at-th write or fsync of the journal: before it, in the middle of a write, or after it.
func dying(at int64) trail.Files {
	if at == 0 {
		return trail.Files{}
	}
	var calls atomic.Int64
	die := func(n int64) {
		if calls.Load() == n {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	return trail.Files{
		Write: func(f *os.File, b []byte) (int, error) {
			if calls.Add(1) == at {
				f.Write(b[:len(b)*int(at%3)/2])
				die(at)
			}
			return f.Write(b)
		},
		Sync: func(f *os.File) error {
			if calls.Add(1) == at && at%2 == 0 {
				die(at)
			}
			err := f.Sync()
			die(at)
			return err
		},
	}
}

// crashes runs rounds of the child in one directory, each killed in some way, and checks the log after each.
type crashes struct {
	l     *log
	acked map[uint64]string
	kept  [][]byte    // every checkpoint seen after a round
	cut   bool        // the disk goes away under the child: it sees errors, and may end by itself
	off   atomic.Bool // the disk is going away: what is acknowledged from now on nobody can have heard
}

// round runs a child until it dies: by kill after it was ready, or by itself at the at-th write or fsync.
func (c *crashes) round(t *testing.T, at int, kill func(p *os.Process)) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SALLYPORT_CRASH_DIR="+c.l.dir, "SALLYPORT_CRASH_SKEY="+c.l.skey,
		"SALLYPORT_CRASH_VKEY="+c.l.vkey, "SALLYPORT_CRASH_AT="+strconv.Itoa(at))
	cmd.Stderr = t.Output()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		if word == "ready" {
			kill(cmd.Process)
			continue
		}
		seq, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			if !c.cut {
				t.Errorf("child: %s", lines.Text())
			}
			continue
		}
		if old, ok := c.acked[seq]; ok {
			t.Errorf("number %d was given twice: %s, %s", seq, old, rest)
		}
		if strings.HasSuffix(rest, "}") && !c.off.Load() { // else the line was cut by the kill
			c.acked[seq] = rest
		}
	}
	io.Copy(io.Discard, stdout)
	if err := cmd.Wait(); !c.cut && (err == nil || !strings.Contains(err.Error(), "signal: killed")) {
		t.Fatalf("child ended with %v", err)
	}
}

// check restarts the trail, and finds every acknowledged record in the log under its number, the log whole and consistent
// with every checkpoint kept before.
func (c *crashes) check(t *testing.T) {
	t.Helper()
	tr := c.l.mustOpen(t)
	defer tr.Close()
	entries := readAll(t, tr)
	for seq, body := range c.acked {
		want := fmt.Sprintf(`{"log":%q,"seq":%d,%s`, origin, seq, body[1:])
		if seq >= uint64(len(entries)) || string(entries[seq].Leaf) != want {
			t.Fatalf("acknowledged record %d of %d is lost or changed", seq, len(entries))
		}
	}
	if len(entries) > 0 {
		covered(t, tr)
	}
	signed, err := tr.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if report := c.l.verify(t, c.kept...); report.Size != uint64(len(entries)) || report.Earlier != len(c.kept) {
		t.Fatalf("the log has %d entries of %d, consistent with %d of %d checkpoints", report.Size, len(entries), report.Earlier, len(c.kept))
	}
	c.kept = append(c.kept, signed)
}

// rounds reads how many rounds to run; CI sets more than the default.
func rounds(t *testing.T, variable string, normally int) int {
	t.Helper()
	if s := os.Getenv(variable); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return normally
}

// JT1 (I-02, I-05): SIGKILL at random moments under load. SALLYPORT_KILLS sets how often.
func TestJT1KilledAtRandom(t *testing.T) {
	c := &crashes{l: newLog(t), acked: map[uint64]string{}}
	c.l.options.Logger = nil
	kills := rounds(t, "SALLYPORT_KILLS", 10)
	for range kills {
		c.round(t, 0, func(p *os.Process) {
			time.AfterFunc(time.Duration(rand.IntN(120_000))*time.Microsecond, func() { p.Kill() })
		})
		c.check(t)
	}
	t.Logf("%d kills, %d records acknowledged, none lost", kills, len(c.acked))
	if len(c.acked) == 0 {
		t.Error("nothing was acknowledged: the test showed nothing")
	}
}

// JT2: SIGKILL at the n-th write or fsync of the journal, n = 1, 2, … SALLYPORT_KILLS_AT sets how far.
func TestJT2KilledAtTheNthOperation(t *testing.T) {
	c := &crashes{l: newLog(t), acked: map[uint64]string{}}
	c.l.options.Logger = nil
	upTo := rounds(t, "SALLYPORT_KILLS_AT", 12)
	for n := 1; n <= upTo; n++ {
		c.round(t, n, func(*os.Process) {})
		c.check(t)
	}
	t.Logf("%d kills, %d records acknowledged, none lost", upTo, len(c.acked))
	if len(c.acked) == 0 {
		t.Error("nothing was acknowledged: the test showed nothing")
	}
}
