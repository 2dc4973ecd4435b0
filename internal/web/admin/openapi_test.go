package admin_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/web/admin"
	"sallyport/internal/web/api"
)

// TestTheDocumentIsTheAPI makes the OpenAPI 3.1 document from the route table, the handlers, the client and the types of the
// wire, and compares it with the one that the program serves. SALLYPORT_WRITE_OPENAPI=1 writes it.
func TestTheDocumentIsTheAPI(t *testing.T) {
	s := readSource(t)
	var made bytes.Buffer
	enc := json.NewEncoder(&made)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(s.document()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"../api/openapi.json", "../../../docs/openapi.json"} {
		if os.Getenv("SALLYPORT_WRITE_OPENAPI") != "" {
			if err := os.WriteFile(path, made.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(kept, made.Bytes()) {
			t.Errorf("%s is not the document of this API (%v): run this test with SALLYPORT_WRITE_OPENAPI=1", path, err)
		}
	}
	if !json.Valid(api.OpenAPI()) {
		t.Error("what is served is no JSON")
	}
	if n := len(s.untyped); n > 12 {
		t.Errorf("%d operations have an answer without a type: %v", n, s.untyped)
	}
}

// TestTheDocumentHolds what OpenAPI 3.1.0 asks of one: every reference leads somewhere, every parameter of a path is
// declared, ids are unique, and each operation says its action, its errors and how callers prove themselves.
func TestTheDocumentHolds(t *testing.T) {
	var d struct {
		OpenAPI string
		Info    struct{ Title, Version string }
		Paths   map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Action      string `json:"x-sallyport-action"`
			Parameters  []struct {
				Name, In string
				Required bool
				Schema   map[string]any
			}
			RequestBody *struct {
				Content map[string]struct{ Schema map[string]any }
			}
			Responses map[string]map[string]any
			Security  []map[string][]string
		}
		Components struct {
			Schemas, Responses, SecuritySchemes map[string]map[string]any
		}
	}
	if err := json.Unmarshal(api.OpenAPI(), &d); err != nil {
		t.Fatal(err)
	}
	if d.OpenAPI != "3.1.0" || d.Info.Title == "" || d.Info.Version == "" || len(d.Components.SecuritySchemes) == 0 {
		t.Errorf("%s %+v", d.OpenAPI, d.Info)
	}
	ids, operations := map[string]bool{}, 0
	wild := regexp.MustCompile(`\{([a-z]+)\}`)
	for path, item := range d.Paths {
		for method, o := range item {
			operations++
			if o.OperationID == "" || ids[o.OperationID] || !sallyport.Action(o.Action).Valid() || len(o.Security) == 0 {
				t.Errorf("%s %s: %+v", method, path, o)
			}
			ids[o.OperationID] = true
			for _, m := range wild.FindAllStringSubmatch(path, -1) {
				declared := false
				for _, p := range o.Parameters {
					declared = declared || p.Name == m[1] && p.In == "path" && p.Required && p.Schema != nil
				}
				if !declared {
					t.Errorf("%s %s does not declare %s", method, path, m[1])
				}
			}
			for _, status := range []string{"200", "400", "401", "403", "404", "503"} {
				if o.Responses[status] == nil {
					t.Errorf("%s %s says nothing of %s", method, path, status)
				}
			}
		}
	}
	if want := len(admin.Routes()); operations != want {
		t.Errorf("%d operations of %d routes", operations, want)
	}
	for _, ref := range regexp.MustCompile(`"\$ref": "#/components/(\w+)/([\w.]+)"`).FindAllStringSubmatch(string(api.OpenAPI()), -1) {
		if ref[1] == "schemas" && d.Components.Schemas[ref[2]] == nil || ref[1] == "responses" && d.Components.Responses[ref[2]] == nil {
			t.Errorf("%s leads nowhere", ref[0])
		}
	}
}

// A source is what the document is made from.
type source struct {
	t        *testing.T
	handlers map[string]*ast.FuncDecl  // of admin, by name
	answers  map[string]ast.Expr       // "GET /people" -> the type that the client reads
	types    map[string]*ast.TypeSpec  // "api.Thing", "sallyport.Action"
	docs     map[string]string         // of types
	consts   map[string][]string       // values of named texts
	schemas  map[string]map[string]any // made so far
	untyped  []string
}

func readSource(t *testing.T) *source {
	s := &source{t: t, handlers: map[string]*ast.FuncDecl{}, answers: map[string]ast.Expr{}, types: map[string]*ast.TypeSpec{}, docs: map[string]string{}, consts: map[string][]string{}, schemas: map[string]map[string]any{}}
	for _, f := range parsed(t, ".") {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil {
				s.handlers[fn.Name.Name] = fn
			}
		}
	}
	for _, f := range parsed(t, "../../../client") {
		ast.Inspect(f, s.clientCall)
	}
	s.readTypes("api", parsed(t, "../api"))
	s.readTypes("sallyport", parsed(t, "../../.."))
	return s
}

