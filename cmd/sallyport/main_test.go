package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/examples/acme"
	"sallyport/internal/plumbing/tpmkey/tpmtest"
	"sallyport/internal/server"
	"sallyport/internal/web/api"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sallyport": main, "browser": browser})
}

func params(dir string) testscript.Params {
	return testscript.Params{Dir: dir, RequireExplicitExec: true, RequireUniqueNames: true, Setup: setUp,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "tells": tells, "as": as, "enrolled": enrolled, "refused": refused, "weights": weights, "flip": flip, "capture": capture, "device": deviceCode, "snapshot": snapshot, "tpm": tpm,
		}}
}

// setUp gives a script an environment of its own.
func setUp(e *testscript.Env) error {
	e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/config")
	e.Setenv("TZ", "UTC")
	e.Setenv("GORACE", "atexit_sleep_ms=0") // with the race detector every command would sleep a second at its end
	e.Setenv("ESC", "\x1b")
	return nil
}

// TestOffline runs the scripts for what needs no server.
func TestOffline(t *testing.T) { testscript.Run(t, params("testdata/script/offline")) }

// TestServer runs the scripts that talk to a real server, one for each script: the organisation of examples/acme, with
// adam as its first administrator, who is signed in.
func TestServer(t *testing.T) {
	p := params("testdata/script/server")
	p.Setup = func(e *testscript.Env) error { return errors.Join(setUp(e), startServer(e)) }
	testscript.Run(t, p)
}

// TestTour walks the tour of README.md: its configuration, its organisation, and each of its commands that is ours.
func TestTour(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("testdata/script/tour/tour.txtar")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(readme), "<<'YAML'\n")
	text, after, found := strings.Cut(text, "YAML\n")
	if !found {
		t.Fatal("README.md has no configuration")
	}
	tour, _, _ := strings.Cut(after, "## Ways in")
	verbs := regexp.MustCompile(`\./sallyport ([a-z]+(?: [a-z]+\b)?)`).FindAllStringSubmatch(tour, -1)
	if len(verbs) < 15 {
		t.Errorf("README.md's tour has %d commands", len(verbs))
	}
	for _, v := range verbs {
		if v[1] == "serve" { // which this server was started as
			continue
		}
		if !regexp.MustCompile(`(?m)^exits \d ` + v[1] + `\b`).Match(script) {
			t.Errorf("sallyport %s stands in README.md and is not walked", v[1])
		}
	}
	p := params("testdata/script/tour")
	p.Setup = func(e *testscript.Env) error {
		c, err := server.ParseConfig([]byte(text))
		if err != nil {
			return err
		}
		c.Listen, c.Data, c.KeyFile = "localhost:0", e.WorkDir+"/data", e.WorkDir+"/keys/kek.json"
		return errors.Join(setUp(e), startOn(e, c), os.CopyFS(e.WorkDir+"/examples/home", os.DirFS("../../examples/home")))
	}
	testscript.Run(t, p)
}

// corp is an identity provider that cannot be reached.
func corp() server.IdentityProvider {
	return server.IdentityProvider{Name: "corp", Title: "Corp", Kind: "oidc", OIDC: server.OIDCProvider{Issuer: "http://127.0.0.1:1", Client: "sallyport"},
		Claims: server.ClaimNames{Name: "preferred_username", Email: "email", Verified: "email_verified"}, Domains: []string{"acme.example"},
		Map:  []server.GroupMapping{{ClaimCondition: server.ClaimCondition{Claim: "groups", Is: "/ml"}, Groups: []string{"acme/ml"}}},
		ACR:  map[string]string{"gold": "phr"},
		Join: &server.JoinSetting{Organisation: "acme"}}
}

func startServer(e *testscript.Env) error {
	return startOn(e, server.Config{Listen: "localhost:0", Data: e.WorkDir + "/data", KeyFile: e.WorkDir + "/keys/kek.json", Admin: "adam", Organisation: "acme", Federation: []server.IdentityProvider{corp()}})
}

