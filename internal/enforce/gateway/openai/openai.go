// Package openai owns the dialect of OpenAI clients (the OpenAI HTTP API, below
// /v1): models, chat completions, completions, embeddings and responses, with
// server-sent events, in front of any server that speaks it.
//
// Which upstream serves a model, and under which name, is bound in configuration:
// the model field of a request only says what is asked for. The body is parsed
// once, refused when it has two readings, and what was parsed is what is
// forwarded. The upstream's key never leaves this process.
//
// The package leaves the order of work to gateway, and starting upstreams to
// their operators.
package openai

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"sallyport"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/plumbing/secret"
)

//go:embed routes.txt
var routesTable string

//go:embed upstream.txt
var upstreamTable string

// Upstream is the list of routes of OpenAI and of the servers that speak its
// dialect, for the coverage number.
func Upstream() string { return upstreamTable }

// A Binding says where requests for one model go.
type Binding struct {
	Ref   sallyport.Ref // the model, as clients name it: "acme/fraud", or one version of it: "acme/fraud@v3"
	URL   *url.URL      // base URL of the upstream, with its /v1; no user, query or fragment
	Model string        // the upstream's name for it
	Key   secret.Text   // the upstream's key; empty when it wants none
}

// A target is a binding, ready for use.
type target struct {
	ref   sallyport.Ref
	model string
	key   secret.Text
	urls  map[string]*url.URL // by route
}

// Chat is the protocol. It is a gateway.Protocol, safe for concurrent use.
type Chat struct {
	targets map[string]*target
	guard   *guard.Guard
	client  *http.Client
	routes  gateway.Routes
	buffers sync.Pool // of *bytes.Buffer
}

// New returns the protocol over the bindings, which reach their upstreams through
// client. Two bindings of one model, or one that names no upstream, are errors.
func New(bindings []Binding, g *guard.Guard, client *http.Client) (*Chat, error) {
	routes, err := gateway.ParseRoutes(routesTable)
	if err != nil {
		return nil, err
	}
	c := &Chat{targets: map[string]*target{}, guard: g, client: client, routes: routes}
	for _, b := range bindings {
		name := b.Ref.String()
		t, err := targetOf(b)
		if err == nil && c.targets[name] != nil {
			err = errors.New("it stands twice")
		}
		if err != nil {
			return nil, sallyport.E("bind models", sallyport.Invalid, fmt.Sprintf("the binding of %q cannot be used: %v", name, err), "give each model one upstream URL and one upstream model")
		}
		c.targets[name] = t
	}
	return c, nil
}

func targetOf(b Binding) (*target, error) {
	switch u := b.URL; {
	case b.Ref.Kind != sallyport.ModelKind:
		return nil, errors.New("it is no model")
	case b.Ref.Revision != "" && !isVersion(b.Ref.Revision):
		return nil, errors.New("an alias or a digest is no version")
	case b.Model == "":
		return nil, errors.New("the upstream's name for it is missing")
	case u == nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("the upstream has no http or https URL")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the upstream's URL has a user, a query or a fragment")
	}
	t := &target{ref: b.Ref, model: b.Model, key: b.Key, urls: map[string]*url.URL{}}
	for _, route := range []string{"chat", "completions", "embeddings", "responses"} {
		u := *b.URL
		u.Path, u.RawPath = strings.TrimRight("/"+strings.Trim(u.Path, "/"), "/")+upstreamPath(route), ""
		t.urls[route] = &u
	}
	return t, nil
}

// upstreamPath is where a route is on the upstream, below its base URL.
func upstreamPath(route string) string {
	switch route {
	case "chat":
		return "/chat/completions"
	case "completions", "embeddings", "responses":
		return "/" + route
	}
	return ""
}

