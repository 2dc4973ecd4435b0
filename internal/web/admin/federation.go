package admin

import (
	"encoding/json"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/federation"
	"sallyport/internal/web/api"
)

// federationRoutes are about other people's identity providers. They are set up in the configuration; the API shows and tries.
func federationRoutes() []Route {
	return []Route{
		{"GET", "/idps", sallyport.IdentityRead, system, (*API).providers},
		{"POST", "/idps/{name}/test", sallyport.IdentityAdminister, system, (*API).testProvider},
		{"POST", "/idps/{name}/link", sallyport.IdentityAdminister, system, (*API).linkIdentity},
		{"POST", "/idps/{name}/map", sallyport.IdentityAdminister, system, (*API).mapClaims},
	}
}

func (a *API) providers(*Call) (any, error) {
	out := []api.Provider{}
	if a.Rooms.Federation == nil {
		return out, nil
	}
	members := a.Facts.Snapshot().Sorted()
	for _, p := range a.Rooms.Federation.Providers {
		one := api.Provider{Name: p.Name, Title: p.Title, Kind: string(p.Kind), Issuer: p.Issuer, Groups: p.Rules.Managed(), Domains: p.Rules.Domains}
		if p.Rules.Join != nil {
			one.Joins = p.Rules.Join.Organisation
		}
		for _, m := range members {
			if slices.ContainsFunc(m.Identities, func(i directory.Identity) bool { return i.Issuer == p.Issuer }) {
				one.People++
			}
		}
		out = append(out, one)
	}
	return out, nil
}

func (a *API) testProvider(c *Call) (any, error) {
	if err := c.decode(&struct{}{}); err != nil {
		return nil, err
	}
	p, err := a.Rooms.Federation.Provider(c.PathValue("name"))
	if err != nil {
		return nil, err
	}
	lines, err := p.Test(c.Context())
	return api.ProviderTest{Name: p.Name, Lines: lines}, err
}

// linkIdentity lets whom a provider knows by a subject sign in as a person. It is recorded before it counts.
func (a *API) linkIdentity(c *Call) (any, error) {
	var in api.ProviderLink
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	p, err := a.Rooms.Federation.Provider(c.PathValue("name"))
	if err != nil {
		return nil, err
	}
	m, err := a.Rooms.Directory.Get(c.Context(), in.Who)
	if err != nil {
		return nil, err
	}
	if m.ID.Kind() != sallyport.User {
		return nil, sallyport.E("link identity", sallyport.Invalid, "only people sign in by identity providers", "name a person")
	}
	e := map[string]string{"what": "identity linked", "idp": p.Name, "issuer": p.Issuer, "subject": sallyport.OneLine(in.Subject)}
	if err := a.note(c, sallyport.EventIdentityLinked, string(m.ID), e); err != nil {
		return nil, err
	}
	return in, a.Rooms.Directory.Link(c.Context(), m.ID, directory.Identity{Issuer: p.Issuer, Subject: in.Subject})
}

// mapClaims shows what the rules make of claims. It changes nothing, and whoever asks may see every account anyway.
func (a *API) mapClaims(c *Call) (any, error) {
	var in api.ProviderMap
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	p, err := a.Rooms.Federation.Provider(c.PathValue("name"))
	if err != nil {
		return nil, err
	}
	found, err := asserted(p.Issuer, in.Claims)
	if err != nil {
		return nil, err
	}
	r, err := p.Rules.Read(found, p.Name, a.Rooms.Federation.Now())
	if err != nil {
		return nil, err
	}
	out := api.Mapped{Provider: p.Name, Subject: r.Subject, Name: r.Name, Display: r.Display, Email: r.Email, Trusted: r.Trusted, Groups: r.Groups,
		Level: r.Assurance.String(), Methods: r.Methods, AuthTime: r.AuthTime}
	m, err := a.Rooms.Directory.ByIdentity(c.Context(), p.Issuer, r.Subject)
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return nil, err
	}
	out.Member = m.ID
	return out, nil
}

// asserted reads claims as a provider's assertion: sub, acr, amr and auth_time mean what they mean in an ID token.
func asserted(issuer string, raw json.RawMessage) (federation.Assertion, error) {
	claims, err := federation.Flatten(raw)
	if err != nil {
		return federation.Assertion{}, sallyport.Wrap("map claims", sallyport.Invalid, "the claims are no JSON object within the limits", err)
	}
	var known struct {
		Subject  string   `json:"sub"`
		ACR      string   `json:"acr"`
		AMR      []string `json:"amr"`
		AuthTime int64    `json:"auth_time"`
	}
	if err := json.Unmarshal(raw, &known); err != nil || known.Subject == "" {
		return federation.Assertion{}, sallyport.E("map claims", sallyport.Invalid, "sub is missing, or acr, amr or auth_time are not what they are in an ID token", `write {"sub": "…", "groups": ["…"]}`)
	}
	a := federation.Assertion{Issuer: issuer, Subject: known.Subject, ACR: known.ACR, AMR: known.AMR, Claims: claims}
	if known.AuthTime > 0 {
		a.AuthTime = time.Unix(known.AuthTime, 0).UTC()
	}
	return a, nil
}
