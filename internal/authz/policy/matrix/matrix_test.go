package matrix_test

import (
	"strings"
	"testing"
	"time"

	"sallyport/internal/authz/policy/matrix"
)

func sample(cells ...string) *matrix.Matrix {
	m := matrix.New("sha256:1", time.Unix(0, 0))
	for i := 0; i+1 < len(cells); i += 2 {
		m.Set("user:ana", cells[i], "model.pull", cells[i+1])
	}
	return m
}

// AZ-18: one matrix has one text, which comes back as it was; two are compared cell by cell, what is wider first.
func TestAZ18TextAndDiff(t *testing.T) {
	a, b := sample("acme/a", "allow", "acme/b", "deny", "acme/c", "deny"), sample("acme/c", "allow", "acme/a", "deny", "acme/b", "deny", "acme/d", "request")
	again, err := matrix.Parse(a.Text())
	if err != nil || again.Text() != a.Text() {
		t.Errorf("%v: %q", err, a.Text())
	}
	d := matrix.Diff(a, b)
	if len(d) != 3 || !d[0].Wider || !d[1].Wider || d[2].Wider || d[2].Resource != "acme/a" || d[1].From != "-" {
		t.Errorf("%+v", d)
	}
	if d := matrix.Diff(a, a); len(d) != 0 {
		t.Errorf("with itself: %+v", d)
	}
	text := a.Text()
	for what, bad := range map[string]string{
		"another header": "x" + text, "a line more": text + "user:a\ty\tz\tallow\n", "no end": strings.TrimSuffix(text, "\n"), "no time": strings.Replace(text, "1970", "now", 1),
		"a column less": strings.Replace(text, "\tallow", "", 1), "nothing": "", "a double": text + text[strings.Index(text, "user:"):],
	} {
		if _, err := matrix.Parse(bad); err == nil {
			t.Errorf("%s: parsed", what)
		}
	}
	if m := sample("a\tb\nc", "al\x00low"); strings.Count(m.Text(), "\n") != 4 {
		t.Errorf("%q", m.Text())
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample("acme/a", "allow").Text())
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := matrix.Parse(s); err == nil && m.Text() != s {
			t.Errorf("%q came back as %q", s, m.Text())
		}
	})
}

// A file is a statement to be signed and the matrix that it names, and each can be told from the other.
func TestAZ18File(t *testing.T) {
	m := sample("acme/a", "allow")
	file := m.File([]byte(m.Statement() + "\n— log sig\n"))
	note, again, err := matrix.ReadFile(file)
	if err != nil || !strings.HasPrefix(note, again.Statement()) || again.Text() != m.Text() {
		t.Errorf("%q, %v", note, err)
	}
	if _, other, err := matrix.ReadFile(strings.Replace(file, "allow", "deny", 1)); err != nil || strings.HasPrefix(note, other.Statement()) {
		t.Errorf("an edited matrix has the same statement: %v", err)
	}
	if _, _, err := matrix.ReadFile(m.Text()); err == nil {
		t.Error("a matrix without a statement is read")
	}
}