// isVersion reports whether a revision is a version's number, "v3".
func isVersion(revision string) bool {
	digits, ok := strings.CutPrefix(revision, "v")
	return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// Name is the door's name in records.
func (c *Chat) Name() string { return "openai" }

// Routes is the table of the dialect.
func (c *Chat) Routes() gateway.Routes { return c.routes }

// Read reduces a request to one question.
func (c *Chat) Read(r *http.Request, m gateway.Match) (gateway.Asked, error) {
	switch m.Name {
	case "models":
		return gateway.Asked{Target: sallyport.Ref{Kind: sallyport.SystemKind}, Serve: c.models, Inline: "because the list is filtered by what the caller may use"}, nil
	case "model":
		name := m.Params["model"]
		if name == "" {
			name = m.Params["org"] + "/" + m.Params["name"]
		}
		ref, err := sallyport.ParseRef(name)
		if err != nil || ref.Kind != sallyport.ModelKind {
			return gateway.Asked{}, sallyport.E("model", sallyport.NotFound, "the model "+quote(name)+" is not served here", "list those that are with GET /v1/models")
		}
		return gateway.Asked{Target: ref, Serve: func(d *gateway.Delivery) error { return c.model(d, ref) }}, nil
	}
	body, err := readBody(r, m.Name)
	if err != nil {
		return gateway.Asked{}, err
	}
	return gateway.Asked{Target: body.ref, Inline: body.inline(m.Name), Serve: func(d *gateway.Delivery) error { return c.forward(d, m.Name, body) }}, nil
}

// modelObject is what the API tells about a model.
type modelObject struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

func (c *Chat) models(d *gateway.Delivery) error {
	var refs []sallyport.Ref
	for _, t := range c.targets {
		refs = append(refs, t.ref)
	}
	slices.SortFunc(refs, func(a, b sallyport.Ref) int { return strings.Compare(a.String(), b.String()) })
	list := []modelObject{}
	for _, ref := range refs {
		if len(c.guard.Visible(d.Permit, sallyport.ModelInfer, []sallyport.Ref{ref})) > 0 {
			list = append(list, objectOf(ref))
		}
	}
	return writeJSON(d, http.StatusOK, map[string]any{"object": "list", "data": list})
}

func (c *Chat) model(d *gateway.Delivery, ref sallyport.Ref) error {
	if _, err := c.target(d.Permit.Resource(), ref); err != nil {
		return err
	}
	return writeJSON(d, http.StatusOK, objectOf(ref))
}

func objectOf(ref sallyport.Ref) modelObject {
	return modelObject{ID: ref.String(), Object: "model", OwnedBy: ref.Org}
}

// target finds the upstream for a permitted resource: one that is bound to
// exactly this version, or the model's own if that is the version which the
// model's bare name means. Another version than was decided on is never called.
func (c *Chat) target(x sallyport.Resource, asked sallyport.Ref) (*target, error) {
	if t, ok := c.targets[x.String()]; ok {
		return t, nil
	}
	bare := sallyport.Ref{Kind: sallyport.ModelKind, Org: x.Org, Name: x.Name}
	t, ok := c.targets[bare.String()]
	if ok && asked.Revision != "" {
		main, found := c.guard.Facts.Snapshot().Resolve(bare)
		ok = found && main.Digest == x.Digest
	}
	if !ok {
		return nil, sallyport.E("model", sallyport.NotFound, x.String()+" is not served here", "list what is with GET /v1/models")
	}
	return t, nil
}

func (c *Chat) buffer() *bytes.Buffer {
	if b, ok := c.buffers.Get().(*bytes.Buffer); ok {
		return b
	}
	return &bytes.Buffer{}
}

func (c *Chat) release(b *bytes.Buffer) {
	if b.Cap() <= maxPooled {
		b.Reset()
		c.buffers.Put(b)
	}
}

// An apiError is the error object of the API.
type apiError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    string  `json:"code"`
}

// Refuse answers with the API's error object, whose message clients show.
func (c *Chat) Refuse(w http.ResponseWriter, _ *http.Request, f gateway.Refusal) {
	e := errorFor(f.Status, f.Text)
	if f.Err == nil && f.Status == http.StatusForbidden {
		e.Code = "policy_" + f.Answer.Outcome.String()
	}
	if f.Answer.ID != "" {
		w.Header().Set("X-Request-Id", f.Answer.ID)
	}
	if f.Status >= 500 || f.Status == http.StatusConflict {
		w.Header().Set("X-Should-Retry", "false")
	}
	if f.Status == http.StatusServiceUnavailable || f.Status == http.StatusTooManyRequests {
		w.Header().Set("X-Should-Retry", "true")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.Status)
	body, _ := json.Marshal(map[string]apiError{"error": e}) // strings cannot fail
	_, _ = w.Write(body)
}

func errorFor(status int, text string) apiError {
	e := apiError{Message: text, Type: "invalid_request_error", Code: "invalid_request"}
	switch status {
	case http.StatusUnauthorized:
		e.Type, e.Code = "authentication_error", "invalid_api_key"
	case http.StatusForbidden:
		e.Type, e.Code = "permission_error", "policy_deny"
	case http.StatusNotFound:
		e.Code = "model_not_found"
	case http.StatusTooManyRequests:
		e.Type, e.Code = "rate_limit_error", "busy"
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusInternalServerError:
		e.Type, e.Code = "server_error", "unavailable"
	}
	return e
}

func writeJSON(d *gateway.Delivery, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	d.Header().Set("Content-Type", "application/json")
	return d.Whole(status, body)
}
