package hfhub

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard/guardtest"
)

// TestI15EveryRouteIsClassified: the table names every route of the Hub, and says
// of each that it is served or why not.
func TestI15EveryRouteIsClassified(t *testing.T) {
	routes := must[gateway.Routes](t)(gateway.ParseRoutes(routesTable))
	c := routes.Cover("hfhub", Upstream())
	t.Logf("upstream %d, mapped %d, denied %d, extra %d", c.Upstream, c.Mapped, c.Denied, c.Extra)
	if len(c.Missing) > 0 || c.Upstream < 280 {
		t.Errorf("of %d routes %d are not classified: %q", c.Upstream, len(c.Missing), c.Missing)
	}
	s := newSite(t)
	hub := must[*Hub](t)(New(s.vault, s.Guard, base))
	for _, r := range routes {
		path := r.Pattern
		for _, wild := range []string{"{", "}", "..."} {
			path = strings.ReplaceAll(path, wild, "-")
		}
		m, ok := routes.Match(r.Method, path)
		if !ok || m.Pattern != r.Pattern && !(m.Deny && r.Deny) {
			t.Errorf("%s %s is hidden behind %s", r.Method, r.Pattern, m.Pattern)
		}
		if r.Deny {
			continue
		}
		q := must[*http.Request](t)(http.NewRequest(r.Method, "http://x/", http.NoBody))
		q.Header.Set("Content-Type", "application/json")
		if r.Name == "paths" {
			q.Body = jsonBody(`{"paths":[]}`)
		}
		m.Params = map[string]string{"org": "acme", "name": "open", "rev": "main", "path": "config.json"}
		if asked, err := hub.Read(q, m); err != nil || asked.Serve == nil {
			t.Errorf("%s %s has no handler: %v", r.Method, r.Pattern, err)
		}
	}
}

// TestReading runs what only reads on one site, which takes a while to make.
func TestReading(t *testing.T) {
	s := newSite(t)
	for name, test := range map[string]func(*testing.T, *site){
		"what the clients ask": whatTheClientsAsk, "use is not possession": useIsNotPossession, "denials in the client's words": denialsInTheClientsWords,
		"tree": treeOfFiles, "paths": pathsInfo, "a list shows what may be known": listShowsWhatMayBeKnown,
	} {
		t.Run(name, func(t *testing.T) { test(t, s) })
	}
}

