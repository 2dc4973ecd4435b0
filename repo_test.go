package sallyport_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"text/tabwriter"
)

// The budgets that fail the build. ARCHITECTURE.md has the marks to steer by, which are tighter; TestBudgets prints them.
// A comment "budget: reason" directly above a declaration lets that declaration exceed one.
const (
	mostFileLines       = 800
	mostFunctionLines   = 150
	mostComplexity      = 30
	mostParameters      = 5
	mostInterfaceMethod = 7
	mostImportHeight    = 11   // 9, one more for demo and bench, one for the pure part of approvals: ARCHITECTURE.md
	leastDocumented     = 0.95 // of the exported identifiers
)

// TestEveryPackageSaysWhatItOwns asks for a package comment in the usual form and, of a house, for the list of its rooms.
func TestEveryPackageSaysWhatItOwns(t *testing.T) {
	report(t, checkPackageComments(repositoryTree(t)))
}

// TestExportedIdentifiersAreDocumented lists what lacks a comment once fewer than 95 of 100 have one.
func TestExportedIdentifiersAreDocumented(t *testing.T) {
	all, missing := exported(repositoryTree(t))
	if float64(all-len(missing)) < leastDocumented*float64(all) {
		t.Errorf("%d of %d exported identifiers have no comment; at least %.0f %% need one:\n%s",
			len(missing), all, 100*leastDocumented, strings.Join(missing, "\n"))
	}
	t.Logf("%d exported identifiers, %d without a comment", all, len(missing))
	for _, at := range missing {
		t.Log(at)
	}
}

// TestBudgets prints the worst offenders of each budget and fails past the hard limits.
func TestBudgets(t *testing.T) {
	sizes := measure(repositoryTree(t))
	t.Log("\n" + sizes.table(5))
	report(t, sizes.overLimit())
}

// TestCodeRules holds the habits that a compiler does not: no effect at import, no mutable globals, no hidden ends or inputs.
func TestCodeRules(t *testing.T) { report(t, checkCode(repositoryTree(t))) }

