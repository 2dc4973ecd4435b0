// Package native owns Sallyport's own dialect for pushing and pulling models over
// HTTP (RFC 9110): uploads that go on after an interruption, manifests, and files
// with ranges. Refusals are JSON with the decision's id, its reasons and what
// would help; a step-up is asked for as RFC 9470 has it.
//
// The package leaves the order of work to gateway and the bytes to artifact/vault.
package native

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/artifact/format"
	"sallyport/internal/artifact/vault"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/obligation"
	"sallyport/internal/web/api"
)

//go:embed routes.txt
var routesTable string

// Limits on the body of a request, in bytes.
const (
	MaxPiece   = 8 << 20  // of one PUT
	maxDeclare = 32 << 20 // of the list of files: about 400,000 blocks
	maxCommit  = 4 << 10
)

// Native is the dialect. It is a gateway.Protocol, safe for concurrent use.
type Native struct {
	vault  *vault.Vault
	guard  *guard.Guard
	routes gateway.Routes
}

// New returns the dialect over v, for callers of g.
func New(v *vault.Vault, g *guard.Guard) (*Native, error) {
	routes, err := gateway.ParseRoutes(routesTable)
	return &Native{vault: v, guard: g, routes: routes}, err
}

// Name is the door's name in records.
func (n *Native) Name() string { return "vault" }

// Routes is the table of the dialect.
func (n *Native) Routes() gateway.Routes { return n.routes }

// Read reduces a request to one question. The question is in the path; bodies are
// read when it was permitted.
func (n *Native) Read(r *http.Request, m gateway.Match) (gateway.Asked, error) {
	a := gateway.Asked{Target: sallyport.Ref{Kind: sallyport.ModelKind, Org: m.Params["org"], Name: m.Params["name"]}}
	if rev := m.Params["rev"]; rev != catalog.MainAlias {
		a.Target.Revision = rev
	}
	if _, err := sallyport.ParseRef(a.Target.String()); err != nil {
		return a, sallyport.E("vault", sallyport.NotFound, "there is no such model that you may know of", "")
	}
	id := m.Params["id"]
	switch m.Name {
	case "begin":
		a.Serve = n.begin
	case "progress":
		a.Serve = func(d *gateway.Delivery) error {
			u, err := n.vault.Uploaded(d.Permit, id)
			return answer(d, u, err)
		}
	case "append":
		return n.readAppend(r, a, id)
	case "commit":
		a.Serve = func(d *gateway.Delivery) error { return n.commit(d, id) }
	case "abort":
		a.Serve = func(d *gateway.Delivery) error { return answer(d, struct{}{}, n.vault.Abort(d.Permit, id)) }
	case "manifest":
		a.Serve = n.manifest
	case "head", "file":
		a.File = m.Params["path"]
		if err := format.CheckName(a.File); err != nil {
			return a, sallyport.Wrap("vault", sallyport.NotFound, "there is no such file", err)
		}
		if m.Name == "file" {
			a.Action = actionFor(a.File)
		}
		a.Serve = n.file
	}
	return a, nil
}

// actionFor says what asking for the bytes of a file means, by what its name says
// that it is for, to which it was held when it was pushed.
func actionFor(file string) sallyport.Action {
	switch format.KindOf(file) {
	case format.Card:
		return sallyport.ModelRead
	case format.Tokenizer, format.Config:
		return sallyport.ModelPullAux
	}
	return sallyport.ModelPull
}

func (n *Native) begin(d *gateway.Delivery) error {
	var in struct {
		Files   []vault.FileSpec `json:"files"`
		Lineage []catalog.Origin `json:"lineage"`
		// TrainedBy is who trained it, "" where that is whoever pushes.
		TrainedBy sallyport.PrincipalID `json:"trainedBy"`
	}
	if err := readJSON(d, maxDeclare, &in); err != nil {
		return err
	}
	if err := n.mayName(d.Permit, in.Lineage); err != nil {
		return err
	}
	u, err := n.vault.Begin(d.Permit, in.Files, vault.Made{From: in.Lineage, TrainedBy: in.TrainedBy})
	return answer(d, u, err)
}

