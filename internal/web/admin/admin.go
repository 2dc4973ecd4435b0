// Package admin owns the management API: the door through which people, the
// command line and the console change and look at Sallyport itself. It is a door
// like any other (PEP): every route names an action and a resource, and a handler
// runs only with the permit that the guard gave for them.
//
// The package leaves decisions to the guard, records to their rooms, and the JSON
// to web/api.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"runtime/debug"
	"strconv"

	strict "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/audit/history"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/change"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/hold"
	"sallyport/internal/authz/label"
	"sallyport/internal/authz/role"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/govern/drill"
	"sallyport/internal/govern/training"
	"sallyport/internal/identity/caller"
	"sallyport/internal/identity/credential"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/federation"
	"sallyport/internal/identity/leaver"
	"sallyport/internal/identity/recovery"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/workload"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/web/api"
)

// Rooms are the rooms whose records the API shows and changes.
type Rooms struct {
	Directory  *directory.Service
	Enrol      *credential.Service
	Recovery   *recovery.Service
	Sessions   *session.Service
	Tokens     *token.Issuer
	Roles      *role.Service
	Approvals  *approval.Service
	Approvers  Approvers
	Grants     *grant.Service
	Labels     *label.Service
	Holds      *hold.Service
	Catalog    *catalog.Service
	Policies   *change.Service
	Leaver     *leaver.Service
	Federation *federation.Service
	Sources    Sources
	Signals    Signals
	// Enrolled reports whether a person has set up a proof.
	Enrolled  func(ctx context.Context, id sallyport.PrincipalID) (bool, error)
	Workloads *workload.Service
	History   *history.Index
	Watch     Watch
	Log       Log
	Keys      Keys
	Programs  Programs
	Devices   *device.Service
	Drift     Drift
	Training  *training.Service
	Metrics   Metrics
	Drills    *drill.Service
}

// Log is what the API shows of the trail.
type Log struct {
	Read    func(ctx context.Context, from uint64, most int) ([]api.Entry, error)
	Head    func(ctx context.Context) (api.Head, error)
	Size    func() uint64 // durable entries
	Receipt func(ctx context.Context, seq uint64) ([]byte, error)
	Sign    func(text string) ([]byte, error) // a signed note (C2SP signed-note) by the log's key
}

// Keys is what the API does to the keys of the vault, under a permit.
type Keys struct {
	// Rotate makes a new key-encryption key and wraps every data key anew.
	Rotate func(*guard.Permit) (keyID string, rewrapped int, err error)
	// Retire destroys the data key of the permit's version.
	Retire func(*guard.Permit) error
}

// An API is the door. It is an http.Handler.
type API struct {
	Guard    *guard.Guard
	Facts    *facts.Keeper
	Rooms    Rooms
	Audience string // what a token must be for
	External string // external URL, for links
	Logger   *slog.Logger
	// Proof is what a request presents; nil: what its Authorization header and its connection do.
	Proof func(*http.Request) guard.Proof
	Nonce func() string // of proofs of possession (RFC 9449, section 8); nil = none is given out
	mux   *http.ServeMux
}

// A Route is one thing the API does. There is no handler without an action and a
// target: a request reaches Serve only with the permit for them.
type Route struct {
	Method  string
	Pattern string // below api.Version, in the form of http.ServeMux
	Action  sallyport.Action
	Target  func(*http.Request) (sallyport.Ref, error)
	Serve   func(*API, *Call) (any, error)
}

// A Call is a permitted request.
type Call struct {
	*http.Request
	Permit *guard.Permit
	body   []byte
}

// maxBody bounds a request's body.
const maxBody = 1 << 20

// New returns the API with its routes.
func New(a API) *API {
	a.mux = http.NewServeMux()
	for _, r := range Routes() {
		a.mux.Handle(r.Method+" "+api.Version+r.Pattern, a.handler(r))
	}
	a.mux.HandleFunc("/", a.unmapped)
	return &a
}

// Routes returns every route of the API.
func Routes() []Route {
	var all []Route
	for _, routes := range [][]Route{
		meRoutes(), askRoutes(), approverRoutes(), holdRoutes(), unlockRoutes(), logRoutes(), peopleRoutes(), recoveryRoutes(), leaverRoutes(),
		onboardRoutes(), signalRoutes(), federationRoutes(), sourceRoutes(), catalogRoutes(), dutyRoutes(), labelRoutes(), policyRoutes(), matrixRoutes(),
		tokenRoutes(), deviceRoutes(), workloadRoutes(), auditRoutes(), watchRoutes(), breakGlassRoutes(), driftRoutes(), trainingRoutes(), metricRoutes(), drillRoutes(), documentRoutes(),
	} {
		all = append(all, routes...)
	}
	return all
}