// TestCodeRulesNoteEveryOffence shows that each rule can fail.
func TestCodeRulesNoteEveryOffence(t *testing.T) {
	const clientDoc = "// Package client calls.\npackage client\n"
	long := strings.Repeat("\n", mostFunctionLines)
	branches := "a" + strings.Repeat(" && a", mostComplexity)
	tests := []struct {
		name string
		tree fstest.MapFS
		want string // empty: the tree is good
	}{
		{"a good file", files("client/a.go", clientDoc), ""},
		{"no package comment", files("client/a.go", "package client\n"), "no package comment"},
		{"a comment that says little", files("client/a.go", "// Calls.\npackage client\n"), "begins with \"Package client \""},
		{"two package comments", files("client/a.go", clientDoc, "client/b.go", clientDoc), "twice"},
		{"a grab bag", files("util/a.go", "// Package util has all sorts.\npackage util\n"), "says nothing"},
		{"init", files("client/a.go", "package client\n\nfunc init() {}\n"), "no init"},
		{"a mutable global", files("client/a.go", "package client\n\nvar cache = map[string]int{}\n"), "cache is a mutable global"},
		{"a global with a reason", files("client/a.go", clientDoc+"\n// budget: written once by the linker\nvar version string\n"), ""},
		{"a sentinel", files("client/a.go", clientDoc+"\nimport \"errors\"\n\nvar errGone = errors.New(\"gone\")\n"), ""},
		{"an encoding", files("client/a.go", clientDoc+"\nimport \"encoding/base32\"\n\nvar ids = base32.NewEncoding(\"\").WithPadding('=')\n"), ""},
		{"an assertion", files("client/a.go", clientDoc+"\ntype a struct{}\n\nvar _ any = a{}\n"), ""},
		{"a panic", files("client/a.go", "package client\n\nfunc f() { panic(1) }\n"), "panic"},
		{"a panic that cannot happen", files("client/a.go", clientDoc+"\nfunc f() {\n\tpanic(1) // cannot happen: always one\n}\n"), ""},
		{"a blank import", files("client/a.go", "package client\n\nimport _ \"image/png\"\n"), "blank import"},
		{"an exit", files("client/a.go", "package client\n\nimport \"os\"\n\nfunc f() { os.Exit(1) }\n"), "os.Exit"},
		{"the environment", files("client/a.go", "package client\n\nimport \"os\"\n\nvar _ = os.Getenv\n"), "os.Getenv"},
		{"a bare client", files("client/a.go", "package client\n\nimport \"net/http\"\n\nfunc f() { http.Get(\"\") }\n"), "http.Get"},
		{"a fresh context", files("client/a.go", "package client\n\nimport \"context\"\n\nfunc f() { _ = context.Background() }\n"), "context.Background"},
		{"a fresh context at the top", files("internal/server/a.go", "// Package server wires.\npackage server\n\nimport \"context\"\n\nfunc f() { _ = context.Background() }\n"), ""},
		{"an unfinished context", files("internal/server/a.go", "package server\n\nimport \"context\"\n\nfunc f() { _ = context.TODO() }\n"), "context.TODO"},
		{"a chain of failures", files("client/a.go", "package client\n\nimport \"errors\"\n\nfunc f() error { return errors.New(\"failed to read\") }\n"), "failed to"},
		{"a long function", files("client/a.go", "package client\n\nfunc f() {"+long+"}\n"), "lines"},
		{"a long function with a reason", files("client/a.go", clientDoc+"\n// f is a table.\n// budget: one row a line\nfunc f() {"+long+"}\n"), ""},
		{"a long file", files("client/a.go", "package client\n"+strings.Repeat("\n", mostFileLines)), "lines, at most"},
		{"a crossroads", files("client/a.go", "package client\n\nfunc f(a bool) bool { return "+branches+" }\n"), "ways"},
		{"many parameters", files("client/a.go", "package client\n\nfunc f(a, b, c, d, e, f int) {}\n"), "6 parameters"},
		{"a wide interface", files("client/a.go", "package client\n\ntype i interface {\n\ta()\n\tb()\n\tc()\n\td()\n\te()\n\tf()\n\tg()\n\th()\n}\n"), "8 methods"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tree, err := loadTree(test.tree)
			if err != nil {
				t.Fatal(err)
			}
			wantComplaint(t, slices.Concat(checkPackageComments(tree), checkCode(tree), measure(tree).overLimit()), test.want)
		})
	}
}

func TestUndocumentedIdentifiersAreFound(t *testing.T) {
	const text = `package role

const A = 1

// B and C are documented together.
const (
	B = 1
	C = 2
)

type D struct{}

// E is documented.
func E() {}

func (D) F() {}

type g struct{}

func (g) H() {}
`
	tree, err := loadTree(files("internal/authz/role/a.go", text))
	if err != nil {
		t.Fatal(err)
	}
	all, missing := exported(tree)
	want := []string{"internal/authz/role/a.go:3: A", "internal/authz/role/a.go:11: D", "internal/authz/role/a.go:16: D.F"}
	if all != 6 || !slices.Equal(missing, want) {
		t.Errorf("exported = %d, %q, want 6, %q", all, missing, want)
	}
}

func TestHousesListTheirRooms(t *testing.T) {
	tree, err := loadTree(files(
		"internal/authz/doc.go", "// Package authz asks: may they?\n//\n//   - role: who does what\npackage authz\n",
		"internal/authz/role/a.go", "// Package role owns roles.\npackage role\n",
		"internal/authz/hold/a.go", "// Package hold owns holds.\npackage hold\n",
		"internal/audit/tlog/a.go", "// Package tlog owns trees.\npackage tlog\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := checkPackageComments(tree)
	wantComplaint(t, got, "does not list its room hold")
	wantComplaint(t, got, "internal/audit: no doc.go")
	if len(got) != 2 {
		t.Errorf("%d complaints, want 2: %q", len(got), got)
	}
}

// checkPackageComments wants one comment a package, in the usual form, no name that says nothing, and houses that list their rooms.
func checkPackageComments(tree *tree) []string {
	var bad []string
	houses := map[string][]string{}
	docs := map[string]string{}
	for _, pkg := range tree.packages {
		if !pkg.hasProduction() {
			continue
		}
		doc, complaint := pkg.comment()
		if complaint != "" {
			bad = append(bad, pkg.dir+": "+complaint)
		}
		docs[pkg.dir] = doc
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "misc", "base", "shared", "lib", "pkg"}, path.Base(pkg.dir)) {
			bad = append(bad, pkg.dir+": a name that says nothing: name what the package owns")
		}
		if parts := strings.Split(pkg.dir, "/"); parts[0] == "internal" && len(parts) == 3 {
			houses[path.Dir(pkg.dir)] = append(houses[path.Dir(pkg.dir)], parts[2])
		}
	}
	for house, rooms := range houses {
		doc, found := docs[house]
		if !found {
			bad = append(bad, house+": no doc.go that asks the house's question and lists its rooms")
			continue
		}
		for _, room := range rooms {
			if !regexp.MustCompile(`\b` + room + `\b`).MatchString(doc) {
				bad = append(bad, house+": doc.go does not list its room "+room)
			}
		}
	}
	slices.Sort(bad)
	return bad
}

