package crash_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sallyport"
	"sallyport/internal/web/api"
)

// told is what clients were told in answers that came whole: all of it must hold after any crash.
type told struct {
	mu        sync.Mutex
	answers   map[string]answered // by decision
	notes     map[string]bool     // changes: "TYPE ID" as the log must have them
	pushed    []*pushing          // committed
	push      *pushing            // under way
	rotating  *rotation           // under way
	unchecked []*pushing          // committed since the last check
	holds     map[string]bool     // id to active; gone while a change is under way
	asked     map[string]string   // request to state; gone while a change is under way
	refused   int                 // answers that nothing could be served
	faulty    bool                // things fail on purpose: any refusal will do
	blocked   bool                // somebody was told that the log cannot be written
	problems  []string            // what no client may ever see
}

// answered is one whole answer of a gateway.
type answered struct {
	status int
	bytes  int64 // of the body; -1 where the record counts what came in, too
}

func newTold() told {
	return told{answers: map[string]answered{}, notes: map[string]bool{}, holds: map[string]bool{}, asked: map[string]string{}}
}

func (t *told) note(typ sallyport.EventType, id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notes[string(typ)+" "+id] = true
}

func (t *told) problem(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.problems = append(t.problems, fmt.Sprintf(format, args...))
}

// answer keeps an answer of a gateway and reports whether it has one of the statuses.
func (t *told) answer(what string, r reply, bytes int64, want ...int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.decision != "" {
		t.answers[r.decision] = answered{r.status, bytes}
	}
	switch {
	case slices.Contains(want, r.status):
		if r.decision == "" {
			t.problems = append(t.problems, what+": an answer without a decision")
		}
		return true
	case t.excused(r.status):
	default:
		t.problems = append(t.problems, fmt.Sprintf("%s: %d %.300s", what, r.status, r.body))
	}
	return false
}

// excused counts a refusal because nothing can be served, which is right while things fail on purpose.
func (t *told) excused(status int) bool {
	if !t.faulty || status < 500 {
		return false
	}
	t.refused++
	return true
}

func (t *told) excuses(status int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.excused(status)
}

func (t *told) block() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.blocked = true
}

func (t *told) isBlocked() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.blocked
}

// A worker does one thing that clients do. It returns an error when the server is gone.
type worker func(ctx context.Context, random *rand.Rand) error

// enough is how many requests and locks are made in a round, so that what is kept for good stays small.
const enough = 15

// workers are the mixed load.
func (w *world) workers() []worker {
	return []worker{w.infer, w.infer, w.ranges, w.pushes, w.grants, w.locks, w.rotations}
}

// load runs the workers until ctx ends or the server is gone; what is said afterwards was not said.
func (w *world) load(ctx context.Context, seed uint64) {
	var wg sync.WaitGroup
	for i, work := range w.workers() {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		wg.Go(func() {
			for ctx.Err() == nil {
				if work(ctx, random) != nil {
					return
				}
			}
		})
	}
	wg.Wait()
}

// infer asks the model, sometimes as a stream, and sometimes for what is not permitted.
func (w *world) infer(ctx context.Context, random *rand.Rand) error {
	model, want := openModel, http.StatusOK
	if random.IntN(5) == 0 {
		model, want = "acme/nothing", http.StatusNotFound
	}
	body := fmt.Sprintf(`{"model":%q,"stream":%t,"messages":[{"role":"user","content":"x"}]}`, model, random.IntN(3) == 0)
	r, err := w.send(ctx, ask{who: "ana", door: "openai", method: http.MethodPost, path: "/openai/v1/chat/completions", body: []byte(body)})
	if err != nil {
		return err
	}
	w.told.answer("infer "+model, r, int64(len(r.body)), want)
	return nil
}

// ranges reads a range of weights as Hugging Face clients do.
func (w *world) ranges(ctx context.Context, random *rand.Rand) error {
	f := w.first.files[0]
	from := random.IntN(len(f.bytes))
	to := min(len(f.bytes)-1, from+random.IntN(200_000))
	r, err := w.send(ctx, ask{who: "ana", door: "hf", path: "/hf/" + openModel + "/resolve/main/" + f.path, ranged: fmt.Sprintf("bytes=%d-%d", from, to)})
	if err != nil {
		return err
	}
	if w.told.answer("range", r, int64(len(r.body)), http.StatusPartialContent) && !bytes.Equal(r.body, f.bytes[from:to+1]) {
		w.told.problem("bytes %d to %d of %s are others than were pushed", from, to, f.path)
	}
	return nil
}

// A pushing is a version on its way into the vault.
type pushing struct {
	files   []file
	alias   string
	id      string // of the upload, once it was told
	version string // once it was told
}

type file struct {
	path  string
	bytes []byte
	have  int64 // as it was told
}

