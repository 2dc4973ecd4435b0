package admin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/approval/signed"
	"sallyport/internal/web/api"
)

// A casting is what is special about a vote on one topic.
type casting struct {
	on   string // what the record says that it is about; "": the ground of the request
	vote func(context.Context, approval.Ballot) (approval.Request, error)
	// more goes into the record beside the vote; nil: nothing does.
	more func(approval.Request) (map[string]string, error)
}

// castVote counts the caller's vote on the request of the path, of any topic. It must have come by the route of that topic,
// and the permit be for what the topic asks of voters, and for the very resource. The vote is written down before it is
// kept, and so before anything that it brings about.
func (a *API) castVote(c *Call, topic func(approval.Request) (casting, error)) (approval.Request, error) {
	var in api.Vote
	if err := c.decode(&in); err != nil {
		return approval.Request{}, err
	}
	r, err := a.Rooms.Approvals.Get(c.Context(), c.PathValue("id"))
	if err != nil {
		return r, err
	}
	g, ok := a.groundOf(c, r)
	if route, _, _ := strings.Cut(g.path, "?"); !ok || c.URL.Path != api.Version+route || !a.permitted(c, g) {
		return r, noRequest()
	}
	v, err := topic(r)
	if err != nil {
		return r, err
	}
	if v.on == "" {
		v.on = g.on.String()
	}
	b, err := a.ballot(c, r, in)
	if err != nil {
		return r, err
	}
	b.Note = func(_ context.Context, r approval.Request) error {
		detail, err := r.Voted()
		if err != nil {
			return err
		}
		if v.more != nil {
			more, err := v.more(r)
			if err != nil {
				return err
			}
			maps.Copy(detail, more)
		}
		return a.note(c, sallyport.EventGrantVoted, v.on, detail)
	}
	r, err = v.vote(c.Context(), b)
	return r, a.unsigned(err, c.PathValue("id"))
}

// permitted reports whether the call was permitted for what a vote needs a right to.
func (a *API) permitted(c *Call, g ground) bool {
	if g.action == "" {
		return true // who holds a key votes on keys, as the topic's own route finds out
	}
	x, ok := a.Facts.Snapshot().Resolve(g.on) // a model's name resolves to its version
	return ok && x == c.Permit.Resource() && g.action == c.Permit.Action()
}

// noteAsked records a request as a whole.
func (a *API) noteAsked(c *Call, on string) approval.Note {
	return func(_ context.Context, r approval.Request) error {
		detail, err := r.Asked()
		if err != nil {
			return err
		}
		return a.note(c, sallyport.EventGrantRequested, on, detail)
	}
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
	if author := isAuthor(c, r); author && (!in.Yes || in.Reason != "") || !author && !a.mayVote(c, r) {
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
	if groups = counted(groups, own[0]); isAuthor(c, r) {
		groups = nil // it counts for nobody
	}
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
