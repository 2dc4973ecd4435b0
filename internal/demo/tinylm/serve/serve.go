// Package serve owns a small OpenAI-compatible HTTP server around tinylm: models, chat, completions, embeddings and
// responses, with SSE (server-sent events).
//
// It stands in for vLLM, llama.cpp or Ollama behind the gateway, and so it has their faults on purpose: inference
// without a key at /invocations, and a control route beside the inference routes. It decides nothing about people;
// its one key is the gateway's. It leaves listening, TLS and timeouts to the caller's http.Server.
package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"sallyport/internal/demo/tinylm"
	"sallyport/internal/plumbing/secret"
)

const (
	// ServerName is the Server header of every answer.
	ServerName = "sallyport-tinylm"

	maxBody          = 1 << 20 // bytes of a request
	maxInputs        = 256     // texts in one embeddings call
	defaultTokens    = 160     // when the request sets no limit
	defaultTemp      = 0.6     // when the request sets none
	errInvalid       = "invalid_request_error"
	errAuthorization = "authentication_error"
)

// Options configure a Handler.
type Options struct {
	Name   string           // the model's id in the API
	APIKey secret.Text      // what clients send as bearer token; with an empty one every request is refused
	Pace   time.Duration    // time that each token takes at least; 0 for none
	Clock  func() time.Time // nil means time.Now
}

// Handler serves m. It is safe for concurrent use. Every generation ends when its request's context does.
func Handler(m *tinylm.Model, o Options) http.Handler {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	s := &server{model: m, o: o, started: o.Clock().Unix()}
	mux := http.NewServeMux()
	handle := func(pattern string, f func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := f(w, r); err != nil {
				fail(w, err)
			}
		})
	}
	handle("GET /v1/models", s.keyed(s.models))
	handle("GET /v1/models/{id...}", s.keyed(s.oneModel))
	handle("POST /v1/chat/completions", s.keyed(s.chat))
	handle("POST /v1/completions", s.keyed(s.complete))
	handle("POST /v1/embeddings", s.keyed(s.embeddings))
	handle("POST /v1/responses", s.keyed(s.responses))
	handle("GET /health", func(w http.ResponseWriter, _ *http.Request) error {
		return answer(w, map[string]string{"status": "ok"})
	})
	// Inference without a key: vLLM has this route and does not protect it. It is here so that tests can prove that
	// nobody reaches it through the gateway.
	handle("POST /invocations", s.chat)
	// Control beside inference, behind the same key, as vLLM has it: whoever holds the upstream's key may change what
	// it serves. Nothing is loaded here; it is for proving that the gateway, which holds the key, refuses the route.
	handle("POST /v1/load_lora_adapter", s.keyed(func(w http.ResponseWriter, _ *http.Request) error {
		return answer(w, map[string]string{"status": "ok", "note": "a real engine would have loaded the adapter"})
	}))
	handle("/", func(_ http.ResponseWriter, r *http.Request) error {
		return &apiError{http.StatusNotFound, errInvalid, "", "not_found", fmt.Sprintf("no route %s %s", r.Method, r.URL.Path)}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", ServerName)
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		mux.ServeHTTP(w, r)
	})
}

type server struct {
	model   *tinylm.Model
	o       Options
	started int64
	calls   atomic.Uint64 // numbers answers, and seeds those that bring no seed
}

type handler = func(http.ResponseWriter, *http.Request) error

func (s *server) keyed(next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || !s.o.APIKey.Equal(secret.NewText(token)) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			return &apiError{http.StatusUnauthorized, errAuthorization, "", "invalid_api_key", "missing or wrong API key: send it as a bearer token"}
		}
		return next(w, r)
	}
}

// apiError is an answer in OpenAI's error shape.
type apiError struct {
	status                     int
	kind, param, code, message string
}

func (e *apiError) Error() string { return "serve: " + e.message }

func invalid(param, format string, args ...any) error {
	return &apiError{http.StatusBadRequest, errInvalid, param, "invalid_value", fmt.Sprintf(format, args...)}
}

// body returns the JSON of e, with null for what is not set.
func (e *apiError) body() map[string]any {
	orNull := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	return map[string]any{"error": map[string]any{
		"message": e.message, "type": e.kind, "param": orNull(e.param), "code": orNull(e.code),
	}}
}

// fail writes err, unless the client is gone and no one reads it anyhow.
func fail(w http.ResponseWriter, err error) {
	var e *apiError
	if !errors.As(err, &e) {
		e = &apiError{http.StatusInternalServerError, "server_error", "", "", "generation failed"}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(e.body())
}

func answer(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // fails only when the client is gone
	return nil
}

// read decodes the body into v. Fields that this server does not know are ignored, as the engines do.
func read(r *http.Request, v any) error {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return &apiError{http.StatusUnsupportedMediaType, errInvalid, "", "unsupported_encoding", "send the body without content encoding"}
	}
	data, err := io.ReadAll(r.Body)
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		return &apiError{http.StatusRequestEntityTooLarge, errInvalid, "", "too_large", fmt.Sprintf("body of more than %d bytes", maxBody)}
	}
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		return &apiError{http.StatusBadRequest, errInvalid, "", "invalid_json", "the body is not the JSON that this route takes"}
	}
	return nil
}

func (s *server) known(model string) error {
	if model == s.o.Name {
		return nil
	}
	return &apiError{http.StatusNotFound, errInvalid, "model", "model_not_found", fmt.Sprintf("the model %q does not exist here; GET /v1/models lists what does", model)}
}

func (s *server) entry() map[string]any {
	return map[string]any{"id": s.o.Name, "object": "model", "created": s.started, "owned_by": ServerName}
}

func (s *server) models(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, map[string]any{"object": "list", "data": []any{s.entry()}})
}

func (s *server) oneModel(w http.ResponseWriter, r *http.Request) error {
	if err := s.known(r.PathValue("id")); err != nil {
		return err
	}
	return answer(w, s.entry())
}

// wait lets a token's time pass.
func (s *server) wait(r *http.Request) error {
	if s.o.Pace <= 0 {
		return nil
	}
	t := time.NewTimer(s.o.Pace)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	}
}
