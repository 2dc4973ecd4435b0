package native

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/artifact/vault"
	"sallyport/internal/authz/hold"
	"sallyport/internal/enforce/gateway"
)

func aModel(t testing.TB) map[string][]byte {
	return map[string][]byte{"model.safetensors": weights(t, 9<<20), "config.json": []byte(`{"a": 1}`), "README.md": []byte("# card"),
		"sub/tokenizer.json": []byte(`{}`), "empty.txt": {}}
}

func TestPushAndPull(t *testing.T) {
	w := newWorld(t)
	files := aModel(t)
	number, digest := w.pushed(t, "fraud", files)
	if number != "v1" {
		t.Errorf("pushed %s", number)
	}
	for _, rev := range []string{"main", "v1", "sha256:" + digest} {
		var m Manifest
		w.do(t, "ana", "GET", "/v1/acme/fraud/versions/"+rev, nil).want(t, 200, &m)
		if m.Org != "acme" || m.Model != "fraud" || m.Number != "v1" || m.Digest != digest || m.Class != sallyport.Internal ||
			m.Environment != sallyport.Development || len(m.Files) != len(files) {
			t.Errorf("manifest of %s: %+v", rev, m)
		}
		if _, d, err := m.Manifest.Encode(); d != digest || err != nil {
			t.Errorf("the manifest's digest is %s, %v", d, err)
		}
	}
	for path, want := range files {
		a := w.do(t, "ana", "GET", "/v1/acme/fraud/versions/main/files/"+path, nil)
		if a.want(t, 200, nil); !bytes.Equal(a.body, want) || a.Header.Get("ETag") != `"`+sum(want)+`"` || a.Header.Get("Sallyport-Decision") == "" {
			t.Errorf("%s: %d bytes, %v", path, len(a.body), a.Header)
		}
		h := w.do(t, "bob", "HEAD", "/v1/acme/fraud/versions/v1/files/"+path, nil)
		if h.want(t, 200, nil); h.ContentLength != int64(len(want)) || len(h.body) != 0 {
			t.Errorf("HEAD %s: %d", path, h.ContentLength)
		}
	}
	b := files["model.safetensors"]
	a := w.do(t, "ana", "GET", "/v1/acme/fraud/versions/v1/files/model.safetensors", nil, "Range", "bytes=5000000-5999999")
	if a.want(t, 206, nil); !bytes.Equal(a.body, b[5000000:6000000]) {
		t.Errorf("a range gives %d bytes", len(a.body))
	}
	if d := w.completed(t); d.Bytes != 1000000 || d.Ranges != "bytes=5000000-5999999" {
		t.Errorf("recorded %+v", d)
	}
	w.do(t, "ana", "GET", "/v1/acme/fraud/versions/v1/files/none.json", nil).refused(t, 404)
	w.do(t, "ana", "GET", "/v1/acme/fraud/versions/v2", nil).refused(t, 404)
	w.do(t, "ana", "GET", "/v1/acme/secret/versions/main", nil).refused(t, 404)
}