// whatTheClientsAsk walks through the calls of snapshot_download and
// hf_hub_download, and wants what they need.
func whatTheClientsAsk(t *testing.T, s *site) {
	commit := catalog.Commit(s.version.Digest)
	for _, rev := range []string{"", "/revision/main", "/revision/HEAD", "/revision/v1", "/revision/" + commit, "/revision/sha256:" + s.version.Digest} {
		answer, body := s.get(t, "rob", "/api/models/acme/open"+rev+"?expand=siblings&expand=sha")
		var info struct {
			ID, SHA  string
			Siblings []struct{ RFilename string }
		}
		if err := json.Unmarshal([]byte(body), &info); err != nil || answer.StatusCode != 200 || info.ID != "acme/open" || info.SHA != commit || len(info.Siblings) != len(s.files) {
			t.Errorf("%q: %s %s", rev, answer.Status, body)
		}
	}
	_, body := s.get(t, "rob", "/api/models/acme/open/tree/"+commit+"?recursive=true&expand=false")
	var tree []entry
	if err := json.Unmarshal([]byte(body), &tree); err != nil || len(tree) != len(s.files)+2 {
		t.Fatalf("%v %s", err, body)
	}
	for _, e := range tree {
		if e.Type == "directory" {
			continue
		}
		data := s.files[e.Path]
		path := "/acme/open/resolve/" + commit + "/" + e.Path
		head, _ := s.do(t, "rob", "HEAD", path, "")
		if head.StatusCode != 200 || head.Header.Get("X-Repo-Commit") != commit || head.Header.Get("ETag") != `"`+sum(data)+`"` || head.ContentLength != int64(len(data)) || e.Size != int64(len(data)) {
			t.Errorf("HEAD %s: %s %v", e.Path, head.Status, head.Header)
		}
		answer, got := s.get(t, "rob", path)
		if answer.StatusCode != 200 || got != string(data) || answer.Header.Get("ETag") != head.Header.Get("ETag") {
			t.Errorf("GET %s: %s, %d bytes", e.Path, answer.Status, len(got))
		}
		for name := range answer.Header {
			if strings.Contains(strings.ToLower(name), "xet") || name == "Location" || name == "Link" || name == "Content-Encoding" {
				t.Errorf("GET %s answers with %s", e.Path, name)
			}
		}
	}
	if strings.Contains(body, "xet") {
		t.Error("the tree speaks of Xet")
	}
	answer, got := s.get(t, "rob", "/acme/open/resolve/main/model.safetensors", "Range", "bytes=0-0", "Accept", "application/vnd.xet-fileinfo+json, */*")
	if answer.StatusCode != 206 || got != string(s.files["model.safetensors"][:1]) || answer.Header.Get("Content-Range") != "bytes 0-0/"+strconv.Itoa(len(s.files["model.safetensors"])) {
		t.Errorf("the npm client's first question: %s %v", answer.Status, answer.Header)
	}
	if answer, body := s.get(t, "rob", "/api/models/acme/open/auth-check"); answer.StatusCode != 200 {
		t.Errorf("%s %s", answer.Status, body)
	}
	if answer, _ := s.do(t, "rob", "HEAD", "/acme/open/raw/main/config.json", ""); answer.StatusCode != 200 {
		t.Errorf("does the file exist, asks the npm client: %s", answer.Status)
	}
	if _, body := s.get(t, "rob", "/api/models/acme/open/refs"); !strings.Contains(body, `"targetCommit":"`+commit+`"`) {
		t.Error(body)
	}
	if _, body := s.get(t, "rob", "/api/whoami-v2"); !strings.Contains(body, `"name":"rob"`) {
		t.Error(body)
	}
}

// useIsNotPossession: the card and the tokenizer are not the weights.
func useIsNotPossession(t *testing.T, s *site) {
	for path, want := range map[string]map[string]int{
		"README.md":         {"ana": 200, "rob": 200, "zoe": 404},
		"tokenizer.json":    {"ana": 200, "rob": 200, "zoe": 404},
		"config.json":       {"ana": 200, "rob": 200, "zoe": 404},
		"model.safetensors": {"ana": 403, "rob": 200, "zoe": 404},
	} {
		for name, status := range want {
			if answer, body := s.get(t, name, "/acme/open/resolve/main/"+path); answer.StatusCode != status || status != 200 && strings.Contains(body, "w") && len(body) > 1000 {
				t.Errorf("%s, %s: %s", name, path, answer.Status)
			}
		}
	}
	actions := map[sallyport.Action]bool{}
	for _, e := range s.Of(sallyport.EventDecided) {
		actions[e.Action] = true
	}
	for _, a := range []sallyport.Action{sallyport.ModelRead, sallyport.ModelPullAux, sallyport.ModelPull} {
		if !actions[a] {
			t.Errorf("nothing was decided on %s", a)
		}
	}
}

