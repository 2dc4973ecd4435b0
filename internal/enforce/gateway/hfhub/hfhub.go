// Package hfhub owns the dialect of Hugging Face Hub clients (the Hub's HTTP API
// as huggingface_hub 1.x and @huggingface/hub 2.x call it), for reading: model
// information, revisions, trees, and files with ranges.
//
// Bytes leave only through the answer itself: no redirect to a store, no Xet
// hints, no credential for one. The package leaves the order of work to gateway
// and the bytes to artifact/vault.
package hfhub

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/format"
	"sallyport/internal/artifact/vault"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard"
)

//go:embed routes.txt
var routesTable string

//go:embed upstream.txt
var upstreamTable string

// Upstream is the Hub's own list of routes, for the coverage number.
func Upstream() string { return upstreamTable }

// A Hub answers as a model hub does. It is a gateway.Protocol, safe for
// concurrent use.
type Hub struct {
	vault  *vault.Vault
	guard  *guard.Guard
	base   string // external URL of the door, for links
	prefix string // its path
	page   int    // how many entries one answer holds
	routes gateway.Routes
}

// pageSize is how many entries of a list or a tree one answer holds.
const pageSize = 1000

// New returns a hub over v, reached at the external URL base.
func New(v *vault.Vault, g *guard.Guard, base string) (*Hub, error) {
	routes, err := gateway.ParseRoutes(routesTable)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return nil, sallyport.E("open hub", sallyport.Invalid, "the external URL of the hub has no host", "write https://HOST/PREFIX")
	}
	return &Hub{vault: v, guard: g, base: strings.TrimSuffix(base, "/"), prefix: strings.TrimSuffix(u.EscapedPath(), "/"), page: pageSize, routes: routes}, nil
}

// Name is the door's name in records.
func (h *Hub) Name() string { return "hfhub" }

// Routes is the table of the dialect.
func (h *Hub) Routes() gateway.Routes { return h.routes }

// Read reduces a request to one question. What a file is for is read from its
// name, as it was when the file was admitted; the vault holds it to that.
func (h *Hub) Read(r *http.Request, m gateway.Match) (gateway.Asked, error) {
	switch m.Name {
	case "whoami":
		return gateway.Asked{Target: sallyport.Ref{Kind: sallyport.SystemKind}, Serve: h.whoami}, nil
	case "list":
		return gateway.Asked{Target: sallyport.Ref{Kind: sallyport.SystemKind}, Serve: h.list, Inline: "because the list is filtered by what the caller may know"}, nil
	}
	ref, err := target(m.Params)
	if err != nil {
		return gateway.Asked{}, err
	}
	return h.about(r, m, gateway.Asked{Target: ref})
}

// about completes a question about one model.
func (h *Hub) about(r *http.Request, m gateway.Match, a gateway.Asked) (gateway.Asked, error) {
	switch m.Name {
	case "info":
		a.Serve = h.info
	case "refs":
		a.Serve = h.refs
	case "authcheck":
		a.Serve = func(d *gateway.Delivery) error { return writeJSON(d, struct{}{}) }
	case "tree":
		dir := m.Params["path"]
		a.Serve = func(d *gateway.Delivery) error { return h.tree(d, dir) }
	case "paths":
		want, err := readPaths(r)
		a.Serve = func(d *gateway.Delivery) error { return h.paths(d, want) }
		return a, err
	case "head", "resolve":
		a.File = m.Params["path"]
		a.Action = actionFor(r.Method, a.File)
		a.Serve = h.file
		if err := format.CheckName(a.File); err != nil {
			return a, sallyport.Wrap("resolve", sallyport.NotFound, "there is no such file", err).Because(reasonNoEntry)
		}
	default:
		return a, sallyport.E("route", sallyport.Other, "the route "+m.Name+" has no handler", "")
	}
	return a, nil
}

// target reads organisation, name and revision. The branch main, and HEAD as the
// npm client says, is the model's main alias.
func target(params map[string]string) (sallyport.Ref, error) {
	ref := sallyport.Ref{Kind: sallyport.ModelKind, Org: params["org"], Name: params["name"]}
	if rev := params["rev"]; rev != catalog.MainAlias && rev != "HEAD" {
		ref.Revision = rev
	}
	for _, name := range []string{ref.Org, ref.Name} {
		if sallyport.CheckName("model", name) != nil {
			return ref, sallyport.E("model", sallyport.NotFound, "there is no such model that you may know of", "")
		}
	}
	if ref.Revision != "" && sallyport.CheckRevision("revision", ref.Revision) != nil {
		return ref, sallyport.E("revision", sallyport.NotFound, "there is no such revision", "").Because(reasonNoRevision)
	}
	return ref, nil
}

// actionFor says what asking for a file means: knowing about it, its auxiliary
// bytes, or possession.
func actionFor(method, file string) sallyport.Action {
	kind := format.KindOf(file)
	switch {
	case method == http.MethodHead, kind == format.Card:
		return sallyport.ModelRead
	case kind == format.Tokenizer, kind == format.Config:
		return sallyport.ModelPullAux
	}
	return sallyport.ModelPull
}

// Refuse answers in the form in which the Hub's clients show our sentence:
// downloads need the error code GatedRepo, the command hf shows nothing but the
// warning, the npm client only the body.
func (h *Hub) Refuse(w http.ResponseWriter, r *http.Request, f gateway.Refusal) {
	hd := w.Header()
	hd.Set("Content-Type", "application/json")
	hd.Set("X-Error-Message", f.Text)
	if f.Answer.ID != "" {
		hd.Set("X-Request-Id", f.Answer.ID)
	}
	switch f.Status {
	case http.StatusNotFound:
		hd.Set("X-Error-Code", missing(f))
		if commit := f.Header.Get(commitHeader); commit != "" {
			hd.Set(commitHeader, commit) // clients remember what is not in a commit
		}
	case http.StatusForbidden:
		hd.Set("X-HF-Warning", "sallyport "+f.Answer.ID+"; "+f.Text)
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			hd.Set("X-Error-Code", "GatedRepo")
		}
	}
	w.WriteHeader(f.Status)
	if r.Method != http.MethodHead {
		body, _ := json.Marshal(map[string]string{"error": f.Text}) // a map of strings cannot fail
		_, _ = w.Write(body)
	}
}

// missing names what is not there in the Hub's own words.
func missing(f gateway.Refusal) string {
	switch sallyport.ReasonOf(f.Err) {
	case reasonNoEntry:
		return "EntryNotFound"
	case reasonNoRevision:
		return "RevisionNotFound"
	}
	if f.Err == nil && !f.Answer.Hidden {
		return "RevisionNotFound" // the model is there for this caller, what it was asked for is not
	}
	return "RepoNotFound"
}

// commitHeader names the version that an answer is about.
const commitHeader = "X-Repo-Commit"

const (
	reasonNoEntry    = "entry.unknown"
	reasonNoRevision = "revision.unknown"
)

func writeJSON(d *gateway.Delivery, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	d.Header().Set("Content-Type", "application/json")
	return d.Whole(http.StatusOK, body)
}

// Carries are the obligations on files and their bytes, which the vault keeps to.
func (*Hub) Carries() []sallyport.ObligationKind {
	return []sallyport.ObligationKind{sallyport.OnlyFiles, sallyport.OnlyRange}
}
