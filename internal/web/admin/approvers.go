package admin

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/approval/signed"
	"sallyport/internal/authz/approver"
	"sallyport/internal/authz/grant"
	"sallyport/internal/identity/passkey"
	"sallyport/internal/web/api"
)

// Keys that sign approvals are changed by whoever holds one: the guard lets everybody ask, and the room counts nothing but
// good signatures of other people. Only the first key of all is an administrator's business.
func approverRoutes() []Route {
	return []Route{
		{"GET", "/approvers", sallyport.ServerRead, system, (*API).approvers},
		{"POST", "/approvers/first", sallyport.SystemConfigure, system, (*API).firstApprover},
		{"POST", "/approvers/enrol", sallyport.ServerRead, system, (*API).enrolApprover},
		{"POST", "/approvers/{key}/remove", sallyport.ServerRead, system, (*API).removeApprover},
		{"POST", "/approvers/requests/{id}/vote", sallyport.ServerRead, system, (*API).voteOnKey},
		{"POST", "/requests/{id}/statement", sallyport.ServerRead, system, (*API).statement},
		{"GET", "/requests/{id}/review", sallyport.ServerRead, system, (*API).review},
		{"GET", "/grants/standing", sallyport.AuditRead, system, (*API).standingRights},
		{"POST", "/grants/{id}/renew", sallyport.ServerRead, system, (*API).renew},
	}
}

// Approvers is what the API needs of approvers' keys.
type Approvers struct {
	Keys *approver.Service
	// Passkeys are a person's own, and Public the half of one that others verify by.
	Passkeys func(ctx context.Context, id sallyport.PrincipalID) ([]passkey.Passkey, error)
	Public   func(ctx context.Context, id sallyport.PrincipalID, passkey string) (passkey.Public, error)
	// Connectors are the systems whose tasks a grant can end with, by kind.
	Connectors func(kind grant.TaskKind, name string) bool
}

// keyOpenFor is how long a question about a key waits for its answer.
const keyOpenFor = 7 * 24 * time.Hour

func (a *API) approvers(c *Call) (any, error) {
	keys, err := a.Rooms.Approvers.Keys.Keys(c.Context())
	if err != nil {
		return nil, err
	}
	sign, err := a.Rooms.Approvals.MustSign(c.Context())
	if err != nil {
		return nil, err
	}
	out := api.Approvers{Keys: []api.Approver{}, Signed: sign, Own: []api.OwnKey{}}
	for _, k := range keys {
		raw, err := json.Marshal(k)
		if err != nil {
			return nil, err
		}
		out.Keys = append(out.Keys, api.Approver{ID: k.ID(), Person: k.Person, Groups: append([]string{}, k.Groups...), Since: k.Since, Until: k.Until, Pinned: k.Since.IsZero(), Key: raw})
	}
	who := c.Permit.Who().ID
	own, err := a.Rooms.Approvers.Passkeys(c.Context(), who)
	if err != nil {
		return nil, err
	}
	for _, p := range own {
		if public, err := a.Rooms.Approvers.Public(c.Context(), who, p.ID); err == nil {
			out.Own = append(out.Own, api.OwnKey{Passkey: p.ID, Label: p.Label, ID: signed.KeyID(public.Credential)})
		}
	}
	return out, nil
}

// ownKey makes an approver's key of one of the caller's passkeys.
func (a *API) ownKey(c *Call) (signed.Key, error) {
	var in api.Enrol
	if err := c.decode(&in); err != nil {
		return signed.Key{}, err
	}
	p := c.Permit.Who()
	if p.ID != p.Person || p.ID.Kind() != sallyport.User {
		return signed.Key{}, sallyport.E("enrol approver's key", sallyport.Invalid, "an approver's key is of a person's main account", "sign in with it")
	}
	public, err := a.Rooms.Approvers.Public(c.Context(), p.ID, in.Passkey)
	if err != nil {
		return signed.Key{}, err
	}
	k := signed.Key{Credential: public.Credential, Person: p.Person, Groups: slices.Compact(slices.Sorted(slices.Values(in.Groups))),
		Algorithm: public.Algorithm, Public: public.Key, Party: public.Party, Origin: public.Origin}
	for _, g := range k.Groups {
		if !a.Facts.Snapshot().Within(p.ID, strings.TrimPrefix(g, "group:")) {
			return k, sallyport.E("enrol approver's key", sallyport.Conflict, "you are not in "+sallyport.OneLine(g), "name your own groups")
		}
	}
	return k, k.Check()
}

// firstApprover pins the first key of all: nobody is there to approve it, and the record says so.
func (a *API) firstApprover(c *Call) (any, error) {
	k, err := a.ownKey(c)
	if err != nil {
		return nil, err
	}
	if _, err := a.Rooms.Approvers.Keys.First(c.Context(), k, a.noteEntry(c)); err != nil {
		return nil, err
	}
	return a.approversNow(c)
}

func (a *API) approversNow(c *Call) (any, error) {
	if err := a.Facts.Sync(c.Context()); err != nil {
		return nil, err
	}
	return a.approvers(c)
}

