package server_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

// the name moves while its weights are being pulled: the bytes are those of
// the version that was decided on.
func TestA21TheNameMovesDuringAPull(t *testing.T) {
	r := tell(t)
	r.Big()
	d := r.As("ana").Begin(request{door: client.Hub, path: hubFile(big, weights)}, true)
	if err := r.push(t.Context(), r.As("ana").who, big, 64<<10); err != nil { // moves the alias main
		t.Fatal(err)
	}
	close(d.goOn)
	if r.End(d); d.whole() {
		if !bytes.Equal(d.text, modelFiles(big, bigModel)[weights]) {
			t.Error("other bytes came than those that were decided on")
		}
	} else if !bytes.HasPrefix(modelFiles(big, bigModel)[weights], d.text) {
		t.Error("the download broke off, and what came is of another version")
	}
	l, _ := r.decided(d.decision)
	if l.On != big+"@v1" {
		t.Errorf("decided on %s", l.On)
	}
	r.As("ana").Pull(big)
	r.Want(allowed)
	if l, _ := r.decided(r.last.decision); l.On != big+"@v2" || len(r.last.body) > 1<<20 {
		t.Errorf("after the move %s is served, %d bytes", l.On, len(r.last.body))
	}
	_, err := r.As("oto").who.client.Promote(t.Context(), api.Thing{Resource: big + "@v1", Aliases: map[string]string{"main": ""}})
	r.heard("promote", err)
	r.WantStatus(200)
	r.As("ana").Pull(big)
	if len(r.last.body) < bigModel {
		t.Errorf("the alias was not put back: %d bytes", len(r.last.body))
	}
}

// what a client says about who it is, where it comes from and where it wants
// to go is never used and never passed on.
func TestA25IdentityHeadersAreDropped(t *testing.T) {
	r := tell(t)
	hostile := map[string]string{"X-Forwarded-User": "rita", "X_Forwarded_User": "rita", "X-Forwarded-For": "203.0.113.9", "X-Real-Ip": "203.0.113.9",
		"Forwarded": "for=203.0.113.9;host=evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http", "X-Original-Url": "/api/v1/people",
		"X-Rewrite-Url": "/api/v1/people", "X-Http-Method-Override": "DELETE", "X-Remote-User": "rita", "X-Request-Id": "D-000000000000",
		"Openai-Organization": "other", "X-Api-Key": "other", "Cookie": "a=b", "Connection": "x-identity", "X-Identity": "rita"}
	q := chat(base, false, 1)
	q.header = hostile
	r.As("ana").Send(q)
	r.Want(allowed, "developer.work")
	l, _ := r.decided(r.last.decision)
	if l.Who != "user:ana" || l.Asked.IP != "127.0.0.1" {
		t.Errorf("recorded as %s from %s", l.Who, l.Asked.IP)
	}
	all := r.up.requests()
	got := all[len(all)-1]
	if got.id != r.last.decision {
		t.Errorf("the upstream got the id %q, the decision is %q", got.id, r.last.decision)
	}
	allow := []string{"Accept-Encoding", "Authorization", "Content-Length", "Content-Type", "User-Agent", "X-Request-Id"}
	for _, name := range slices.Sorted(maps.Keys(got.header)) {
		if !slices.Contains(allow, name) {
			t.Errorf("the upstream got %s: %q", name, got.header[name])
		}
	}
	r.Nobody().Send(request{path: "/.well-known/openid-configuration", header: hostile})
	if r.WantStatus(200); strings.Contains(string(r.last.body), "evil.example") {
		t.Error("discovery names the host that the client named")
	}
	r.As("ana").Send(request{door: client.API, path: own()[client.API], header: hostile})
	if r.WantStatus(200); !strings.Contains(string(r.last.body), `"user:ana"`) {
		t.Errorf("whoami: %s", r.last.body)
	}
}

