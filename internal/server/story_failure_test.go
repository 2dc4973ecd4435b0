package server_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/server"
	"sallyport/internal/web/api"
)

// A disk can be told to be full.
type disk struct{ full atomic.Bool }

func (d *disk) files() trail.Files {
	return trail.Files{Write: func(f *os.File, b []byte) (int, error) {
		if d.full.Load() {
			return 0, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
		}
		return f.Write(b)
	}}
}

// What happens to one system when it is restarted, when its log cannot be written,
// and when its store is gone.
func TestFailures(t *testing.T) {
	d := &disk{}
	r := tellAnew(t, d.files())
	restart := func(t *testing.T) {
		t.Helper()
		if err := r.server.Close(); err != nil && !r.broken {
			t.Fatal(err)
		}
		if err := r.start(t.Context(), d.files()); err != nil {
			t.Fatal(err)
		}
		r.broken = false
	}
	for _, step := range []struct {
		name string
		do   func(t *testing.T, r *story, d *disk, restart func(*testing.T))
	}{
		{"RestartKeepsEverything", restartKeeps}, {"A31LogCannotBeWritten", logFull},
		{"I03StoreDown", storeDown}, {"I02AnotherDirectoryIsRefused", otherDirectory},
	} {
		t.Run(step.name, func(t *testing.T) {
			scene := *r.scene
			scene.t = t
			step.do(t, &story{scene: &scene}, d, restart)
		})
	}
}

// After a restart sessions, tokens, grants, holds, models, policy, log and search
// are as they were.
func restartKeeps(t *testing.T, r *story, _ *disk, restart func(*testing.T)) {
	r.As("rita").Approve(r.As("ana").Request(sallyport.ModelPull, fraud, "1h"))
	r.WantStatus(200)
	h := r.As("rita").Lock("user:tess")
	r.WantStatus(200)
	r.As("ana").Infer(keel)
	r.Want(denied)
	old := r.last.decision
	r.As("ana").Pull(fraud)
	r.Want(allowed)
	set, err := r.As("adam").who.client.Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	size := len(r.leaves())
	restart(t)
	r.As("ana").Pull(fraud) // with the token from before
	r.Want(allowed, "weights.granted")
	r.As("tess").Infer(keel)
	r.Want(held)
	if at, err := r.As("ana").who.open(t.Context(), r.server.External()+"/account"); err != nil || at.path != "/account" {
		t.Errorf("the browser is signed out: %s, %v", at.path, err)
	}
	r.replayed(old)
	if again, err := r.As("adam").who.client.Policy(t.Context()); err != nil || again.Version != set.Version {
		t.Errorf("the policy in force is %s, was %s, error %v", again.Version, set.Version, err)
	}
	if again := len(r.leaves()); again < size {
		t.Errorf("the log has %d entries, had %d", again, size)
	}
	r.verified(uint64(size))
	r.As("ravi").Unlock(h, "she is back")
	r.WantStatus(200)
}

