package vault

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/artifact/catalog"
)

// TestKillPush kills a process that pushes one model after the other, at random
// moments, over and over on the same directories: every version that it told of
// is there with the right bytes, every version that is there is whole, and the
// next process goes on. SALLYPORT_KILLS sets how often.
func TestKillPush(t *testing.T) {
	if dir := os.Getenv("SALLYPORT_KILL_CHILD"); dir != "" {
		pushUntilKilled(t, dir)
		return
	}
	rounds := 4
	if s := os.Getenv("SALLYPORT_KILLS"); s != "" {
		var err error
		if rounds, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d kills", seed, rounds)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t)
	told := map[string]string{} // number -> what was pushed
	for range rounds {
		w.stop()
		killPusher(t, w, time.Duration(random.IntN(600_000))*time.Microsecond, told)
		w.start(t)
		if d, err := w.catalog.Dump(t.Context()); err != nil || len(d.Versions) < len(told) {
			t.Fatalf("%d versions, %v, want at least %d", len(d.Versions), err, len(told))
		} else {
			w.wantWhole(t, d.Versions, told)
		}
		if err := w.vault.Sweep(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if rounds >= 50 && len(told) == 0 {
		t.Error("nothing was pushed: the test proves nothing")
	}
	t.Logf("%d pushes acknowledged, all kept", len(told))
}

// wantWhole reads the newest versions; all others were read in rounds before.
func (w *world) wantWhole(t *testing.T, versions []catalog.Version, told map[string]string) {
	t.Helper()
	there := map[string]bool{}
	for i, v := range versions {
		there[v.Number] = true
		if i < len(versions)-8 {
			continue
		}
		p := w.pull(t, "acme/fraud@"+v.Number)
		name, err := w.read(p, "README.md")
		if err != nil {
			t.Fatalf("%s: %v", v.Number, err)
		}
		if want, ok := told[v.Number]; ok && want != string(name) {
			t.Errorf("%s holds %q, want %q", v.Number, name, want)
		}
		n, err := strconv.Atoi(strings.TrimPrefix(string(name), "model "))
		if err != nil {
			t.Fatal(err)
		}
		w.wantModel(t, "acme/fraud@"+v.Number, numbered(n))
		if err := p.Done(sallyport.Delivered{}); err != nil {
			t.Error(err)
		}
	}
	for number := range told {
		if !there[number] {
			t.Errorf("%s was acknowledged and is lost", number)
		}
	}
}

// numbered is the n-th model: weights of up to two blocks, and its name.
func numbered(n int) map[string][]byte {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	size := (1 + random.IntN(BlockSize/2)) * 4
	header := fmt.Sprintf(`{"w":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}`, size/4, size)
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	for range size / 4 {
		b = binary.LittleEndian.AppendUint32(b, random.Uint32())
	}
	return map[string][]byte{"model.safetensors": b, "README.md": fmt.Appendf(nil, "model %d", n)}
}

// killPusher runs a pusher for a while and notes what it tells.
func killPusher(t *testing.T, w *world, after time.Duration, told map[string]string) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestKillPush$", "-test.v")
	child.Env = append(os.Environ(), "SALLYPORT_KILL_CHILD="+w.data+":"+w.keyFile+":"+strconv.Itoa(len(told)))
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var killed *time.Timer
	for lines.Scan() {
		var number string
		var n int
		if lines.Text() == "ready" {
			killed = time.AfterFunc(after, func() { _ = child.Process.Kill() })
		} else if k, _ := fmt.Sscanf(lines.Text(), "pushed %s model %d", &number, &n); k == 2 {
			told[number] = fmt.Sprintf("model %d", n)
		} else if strings.Contains(lines.Text(), "FAIL") {
			t.Error(lines.Text())
		}
	}
	if killed == nil {
		t.Fatal("the pusher never began")
	}
	killed.Stop()
	_ = child.Wait() // it was killed
}

// pushUntilKilled is the child: it goes on with what an earlier one left.
func pushUntilKilled(t *testing.T, where string) {
	part := strings.Split(where, ":")
	w := &world{data: part[0], keyFile: part[1], clock: time.Now}
	first, err := strconv.Atoi(part[2])
	if err != nil {
		t.Fatal(err)
	}
	w.start(t)
	fmt.Println("ready")
	for n := first; context.Background().Err() == nil; n++ {
		files := numbered(n)
		u, err := w.vault.Begin(w.push(t), specs(files), Made{})
		if err != nil {
			t.Fatal(err)
		}
		made, err := w.send(t, u, files, "main")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("pushed %s model %d\n", made.Number, n)
	}
}
