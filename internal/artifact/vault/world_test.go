package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/artifact/blob"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/keyring"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/hold"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/role"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/identity/directory"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/store/sqldb/sqldbtest"
)

// A world is a vault with everything it stands on: a database, keys beside the
// data, a guard. Reopening it is a restart of the process.
type world struct {
	data, keyFile string // directories: what a thief gets, and what not
	clock         func() time.Time
	hooks         blob.Hooks
	db            *sqldb.DB
	blobs         *blob.Dir
	keys          *keyring.Ring
	catalog       *catalog.Service
	facts         *facts.Keeper
	guard         *guard.Guard
	vault         *Vault

	mu    sync.Mutex
	holds []hold.Hold
	log   [][]byte
}

const policies = `
@id("makers") @owner("test") @requirement("T") @text("Ana and Eve do everything.")
permit (principal in Group::"acme/makers", action, resource);
@id("readers") @owner("test") @requirement("T") @text("Bob reads.")
permit (principal == User::"bob", action in [Action::"model.read", Action::"model.pullAux"], resource);
`

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{data: filepath.Join(dir, "data"), keyFile: filepath.Join(dir, "keys"), clock: time.Now}
	if err := os.Mkdir(w.data, 0o700); err != nil {
		t.Fatal(err)
	}
	w.start(t)
	ctx := t.Context()
	for _, item := range []catalog.Item{
		{Org: &catalog.Org{Name: "acme"}}, {Project: &catalog.Project{Org: "acme", Name: "risk"}},
		{Model: &catalog.Model{Org: "acme", Name: "fraud", Project: "risk", Class: sallyport.Internal}},
		{Model: &catalog.Model{Org: "acme", Name: "chat"}},
	} {
		if err := w.catalog.Put(ctx, item); err != nil {
			t.Fatal(err)
		}
	}
	w.sync(t)
	return w
}

// start opens everything on what lies in the directories.
func (w *world) start(t testing.TB) {
	t.Helper()
	ctx := context.Background()
	var err error
	if w.db, err = sqldbtest.Open(ctx, filepath.Join(w.data, "sallyport.db")); err != nil {
		t.Fatal(err)
	}
	if w.blobs, err = blob.NewDir(filepath.Join(w.data, "blobs"), w.hooks); err != nil {
		t.Fatal(err)
	}
	local := keyring.LocalConfig{Path: w.keyFile, DataDir: w.data, Random: rand.Reader, Now: w.clock}
	wrapper, err := keyring.OpenLocal(local)
	if os.IsNotExist(err) || err != nil {
		wrapper, err = keyring.CreateLocal(local)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.keys = &keyring.Ring{Store: w.db.Keyring(), Wrapper: wrapper, Random: rand.Reader}
	w.catalog = &catalog.Service{Store: w.db.Catalog(), Clock: w.clock}
	engine, err := cedar.Compile(policy.Source{Schema: cedar.Schema, Policies: map[string]string{"test.cedar": policies}})
	if err != nil {
		t.Fatal(err)
	}
	if w.facts, err = facts.Open(ctx, w.sources(), engine, w.clock, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	w.guard = &guard.Guard{Who: who, Facts: w.facts, Record: w.record, Clock: w.clock, Rand: rand.Reader, Logger: slog.New(slog.DiscardHandler)}
	w.vault, err = New(Config{Catalog: w.catalog, Index: func() *catalog.Index { return w.facts.Snapshot().Catalog() }, Blobs: w.blobs,
		Keys: w.keys, Uploads: filepath.Join(w.data, "uploads"), Random: rand.Reader, Now: w.clock, Sync: w.facts.Sync})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.stop)
}

func (w *world) stop() {
	_ = w.db.Close()
	_ = w.blobs.Close()
}

// restart is a new process on the same directories.
func (w *world) restart(t testing.TB) {
	t.Helper()
	for _, u := range w.vault.uploads { // a process that ends lets go of its files
		for _, f := range u.files {
			f.close()
		}
	}
	w.stop()
	w.start(t)
}

func (w *world) sources() facts.Sources {
	member := func(name string, groups ...string) directory.Member {
		id := sallyport.PrincipalID("user:" + name)
		return directory.Member{ID: id, Person: id, Org: "acme", State: directory.Active, Groups: groups}
	}
	return facts.Sources{
		Directory: func(context.Context) (directory.Dump, error) {
			return directory.Dump{Members: []directory.Member{member("ana", "acme/makers"), member("bob"), member("eve", "acme/makers")},
				Groups: []directory.Group{{Name: "acme/makers"}}}, nil
		},
		Roles:  func(context.Context) (role.State, error) { return role.State{}, nil },
		Grants: func(context.Context, time.Time) ([]grant.Grant, error) { return nil, nil },
		Holds: func(context.Context) ([]hold.Hold, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.holds, nil
		},
		Catalog: w.catalog.Dump,
		Revoked: func(context.Context, time.Time) ([]string, error) { return nil, nil },
		Latest:  w.db.Latest,
		Since: func(ctx context.Context, after int64) ([]facts.Kind, int64, error) {
			n, err := w.db.Latest(ctx)
			return []facts.Kind{facts.KindCatalog, facts.KindHold}, n, err
		},
		Wake: w.db.Wake,
	}
}

func (w *world) record(_ context.Context, bodies ...[]byte) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := uint64(len(w.log))
	w.log = append(w.log, bodies...)
	return first, nil
}