// ServeHTTP serves one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	httpsafe.SecurityHeaders(w.Header())
	if a.Nonce != nil && r.Header.Get("DPoP") != "" {
		w.Header().Set("DPoP-Nonce", a.Nonce())
	}
	a.mux.ServeHTTP(w, r)
}

func (a *API) call(r *http.Request) guard.Call {
	p := proof(r, a.Audience)
	if a.Proof != nil {
		p = a.Proof(r)
	}
	return guard.Call{Door: "admin", IP: p.IP, Proof: p}
}

// proof is what a request presents. Nobody comes here who knows no other way than a password.
func proof(r *http.Request, audience string) guard.Proof {
	p := caller.Proof(r, audience)
	if p.Scheme == "Basic" {
		p.Bearer = secret.Text{}
	}
	return p
}

func (a *API) unmapped(w http.ResponseWriter, r *http.Request) {
	id, err := a.Guard.Unmapped(r.Context(), a.call(r), r.Method, r.URL.EscapedPath())
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.answer(w, r, http.StatusNotFound, api.Error{Status: http.StatusNotFound, Kind: "not found", Decision: id,
		Message: "there is no such route in this version of the API"})
}

// handler is the order of work on every route.
func (a *API) handler(route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := a.call(r)
		c.Action = route.Action
		var err error
		if c.Target, err = route.Target(r); err != nil {
			a.fail(w, r, err)
			return
		}
		if c.To, err = toward(r, route.Action); err != nil {
			a.fail(w, r, err)
			return
		}
		answer, err := a.Guard.Check(r.Context(), c)
		if err != nil {
			a.fail(w, r, err)
			return
		}
		if answer.Permit == nil {
			refuse(w, r, a.Logger, answer, c)
			return
		}
		a.serve(w, r, route, answer.Permit)
	})
}

// serve runs the handler and records its end before the answer leaves.
func (a *API) serve(w http.ResponseWriter, r *http.Request, route Route, p *guard.Permit) {
	w.Header().Set("Sallyport-Decision", p.ID())
	ctx := p.Context()
	if r.Method != http.MethodGet { // a change that ends the caller's own rights is carried through, and none stops half-way
		ctx = context.WithoutCancel(ctx)
	}
	call := &Call{Request: r.WithContext(ctx), Permit: p}
	var result any
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		err = sallyport.Wrap("read request", sallyport.TooLarge, "the body broke off or is over 1 MiB", err)
	} else {
		call.body = body
		result, err = a.run(route, call)
	}
	status := http.StatusOK
	if err != nil {
		status = httpsafe.Status(err)
	}
	if derr := p.Done(sallyport.Delivered{Status: status}); derr != nil {
		err = derr
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.answer(w, r, http.StatusOK, result)
}

// run runs the handler, and makes an error of a panic, so that the permit ends in
// any case.
func (a *API) run(route Route, call *Call) (result any, err error) {
	defer func() {
		if v := recover(); v != nil {
			a.Logger.Error("serving panicked", "door", "admin", "path", call.URL.Path, "decision", call.Permit.ID(), "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("serve %s: panic: %v", call.Permit.ID(), v)
		}
	}()
	return route.Serve(a, call)
}

// refuse answers with a decision that permits nothing: its id, and what it tells of itself.
func refuse(w http.ResponseWriter, r *http.Request, logger *slog.Logger, x guard.Answer, c guard.Call) {
	e := api.Error{Status: http.StatusForbidden, Message: guard.Sentence(x, c), Kind: x.Outcome.String(), Decision: x.ID, Outcome: x.Outcome.String()}
	if x.Hidden {
		// Neither the outcome nor anything else tells it from what does not exist.
		e.Status, e.Kind, e.Outcome = http.StatusNotFound, "not found", sallyport.Deny.String()
	} else {
		e.Reasons, e.Remedies, e.Otherwise, e.Page = x.Reasons, x.Remedies, x.Otherwise, x.Page
	}
	if x.Outcome == sallyport.StepUp && !x.Hidden {
		e.Needs = x.Needs.String()
		e.Status = http.StatusUnauthorized
		caller.StepUp(w.Header(), x.Decision, c.Proof.Scheme)
	}
	reply(w, r, logger, e.Status, e)
}

func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	if u, ok := errors.AsType[*unseen](err); ok {
		refuse(w, r, a.Logger, u.answer, u.call)
		return
	}
	if e, ok := needsProof(w.Header(), err); ok {
		a.answer(w, r, e.Status, e)
		return
	}
	status := httpsafe.Status(err)
	if status == http.StatusUnauthorized {
		caller.Challenge(w.Header(), err)
	}
	if status >= http.StatusInternalServerError {
		a.Logger.ErrorContext(r.Context(), "request failed", "door", "admin", "path", r.URL.Path, "err", err)
	}
	a.answer(w, r, status, api.Error{Status: status, Message: sallyport.PublicText(err), Kind: sallyport.KindOf(err).String()})
}

