package sallyport_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestText holds every tracked text file against the list of what no file of this repository says.
func TestText(t *testing.T) {
	for _, name := range trackedFiles(t) {
		text, err := os.ReadFile(name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // deleted, not yet committed
			continue
		case err != nil:
			t.Fatal(err)
		case bytes.IndexByte(text, 0) >= 0: // not text
			continue
		}
		report(t, checkText(name, string(text)))
	}
}

// TestTextNotesEveryOffence shows that each rule can fail, and that what only looks like an offence passes.
func TestTextNotesEveryOffence(t *testing.T) {
	const hash = "#" // keeps the samples below from being offences of this file
	tests := []struct{ file, text, want string }{
		{"a.md", "run it in /" + "work/main\n", "a path of one machine"},
		{"a.md", "see /" + "home/ana/models\n", "a path of one machine"},
		{"a.md", "see file:///" + "Users/ana\n", "a path of one machine"},
		{"a.md", "GET /v1/users/home and /workspace\n", ""},
		{"a.json", "https://registry." + "npmjs.org/openai\n", "a registry's host"},
		{"a.sh", "GOPROXY=https://proxy." + "golang.org\n", "a registry's host"},
		{"a.md", "as issue " + hash + "12 asked\n", "an issue's number"},
		{"a.md", "closes " + hash + "7\n", "an issue's number"},
		{"a.md", "issue 3 tokens, then issue the certificate; certificate #2\n", ""},
		{"a.md", "written by an AI" + " assistant\n", "a tool that wrote text"},
		{"a.md", "Co-" + "Authored-By: somebody\n", "a tool that wrote text"},
		{"a.md", "the agent mode and an agent's token, the assistant role of a chat\n", ""},
		{"a.go", "// see guides" + "/core.md section 4\n", "a paper outside the repository"},
		{"a.go", "// contract 4 of DESIGN" + ".md\n", "a paper outside the repository"},
		{"docs/requirements.md", "see docs/requirements.md and ARCHITECTURE.md\n", ""},
		{"a.go", "// TO" + "DO: finish\n", "unfinished work"},
		{"a.md", "<<<<" + "<<< HEAD\n", "a merge left open"},
		{"a.go", "in this ses" + "sion we built\n", "talk about how it was made"},
		{"a.go", "// a session ends with its family; this session's tokens die\n", ""},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) { wantComplaint(t, checkText(test.file, test.text), test.want) })
	}
}

// TestVersionsArePinned holds go.mod against the versions that were tried together; raising one is a decision, not an accident.
func TestVersionsArePinned(t *testing.T) {
	required := requirements(t, "go.mod")
	pins := map[string]string{
		"github.com/cedar-policy/cedar-go":    "v1.9.0",
		"github.com/transparency-dev/tessera": "v1.0.4",
		"github.com/transparency-dev/formats": "v0.0.0-20251017110053-404c0d5b696c",
		"github.com/transparency-dev/merkle":  "v0.0.2",
		"github.com/go-json-experiment/json":  "v0.0.0-20260820222146-c27c302e5fc3",
		"github.com/jackc/pgx/v5":             "v5.12.0",
		"github.com/spf13/cobra":              "v1.10.2",
		"go.yaml.in/yaml/v3":                  "v3.0.6",
		"golang.org/x/crypto":                 "v0.58.0",
		"golang.org/x/exp":                    "v0.0.0-20260718201538-764159d718ef",
		"golang.org/x/mod":                    "v0.42.0",
		"k8s.io/klog/v2":                      "v2.130.1",
		"modernc.org/libc":                    "v1.77.1",
		"modernc.org/mathutil":                "v1.7.1",
		"modernc.org/memory":                  "v1.12.1",
		"modernc.org/sqlite":                  "v1.60.1", // later ones bring a slower SQLite or a test dependency that is not to be had
		"honnef.co/go/tools":                  "v0.8.2",
	}
	for module, version := range pins {
		if got := required[module].version; got != version {
			t.Errorf("go.mod requires %s %q, pinned is %s", module, got, version)
		}
	}
	built := chosen(t)
	for module, want := range required {
		if got := built[module]; got != "" && got != want.version {
			t.Errorf("the build uses %s %s, go.mod requires %s", module, got, want.version)
		}
	}
}

