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
	"sort"
	"strings"
	"testing"
	"testing/fstest"
)

// unguarded are the handlers that reach no decision of the guard, by house and function, each with its reason. Whatever is
// not here and answers HTTP without one fails TestEveryHandlerIsGuarded, and so does an entry that nothing needs.
func unguarded() map[string]string {
	return map[string]string{
		"internal/server ready":           "says whether the server works, to who watches over it",
		"internal/server func":            "says that the process lives",
		"internal/server takeTicket":      "ends grants and gives none; who sends is proved by a signature over the body",
		"internal/server certificates":    "passes on what the listener has verified, to the doors behind it",
		"internal/web/admin unmapped":     "refuses, and records it",
		"internal/web/admin Nowhere":      "refuses, and records it",
		"internal/web/scim unmapped":      "refuses, and records it",
		"internal/web/signals unmapped":   "refuses, and records it",
		"internal/enforce/extauthz Check": "hands the question to the gateway's door, whose ServeHTTP is judged there",
		"internal/web/drills serve":       "pages drawn from answers of the management API, which decides on each call of theirs: web/within",
		"internal/web/approvals serve":    "pages drawn from answers of the management API, which decides on each call of theirs: web/within",
		"internal/web/home show":          "as web/approvals",
		"internal/web/page func":          "a style sheet and an icon",
		"internal/web/oauth discovery":    "metadata, RFC 8414",
		"internal/web/oauth keys":         "public keys, RFC 7517",
		"internal/web/oauth json":         "the token endpoint: how one gets what the guard asks for; under its own rules, RFC 6749",
		"internal/web/oidc page":          "consent and sign-out of who is signed in, by a session; gives nothing wider than that",
		"internal/web/login protect":      "sign-in and one's own account: how one becomes somebody",
		"internal/web/login protectUpTo":  "as protect, with room for a passkey's ceremony",
		"internal/web/login outside":      "where another provider's answer arrives; bound to the browser that began",
		"internal/web/device device":      "an enrolled device renews and reports itself, proved by its certificate",
		"internal/web/device roots":       "public certificates",
		"internal/web/device revoked":     "the list of revoked certificates, RFC 5280",
		"internal/web/signals public":     "metadata and public keys, SSF",
		"internal/web/signals receive":    "what a partner signed, proved by its signature",
	}
}

// TestEveryHandlerIsGuarded finds everything in the web, enforce and server houses that answers HTTP or gRPC, and follows
// what it calls in its own package: it comes to the guard's Check, or it stands in the list with a reason.
func TestEveryHandlerIsGuarded(t *testing.T) {
	found, err := unguardedHandlers(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	allowed := unguarded()
	for _, h := range found {
		if allowed[h] == "" {
			t.Errorf("%s answers without a decision of the guard: take it through one, or say in unguarded why not", h)
		}
	}
	for h := range allowed {
		if !slices.Contains(found, h) {
			t.Errorf("%s is listed as unguarded and is not there", h)
		}
	}
}

// TestUnguardedHandlersAreNoticed shows that the search finds each form.
func TestUnguardedHandlersAreNoticed(t *testing.T) {
	files := fstest.MapFS{"internal/web/x/x.go": {Data: []byte(`package x
func (d *Door) Routes(mux *http.ServeMux) {
	mux.Handle("/a", d.good(d.work))
	mux.Handle("/b", d.bad(d.work))
	mux.HandleFunc("/c", func(w http.ResponseWriter, r *http.Request) { d.work(w, r) })
	for p, h := range map[string]http.HandlerFunc{"/d": d.work} { mux.Handle(p, h) }
}
func (d *Door) good(h http.Handler) http.Handler { return d.deeper(h) }
func (d *Door) deeper(h http.Handler) http.Handler { d.Guard.Check(nil, nil); return h }
func (d *Door) bad(h http.Handler) http.Handler { d.Guard.Note(nil); return h }
func (d *Door) work(w http.ResponseWriter, r *http.Request) {}
func (o *Other) ServeHTTP(w http.ResponseWriter, r *http.Request) { o.work() }
func (g *Good) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.Guard.Ask() }
`)}}
	got, err := unguardedHandlers(files)
	want := []string{"internal/web/x Other", "internal/web/x bad", "internal/web/x func", "internal/web/x h"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

// A house of handlers is one package, by what its functions call.
type handlerPackage struct {
	dir   string
	calls map[string]map[string]bool // function -> names that it mentions
	check map[string]bool            // functions that ask the guard themselves
	made  map[string]bool            // variables that another package's New made
	found map[string]bool
}

func unguardedHandlers(root fs.FS) ([]string, error) {
	var all []string
	for _, house := range []string{"internal/web", "internal/enforce", "internal/server"} {
		err := fs.WalkDir(root, house, func(dir string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				if _, missing := root.(fstest.MapFS); missing {
					return nil
				}
				return err
			}
			found, err := handlersOf(root, dir)
			all = append(all, found...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	sort.Strings(all)
	return slices.Compact(all), nil
}

func handlersOf(root fs.FS, dir string) ([]string, error) {
	names, err := fs.Glob(root, path.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	p := handlerPackage{dir: dir, calls: map[string]map[string]bool{}, check: map[string]bool{}, made: map[string]bool{}, found: map[string]bool{}}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return nil, err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
		p.read(f)
	}
	for _, f := range files {
		p.judge(f)
	}
	var found []string
	for h := range p.found {
		found = append(found, dir+" "+h)
	}
	return found, nil
}

// read notes what each function mentions, and whether it asks the guard.
func (p *handlerPackage) read(f *ast.File) {
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		name := fn.Name.Name
		if name == "ServeHTTP" {
			name = receiver(fn) + ".ServeHTTP"
		}
		if p.calls[name] == nil {
			p.calls[name] = map[string]bool{}
		}
		mentions(fn.Body, p.calls[name])
		p.check[name] = p.check[name] || asksGuard(fn.Body)
	}
}

func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return ""
	}
	e := fn.Recv.List[0].Type
	if s, ok := e.(*ast.StarExpr); ok {
		e = s.X
	}
	return fmt.Sprint(e)
}

func mentions(n ast.Node, into map[string]bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.SelectorExpr: // d.serve, but not d.store.serve, which is another package's
			if _, ok := x.X.(*ast.Ident); ok {
				into[x.Sel.Name] = true
				return false
			}
			if _, method := x.X.(*ast.ParenExpr); method { // (*Door).serve
				into[x.Sel.Name] = true
			}
			mentions(x.X, into)
			return false
		case *ast.Ident:
			into[x.Name] = true
		}
		return true
	})
}

