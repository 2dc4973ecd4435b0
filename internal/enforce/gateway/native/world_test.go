package native

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/artifact/blob"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/keyring"
	"sallyport/internal/artifact/vault"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/hold"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/role"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/identity/directory"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/store/sqldb/sqldbtest"
	"sallyport/internal/web/api"
)

const policies = `
@id("ana") @owner("test") @requirement("T") @text("Ana does everything.")
permit (principal == User::"ana", action, resource);
@id("bob") @owner("test") @requirement("T") @text("Bob reads.")
permit (principal == User::"bob", action in [Action::"model.read", Action::"model.pullAux"], resource);
@id("proof") @owner("test") @requirement("T") @text("Restricted weights need a second factor.") @outcome("step-up") @needs("aal2")
forbid (principal, action == Action::"model.pull", resource) when { resource.class == "restricted" && context.assurance < 2 };
@id("small") @owner("test") @requirement("T") @text("Sue pushes a little.") @obligation("limit-bytes=100000")
permit (principal == User::"sue", action == Action::"model.push", resource);
`

// A world is the door over a real vault, guard and database.
type world struct {
	server  *httptest.Server
	catalog *catalog.Service
	facts   *facts.Keeper
	guard   *guard.Guard

	mu    sync.Mutex
	holds []hold.Hold
	log   []sallyport.Event
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	must(t, os.Mkdir(data, 0o700))
	db, err := sqldbtest.Open(t.Context(), filepath.Join(data, "store.db"))
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	blobs, err := blob.NewDir(filepath.Join(data, "blobs"), blob.Hooks{})
	must(t, err)
	wrapper, err := keyring.CreateLocal(keyring.LocalConfig{Path: filepath.Join(dir, "keys"), DataDir: data, Random: rand.Reader, Now: time.Now})
	must(t, err)
	w := &world{catalog: &catalog.Service{Store: db.Catalog(), Clock: time.Now}}
	engine, err := cedar.Compile(policy.Source{Schema: cedar.Schema, Policies: map[string]string{"test.cedar": policies}})
	must(t, err)
	discard := slog.New(slog.DiscardHandler)
	w.facts, err = facts.Open(t.Context(), w.sources(db), engine, time.Now, discard)
	must(t, err)
	w.guard = &guard.Guard{Who: who, Facts: w.facts, Record: w.record, Clock: time.Now, Rand: rand.Reader, Logger: discard}
	v, err := vault.New(vault.Config{Catalog: w.catalog, Index: func() *catalog.Index { return w.facts.Snapshot().Catalog() }, Blobs: blobs,
		Keys:    &keyring.Ring{Store: db.Keyring(), Wrapper: wrapper, Random: rand.Reader},
		Uploads: filepath.Join(data, "uploads"), Random: rand.Reader, Now: time.Now, Sync: w.facts.Sync})
	must(t, err)
	dialect, err := New(v, w.guard)
	must(t, err)
	w.server = httptest.NewServer(gateway.New(gateway.Door{Protocol: dialect, Guard: w.guard, Prefix: "/vault", Audience: "here", Help: "here", Logger: discard}, 100))
	t.Cleanup(w.server.Close)
	for _, item := range []catalog.Item{
		{Org: &catalog.Org{Name: "acme"}}, {Model: &catalog.Model{Org: "acme", Name: "fraud", Class: sallyport.Internal}},
		{Model: &catalog.Model{Org: "acme", Name: "secret"}},
	} {
		must(t, w.catalog.Put(t.Context(), item))
	}
	must(t, w.facts.Sync(t.Context()))
	return w
}

func (w *world) sources(db *sqldb.DB) facts.Sources {
	members := []directory.Member{}
	for _, name := range []string{"ana", "bob", "sue", "eve"} {
		id := sallyport.PrincipalID("user:" + name)
		members = append(members, directory.Member{ID: id, Person: id, Org: "acme", State: directory.Active})
	}
	return facts.Sources{
		Directory: func(context.Context) (directory.Dump, error) { return directory.Dump{Members: members}, nil },
		Roles:     func(context.Context) (role.State, error) { return role.State{}, nil },
		Grants:    func(context.Context, time.Time) ([]grant.Grant, error) { return nil, nil },
		Holds: func(context.Context) ([]hold.Hold, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.holds, nil
		},
		Catalog: w.catalog.Dump,
		Revoked: func(context.Context, time.Time) ([]string, error) { return nil, nil },
		Latest:  db.Latest,
		Since: func(ctx context.Context, after int64) ([]facts.Kind, int64, error) {
			n, err := db.Latest(ctx)
			return []facts.Kind{facts.KindCatalog, facts.KindHold}, n, err
		},
		Wake: db.Wake,
	}
}