const (
	pieceBytes = 4 << 20
	pushBase   = "/vault/v1/" + openModel
)

func newPushing(weights int, alias string) *pushing {
	return &pushing{alias: alias, files: []file{{path: "model.safetensors", bytes: safetensors(weights)},
		{path: "config.json", bytes: []byte(fmt.Sprintf(`{"hidden_size":%d}`, rand.IntN(1<<30)))}}}
}

// pushes goes on with the push that a crash interrupted, or begins another one: now and then one of two pieces.
func (w *world) pushes(ctx context.Context, random *rand.Rand) error {
	if len(w.told.unchecked) >= 3 {
		return pause(ctx)
	}
	if w.told.push == nil {
		weights := 1 + random.IntN(100_000)
		if random.IntN(6) == 0 {
			weights += pieceBytes
		}
		w.told.push = newPushing(weights, "")
	}
	p := w.told.push
	done, err := w.advance(ctx, p)
	if err != nil {
		return err
	}
	if done {
		w.told.mu.Lock()
		w.told.pushed, w.told.unchecked, w.told.push = append(w.told.pushed, p), append(w.told.unchecked, p), nil
		w.told.mu.Unlock()
	}
	return nil
}

// advance begins a push, or begins it again, sends what is missing, and commits. It reports whether that was acknowledged.
func (w *world) advance(ctx context.Context, p *pushing) (bool, error) {
	if ok, err := w.begin(ctx, p); err != nil || !ok {
		return false, err
	}
	for i := range p.files {
		for f := &p.files[i]; f.have < int64(len(f.bytes)); {
			if ok, err := w.piece(ctx, p, f); err != nil || !ok {
				return false, err
			}
		}
	}
	var done struct{ Version, Digest string }
	r, err := w.vault(ctx, http.MethodPost, pushBase+"/uploads/"+p.id+"/commit", map[string]string{"alias": p.alias}, &done)
	if err != nil || !w.told.answer("commit", r, -1, http.StatusOK) {
		return false, err
	}
	p.version = done.Version
	return true, nil
}

// begin finds how far the server is. What it had acknowledged it must still have, unless the version was made.
func (w *world) begin(ctx context.Context, p *pushing) (bool, error) {
	type spec struct {
		Path   string   `json:"path"`
		Size   int64    `json:"size"`
		SHA256 string   `json:"sha256"`
		Blocks []string `json:"blocks"`
	}
	var in struct {
		Files []spec `json:"files"`
	}
	for _, f := range p.files {
		s := spec{Path: f.path, Size: int64(len(f.bytes)), SHA256: sum(f.bytes)}
		for block := range slices.Chunk(f.bytes, pieceBytes) {
			s.Blocks = append(s.Blocks, sum(block))
		}
		in.Files = append(in.Files, s)
	}
	var at struct {
		ID    string
		Files []struct {
			Path string
			Have int64
		}
	}
	r, err := w.vault(ctx, http.MethodPost, pushBase+"/uploads", in, &at)
	if err != nil || !w.told.answer("begin push", r, -1, http.StatusOK) {
		return false, err
	}
	for _, got := range at.Files {
		f := &p.files[slices.IndexFunc(p.files, func(f file) bool { return f.path == got.Path })]
		if p.id == at.ID && f.have == int64(len(f.bytes)) && got.Have != f.have {
			w.told.problem("push %s: %s was acknowledged whole, and the server has %d of %d bytes", p.id, f.path, got.Have, f.have)
		}
		f.have = got.Have
	}
	p.id = at.ID // another one when the crash came between the commit and its answer
	return true, nil
}

func (w *world) piece(ctx context.Context, p *pushing, f *file) (bool, error) {
	body := f.bytes[f.have:min(int64(len(f.bytes)), f.have+pieceBytes)]
	query := url.Values{"path": {f.path}, "offset": {strconv.FormatInt(f.have, 10)}}
	r, err := w.send(ctx, ask{who: "ana", door: "vault", method: http.MethodPut, path: pushBase + "/uploads/" + p.id + "/files?" + query.Encode(),
		body: body, kind: "application/octet-stream"})
	if err != nil || !w.told.answer("piece", r, -1, http.StatusOK) {
		return false, err
	}
	var said struct{ Have int64 }
	if err := json.Unmarshal(r.body, &said); err != nil || said.Have <= f.have {
		w.told.problem("a piece was taken and did not arrive: %s, %v", r.body, err)
		return false, nil
	}
	f.have = said.Have
	return true, nil
}

func (w *world) vault(ctx context.Context, method, path string, in, out any) (reply, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return reply{}, err
	}
	r, err := w.send(ctx, ask{who: "ana", door: "vault", method: method, path: path, body: body})
	if err == nil && r.status == http.StatusOK {
		err = json.Unmarshal(r.body, out)
	}
	return r, err
}

