//go:build unix

package main

import (
	"bufio"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sallyport/client"
	"sallyport/client/sidecar"
)

// runChild runs a shell script as 'sallyport run' does, calls ready when it has written a line, and returns the exit code and
// what it wrote besides.
func runChild(t *testing.T, script string, ready func()) (code int, out string) {
	t.Helper()
	c, err := client.New(client.Config{Server: "https://sally.acme.example", Store: &client.Store{Dir: t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := sidecar.Start(t.Context(), c, "127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	a := &app{in: strings.NewReader(""), raw: w, err: io.Discard}
	done := make(chan string)
	go func() {
		lines := bufio.NewReader(r)
		_, err := lines.ReadString('\n')
		if err == nil && ready != nil {
			ready()
		}
		rest, _ := io.ReadAll(lines) // it ends with the pipe
		done <- string(rest)
	}()
	err = a.child(t.Context(), s, []string{"/bin/sh", "-c", script})
	w.Close()
	out = <-done
	if err == nil {
		return 0, out
	}
	return exitCode(err), out
}

// What a program ends with is what 'sallyport run' ends with.
func TestRunEndsAsTheProgramDoes(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 3": 3, "exit 255": 255, "kill -TERM $$": 143, "kill -KILL $$": 137, "kill -INT $$": 130} {
		if got, _ := runChild(t, script, nil); got != want {
			t.Errorf("%s: %d, want %d", script, got, want)
		}
	}
}

// Signals reach the program, which may end as it likes.
func TestRunHandsSignalsOn(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "INT": syscall.SIGINT} {
		send := func() {
			if err := syscall.Kill(os.Getpid(), sig); err != nil {
				t.Error(err)
			}
		}
		wait := "echo ready; while :; do sleep 0.05; done"
		if code, out := runChild(t, "trap 'echo told; exit 7' "+name+"; "+wait, send); code != 7 || out != "told\n" {
			t.Errorf("%s, heeded: %d, %q", name, code, out)
		}
		if code, _ := runChild(t, wait, send); code != 128+int(sig) {
			t.Errorf("%s, not heeded: %d", name, code)
		}
	}
	if !slices.Contains(environment([]string{"HF_TOKEN=old", "HOME=/x"}, []sidecar.Setting{{Name: "HF_TOKEN", Value: "new"}}), "HF_TOKEN=new") {
		t.Error("the program keeps an old token")
	}
}

// What a person keeps from proxies stays so, in whichever spelling it was said, and so does the sidecar.
func TestRunKeepsWhatIsKeptFromProxies(t *testing.T) {
	for given, want := range map[string][]string{
		"":                                {"NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1"},
		"NO_PROXY=corp.example no_proxy=": {"NO_PROXY=corp.example,127.0.0.1", "no_proxy=127.0.0.1"},
		"NO_PROXY=corp.example":           {"NO_PROXY=corp.example,127.0.0.1", "no_proxy=corp.example,127.0.0.1"},
		"no_proxy=corp.example":           {"NO_PROXY=corp.example,127.0.0.1", "no_proxy=corp.example,127.0.0.1"},
		"NO_PROXY=a no_proxy=b":           {"NO_PROXY=a,127.0.0.1", "no_proxy=b,127.0.0.1"},
		"NO_PROXY=*":                      {"NO_PROXY=*", "no_proxy=*"},
	} {
		got := environment(strings.Fields(given), []sidecar.Setting{{Name: "NO_PROXY", Value: "127.0.0.1"}, {Name: "no_proxy", Value: "127.0.0.1"}})
		if !slices.Equal(got, want) {
			t.Errorf("of %q become %q, want %q", given, got, want)
		}
	}
}