// comment is the package comment, with what is wrong about it.
func (p *pkg) comment() (doc, complaint string) {
	for _, file := range p.production() {
		if file.syntax.Doc == nil {
			continue
		}
		if doc != "" {
			return doc, "the package comment stands twice: " + file.name
		}
		doc = file.syntax.Doc.Text()
	}
	name := p.production()[0].syntax.Name.Name
	starts := []string{"Package " + name + " "}
	if name == "main" {
		starts = []string{"Command " + path.Base(p.dir) + " ", "Sallyport "}
	}
	switch {
	case doc == "":
		return "", "no package comment"
	case !slices.ContainsFunc(starts, func(start string) bool { return strings.HasPrefix(doc, start) }):
		return doc, fmt.Sprintf("the package comment begins with %q, and says first what the package owns", starts[0])
	}
	return doc, ""
}

// exported counts the exported top-level identifiers of production files and lists those without a comment.
// Methods count with an exported receiver; one comment on a group speaks for its constants or variables.
func exported(tree *tree) (all int, missing []string) {
	for _, pkg := range tree.packages {
		for _, file := range pkg.production() {
			note := func(name *ast.Ident, spelled string, docs ...*ast.CommentGroup) {
				if !name.IsExported() {
					return
				}
				all++
				if !slices.ContainsFunc(docs, func(doc *ast.CommentGroup) bool { return doc != nil }) {
					missing = append(missing, file.at(name)+": "+spelled)
				}
			}
			for _, decl := range file.syntax.Decls {
				noteDecl(decl, note)
			}
		}
	}
	return all, missing
}

func noteDecl(decl ast.Decl, note func(name *ast.Ident, spelled string, docs ...*ast.CommentGroup)) {
	switch decl := decl.(type) {
	case *ast.FuncDecl:
		receiver := receiverName(decl)
		if receiver == "" || ast.IsExported(receiver) {
			note(decl.Name, funcName(decl), decl.Doc)
		}
	case *ast.GenDecl:
		for _, spec := range decl.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				note(spec.Name, spec.Name.Name, spec.Doc, decl.Doc, spec.Comment)
			case *ast.ValueSpec:
				for _, name := range spec.Names {
					note(name, name.Name, spec.Doc, decl.Doc, spec.Comment)
				}
			}
		}
	}
}

// receiverName is the type a method stands on, "" for a function.
func receiverName(decl *ast.FuncDecl) string {
	if decl.Recv == nil || len(decl.Recv.List) == 0 {
		return ""
	}
	expr := decl.Recv.List[0].Type
	for {
		switch inner := expr.(type) {
		case *ast.StarExpr:
			expr = inner.X
		case *ast.IndexExpr:
			expr = inner.X
		case *ast.IndexListExpr:
			expr = inner.X
		case *ast.Ident:
			return inner.Name
		default:
			return ""
		}
	}
}

func funcName(decl *ast.FuncDecl) string {
	if receiver := receiverName(decl); receiver != "" {
		return receiver + "." + decl.Name.Name
	}
	return decl.Name.Name
}

// size is one measured thing with its place.
type size struct {
	what, at string
	n        int
	excused  bool // by a "budget:" comment
}

// sizes holds what the budgets speak about.
type sizes struct {
	packages, files, functions, complexity, parameters, interfaces []size
	lines, testLines, height                                       int
}