// A-31, I-01, I-03: when the log cannot be written nothing is served, whatever its
// class; nothing reaches the upstream; and after a restart with room again all
// that was acknowledged is there.
func logFull(t *testing.T, r *story, d *disk, restart func(*testing.T)) {
	for _, name := range []string{"ana", "rita"} {
		for _, door := range client.Doors() {
			if _, err := r.As(name).who.token(t.Context(), door); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.As("ana").Infer(base)
	r.Want(allowed)
	last := r.last.decision
	before := len(r.up.requests())
	d.full.Store(true)
	defer d.full.Store(false)
	r.broken = true
	for _, q := range append(asks(base), asks(ghost)...) {
		r.As("ana").Send(q.how)
		r.WantStatus(503)
	}
	for _, q := range []request{
		{door: client.API, path: api.Version + "/whoami"},
		{door: client.API, path: api.Version + "/nothing"},
		{door: client.Hub, path: "/hf/nothing"},
		{path: "/nothing"},
		{door: client.API, method: http.MethodPost, path: api.Version + "/holds?resource=" + url.QueryEscape(base), body: `{"target":"model:acme/base","why":"x"}`},
	} {
		r.As("rita").Send(q)
		r.WantStatus(503)
	}
	if at, err := r.As("rita").who.open(t.Context(), r.server.External()+landing); err != nil || at.status != 503 || strings.Contains(at.text, `id="may"`) || !strings.Contains(at.text, "Try again in a minute") {
		t.Errorf("the page of what she may do answers %d on %s, error %v\n%s", at.status, at.path, err, at.text)
	}
	if status, body := r.refresh(r.As("ana").who.refreshToken()); status != 503 {
		t.Errorf("the token endpoint answers %d: %s", status, body)
	}
	r.Nobody().Send(request{path: "/readyz"})
	r.WantStatus(503)
	r.Nobody().Send(request{path: "/healthz"})
	r.WantStatus(200)
	if after := len(r.up.requests()); after != before {
		t.Errorf("%d requests reached the upstream unrecorded", after-before)
	}
	d.full.Store(false)
	r.As("ana").Infer(base)
	r.WantStatus(503) // a failed write is final: I-04
	restart(t)
	if err := r.As("ana").who.login(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.As("ana").Infer(base)
	r.Want(allowed)
	r.replayed(last)
}

// I-03: without the store the doors answer from what they know while it is young,
// then 503; sign-in and tokens 503 at once; never 401, never a right too many.
func storeDown(t *testing.T, r *story, _ *disk, restart func(*testing.T)) {
	for _, door := range client.Doors() {
		if _, err := r.As("ana").who.token(t.Context(), door); err != nil {
			t.Fatal(err)
		}
	}
	refresh := r.As("ana").who.refreshToken()
	form := func() page {
		at, err := r.As("ana").who.open(t.Context(), r.server.External()+"/login?return=%2Faccount")
		if err != nil {
			t.Fatal(err)
		}
		return at
	}()
	r.broken = true
	if err := r.server.CloseStore(); err != nil {
		t.Fatal(err)
	}
	if status, body := r.refresh(refresh); status != 503 {
		t.Errorf("the token endpoint answers %d: %s", status, body)
	}
	if at, err := r.As("ana").who.open(t.Context(), r.server.External()+"/account"); err != nil || at.status != 503 {
		t.Errorf("the account page answers %d on %s, error %v", at.status, at.path, err)
	}
	if at, err := r.As("ana").who.open(t.Context(), r.server.External()+landing); err != nil || at.status != 503 || strings.Contains(at.text, `id="may"`) {
		t.Errorf("the page of what she may do answers %d on %s, error %v", at.status, at.path, err)
	}
	if form.fields("/login") != nil {
		if at, err := r.As("ana").who.send(t.Context(), form, "/login", map[string]string{"username": "ana", "password": "x"}); err != nil || at.status != 503 {
			t.Errorf("signing in answers %d, error %v", at.status, err)
		}
	}
	r.As("ana").Send(request{door: client.API, method: http.MethodPost, path: api.Version + "/requests?resource=" + url.QueryEscape(fraud),
		body: `{"action":"model.export","resource":"acme/fraud","for":"1h","why":"x"}`})
	r.WantStatus(503)
	r.Nobody().Send(request{path: "/readyz"})
	r.WantStatus(503)

	r.clock.Add(6 * time.Second) // older than what may be known about restricted things
	r.As("ana").Infer(fraud)
	r.WantStatus(503)
	r.As("ana").Infer(base) // internal things may be a minute old
	if r.last.status != 200 && r.last.status != 503 {
		t.Errorf("an internal model: %d", r.last.status)
	}
	r.clock.Add(time.Minute)
	for _, q := range append(asks(base), asks(fraud)...) {
		r.As("ana").Send(q.how)
		if r.last.status != 503 && q.action != sallyport.ModelPull {
			t.Errorf("%s: %d, want 503", r.last.what, r.last.status)
		}
		if r.last.status < 300 || r.last.status == 401 {
			t.Errorf("%s: %d", r.last.what, r.last.status)
		}
	}
	restart(t)
	r.As("ana").Infer(fraud)
	r.Want(allowed)
}

// Another installation's log under this store, or another's keys, is refused at
// the start, never continued.
func otherDirectory(t *testing.T, r *story, _ *disk, restart func(*testing.T)) {
	other := r.config
	other.Listen = "127.0.0.1:0"
	other.KeyFile = filepath.Join(t.TempDir(), "kek.json")
	r.broken = true
	if err := r.server.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := server.Start(t.Context(), other, slog.New(slog.DiscardHandler))
	if err == nil {
		_ = s.Close()
		t.Error("started with keys that are not there")
	}
	logged := filepath.Join(r.config.Data, "log")
	kept := filepath.Join(t.TempDir(), "log")
	if err := errors.Join(os.CopyFS(kept, os.DirFS(logged)), os.RemoveAll(logged)); err != nil {
		t.Fatal(err)
	}
	if s, err := server.Start(t.Context(), r.config, slog.New(slog.DiscardHandler)); err == nil {
		_ = s.Close()
		t.Error("I-06: started without the log that the store remembers")
	}
	if err := errors.Join(os.RemoveAll(logged), os.CopyFS(logged, os.DirFS(kept))); err != nil {
		t.Fatal(err)
	}
	restart(t)
	r.As("ana").Infer(fraud)
	r.Want(allowed)
}
