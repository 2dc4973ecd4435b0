package sallyport_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

// modulePath is the module's own import path; every other path with a dot in its first element is somebody else's.
const modulePath = "sallyport"

// TestFloors holds every import of this repository against floors.txt and the purity of the words and the rules.
// Do not loosen floors.txt to make a build pass: change the code, or change the design and say why in ARCHITECTURE.md.
func TestFloors(t *testing.T) {
	rules, tree := repositoryFloors(t), repositoryTree(t)
	report(t, rules.checkImports(tree))
	report(t, checkLibraries(tree))
	report(t, rules.checkPurity(tree))
}

// TestFloorsNotesEveryOffence shows that each rule can fail: one small bad tree a rule, and the words its complaint must hold.
func TestFloorsNotesEveryOffence(t *testing.T) {
	tests := []struct {
		name string
		tree fstest.MapFS
		want string // empty: the tree is good
	}{
		{"down is allowed", files("internal/authz/role/a.go", imports("role", "sallyport", "sallyport/internal/plumbing/secret")), ""},
		{"up", files("internal/authz/policy/a.go", imports("policy", "sallyport/internal/authz/role")), "imports only go down"},
		{"across", files("internal/authz/role/a.go", imports("role", "sallyport/internal/authz/hold")), "same floor"},
		{"across as listed", files("internal/authz/grant/a.go", imports("grant", "sallyport/internal/authz/approval")), ""},
		{"across against the line", files("internal/authz/approval/a.go", imports("approval", "sallyport/internal/authz/grant")), "same floor"},
		{"on no floor", files("internal/util/a.go", "package util\n\nconst A = 1\n"), "stands on no floor"},
		{"a house without code", files("internal/authz/doc.go", "// Package authz asks.\npackage authz\n"), ""},
		{"a house with code", files("internal/authz/doc.go", "package authz\n\nconst A = 1\n"), "houses hold no code"},
		{"outside", files("pkg/a.go", "package pkg\n"), "outside internal/"},
		{"a wall named below the roof", files("internal/web/admin/a.go", imports("admin", "sallyport/internal/store/sqldb")), "imports only go down"},
		{"a wall named by the roof", files("internal/server/a.go", imports("server", "sallyport/internal/store/sqldb")), ""},
		{"a wall named by a test", files("internal/authz/role/a_test.go", imports("role", "sallyport/internal/store/sqldb")), ""},
		{"production code that wants testing", files("internal/authz/role/a.go", imports("role", "testing")), "testing"},
		{"verify names the server", files("verify/a.go", imports("verify", "sallyport/internal/server")), "verify may import"},
		{"verify as listed", files("verify/a.go", imports("verify", "sallyport", "sallyport/internal/audit/tlog", "golang.org/x/mod/sumdb/note")), ""},
		{"client names a room", files("client/a.go", imports("client", "sallyport/internal/identity/session")), "client may import"},
		{"a public package below the roof", files("internal/watch/detect/a.go", imports("detect", "sallyport/client")), "public package"},
		{"the root with a library", files("a.go", imports("sallyport", "golang.org/x/mod/semver")), "standard library only"},
		{"the root with the network", files("a.go", imports("sallyport", "net/http")), "net/http"},
		{"the root and a pure net package", files("a.go", imports("sallyport", "net/netip", "time")), ""},
		{"the root reads the clock", files("a.go", "package sallyport\n\nimport clock \"time\"\n\nvar f = clock.Now\n"), "time.Now"},
		{"rules with files", files("internal/audit/tlog/a.go", imports("tlog", "os")), "floor rules is pure"},
		{"rules with chance", files("internal/audit/tlog/a.go", imports("tlog", "math/rand/v2")), "floor rules is pure"},
		{"rules with a program", files("internal/audit/tlog/a.go", imports("tlog", "os/exec")), "floor rules is pure"},
		{"rules with a goroutine", files("internal/audit/tlog/a.go", "package tlog\n\nfunc f() { go f() }\n"), "goroutine"},
		{"rules that wait", files("internal/audit/tlog/a.go", "package tlog\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n"), "time.Sleep"},
		{"a test of the rules may", files("internal/audit/tlog/a_test.go", imports("tlog", "os", "net/http")), ""},
		{"an engine elsewhere", files("internal/authz/decision/a.go", imports("decision", "github.com/cedar-policy/cedar-go/types")), "only internal/authz/policy/cedar"},
		{"an engine at home", files("internal/authz/policy/cedar/a.go", imports("cedar", "github.com/cedar-policy/cedar-go/types")), ""},
		{"a database elsewhere", files("internal/server/a.go", imports("server", "database/sql")), "only internal/store/sqldb"},
	}
	rules := repositoryFloors(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tree, err := loadTree(test.tree)
			if err != nil {
				t.Fatal(err)
			}
			got := slices.Concat(rules.checkImports(tree), checkLibraries(tree), rules.checkPurity(tree))
			wantComplaint(t, got, test.want)
		})
	}
}

func TestParseFloorsRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"a package above all floors", "a/b\n", "before the first floor"},
		{"a package twice", "floor one\n\ta\nfloor two\n\ta\n", "twice"},
		{"a line about an unknown package", "floor one\n\ta\n\ta < b\n", "unknown package b"},
		{"a line across floors", "floor one\n\ta\nfloor two\n\tb\n\tb < a\n", "another floor"},
		{"a circle", "floor one\n\ta\n\tb\n\ta < b\n\tb < a\n", "circle"},
		{"words that are no rule", "floor one\n\ta b\n", "not understood"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseFloors(test.text)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("parseFloors(%q) = %v, want an error with %q", test.text, err, test.want)
			}
		})
	}
}

// publicFloor names the section of floors.txt for the packages outside internal/.
const publicFloor = "public"

// floors is floors.txt: which package stands where, and which imports within a floor are allowed.
// Packages are named as in the file: relative to internal/, "." for the root, plain for public packages.
type floors struct {
	names   []string            // low floors first
	floor   map[string]int      // package to index in names
	allowed map[string][]string // package to what "a < b" lines let it import; "floor/*" stands for a whole floor
}

// parseFloors reads the format of floors.txt and refuses every line that it does not understand.
func parseFloors(text string) (*floors, error) {
	f := &floors{floor: map[string]int{}, allowed: map[string][]string{}}
	for number, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if err := f.parseLine(strings.Fields(line)); err != nil {
			return nil, fmt.Errorf("floors.txt:%d: %w", number+1, err)
		}
	}
	for _, pkg := range f.packages() {
		if err := f.checkLines(pkg); err != nil {
			return nil, fmt.Errorf("floors.txt: %w", err)
		}
	}
	return f, nil
}

func (f *floors) parseLine(words []string) error {
	switch {
	case len(words) == 0:
	case len(words) == 2 && words[0] == "floor":
		f.names = append(f.names, words[1])
	case len(words) == 3 && words[1] == "<":
		f.allowed[words[2]] = append(f.allowed[words[2]], words[0])
	case len(words) != 1:
		return fmt.Errorf("%q is not understood: want \"floor NAME\", a package, or \"a < b\"", strings.Join(words, " "))
	case len(f.names) == 0:
		return fmt.Errorf("%s stands before the first floor", words[0])
	default:
		if _, twice := f.floor[words[0]]; twice {
			return fmt.Errorf("%s stands in the file twice", words[0])
		}
		f.floor[words[0]] = len(f.names) - 1
	}
	return nil
}

// checkLines holds the "a < b" lines of package b together: both exist, both on one floor (public ones apart), no circle.
func (f *floors) checkLines(pkg string) error {
	at, known := f.floor[pkg]
	if !known {
		return fmt.Errorf("a line names the unknown package %s", pkg)
	}
	for _, lower := range f.allowed[pkg] {
		on, known := f.floor[lower]
		if floor, all := strings.CutSuffix(lower, "/*"); all {
			known = slices.Contains(f.names, floor)
		}
		switch {
		case !known:
			return fmt.Errorf("%s < %s: unknown package %s", lower, pkg, lower)
		case f.names[at] == publicFloor:
		case on != at:
			return fmt.Errorf("%s < %s: %s stands on another floor", lower, pkg, lower)
		case f.reaches(lower, pkg):
			return fmt.Errorf("%s < %s closes a circle", lower, pkg)
		}
	}
	return nil
}

