package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"
)

// An asked is a request that reached the upstream.
type asked struct {
	id     string // X-Request-Id
	path   string
	header http.Header
	body   []byte
}

// An upstream is a small model server of the OpenAI dialect that keeps what it is
// asked and wants a key.
type upstream struct {
	*httptest.Server
	key string

	mu  sync.Mutex
	got []asked
}

func newUpstream(key string) *upstream {
	u := &upstream{key: key}
	u.Server = httptest.NewServer(http.HandlerFunc(u.serve))
	return u
}

// requests returns what it was asked so far.
func (u *upstream) requests() []asked {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]asked{}, u.got...)
}

func (u *upstream) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	u.mu.Lock()
	u.got = append(u.got, asked{r.Header.Get("X-Request-Id"), r.URL.Path, r.Header.Clone(), body})
	u.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+u.key {
		http.Error(w, `{"error":{"message":"wrong key"}}`, http.StatusUnauthorized)
		return
	}
	var q struct {
		Model     string `json:"model"`
		Stream    bool   `json:"stream"`
		MaxTokens int    `json:"max_tokens"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		http.Error(w, `{"error":{"message":"no JSON"}}`, http.StatusBadRequest)
		return
	}
	if q.Stream {
		u.stream(w, r, q.Model, q.MaxTokens)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"id":"c-1","object":"chat.completion","created":1,"model":%q,"choices":[{"index":0,"message":{"role":"assistant","content":"quay"},"finish_reason":"stop"}],`+
		`"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}`, q.Model)
}

// stream sends n tokens, or goes on until the other side has enough.
func (u *upstream) stream(w http.ResponseWriter, r *http.Request, model string, n int) {
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := 0; n == 0 || i < n; i++ {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
		fmt.Fprintf(w, "data: {\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":%q,\"choices\":[{\"index\":0,\"delta\":{\"content\":\"wave \"},\"finish_reason\":null}]}\n\n", model)
		if out.Flush() != nil {
			return
		}
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}
