package serve_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/demo/tinylm"
	"sallyport/internal/demo/tinylm/serve"
	"sallyport/internal/plumbing/secret"
)

const key = "sk-a-key-of-the-tests"

var model = sync.OnceValues(func() (*tinylm.Model, error) {
	c := tinylm.Small()
	c.Vocab, c.Steps = 300, 20
	return tinylm.Train(context.Background(), c, nil)
})

// start serves the model as "acme/tiny" and returns its address.
func start(t *testing.T, change ...func(*serve.Options)) string {
	t.Helper()
	m, err := model()
	if err != nil {
		t.Fatal(err)
	}
	o := serve.Options{Name: "acme/tiny", APIKey: secret.NewText(key), Clock: func() time.Time { return time.Unix(1000, 0) }}
	for _, f := range change {
		f(&o)
	}
	s := httptest.NewServer(serve.Handler(m, o))
	t.Cleanup(s.Close)
	return s.URL
}

// call sends body (a GET when empty) with the key and returns status, header and body.
func call(t *testing.T, url, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(data)
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// events returns the data of a stream's events, and their names.
func events(t *testing.T, body string) (names, data []string) {
	t.Helper()
	sc := bufio.NewScanner(strings.NewReader(body))
	for sc.Scan() {
		if n, ok := strings.CutPrefix(sc.Text(), "event: "); ok {
			names = append(names, n)
		}
		if d, ok := strings.CutPrefix(sc.Text(), "data: "); ok {
			data = append(data, d)
		}
	}
	return names, data
}

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

type completion struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	Model   string `json:"model"`
	Choices []struct {
		Message struct{ Role, Content string }
		Delta   struct{ Role, Content string }
		Text    string
		Finish  *string `json:"finish_reason"`
	} `json:"choices"`
	Usage *usage `json:"usage"`
}

func TestChat(t *testing.T) {
	url := start(t)
	const ask = `{"model":"acme/tiny","messages":[{"role":"user","content":"What is a key?"}],"seed":3,"max_tokens":12`
	status, h, body := call(t, url+"/v1/chat/completions", ask+`}`)
	whole := decode[completion](t, body)
	if status != 200 || h.Get("Server") != serve.ServerName || whole.Object != "chat.completion" || whole.Created != 1000 {
		t.Fatalf("%d %v %s", status, h, body)
	}
	c := whole.Choices[0]
	if c.Message.Role != "assistant" || c.Message.Content == "" || whole.Usage.Total != whole.Usage.Prompt+whole.Usage.Completion {
		t.Errorf("got %s", body)
	}
	parts := strings.Replace(ask, `"What is a key?"`, `[{"type":"text","text":"What is "},{"type":"text","text":"a key?"}]`, 1)
	_, _, body = call(t, url+"/v1/chat/completions", parts+`,"stream":null,"stop":null}`)
	if decode[completion](t, body).Choices[0].Message.Content != c.Message.Content {
		t.Error("content in parts gives another answer")
	}

	_, h, body = call(t, url+"/v1/chat/completions", ask+`,"stream":true,"stream_options":{"include_usage":true}}`)
	_, data := events(t, body)
	if h.Get("Content-Type") != "text/event-stream" || len(data) < 5 || data[len(data)-1] != "[DONE]" {
		t.Fatalf("%v %s", h, body)
	}
	var text string
	for i, d := range data[:len(data)-2] {
		chunk := decode[completion](t, d)
		if chunk.Object != "chat.completion.chunk" || chunk.Usage != nil || len(chunk.Choices) != 1 {
			t.Fatalf("chunk %d: %s", i, d)
		}
		text += chunk.Choices[0].Delta.Content
		if (i == 0) != (chunk.Choices[0].Delta.Role == "assistant") || (i == len(data)-3) != (chunk.Choices[0].Finish != nil) {
			t.Errorf("chunk %d: %s", i, d)
		}
	}
	last := data[len(data)-2]
	if u := decode[completion](t, last).Usage; !strings.Contains(last, `"choices":[]`) || u == nil || *u != *whole.Usage {
		t.Errorf("usage chunk: %s", last)
	}
	if text != c.Message.Content {
		t.Errorf("streamed %q, whole %q", text, c.Message.Content)
	}

	_, _, body = call(t, url+"/v1/chat/completions", ask+`,"stream":true}`)
	if strings.Contains(body, `"usage"`) {
		t.Error("usage was sent without being asked for")
	}
}