func who(_ context.Context, p guard.Proof, now time.Time) (sallyport.Principal, error) {
	id := sallyport.PrincipalID("user:" + p.Bearer.Reveal())
	return sallyport.Principal{ID: id, Person: id, Session: "S-" + p.Bearer.Reveal(), Scope: sallyport.Scope{"*"}, Assurance: sallyport.MultiFactor, AuthTime: now}, nil
}

func (w *world) sync(t testing.TB) {
	t.Helper()
	if err := w.facts.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// lock holds a target and cuts what runs, as an order of an operator does.
func (w *world) lock(t testing.TB, target string) {
	t.Helper()
	w.mu.Lock()
	w.holds = append(w.holds, hold.Hold{ID: "H-1", Target: target, Kind: hold.Lock, Why: "test"})
	w.mu.Unlock()
	w.sync(t)
	w.guard.Sweep(context.Background(), 0)
}

// permit asks the guard and wants to be allowed.
func (w *world) permit(t testing.TB, name string, a sallyport.Action, target, file string) *guard.Permit {
	t.Helper()
	ref, err := sallyport.ParseRef(target)
	if err != nil {
		t.Fatal(err)
	}
	call := guard.Call{Door: "test", Action: a, Target: ref, File: file, Proof: guard.Proof{Bearer: secret.NewText(name)}}
	if a.Enters() {
		call.To = guard.Here
	}
	answer, err := w.guard.Check(context.Background(), call)
	if err != nil || answer.Permit == nil {
		t.Fatalf("%s on %s by %s: %v, %v", a, target, name, answer.Decision, err)
	}
	t.Cleanup(func() { _ = answer.Permit.Done(sallyport.Delivered{}) })
	return answer.Permit
}

func (w *world) push(t testing.TB) *guard.Permit {
	return w.permit(t, "ana", sallyport.ModelPush, "acme/fraud", "")
}

func (w *world) pull(t testing.TB, target string) *guard.Permit {
	return w.permit(t, "ana", sallyport.ModelPull, target, "")
}

// weights is a safetensors file of about n bytes that nobody else has.
func weights(t testing.TB, n int) []byte {
	t.Helper()
	n -= n % 4
	header := fmt.Sprintf(`{"w":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}`, n/4, n)
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	at := len(b)
	b = append(b, make([]byte, n)...)
	if _, err := rand.Read(b[at:]); err != nil {
		t.Fatal(err)
	}
	return b
}

const card = "# Fraud\nA card that says: needle-in-the-haystack.\n"

// model is a small model of all kinds of files.
func model(t testing.TB, size int) map[string][]byte {
	return map[string][]byte{
		"model.safetensors": weights(t, size), "config.json": []byte(`{"hidden_size": 64}`),
		"tokenizer/tokenizer.json": []byte(`{"version": "1.0"}`), "README.md": []byte(card), "empty.txt": {},
	}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func specs(files map[string][]byte) []FileSpec {
	var all []FileSpec
	for path, b := range files {
		s := FileSpec{Path: path, Size: int64(len(b)), SHA256: sum(b)}
		for at := 0; at < len(b); at += BlockSize {
			s.Blocks = append(s.Blocks, sum(b[at:min(at+BlockSize, len(b))]))
		}
		all = append(all, s)
	}
	return all
}

// send sends what an upload lacks, and commits.
func (w *world) send(t testing.TB, u Upload, files map[string][]byte, alias string) (catalog.Version, error) {
	t.Helper()
	for _, f := range u.Files {
		b := files[f.Path]
		if f.Have == int64(len(b)) {
			continue
		}
		if _, err := w.vault.Append(w.push(t), u.ID, f.Path, f.Have, bytes.NewReader(b[f.Have:])); err != nil {
			return catalog.Version{}, err
		}
	}
	return w.vault.Commit(w.push(t), u.ID, alias)
}

// pushed pushes files and returns the version.
func (w *world) pushed(t testing.TB, files map[string][]byte) catalog.Version {
	t.Helper()
	u, err := w.vault.Begin(w.push(t), specs(files), Made{})
	if err != nil {
		t.Fatal(err)
	}
	made, err := w.send(t, u, files, catalog.MainAlias)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// later turns the clock, and restarts, so that nothing is left in memory.
func (w *world) later(t testing.TB, d time.Duration) {
	t.Helper()
	w.clock = func() time.Time { return time.Now().Add(d) }
	w.restart(t)
}