// readAppend reads which bytes of which file a PUT brings.
func (n *Native) readAppend(r *http.Request, a gateway.Asked, id string) (gateway.Asked, error) {
	q := r.URL.Query()
	a.File = q.Get("path")
	offset, err := strconv.ParseInt(q.Get("offset"), 10, 64)
	if err != nil || offset < 0 || len(q) != 2 || len(q["path"]) != 1 || len(q["offset"]) != 1 || format.CheckName(a.File) != nil {
		return a, sallyport.E("upload", sallyport.Invalid, "the query is not ?path=FILE&offset=BYTES, each once", "")
	}
	if r.ContentLength > MaxPiece {
		return a, sallyport.E("upload", sallyport.TooLarge, fmt.Sprintf("%d bytes at once", r.ContentLength), fmt.Sprintf("send at most %d", MaxPiece))
	}
	a.Serve = func(d *gateway.Delivery) error {
		have, err := n.vault.Append(d.Permit, id, a.File, offset, received(d, MaxPiece))
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			err = sallyport.Wrap("upload", sallyport.TooLarge, "more bytes than one request may bring", err)
		}
		return answer(d, map[string]int64{"have": have}, err)
	}
	return a, nil
}

func (n *Native) commit(d *gateway.Delivery, id string) error {
	var in struct {
		Alias string `json:"alias"`
	}
	if err := readJSON(d, maxCommit, &in); err != nil {
		return err
	}
	made, err := n.vault.Commit(d.Permit, id, in.Alias)
	return answer(d, map[string]string{"version": made.Number, "digest": made.Digest}, err)
}

// received is the body of a request under the permit: what comes in is counted,
// limited and cut as what goes out is.
func received(d *gateway.Delivery, most int64) io.Reader {
	body := http.MaxBytesReader(nil, d.Request().Body, most)
	return io.TeeReader(body, obligation.Writer(d.Permit, io.Discard))
}

// readJSON reads one strict JSON value; no body at all is an empty one.
func readJSON(d *gateway.Delivery, most int64, into any) error {
	dec := json.NewDecoder(received(d, most))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		if _, more := dec.Token(); errors.Is(more, io.EOF) {
			return nil
		}
		err = errors.New("something follows the value")
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return sallyport.E("vault", sallyport.TooLarge, fmt.Sprintf("a body of more than %d bytes", most), "split the model")
	}
	if d.Permit.Context().Err() != nil {
		return err
	}
	return sallyport.Wrap("vault", sallyport.Invalid, "the body is not the JSON that this route takes", err)
}

// answer writes v, unless there is an error to be refused with.
func answer(d *gateway.Delivery, v any, err error) error {
	if err != nil {
		return err
	}
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	d.Header().Set("Content-Type", "application/json")
	return d.Whole(http.StatusOK, body)
}

// Refuse answers with an api.Error.
func (n *Native) Refuse(w http.ResponseWriter, r *http.Request, f gateway.Refusal) {
	e := api.Error{Status: f.Status, Message: f.Text, Decision: f.Answer.ID}
	switch {
	case f.Err != nil:
		e.Kind = sallyport.KindOf(f.Err).String()
	case f.Answer.Hidden:
		e.Kind = sallyport.NotFound.String() // and no reason, which could tell what is there
	default:
		e.Kind, e.Outcome = f.Answer.Outcome.String(), f.Answer.Outcome.String()
		e.Reasons, e.Remedies, e.Otherwise = f.Answer.Reasons, f.Answer.Remedies, f.Answer.Otherwise
		e.Page = f.Answer.Page
		if f.Answer.Outcome == sallyport.StepUp {
			e.Status, e.Needs = http.StatusUnauthorized, f.Answer.Needs.String()
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Sallyport-Decision", e.Decision)
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		_ = json.NewEncoder(w).Encode(e) // the client may be gone
	}
}

// Carries are the obligations on files and their bytes, which the vault keeps to.
func (*Native) Carries() []sallyport.ObligationKind {
	return []sallyport.ObligationKind{sallyport.OnlyFiles, sallyport.OnlyRange}
}