func TestCompletions(t *testing.T) {
	url := start(t)
	const ask = `{"model":"acme/tiny","prompt":["The gate"],"seed":3,"max_tokens":9`
	_, _, body := call(t, url+"/v1/completions", ask+`}`)
	whole := decode[completion](t, body)
	_, _, body = call(t, url+"/v1/completions", ask+`,"stream":true}`)
	_, data := events(t, body)
	var text string
	for _, d := range data[:len(data)-1] {
		text += decode[completion](t, d).Choices[0].Text
	}
	if whole.Object != "text_completion" || whole.Choices[0].Text == "" || text != whole.Choices[0].Text || data[len(data)-1] != "[DONE]" {
		t.Errorf("whole %+v, streamed %q", whole, text)
	}
}

func TestEmbeddings(t *testing.T) {
	url := start(t)
	type list struct {
		Data []struct {
			Index     int
			Embedding json.RawMessage
		}
		Usage usage
	}
	_, _, body := call(t, url+"/v1/embeddings", `{"model":"acme/tiny","input":["a key","a gate"]}`)
	plain := decode[list](t, body)
	_, _, body = call(t, url+"/v1/embeddings", `{"model":"acme/tiny","input":"a gate","encoding_format":"base64"}`)
	packed := decode[list](t, body)
	floats := decode[[]float32](t, string(plain.Data[1].Embedding))
	raw, err := base64.StdEncoding.DecodeString(decode[string](t, string(packed.Data[0].Embedding)))
	if len(plain.Data) != 2 || plain.Data[1].Index != 1 || plain.Usage.Prompt < 2 || err != nil || len(raw) != 4*len(floats) {
		t.Errorf("%d rows, %d floats, %d bytes, %v", len(plain.Data), len(floats), len(raw), err)
	}
}

func TestResponses(t *testing.T) {
	url := start(t)
	const ask = `{"model":"acme/tiny","input":[{"role":"user","content":[{"type":"input_text","text":"The sea"}]}],"instructions":"Speak.","seed":3,"max_output_tokens":6`
	type response struct {
		Status  string
		Details *struct{ Reason string } `json:"incomplete_details"`
		Output  []struct{ Content []struct{ Text string } }
		Usage   map[string]any
	}
	_, _, body := call(t, url+"/v1/responses", ask+`}`)
	whole := decode[response](t, body)
	if whole.Status != "incomplete" || whole.Details.Reason != "max_output_tokens" || whole.Usage["output_tokens"] != 6.0 {
		t.Fatal(body)
	}
	_, _, body = call(t, url+"/v1/responses", ask+`,"stream":true}`)
	names, data := events(t, body)
	var text string
	for i, d := range data {
		e := decode[struct {
			Type, Delta string
			Seq         int `json:"sequence_number"`
		}](t, d)
		if e.Type != names[i] || e.Seq != i {
			t.Errorf("event %d is named %s and says %s", i, names[i], d)
		}
		text += e.Delta
	}
	want := []string{
		"response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
		"response.output_text.delta", "response.output_text.done", "response.content_part.done", "response.output_item.done",
		"response.incomplete",
	}
	if got := slices.Compact(names); !slices.Equal(got, want) {
		t.Errorf("events %v", got)
	}
	last := decode[struct{ Response response }](t, data[len(data)-1]).Response
	if text == "" || text != whole.Output[0].Content[0].Text || text != last.Output[0].Content[0].Text {
		t.Errorf("streamed %q, whole %+v, last %+v", text, whole.Output, last.Output)
	}
}

