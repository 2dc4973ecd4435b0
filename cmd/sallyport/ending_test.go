package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TK-6: a login that ends within two minutes is told on stderr, beside the answer and not in it; at other times nothing is.
func TestTK6LoginEndsSoon(t *testing.T) {
	ends := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sallyport"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := `{"current":"https://127.0.0.1:1","logins":{"https://127.0.0.1:1":{"server":"https://127.0.0.1:1","since":"2026-11-20T00:00:00Z","ends":"` + ends.Format(time.RFC3339) + `","refresh":"r"}}}`
	if err := os.WriteFile(filepath.Join(dir, "sallyport", "credentials.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for left, want := range map[time.Duration]string{20 * time.Second: "ends in 20s", 2 * time.Minute: "ends in 2m", 121 * time.Second: "", 0: "", -time.Minute: ""} {
		for _, flag := range []string{"--json", "--quiet"} {
			var out, errs bytes.Buffer
			a := &app{in: strings.NewReader(""), out: &out, err: &errs, now: func() time.Time { return ends.Add(-left) },
				env: func(name string) string { return map[string]string{"XDG_CONFIG_HOME": dir}[name] }}
			a.run(t.Context(), []string{"whoami", flag}) // the server is not there: what is told comes before
			told := strings.Contains(errs.String(), "run 'sallyport login' to go on")
			if told != (want != "" && flag != "--quiet") || told && !strings.Contains(errs.String(), want) {
				t.Errorf("%v before, %s: %q", left, flag, errs.String())
			}
			if strings.Contains(out.String(), "to go on") {
				t.Errorf("it stands in the answer: %q", out.String())
			}
		}
	}
}