// TestUseIsNotPossession: who may read pulls the card and the tokenizer and not the
// weights, and is told what it is about; who may know nothing is told nothing.
func TestUseIsNotPossession(t *testing.T) {
	w := newWorld(t)
	w.pushed(t, "fraud", aModel(t))
	for path, status := range map[string]int{"README.md": 200, "config.json": 200, "sub/tokenizer.json": 200, "empty.txt": 403, "model.safetensors": 403} {
		w.do(t, "bob", "GET", "/v1/acme/fraud/versions/main/files/"+path, nil).want(t, status, nil)
		w.do(t, "eve", "GET", "/v1/acme/fraud/versions/main/files/"+path, nil).want(t, 404, nil)
	}
	e := w.do(t, "bob", "GET", "/v1/acme/fraud/versions/main/files/model.safetensors", nil).refused(t, 403)
	if !strings.HasPrefix(e.Decision, "D-") || e.Outcome != "deny" || len(e.Reasons) == 0 || !strings.Contains(e.Message, e.Decision) {
		t.Errorf("refused with %+v", e)
	}
	e = w.do(t, "eve", "GET", "/v1/acme/fraud/versions/main", nil).refused(t, 404)
	if none := w.do(t, "eve", "GET", "/v1/acme/none/versions/main", nil).refused(t, 404); none.Kind != e.Kind || len(e.Reasons)+len(e.Remedies)+len(e.Outcome) != 0 ||
		strings.ReplaceAll(strings.ReplaceAll(none.Message, "none", "fraud"), none.Decision, e.Decision) != e.Message {
		t.Errorf("what is there is told apart from what is not: %+v, %+v", e, none)
	}
	w.do(t, "bob", "POST", "/v1/acme/fraud/uploads", declare(map[string][]byte{"a.md": nil})).refused(t, 403)
	w.do(t, "ana", "POST", "/v1/acme/none/uploads", declare(map[string][]byte{"a.md": nil})).refused(t, 404)
	a := w.do(t, "nobody", "GET", "/v1/acme/fraud/versions/main", nil)
	if a.refused(t, 401); !strings.Contains(a.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("401 with %v", a.Header)
	}
}

// TestStepUp is RFC 9470: the challenge names the level that would do.
func TestStepUp(t *testing.T) {
	w := newWorld(t)
	w.pushed(t, "secret", map[string][]byte{"model.safetensors": weights(t, 1000)})
	a := w.do(t, "ana", "GET", "/v1/acme/secret/versions/main/files/model.safetensors", nil)
	e := a.refused(t, 401)
	if e.Outcome != "step-up" || e.Needs != "aal2" || e.Decision == "" {
		t.Errorf("refused with %+v", e)
	}
	challenge := a.Header.Get("WWW-Authenticate")
	for _, part := range []string{"Bearer ", `error="insufficient_user_authentication"`, `acr_values="aal2"`} {
		if !strings.Contains(challenge, part) {
			t.Errorf("the challenge %s lacks %s", challenge, part)
		}
	}
	w.do(t, "ana+", "GET", "/v1/acme/secret/versions/main/files/model.safetensors", nil).want(t, 200, nil)
}

// TestUploadsGoOn: progress, a lost answer, a wrong offset, an abort.
func TestUploadsGoOn(t *testing.T) {
	w := newWorld(t)
	files := map[string][]byte{"model.safetensors": weights(t, 9<<20)}
	b := files["model.safetensors"]
	var u, again vault.Upload
	w.do(t, "ana", "POST", "/v1/acme/fraud/uploads", declare(files)).want(t, 200, &u)
	put := func(offset string, body []byte) answered {
		return w.do(t, "ana", "PUT", "/v1/acme/fraud/uploads/"+u.ID+"/files?path=model.safetensors&offset="+offset, bytes.NewReader(body))
	}
	put("0", b[:4<<20]).want(t, 200, nil)
	if e := put("0", b[:4<<20]).refused(t, 409); !strings.Contains(e.Message, "4194304") || e.Outcome != "" {
		t.Errorf("a wrong offset: %+v", e)
	}
	w.do(t, "ana", "POST", "/v1/acme/fraud/uploads", declare(files)).want(t, 200, &again)
	if again.ID != u.ID || again.Files[0].Have != 4<<20 {
		t.Errorf("begun again: %+v", again)
	}
	w.do(t, "ana", "GET", "/v1/acme/fraud/uploads/"+u.ID, nil).want(t, 200, &again)
	if again.Files[0].Have != 4<<20 {
		t.Errorf("progress: %+v", again)
	}
	w.do(t, "ana", "POST", "/v1/acme/fraud/uploads/"+u.ID+"/commit", nil).refused(t, 409)
	put("4194304", append(bytes.Clone(b[4<<20:8<<20]), 1)).refused(t, 400)
	put("8388608", bytes.Clone(b[:len(b)-8<<20])).refused(t, 400) // not what was declared
	put("8388608", b[8<<20:]).want(t, 200, nil)
	w.do(t, "ana", "DELETE", "/v1/acme/fraud/uploads/"+u.ID, nil).want(t, 200, nil)
	w.do(t, "ana", "DELETE", "/v1/acme/fraud/uploads/"+u.ID, nil).refused(t, 404)
	w.do(t, "ana", "GET", "/v1/acme/fraud/versions/main", nil).refused(t, 404)
}

