package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSummaryTellsWhatBecameOfEachTest(t *testing.T) {
	const (
		pass    = `{"Action":"pass","Package":"p","Test":"TestA"}` + "\n" + `{"Action":"pass","Package":"p","Test":"TestA/sub"}` + "\n"
		done    = `{"Action":"pass","Package":"p","Elapsed":0.1}` + "\n"
		fail    = `{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:3: wrong\n"}` + "\n" + `{"Action":"fail","Package":"p","Test":"TestB"}` + "\n"
		died    = `{"Action":"run","Package":"p","Test":"TestC"}` + "\n" + `{"Action":"fail","Package":"p"}` + "\n"
		skipped = `{"Action":"output","Package":"p","Test":"TestD","Output":"    d_test.go:7: no database\n"}` + "\n" + `{"Action":"skip","Package":"p","Test":"TestD"}` + "\n"
		broken  = "# p\n" + `{"ImportPath":"p","Action":"build-output","Output":"p.go:1: no such thing\n"}` + "\n" + `{"ImportPath":"p","Action":"build-fail"}` + "\n"
	)
	tests := []struct {
		name, events, ci string
		wantText         string
		wantErr          string // empty: a good run
	}{
		{"good", pass + done, "true", "1 passed, 0 failed, 0 skipped", ""},
		{"failed", pass + fail, "", "b_test.go:3: wrong", "1 tests"},
		{"died", pass + died, "", "FAILED p TestC", "1 packages"},
		{"does not compile", broken, "", "no such thing", "1 packages"},
		{"skipped at home", pass + skipped + done, "", "skipped p TestD: no database", ""},
		{"skipped in CI", pass + skipped + done, "true", "1 passed, 0 failed, 1 skipped", "does not allow"},
		{"skipped in CI, allowed", pass + strings.ReplaceAll(skipped, "TestD", "TestE") + done, "true", "[allowed: needs a printer]", ""},
		{"nothing", done, "", "0 passed", "no test ran"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("CI", test.ci)
			list := filepath.Join(t.TempDir(), "skips.txt")
			if err := os.WriteFile(list, []byte("# why\np TestE needs a printer\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			allowed, err := readSkips(list)
			if err != nil {
				t.Fatal(err)
			}
			results := map[string]*result{}
			if err := collect(strings.NewReader(test.events), results); err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			err = summarise(&text, results, allowed, "")
			if !strings.Contains(text.String(), test.wantText) {
				t.Errorf("summary %q, want %q", text.String(), test.wantText)
			}
			if (err == nil) != (test.wantErr == "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("error %v, want %q", err, test.wantErr)
			}
		})
	}
}