func parsed(t *testing.T, dir string) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

func (s *source) readTypes(pkg string, files []*ast.File) {
	for _, f := range files {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				switch x := spec.(type) {
				case *ast.TypeSpec:
					s.types[pkg+"."+x.Name.Name] = x
					doc := x.Doc
					if doc == nil {
						doc = g.Doc
					}
					s.docs[pkg+"."+x.Name.Name] = strings.Join(strings.Fields(doc.Text()), " ")
				case *ast.ValueSpec:
					id, ok := x.Type.(*ast.Ident)
					if !ok || g.Tok != token.CONST || len(x.Values) != 1 {
						continue
					}
					if lit, ok := x.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
						text, err := strconv.Unquote(lit.Value)
						if err != nil {
							s.t.Fatal(err)
						}
						s.consts[pkg+"."+id.Name] = append(s.consts[pkg+"."+id.Name], text)
					}
				}
			}
		}
	}
}

// clientCall notes the type of get[T](…, path, …) and post[T](…, request{path: path}, …).
func (s *source) clientCall(n ast.Node) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return true
	}
	index, ok := call.Fun.(*ast.IndexExpr)
	if !ok {
		return true
	}
	fn, _ := index.X.(*ast.Ident)
	switch {
	case fn == nil:
	case fn.Name == "get" && len(call.Args) >= 4:
		s.answers["GET "+shape(call.Args[3])] = index.Index
	case fn.Name == "post" && len(call.Args) >= 3:
		lit, _ := call.Args[2].(*ast.CompositeLit)
		for _, e := range elements(lit) {
			if kv, ok := e.(*ast.KeyValueExpr); ok && kv.Key.(*ast.Ident).Name == "path" {
				s.answers["POST "+shape(kv.Value)] = index.Index
			}
		}
	}
	return true
}

func elements(lit *ast.CompositeLit) []ast.Expr {
	if lit == nil {
		return nil
	}
	return lit.Elts
}

// shape is a path with "{}" for what is not fixed.
func shape(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(x.Value)
		if err == nil {
			return text
		}
	case *ast.BinaryExpr:
		return shape(x.X) + shape(x.Y)
	case *ast.CallExpr:
		if id, ok := x.Fun.(*ast.Ident); ok {
			return map[string]string{"member": "/people/{}", "recovery": "/recoveries/{}"}[id.Name]
		}
	}
	return "{}"
}

func (s *source) document() map[string]any {
	paths := map[string]any{}
	for _, r := range admin.Routes() {
		item, _ := paths[r.Pattern].(map[string]any)
		if item == nil {
			item = map[string]any{}
			paths[r.Pattern] = item
		}
		item[strings.ToLower(r.Method)] = s.operation(r)
	}
	failure := func(text string) map[string]any {
		return map[string]any{"description": text, "content": content(s.named("api.Error"))}
	}
	invalid := failure("The request is not what this operation takes. In plain text: it has more than one reading (a path, a field twice), which the listener refuses before any operation is looked for.")
	invalid["content"].(map[string]any)["text/plain"] = map[string]any{"schema": map[string]any{"type": "string"}}
	responses := map[string]any{
		"Invalid": invalid, "Unproved": failure("Nobody was proved, or a stronger proof is needed (outcome step-up, needs)."),
		"Denied": failure("A decision that is not to allow, with its id, reasons and remedies."), "NotFound": failure("It is not there, or the caller may not know that it is."),
		"Conflict": failure("The state forbids it now."), "TooLarge": failure("The body is over 1 MiB."), "Busy": failure("Over a rate or a queue."), "Unavailable": failure("Store, log or keys cannot be used; nothing was done."),
	}
	s.named("api.Error")
	return map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{"title": "Sallyport management API", "version": "1", "license": map[string]any{"name": "see LICENSE", "identifier": "Apache-2.0"},
			"description": "Every operation names an action (x-sallyport-action) and a resource, goes through the same guard as every other door, and is in the log before it has an effect. Bodies are read strictly: unknown and doubled members are errors."},
		"servers":    []any{map[string]any{"url": api.Version}},
		"security":   security(),
		"paths":      paths,
		"components": map[string]any{"schemas": s.schemas, "responses": responses, "securitySchemes": schemes()},
	}
}

func security() []any {
	return []any{map[string]any{"token": []any{}}, map[string]any{"bound": []any{}}}
}

func schemes() map[string]any {
	return map[string]any{
		"token": map[string]any{"type": "http", "scheme": "bearer", "description": "An access token for the audience SERVER/api, bound to no key or to a client certificate (RFC 6750, RFC 8705)."},
		"bound": map[string]any{"type": "http", "scheme": "dpop", "description": "An access token that is bound to a key, with a proof of it in the header DPoP (RFC 9449)."},
	}
}

