package gateway_test

import (
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/enforce/gateway"
)

func TestParseRoutes(t *testing.T) {
	routes, err := gateway.ParseRoutes(`
# a comment
GET,HEAD /a|b/{x}/c   model.read  one   # and another
POST     /{x}.git/{rest...}  deny  use the other door
GET      /   model.list  root
`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range routes {
		got = append(got, r.Method+" "+r.Pattern)
	}
	if want := "GET /a/{x}/c, GET /b/{x}/c, HEAD /a/{x}/c, HEAD /b/{x}/c, POST /{x}.git/{rest...}, GET /"; strings.Join(got, ", ") != want {
		t.Errorf("%s", strings.Join(got, ", "))
	}
	if r := routes[4]; !r.Deny || r.Note != "use the other door" || r.Action != "" {
		t.Errorf("%+v", r)
	}
}

func TestParseRoutesRefuses(t *testing.T) {
	for _, table := range []string{
		"GET /a model.read", "GET a model.read x", "FETCH /a model.read x", "GET /a model.reed x", "GET /a model.read x y", "GET /a allow x y",
		"GET /{x model.read n", "GET /x} model.read n", "GET /{} model.read n", "GET /{...} model.read n", "GET /{x...}/b model.read n", "GET /{x...}.git model.read n",
		"GET /a{x} model.read n", "GET /{x}{y} model.read n", "GET /{x}/{x} model.read n", "GET //a model.read n", "GET /a/ model.read n",
		"GET /a model.read n\nGET /a deny twice", "GET /{a} model.read n\nGET /{b} deny the same shape", "GET,GET /a model.read n", "GET, /a model.read n", "GET /a|a model.read n",
		"GET /" + strings.Repeat("a|", 70) + "b model.read n deny", "OPTIONS /a deny no such method",
	} {
		if routes, err := gateway.ParseRoutes(table); err == nil && len(routes) > 0 {
			t.Errorf("%q was taken: %+v", table, routes)
		}
	}
}

func TestMatch(t *testing.T) {
	routes, err := gateway.ParseRoutes(`
GET /{org}/{name}.git/info   deny       git
GET /api/{org}/{name}        model.read info
GET /api/{org}/special       model.list never
GET /{name}/raw/{path...}    model.pull raw
GET /                        model.list root
`)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/": "root ", "/acme/m.git/info": " org=acme name=m", "/acme/.git/info": "", "/api/a/b": "info org=a name=b", "/api/a/special": "info org=a name=special", // the first counts
		"/m/raw/x": "raw name=m path=x", "/m/raw/x/y/z": "raw name=m path=x/y/z", "/m/raw": "", "/m/raw/x%2Fy": "", "/api/a%2Fb/c": "info org=a/b name=c", "/API/a/b": "", "": "", "api/a/b": "",
	} {
		m, ok := routes.Match("GET", path)
		got := ""
		if ok {
			got = m.Name + " "
			var params []string
			for _, k := range []string{"org", "name", "path"} {
				if v, ok := m.Params[k]; ok {
					params = append(params, k+"="+v)
				}
			}
			got += strings.Join(params, " ")
		}
		if got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
	if _, ok := routes.Match("HEAD", "/api/a/b"); ok {
		t.Error("HEAD is not GET")
	}
}

func TestCover(t *testing.T) {
	routes, err := gateway.ParseRoutes("GET /a/{x} model.read n\nPOST /a|b deny no\nGET /c model.list n")
	if err != nil {
		t.Fatal(err)
	}
	c := routes.Cover("d", "# list\nGET /a/{anything}\nPOST /a\nGET /d\nGET\n")
	if c.Dialect != "d" || c.Upstream != 4 || c.Mapped != 1 || c.Denied != 1 || strings.Join(c.Missing, ",") != "GET /d,GET" || c.Extra != 2 {
		t.Errorf("%+v", c)
	}
}

// FuzzParseRoutes: a table that is taken says for each of its routes what is done
// with it, and nothing that is asked of it fails.
func FuzzParseRoutes(f *testing.F) {
	f.Add("GET /a/{x}/b|c model.read n", "GET", "/a/1/b")
	f.Add("POST,GET /{x}.git/{r...} deny why not", "POST", "/a.git/%2e%2e/b")
	f.Add(toyRoutes, "GET", "/files/a%2Fb")
	f.Fuzz(func(t *testing.T, table, method, path string) {
		routes, err := gateway.ParseRoutes(table)
		if err != nil {
			return
		}
		for _, r := range routes {
			if r.Deny == r.Action.Valid() || !r.Deny && r.Name == "" {
				t.Fatalf("neither served nor denied: %+v", r)
			}
		}
		if c := routes.Cover("x", table); c.Upstream < c.Mapped+c.Denied+len(c.Missing) {
			t.Fatalf("%+v", c)
		}
		m, ok := routes.Match(method, path)
		if !ok {
			return
		}
		if m.Method != method || strings.Count(m.Pattern, "{") != len(m.Params) {
			t.Fatalf("%q matched %+v", path, m)
		}
		for k, v := range m.Params {
			if v == "" || strings.Contains("/"+v+"/", "/../") {
				t.Fatalf("%s is %q", k, v)
			}
		}
	})
}

func TestActionsOfRoutesAreReal(t *testing.T) {
	routes, err := gateway.ParseRoutes(toyRoutes)
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := routes.Match("GET", "/files/x"); !ok || m.Action != sallyport.ModelPull {
		t.Errorf("%+v", m)
	}
}
