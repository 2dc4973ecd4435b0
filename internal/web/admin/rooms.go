package admin

import (
	"context"
	"strings"

	"sallyport"
	"sallyport/internal/identity/token"
)

// endOne ends a browser session ("S-…"), with the token families it approved, or
// one token family.
func (r Rooms) endOne(ctx context.Context, id, why string) error {
	if !strings.HasPrefix(id, "S-") {
		_, err := r.Tokens.Revoke(ctx, token.Selector{Family: id}, why)
		return err
	}
	if err := r.Sessions.Revoke(ctx, id, why); err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return err
	}
	_, err := r.Tokens.RevokeBySession(ctx, id, why)
	return err
}
