package device

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/posture"
	"sallyport/internal/web/api"
)

const server = "https://sally.acme.example"

var begun = time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)

// keeperOf is a keeper on a computer of a name, at a time.
func keeperOf(dir, machine string, now time.Time) *Keeper {
	root := fstest.MapFS{}
	if machine != "" {
		root["etc/machine-id"] = &fstest.MapFile{Data: []byte(machine)}
	}
	return &Keeper{Dir: dir, Now: func() time.Time { return now }, System: posture.System{OS: "linux", Root: root,
		Run: func(context.Context, string, ...string) (string, error) { return "", errors.New("no such program") }}}
}

// enrolled writes an enrolment with a key in software, as Enrol leaves it, good for a day.
func enrolled(t *testing.T, k *Keeper) kept {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	machine, err := k.machine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	x := kept{Server: server, ID: "DV-1", Name: "laptop", Level: 2, Machine: machine, Key: base64.StdEncoding.EncodeToString(der),
		Chain: [][]byte{{1}}, Issued: begun, Expires: begun.Add(24 * time.Hour)}
	if err := k.write(x); err != nil {
		t.Fatal(err)
	}
	return x
}

func TestKeptFile(t *testing.T) {
	k := keeperOf(filepath.Join(t.TempDir(), "new"), "one", begun)
	if k.Enrolled(server) {
		t.Error("there is an enrolment before there was one")
	}
	if _, err := k.Open(t.Context(), server); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
	x := enrolled(t, k)
	for name, want := range map[string]fs.FileMode{k.Dir: 0o700, k.path(server): 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	d, err := k.Open(t.Context(), server)
	if err != nil || d.ID() != "DV-1" || !d.Expires().Equal(x.Expires) || d.Key() == nil {
		t.Fatalf("%+v, %v", d, err)
	}
	if _, err := k.Open(t.Context(), "https://other.example"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another server's: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(k.Dir, ".device-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for range 2 {
		if err := k.Forget(server); err != nil || k.Enrolled(server) {
			t.Errorf("forgotten: %v", err)
		}
	}
}

// A copied directory opens nothing on another computer, nor on one that has no name.
func TestAnotherComputer(t *testing.T) {
	dir := t.TempDir()
	enrolled(t, keeperOf(dir, "one", begun))
	for machine, says := range map[string]string{"two": "another computer", "": "no name of its own"} {
		if d, err := keeperOf(dir, machine, begun).Open(t.Context(), server); sallyport.KindOf(err) != sallyport.Invalid || !strings.Contains(sallyport.PublicText(err), says) || d != nil && d.signer != nil {
			t.Errorf("on %q: %v", machine, err)
		}
	}
	text, err := os.ReadFile(keeperOf(dir, "", begun).path(server))
	if err != nil || strings.Contains(string(text), `"one"`) {
		t.Errorf("the computer's name stands in the file, %v", err)
	}
}

func TestDamagedFiles(t *testing.T) {
	k := keeperOf(t.TempDir(), "one", begun)
	good := enrolled(t, k)
	for name, change := range map[string]func(*kept){
		"another server": func(x *kept) { x.Server = "https://other.example" }, "no id": func(x *kept) { x.ID = "" }, "no chain": func(x *kept) { x.Chain = nil },
		"no key": func(x *kept) { x.Key = "" }, "two keys": func(x *kept) { x.Wrapped = []byte{1} },
		"a key that is none": func(x *kept) { x.Key = "AAAA" }, "a key in no base64": func(x *kept) { x.Key = "?" },
	} {
		x := good
		change(&x)
		text, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		wantRefused(t, k, name, text)
	}
	whole, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"empty": nil, "cut short": whole[:len(whole)/2], "no JSON": []byte("key"), "too long": append([]byte(strings.Repeat(" ", maxKept)), whole...)} {
		wantRefused(t, k, name, text)
	}
	if err := os.WriteFile(k.path(server), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(t.Context(), server); err != nil {
		t.Errorf("the whole file: %v", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620} {
		if err := os.Chmod(k.path(server), mode); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Open(t.Context(), server); sallyport.KindOf(err) != sallyport.Invalid || !strings.Contains(sallyport.PublicText(err), "others") {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
}

func wantRefused(t *testing.T, k *Keeper, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(k.path(server), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(t.Context(), server); sallyport.KindOf(err) != sallyport.Invalid || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("%s: %v", name, err)
	}
	if !k.Enrolled(server) {
		t.Errorf("%s: what is damaged counts as not there", name)
	}
}

// A certificate is renewed in the last third of its life, and not shown after its end.
func TestDueAndExpired(t *testing.T) {
	dir := t.TempDir()
	enrolled(t, keeperOf(dir, "one", begun))
	for after, want := range map[time.Duration]struct{ due, shown bool }{
		0: {false, true}, 16*time.Hour - time.Second: {false, true}, 16 * time.Hour: {true, true}, 24*time.Hour - time.Second: {true, true}, 24 * time.Hour: {true, false},
	} {
		d, err := keeperOf(dir, "one", begun.Add(after)).Open(t.Context(), server)
		if err != nil {
			t.Fatal(err)
		}
		c, err := d.Certificate(nil)
		if err != nil || d.Due() != want.due || (len(c.Certificate) > 0) != want.shown || (c.PrivateKey != nil) != want.shown {
			t.Errorf("after %v: due %v, shown %d, %v", after, d.Due(), len(c.Certificate), err)
		}
	}
}

// What another process renewed is taken over, and nothing of another device.
func TestAdopt(t *testing.T) {
	k := keeperOf(t.TempDir(), "one", begun.Add(20*time.Hour))
	x := enrolled(t, k)
	d, err := k.Open(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	newer := x
	newer.Issued, newer.Expires = begun.Add(20*time.Hour), begun.Add(44*time.Hour)
	other := newer
	other.ID = "DV-2"
	if d.adopt(x) || d.adopt(other) || !d.adopt(newer) || !d.Expires().Equal(newer.Expires) || d.Due() {
		t.Errorf("it has %v", d.Expires())
	}
}

// A report is signed by the device's key, for one server, and says what is known and nothing better.
func TestStatement(t *testing.T) {
	k := keeperOf(t.TempDir(), "one", begun)
	enrolled(t, k)
	d, err := k.Open(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	r := k.report(context.Background())
	if r.Encrypted || r.Locked || r.Family != "linux" {
		t.Errorf("of a computer of which nothing is known: %+v", r)
	}
	text, err := d.statement(server, r)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jose.NewKey("", jose.ES256, d.Key().Public())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := jose.NewSet(key)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jose.Verify(text, keys, jose.Profile{Op: "test", Types: []string{"posture+jwt"}, Algorithms: []jose.Algorithm{jose.ES256}})
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Claims.Check(jose.Rules{Op: "test", Issuer: "DV-1", Audience: server, Sole: true, Now: begun, MaxLife: statementLife, NeedID: true}); err != nil {
		t.Error(err)
	}
	var said struct {
		At      int64             `json:"at"`
		Posture api.PostureReport `json:"posture"`
	}
	if err := token.Claims.Decode("test", &said); err != nil || said.At != begun.UnixMicro() || said.Posture != r {
		t.Errorf("%+v, %v", said, err)
	}
	if again, err := d.statement(server, r); err != nil || sha256.Sum256([]byte(again)) == sha256.Sum256([]byte(text)) {
		t.Errorf("two statements are one, %v", err)
	}
}
