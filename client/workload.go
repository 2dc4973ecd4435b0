package client

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"sallyport"
	"sallyport/internal/web/api"
)

// TrustRules lists which proofs of other issuers are trusted.
func (c *Client) TrustRules(ctx context.Context) ([]api.TrustRule, error) {
	return get[[]api.TrustRule](ctx, c, "list trust rules", "/trust", nil)
}

// AddTrustRule adds a rule.
func (c *Client) AddTrustRule(ctx context.Context, r api.TrustRule) (api.TrustRule, error) {
	return post[api.TrustRule](ctx, c, request{op: "add trust rule", path: "/trust"}, r)
}

// RemoveTrustRule removes one. What was given by it lives until it ends.
func (c *Client) RemoveTrustRule(ctx context.Context, name string) error {
	_, err := post[api.TrustRule](ctx, c, request{op: "remove trust rule", path: "/trust/" + url.PathEscape(name) + "/remove"}, nil)
	return err
}

// TestTrust says what a proof would prove to an OAuth client. Nothing is given for it.
func (c *Client) TestTrust(ctx context.Context, t api.TrustTest) ([]api.TrustTrial, error) {
	return post[[]api.TrustTrial](ctx, c, request{op: "test proof", path: "/trust-test"}, t)
}

// SetOwner makes another person answer for a service or an agent.
func (c *Client) SetOwner(ctx context.Context, id, owner sallyport.PrincipalID) (api.Member, error) {
	return post[api.Member](ctx, c, request{op: "set owner", path: member(id) + "/owner"}, api.Member{ID: id, Person: owner})
}

// SetSponsor makes another person vouch for a guest.
func (c *Client) SetSponsor(ctx context.Context, id, sponsor sallyport.PrincipalID) (api.Member, error) {
	return post[api.Member](ctx, c, request{op: "set sponsor", path: member(id) + "/sponsor"}, api.Member{ID: id, Sponsor: sponsor})
}

// Extend sets a new end for a service, an agent or a guest, at most a year from now.
func (c *Client) Extend(ctx context.Context, id sallyport.PrincipalID, ends time.Time) (api.Member, error) {
	return post[api.Member](ctx, c, request{op: "extend", path: member(id) + "/extend"}, api.Member{ID: id, Ends: ends})
}

// Audit compares what a member did in the last days with what it may do.
func (c *Client) Audit(ctx context.Context, id sallyport.PrincipalID, days int) (api.Audit, error) {
	return get[api.Audit](ctx, c, "audit "+string(id), member(id)+"/audit", url.Values{"days": {strconv.Itoa(days)}})
}

// History rebuilds what somebody was at an instant from the log; now where at is zero.
func (c *Client) History(ctx context.Context, id sallyport.PrincipalID, at time.Time) (api.Life, error) {
	q := url.Values{}
	if !at.IsZero() {
		q.Set("at", at.UTC().Format(time.RFC3339Nano))
	}
	return get[api.Life](ctx, c, "history of "+string(id), member(id)+"/history", q)
}