// asksGuard reports whether a decision is asked for: X.Guard.Check, g.Check of a guard, X.Guard.Ask,
// and the routes of a mux that the package has registered itself.
func asksGuard(n ast.Node) bool {
	asks := false
	ast.Inspect(n, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		of, ok := sel.X.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		guard := strings.EqualFold(of.Sel.Name, "guard") && slices.Contains([]string{"Check", "Ask"}, sel.Sel.Name)
		asks = asks || guard || of.Sel.Name == "mux" && sel.Sel.Name == "ServeHTTP"
		return true
	})
	return asks
}

// guarded reports whether a function comes to the guard, by itself or by what it mentions in its package.
func (p *handlerPackage) guarded(name string, seen map[string]bool) bool {
	if p.check[name] {
		return true
	}
	if seen[name] {
		return false
	}
	seen[name] = true
	for next := range p.calls[name] {
		if p.calls[next] != nil && p.guarded(next, seen) {
			return true
		}
	}
	return false
}

// judge looks at every registration and every type that serves.
func (p *handlerPackage) judge(f *ast.File) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.AssignStmt:
			if call, ok := x.Rhs[0].(*ast.CallExpr); ok {
				if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "New" {
					for _, l := range x.Lhs {
						p.made[fmt.Sprint(l)] = true
					}
				}
			}
		case *ast.FuncDecl:
			if x.Name.Name == "ServeHTTP" && !p.guarded(receiver(x)+".ServeHTTP", map[string]bool{}) {
				p.found[receiver(x)] = true
			}
			if x.Name.Name == "Check" && x.Recv != nil && x.Type.Params.NumFields() == 2 && p.dir == "internal/enforce/extauthz" && !p.guarded("Check", map[string]bool{}) {
				p.found["Check"] = true
			}
		case *ast.CallExpr:
			sel, ok := x.Fun.(*ast.SelectorExpr)
			if ok && (sel.Sel.Name == "Handle" || sel.Sel.Name == "HandleFunc") && len(x.Args) == 2 {
				p.registered(x.Args[1])
			}
		}
		return true
	})
}

// registered judges what is registered: by the outermost function of this package that makes it, or by being of another
// package, whose ServeHTTP is judged there.
func (p *handlerPackage) registered(e ast.Expr) {
	name := ""
	switch x := e.(type) {
	case *ast.FuncLit:
		mentioned := map[string]bool{}
		mentions(x, mentioned)
		for m := range mentioned {
			if p.calls[m] != nil && p.guarded(m, map[string]bool{}) || asksGuard(x) {
				return
			}
		}
		name = "func"
	case *ast.CallExpr:
		sel, ok := x.Fun.(*ast.SelectorExpr)
		if !ok {
			name = fmt.Sprint(x.Fun)
			break
		}
		if p.calls[sel.Sel.Name] == nil || sel.Sel.Name == "New" || sel.Sel.Name == "Handler" { // made elsewhere: of what it is given
			if len(x.Args) == 1 && sel.Sel.Name == "Handler" {
				p.registered(x.Args[0])
			}
			return
		}
		name = sel.Sel.Name
	case *ast.SelectorExpr:
		name = x.Sel.Name
	case *ast.Ident:
		if p.made[x.Name] {
			return
		}
		name = x.Name
	default: // &admission.Door{…}
		return
	}
	if !p.guarded(name, map[string]bool{}) {
		p.found[name] = true
	}
}

// pastTheClient are the functions of the server that the command line calls itself, each with its reason: they run a server,
// or they need none. Everything else goes over the management API, where the guard decides.
func pastTheClient() map[string]string {
	return map[string]string{
		"Main":          "runs a server, which is what decides",
		"LoadConfig":    "reads the file that a server would start with, for the checks that need no server",
		"CheckTLS":      "looks at the certificate of a running server from outside, as a client sees it",
		"RouteCoverage": "compares tables that are part of the program",
	}
}

// TestNoVerbGoesPastTheClient: the command line reaches state over the wire only. floors.txt keeps stores and rooms out of
// it; what it may call of the server is in a list.
func TestNoVerbGoesPastTheClient(t *testing.T) {
	files, err := fs.Glob(os.DirFS("."), "cmd/sallyport/*.go")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if id, ok := sel.X.(*ast.Ident); ok && id.Name == "server" && ast.IsExported(sel.Sel.Name) {
					used[sel.Sel.Name] = true
				}
			}
			return true
		})
	}
	allowed := pastTheClient()
	for name := range used {
		if allowed[name] == "" {
			t.Errorf("the command line calls server.%s: go over the client, or say in pastTheClient why not", name)
		}
	}
	for name := range allowed {
		if !used[name] {
			t.Errorf("server.%s is listed and not called", name)
		}
	}
}
