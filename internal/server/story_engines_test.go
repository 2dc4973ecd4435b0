package server_test

import (
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sallyport/client"
	"sallyport/examples/acme"
	"sallyport/internal/authz/policy/engines"
	"sallyport/internal/web/api"
)

// AZ-3: while people call models and are refused weights, the rules change from Cedar to Rego and back, some times: no
// request is dropped or answered otherwise, and what each engine decided is made again by that engine.
func TestAZ3EnginesChangeUnderLoad(t *testing.T) {
	r := tell(t)
	old, err := r.As("adam").who.client.Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other, err := engines.Read(acme.Files, "rego")
	if err != nil {
		t.Fatal(err)
	}
	ana := r.As("ana")
	ana.Infer(base)
	ana.Want(allowed)
	byCedar := ana.last.decision
	ana.Pull(fraud)
	ana.Want(denied, "weights.restricted-need-a-grant")

	swaps := []api.Proposal{
		{Policies: other.Policies, Why: "in Rego"}, {Schema: old.Schema, Policies: maps.Clone(old.Policies), Why: "in Cedar again"},
	}
	var stop atomic.Bool
	var sent, wrong atomic.Int64
	var wg sync.WaitGroup
	defer func() { // also where the story ends early
		stop.Store(true)
		wg.Wait()
	}()
	load := func(q request, status int) {
		// The token is fetched before: a request is sent over and over as one program would.
		h := ana.build(t.Context(), q)
		wg.Go(func() {
			for !stop.Load() {
				again := h.Clone(t.Context())
				again.Body = io.NopCloser(strings.NewReader(q.body))
				a, err := r.wire.Do(again)
				if err != nil {
					wrong.Add(1)
					t.Errorf("%s: %v", q.path, err)
					return
				}
				text, err := io.ReadAll(a.Body)
				a.Body.Close()
				if sent.Add(1); err != nil || a.StatusCode != status {
					wrong.Add(1)
					t.Errorf("%s: status %d, error %v, want %d: %.300s", q.path, a.StatusCode, err, status, text)
					return
				}
			}
		})
	}
	load(chat(base, false, 1), http.StatusOK)
	load(request{door: client.Hub, path: hubFile(fraud, weights)}, http.StatusForbidden)
	var byRego string
	for i := range 4 {
		r.InForce(swaps[i%2])
		ana := r.As("ana")
		ana.Infer(base)
		ana.Want(allowed)
		ana.Pull(fraud)
		ana.Want(denied, "weights.restricted-need-a-grant")
		if i%2 == 0 {
			byRego = ana.last.decision
		}
	}
	stop.Store(true)
	wg.Wait()
	if sent.Load() < 8 || wrong.Load() > 0 {
		t.Errorf("%d requests, %d wrong", sent.Load(), wrong.Load())
	}
	t.Logf("%d requests while the engine changed 4 times", sent.Load())
	r.replayed(byCedar)
	r.replayed(byRego)
	if now, err := r.As("adam").who.client.Policy(t.Context()); err != nil || now.Version != old.Version {
		t.Errorf("in force is %s, was %s, error %v", now.Version, old.Version, err)
	}
}
