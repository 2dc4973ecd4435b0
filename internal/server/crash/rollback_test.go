package crash_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/internal/store/sqldb"
)

// TestKillRollbackI06 puts an older copy of the log back after a kill: the server has not been stopped cleanly since, and
// refuses to start on it all the same, because the store remembers what was signed.
func TestKillRollbackI06(t *testing.T) {
	t.Parallel() // most of the time is waited for disks and starts
	w := newWorld(t, "", 1)
	c, _ := w.start(t)
	w.tokens(t)
	w.firstPush(t)
	c.kill(t)
	old, now := filepath.Join(w.dir, "old"), filepath.Join(w.dir, "now")
	w.copyLog(t, w.data, old)
	before := w.verify(t)

	w.told.rotating = &rotation{current: w.spare[0]}
	for range 10 {
		c, _ = w.start(t)
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
		w.load(ctx, 1)
		stop()
		c.kill(t)
		if w.remembered(t) > before {
			break
		}
	}
	if n := w.remembered(t); n <= before {
		t.Fatalf("the log has %d entries, and the store remembers %d: an older copy with %d would be continued", w.verify(t), n, before)
	}
	w.copyLog(t, w.data, now)
	w.copyLog(t, old, w.data)
	c = w.spawn(t)
	select {
	case <-c.ready:
		t.Error("started on an older copy of the log")
	case <-c.ended:
		if c.err == nil || !strings.Contains(c.log.String(), "start: audit log") {
			t.Errorf("on an older copy of the log the server ends with %v:\n%s", c.err, c.log.String())
		}
	}
	c.kill(t)
	w.copyLog(t, now, w.data)
	c, _ = w.start(t)
	w.settle(t)
	w.finish(t, c)
}

// copyLog copies the log and its journal from one directory into another, in the place of those there.
func (w *world) copyLog(t *testing.T, from, to string) {
	t.Helper()
	for _, part := range []string{"log", "trail"} {
		must(t, os.RemoveAll(filepath.Join(to, part)))
		must(t, os.CopyFS(filepath.Join(to, part), os.DirFS(filepath.Join(from, part))))
	}
}

// remembered is the size of the log that the store remembers.
func (w *world) remembered(t *testing.T) uint64 {
	t.Helper()
	db, err := sqldb.Open(t.Context(), "sqlite:"+filepath.Join(w.data, "sallyport.db"))
	must(t, err)
	defer db.Close()
	origin, err := os.ReadFile(filepath.Join(w.data, "log.vkey"))
	must(t, err)
	name, _, _ := strings.Cut(string(origin), "+")
	signed, err := db.KeptCheckpoint(t.Context(), name)
	must(t, err)
	lines := strings.SplitN(string(signed), "\n", 3)
	if len(lines) < 3 {
		return 0
	}
	size, err := strconv.ParseUint(lines[1], 10, 64)
	must(t, err)
	return size
}