// reaches tells whether the lines let from import to, directly or over others.
func (f *floors) reaches(from, to string) bool {
	seen, queue := map[string]bool{}, []string{from}
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		if seen[next] {
			continue
		}
		seen[next] = true
		if slices.Contains(f.allowed[next], to) {
			return true
		}
		queue = append(queue, f.allowed[next]...)
	}
	return false
}

// packages lists every package that the file names, those of its lines too, sorted.
func (f *floors) packages() []string {
	var all []string
	for pkg := range f.floor {
		all = append(all, pkg)
	}
	for pkg := range f.allowed {
		all = append(all, pkg)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// nameOf is the spelling of a directory in floors.txt.
func nameOf(dir string) string { return strings.TrimPrefix(dir, "internal/") }

// checkImports holds the imports of production files against the floors; tests may import what they like.
func (f *floors) checkImports(tree *tree) []string {
	var bad []string
	for _, pkg := range tree.packages {
		if !pkg.hasProduction() {
			continue
		}
		if complaint := f.checkPlace(pkg); complaint != "" {
			bad = append(bad, complaint)
			continue
		}
		for _, imp := range pkg.imports() {
			if imp.path == "testing" && !strings.HasSuffix(pkg.dir, "test") {
				bad = append(bad, fmt.Sprintf("%s: %s imports testing: production code does not", imp.at, pkg.dir))
			}
			if dir, own := ownDir(imp.path); own {
				if rule := f.forbids(pkg.dir, dir); rule != "" {
					bad = append(bad, fmt.Sprintf("%s: %s imports %s: %s", imp.at, pkg.dir, dir, rule))
				}
			}
		}
	}
	return bad
}

// checkPlace says why a package may not stand where it stands, or "".
func (f *floors) checkPlace(pkg *pkg) string {
	_, known := f.floor[nameOf(pkg.dir)]
	switch {
	case known, pkg.isExample():
		return ""
	case !strings.HasPrefix(pkg.dir, "internal/"):
		return pkg.dir + ": a package outside internal/ that floors.txt does not list under \"floor public\""
	case strings.Count(pkg.dir, "/") > 1:
		return pkg.dir + " stands on no floor: add it to floors.txt, on the lowest floor that can hold it"
	case pkg.declares() || !f.isHouse(nameOf(pkg.dir)):
		return pkg.dir + " stands on no floor: houses hold no code, rooms are listed in floors.txt"
	}
	return ""
}

// isHouse tells whether rooms stand below name.
func (f *floors) isHouse(name string) bool {
	return slices.ContainsFunc(f.packages(), func(room string) bool { return strings.HasPrefix(room, name+"/") })
}

// forbids says which rule keeps the package in directory from from importing the one in directory to, or "".
func (f *floors) forbids(from, to string) string {
	a, b := nameOf(from), nameOf(to)
	low, known := f.floor[b]
	high, placed := f.floor[a]
	switch {
	case !known:
		return "it stands on no floor of floors.txt"
	case !placed: // an example
		if f.names[low] == publicFloor || b == "." {
			return ""
		}
		return "examples use the public packages only"
	case f.names[high] == publicFloor:
		if f.listed(b, a) {
			return ""
		}
		return fmt.Sprintf("%s may import %s only", a, strings.Join(f.allowed[a], ", "))
	case f.names[low] == publicFloor:
		if f.names[high] == "roof" {
			return ""
		}
		return "a public package is for the roof and for others' programs"
	case low < high, low == high && f.reaches(a, b):
		return ""
	case low == high:
		return fmt.Sprintf("both stand on the same floor, %s, and no line \"%s < %s\" allows it", f.names[low], b, a)
	}
	return fmt.Sprintf("imports only go down, and %s is on floor %s, above %s", to, f.names[low], f.names[high])
}

// listed tells whether a line lets the public package pkg import lower, by name or with its whole floor.
func (f *floors) listed(lower, pkg string) bool {
	floor := f.names[f.floor[lower]] + "/*"
	return slices.Contains(f.allowed[pkg], lower) || slices.Contains(f.allowed[pkg], floor)
}

// library says where a library may be named, and why not elsewhere. The path holds for the paths below it too.
// Without a home only tests may name it; banned ones not even they.
type library struct {
	path   string
	homes  []string // directories, each with those below it
	banned bool
	why    string
}

// libraries is the list of libraries with a rule. An engine that one package hides is replaced by changing one package.
func libraries() []library {
	home := func(path, why string, homes ...string) library { return library{path: path, homes: homes, why: why} }
	tests := func(path string) library { return library{path: path, why: "it is for tests"} }
	banned := func(path, why string) library { return library{path: path, banned: true, why: why} }
	return []library{
		home("github.com/cedar-policy/cedar-go", "an engine stays behind policy.Engine", "internal/authz/policy/cedar"),
		home("github.com/open-policy-agent/opa", "an engine stays behind policy.Engine", "internal/authz/policy/rego"),
		home("github.com/transparency-dev/tessera", "the log's driver stays behind the trail's interface", "internal/audit/trail/tiles"),
		home("k8s.io", "klog comes with tessera and is silenced there", "internal/audit/trail/tiles"),
		home("github.com/go-jose/go-jose/v4/jwt", "its claim checks pass over what was left empty", "internal/identity/jose"),
		home("github.com/go-jose/go-jose/v4", "tokens are verified in one place", "internal/identity/jose", "internal/identity/passkey"),
		home("database/sql", "a room declares the Store it needs", "internal/store/sqldb", "internal/store/storetest"),
		home("github.com/jackc/pgx/v5", "SQL has one home", "internal/store/sqldb", "internal/store/storetest"),
		home("modernc.org/sqlite", "SQL has one home", "internal/store/sqldb"),
		home("github.com/spf13/cobra", "only the command reads flags", "cmd/sallyport"),
		home("flag", "only the command reads flags", "cmd/sallyport"),
		home("golang.org/x/term", "only the command talks to a terminal", "cmd/sallyport"),
		home("html/template", "pages are written by the web", "internal/web"),
		tests("github.com/google/go-cmp"),
		tests("pgregory.net/rapid"),
		tests("github.com/rogpeppe/go-internal"),
		home("net/http/httptest", "it is for tests", "internal/identity/federation/oidc/oidctest"),
		banned("github.com/stretchr/testify", "tests are plain Go; go-cmp prints differences"),
		banned("github.com/sirupsen/logrus", "log/slog, with the logger as a field"),
		banned("github.com/pkg/errors", "errors and fmt.Errorf with %w do it"),
		banned("github.com/golang-jwt/jwt", "go-jose is the one JOSE library, so that algorithms are checked in one way"),
		banned("github.com/spf13/viper", "configuration is plain structs, strictly decoded"),
		banned("io/ioutil", "deprecated: io and os have its functions"),
		{path: "encoding/gob", why: "its decoder is not for bytes from outside"},
		{path: "net/rpc", why: "a door no route table covers"},
		{path: "net/http/pprof", why: "it registers routes on the default mux by import"},
		{path: "expvar", why: "it registers routes on the default mux by import"},
		{path: "plugin", why: "code that no review saw"},
		{path: "unsafe", why: "the types are the first wall"},
		{path: "C", why: "the binary is pure Go"},
		{path: "log", why: "log/slog, with the logger as a field"},
		home("text/template", "it escapes nothing", "cmd/sallyport", "internal/demo"),
	}
}

// libraryOf finds the most telling row for an import path.
func libraryOf(imp string) (library, bool) {
	for _, lib := range libraries() {
		if imp == lib.path || strings.Contains(lib.path, ".") && strings.HasPrefix(imp, lib.path+"/") {
			return lib, true
		}
	}
	return library{}, false
}

// checkLibraries holds every import of a foreign package against libraries, and the small public packages against what they promise.
func checkLibraries(tree *tree) []string {
	var bad []string
	for _, pkg := range tree.packages {
		for _, imp := range pkg.allImports() {
			if rule := pkg.forbidsLibrary(imp); rule != "" {
				bad = append(bad, fmt.Sprintf("%s: %s imports %s: %s", imp.at, pkg.dir, imp.path, rule))
			}
		}
	}
	return bad
}

// forbidsLibrary says which rule keeps a package from importing a library, or "".
func (p *pkg) forbidsLibrary(imp imported) string {
	lib, found := libraryOf(imp.path)
	switch {
	case found && lib.banned:
		return lib.why
	case imp.test:
		return ""
	case found && len(lib.homes) == 0:
		return "no production code does: " + lib.why
	case found && !slices.ContainsFunc(lib.homes, func(home string) bool { return within(p.dir, home) }):
		return fmt.Sprintf("only %s does: %s", strings.Join(lib.homes, ", "), lib.why)
	}
	foreign := strings.Contains(strings.Split(imp.path, "/")[0], ".")
	switch {
	case foreign && p.dir == ".":
		return "the words use the standard library only"
	case foreign && p.dir == "client":
		return "client stays free of libraries, for programs that embed it"
	case foreign && p.dir == "verify" && !slices.ContainsFunc(logLibraries(), func(lib string) bool { return within(imp.path, lib) }):
		return "verify may import the log's libraries only: " + strings.Join(logLibraries(), ", ")
	}
	return ""
}

// logLibraries are what a verifier needs beside the standard library: notes, tiles, proofs.
func logLibraries() []string {
	return []string{"golang.org/x/mod/sumdb", "github.com/transparency-dev/formats", "github.com/transparency-dev/merkle"}
}

// within tells whether a slash-separated path is dir or lies below it.
func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// impure lists the packages that reach outside: files, network, other programs, chance. Those below a path count too,
// but for what is named pure.
func impure(imp string) bool {
	if slices.Contains([]string{"net/netip", "net/url", "net/mail", "net/textproto"}, imp) {
		return false
	}
	outside := []string{"os", "net", "syscall", "math/rand", "crypto/rand", "database/sql", "log", "plugin", "golang.org/x/sys", "golang.org/x/net"}
	return slices.ContainsFunc(outside, func(path string) bool { return within(imp, path) })
}

// clockFuncs are the names of package time that read the clock or wait for it.
func clockFuncs() []string {
	return []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
}

// checkPurity holds the words and the rules to their promise: no I/O, no clock, no chance, no goroutine.
func (f *floors) checkPurity(tree *tree) []string {
	var bad []string
	for _, pkg := range tree.packages {
		at, known := f.floor[nameOf(pkg.dir)]
		if !known || f.names[at] != "words" && f.names[at] != "rules" {
			continue
		}
		complain := func(at, what string) {
			bad = append(bad, fmt.Sprintf("%s: %s: floor %s is pure: %s", at, pkg.dir, f.names[f.floor[nameOf(pkg.dir)]], what))
		}
		for _, imp := range pkg.imports() {
			if impure(imp.path) {
				complain(imp.at, "no import of "+imp.path)
			}
		}
		for _, file := range pkg.production() {
			file.findImpure(complain)
		}
	}
	return bad
}

// findImpure complains about go statements and uses of the clock, called or only named.
func (f *file) findImpure(complain func(at, what string)) {
	clock := f.localName("time")
	ast.Inspect(f.syntax, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.GoStmt:
			complain(f.at(node), "no goroutine")
		case *ast.SelectorExpr:
			from, ok := node.X.(*ast.Ident)
			if ok && clock != "" && from.Name == clock && slices.Contains(clockFuncs(), node.Sel.Name) {
				complain(f.at(node), "no time."+node.Sel.Name+": the time is an argument")
			}
		}
		return true
	})
}