func TestRefusals(t *testing.T) {
	url := start(t)
	const messages = `"messages":[{"role":"user","content":"x"}]`
	for name, c := range map[string]struct {
		path, body string
		header     []string
		status     int
		code       string
	}{
		"no key":          {"/v1/models", "", []string{"Authorization", ""}, 401, "invalid_api_key"},
		"a wrong key":     {"/v1/models", "", []string{"Authorization", "Bearer " + key + "x"}, 401, "invalid_api_key"},
		"another scheme":  {"/v1/models", "", []string{"Authorization", "Basic " + key}, 401, "invalid_api_key"},
		"control, no key": {"/v1/load_lora_adapter", "{}", []string{"Authorization", ""}, 401, "invalid_api_key"},
		"another model":   {"/v1/chat/completions", `{"model":"x",` + messages + `}`, nil, 404, "model_not_found"},
		"no model":        {"/v1/chat/completions", `{` + messages + `}`, nil, 404, "model_not_found"},
		"no messages":     {"/v1/chat/completions", `{"model":"acme/tiny"}`, nil, 400, "invalid_value"},
		"two choices":     {"/v1/chat/completions", `{"model":"acme/tiny","n":2,` + messages + `}`, nil, 400, "invalid_value"},
		"heat":            {"/v1/chat/completions", `{"model":"acme/tiny","temperature":3,` + messages + `}`, nil, 400, "invalid_value"},
		"no tokens":       {"/v1/chat/completions", `{"model":"acme/tiny","max_tokens":0,` + messages + `}`, nil, 400, "invalid_value"},
		"two prompts":     {"/v1/completions", `{"model":"acme/tiny","prompt":["a","b"]}`, nil, 400, "invalid_value"},
		"ids as prompt":   {"/v1/completions", `{"model":"acme/tiny","prompt":[1,2]}`, nil, 400, "invalid_json"},
		"no input":        {"/v1/responses", `{"model":"acme/tiny"}`, nil, 400, "invalid_value"},
		"an old response": {"/v1/responses", `{"model":"acme/tiny","input":"x","previous_response_id":"resp_1"}`, nil, 400, "invalid_value"},
		"empty text":      {"/v1/embeddings", `{"model":"acme/tiny","input":["a",""]}`, nil, 400, "invalid_value"},
		"dimensions":      {"/v1/embeddings", `{"model":"acme/tiny","input":"a","dimensions":7}`, nil, 400, "invalid_value"},
		"no JSON":         {"/v1/embeddings", `{`, nil, 400, "invalid_json"},
		"compressed":      {"/v1/embeddings", `{}`, []string{"Content-Encoding", "gzip"}, 415, "unsupported_encoding"},
		"too much":        {"/v1/embeddings", strings.Repeat(" ", 1<<20+1), nil, 413, "too_large"},
		"no such route":   {"/v1/files", "", nil, 404, "not_found"},
		"a wrong method":  {"/v1/chat/completions", "", nil, 404, "not_found"},
	} {
		status, _, body := call(t, url+c.path, c.body, c.header...)
		e := decode[struct {
			Error struct{ Message, Type, Code string }
		}](t, body).Error
		if status != c.status || e.Code != c.code || e.Message == "" || e.Type == "" {
			t.Errorf("%s: got %d %s, want %d %s", name, status, body, c.status, c.code)
		}
	}
}

func TestNoKeyConfiguredMeansNobody(t *testing.T) {
	url := start(t, func(o *serve.Options) { o.APIKey = secret.Text{} })
	for _, h := range []string{"", "Bearer ", "Bearer"} {
		if status, _, _ := call(t, url+"/v1/models", "", "Authorization", h); status != 401 {
			t.Errorf("%q is let in: %d", h, status)
		}
	}
}

// The faults of real engines that the gateway must close: they have to be open here, or its tests prove nothing.
func TestTheDangerousRoutesAreOpen(t *testing.T) {
	url := start(t)
	if status, _, body := call(t, url+"/health", "", "Authorization", ""); status != 200 {
		t.Errorf("health: %d %s", status, body)
	}
	body := `{"model":"acme/tiny","max_tokens":3,"messages":[{"role":"user","content":"x"}]}`
	if status, _, body := call(t, url+"/invocations", body, "Authorization", ""); status != 200 {
		t.Errorf("invocations without a key: %d %s", status, body)
	}
	if status, _, body := call(t, url+"/v1/load_lora_adapter", `{"lora_name":"x","lora_path":"/etc"}`); status != 200 {
		t.Errorf("load_lora_adapter: %d %s", status, body)
	}
}

func TestModels(t *testing.T) {
	url := start(t)
	if _, _, body := call(t, url+"/v1/models", ""); !strings.Contains(body, `"id":"acme/tiny"`) {
		t.Error(body)
	}
	if status, _, _ := call(t, url+"/v1/models/acme/tiny", ""); status != 200 {
		t.Errorf("a name with a slash: %d", status)
	}
	if status, _, _ := call(t, url+"/v1/models/other", ""); status != 404 {
		t.Errorf("a name that is not there: %d", status)
	}
}

// A client that hangs up ends the generation: with an hour to each token the handler returns only for that reason.
func TestHangingUpEndsTheStream(t *testing.T) {
	m, err := model()
	if err != nil {
		t.Fatal(err)
	}
	h := serve.Handler(m, serve.Options{Name: "acme/tiny", APIKey: secret.NewText(key), Pace: time.Hour})
	returned := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		close(returned)
	}))
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/v1/chat/completions",
		strings.NewReader(`{"model":"acme/tiny","stream":true,"messages":[{"role":"user","content":"x"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || !strings.Contains(line, `"role":"assistant"`) {
		t.Errorf("the first chunk did not come at once: %q, %v", line, err)
	}
	cancel()
	<-returned
}