func content(schema map[string]any) map[string]any {
	return map[string]any{"application/json": map[string]any{"schema": schema}}
}

func (s *source) operation(r admin.Route) map[string]any {
	name := functionName(r.Serve)
	fn := s.handlers[name]
	o := map[string]any{"operationId": strings.ToLower(r.Method) + strings.ToUpper(name[:1]) + name[1:], "x-sallyport-action": string(r.Action), "security": security()}
	if fn != nil && fn.Doc != nil {
		o["description"] = strings.Join(strings.Fields(fn.Doc.Text()), " ")
	}
	var params []any
	for _, m := range regexp.MustCompile(`\{([a-z]+)\}`).FindAllStringSubmatch(r.Pattern, -1) {
		params = append(params, map[string]any{"name": m[1], "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
	}
	o["x-sallyport-resource"] = "system"
	if functionName(r.Target) == "inQuery" {
		o["x-sallyport-resource"] = "in the query"
		params = append(params, map[string]any{"name": "resource", "in": "query", "description": "What the call is permitted for, as in ORG/MODEL@VERSION; system without it.", "schema": map[string]any{"type": "string"}})
	}
	body, query := s.inputs(name, 0)
	for _, q := range query {
		if q != "resource" {
			params = append(params, map[string]any{"name": q, "in": "query", "schema": map[string]any{"type": "string"}})
		}
	}
	if params != nil {
		o["parameters"] = params
	}
	if body != nil {
		o["requestBody"] = map[string]any{"required": true, "content": content(s.schema("api", body))}
	}
	answer := map[string]any{}
	pattern := regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(r.Pattern, "{}")
	if e, ok := s.answers[r.Method+" "+pattern]; ok {
		answer = s.schema("client", e)
	} else if e := s.returned(name); e != nil {
		answer = s.schema("admin", e)
	} else {
		s.untyped = append(s.untyped, r.Method+" "+r.Pattern)
	}
	responses := map[string]any{"200": map[string]any{"description": "Done.", "headers": map[string]any{"Sallyport-Decision": map[string]any{"description": "The id of the decision.", "schema": map[string]any{"type": "string"}}}, "content": content(answer)}}
	for status, ref := range map[string]string{"400": "Invalid", "401": "Unproved", "403": "Denied", "404": "NotFound", "409": "Conflict", "413": "TooLarge", "429": "Busy", "503": "Unavailable"} {
		responses[status] = map[string]any{"$ref": "#/components/responses/" + ref}
	}
	o["responses"] = responses
	return o
}

func functionName(f any) string {
	name := runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
	return strings.TrimSuffix(name[strings.LastIndexByte(name, '.')+1:], "-fm")
}

// inputs are the type of the body that a handler decodes, and the parameters of the query that it reads, in itself and in
// the methods that it hands its call to.
func (s *source) inputs(name string, depth int) (body ast.Expr, query []string) {
	fn := s.handlers[name]
	if fn == nil || depth > 2 {
		return nil, nil
	}
	vars := map[string]ast.Expr{}
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.ValueSpec:
			for _, id := range x.Names {
				vars[id.Name] = x.Type
			}
		case *ast.CallExpr:
			sel, ok := x.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if sel.Sel.Name == "decode" && len(x.Args) == 1 {
				if u, ok := x.Args[0].(*ast.UnaryExpr); ok {
					if id, ok := u.X.(*ast.Ident); ok {
						body = vars[id.Name]
					}
				}
				return true
			}
			for _, a := range x.Args { // c.number("from", …), q.Get("who")
				if lit, ok := a.(*ast.BasicLit); ok && lit.Kind == token.STRING && (sel.Sel.Name == "number" || sel.Sel.Name == "Get" && queryOf(sel.X)) {
					if text, err := strconv.Unquote(lit.Value); err == nil && !slices.Contains(query, text) {
						query = append(query, text)
					}
				}
				if id, ok := a.(*ast.Ident); ok && id.Name == "c" && s.handlers[sel.Sel.Name] != nil && sel.Sel.Name != name {
					b, q := s.inputs(sel.Sel.Name, depth+1)
					if body == nil {
						body = b
					}
					for _, p := range q {
						if !slices.Contains(query, p) {
							query = append(query, p)
						}
					}
				}
			}
		}
		return true
	})
	sort.Strings(query)
	return body, query
}

// queryOf reports whether an expression is the query of a request: c.URL.Query(), or q made of it.
func queryOf(e ast.Expr) bool {
	if id, ok := e.(*ast.Ident); ok {
		return id.Name == "q" || id.Name == "query"
	}
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Query"
}

