package crash_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/web/api"
	"sallyport/verify"
)

// A book is what the log was found to hold, read in order over the API.
type book struct {
	leaves    [][sha256.Size]byte // by index
	decided   map[string]string   // decision to outcome
	completed map[string]sallyport.Delivered
	notes     map[string]bool // "TYPE ID"
}

func newBook() book {
	return book{decided: map[string]string{}, completed: map[string]sallyport.Delivered{}, notes: map[string]bool{}}
}

// add reads one entry, which must be the next.
func (b *book) add(e api.Entry) error {
	l, err := sallyport.DecodeLogged(e.Leaf)
	if err != nil {
		return err
	}
	if e.Seq != uint64(len(b.leaves)) || l.Seq != e.Seq {
		return fmt.Errorf("entry %d of the log says it is %d, and was given as %d", len(b.leaves), l.Seq, e.Seq)
	}
	b.leaves = append(b.leaves, sha256.Sum256(e.Leaf))
	switch l.Type {
	case sallyport.EventDecided:
		if _, twice := b.decided[l.Decision]; twice {
			return fmt.Errorf("entry %d: decision %s stands in the log twice", l.Seq, l.Decision)
		}
		b.decided[l.Decision] = l.Outcome
	case sallyport.EventCompleted:
		b.completed[l.Decision] = *l.Delivered
	case sallyport.EventGrantRequested, sallyport.EventGrantVoted, sallyport.EventHoldPlaced, sallyport.EventHoldLifted:
		b.notes[string(l.Type)+" "+l.Detail["request"]+l.Detail["hold"]] = true
	}
	return nil
}

// read reads the log on, up to where it is now.
func (w *world) read(t *testing.T) {
	t.Helper()
	var head api.Head
	if r, err := w.api(t.Context(), "alba", http.MethodGet, "/log/head", nil, &head); err != nil || r.status != http.StatusOK {
		t.Fatalf("the log's head: %v %d %s", err, r.status, r.body)
	}
	for uint64(len(w.book.leaves)) < head.Size {
		var entries []api.Entry
		r, err := w.api(t.Context(), "alba", http.MethodGet, fmt.Sprintf("/log/entries?from=%d", len(w.book.leaves)), nil, &entries)
		if err != nil || r.status != http.StatusOK || len(entries) == 0 {
			t.Fatalf("entries from %d of %d: %v %d %.200s", len(w.book.leaves), head.Size, err, r.status, r.body)
		}
		for _, e := range entries {
			must(t, w.book.add(e))
		}
	}
}

// settle checks after a restart that everything that was acknowledged is there.
func (w *world) settle(t *testing.T) {
	t.Helper()
	w.tokens(t)
	w.read(t)
	w.checkAnswers(t)
	w.checkPushes(t, w.told.unchecked)
	w.told.unchecked = nil
	w.checkRotation(t)
	w.checkRequests(t)
	w.checkHolds(t)
	w.keepCheckpoint(t)
	for _, p := range w.told.problems {
		t.Error(p)
	}
	w.told.problems = nil
}

// checkAnswers: no effect without a decision, no success without a record of its end (I-01).
func (w *world) checkAnswers(t *testing.T) {
	t.Helper()
	for _, id := range w.upstream.all() {
		if w.book.decided[id] != "allow" {
			t.Errorf("the model server was asked under %q, of which the log says %q", id, w.book.decided[id])
		}
	}
	last := ""
	for id, told := range w.told.answers {
		outcome, ok := w.book.decided[id]
		end, completed := w.book.completed[id]
		switch success := told.status < 300; {
		case !ok:
			t.Errorf("decision %s was answered with %d and is not in the log", id, told.status)
		case success && (outcome != "allow" || !completed || end.End != "" || end.Status != told.status):
			t.Errorf("decision %s was answered with %d whole; the log has %s, completed %t: %+v", id, told.status, outcome, completed, end)
		case success && told.bytes >= 0 && end.Bytes != told.bytes:
			t.Errorf("decision %s: %d bytes came, and the log says %d", id, told.bytes, end.Bytes)
		case !success && told.status < 500 && outcome == "allow" && !completed:
			t.Errorf("decision %s was answered with %d under a permit without an end", id, told.status)
		}
		last = max(last, id)
	}
	for note := range w.told.notes {
		if !w.book.notes[note] {
			t.Errorf("acknowledged and not in the log: %s", note)
		}
	}
	if last != "" {
		w.checkIndex(t, last)
	}
	clear(w.told.answers)
	clear(w.told.notes)
}

// checkIndex: the search index has caught up with what the log held before the restart.
func (w *world) checkIndex(t *testing.T, decision string) {
	t.Helper()
	var found []api.Found
	r, err := w.api(t.Context(), "alba", http.MethodGet, "/log/search?decision="+decision, nil, &found)
	if err != nil || r.status != http.StatusOK || !slices.ContainsFunc(found, func(f api.Found) bool { return f.Type == sallyport.EventDecided }) {
		t.Errorf("the search index does not have decision %s: %v %d %s", decision, err, r.status, r.body)
	}
}

// checkPushes: acknowledged versions are there, byte for byte.
func (w *world) checkPushes(t *testing.T, pushed []*pushing) {
	t.Helper()
	for _, p := range pushed {
		for _, f := range p.files {
			r, err := w.send(t.Context(), ask{who: "ana", door: "vault", path: pushBase + "/versions/" + p.version + "/files/" + url.PathEscape(f.path)})
			if err != nil || r.status != http.StatusOK || !bytes.Equal(r.body, f.bytes) {
				t.Errorf("%s@%s %s was pushed and comes back as %d, %d bytes, %v", openModel, p.version, f.path, r.status, len(r.body), err)
			}
		}
	}
}

