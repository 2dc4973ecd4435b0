package client

import (
	"context"
	"net/url"
	"time"

	"sallyport"
	"sallyport/internal/web/api"
)

// MyRisk is how risky the caller's own sessions look, and why.
func (c *Client) MyRisk(ctx context.Context) (api.Risk, error) {
	return get[api.Risk](ctx, c, "risk", "/me/risk", nil)
}

// Risk is how risky somebody's sessions look, and why. They are told that it was read.
func (c *Client) Risk(ctx context.Context, who sallyport.PrincipalID) (api.Risk, error) {
	return get[api.Risk](ctx, c, "risk", member(who)+"/risk", nil)
}

// ClearRisk ends what is held against somebody else.
func (c *Client) ClearRisk(ctx context.Context, id string) (api.Raise, error) {
	return post[api.Raise](ctx, c, request{op: "clear risk", path: "/risk/" + url.PathEscape(id) + "/clear"}, nil)
}

// RelearnRisk makes what is known of sign-ins anew from the log.
func (c *Client) RelearnRisk(ctx context.Context) error {
	_, err := post[struct{}](ctx, c, request{op: "relearn", path: "/risk/relearn"}, nil)
	return err
}

// Notices lists what the caller was told of their account, newest first: what they have not read, or with all everything.
func (c *Client) Notices(ctx context.Context, all bool) ([]api.Notice, error) {
	query := url.Values{}
	if all {
		query.Set("all", "true")
	}
	return get[[]api.Notice](ctx, c, "notices", "/me/notices", query)
}

// ReadNotices marks the caller's notices up to a time as read.
func (c *Client) ReadNotices(ctx context.Context, upTo time.Time) error {
	_, err := post[map[string]int](ctx, c, request{op: "notices", path: "/me/notices/read"}, api.Notice{At: upTo})
	return err
}

// Report tells of a loss, a theft or phishing. It is acted on before it returns.
func (c *Client) Report(ctx context.Context, r api.Report) (api.Reported, error) {
	return post[api.Reported](ctx, c, request{op: "report", path: "/me/reports"}, r)
}

// Findings lists what was found and is not closed, or what is in a state ("new", "answered", "closed").
func (c *Client) Findings(ctx context.Context, state string) ([]api.Finding, error) {
	query := url.Values{}
	if state != "" {
		query.Set("state", state)
	}
	return get[[]api.Finding](ctx, c, "findings", "/findings", query)
}

// Finding returns one finding.
func (c *Client) Finding(ctx context.Context, id string) (api.Finding, error) {
	return get[api.Finding](ctx, c, "finding", "/findings/"+url.PathEscape(id), nil)
}

// CloseFinding says what a finding was.
func (c *Client) CloseFinding(ctx context.Context, id string, v api.Verdict) (api.Finding, error) {
	return post[api.Finding](ctx, c, request{op: "close finding", path: "/findings/" + url.PathEscape(id) + "/close"}, v)
}

// Tripwires lists the rules by which findings are made, and what is done about them.
func (c *Client) Tripwires(ctx context.Context) ([]api.Tripwire, error) {
	return get[[]api.Tripwire](ctx, c, "findings", "/findings/rules", nil)
}

// Emergencies lists the rights for an emergency and their openings that the caller may know of.
func (c *Client) Emergencies(ctx context.Context) (api.Emergencies, error) {
	return get[api.Emergencies](ctx, c, "break-glass", "/breakglass", nil)
}

// DefineBreakGlass proposes a right for an emergency; two others seal it.
func (c *Client) DefineBreakGlass(ctx context.Context, b api.BreakGlass) (api.BreakGlass, error) {
	return post[api.BreakGlass](ctx, c, request{op: "define break-glass", path: "/breakglass"}, b)
}

// OpenBreakGlass asks to open a right for an emergency; two others agree.
func (c *Client) OpenBreakGlass(ctx context.Context, name, why string) (api.Opening, error) {
	return post[api.Opening](ctx, c, request{op: "open break-glass", path: "/breakglass/" + url.PathEscape(name) + "/open"}, api.Opening{Why: why})
}

// VoteBreakGlass answers a request to seal or to open. The vote names the hash of exactly what is asked.
func (c *Client) VoteBreakGlass(ctx context.Context, id, scope string, v api.Vote) (api.Request, error) {
	return post[api.Request](ctx, c, request{op: "vote", path: "/breakglass/requests/" + url.PathEscape(id) + "/vote", query: on(scope)}, v)
}

// EndBreakGlass ends an opening before its time.
func (c *Client) EndBreakGlass(ctx context.Context, id string) (api.Opening, error) {
	return post[api.Opening](ctx, c, request{op: "end break-glass", path: "/breakglass/openings/" + url.PathEscape(id) + "/end"}, nil)
}

// ReviewBreakGlass closes the record of an opening that is over.
func (c *Client) ReviewBreakGlass(ctx context.Context, id, scope, review string) (api.Opening, error) {
	return post[api.Opening](ctx, c, request{op: "review break-glass", path: "/breakglass/openings/" + url.PathEscape(id) + "/review", query: on(scope)}, api.Opening{Review: review})
}