// tree is the Go source of the repository, parsed.
type tree struct {
	fset     *token.FileSet
	packages []*pkg // by directory
}

// pkg is one directory of Go files.
type pkg struct {
	dir   string // slash-separated, "." for the root
	files []*file
}

// file is one parsed Go file.
type file struct {
	name   string // with its directory
	test   bool
	text   []byte
	syntax *ast.File
	fset   *token.FileSet
}

// imported is one import of a package, with the first place that names it.
type imported struct {
	path, at string
	test     bool
}

// loadTree parses every Go file of a file system but those in testdata, vendor, node_modules and hidden directories.
func loadTree(fsys fs.FS) (*tree, error) {
	tree := &tree{fset: token.NewFileSet()}
	byDir := map[string]*pkg{}
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if base := path.Base(name); name != "." && (base[0] == '.' || base[0] == '_' || base == "testdata" || base == "vendor" || base == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(tree.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		if byDir[dir] == nil {
			byDir[dir] = &pkg{dir: dir}
			tree.packages = append(tree.packages, byDir[dir])
		}
		byDir[dir].files = append(byDir[dir].files, &file{name, strings.HasSuffix(name, "_test.go"), text, syntax, tree.fset})
		return nil
	})
	return tree, err
}

// production lists the files that are no tests.
func (p *pkg) production() []*file {
	return slices.DeleteFunc(slices.Clone(p.files), func(f *file) bool { return f.test })
}

