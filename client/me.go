package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/web/api"
)

// get and post are the two shapes of a call to the management API.
func get[T any](ctx context.Context, c *Client, op, path string, query url.Values) (T, error) {
	var out T
	err := c.call(ctx, request{op: op, door: API, method: http.MethodGet, path: api.Version + path, query: query}, nil, &out)
	return out, err
}

func post[T any](ctx context.Context, c *Client, r request, in any) (T, error) {
	r.door, r.method, r.path = API, http.MethodPost, api.Version+r.path
	if in == nil {
		in = struct{}{}
	}
	var out T
	err := c.call(ctx, r, in, &out)
	return out, err
}

// on is the query that names the resource a call is permitted for.
func on(resource string) url.Values {
	if resource == "" || resource == "system" {
		return nil
	}
	return url.Values{"resource": {resource}}
}

// Who says who the caller is and what they can do, could do after a step-up, may request, and cannot.
func (c *Client) Who(ctx context.Context) (api.Who, error) {
	return get[api.Who](ctx, c, "whoami", "/whoami", nil)
}

// A Can is a question: may somebody do something?
type Can struct {
	Action    sallyport.Action
	Resource  string
	As        string              // a principal; "" = the caller
	Assurance sallyport.Assurance // with As: as if proved at this level; zero: multi-factor
	// To is where a promotion would go, or a deployment run; "" = the next environment, or its own.
	To sallyport.Environment
}

// Can asks without doing. That the answer is no is no error.
func (c *Client) Can(ctx context.Context, q Can) (api.Answer, error) {
	query := url.Values{"action": {string(q.Action)}, "resource": {q.Resource}}
	if q.As != "" {
		query.Set("as", q.As)
	}
	if q.Assurance != sallyport.NoAssurance {
		query.Set("assurance", q.Assurance.String())
	}
	if q.To != "" {
		query.Set("to", string(q.To))
	}
	return get[api.Answer](ctx, c, "can", "/can", query)
}

// CanAll asks several questions of the caller about themselves at once, and answers them in their order on the same facts.
func (c *Client) CanAll(ctx context.Context, all []api.CanAsk) ([]api.Answer, error) {
	return post[[]api.Answer](ctx, c, request{op: "can", path: "/can"}, all)
}

// Matrix is who may do what, computed from the live policy, at a level of assurance and below a project ("ORG/NAME").
// Both may be zero: multi-factor, everything.
func (c *Client) Matrix(ctx context.Context, level sallyport.Assurance, project string) (api.Matrix, error) {
	return get[api.Matrix](ctx, c, "matrix", "/matrix", matrixQuery(level, project))
}

func matrixQuery(level sallyport.Assurance, project string) url.Values {
	query := url.Values{}
	if level != sallyport.NoAssurance {
		query.Set("assurance", level.String())
	}
	if project != "" {
		query.Set("project", project)
	}
	return query
}

// SignedMatrix is the same as one text, signed by the log's key.
func (c *Client) SignedMatrix(ctx context.Context, level sallyport.Assurance, project string) (api.SignedMatrix, error) {
	return get[api.SignedMatrix](ctx, c, "matrix", "/matrix/signed", matrixQuery(level, project))
}

// Sessions lists the caller's browser sessions and logins of programs.
func (c *Client) Sessions(ctx context.Context) ([]api.Session, error) {
	return get[[]api.Session](ctx, c, "sessions", "/sessions", nil)
}

// EndSession ends one of the caller's sessions and reports what it cut.
func (c *Client) EndSession(ctx context.Context, id string) (api.Hold, error) {
	return post[api.Hold](ctx, c, request{op: "end session", path: "/sessions/" + url.PathEscape(id) + "/revoke"}, nil)
}

// LogoutEverywhere ends every session and login of the caller, this one too, and reports what it cut.
func (c *Client) LogoutEverywhere(ctx context.Context) (api.Hold, error) {
	out, err := post[api.Hold](ctx, c, request{op: "sign out", path: "/logout", query: url.Values{"everywhere": {"true"}}}, nil)
	if err == nil && c.cfg.Store != nil {
		err = c.cfg.Store.Forget(ctx, c.server)
	}
	return out, err
}

// Ask asks for a grant.
func (c *Client) Ask(ctx context.Context, a api.Ask) (api.Request, error) {
	return post[api.Request](ctx, c, request{op: "request", path: "/requests", query: on(a.Resource)}, a)
}

// Inbox lists the requests that wait for the caller's vote.
func (c *Client) Inbox(ctx context.Context) ([]api.Request, error) {
	return get[[]api.Request](ctx, c, "inbox", "/requests", nil)
}

// Asked lists the caller's own requests.
func (c *Client) Asked(ctx context.Context) ([]api.Request, error) {
	return get[[]api.Request](ctx, c, "requests", "/requests", url.Values{"mine": {"true"}})
}

// Request returns one request, to whoever asked it or may vote on it.
func (c *Client) Request(ctx context.Context, id string) (api.Request, error) {
	return get[api.Request](ctx, c, "read request", "/requests/"+url.PathEscape(id), nil)
}

// Vote answers a request. The vote names the hash of exactly what r asks: if it was changed since, the vote is refused.
func (c *Client) Vote(ctx context.Context, r api.Request, yes bool, reason string) (api.Request, error) {
	op := "deny"
	if yes {
		op = "approve"
	}
	return c.vote(ctx, op, r, api.Vote{Yes: yes, Reason: reason, Hash: r.Hash})
}