// measure counts the production files; generated ones are not ours to shape.
func measure(tree *tree) *sizes {
	s := &sizes{height: importHeight(tree)}
	for _, pkg := range tree.packages {
		total := 0
		for _, file := range pkg.files {
			lines := bytes.Count(file.text, []byte("\n"))
			switch {
			case file.test:
				s.testLines += lines
			case !ast.IsGenerated(file.syntax):
				total += lines
				s.files = append(s.files, size{"", file.name, lines, file.excused(file.syntax.Package)})
				s.measureDecls(file)
			}
		}
		s.lines += total
		s.packages = append(s.packages, size{"", pkg.dir, total, false})
	}
	return s
}

func (s *sizes) measureDecls(file *file) {
	for _, decl := range file.syntax.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			s.measureInterfaces(file, decl.(*ast.GenDecl))
			continue
		}
		name, at, excused := funcName(fn), file.at(fn), file.excused(fn.Pos())
		lines := file.fset.Position(fn.End()).Line - file.fset.Position(fn.Pos()).Line + 1
		s.functions = append(s.functions, size{name, at, lines, excused})
		s.complexity = append(s.complexity, size{name, at, complexity(fn), excused})
		s.parameters = append(s.parameters, size{name, at, fn.Type.Params.NumFields(), excused})
	}
}

func (s *sizes) measureInterfaces(file *file, decl *ast.GenDecl) {
	for _, spec := range decl.Specs {
		named, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		if iface, ok := named.Type.(*ast.InterfaceType); ok {
			excused := file.excused(decl.Pos()) || file.excused(named.Pos())
			s.interfaces = append(s.interfaces, size{named.Name.Name, file.at(named), iface.Methods.NumFields(), excused})
		}
	}
}

// complexity counts the ways through a function: one, and one more for each branch, case, and, or.
func complexity(fn *ast.FuncDecl) int {
	ways := 1
	ast.Inspect(fn, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			ways++
		case *ast.CaseClause:
			if node.List != nil {
				ways++
			}
		case *ast.CommClause:
			if node.Comm != nil {
				ways++
			}
		case *ast.BinaryExpr:
			if node.Op == token.LAND || node.Op == token.LOR {
				ways++
			}
		}
		return true
	})
	return ways
}

// importHeight is the longest chain of imports inside the module.
func importHeight(tree *tree) int {
	byDir, height := map[string]*pkg{}, map[string]int{}
	for _, pkg := range tree.packages {
		byDir[pkg.dir] = pkg
	}
	var climb func(dir string) int
	climb = func(dir string) int {
		if known, seen := height[dir]; seen || byDir[dir] == nil {
			return known
		}
		height[dir] = 0 // ends a circle, which the compiler refuses anyway
		most := 0
		for _, imp := range byDir[dir].imports() {
			if below, own := ownDir(imp.path); own {
				most = max(most, climb(below)+1)
			}
		}
		height[dir] = most
		return most
	}
	most := 0
	for dir := range byDir {
		most = max(most, climb(dir))
	}
	return most
}

// overLimit lists what exceeds a hard limit without a reason.
func (s *sizes) overLimit() []string {
	var bad []string
	limit := func(all []size, most int, unit string) {
		for _, one := range all {
			if one.n > most && !one.excused {
				bad = append(bad, strings.TrimSpace(fmt.Sprintf("%s: %s", one.at, one.what))+fmt.Sprintf(" %d %s, at most %d: split it, or say why in a comment \"budget: reason\" directly above", one.n, unit, most))
			}
		}
	}
	limit(s.files, mostFileLines, "lines")
	limit(s.functions, mostFunctionLines, "lines")
	limit(s.complexity, mostComplexity, "ways through it")
	limit(s.parameters, mostParameters, "parameters")
	limit(s.interfaces, mostInterfaceMethod, "methods")
	if s.height > mostImportHeight {
		bad = append(bad, fmt.Sprintf("the longest chain of imports is %d, at most %d", s.height, mostImportHeight))
	}
	return bad
}

