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

// leave ends everything that an account holds: sessions, token families, grants.
func (r Rooms) leave(ctx context.Context, id, by sallyport.PrincipalID, why string) error {
	if _, err := r.Sessions.RevokeAll(ctx, id, why); err != nil {
		return err
	}
	if _, err := r.Tokens.RevokeByPrincipal(ctx, id, why); err != nil {
		return err
	}
	m, err := r.Directory.Get(ctx, id)
	if err != nil || m.Person != id {
		return err
	}
	_, err = r.Grants.RevokePerson(ctx, id, by)
	return err
}