// govern is a call to the management API that changes something. It reports whether it was acknowledged.
func (w *world) govern(ctx context.Context, who, path string, in, out any) (bool, error) {
	r, err := w.api(ctx, who, http.MethodPost, path, in, out)
	switch {
	case err != nil:
		return false, err
	case w.told.excuses(r.status):
	case r.status != http.StatusOK && r.status != http.StatusConflict:
		w.told.problem("%s %s: %d %.300s", who, path, r.status, r.body)
	}
	return r.status == http.StatusOK, nil
}

// grants asks for a grant, and has it approved or denied.
func (w *world) grants(ctx context.Context, random *rand.Rand) error {
	if len(w.told.asked) >= enough {
		return pause(ctx)
	}
	model := secretModel(random.IntN(secrets))
	var asked api.Request
	ok, err := w.govern(ctx, "ana", "/requests?resource="+url.QueryEscape(model), api.Ask{Action: sallyport.ModelPull, Resource: model, For: "1s", Why: "to see it there"}, &asked)
	if err != nil || !ok {
		return err
	}
	w.told.note(sallyport.EventGrantRequested, asked.ID)
	w.told.mu.Lock()
	w.told.asked[asked.ID] = asked.State
	w.told.mu.Unlock()
	return w.vote(ctx, asked, random.IntN(2) == 0)
}

func (w *world) vote(ctx context.Context, asked api.Request, yes bool) error {
	w.told.mu.Lock()
	delete(w.told.asked, asked.ID) // until the answer comes the state may be either
	w.told.mu.Unlock()
	var voted api.Request
	ok, err := w.govern(ctx, "ravi", "/requests/"+asked.ID+"/vote?resource="+url.QueryEscape(asked.Resource), api.Vote{Yes: yes, Reason: "a vote", Hash: asked.Hash}, &voted)
	if err != nil || !ok {
		return err
	}
	if yes && voted.Grant == nil {
		w.told.problem("request %s was approved, and there is no grant", asked.ID)
	}
	w.told.note(sallyport.EventGrantVoted, asked.ID)
	w.told.mu.Lock()
	w.told.asked[asked.ID] = voted.State
	w.told.mu.Unlock()
	return nil
}

// locks places a hold and has somebody else lift it.
func (w *world) locks(ctx context.Context, random *rand.Rand) error {
	if len(w.told.holds) >= enough {
		return pause(ctx)
	}
	target := "model:" + lockedModel
	path := "/holds?resource=" + url.QueryEscape(lockedModel)
	var placed, lifted api.Hold
	ok, err := w.govern(ctx, "rita", path, api.Lock{Target: target, Why: "to see it there"}, &placed)
	if err != nil || !ok {
		return err
	}
	w.told.note(sallyport.EventHoldPlaced, placed.ID)
	if random.IntN(8) == 0 { // it stays until the next round has seen it
		w.told.mu.Lock()
		w.told.holds[placed.ID] = true
		w.told.mu.Unlock()
		return nil
	}
	ok, err = w.govern(ctx, "ravi", strings.Replace(path, "?", "/"+placed.ID+"/lift?", 1), api.Lock{Target: target, Why: "enough", Without: "the round goes on"}, &lifted)
	if err != nil || !ok {
		return err
	}
	w.told.note(sallyport.EventHoldLifted, placed.ID)
	w.told.mu.Lock()
	w.told.holds[placed.ID] = false
	w.told.mu.Unlock()
	return nil
}

// A rotation is one family of refresh tokens, used by one client, one after the other.
type rotation struct {
	old     string // the last one that was traded in
	current string // the last one that was told
	over    bool   // it is not known what became of the current one
}

// rotations trades a refresh token again and again.
func (w *world) rotations(ctx context.Context, _ *rand.Rand) error {
	f := w.told.rotating
	if f.over {
		return pause(ctx)
	}
	_, next, r, err := w.rotate(ctx, f.current, "api")
	switch {
	case err != nil:
		return err
	case w.told.excuses(r.status):
		f.over = true // the token may be used up all the same
	case r.status != http.StatusOK:
		w.told.problem("a refresh token that was told and not used: %d %s", r.status, r.body)
		f.over = true
	default:
		f.old, f.current = f.current, next
	}
	return nil
}

// firstPush gives the open model the version that everybody reads.
func (w *world) firstPush(t *testing.T) {
	t.Helper()
	p := newPushing(1<<20, "main")
	if done, err := w.advance(t.Context(), p); err != nil || !done {
		t.Fatalf("the first push: %t, %v, %v", done, err, w.told.problems)
	}
	w.first, w.told.pushed = p, append(w.told.pushed, p)
}