// denialsInTheClientsWords: what the clients show of a refusal.
func denialsInTheClientsWords(t *testing.T, s *site) {
	answer, body := s.get(t, "ana", "/acme/open/resolve/main/model.safetensors")
	id := answer.Header.Get("Sallyport-Decision")
	text := answer.Header.Get("X-Error-Message")
	if answer.StatusCode != 403 || answer.Header.Get("X-Error-Code") != "GatedRepo" || !strings.HasPrefix(text, "Sallyport "+id+": model.pull on acme/open: deny") ||
		answer.Header.Get("X-HF-Warning") != "sallyport "+id+"; "+text || answer.Header.Get("X-Request-Id") != id || body != string(must[[]byte](t)(json.Marshal(map[string]string{"error": text}))) {
		t.Errorf("%s %v %s", answer.Status, answer.Header, body)
	}
	for _, c := range []struct {
		name, who, method, path string
		status                  int
		code                    string
	}{
		{"no such file", "rob", "GET", "/acme/open/resolve/main/none.json", 404, "EntryNotFound"},
		{"no such file, asked ahead", "rob", "HEAD", "/acme/open/resolve/main/none.json", 404, "EntryNotFound"},
		{"no such revision", "rob", "GET", "/api/models/acme/open/revision/v9", 404, "RevisionNotFound"},
		{"no name of a revision", "rob", "GET", "/api/models/acme/open/revision/refs%2Fpr%2F1", 404, "RevisionNotFound"},
		{"no version yet", "rob", "GET", "/api/models/acme/empty", 404, "RevisionNotFound"},
		{"no such folder", "rob", "GET", "/api/models/acme/open/tree/main/none", 404, "EntryNotFound"},
		{"no such model", "rob", "GET", "/api/models/acme/none", 404, "RepoNotFound"},
		{"no name of a model", "rob", "GET", "/api/models/acme/NONE", 404, "RepoNotFound"},
		{"a model of others", "zoe", "GET", "/api/models/acme/open", 404, "RepoNotFound"},
		{"a revision of others", "zoe", "GET", "/api/models/acme/open/revision/v9", 404, "RepoNotFound"},
		{"nobody", "x|x", "GET", "/api/models/acme/open", 401, ""},
		{"the content store", "rob", "GET", "/api/models/acme/open/xet-read-token/main", 403, "GatedRepo"},
		{"a push", "rob", "POST", "/api/repos/create", 403, ""},
		{"a name of one word", "rob", "GET", "/api/models/gpt2", 403, "GatedRepo"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, body := s.do(t, c.who, c.method, c.path, "")
			if answer.StatusCode != c.status || answer.Header.Get("X-Error-Code") != c.code || answer.Header.Get("X-Error-Message") == "" || (body == "") != (c.method == "HEAD") {
				t.Errorf("%s %v %s", answer.Status, answer.Header, body)
			}
			if c.code == "EntryNotFound" && strings.Contains(c.path, "resolve") && answer.Header.Get("X-Repo-Commit") != catalog.Commit(s.version.Digest) {
				t.Errorf("no commit in %v", answer.Header)
			}
		})
	}
	_, theirs := s.get(t, "zoe", "/api/models/acme/open")
	_, none := s.get(t, "zoe", "/api/models/acme/none")
	if a, b := strings.Fields(theirs), strings.Fields(none); len(a) != len(b) {
		t.Errorf("what is hidden differs from what is not there: %q, %q", theirs, none)
	}
}

// TestA21TheVersionDecidedOnIsServed: main moves while a client downloads; what it
// began with stays, by the commit.
func TestA21TheVersionDecidedOnIsServed(t *testing.T) {
	s := newSite(t)
	old := catalog.Commit(s.version.Digest)
	head, _ := s.do(t, "rob", "HEAD", "/acme/open/resolve/main/config.json", "")
	newer := s.push(t, map[string][]byte{"config.json": []byte(`{"hidden_size": 128}`), "model.safetensors": weights(8)})
	if head.Header.Get("X-Repo-Commit") != old || newer.Digest == s.version.Digest {
		t.Fatal("the test's own fault")
	}
	for rev, want := range map[string]string{"main": `{"hidden_size": 128}`, "HEAD": `{"hidden_size": 128}`, old: `{"hidden_size": 64}`, "v1": `{"hidden_size": 64}`} {
		answer, body := s.get(t, "rob", "/acme/open/resolve/"+rev+"/config.json")
		if body != want {
			t.Errorf("%s: %s %s", rev, answer.Status, body)
		}
		decided := s.Of(sallyport.EventDecided)
		if commit := answer.Header.Get("X-Repo-Commit"); (commit == old) != (decided[len(decided)-1].On == "acme/open@v1") {
			t.Errorf("%s: served %s, decided on %s", rev, commit, decided[len(decided)-1].On)
		}
	}
}

