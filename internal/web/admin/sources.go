package admin

import (
	"context"
	"time"

	"sallyport"
	"sallyport/internal/web/api"
)

// Sources are the upstream providers that keep people and groups here.
type Sources struct {
	List func(context.Context) ([]api.Source, error)
	// Token issues an access token for a source's account.
	Token func(ctx context.Context, source string) (text string, expires time.Time, err error)
}

func sourceRoutes() []Route {
	return []Route{
		{"GET", "/scim", sallyport.IdentityRead, system, (*API).sources},
		{"POST", "/scim/{name}/token", sallyport.IdentityAdminister, system, (*API).sourceToken},
	}
}

func (a *API) sources(c *Call) (any, error) { return a.Rooms.Sources.List(c.Context()) }

func (a *API) sourceToken(c *Call) (any, error) {
	name := c.PathValue("name")
	if err := a.note(c, sallyport.EventChanged, "source:"+sallyport.OneLine(name), map[string]string{"what": "token of a source"}); err != nil {
		return nil, err
	}
	text, expires, err := a.Rooms.Sources.Token(c.Context(), name)
	return api.SourceToken{Source: name, Token: text, Expires: expires}, err
}
