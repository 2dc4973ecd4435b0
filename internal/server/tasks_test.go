package server

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/grant"
)

// AZ-15: what ends a lease asks no system: one that does not answer keeps nobody else's grants in force.
func TestNobodyWaitsForAnothersTask(t *testing.T) {
	var asked atomic.Int64
	lab := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte(`{"run":{"info":{"status":"FINISHED"}}}`))
	}))
	defer lab.Close()
	dir := t.TempDir()
	s, err := Start(t.Context(), Config{Listen: "127.0.0.1:0", Plaintext: true, Data: filepath.Join(dir, "data"), KeyFile: filepath.Join(dir, "keys", "kek"), Admin: "root", Organisation: "acme",
		Tasks: []TaskConnector{{Name: "lab", Kind: "mlflow", URL: lab.URL}}}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.http.Close(); err != nil {
		t.Fatal(err)
	}
	s.stop() // what follows is done by hand
	s.running.Wait()
	ctx, now := t.Context(), s.clock()
	for id, task := range map[string]string{"G-LEASE": "lease:train", "G-RUN": "mlflow:lab/r1", "G-GONE": "mlflow:elsewhere/r1"} {
		bound, err := grant.ParseTask(task)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.db.Grant().Insert(ctx, grant.Grant{ID: id, Request: "R" + id[1:], Principal: "user:ana", Person: "user:ana", Actions: []sallyport.Action{sallyport.ModelPull},
			Ref: sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "fraud"}, From: now.Add(-time.Minute), Until: now.Add(time.Hour), Why: "x", Task: bound,
			Seen: now.Add(-2 * grant.LeaseFor)}); err != nil {
			t.Fatal(err)
		}
	}
	ended := func(id string) bool {
		t.Helper()
		g, err := s.rooms.grants.Store.Get(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return !g.RevokedAt.IsZero()
	}
	if err := s.endTasks(ctx, unasked); err != nil {
		t.Fatal(err)
	}
	if !ended("G-LEASE") || !ended("G-GONE") || ended("G-RUN") || asked.Load() != 0 {
		t.Errorf("the lease ended %v, a task that nobody knows %v, a run %v; %d questions", ended("G-LEASE"), ended("G-GONE"), ended("G-RUN"), asked.Load())
	}
	if err := s.endTasks(ctx, "mlflow:lab"); err != nil {
		t.Fatal(err)
	}
	if !ended("G-RUN") || asked.Load() != 1 {
		t.Errorf("the run ended %v, %d questions", ended("G-RUN"), asked.Load())
	}
}
