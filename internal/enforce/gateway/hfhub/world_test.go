package hfhub

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/artifact/blob"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/keyring"
	"sallyport/internal/artifact/vault"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/store/sqldb/sqldbtest"
)

const base = "https://gate.test/hf"

// A site is the hub with a real guard, over a real vault.
type site struct {
	*guardtest.World
	hub     *Hub
	vault   *vault.Vault
	catalog *catalog.Service
	addr    string
	files   map[string][]byte // of acme/open@v1
	version catalog.Version
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{World: guardtest.New(t)}
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	db := must[*sqldb.DB](t)(sqldbtest.Open(t.Context(), filepath.Join(data, "sallyport.db")))
	blobs := must[*blob.Dir](t)(blob.NewDir(filepath.Join(data, "blobs"), blob.Hooks{}))
	t.Cleanup(func() { _ = blobs.Close(); _ = db.Close() })
	wrapper := must[*keyring.Local](t)(keyring.CreateLocal(keyring.LocalConfig{Path: filepath.Join(dir, "keys"), DataDir: data, Random: rand.Reader, Now: time.Now}))
	s.catalog = &catalog.Service{Store: db.Catalog(), Clock: time.Now}
	s.vault = must[*vault.Vault](t)(vault.New(vault.Config{Catalog: s.catalog, Index: func() *catalog.Index { return s.Facts.Snapshot().Catalog() }, Blobs: blobs,
		Keys: &keyring.Ring{Store: db.Keyring(), Wrapper: wrapper, Random: rand.Reader}, Uploads: filepath.Join(data, "uploads"), Random: rand.Reader, Now: time.Now, Sync: s.sync}))
	for _, item := range []catalog.Item{
		{Org: &catalog.Org{Name: "acme"}}, {Project: &catalog.Project{Org: "acme", Name: "lab"}},
		{Model: &catalog.Model{Org: "acme", Name: "open", Project: "lab", Class: sallyport.Internal}},
		{Model: &catalog.Model{Org: "acme", Name: "empty", Project: "lab", Class: sallyport.Internal}},
	} {
		if err := s.catalog.Put(t.Context(), item); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.files = map[string][]byte{
		"model.safetensors": weights(2 << 20), "config.json": []byte(`{"hidden_size": 64}`), "tokenizer.json": []byte(`{"version": "1.0"}`),
		"README.md": []byte("# open\n\nA card.\n"), "onnx/sub/weights.safetensors": weights(100),
	}
	s.version = s.push(t, s.files)
	s.listen(t)
	return s
}

// sync brings the vault's catalog into the facts.
func (s *site) sync(ctx context.Context) error {
	d, err := s.catalog.Dump(ctx)
	if err == nil {
		s.Catalog(func(c *catalog.Dump) { *c = d })
	}
	return err
}

func (s *site) listen(t testing.TB) {
	s.hub = must[*Hub](t)(New(s.vault, s.Guard, base))
	logger := slog.New(slog.DiscardHandler)
	mux := http.NewServeMux()
	mux.Handle("/hf/", gateway.New(gateway.Door{Protocol: s.hub, Guard: s.Guard, Prefix: "/hf", Audience: base, Logger: logger}, 64))
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	server := httpsafe.Server(mux, nil, logger)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	s.addr = l.Addr().String()
}

// push adds a version of acme/open and makes it main.
func (s *site) push(t testing.TB, files map[string][]byte) catalog.Version {
	t.Helper()
	permit := func() *guard.Permit {
		a := must[guard.Answer](t)(s.Guard.Check(t.Context(), guard.Call{Door: "test", Action: sallyport.ModelPush, Target: sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "open"},
			Proof: guard.Proof{Bearer: secret.NewText(token("pia")), Audience: base}}))
		if a.Permit == nil {
			t.Fatalf("%+v", a.Decision)
		}
		t.Cleanup(func() { _ = a.Permit.Done(sallyport.Delivered{}) })
		return a.Permit
	}
	var specs []vault.FileSpec
	for path, b := range files {
		spec := vault.FileSpec{Path: path, Size: int64(len(b)), SHA256: sum(b)}
		for at := 0; at < len(b); at += vault.BlockSize {
			spec.Blocks = append(spec.Blocks, sum(b[at:min(at+vault.BlockSize, len(b))]))
		}
		specs = append(specs, spec)
	}
	u := must[vault.Upload](t)(s.vault.Begin(permit(), specs, vault.Made{}))
	for path, b := range files {
		if len(b) > 0 {
			must[int64](t)(s.vault.Append(permit(), u.ID, path, 0, bytes.NewReader(b)))
		}
	}
	return must[catalog.Version](t)(s.vault.Commit(permit(), u.ID, "main"))
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// weights is a file of n bytes of numbers.
func weights(n int) []byte {
	header := fmt.Sprintf(`{"w":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}`, n/4, n)
	b := append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
	for i := range n {
		b = append(b, byte(i*i>>3))
	}
	return b
}

func token(name string) string { return guardtest.Token(name, sallyport.MultiFactor, base, "*") }

// do sends a request of name with header pairs and reads the answer whole.
func (s *site) do(t testing.TB, name, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), method, "http://"+s.addr+"/hf"+path, bytes.NewReader([]byte(body))))
	r.Header.Set("Authorization", "Bearer "+token(name))
	r.Header.Set("Accept-Encoding", "identity")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer := must[*http.Response](t)(http.DefaultClient.Do(r))
	defer answer.Body.Close()
	return answer, string(must[[]byte](t)(io.ReadAll(answer.Body)))
}

func (s *site) get(t testing.TB, name, path string, header ...string) (*http.Response, string) {
	t.Helper()
	return s.do(t, name, "GET", path, "", header...)
}

func jsonBody(text string) io.ReadCloser { return io.NopCloser(bytes.NewReader([]byte(text))) }