// returned is the type that a handler returns as it is written: a literal, or a variable of one.
func (s *source) returned(name string) (found ast.Expr) {
	fn := s.handlers[name]
	if fn == nil {
		return nil
	}
	vars := map[string]ast.Expr{}
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.ValueSpec:
			for _, id := range x.Names {
				vars[id.Name] = x.Type
			}
		case *ast.AssignStmt:
			for i, l := range x.Lhs {
				id, ok := l.(*ast.Ident)
				if !ok || i >= len(x.Rhs) {
					continue
				}
				switch v := x.Rhs[i].(type) {
				case *ast.CompositeLit:
					vars[id.Name] = v.Type
				case *ast.CallExpr:
					if f, ok := v.Fun.(*ast.Ident); ok && f.Name == "make" {
						vars[id.Name] = v.Args[0]
					}
				}
			}
		case *ast.ReturnStmt:
			if len(x.Results) == 2 {
				switch v := x.Results[0].(type) {
				case *ast.CompositeLit:
					found = v.Type
				case *ast.Ident:
					if vars[v.Name] != nil {
						found = vars[v.Name]
					}
				}
			}
		}
		return true
	})
	return found
}

// named is a reference to the schema of a type.
func (s *source) named(name string) map[string]any {
	spec, ok := s.types[name]
	key := strings.TrimPrefix(strings.TrimPrefix(name, "api."), "sallyport.")
	if !ok {
		return map[string]any{}
	}
	if s.schemas[key] == nil {
		s.schemas[key] = map[string]any{} // a type may hold itself
		pkg, _, _ := strings.Cut(name, ".")
		m := s.schema(pkg, spec.Type)
		if doc := s.docs[name]; doc != "" {
			m["description"] = doc
		}
		if values := s.consts[name]; len(values) > 0 && m["type"] == "string" {
			m["enum"] = values
		}
		s.schemas[key] = m
	}
	return map[string]any{"$ref": "#/components/schemas/" + key}
}

// schema is the schema of a type as it is written in a package.
func (s *source) schema(pkg string, e ast.Expr) map[string]any {
	switch x := e.(type) {
	case *ast.StarExpr:
		return s.schema(pkg, x.X)
	case *ast.ArrayType:
		if id, ok := x.Elt.(*ast.Ident); ok && id.Name == "byte" {
			return map[string]any{"type": "string", "contentEncoding": "base64"}
		}
		return map[string]any{"type": []any{"array", "null"}, "items": s.schema(pkg, x.Elt)}
	case *ast.MapType:
		return map[string]any{"type": []any{"object", "null"}, "additionalProperties": s.schema(pkg, x.Value)}
	case *ast.StructType:
		return s.structure(pkg, x)
	case *ast.SelectorExpr:
		id, _ := x.X.(*ast.Ident)
		switch full := id.Name + "." + x.Sel.Name; full {
		case "time.Time":
			return map[string]any{"type": "string", "format": "date-time"}
		case "time.Duration":
			return map[string]any{"type": "integer", "description": "nanoseconds"}
		default:
			return s.named(full)
		}
	case *ast.Ident:
		switch x.Name {
		case "string":
			return map[string]any{"type": "string"}
		case "bool":
			return map[string]any{"type": "boolean"}
		case "float64":
			return map[string]any{"type": "number"}
		case "int", "int64", "uint64", "int32", "uint32":
			return map[string]any{"type": "integer"}
		case "any":
			return map[string]any{}
		}
		return s.named(pkg + "." + x.Name)
	}
	return map[string]any{}
}

func (s *source) structure(pkg string, x *ast.StructType) map[string]any {
	properties, required := map[string]any{}, []any{}
	m := map[string]any{"type": "object", "properties": properties}
	for _, f := range x.Fields.List {
		tag := ""
		if f.Tag != nil {
			raw, err := strconv.Unquote(f.Tag.Value)
			if err != nil {
				s.t.Fatal(err)
			}
			tag = reflect.StructTag(raw).Get("json")
		}
		name, options, _ := strings.Cut(tag, ",")
		if len(f.Names) == 0 && name == "" { // embedded: its members are the outer ones
			m["allOf"] = append(anyList(m["allOf"]), s.schema(pkg, f.Type))
			continue
		}
		for _, id := range f.Names {
			if name == "-" || !id.IsExported() {
				continue
			}
			key := name
			if key == "" {
				key = id.Name
			}
			p := s.schema(pkg, f.Type)
			if text := strings.Join(strings.Fields(f.Doc.Text()+" "+f.Comment.Text()), " "); text != "" {
				p["description"] = text
			}
			properties[key] = p
			if options == "" {
				required = append(required, key)
			}
		}
	}
	if len(required) > 0 {
		m["x-always"] = required // in answers; a body may leave out what does not concern it
	}
	return m
}

func anyList(v any) []any { l, _ := v.([]any); return l }