func (p *pkg) hasProduction() bool { return len(p.production()) > 0 }

// isExample tells whether the package is one of examples/, each a program of its own.
func (p *pkg) isExample() bool { return within(p.dir, "examples") }

// declares tells whether a production file holds more than comments.
func (p *pkg) declares() bool {
	return slices.ContainsFunc(p.production(), func(f *file) bool { return len(f.syntax.Decls) > 0 })
}

// imports lists what the production files import, each path once.
func (p *pkg) imports() []imported {
	return slices.DeleteFunc(p.allImports(), func(imp imported) bool { return imp.test })
}

// allImports lists what production files and tests import, each path once of either kind.
func (p *pkg) allImports() []imported {
	var all []imported
	for _, file := range p.files {
		for _, spec := range file.syntax.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err == nil && !slices.ContainsFunc(all, func(seen imported) bool { return seen.path == imp && seen.test == file.test }) {
				all = append(all, imported{imp, file.at(spec), file.test})
			}
		}
	}
	return all
}

// ownDir is the directory of an import path of this module.
func ownDir(imp string) (dir string, own bool) {
	if imp == modulePath {
		return ".", true
	}
	return strings.CutPrefix(imp, modulePath+"/")
}

// at is the place of a node, as file:line.
func (f *file) at(node ast.Node) string {
	return f.name + ":" + strconv.Itoa(f.fset.Position(node.Pos()).Line)
}