// table prints the worst few of each kind, and the shares that the marks speak about.
func (s *sizes) table(few int) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "budget\tmark\tmeasured\tworst")
	row := func(name, mark string, all []size, share string) {
		all = slices.Clone(all)
		slices.SortStableFunc(all, func(a, b size) int { return b.n - a.n })
		for i, one := range all[:min(few, len(all))] {
			if i > 0 {
				name, mark, share = "", "", ""
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d %s\n", name, mark, share, one.n, strings.TrimSpace(one.what+" "+one.at))
		}
	}
	row("package lines", "150 to 900", s.packages, percent(s.packages, 900))
	row("file lines", "90 % under 450", s.files, percent(s.files, 449))
	row("function lines", "90 % under 40, 99 % under 100", s.functions, percent(s.functions, 39)+", "+percent(s.functions, 99))
	row("complexity", "99 % under 20", s.complexity, percent(s.complexity, 19))
	row("parameters", "at most 5", s.parameters, percent(s.parameters, mostParameters))
	row("interface methods", "at most 7", s.interfaces, percent(s.interfaces, mostInterfaceMethod))
	per := max(1, s.lines)
	fmt.Fprintf(w, "interfaces per 1,000 lines\tat most 0.7\t%.2f\t%d in %d lines\n", 1000*float64(len(s.interfaces))/float64(per), len(s.interfaces), s.lines)
	fmt.Fprintf(w, "test lines per line\t0.8 to 1.4\t%.2f\t%d\n", float64(s.testLines)/float64(per), s.testLines)
	fmt.Fprintf(w, "import height\tat most %d\t%d\t\n", mostImportHeight, s.height)
	w.Flush()
	return text.String()
}

// percent is the share of sizes up to a mark.
func percent(all []size, most int) string {
	within := 0
	for _, one := range all {
		if one.n <= most {
			within++
		}
	}
	return fmt.Sprintf("%.1f %%", 100*float64(within)/float64(max(1, len(all))))
}

// excused tells whether a comment with "budget: reason" ends on the line above pos or stands on its line.
func (f *file) excused(pos token.Pos) bool { return f.remarked(pos, "budget: ") }

// remarked tells whether a comment that holds words ends on the line above pos or stands on its line.
func (f *file) remarked(pos token.Pos, words string) bool {
	line := f.fset.Position(pos).Line
	return slices.ContainsFunc(f.syntax.Comments, func(comment *ast.CommentGroup) bool {
		end := f.fset.Position(comment.End()).Line
		return (end == line-1 || end == line) && strings.Contains(comment.Text(), words)
	})
}

// top tells whether the package may end the program, read its environment and start contexts: commands, wiring, examples.
func (p *pkg) top() bool {
	return within(p.dir, "cmd") || within(p.dir, "internal/server") || within(p.dir, "internal/demo") || p.isExample()
}

// checkCode holds production files to the rules about globals, ends, inputs and error texts.
func checkCode(tree *tree) []string {
	var bad []string
	for _, pkg := range tree.packages {
		for _, file := range pkg.production() {
			complain := func(node ast.Node, what string) { bad = append(bad, file.at(node)+": "+what) }
			for _, decl := range file.syntax.Decls {
				file.checkDecl(decl, complain)
			}
			for _, spec := range file.syntax.Imports {
				quiet := strings.Trim(spec.Path.Value, `"`)
				if spec.Name != nil && spec.Name.Name == "_" && quiet != "embed" && pkg.dir != "internal/store/sqldb" {
					complain(spec, "a blank import for effect: "+quiet)
				}
			}
			file.checkCalls(pkg.top(), complain)
		}
	}
	return bad
}

// checkDecl refuses init and variables that could change under a running program.
func (f *file) checkDecl(decl ast.Decl, complain func(ast.Node, string)) {
	switch decl := decl.(type) {
	case *ast.FuncDecl:
		if decl.Recv == nil && decl.Name.Name == "init" {
			complain(decl, "no init functions: wiring is one visible list")
		}
	case *ast.GenDecl:
		if decl.Tok != token.VAR || f.excused(decl.Pos()) {
			return
		}
		for _, spec := range decl.Specs {
			value := spec.(*ast.ValueSpec)
			if value.Names[0].Name != "_" && !f.constant(value, decl) && !f.excused(value.Pos()) {
				complain(value, value.Names[0].Name+" is a mutable global: make it a field, a constant or a function, or say why in a comment \"budget: reason\" directly above")
			}
		}
	}
}

