package sqldb_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/internal/authz/hold"
	"sallyport/internal/store/sqldb"
)

// TestKill kills a process that writes, at random moments, over and over on one
// file: what it had acknowledged is there, the feed names it, and the next
// process goes on (I-02). SALLYPORT_KILLS sets how often.
func TestKill(t *testing.T) {
	if path := os.Getenv("SALLYPORT_KILL_CHILD"); path != "" {
		writeUntilKilled(t, path)
		return
	}
	rounds := 4
	if s := os.Getenv("SALLYPORT_KILLS"); s != "" {
		var err error
		rounds, err = strconv.Atoi(s)
		must(t, err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d kills", seed, rounds)
	random := rand.New(rand.NewPCG(seed, 0))
	path := filepath.Join(t.TempDir(), "store.db")
	acknowledged := map[string]bool{}
	for range rounds {
		killWriter(t, path, 1+random.IntN(40), time.Duration(random.IntN(2000))*time.Microsecond, acknowledged)
		db, err := sqldb.Open(t.Context(), "sqlite:"+path)
		must(t, err)
		active, err := db.Hold().Active(t.Context(), 1_000_000)
		must(t, err)
		kept := map[string]bool{}
		for _, h := range active {
			kept[h.ID] = true
		}
		for id := range acknowledged {
			if !kept[id] {
				t.Errorf("%s was acknowledged and is lost", id)
			}
		}
		if newest, err := db.Latest(t.Context()); err != nil || newest != int64(len(active)) {
			t.Errorf("the feed is at %d, %v, with %d holds", newest, err, len(active))
		}
		must(t, db.Close())
	}
	t.Logf("%d writes acknowledged, all kept", len(acknowledged))
}

// killWriter starts a writer and kills it some time after its n-th acknowledgement.
func killWriter(t *testing.T, path string, n int, later time.Duration, acknowledged map[string]bool) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$")
	child.Env = append(os.Environ(), "SALLYPORT_KILL_CHILD="+path)
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		id, ok := strings.CutPrefix(lines.Text(), "kept ")
		if !ok {
			t.Errorf("the writer says %q", lines.Text())
			continue
		}
		acknowledged[id] = true
		if n--; n == 0 {
			time.AfterFunc(later, func() { child.Process.Kill() })
		}
	}
	if err := child.Wait(); err == nil || child.ProcessState.Exited() {
		t.Errorf("the writer ended by itself: %v", err)
	}
}

// writeUntilKilled says "kept ID" after each write that was acknowledged.
func writeUntilKilled(t *testing.T, path string) {
	db, err := sqldb.Open(t.Context(), "sqlite:"+path)
	must(t, err)
	for i := 0; ; i++ {
		id := fmt.Sprintf("H-%d-%d", os.Getpid(), i)
		h := hold.Hold{ID: id, Target: "org:acme", Kind: hold.Lock, Why: "x", By: "user:bob", ByPerson: "user:bob", At: time.Unix(1, 0)}
		must(t, db.Hold().Insert(t.Context(), h, 1_000_000))
		fmt.Println("kept " + id)
	}
}
