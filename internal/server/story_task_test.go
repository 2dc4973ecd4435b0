package server_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/server"
	"sallyport/internal/web/api"
)

// withTask asks for a grant that ends with a task, has it approved, and returns it.
func (r *story) withTask(task string) api.Grant {
	r.t.Helper()
	ana := r.As("ana").who.client
	x, err := ana.Ask(r.t.Context(), api.Ask{Action: sallyport.ModelPull, Resource: fraud, For: "30m", Why: "until the task is over", Task: task})
	if err != nil || x.Task != task {
		r.t.Fatalf("asked: %+v, %v", x, err)
	}
	after := r.As("rita").Approve(x)
	r.WantStatus(200)
	if after.Grant == nil {
		r.t.Fatalf("approved: %+v", after)
	}
	return *after.Grant
}

// gone waits for the end of ana's right and returns how long that took.
func (r *story) gone(began time.Time) time.Duration {
	r.t.Helper()
	for time.Since(began) < patience {
		if r.As("ana").Pull(fraud).last.status == http.StatusForbidden {
			return time.Since(began)
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.t.Fatal("the grant did not end")
	return 0
}

// AZ-15: a lease begins with its first renewal and ends, for good, when nobody renews it.
func TestGrantEndsWithItsLease(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	g := r.withTask("lease")
	r.As("ana").Pull(fraud)
	r.Want(denied) // approved, and not begun
	if _, err := r.As("eva").who.client.RenewGrant(t.Context(), g.ID); err == nil {
		t.Error("somebody else renews it")
	}
	ana := r.As("ana").who.client
	for range 5 { // longer than one lease; what each round takes by itself counts too, and stays far below one
		if _, err := ana.RenewGrant(t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		r.As("ana").Pull(fraud)
		r.Want(allowed, "weights.granted")
		r.Later(time.Second)
	}
	began := time.Now()
	r.Later(3 * time.Second) // four seconds without a renewal
	t.Logf("ended %s after it was noticed", r.gone(began).Round(time.Millisecond))
	if _, err := ana.RenewGrant(t.Context(), g.ID); err == nil {
		t.Error("a lease that ended is renewed")
	}
	if _, ok := r.found(func(e sallyport.Logged) bool { return e.Type == sallyport.EventGrantEnded && e.Detail["grant"] == g.ID }); !ok {
		t.Error("the end is not in the log")
	}
}

// AZ-15: a ticket that is closed ends what was granted for it; only its system can tell.
func TestGrantEndsWithItsTicket(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	key := bytes.Repeat([]byte("k"), 40)
	file := filepath.Join(t.TempDir(), "ticket.key")
	if err := os.WriteFile(file, key, 0o600); err != nil {
		t.Fatal(err)
	}
	r.restartWith(func() { r.config.Tasks = []server.TaskConnector{{Name: "desk", Kind: "ticket", KeyFile: file}} })
	if _, err := r.As("ana").who.client.Ask(t.Context(), api.Ask{Action: sallyport.ModelPull, Resource: fraud, For: "30m", Why: "w", Task: "ticket:nobody/OPS-1"}); err == nil {
		t.Error("a connector that is not there is taken")
	}
	r.withTask("ticket:desk/OPS-1")
	r.As("ana").Pull(fraud)
	r.Want(allowed, "weights.granted")
	id := "m-1"
	message := func(name, ticket, state string, key []byte, at time.Time) *http.Request {
		body := fmt.Sprintf(`{"ticket":%q,"state":%q}`, ticket, state)
		stamp := strconv.FormatInt(at.Unix(), 10)
		m := hmac.New(sha256.New, key)
		m.Write([]byte(id + "." + stamp + "." + body))
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.External()+"/hooks/tickets/"+name, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Webhook-Id", id)
		q.Header.Set("Webhook-Timestamp", stamp)
		q.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil)))
		return q
	}
	tell := func(name, ticket, state string, key []byte, at time.Time) int {
		a, err := r.wire.Do(message(name, ticket, state, key, at))
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		return a.StatusCode
	}
	now := r.clock.Now()
	for name, status := range map[string]int{
		"another key": tell("desk", "OPS-1", "closed", bytes.Repeat([]byte("x"), 40), now), "another system": tell("nobody", "OPS-1", "closed", key, now),
		"an old message": tell("desk", "OPS-1", "closed", key, now.Add(-time.Hour)),
	} {
		if status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, status)
		}
	}
	if s := tell("desk", "OPS-1", "in progress", key, now); s != http.StatusNoContent {
		t.Errorf("a ticket that goes on: %d", s)
	}
	if s := tell("desk", "OPS-2", "closed", key, now); s != http.StatusNoContent {
		t.Errorf("another ticket: %d", s)
	}
	r.As("ana").Pull(fraud)
	r.Want(allowed, "weights.granted")
	if s := tell("desk", "OPS-1", "closed", key, now); s != http.StatusNoContent {
		t.Errorf("a repeated message id: %d", s)
	}
	r.As("ana").Pull(fraud)
	r.Want(allowed, "weights.granted") // the message of that id was OPS-2's
	id = "m-2"
	hungUp, cancel := context.WithCancel(t.Context())
	cancel()
	failed := httptest.NewRecorder()
	q := message("desk", "OPS-1", "closed", key, now).WithContext(hungUp)
	q.SetPathValue("name", "desk")
	if r.server.TakeTicket(failed, q); failed.Code < 500 {
		t.Errorf("a message that could not be acted on: %d", failed.Code)
	}
	r.As("ana").Pull(fraud)
	r.Want(allowed, "weights.granted")
	if s := tell("desk", "OPS-1", "closed", key, now); s != http.StatusNoContent {
		t.Errorf("its own closing: %d", s)
	}
	r.As("ana").Pull(fraud)
	r.Want(denied)
}