// localName is the name under which the file knows a package of the standard library, "" when it does not import it.
func (f *file) localName(imp string) string {
	for _, spec := range f.syntax.Imports {
		switch {
		case spec.Path.Value != strconv.Quote(imp):
		case spec.Name != nil:
			return spec.Name.Name
		default:
			return path.Base(imp)
		}
	}
	return ""
}

// parseRepository parses the working tree once for all rules.
var parseRepository = sync.OnceValues(func() (*tree, error) { return loadTree(os.DirFS(".")) })

func repositoryTree(t *testing.T) *tree {
	t.Helper()
	tree, err := parseRepository()
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func repositoryFloors(t *testing.T) *floors {
	t.Helper()
	text, err := os.ReadFile("floors.txt")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := parseFloors(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// report fails the test once a complaint.
func report(t *testing.T, complaints []string) {
	t.Helper()
	for _, complaint := range complaints {
		t.Error(complaint)
	}
}

// wantComplaint asks for at least one complaint that holds want, or for none when want is empty.
func wantComplaint(t *testing.T, got []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(got) > 0:
		t.Errorf("complaints about a good tree: %q", got)
	case want != "" && !slices.ContainsFunc(got, func(complaint string) bool { return strings.Contains(complaint, want) }):
		t.Errorf("complaints %q, want one with %q", got, want)
	}
}

// files is a tree of the given name, text pairs.
func files(pairs ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i+1 < len(pairs); i += 2 {
		fsys[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return fsys
}

// imports is the text of a Go file that imports the given paths.
func imports(pkg string, paths ...string) string {
	text := "package " + pkg + "\n"
	for _, imp := range paths {
		text += "\nimport _ " + strconv.Quote(imp)
	}
	return text + "\n"
}