// TestVersionsOfSQLiteAgree holds modernc.org/libc to the very version that SQLite was translated with: its authors ask for it.
func TestVersionsOfSQLiteAgree(t *testing.T) {
	mod := strings.TrimSpace(goList(t, "-m", "-f", "{{.GoMod}}", "modernc.org/sqlite"))
	want := requirements(t, mod)["modernc.org/libc"].version
	if want == "" {
		t.Fatalf("%s requires no modernc.org/libc", mod)
	}
	if got := chosen(t)["modernc.org/libc"]; got != want {
		t.Errorf("the build uses modernc.org/libc %s, sqlite needs exactly %s", got, want)
	}
}

// TestDependenciesHaveReasons compares the direct requirements of go.mod with the reasons in docs/design/dependencies.md.
func TestDependenciesHaveReasons(t *testing.T) {
	const page = "docs/design/dependencies.md"
	reasons := map[string]string{}
	for _, cells := range tableRows(t, page) {
		module := strings.Trim(cells[0], "`")
		if _, twice := reasons[module]; twice {
			t.Errorf("%s: two rows for %s", page, module)
		}
		reasons[module] = cells[len(cells)-1]
	}
	required := requirements(t, "go.mod")
	for module, requirement := range required {
		if !requirement.indirect && len(strings.Fields(reasons[module])) < 4 {
			t.Errorf("%s: no reason for %s", page, module)
		}
	}
	for module := range reasons {
		if requirement, found := required[module]; !found || requirement.indirect {
			if module != "honnef.co/go/tools" { // a tool: indirect for go.mod
				t.Errorf("%s: %s is no direct requirement of go.mod", page, module)
			}
		}
	}
}

// TestRequirementsTellTheTruth checks the table of docs/requirements.md: every id once and in order, one of three states,
// and behind each "done" a test or a command that exists.
func TestRequirementsTellTheTruth(t *testing.T) {
	report(t, checkRequirements(tableRows(t, "docs/requirements.md"), namesInTree(repositoryTree(t))))
}

func TestRequirementsNoteEveryOffence(t *testing.T) {
	names := map[string]bool{"TestA": true, "sallyport why": true, "./check": true}
	row := func(status, shown string) []string { return []string{"RS-4", "adapt", status, shown} }
	tests := []struct {
		name string
		row  []string
		want string
	}{
		{"done by a test", row("done", "`TestA/sub` in internal/authz"), ""},
		{"done by a command", row("done", "`sallyport why D-1`"), ""},
		{"done by nothing", row("done", "it is"), "names no test and no command"},
		{"done by an absent test", row("done", "`TestB`"), "TestB does not exist"},
		{"done by an absent command", row("done", "`sallyport fly`"), "sallyport fly does not exist"},
		{"another state", row("mostly", "`TestA`"), "want done, partly or not yet"},
		{"partly, silent", row("partly", ""), "what is missing"},
		{"three cells", []string{"RS-4", "done", "`TestA`"}, "want 4 cells"},
		{"an unknown id", []string{"RS-5", "more", "not yet", "all of it"}, "RS-5 is no id"},
		{"an id twice", []string{"RS-3", "more", "not yet", "all of it"}, "RS-3 stands twice"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var rows [][]string
			for _, id := range requirementIDs() {
				if id != "RS-4" {
					rows = append(rows, []string{id, "words", "not yet", "all of it"})
				}
			}
			got := checkRequirements(append(rows, test.row), names)
			if test.row[0] != "RS-4" {
				got = slices.DeleteFunc(got, func(complaint string) bool { return complaint == "RS-4 has no row" })
			}
			wantComplaint(t, got, test.want)
		})
	}
	wantComplaint(t, checkRequirements(nil, names), "ID-1 has no row")
}

// textRule is something that no file says, and why.
type textRule struct {
	what    string
	hints   []string // lower case; a text without any of them is not searched, which is a hundred times faster
	pattern *regexp.Regexp
}