// vote posts a vote where the request says, and returns the request as it stands then.
func (c *Client) vote(ctx context.Context, op string, r api.Request, v api.Vote) (api.Request, error) {
	path, query := "/requests/"+url.PathEscape(r.ID)+"/vote", on(r.Resource)
	if r.VotePath == "" || strings.HasPrefix(r.VotePath, path) {
		return post[api.Request](ctx, c, request{op: op, path: path, query: query}, v)
	}
	path, text, _ := strings.Cut(r.VotePath, "?")
	query, err := url.ParseQuery(text)
	if err != nil || !strings.HasPrefix(path, "/") || !strings.HasSuffix(path, "/"+url.PathEscape(r.ID)+"/vote") {
		return api.Request{}, sallyport.E(op, sallyport.Invalid, "the server names no place for a vote on "+sallyport.OneLine(r.ID), "")
	}
	if _, err := post[json.RawMessage](ctx, c, request{op: op, path: path, query: query}, v); err != nil {
		return api.Request{}, err
	}
	return c.Request(ctx, r.ID)
}

// Withdraw takes one of the caller's own requests back.
func (c *Client) Withdraw(ctx context.Context, id string) (api.Request, error) {
	return post[api.Request](ctx, c, request{op: "withdraw", path: "/requests/" + url.PathEscape(id) + "/withdraw"}, nil)
}

// Grants lists the caller's grants, or with all everybody's.
func (c *Client) Grants(ctx context.Context, all bool) ([]api.Grant, error) {
	query := url.Values{}
	if all {
		query.Set("all", "true")
	}
	return get[[]api.Grant](ctx, c, "grants", "/grants", query)
}

// RevokeGrant ends a grant before its time. resource is the grant's own.
func (c *Client) RevokeGrant(ctx context.Context, id, resource string) (api.Grant, error) {
	return post[api.Grant](ctx, c, request{op: "revoke grant", path: "/grants/" + url.PathEscape(id) + "/revoke", query: on(resource)}, nil)
}

// heldOn is the resource on which a hold on target must be permitted: the resource itself, the system for people,
// sessions and token families.
func heldOn(target string) string {
	id, ok := cutPrefixes(target, "user:", "service:", "session:", "family:")
	if ok && id != "" {
		return ""
	}
	id, _ = cutPrefixes(target, "model:")
	return id
}

// Lock places a hold and reports what it cut.
func (c *Client) Lock(ctx context.Context, l api.Lock) (api.Hold, error) {
	return post[api.Hold](ctx, c, request{op: "lock", path: "/holds", query: on(heldOn(l.Target))}, l)
}

// Unlock lifts the hold id, which is on l.Target; l.Why is the reason for lifting it.
func (c *Client) Unlock(ctx context.Context, id string, l api.Lock) (api.Hold, error) {
	return post[api.Hold](ctx, c, request{op: "unlock", path: "/holds/" + url.PathEscape(id) + "/lift", query: on(heldOn(l.Target))}, l)
}

// Holds lists the holds on a target, or with "" on any, newest first, lifted ones too.
func (c *Client) Holds(ctx context.Context, target string) ([]api.Hold, error) {
	query := url.Values{}
	if target != "" {
		query.Set("target", target)
	}
	return get[[]api.Hold](ctx, c, "holds", "/holds", query)
}

// Head is the state of the log.
func (c *Client) Head(ctx context.Context) (api.Head, error) {
	return get[api.Head](ctx, c, "log", "/log/head", nil)
}

// Entries returns entries of the log from one on; how many is up to the server, none at the end.
func (c *Client) Entries(ctx context.Context, from uint64) ([]api.Entry, error) {
	return get[[]api.Entry](ctx, c, "log", "/log/entries", url.Values{"from": {strconv.FormatUint(from, 10)}})
}

// A Search selects entries of the log. Empty fields select everything.
type Search struct {
	Types    []string
	Who      string
	Action   string
	On       string // a resource, or the beginning of its name with "*" behind it
	Outcome  string
	Decision string
	Since    time.Time
	Until    time.Time
	Before   uint64 // entries of lower numbers only
	Most     int    // 0: as many as the server gives by itself
}

func (s Search) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"type": join(s.Types), "who": s.Who, "action": s.Action, "on": s.On, "outcome": s.Outcome, "decision": s.Decision} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"since": s.Since, "until": s.Until} {
		if !at.IsZero() {
			q.Set(name, at.UTC().Format(time.RFC3339))
		}
	}
	if s.Before > 0 {
		q.Set("before", strconv.FormatUint(s.Before, 10))
	}
	if s.Most > 0 {
		q.Set("max", strconv.Itoa(s.Most))
	}
	return q
}

// Search searches the log, newest first.
func (c *Client) Search(ctx context.Context, s Search) ([]api.Found, error) {
	return get[[]api.Found](ctx, c, "search log", "/log/search", s.query())
}

// Receipt returns the proof, in C2SP tlog-proof form, that an entry stands in the log.
func (c *Client) Receipt(ctx context.Context, seq uint64) ([]byte, error) {
	out, err := get[map[string]string](ctx, c, "receipt", "/log/receipt/"+strconv.FormatUint(seq, 10), nil)
	return []byte(out["receipt"]), err
}

// Why returns everything the log holds about a decision that the caller may know.
func (c *Client) Why(ctx context.Context, id string) (api.Why, error) {
	return c.WhyFor(ctx, id, "")
}

// WhyFor is Why as an audience is told it, "asker" or "auditor"; "" is the most that the caller may read.
func (c *Client) WhyFor(ctx context.Context, id, audience string) (api.Why, error) {
	var q url.Values
	if audience != "" {
		q = url.Values{"for": {audience}}
	}
	return get[api.Why](ctx, c, "why", "/decisions/"+url.PathEscape(id), q)
}