func (w *world) record(_ context.Context, bodies ...[]byte) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range bodies {
		var e sallyport.Event
		if err := json.Unmarshal(b, &e); err != nil {
			return 0, err
		}
		w.log = append(w.log, e)
	}
	return uint64(len(w.log)), nil
}

// completed returns what the last call is recorded to have delivered.
func (w *world) completed(t testing.TB) sallyport.Delivered {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.log) - 1; i >= 0; i-- {
		if w.log[i].Type == sallyport.EventCompleted {
			return *w.log[i].Delivered
		}
	}
	t.Fatal("nothing completed is recorded")
	return sallyport.Delivered{}
}

// who proves a bearer of the form NAME, or NAME+ with a second factor.
func who(_ context.Context, p guard.Proof, now time.Time) (sallyport.Principal, error) {
	name, strong := strings.CutSuffix(p.Bearer.Reveal(), "+")
	if name == "" || name == "nobody" {
		return sallyport.Principal{}, sallyport.E("sign in", sallyport.Unknown, "no valid token", "sign in")
	}
	id := sallyport.PrincipalID("user:" + name)
	x := sallyport.Principal{ID: id, Person: id, Session: "S-" + name, Scope: sallyport.Scope{"*"}, Assurance: sallyport.SingleFactor, AuthTime: now}
	if strong {
		x.Assurance = sallyport.MultiFactor
	}
	return x, nil
}

// An answered request.
type answered struct {
	*http.Response
	body []byte
}

func (w *world) do(t testing.TB, name, method, path string, body io.Reader, header ...string) answered {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.server.URL+"/vault"+path, body)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+name)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	a, err := w.server.Client().Do(r)
	must(t, err)
	defer a.Body.Close()
	got, err := io.ReadAll(a.Body)
	must(t, err)
	return answered{a, got}
}

// want checks the status and reads the answer.
func (a answered) want(t testing.TB, status int, into any) {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s = %d, want %d: %s", a.Request.Method, a.Request.URL.Path, a.StatusCode, status, a.body)
	}
	if into != nil {
		must(t, json.Unmarshal(a.body, into))
	}
}

// refused checks that the answer is an api.Error and returns it.
func (a answered) refused(t testing.TB, status int) api.Error {
	t.Helper()
	var e api.Error
	a.want(t, status, &e)
	if e.Status != status || e.Message == "" || e.Kind == "" || a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %s: %s", a.Request.Method, a.Request.URL.Path, a.body)
	}
	return e
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func weights(t testing.TB, n int) []byte {
	t.Helper()
	header := fmt.Sprintf(`{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}`, n, n)
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	at := len(b)
	b = append(b, make([]byte, n)...)
	_, err := rand.Read(b[at:])
	must(t, err)
	return b
}

func declare(files map[string][]byte) io.Reader {
	var specs []vault.FileSpec
	for path, b := range files {
		s := vault.FileSpec{Path: path, Size: int64(len(b)), SHA256: sum(b)}
		for at := 0; at < len(b); at += vault.BlockSize {
			s.Blocks = append(s.Blocks, sum(b[at:min(at+vault.BlockSize, len(b))]))
		}
		specs = append(specs, s)
	}
	raw, err := json.Marshal(map[string]any{"files": specs})
	if err != nil {
		panic(err) // cannot happen: strings and numbers
	}
	return bytes.NewReader(raw)
}

// pushed pushes files as Ana and returns the version's number.
func (w *world) pushed(t testing.TB, model string, files map[string][]byte) (number, digest string) {
	t.Helper()
	var u vault.Upload
	w.do(t, "ana", "POST", "/v1/acme/"+model+"/uploads", declare(files)).want(t, 200, &u)
	for _, f := range u.Files {
		for have := f.Have; have < int64(len(files[f.Path])); {
			piece := files[f.Path][have:min(have+MaxPiece, int64(len(files[f.Path])))]
			var said struct{ Have int64 }
			w.do(t, "ana", "PUT", fmt.Sprintf("/v1/acme/%s/uploads/%s/files?path=%s&offset=%d", model, u.ID, f.Path, have), bytes.NewReader(piece)).want(t, 200, &said)
			if said.Have != have+int64(len(piece)) {
				t.Fatalf("%s: have %d", f.Path, said.Have)
			}
			if d := w.completed(t); d.Bytes < int64(len(piece)) || d.Bytes > int64(len(piece))+100 {
				t.Errorf("%d bytes are recorded of a piece of %d", d.Bytes, len(piece))
			}
			have = said.Have
		}
	}
	var made struct{ Version, Digest string }
	w.do(t, "ana", "POST", "/v1/acme/"+model+"/uploads/"+u.ID+"/commit", strings.NewReader(`{"alias":"main"}`)).want(t, 200, &made)
	return made.Version, made.Digest
}