// AZ-15: a run of a real MLflow server that finishes ends what was granted for it, within five seconds.
func TestGrantEndsWithItsMLflowRun(t *testing.T) {
	mlflow := os.Getenv("SALLYPORT_TEST_MLFLOW")
	if mlflow == "" {
		t.Skip("no MLflow server: set SALLYPORT_TEST_MLFLOW to the mlflow program")
	}
	at := serveMLflow(t, mlflow)
	call := func(method, path string, in, out any) {
		t.Helper()
		var body bytes.Buffer
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			t.Fatal(err)
		}
		q, err := http.NewRequestWithContext(t.Context(), method, at+"/api/2.0/mlflow"+path, &body)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", "application/json")
		a, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		if a.StatusCode != http.StatusOK || json.NewDecoder(a.Body).Decode(out) != nil {
			t.Fatalf("%s answers %d", path, a.StatusCode)
		}
	}
	var run struct {
		Run struct {
			Info struct {
				ID string `json:"run_id"`
			} `json:"info"`
		} `json:"run"`
	}
	call(http.MethodPost, "/runs/create", map[string]any{"experiment_id": "0", "start_time": time.Now().UnixMilli()}, &run)
	r := tellAnew(t, trail.Files{})
	r.restartWith(func() { r.config.Tasks = []server.TaskConnector{{Name: "lab", Kind: "mlflow", URL: at}} })
	r.withTask("mlflow:lab/" + run.Run.Info.ID)
	for range 4 {
		r.As("ana").Pull(fraud)
		r.Want(allowed, "weights.granted")
		time.Sleep(time.Second)
	}
	call(http.MethodPost, "/runs/update", map[string]any{"run_id": run.Run.Info.ID, "status": "FINISHED", "end_time": time.Now().UnixMilli()}, &struct{}{})
	t.Logf("the grant ended %s after the run", r.gone(time.Now()).Round(10*time.Millisecond))
}

// serveMLflow starts a real server on a free port and returns its address.
func serveMLflow(t *testing.T, program string) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "server", "--host", "127.0.0.1", "--port", port, "--workers", "1", "--backend-store-uri", filepath.Join(dir, "runs"), "--default-artifact-root", filepath.Join(dir, "artifacts"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, t.Output(), t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its workers end with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); _ = cmd.Wait() }) // it was killed: that is no news
	at := "http://" + address
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if a, err := http.Get(at + "/health"); err == nil {
			a.Body.Close()
			if a.StatusCode == http.StatusOK {
				return at
			}
		}
	}
	t.Fatal("MLflow did not start")
	return ""
}