func startOn(e *testscript.Env, c server.Config) error {
	s, err := server.Start(context.Background(), c, slog.New(slog.DiscardHandler)) // Close ends it
	if err != nil {
		return err
	}
	e.Defer(func() {
		if err := s.Close(); err != nil {
			e.T().Log(err)
		}
	})
	e.Setenv("SERVER", s.External())
	e.Setenv("CA", s.CA())
	e.Setenv("LINK", s.FirstLink)
	e.Setenv("LOGDIR", s.LogDir())
	e.Setenv("BROWSER", "browser")
	file, err := fs.ReadFile(acme.Files, "acme.yaml")
	if err != nil {
		return err
	}
	policies, err := fs.Sub(acme.Files, "policies")
	if err != nil {
		return err
	}
	return errors.Join(os.CopyFS(e.WorkDir+"/policies", policies), os.Remove(e.WorkDir+"/policies/acme.cedar"), os.WriteFile(e.WorkDir+"/acme.yaml", file, 0o600), os.WriteFile(e.WorkDir+"/log.key", []byte(s.LogKey()+"\n"), 0o600))
}

// exits CODE ARGS… runs sallyport and wants this exit code; what it prints is there for stdout and stderr.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE [ARGS...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("sallyport", args[1:]...)
	got := 0
	if x, ok := errors.AsType[*exec.ExitError](err); ok {
		got = x.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("sallyport %q exits %d, want %d", args[1:], got, want)
	}
}

// tells REGEXP ARGS… runs sallyport until it prints what matches, at most for a minute: for what follows the log. The command
// exits 0 each time.
func tells(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: tells REGEXP ARGS...")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		ts.Check(ts.Exec("sallyport", args[1:]...))
		if got := ts.ReadFile("stdout"); want.MatchString(got) {
			return
		} else if time.Now().After(end) {
			ts.Fatalf("sallyport %q prints %q, want %s", args[1:], got, want)
		}
	}
}

// as NAME goes on as somebody, on their own machine.
func as(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: as NAME")
	}
	dir := ts.MkAbs("home/" + args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Setenv("XDG_CONFIG_HOME", dir)
	ts.Setenv("PERSON", dir+"/person.json")
}

// enrolled NAME… lets adam make enrolment links for people, who follow them and sign in.
func enrolled(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: enrolled NAME...")
	}
	for _, name := range args {
		as(ts, false, []string{"adam"})
		ts.Check(ts.Exec("sallyport", "user", "enrol", name, "--json"))
		var link api.Enrolment
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &link))
		as(ts, false, []string{name})
		ts.Check(ts.Exec("browser", link.Link))
		ts.Check(ts.Exec("sallyport", "login", "--server", ts.Getenv("SERVER"), "--ca", ts.Getenv("CA")))
	}
}

// weights FILE BYTES writes a safetensors file with one tensor of so many bytes.
func weights(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: weights FILE BYTES")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	header := fmt.Sprintf(`{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}`, n, n)
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	file = append(file, header...)
	for i := range n {
		file = append(file, byte(i*31>>(i%7)))
	}
	path := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	ts.Check(os.WriteFile(path, file, 0o644))
}

// snapshot DIR copies the server's log as it is under one checkpoint.
func snapshot(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: snapshot DIR")
	}
	from, to := os.DirFS(ts.Getenv("LOGDIR")), ts.MkAbs(args[0])
	head, err := fs.ReadFile(from, "checkpoint") // first: what it covers is there
	ts.Check(err)
	ts.Check(os.RemoveAll(to))
	ts.Check(fs.WalkDir(from, "tile", func(path string, d fs.DirEntry, err error) error {
		var b []byte
		switch {
		case err == nil && d.IsDir():
			return os.MkdirAll(filepath.Join(to, path), 0o700)
		case err == nil:
			b, err = fs.ReadFile(from, path)
		}
		if errors.Is(err, fs.ErrNotExist) { // a newer one has taken its place
			return nil
		}
		return errors.Join(err, os.WriteFile(filepath.Join(to, path), b, 0o600))
	}))
	ts.Check(os.WriteFile(filepath.Join(to, "checkpoint"), head, 0o600))
}

