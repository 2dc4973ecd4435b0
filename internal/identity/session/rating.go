package session

import (
	"context"
	"slices"
	"strings"
	"time"

	"sallyport"
)

const mostReasons = 16

// clipped bounds what may be kept: reasons are names, so that a space can part them.
func (r Rating) clipped() Rating {
	r.Risk = min(max(r.Risk, 0), 100)
	r.Device, r.Network, r.Country = clip(r.Device), clip(r.Network), clip(r.Country)
	var names []string
	for _, n := range r.RiskReasons[:min(len(r.RiskReasons), mostReasons)] {
		if n = strings.Join(strings.Fields(clip(n)), "-"); n != "" {
			names = append(names, n)
		}
	}
	r.RiskReasons = names
	return r
}

// provedAt is when a proof was given: never later than now, whatever an upstream says.
func (p Proof) provedAt(now time.Time) time.Time {
	if p.AuthTime.IsZero() || p.AuthTime.After(now) {
		return now
	}
	return p.AuthTime.UTC().Truncate(time.Microsecond)
}

// Rate notes how risky a session looks now, NotFound where there is none. It is not a use of the session, and ends
// nothing: policy reads it.
func (s *Service) Rate(ctx context.Context, id string, r Rating) error {
	if id == "" {
		return sallyport.E("rate session", sallyport.Invalid, "no id of a session", "name one: S-…")
	}
	return s.Store.Rate(ctx, id, r.clipped())
}

// Risky returns the live sessions whose risk is above zero.
func (s *Service) Risky(ctx context.Context) ([]Session, error) {
	now := s.now()
	all, err := s.Store.Sessions(ctx, Query{Risky: true}, now)
	return slices.DeleteFunc(all, func(one Session) bool { return !one.Live(now) }), err
}

// FromUpstream returns the sessions that began with a sign-in at another provider and are not revoked.
func (s *Service) FromUpstream(ctx context.Context, u Upstream) ([]Session, error) {
	if err := u.check(); err != nil {
		return nil, err
	}
	return s.Store.Sessions(ctx, Query{Upstream: &u}, s.now())
}

// RevokeUpstream ends the sessions of an upstream session, or of all of an upstream subject where its Session is "", and
// returns their ids.
func (s *Service) RevokeUpstream(ctx context.Context, u Upstream, why string) ([]string, error) {
	if err := u.check(); err != nil {
		return nil, err
	}
	return s.Store.Revoke(ctx, Query{Upstream: &u}, s.now(), clip(why))
}

func (u Upstream) check() error {
	if u.IdP == "" || u.Session == "" && u.Subject == "" {
		return sallyport.E("find sessions", sallyport.Invalid, "the upstream session names no issuer, or neither sid nor sub", "")
	}
	return nil
}
