package admin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
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

// openFor is how long a question about a key waits for its answer.
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
	e, err := a.Rooms.Approvers.Keys.First(c.Context(), k)
	if err != nil {
		return nil, err
	}
	if err := a.noteEntry(c, e); err != nil {
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
func (a *API) noteEntry(c *Call, e signed.Entry) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return a.note(c, sallyport.EventApprover, string(e.Key.Person), map[string]string{"act": string(e.Act), "key": e.Key.ID(), "entry": string(raw)})
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
		Subject: string(change.Act) + " approver's key " + change.Key.ID() + " of " + string(change.Key.Person), Approvers: "people who have an approver's key", Expires: now.Add(keyOpenFor)})
	if err != nil {
		return nil, err
	}
	if err := a.noteAsked(c, r, string(change.Key.Person)); err != nil {
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
	var in api.Vote
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	r, err := a.Rooms.Approvals.Get(c.Context(), c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if r.Topic != signed.Topic || !a.mayVoteOnKeys(c, r) {
		return nil, noRequest()
	}
	b, err := a.ballot(c, r, in)
	if err != nil {
		return nil, err
	}
	if r, err = a.Rooms.Approvals.Vote(c.Context(), b); err != nil {
		return nil, a.unsigned(err, c.PathValue("id"))
	}
	detail, err := votedDetail(r, b)
	if err != nil {
		return nil, err
	}
	change, err := changeOf(r)
	if err != nil {
		return nil, err
	}
	if err := a.note(c, sallyport.EventGrantVoted, string(change.Key.Person), detail); err != nil {
		return nil, err
	}
	if r.State == approval.Approved {
		e, err := a.Rooms.Approvers.Keys.Add(c.Context(), change, r.Question(), r.Votes)
		if err != nil {
			return nil, err
		}
		if err := a.noteEntry(c, e); err != nil {
			return nil, err
		}
		if err := a.Facts.Sync(c.Context()); err != nil {
			return nil, err
		}
	}
	return a.requestOut(c, r)
}

// groupsOf are those of a request's groups that the caller belongs to now.
func (a *API) groupsOf(c *Call, r approval.Request) ([]string, error) {
	p, snap := c.Permit.Who(), a.Facts.Snapshot()
	var groups []string
	for _, q := range r.Groups {
		in := false
		if q.Group == sallyport.Owners {
			g, ok := a.groundOf(c, r)
			x, known := snap.Resolve(g.on)
			in = ok && known && slices.Contains(snap.Catalog().Owners(x), p.Person)
		} else {
			in = snap.Within(p.Person, strings.TrimPrefix(q.Group, "group:"))
		}
		if in {
			groups = append(groups, q.Group)
		}
	}
	return groups, nil
}

// counted leaves the groups that a key counts for.
func counted(groups []string, k signed.Key) []string {
	return slices.DeleteFunc(slices.Clone(groups), func(g string) bool { return g != sallyport.Owners && !slices.Contains(k.Groups, g) })
}

// statement puts a request before a voter as the text that is signed, with the options by which a browser signs it.
func (a *API) statement(c *Call) (any, error) {
	const op = "sign"
	var in api.Ballot
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	r, err := a.Rooms.Approvals.Get(c.Context(), c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if !a.mayVote(c, r) {
		return nil, noRequest()
	}
	if in.Hash != r.Hash || !r.Intact() {
		return nil, sallyport.E(op, sallyport.Conflict, r.ID+" is not the request that was read", "read it again and decide anew")
	}
	p, now := c.Permit.Who(), a.Guard.Clock().UTC().Truncate(time.Microsecond)
	keys, err := a.Rooms.Approvers.Keys.Keys(c.Context())
	if err != nil {
		return nil, err
	}
	own := keys.Of(p.Person, now)
	if len(own) == 0 {
		return nil, sallyport.E(op, sallyport.Conflict, "you have no approver's key", "enrol one of your passkeys with 'sallyport approvers enrol'").Because(signed.ReasonKey)
	}
	groups, err := a.groupsOf(c, r)
	if err != nil {
		return nil, err
	}
	groups = counted(groups, own[0])
	v := signed.Vote{Voter: p.ID, Person: p.Person, Yes: in.Yes, Reason: in.Reason, At: now, Groups: groups}
	options, err := requestOptions(signed.Challenge(r.Question(), v), own)
	return api.Statement{Text: string(signed.Statement(r.Question(), v)), Groups: append([]string{}, groups...), At: now, Options: options}, err
}

// requestOptions are the options of navigator.credentials.get (Web Authentication Level 3, section 5.5).
func requestOptions(challenge [sha256.Size]byte, own signed.Keys) (json.RawMessage, error) {
	type descriptor struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	}
	var allow []descriptor
	for _, k := range own {
		if k.Party == own[0].Party && slices.Equal(k.Groups, own[0].Groups) { // another key would count for other groups
			allow = append(allow, descriptor{"public-key", encode(k.Credential)})
		}
	}
	return json.Marshal(map[string]any{"publicKey": map[string]any{"challenge": encode(challenge[:]), "rpId": own[0].Party, "timeout": approval.Fresh.Milliseconds(),
		"userVerification": "required", "allowCredentials": allow}})
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// ballot is the caller's vote: their groups as they are now, and the signature as it came.
func (a *API) ballot(c *Call, r approval.Request, in api.Vote) (approval.Ballot, error) {
	p := c.Permit.Who()
	b := approval.Ballot{Request: r.ID, Voter: p.ID, Person: p.Person, Yes: in.Yes, Reason: in.Reason, Hash: in.Hash}
	groups, err := a.groupsOf(c, r)
	if err != nil {
		return b, err
	}
	b.Groups = groups
	if in.Signature == nil {
		return b, nil
	}
	if b.Signature, err = signatureIn(*in.Signature); err != nil {
		return b, err
	}
	for _, g := range in.Groups {
		if !slices.Contains(groups, g) {
			return b, sallyport.E("vote", sallyport.Conflict, "you are not in "+sallyport.OneLine(g)+" any more", "open the request again")
		}
	}
	b.Groups, b.At = in.Groups, in.At
	return b, nil
}

func signatureIn(in api.Signature) (*approval.Signature, error) {
	var s approval.Signature
	for _, part := range []struct {
		text string
		into *[]byte
	}{{in.Credential, &s.Credential}, {in.Data, &s.Data}, {in.Client, &s.Client}, {in.Signature, &s.Signature}} {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(part.text)
		if err != nil {
			return nil, sallyport.E("read signature", sallyport.Invalid, "a part of it is not base64url", "send it as the browser gave it")
		}
		*part.into = raw
	}
	return &s, s.Fits()
}

func signatureOut(s *approval.Signature) *api.Signature {
	if s == nil {
		return nil
	}
	return &api.Signature{Credential: encode(s.Credential), Data: encode(s.Data), Client: encode(s.Client), Signature: encode(s.Signature)}
}

// unsigned adds to an error where a vote can be signed.
func (a *API) unsigned(err error, id string) error {
	if sallyport.ReasonOf(err) != signed.ReasonUnsigned {
		return err
	}
	return sallyport.E("vote", sallyport.Conflict, "this vote must be signed with an approver's key", "sign it at "+a.External+"/approvals/"+id).Because(signed.ReasonUnsigned)
}

// noteAsked records a request as a whole.
func (a *API) noteAsked(c *Call, r approval.Request, on string) error {
	raw, err := json.Marshal(r.Question())
	if err != nil {
		return err
	}
	return a.note(c, sallyport.EventGrantRequested, on, map[string]string{"request": r.ID, "hash": r.Hash, "asks": r.Subject, "topic": r.Topic, "question": string(raw)})
}

// votedDetail records a vote as it was signed, with the question, so that the one event can be verified by itself.
func votedDetail(r approval.Request, b approval.Ballot) (map[string]string, error) {
	detail := map[string]string{"request": r.ID, "topic": r.Topic, "hash": r.Hash, "yes": yesNo(b.Yes), "reason": b.Reason, "state": string(r.State)}
	question, err := json.Marshal(r.Question())
	if err != nil {
		return nil, err
	}
	vote, err := json.Marshal(r.Votes[len(r.Votes)-1])
	if err != nil {
		return nil, err
	}
	detail["question"], detail["vote"] = string(question), string(vote)
	return detail, nil
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