// checkRotation: the refresh token that was told last works, or the whole family is dead; what was traded in never works,
// and there are never two.
func (w *world) checkRotation(t *testing.T) {
	t.Helper()
	f := w.told.rotating
	w.told.rotating = nil
	if f == nil {
		return
	}
	use := func(refresh string) (next string, alive bool) {
		_, next, r, err := w.rotate(t.Context(), refresh, "api")
		if err != nil || r.status != http.StatusOK && !strings.Contains(string(r.body), "invalid_grant") {
			t.Errorf("a refresh token is answered with %v %d %s", err, r.status, r.body)
		}
		return next, r.status == http.StatusOK
	}
	next, alive := use(f.current)
	if f.old != "" {
		if _, again := use(f.old); again {
			t.Error("a refresh token that was traded in works again")
		}
	} else if alive {
		_, _ = use(f.current) // it is the one that was traded in now
	}
	for _, refresh := range []string{f.current, next} {
		if refresh == "" {
			continue
		}
		if _, again := use(refresh); again {
			t.Error("a family lives on after one of its used tokens was shown")
		}
	}
}

// checkRequests: requests and votes that were acknowledged stand; what is still open is answered, so that it does not pile up.
func (w *world) checkRequests(t *testing.T) {
	t.Helper()
	var mine, inbox []api.Request
	if r, err := w.api(t.Context(), "ana", http.MethodGet, "/requests?mine=true", nil, &mine); err != nil || r.status != http.StatusOK {
		t.Fatalf("ana's requests: %v %d %s", err, r.status, r.body)
	}
	for id, state := range w.told.asked {
		i := slices.IndexFunc(mine, func(r api.Request) bool { return r.ID == id })
		switch {
		case i < 0:
			t.Errorf("request %s was acknowledged and is lost", id)
		case mine[i].State != state || (state == "approved") != (mine[i].Grant != nil):
			t.Errorf("request %s was told to be %s, and is %s, grant %v", id, state, mine[i].State, mine[i].Grant)
		}
	}
	clear(w.told.asked)
	if r, err := w.api(t.Context(), "ravi", http.MethodGet, "/requests", nil, &inbox); err != nil || r.status != http.StatusOK {
		t.Fatalf("ravi's inbox: %v %d %s", err, r.status, r.body)
	}
	for _, open := range inbox {
		must(t, w.vote(t.Context(), open, false))
	}
	clear(w.told.asked)
}

// checkHolds: a lock that was acknowledged holds, and one that was lifted does not. Those that hold are lifted.
func (w *world) checkHolds(t *testing.T) {
	t.Helper()
	var holds []api.Hold
	if r, err := w.api(t.Context(), "alba", http.MethodGet, "/holds?target=model:"+lockedModel, nil, &holds); err != nil || r.status != http.StatusOK {
		t.Fatalf("holds: %v %d %s", err, r.status, r.body)
	}
	for id, active := range w.told.holds {
		i := slices.IndexFunc(holds, func(h api.Hold) bool { return h.ID == id })
		if i < 0 || holds[i].Active != active {
			t.Errorf("hold %s was acknowledged, active %t, and is not so in %d holds", id, active, len(holds))
		}
	}
	clear(w.told.holds)
	for _, h := range holds {
		if h.Active {
			_, err := w.govern(t.Context(), "ravi", "/holds/"+h.ID+"/lift?resource="+url.QueryEscape(lockedModel), api.Lock{Target: h.Target, Why: "seen"}, nil)
			must(t, err)
		}
	}
}

// keepCheckpoint keeps what the log has signed.
func (w *world) keepCheckpoint(t *testing.T) {
	t.Helper()
	r, err := w.send(t.Context(), ask{path: "/log/checkpoint"})
	if err != nil || r.status != http.StatusOK {
		t.Fatalf("checkpoint: %v %d %s", err, r.status, r.body)
	}
	if n := len(w.kept); n == 0 || !bytes.Equal(w.kept[n-1], r.body) {
		w.kept = append(w.kept, r.body)
	}
}

// verify verifies the log's files against every checkpoint that was kept (I-05). Each entry is the one that was read over
// the API. It returns how many entries the log's own checkpoint covers.
func (w *world) verify(t *testing.T) uint64 {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(w.data, "log.vkey"))
	must(t, err)
	report, err := verify.Log(context.WithoutCancel(t.Context()), verify.Dir(filepath.Join(w.data, "log")), strings.TrimSpace(string(key)),
		verify.Options{Earlier: w.kept, Each: func(index uint64, leaf []byte) error {
			if index < uint64(len(w.book.leaves)) && sha256.Sum256(leaf) != w.book.leaves[index] {
				return fmt.Errorf("entry %d is another than the API gave", index)
			}
			return nil
		}})
	if err != nil || report.Earlier != len(w.kept) || report.Checked != report.Size {
		t.Fatalf("the log does not verify, consistent with %d of %d checkpoints: %v", report.Earlier, len(w.kept), err)
	}
	return report.Size
}

// finish ends a crash test: everything that was ever pushed is there, the server stops cleanly, and the whole log verifies.
func (w *world) finish(t *testing.T, c *child) {
	t.Helper()
	w.checkPushes(t, w.told.pushed)
	w.read(t)
	c.stop(t)
	if size := w.verify(t); size < uint64(len(w.book.leaves)) {
		t.Errorf("the log that was closed covers %d of %d entries", size, len(w.book.leaves))
	}
}

// pause lets a worker that has done enough for a round wait.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(20 * time.Millisecond):
		return nil
	}
}
