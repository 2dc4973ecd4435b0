package sallyport_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// registerGroups are the rows of docs/design/negative-tests.md: a prefix and the numbers after it.
func registerGroups() map[string][][2]int {
	return map[string][][2]int{
		"OA": {{1, 15}, {20, 34}}, "DPOP": {{1, 8}}, "MTLS": {{1, 5}}, "TX": {{1, 9}}, "JOSE": {{1, 10}}, "FED": {{1, 6}}, "SAML": {{1, 7}},
		"LDAP": {{1, 4}}, "PW": {{1, 8}}, "OTP": {{1, 3}}, "WA": {{1, 6}}, "SESS": {{1, 5}}, "SCIM": {{1, 5}}, "DEV": {{1, 3}}, "RISK": {{1, 2}},
	}
}

// TestRegisterOfNegativeTests: each row names at least one test that exists, and no row is missing.
func TestRegisterOfNegativeTests(t *testing.T) {
	for _, complaint := range checkRegister(tableRows(t, "docs/design/negative-tests.md"), namesInTree(repositoryTree(t))) {
		t.Error(complaint)
	}
}

func checkRegister(rows [][]string, names map[string]bool) []string {
	var bad []string
	seen := map[string]bool{}
	test := regexp.MustCompile("`(Test\\w+)`")
	for _, row := range rows {
		if len(row) != 3 {
			bad = append(bad, fmt.Sprintf("%s: %d cells, want 3", row[0], len(row)))
			continue
		}
		if seen[row[0]] {
			bad = append(bad, row[0]+" stands twice")
		}
		seen[row[0]] = true
		found := test.FindAllStringSubmatch(row[2], -1)
		if len(found) == 0 {
			bad = append(bad, row[0]+" names no test")
		}
		for _, f := range found {
			if !names[f[1]] {
				bad = append(bad, row[0]+": "+f[1]+" does not exist")
			}
		}
	}
	for prefix, ranges := range registerGroups() {
		for _, r := range ranges {
			for n := r[0]; n <= r[1]; n++ {
				if id := fmt.Sprint(prefix, n); !seen[id] {
					bad = append(bad, id+" has no row")
				}
			}
		}
	}
	return bad
}

func TestRegisterNotesEveryOffence(t *testing.T) {
	whole := func() [][]string {
		var rows [][]string
		for prefix, ranges := range registerGroups() {
			for _, r := range ranges {
				for n := r[0]; n <= r[1]; n++ {
					rows = append(rows, []string{fmt.Sprint(prefix, n), "words", "`TestA`"})
				}
			}
		}
		return rows
	}
	names := map[string]bool{"TestA": true}
	if got := checkRegister(whole(), names); len(got) != 0 {
		t.Fatalf("a whole register: %v", got)
	}
	for name, test := range map[string]struct {
		spoil func(rows [][]string) [][]string
		want  string
	}{
		"a row less":    {func(rows [][]string) [][]string { return rows[1:] }, "has no row"},
		"a row twice":   {func(rows [][]string) [][]string { return append(rows, rows[0]) }, "stands twice"},
		"no test":       {func(rows [][]string) [][]string { rows[0][2] = "shown"; return rows }, "names no test"},
		"a test absent": {func(rows [][]string) [][]string { rows[0][2] = "`TestB`"; return rows }, "TestB does not exist"},
		"a cell less":   {func(rows [][]string) [][]string { rows[0] = rows[0][:2]; return rows }, "2 cells"},
	} {
		if got := checkRegister(test.spoil(whole()), names); !strings.Contains(strings.Join(got, "\n"), test.want) {
			t.Errorf("%s: %v, want %q", name, got, test.want)
		}
	}
}
