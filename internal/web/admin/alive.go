package admin

import (
	"time"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/token"
	"sallyport/internal/web/api"
)

// tokens lists whose access tokens may be alive, and how old the newest of each login is. Access tokens are not kept: what
// is known is when each login got its last one, and that none lives longer than token.AccessLifetime.
func (a *API) tokens(c *Call) (any, error) {
	older := time.Duration(0)
	if text := c.URL.Query().Get("older"); text != "" {
		var err error
		if older, err = time.ParseDuration(text); err != nil || older < 0 {
			return nil, sallyport.E("list tokens", sallyport.Invalid, "older is no length of time", "write it like 1h")
		}
	}
	now := a.Guard.Clock()
	out := []api.TokenAlive{}
	var failed error
	a.Facts.Snapshot().Members(func(m directory.Member) bool {
		families, err := a.Rooms.Tokens.Families.Families(c.Context(), token.Selector{Principal: m.ID})
		if err != nil {
			failed = err
			return false
		}
		for _, f := range families {
			age := now.Sub(f.LastIssued)
			if !f.Live(now) || f.LastIssued.IsZero() || age > token.AccessLifetime || age < older {
				continue
			}
			out = append(out, api.TokenAlive{Login: f.ID, Who: f.Principal, Client: f.Client, Scope: f.Scope.String(), Bound: f.Key != "",
				Assurance: f.Assurance.String(), Issued: f.LastIssued, Ends: f.LastIssued.Add(token.AccessLifetime), LoginEnds: f.Expires})
		}
		return true
	})
	if failed != nil {
		return nil, failed
	}
	return out, nil
}