// textRules is the list. A pattern catches what is surely meant, and is written so that it does not match itself.
func textRules() []textRule {
	rule := func(what, hints, pattern string) textRule {
		return textRule{what, strings.Fields(hints), regexp.MustCompile(pattern)}
	}
	return []textRule{
		rule("a path of one machine", `work/ home/ users/ root/ tmp/`, `(^|[^\w.-])/(work/(main|shared|\.)|home/[a-z]|Users/[A-Za-z]|root/|tmp/(brief|bash_jobs))`),
		rule("a registry's host", `.golang. registry. pypi pythonhosted crates maven. .debian.`, `(proxy|sum|index)\.golang\.org|registry\.npmjs\.|registry\.yarnpkg\.|\bpypi\.org|pythonhosted\.org|\bcrates\.io\b|repo1?\.maven\.|deb\.debian\.|security\.debian\.`),
		rule("an issue's number", `#`, `(?i)\b(issue|issues|bug|ticket|fixes|closes|resolves)(\s+number)?\s+#\d+`),
		rule("a tool that wrote text", `assistant authored agent gpt claud copilo generated`, `(?i)\b(AI|LLM|coding|virtual)[- ]assistant\b|\bco-authored-by:|\bsub-?agents?\b|\b(chat)?gpt-?[45]?[- ](wrote|generated)|\bclaude\b|\bcopilot\b|generated (by|with) (an? )?(AI|LLM)\b`),
		rule("talk about how it was made", `session brief ceo`, `(?i)\bin (this|the (last|next|previous|present)) session we\b|\b(next|previous|last) sessions? (of the project|will|should|did)\b|\bthe brief (says|asks)\b|\bthe CEO('s)?\b`),
		rule("a paper outside the repository", `guides design.md requirements.md common.md`, `\bguides/(core|identity|protocols|trials|users|watch|style)\.md|\bDESIGN\.md|\bREQUIREMENTS\.md|\bCOMMON\.md|\bguides/`),
		rule("unfinished work", `todo fixme hack`, `(^|[^.\w])(TODO|FIXME|HACK)[:(]`),
		rule("a merge left open", `<<<<<<< >>>>>>>`, `^(<{7}|>{7}) `),
	}
}

// checkText complains about each line of a text that a rule forbids.
func checkText(name, text string) []string {
	var bad []string
	small := strings.ToLower(text)
	rules := slices.DeleteFunc(textRules(), func(rule textRule) bool {
		return !slices.ContainsFunc(rule.hints, func(hint string) bool { return strings.Contains(small, hint) })
	})
	for number, line := range strings.Split(text, "\n") {
		for _, rule := range rules {
			if found := rule.pattern.FindString(line); found != "" {
				bad = append(bad, fmt.Sprintf("%s:%d: %s: %q", name, number+1, rule.what, strings.TrimSpace(found)))
			}
		}
	}
	return bad
}