// TestLimits: bodies, queries and JSON.
func TestLimits(t *testing.T) {
	w := newWorld(t)
	files := map[string][]byte{"model.safetensors": weights(t, 9<<20)}
	b := files["model.safetensors"]
	var u vault.Upload
	w.do(t, "ana", "POST", "/v1/acme/fraud/uploads", declare(files)).want(t, 200, &u)
	path := "/v1/acme/fraud/uploads/" + u.ID + "/files?path=model.safetensors&offset=0"
	w.do(t, "ana", "PUT", path, bytes.NewReader(b[:MaxPiece+1])).refused(t, 413)
	w.do(t, "ana", "PUT", path, io.MultiReader(bytes.NewReader(b))).refused(t, 413) // of unknown length
	for _, query := range []string{"", "?path=model.safetensors", "?offset=0", "?path=model.safetensors&offset=-1", "?path=model.safetensors&offset=x",
		"?path=model.safetensors&offset=0&offset=0", "?path=../x&offset=0", "?path=a&path=b&offset=0", "?path=model.safetensors&offset=0&x=1"} {
		w.do(t, "ana", "PUT", "/v1/acme/fraud/uploads/"+u.ID+"/files"+query, nil).refused(t, 400)
	}
	for _, body := range []string{"{", `{"files":[]} {}`, `{"files":[],"x":1}`, `{"files":"x"}`, `[]`, `{"files":[{"path":"x.md","sise":1}]}`, ""} {
		w.do(t, "ana", "POST", "/v1/acme/fraud/uploads", strings.NewReader(body)).refused(t, 400)
	}
	w.do(t, "ana", "POST", "/v1/acme/fraud/uploads/"+u.ID+"/commit", strings.NewReader(`{"alias":"`+strings.Repeat("a", maxCommit)+`"}`)).refused(t, 413)
}

// TestReceivedIsObliged: limit-bytes holds for what comes in, and it is recorded.
func TestReceivedIsObliged(t *testing.T) {
	w := newWorld(t)
	files := map[string][]byte{"model.safetensors": weights(t, 200_000)}
	var u vault.Upload
	w.do(t, "sue", "POST", "/v1/acme/fraud/uploads", declare(files)).want(t, 200, &u)
	w.do(t, "sue", "PUT", "/v1/acme/fraud/uploads/"+u.ID+"/files?path=model.safetensors&offset=0", bytes.NewReader(files["model.safetensors"])).refused(t, 413)
	if d := w.completed(t); d.Bytes > 100_000 || d.End != "error" {
		t.Errorf("recorded %+v", d)
	}
}

// TestCutEndsAnUpload: a lock while bytes come in.
func TestCutEndsAnUpload(t *testing.T) {
	w := newWorld(t)
	files := map[string][]byte{"model.safetensors": weights(t, 6<<20)}
	b := files["model.safetensors"]
	var u vault.Upload
	w.do(t, "ana", "POST", "/v1/acme/fraud/uploads", declare(files)).want(t, 200, &u)
	from, to := io.Pipe()
	go func() {
		_, _ = to.Write(b[:5<<20])
		w.mu.Lock()
		w.holds = []hold.Hold{{ID: "H-1", Target: "user:ana", Kind: hold.Lock, Why: "test"}}
		w.mu.Unlock()
		if err := w.facts.Sync(context.Background()); err != nil {
			t.Error(err)
		}
		w.guard.Sweep(context.Background(), 0)
		_, _ = to.Write(b[5<<20:])
		to.Close()
	}()
	w.do(t, "ana", "PUT", "/v1/acme/fraud/uploads/"+u.ID+"/files?path=model.safetensors&offset=0", from)
	if d := w.completed(t); d.End != "cut" || d.Bytes >= int64(len(b)) {
		t.Errorf("recorded %+v", d)
	}
	if e := w.do(t, "ana", "GET", "/v1/acme/fraud/uploads/"+u.ID, nil).refused(t, 403); e.Outcome != "hold" {
		t.Errorf("after the lock: %+v", e)
	}
}

