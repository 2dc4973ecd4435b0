package oidc_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestMusts holds docs/design/oauth-musts.md against the tests that there are: a row whose test is gone shows nothing.
func TestMusts(t *testing.T) {
	const root = "../../.."
	page, err := os.ReadFile(filepath.Join(root, "docs/design/oauth-musts.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests, named := map[string]bool{}, regexp.MustCompile(`(?m)^func (Test\w+|Fuzz\w+)\(`)
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == ".ci") {
			if d != nil && d.IsDir() && err == nil {
				return filepath.SkipDir
			}
			return err
		}
		if d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range named.FindAllSubmatch(text, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	rows, specifications := 0, 0
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "## ") {
			specifications++
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 || strings.Contains(line, "---") || strings.TrimSpace(cells[0]) == "section" {
			continue
		}
		rows++
		if name := strings.TrimSpace(cells[2]); !tests[name] {
			t.Errorf("%s: no test is called %q", strings.TrimSpace(cells[1]), name)
		}
	}
	if rows < 100 || specifications < 20 {
		t.Errorf("%d rows of %d specifications were read: is the page in its form?", rows, specifications)
	}
	t.Logf("%d requirements of %d specifications have a test", rows, specifications)
}