func TestA23RangesOfSealedFiles(t *testing.T) {
	s := newSite(t)
	data := s.files["model.safetensors"]
	for i, r := range [][2]int{{0, 1}, {65_535, 65_537}, {100, 1_000_000}, {len(data) - 10, len(data)}, {0, len(data)}} {
		answer, body := s.get(t, "rob", "/acme/open/resolve/v1/model.safetensors", "Range", fmt.Sprintf("bytes=%d-%d", r[0], r[1]-1), "If-Range", `"`+sum(data)+`"`)
		if answer.StatusCode != 206 || body != string(data[r[0]:r[1]]) {
			t.Errorf("%v: %s, %d bytes", r, answer.Status, len(body))
		}
		if end := s.Of(sallyport.EventCompleted)[i]; end.Delivered.Bytes != int64(r[1]-r[0]) {
			t.Errorf("%v: recorded %+v", r, end.Delivered)
		}
	}
	if answer, _ := s.get(t, "lim", "/acme/open/resolve/v1/model.safetensors"); answer.StatusCode != 413 {
		t.Errorf("2 MiB with a limit of one: %s", answer.Status)
	}
	if answer, body := s.get(t, "lim", "/acme/open/resolve/v1/model.safetensors", "Range", "bytes=0-1048575"); answer.StatusCode != 206 || len(body) != 1<<20 {
		t.Errorf("1 MiB with a limit of one: %s", answer.Status)
	}
	if answer, body := s.get(t, "rob", "/acme/open/resolve/v1/model.safetensors", "If-None-Match", `"`+sum(data)+`"`); answer.StatusCode != 304 || body != "" {
		t.Errorf("what the client has: %s", answer.Status)
	}
}