// TestPaths is A-22: whatever is tried, nothing outside of the version answers.
func TestPaths(t *testing.T) {
	w := newWorld(t)
	w.pushed(t, "fraud", map[string][]byte{"README.md": []byte("# card")})
	for _, path := range []string{"../README.md", "..%2fREADME.md", "%2e%2e/README.md", `..\README.md`, "/README.md", "x/../README.md", "README.md;x=1",
		"README.md%00", "./README.md", "%252e%252e/README.md", "README.md%20", "C:README.md", "readme.MD", "sub//README.md", "R%C3%A9.md"} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", w.server.URL+"/vault/v1/acme/fraud/versions/main/files/README.md", nil)
		must(t, err)
		r.URL.Opaque = strings.TrimSuffix(strings.TrimPrefix(w.server.URL, "http:"), "/") + "/vault/v1/acme/fraud/versions/main/files/" + path
		r.Header.Set("Authorization", "Bearer ana")
		a, err := w.server.Client().Do(r)
		if err != nil {
			continue // not even a request
		}
		got, _ := io.ReadAll(a.Body)
		a.Body.Close()
		if a.StatusCode < 400 || bytes.Contains(got, []byte("# card")) {
			t.Errorf("%s = %d %s", path, a.StatusCode, got)
		}
	}
	w.do(t, "ana", "GET", "/v1/acme/fraud/versions/..%2f..%2fsecret", nil).refused(t, 403) // no route
	w.do(t, "ana", "PATCH", "/v1/acme/fraud/versions/main", nil).refused(t, 403)
}

// FuzzRead: whatever comes, reading a request neither panics nor yields a question
// about something that could not have been named, or an action of another group.
func FuzzRead(f *testing.F) {
	f.Add("GET", "/v1/acme/fraud/versions/main/files/model.safetensors", "")
	f.Add("PUT", "/v1/acme/fraud/uploads/abc/files", "path=a.md&offset=0")
	f.Add("GET", "/v1/acme/fraud/versions/sha256:"+strings.Repeat("a", 64), "")
	f.Add("DELETE", "/v1/%61cme/fraud/uploads/..%2f..", "%zz")
	n, err := New(nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		m, ok := n.Routes().Match(method, path)
		if !ok {
			return
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.URL.RawQuery = method, query
		asked, err := n.Read(r, m)
		if err != nil {
			return
		}
		if ref, err := sallyport.ParseRef(asked.Target.String()); err != nil || ref != asked.Target || asked.Serve == nil {
			t.Errorf("%s %s asks about %v: %v", method, path, asked.Target, err)
		}
		if asked.Action != "" && asked.Action.Group() != "model" || strings.Contains(asked.File, "..") && strings.Contains("/"+asked.File+"/", "/../") {
			t.Errorf("%s %s is %s of %q", method, path, asked.Action, asked.File)
		}
	})
}

// TestRefusalIsJSON for every kind of refusal.
func TestRefusalIsJSON(t *testing.T) {
	n, err := New(nil, nil)
	must(t, err)
	for _, status := range []int{400, 401, 403, 404, 409, 413, 429, 503} {
		rec := httptest.NewRecorder()
		n.Refuse(rec, httptest.NewRequest("GET", "/", nil), gateway.Refusal{Err: sallyport.E("x", sallyport.Busy, "m", ""), Status: status, Text: "a sentence"})
		var e map[string]any
		if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil || rec.Code != status || e["message"] != "a sentence" || e["kind"] != "busy" {
			t.Errorf("%d: %d %s", status, rec.Code, rec.Body)
		}
	}
}