// constant tells whether a variable is one only because Go has no such constants: sentinels, expressions, embedded files, once-functions.
func (f *file) constant(value *ast.ValueSpec, decl *ast.GenDecl) bool {
	for _, doc := range []*ast.CommentGroup{value.Doc, decl.Doc} {
		if doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") }) {
			return true
		}
	}
	makers := []string{"errors.New", "fmt.Errorf", "regexp.MustCompile", "strings.NewReplacer", "template.Must", "sync.OnceFunc", "sync.OnceValue", "sync.OnceValues",
		"base32.NewEncoding", "base32.StdEncoding", "base32.HexEncoding", "base64.NewEncoding", "base64.StdEncoding", "base64.URLEncoding", "base64.RawURLEncoding"}
	return len(value.Values) > 0 && !slices.ContainsFunc(value.Values, func(expr ast.Expr) bool { return !slices.Contains(makers, origin(expr)) })
}

// origin is the pkg.Name at the beginning of an expression: base32.NewEncoding for base32.NewEncoding(x).WithPadding(y).
func origin(expr ast.Expr) string {
	for {
		if name := selected(expr); name != "" {
			return name
		}
		switch inner := expr.(type) {
		case *ast.CallExpr:
			expr = inner.Fun
		case *ast.SelectorExpr:
			expr = inner.X
		default:
			return ""
		}
	}
}

// selected spells pkg.Name, "" for any other expression.
func selected(expr ast.Expr) string {
	if sel, ok := expr.(*ast.SelectorExpr); ok {
		if from, ok := sel.X.(*ast.Ident); ok {
			return from.Name + "." + sel.Sel.Name
		}
	}
	return ""
}

// checkCalls refuses panics without a reason, ends and inputs below the top, clients and servers without limits, chains of "failed to".
func (f *file) checkCalls(top bool, complain func(ast.Node, string)) {
	never := map[string]string{
		"context.TODO": "say which context", "http.DefaultClient": "it has no limits: plumbing/httpsafe", "http.DefaultTransport": "it has no limits: plumbing/httpsafe",
		"http.Get": "it has no limits: plumbing/httpsafe", "http.Post": "it has no limits: plumbing/httpsafe", "http.PostForm": "it has no limits: plumbing/httpsafe",
		"http.Head": "it has no limits: plumbing/httpsafe", "http.ListenAndServe": "it has no limits: plumbing/httpsafe", "http.ListenAndServeTLS": "it has no limits: plumbing/httpsafe",
		"http.DefaultServeMux": "routes are one visible list", "http.Handle": "routes are one visible list", "http.HandleFunc": "routes are one visible list",
		"slog.SetDefault": "the logger is a field", "slog.Default": "the logger is a field",
	}
	below := map[string]string{
		"os.Exit": "only the command ends", "os.Getenv": "only the command reads the environment", "os.LookupEnv": "only the command reads the environment",
		"os.Environ": "only the command reads the environment", "context.Background": "the caller's context, or context.WithoutCancel of it",
		"signal.Notify": "only the command listens to signals", "signal.NotifyContext": "only the command listens to signals",
	}
	ast.Inspect(f.syntax, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.CallExpr:
			if fn, ok := node.Fun.(*ast.Ident); ok && fn.Name == "panic" && !f.remarked(node.Pos(), "cannot happen") {
				complain(node, "panic without a comment \"cannot happen: why\" on its line or the one above")
			}
			if name := selected(node.Fun); (name == "errors.New" || name == "fmt.Errorf") && len(node.Args) > 0 && beginsWith(node.Args[0], "failed to") {
				complain(node, "an error names the operation and the argument, without \"failed to\"")
			}
		case *ast.SelectorExpr:
			name := selected(node)
			why, forbidden := never[name]
			if !forbidden && !top {
				why, forbidden = below[name]
			}
			if forbidden && !f.excused(node.Pos()) {
				complain(node, "no "+name+" here: "+why)
			}
		}
		return true
	})
}

// beginsWith tells whether an expression is a string literal with this beginning.
func beginsWith(expr ast.Expr, words string) bool {
	lit, ok := expr.(*ast.BasicLit)
	return ok && lit.Kind == token.STRING && strings.HasPrefix(strings.Trim(lit.Value, "\"`"), words)
}