func (a *API) answer(w http.ResponseWriter, r *http.Request, status int, v any) {
	reply(w, r, a.Logger, status, v)
}

// reply writes v as JSON.
func reply(w http.ResponseWriter, r *http.Request, logger *slog.Logger, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		logger.ErrorContext(r.Context(), "encode answer", "err", err)
		status, body = http.StatusInternalServerError, []byte(`{"status":500,"message":"internal error","kind":"internal"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone: nothing is left to tell
}

// decode reads the body into v, strictly: unknown fields, a field in another case
// or twice, null for what is neither a list nor a map, and anything behind the value are errors. A body has one reading.
func (c *Call) decode(v any) error {
	if err := strict.Unmarshal(c.body, v, strict.RejectUnknownMembers(true), strict.WithUnmarshalers(strict.UnmarshalFromFunc(noNull))); err != nil {
		return sallyport.E("read request", sallyport.Invalid, "the body is not what this route takes: "+sallyport.OneLine(err.Error()), "see the API's description")
	}
	return nil
}

// noNull refuses null where the API's description has none: encoding/json would take it for what is left out. It leaves
// reading values to whoever else can.
func noNull(d *jsontext.Decoder, v any) error {
	if d.PeekKind() == jsontext.KindNull {
		switch reflect.TypeOf(v).Elem().Kind() {
		case reflect.Slice, reflect.Map, reflect.Pointer, reflect.Interface:
		default:
			return errors.New("null is no value here")
		}
	}
	return errors.ErrUnsupported
}

// number reads a query parameter, with a default and a maximum.
func (c *Call) number(name string, otherwise, most uint64) (uint64, error) {
	s := c.URL.Query().Get(name)
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > most {
		return 0, sallyport.E("read request", sallyport.Invalid, fmt.Sprintf("the parameter %q must be a number up to %d", name, most), "")
	}
	return n, nil
}

// system is the target of what concerns Sallyport itself.
func system(*http.Request) (sallyport.Ref, error) {
	return sallyport.Ref{Kind: sallyport.SystemKind}, nil
}

// inQuery is the target named by the query parameter "resource"; system when
// there is none.
func inQuery(r *http.Request) (sallyport.Ref, error) {
	if s := r.URL.Query().Get("resource"); s != "" {
		return sallyport.ParseRef(s)
	}
	return system(r)
}

// toward is where an action that enters an environment goes: it stands in the query, because it is decided on before the
// body is read.
func toward(r *http.Request, a sallyport.Action) (sallyport.Environment, error) {
	to := sallyport.Environment(r.URL.Query().Get("to"))
	if !a.Enters() || to == "" || to == guard.Here {
		return to, nil
	}
	return sallyport.ParseEnvironment(string(to))
}

// note records a change that a permitted call made.
// noteOrder is note of an order that takes rights away, after what it ends has ended: it says when the order was given.
func (a *API) noteOrder(c *Call, t sallyport.EventType, on string, detail map[string]string) error {
	detail[sallyport.Ordered] = strconv.FormatInt(c.Permit.Began().UnixMicro(), 10)
	return a.note(c, t, on, detail)
}

func (a *API) note(c *Call, t sallyport.EventType, on string, detail map[string]string) error {
	_, err := a.Guard.Note(c.Context(), sallyport.Event{Type: t, Who: c.Permit.Who().ID, Decision: c.Permit.ID(), On: on, Detail: detail})
	return err
}