func treeOfFiles(t *testing.T, s *site) {
	for path, want := range map[string]string{
		"main":                          "README.md config.json model.safetensors onnx/ tokenizer.json",
		"main?recursive=true":           "README.md config.json model.safetensors onnx/ onnx/sub/ onnx/sub/weights.safetensors tokenizer.json",
		"main/onnx":                     "onnx/sub/",
		"main/onnx/sub":                 "onnx/sub/weights.safetensors",
		"main/onnx?recursive=1":         "onnx/sub/ onnx/sub/weights.safetensors",
		"main?cursor=config.json":       "model.safetensors onnx/ tokenizer.json",
		"main?cursor=tokenizer.json":    "",
		"main?recursive=true&cursor=on": "onnx/ onnx/sub/ onnx/sub/weights.safetensors tokenizer.json",
	} {
		_, body := s.get(t, "ana", "/api/models/acme/open/tree/"+path)
		var tree []entry
		if err := json.Unmarshal([]byte(body), &tree); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		var got []string
		for _, e := range tree {
			if e.Type == "directory" {
				e.Path += "/"
			} else if (e.LFS != nil) != strings.HasSuffix(e.Path, ".safetensors") {
				t.Errorf("%s: LFS %v", e.Path, e.LFS)
			}
			got = append(got, e.Path)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestTreePages(t *testing.T) {
	s := newSite(t)
	files := map[string][]byte{}
	for i := range 7 {
		files[fmt.Sprintf("d/%04d.txt", i)] = nil
	}
	files["config.json"] = []byte("{}")
	s.push(t, files)
	s.hub.page = 3
	path, pages, got := "/api/models/acme/open/tree/main?recursive=true&expand=false", 0, 0
	for path != "" {
		answer, body := s.get(t, "ana", path)
		var tree []entry
		if err := json.Unmarshal([]byte(body), &tree); err != nil || len(tree) > s.hub.page {
			t.Fatalf("%v, %d entries", err, len(tree))
		}
		pages, got, path = pages+1, got+len(tree), ""
		if link := answer.Header.Get("Link"); link != "" {
			next, ok := strings.CutPrefix(strings.TrimSuffix(link, `>; rel="next"`), "<"+base)
			if !ok {
				t.Fatal(link)
			}
			path = next
		}
	}
	if pages != 3 || got != len(files)+1 {
		t.Errorf("%d entries on %d pages", got, pages)
	}
}

func pathsInfo(t *testing.T, s *site) {
	const path = "/api/models/acme/open/paths-info/main"
	for name, c := range map[string]struct{ ct, body, want string }{
		"a form":      {"application/x-www-form-urlencoded", "paths=config.json&paths=none&paths=onnx&expand=False", "config.json onnx"},
		"JSON":        {"application/json", `{"paths":["onnx/sub/weights.safetensors"],"expand":true}`, "onnx/sub/weights.safetensors"},
		"no paths":    {"application/json", `{}`, ""},
		"not JSON":    {"application/json", `{`, "400"},
		"not a form":  {"application/x-www-form-urlencoded", "paths=%zz", "400"},
		"other types": {"text/plain", "paths=config.json", "400"},
		"too long":    {"application/json", `{"paths":["` + strings.Repeat("x", maxForm) + `"]}`, "413"},
	} {
		answer, body := s.do(t, "ana", "POST", path, c.body, "Content-Type", c.ct)
		got := strconv.Itoa(answer.StatusCode)
		var found []entry
		if answer.StatusCode == 200 && json.Unmarshal([]byte(body), &found) == nil {
			var names []string
			for _, e := range found {
				names = append(names, e.Path)
			}
			got = strings.Join(names, " ")
		}
		if got != c.want {
			t.Errorf("%s: %s %s", name, answer.Status, body)
		}
	}
}

func listShowsWhatMayBeKnown(t *testing.T, s *site) {
	ids := func(name, query string) string {
		_, body := s.get(t, name, "/api/models"+query)
		var models []struct{ ID string }
		if err := json.Unmarshal([]byte(body), &models); err != nil {
			t.Fatal(body)
		}
		var all []string
		for _, m := range models {
			all = append(all, m.ID)
		}
		return strings.Join(all, " ")
	}
	for _, c := range [][3]string{
		{"ana", "", "acme/empty acme/open"}, {"zoe", "", ""}, {"ana", "?search=OPE", "acme/open"}, {"ana", "?author=other", ""}, {"ana", "?author=acme&limit=1", "acme/empty"},
		{"ana", "?cursor=acme%2Fempty", "acme/open"},
	} {
		if got := ids(c[0], c[1]); got != c[2] {
			t.Errorf("%s%s: %q, want %q", c[0], c[1], got, c[2])
		}
	}
	if answer, _ := s.get(t, "ana", "/api/models?limit=1&author=acme"); answer.Header.Get("Link") != `<`+base+`/api/models?author=acme&cursor=acme%2Fempty&limit=1>; rel="next"` {
		t.Errorf("%v", answer.Header)
	}
}

// TestA22NamesOfFiles: what is no name of a file is not looked for.
func TestA22NamesOfFiles(t *testing.T) {
	s := newSite(t)
	for _, path := range []string{"..%2f..%2fkeys", "%2e%2e/keys", "a%5C..%5Cb", "C:%5Ca", ".hidden", "con", "a%3Ab", "%7Eroot%00", "a/../b", "nul.txt"} {
		answer, body := s.get(t, "rob", "/acme/open/resolve/main/"+path)
		if answer.StatusCode != 400 && answer.StatusCode != 404 && answer.StatusCode != 403 {
			t.Errorf("%s: %s %s", path, answer.Status, body)
		}
	}
	for _, e := range s.Of(sallyport.EventDecided) {
		if e.Action == sallyport.ModelPull {
			t.Errorf("decided on %+v", e.Asked)
		}
	}
}

func TestNewWantsAURL(t *testing.T) {
	s := &site{World: guardtest.New(t)}
	for _, bad := range []string{"", "/hf", "https://", "::"} {
		if _, err := New(nil, s.Guard, bad); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
