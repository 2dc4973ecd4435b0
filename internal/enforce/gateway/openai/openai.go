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
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

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
	Ref   sallyport.Ref // the model, as clients name it: "acme/fraud"
	URL   *url.URL      // base URL of the upstream, with its /v1
	Model string        // the upstream's name for it
	Key   secret.Text   // the upstream's key; empty when it wants none
}

// Chat is the protocol. It is a gateway.Protocol, safe for concurrent use.
type Chat struct {
	bindings map[string]Binding
	guard    *guard.Guard
	client   *http.Client
	routes   gateway.Routes
}

// New returns the protocol over the bindings, which reach their upstreams through
// client. Two bindings of one model, or one without an upstream, are errors.
func New(bindings []Binding, g *guard.Guard, client *http.Client) (*Chat, error) {
	routes, err := gateway.ParseRoutes(routesTable)
	if err != nil {
		return nil, err
	}
	c := &Chat{bindings: map[string]Binding{}, guard: g, client: client, routes: routes}
	for _, b := range bindings {
		name := b.Ref.String()
		if _, twice := c.bindings[name]; twice || b.URL == nil || b.Model == "" || b.Ref.Kind != sallyport.ModelKind {
			return nil, sallyport.E("bind models", sallyport.Invalid, fmt.Sprintf("the binding of %q is doubled or incomplete", name), "give each model one upstream URL and one upstream model")
		}
		c.bindings[name] = b
	}
	return c, nil
}

// Name is the door's name in records.
func (c *Chat) Name() string { return "openai" }

// Routes is the table of the dialect.
func (c *Chat) Routes() gateway.Routes { return c.routes }

// Read reduces a request to one question.
func (c *Chat) Read(r *http.Request, m gateway.Match) (gateway.Asked, error) {
	switch m.Name {
	case "models":
		return gateway.Asked{Target: sallyport.Ref{Kind: sallyport.SystemKind}, Serve: c.models}, nil
	case "model":
		ref, err := sallyport.ParseRef(m.Params["org"] + "/" + m.Params["name"])
		return gateway.Asked{Target: ref, Serve: c.model}, err
	}
	body, err := readBody(r, m.Name)
	if err != nil {
		return gateway.Asked{}, err
	}
	return gateway.Asked{Target: body.ref, Serve: func(d *gateway.Delivery) error { return c.forward(d, m.Name, body) }}, nil
}

// modelObject is what the API tells about a model.
type modelObject struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

func (c *Chat) models(d *gateway.Delivery) error {
	refs := make([]sallyport.Ref, 0, len(c.bindings))
	for _, b := range c.bindings {
		refs = append(refs, b.Ref)
	}
	list := []modelObject{}
	for _, x := range c.guard.Visible(d.Permit, sallyport.ModelInfer, sortedRefs(refs)) {
		list = append(list, objectOf(x.Org, x.Name))
	}
	return writeJSON(d, http.StatusOK, map[string]any{"object": "list", "data": list})
}

func (c *Chat) model(d *gateway.Delivery) error {
	x := d.Permit.Resource()
	if _, ok := c.binding(x); !ok {
		return notServed(x)
	}
	return writeJSON(d, http.StatusOK, objectOf(x.Org, x.Name))
}

func objectOf(org, name string) modelObject {
	return modelObject{ID: org + "/" + name, Object: "model", OwnedBy: org}
}

// binding finds the upstream for a permitted resource: one for exactly this
// version, or else the model's.
func (c *Chat) binding(x sallyport.Resource) (Binding, bool) {
	if b, ok := c.bindings[x.String()]; ok {
		return b, true
	}
	b, ok := c.bindings[x.Org+"/"+x.Name]
	return b, ok
}

func notServed(x sallyport.Resource) error {
	return sallyport.E("model", sallyport.NotFound, x.Org+"/"+x.Name+" is not served here", "list what is with GET /v1/models")
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
	if f.Err == nil {
		e.Code = "policy_" + f.Answer.Outcome.String()
		w.Header().Set("X-Request-Id", f.Answer.ID)
	}
	if f.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="sallyport"`)
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