// noteEntry records a link of the chain as a whole, so that the log alone says whose keys count.
func (a *API) noteEntry(c *Call) approver.Note {
	return func(e signed.Entry) error {
		raw, err := json.Marshal(e)
		if err != nil {
			return err
		}
		return a.note(c, sallyport.EventApprover, string(e.Key.Person), map[string]string{"act": string(e.Act), "key": e.Key.ID(), "entry": string(raw)})
	}
}

func (a *API) enrolApprover(c *Call) (any, error) {
	k, err := a.ownKey(c)
	if err != nil {
		return nil, err
	}
	return a.askAboutKey(c, signed.Change{Act: signed.Enrol, Key: k})
}

func (a *API) removeApprover(c *Call) (any, error) {
	keys, err := a.Rooms.Approvers.Keys.Keys(c.Context())
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.ID() == c.PathValue("key") && k.Until.IsZero() {
			return a.askAboutKey(c, signed.Change{Act: signed.Remove, Key: signed.Key{Credential: k.Credential, Person: k.Person}})
		}
	}
	return nil, sallyport.E("remove approver's key", sallyport.NotFound, "there is no such key", "run 'sallyport approvers ls' to see them")
}

func (a *API) askAboutKey(c *Call, change signed.Change) (any, error) {
	keys, err := a.Rooms.Approvers.Keys.Keys(c.Context())
	if err != nil {
		return nil, err
	}
	p, now := c.Permit.Who(), a.Guard.Clock()
	need := signed.NeedFor(keys, change, now)
	if others := slices.DeleteFunc(keys.People(now), func(id sallyport.PrincipalID) bool { return id == p.Person || id == change.Key.Person }); need < 1 || len(others) < need {
		return nil, sallyport.E("ask for approver's key", sallyport.Conflict, "there are too few approvers to say yes to it",
			"an administrator pins the first key with 'sallyport approvers first'; others follow one by one")
	}
	canonical, err := change.Canonical()
	if err != nil {
		return nil, err
	}
	r, err := a.Rooms.Approvals.Ask(c.Context(), approval.Request{Topic: signed.Topic, Asker: p.ID, AskerPerson: p.Person, Canonical: canonical, Need: need,
		Subject: string(change.Act) + " approver's key " + change.Key.ID() + " of " + string(change.Key.Person), Approvers: "people who have an approver's key", Expires: now.Add(keyOpenFor)},
		a.noteAsked(c, string(change.Key.Person)))
	if err != nil {
		return nil, err
	}
	return a.requestOut(c, r)
}

// changeOf is what a request about a key asks.
func changeOf(r approval.Request) (change signed.Change, err error) {
	return change, json.Unmarshal(r.Canonical, &change)
}

func (a *API) mayVoteOnKeys(c *Call, r approval.Request) bool {
	change, err := changeOf(r)
	person := c.Permit.Who().Person
	if err != nil || change.Key.Person == person {
		return false
	}
	keys, err := a.Rooms.Approvers.Keys.Keys(c.Context())
	return err == nil && len(keys.Of(person, a.Guard.Clock())) > 0
}

func (a *API) keyRequestOut(out api.Request, r approval.Request) (api.Request, error) {
	change, err := changeOf(r)
	if err != nil {
		return out, sallyport.Wrap("read request", sallyport.Other, r.ID, err)
	}
	out.Resource, out.Sign = "system", true
	if out.Why = "it votes for no group"; len(change.Key.Groups) > 0 {
		out.Why = "it votes for " + strings.Join(change.Key.Groups, ", ")
	}
	return out, nil
}

// voteOnKey counts a signed vote on whose keys sign. It is never counted by session.
func (a *API) voteOnKey(c *Call) (any, error) {
	var change signed.Change
	r, err := a.castVote(c, func(r approval.Request) (v casting, err error) {
		if !a.mayVoteOnKeys(c, r) {
			return v, noRequest()
		}
		change, err = changeOf(r)
		return casting{on: string(change.Key.Person), vote: a.Rooms.Approvals.Vote}, err
	})
	if err != nil {
		return nil, err
	}
	if r.State == approval.Approved {
		if _, err := a.Rooms.Approvers.Keys.Add(c.Context(), change, r.Question(), r.Votes, a.noteEntry(c)); err != nil {
			return nil, err
		}
		if err := a.Facts.Sync(c.Context()); err != nil {
			return nil, err
		}
	}
	return a.requestOut(c, r)
}

// task reads what a grant ends with, and refuses what nothing here would notice the end of.
func (a *API) task(s string) (*grant.Task, error) {
	t, err := grant.ParseTask(s)
	if err != nil || t == nil || t.Kind == grant.Lease {
		return t, err
	}
	if a.Rooms.Approvers.Connectors == nil || !a.Rooms.Approvers.Connectors(t.Kind, t.Connector) {
		return nil, sallyport.E("request", sallyport.Invalid, "no "+string(t.Kind)+" connector is called "+t.Connector, "an operator adds it under \"tasks\" of the configuration")
	}
	return t, nil
}