// A-26, I-13: one reading of a body. What has two is refused; of what is forwarded
// the model is the one decided on, and everything else is as it was sent.
func TestA26BodiesWithTwoReadings(t *testing.T) {
	r := tell(t)
	message := `"messages":[{"role":"user","content":"x"}]`
	for name, body := range map[string]string{
		"doubled":         `{"model":"acme/base","model":"acme/keel",` + message + `}`,
		"case":            `{"model":"acme/base","Model":"acme/keel",` + message + `}`,
		"escaped":         `{"model":"acme/base","m\u006fdel":"acme/keel",` + message + `}`,
		"array":           `{"model":["acme/base","acme/keel"],` + message + `}`,
		"object":          `{"model":{"a":"acme/base"},` + message + `}`,
		"null":            `{"model":null,` + message + `}`,
		"missing":         `{` + message + `}`,
		"two values":      `{"model":"acme/base",` + message + `}{"model":"acme/keel"}`,
		"zero width":      `{"model":"acme/ba` + "\u200b" + `se",` + message + `}`,
		"full width":      `{"model":"acme/ｂase",` + message + `}`,
		"upper case":      `{"model":"ACME/base",` + message + `}`,
		"path":            `{"model":"acme/../acme/keel",` + message + `}`,
		"not UTF-8":       `{"model":"acme/base","user":"` + "\xff" + `",` + message + `}`,
		"deep":            `{"model":"acme/base","x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `,` + message + `}`,
		"upstream's name": `{"model":"served-keel",` + message + `}`,
		"no object":       `[]`,
	} {
		before := len(r.up.requests())
		r.As("ana").Send(request{door: client.OpenAI, method: http.MethodPost, path: "/openai/v1/chat/completions", body: body})
		if r.last.status < 400 || r.last.status == 401 || r.last.status >= 500 {
			t.Errorf("%s: %d %.200s", name, r.last.status, r.last.body)
		}
		if after := len(r.up.requests()); after != before {
			t.Errorf("%s was forwarded", name)
		}
	}
	r.As("ana").Send(request{door: client.OpenAI, method: http.MethodPost, path: "/openai/v1/chat/completions",
		body: `{ "temperature":0.30, "model" : "acme/base", "seed":9007199254740993,` + message + `,"stop":["a","\u00e9"] }`})
	r.Want(allowed)
	all := r.up.requests()
	var got, want map[string]any
	dec := json.NewDecoder(bytes.NewReader(all[len(all)-1].body))
	dec.UseNumber()
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	want = map[string]any{"temperature": json.Number("0.30"), "model": "served-base", "seed": json.Number("9007199254740993"),
		"messages": []any{map[string]any{"role": "user", "content": "x"}}, "stop": []any{"a", "é"}}
	if a, b := text(t, got), text(t, want); a != b {
		t.Errorf("forwarded %s, want %s", a, b)
	}
	if strings.Contains(string(r.last.body), "served-base") {
		t.Errorf("the answer names the upstream's model: %s", r.last.body)
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// another method, another version, another spelling of a path is not
// the route: refused, recorded, and never served by what stands behind it.
func TestA29OtherSpellingsAreRefused(t *testing.T) {
	r := tell(t)
	path := hubFile(base, weights) // which ana may take
	for _, q := range []request{
		{door: client.Hub, path: path + "/"}, {door: client.Hub, path: path + ";x=1"}, {door: client.Hub, path: strings.Replace(path, "/resolve/", "//resolve/", 1)},
		{door: client.Hub, path: strings.Replace(path, "acme", "acme%2f..%2facme", 1)}, {door: client.Hub, path: strings.Replace(path, "main/", "main/%2e%2e/main/", 1)},
		{door: client.Hub, path: strings.Replace(path, weights, "..%5c"+weights, 1)}, {door: client.Hub, path: path + "%00"}, {door: client.Hub, path: "/hf" + strings.ToUpper(path[3:])},
		{door: client.Hub, path: path, method: http.MethodPost}, {door: client.Hub, path: path, method: http.MethodPatch}, {door: client.Hub, path: path, method: http.MethodOptions},
		{door: client.Hub, path: path, method: "PROPFIND"}, {door: client.Hub, path: strings.Replace(path, "/hf/", "/HF/", 1)},
		{door: client.Hub, path: "/hf/api/models/" + base, method: http.MethodDelete}, {door: client.Hub, path: "/hf/api/v2/models/" + base},
		{door: client.OpenAI, path: "/openai/v2/chat/completions", method: http.MethodPost, body: "{}"}, {door: client.OpenAI, path: "/openai/v1/chat/completions/", method: http.MethodPost, body: "{}"},
		{door: client.OpenAI, path: "/openai/v1/chat/completions"}, {door: client.OpenAI, path: "/openai/v1/load_lora_adapter", method: http.MethodPost, body: "{}"},
		{door: client.OpenAI, path: "/openai/metrics"}, {door: client.OpenAI, path: "/openai/tokenize", method: http.MethodPost, body: "{}"},
		{door: client.Vault, path: "/vault/v2/" + base + "/versions/main"}, {door: client.Vault, path: "/vault/v1/" + base + "/versions/main/files/../../../x"},
		{door: client.API, path: "/api/v2/whoami"}, {door: client.API, path: api.Version + "/whoami/"}, {door: client.API, path: api.Version + "/whoami", method: http.MethodDelete},
		{door: client.API, path: api.Version + "/whoami", method: http.MethodPost, header: map[string]string{"X-HTTP-Method-Override": "GET"}},
	} {
		r.As("ana").Send(q)
		if r.last.status < 301 || r.last.status >= 500 || r.last.status == 401 {
			t.Errorf("%s: %d (%v) %.120s", r.last.what, r.last.status, r.last.err, r.last.body)
		}
		if bytes.Contains(r.last.body, modelFiles(base, 256<<10)[weights][200:260]) {
			t.Errorf("%s: weights came", r.last.what)
		}
	}
	r.As("ana").Send(request{door: client.Hub, path: "/hf/api/v2/models/" + base})
	r.WantStatus(403)
	if l, _ := r.decided(r.last.decision); l.Type != sallyport.EventUnmapped || l.Who != "user:ana" || l.Detail["path"] == "" {
		t.Errorf("recorded as %+v", l.Event)
	}
}

// what strangers write is one escaped entry of the log, and cannot draw on an
// operator's terminal.
func TestA33NothingIsInjectedIntoTheLog(t *testing.T) {
	r := tell(t)
	nasty := "x\r\n{\"seq\":1}\x1b[2J\u202e\",\"who\":\"user:rita"
	r.Nobody().Send(request{path: "/hf/%0d%0a%1b[2J%22%2c%22who%22:%22user:rita", header: map[string]string{"User-Agent": strings.ReplaceAll(strings.ReplaceAll(nasty, "\r\n", " "), "\x1b", " ")}})
	if r.last.status < 400 {
		t.Errorf("answered %d", r.last.status)
	}
	r.Nobody().Send(request{path: "/hf/x", header: map[string]string{"User-Agent": strings.Repeat("a", 1<<20)}})
	if r.last.err == nil && r.last.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 1 MiB: %d", r.last.status)
	}
	stranger, err := r.newPerson("stranger")
	if err != nil {
		t.Fatal(err)
	}
	at, err := stranger.open(t.Context(), r.server.External()+"/login?return=%2Faccount")
	if err == nil {
		_, err = stranger.send(t.Context(), at, "/login", map[string]string{"username": nasty, "password": "x"})
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.As("ana").who.client.Ask(t.Context(), api.Ask{Action: sallyport.ModelPull, Resource: fraud, For: "1h", Why: nasty})
	r.heard("request", err)
	r.WantStatus(400)
	alba := r.As("alba").who.client
	head, err := alba.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for from := uint64(0); from < head.Size; {
		part, err := alba.Entries(t.Context(), from)
		if err != nil || len(part) == 0 {
			t.Fatalf("entries from %d: %d, %v", from, len(part), err)
		}
		for _, e := range part {
			if bytes.ContainsFunc(e.Leaf, func(c rune) bool { return c < 0x20 || c == 0x7f }) {
				t.Errorf("entry %d has raw control characters: %q", e.Seq, e.Leaf)
			}
		}
		from += uint64(len(part))
	}
	for line := range bytes.Lines(r.logs.Bytes()) {
		if !bytes.HasPrefix(line, []byte("time=")) || bytes.ContainsAny(line[:len(line)-1], "\x1b\r") {
			t.Errorf("the operator's log has the line %q", line)
		}
	}
}