// flip TEXT OTHER FILE… replaces a text of the same length in those files, as somebody with the disk could.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args[0]) != len(args[1]) {
		ts.Fatalf("usage: flip TEXT OTHER FILE... (texts of one length)")
	}
	found := 0
	for _, root := range args[2:] {
		ts.Check(filepath.WalkDir(ts.MkAbs(root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(b), args[0]) {
				return err
			}
			found++
			return os.WriteFile(path, []byte(strings.Replace(string(b), args[0], args[1], 1)), 0o600)
		}))
	}
	if found == 0 {
		ts.Fatalf("no file holds %q", args[0])
	}
}

// capture NAME PATH keeps a value of the JSON on standard output in a variable: PATH is names and numbers with dots.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME PATH")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for step := range strings.SplitSeq(args[1], ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			i, err := strconv.Atoi(step)
			ts.Check(err)
			if i >= len(x) {
				ts.Fatalf("%s: there is no item %d", args[1], i)
			}
			v = x[i]
		}
	}
	s, ok := v.(string)
	if !ok {
		s = fmt.Sprint(v)
	}
	ts.Setenv(args[0], s)
}

// deviceCode signs in with a code: it waits until the command has printed one, and lets the browser type it.
func deviceCode(ts *testscript.TestScript, neg bool, args []string) {
	cmd := exec.Command("sallyport", "login", "--no-browser", "--server", ts.Getenv("SERVER"), "--ca", ts.Getenv("CA"))
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "XDG_CONFIG_HOME=" + ts.Getenv("XDG_CONFIG_HOME")}
	var err error
	if cmd.Path, err = exec.LookPath("sallyport"); err != nil {
		ts.Fatalf("%v", err)
	}
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	cmd.Stdout = ts.Stdout()
	ts.Check(cmd.Start())
	code := ""
	for lines := bufio.NewScanner(stderr); code == "" && lines.Scan(); {
		code = regexp.MustCompile(`^  [A-Z]{4}-[A-Z]{4}$`).FindString(lines.Text())
	}
	if code == "" {
		ts.Fatalf("no code was printed")
	}
	go io.Copy(io.Discard, stderr)
	address := ts.Getenv("SERVER") + "/activate?user_code=" + strings.TrimSpace(code)
	browse := ts.Exec("browser", address)
	ts.Check(errors.Join(browse, cmd.Wait()))
}

// TestServeTellsWhereItIs runs the command itself: what an operator needs is printed at once, and it ends cleanly.
func TestServeTellsWhereItIs(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "sallyport.yaml")
	if err := os.WriteFile(config, []byte("listen: 127.0.0.1:0\ndata: data\nkey_file: keys/kek.json\nadmin: root\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	a := &app{in: strings.NewReader(""), out: w, err: t.Output(), env: func(string) string { return "" }, now: time.Now}
	code := make(chan int, 1)
	go func() {
		code <- a.run(ctx, []string{"serve", "--config", config})
		w.Close()
	}()
	want := []string{"sallyport serves at https://127.0.0.1:", "clients trust this certificate: ", "the audit log's key: ", "the first administrator (root)", "  https://127.0.0.1:"}
	lines := bufio.NewScanner(r)
	for _, beginning := range want {
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), beginning) {
			t.Fatalf("printed %q, want %q", lines.Text(), beginning)
		}
	}
	stop()
	for lines.Scan() {
	}
	if got := <-code; got != 0 {
		t.Errorf("exit code %d", got)
	}
}

// tpm starts a TPM emulator of its own and puts its path into TPM; it ends with the script.
func tpm(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: tpm")
	}
	e, stop, err := tpmtest.Run(context.Background())
	ts.Check(err)
	ts.Defer(stop)
	ts.Setenv("TPM", e.Path)
}