// trackedFiles lists the files of the repository: those git knows or would add, or all where there is no git.
func trackedFiles(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err == nil && len(out) > 0 {
		names := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		slices.Sort(names)
		return slices.Compact(names)
	}
	var names []string
	err = fs.WalkDir(os.DirFS("."), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", "node_modules", ".venv", "dist"}, path.Base(name)):
			return fs.SkipDir
		case entry.Type().IsRegular():
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// requirement is one line of a go.mod.
type requirement struct {
	version  string
	indirect bool
}

// requirements reads the required modules of a go.mod.
func requirements(t *testing.T, name string) map[string]requirement {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	required := map[string]requirement{}
	for line := range strings.SplitSeq(string(text), "\n") {
		line, comment, _ := strings.Cut(line, "//")
		words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(words) == 2 && strings.HasPrefix(words[1], "v") {
			required[words[0]] = requirement{words[1], strings.TrimSpace(comment) == "indirect"}
		}
	}
	return required
}

// chosen lists the version of each module that the build uses.
func chosen(t *testing.T) map[string]string {
	t.Helper()
	versions := map[string]string{}
	for line := range strings.SplitSeq(goList(t, "-m", "-f", "{{.Path}} {{.Version}}", "all"), "\n") {
		if words := strings.Fields(line); len(words) == 2 {
			versions[words[0]] = words[1]
		}
	}
	return versions
}

func goList(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %q: %v", args, err)
	}
	return string(out)
}

// tableRows reads the cells of the rows of a page's Markdown tables, without headings and rulers.
func tableRows(t *testing.T, name string) [][]string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		ruler := strings.HasPrefix(line, "|--") || strings.HasPrefix(line, "| --")
		heading := i+1 < len(lines) && (strings.HasPrefix(lines[i+1], "|--") || strings.HasPrefix(lines[i+1], "| --"))
		if !strings.HasPrefix(line, "|") || ruler || heading {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

// requirementIDs lists every id in order.
func requirementIDs() []string {
	groups := []struct {
		name string
		most int
	}{
		{"ID", 14}, {"TK", 9}, {"DV", 5}, {"AZ", 20}, {"GV", 15}, {"EN", 9}, {"AU", 8}, {"MO", 8}, {"RE", 7}, {"DP", 5}, {"EV", 5}, {"UX", 5}, {"ME", 3}, {"RS", 4},
	}
	var ids []string
	for _, group := range groups {
		for n := 1; n <= group.most; n++ {
			ids = append(ids, fmt.Sprintf("%s-%d", group.name, n))
		}
	}
	return ids
}

// checkRequirements holds the rows id, words, state, evidence against the ids and the names of tests and commands.
func checkRequirements(rows [][]string, names map[string]bool) []string {
	var bad []string
	seen := map[string]bool{}
	for _, cells := range rows {
		switch {
		case len(cells) != 4:
			bad = append(bad, fmt.Sprintf("%s: %d cells, want 4 cells: id, words, state, shown by or missing", cells[0], len(cells)))
			continue
		case !slices.Contains(requirementIDs(), cells[0]):
			bad = append(bad, cells[0]+" is no id")
		case seen[cells[0]]:
			bad = append(bad, cells[0]+" stands twice")
		}
		seen[cells[0]] = true
		if complaint := checkEvidence(cells[2], cells[3], names); complaint != "" {
			bad = append(bad, cells[0]+": "+complaint)
		}
	}
	for _, id := range requirementIDs() {
		if !seen[id] {
			bad = append(bad, id+" has no row")
		}
	}
	return bad
}

// checkEvidence looks up what a row names in backquotes. Only "done" needs names; whatever is named must exist.
func checkEvidence(state, evidence string, names map[string]bool) string {
	if !slices.Contains([]string{"done", "partly", "not yet"}, state) {
		return fmt.Sprintf("state %q, want done, partly or not yet", state)
	}
	if state != "done" && evidence == "" {
		return state + ": say what is missing"
	}
	found := 0
	for _, quoted := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(evidence, -1) {
		name, claimed := evidenceName(quoted[1])
		switch {
		case !claimed:
		case !names[name] && state != "not yet":
			return name + " does not exist"
		default:
			found++
		}
	}
	if state == "done" && found == 0 {
		return "done, but names no test and no command in backquotes"
	}
	return ""
}

// evidenceName reduces quoted text to what can be looked up: a test without its subtest, a command with its first verb, a file.
func evidenceName(quoted string) (name string, claimed bool) {
	words := strings.Fields(quoted)
	switch {
	case regexp.MustCompile(`^(Test|Fuzz|Benchmark|Example)[A-Z_]`).MatchString(quoted):
		name, _, _ = strings.Cut(words[0], "/")
		return name, true
	case words[0] == "sallyport" && len(words) > 1:
		return "sallyport " + words[1], true
	case words[0] == "./check" || strings.HasSuffix(words[0], ".txtar") || strings.HasPrefix(words[0], ".ci/") || strings.HasPrefix(words[0], "e2e/"):
		return words[0], true
	}
	return "", false
}

// namesInTree collects what may serve as evidence: test functions, the verbs of the command, files of tests.
func namesInTree(tree *tree) map[string]bool {
	names := map[string]bool{}
	test := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w*)\(`)
	verb := regexp.MustCompile(`\bUse:\s+"([a-z][a-z0-9-]*)`)
	for _, pkg := range tree.packages {
		for _, file := range pkg.files {
			if file.test {
				for _, match := range test.FindAllSubmatch(file.text, -1) {
					names[string(match[1])] = true
				}
			} else if within(pkg.dir, "cmd/sallyport") {
				for _, match := range verb.FindAllSubmatch(file.text, -1) {
					names["sallyport "+string(match[1])] = true
				}
			}
		}
	}
	_ = fs.WalkDir(os.DirFS("."), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil || entry.IsDir() && (name == ".git" || path.Base(name) == "node_modules"):
			return fs.SkipDir
		case name == "check":
			names["./check"] = true
		case path.Ext(name) == ".txtar":
			names[name], names[path.Base(name)] = true, true
		case within(name, ".ci"), within(name, "e2e"):
			names[name] = true
		}
		return nil
	})
	return names
}
