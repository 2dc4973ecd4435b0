package verify_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval/signed"
	"sallyport/internal/authz/decision"
	"sallyport/verify"
)

// An approver holds a key that signs approvals.
type approver struct {
	key     signed.Key
	private *ecdsa.PrivateKey
}

func newApprover(t *testing.T, name string) *approver {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return &approver{signed.Key{Credential: []byte("of " + name), Person: sallyport.PrincipalID("user:" + name), Algorithm: -7, Public: public, Party: "sally.example", Origin: "https://sally.example"}, private}
}

// sign answers like an authenticator that has verified its user.
func (a *approver) sign(t *testing.T, q signed.Question, v signed.Vote) signed.Vote {
	t.Helper()
	challenge := signed.Challenge(q, v)
	client := fmt.Appendf(nil, `{"type":"webauthn.get","challenge":%q,"origin":%q,"crossOrigin":false}`, base64.RawURLEncoding.EncodeToString(challenge[:]), a.key.Origin)
	party, clientHash := sha256.Sum256([]byte(a.key.Party)), sha256.Sum256(client)
	data := append(party[:], 5, 0, 0, 0, 1)
	sum := sha256.Sum256(append(data[:len(data):len(data)], clientHash[:]...))
	raw, err := ecdsa.SignASN1(rand.Reader, a.private, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	v.Signature = &signed.Signature{Credential: a.key.Credential, Data: data, Client: client, Signature: raw}
	return v
}

// A tale is one grant as a log tells it: a key, a request, a signed yes, and a download. A test changes it before it is
// written.
type tale struct {
	t        *testing.T
	at       time.Time
	pin      signed.Entry
	more     []signed.Entry // of the chain, after the pin
	asked    signed.Question
	on       signed.Question // what the vote is recorded with
	votes    []signed.Vote
	state    string // recorded with the last vote
	grant    string
	until    time.Time
	basis    decision.Basis
	noVote   bool
	bob, eve *approver
}

func newTale(t *testing.T) *tale {
	t.Helper()
	x := &tale{t: t, at: time.Unix(1_700_000_000, 0).UTC(), bob: newApprover(t, "bob"), eve: newApprover(t, "eve"), state: "approved", grant: "G-0000000001"}
	x.pin = signed.Entry{Change: signed.Change{Act: signed.Pin, Key: x.bob.key}, At: x.at}
	x.asked = signed.Question{ID: "R-0000000001", Topic: "grant", Asker: "user:ana", AskerPerson: "user:ana", Subject: "ana wants it", Need: 1, Approvers: "others", Nonce: strings.Repeat("a", 32),
		Policy: "sha256:one", Created: x.at.Add(time.Minute), Expires: x.at.Add(time.Hour),
		Canonical: []byte(`{"principal":"user:ana","person":"user:ana","actions":["model.pull"],"ref":"acme/fraud@v1","seconds":600,"why":"w"}`)}
	x.on = x.asked
	voted := x.at.Add(2 * time.Minute)
	x.votes = []signed.Vote{x.yes(x.bob, x.asked, voted)}
	x.until = voted.Add(10 * time.Minute)
	x.basis = decision.Basis{PrincipalID: "user:ana", Person: "user:ana", Active: true, Resource: sallyport.Resource{Kind: sallyport.VersionKind, Org: "acme", Name: "fraud", Version: "v1"}, Policy: "sha256:one",
		Grants: []decision.Grant{{ID: x.grant, Actions: []sallyport.Action{sallyport.ModelPull}, From: voted, Until: x.until}}}
	return x
}

func (x *tale) yes(a *approver, q signed.Question, at time.Time) signed.Vote {
	return a.sign(x.t, q, signed.Vote{Voter: a.key.Person, Person: a.key.Person, Yes: true, At: at})
}

// told is what a verifier finds in the log of the tale.
func (x *tale) told(pins ...signed.Key) verify.ApprovalReport {
	x.t.Helper()
	text := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			x.t.Fatal(err)
		}
		return string(raw)
	}
	a := verify.Approvals{Pins: pins}
	n := uint64(0)
	tell := func(e sallyport.Event) {
		if err := a.Each(n, []byte(text(e))); err != nil {
			x.t.Fatal(err)
		}
		n++
	}
	for _, e := range append([]signed.Entry{x.pin}, x.more...) {
		tell(sallyport.Event{Type: sallyport.EventApprover, Detail: map[string]string{"entry": text(e)}})
	}
	tell(sallyport.Event{Type: sallyport.EventGrantRequested, Detail: map[string]string{"request": x.asked.ID, "hash": x.asked.Hash(), "question": text(x.asked)}})
	for i, v := range x.votes {
		d := map[string]string{"request": x.on.ID, "hash": x.on.Hash(), "question": text(x.on), "vote": text(v), "state": "pending"}
		if i == len(x.votes)-1 {
			d["state"], d["grant"], d["until"] = x.state, x.grant, x.until.Format(time.RFC3339)
		}
		if !x.noVote {
			tell(sallyport.Event{Type: sallyport.EventGrantVoted, Detail: d})
		}
	}
	tell(sallyport.Event{Type: sallyport.EventFacts, Facts: "f1", Basis: []byte(text(x.basis))})
	tell(sallyport.Event{Type: sallyport.EventDecided, Decision: "D-1", Facts: "f1", Outcome: sallyport.Allow.String(), Action: sallyport.ModelPull, Who: "user:ana"})
	return a.Report()
}

// AZ-16: what somebody who owns the store, the process and the log's key writes into the log, without an approver's key, is
// named by whoever has the log alone; each forgery for what it is.
func TestForgeriesAreNamed(t *testing.T) {
	for name, test := range map[string]struct {
		forge func(x *tale)
		want  string // in a problem; "" = none
	}{
		"nothing": {func(*tale) {}, ""},
		"a vote that could not be kept, and was cast again": {func(x *tale) {
			x.votes = append(x.votes, x.yes(x.bob, x.asked, x.at.Add(3*time.Minute)))
			x.basis.Grants[0].From, x.basis.Grants[0].Until = x.at.Add(3*time.Minute), x.at.Add(13*time.Minute)
		}, ""},
		"a first key that could not be kept, and was pinned again": {func(x *tale) {
			again := x.pin
			again.At = again.At.Add(time.Second)
			x.more = []signed.Entry{again}
		}, ""},
		"a grant that nobody asked for": {func(x *tale) { x.noVote = true }, "no good approval"},
		"a vote without a signature":    {func(x *tale) { x.votes[0].Signature = nil }, "is not signed"},
		"a changed byte":                {func(x *tale) { s := x.votes[0].Signature.Signature; s[len(s)-1] ^= 1 }, "does not verify"},
		"another scope": {func(x *tale) {
			x.on.Canonical = []byte(strings.Replace(string(x.on.Canonical), "model.pull", "model.export", 1))
		}, "another question"},
		"another scope, asked so afterwards": {func(x *tale) {
			x.on.Canonical = []byte(strings.Replace(string(x.on.Canonical), "model.pull", "model.export", 1))
			x.asked = x.on
		}, "another statement"},
		"another request's vote": {func(x *tale) { x.asked.ID, x.on.ID, x.grant = "R-0000000002", "R-0000000002", "G-0000000002" }, "another statement"},
		"another nonce":          {func(x *tale) { x.asked.Nonce = strings.Repeat("b", 32); x.on = x.asked }, "another statement"},
		"her own key": {func(x *tale) {
			ana := newApprover(t, "ana")
			x.votes = []signed.Vote{x.yes(ana, x.asked, x.at.Add(2*time.Minute))}
		}, "nobody approves their own"},
		"a key of nobody": {func(x *tale) { x.votes = []signed.Vote{x.yes(x.eve, x.asked, x.at.Add(2*time.Minute))} }, "had no such key"},
		"a key put into the chain": {func(x *tale) {
			x.more = []signed.Entry{{Change: signed.Change{Act: signed.Enrol, Key: x.eve.key}, At: x.at.Add(time.Second), Prev: x.pin.Hash()}}
			x.votes = []signed.Vote{x.yes(x.eve, x.asked, x.at.Add(2*time.Minute))}
		}, "nobody was asked"},
		"another first key": {func(x *tale) {
			x.more = []signed.Entry{{Change: signed.Change{Act: signed.Pin, Key: x.eve.key}, At: x.at.Add(time.Second)}}
		}, "does not follow"},
		"a vote after its time": {func(x *tale) {
			x.votes = []signed.Vote{x.yes(x.bob, x.asked, x.asked.Expires)}
			x.until = x.asked.Expires.Add(10 * time.Minute)
		}, "not cast in its time"},
		"one person for two": {func(x *tale) {
			x.asked.Need = 2
			x.on = x.asked
			x.votes = []signed.Vote{x.yes(x.bob, x.asked, x.at.Add(2*time.Minute)), x.yes(x.bob, x.asked, x.at.Add(2*time.Minute))}
		}, "not enough"},
		"a no": {func(x *tale) {
			x.votes = []signed.Vote{x.bob.sign(t, x.asked, signed.Vote{Voter: "user:bob", Person: "user:bob", At: x.at.Add(2 * time.Minute)})}
		}, "said no"},
		"a longer grant":                {func(x *tale) { x.until = x.until.Add(time.Second) }, "longer than"},
		"a second grant of one yes":     {func(x *tale) { x.grant = "G-0000000009" }, "is not the grant of"},
		"a grant that is longer in use": {func(x *tale) { x.basis.Grants[0].Until = x.until.Add(time.Second) }, "were not approved"},
		"a grant before its approval":   {func(x *tale) { x.basis.Grants[0].From = x.at }, "were not approved"},
		"a wider grant in use": {func(x *tale) {
			x.basis.Grants[0].Actions = append(x.basis.Grants[0].Actions, sallyport.ModelExport)
		}, "were not approved"},
		"a grant in somebody else's hands": {func(x *tale) { x.basis.PrincipalID = "user:eva" }, "were not approved"},
		"a grant on something else":        {func(x *tale) { x.basis.Resource.Name = "keel" }, "were not approved"},
	} {
		x := newTale(t)
		test.forge(x)
		report := x.told()
		var said []string
		for _, p := range report.Problems {
			said = append(said, p.Problem)
		}
		if all := strings.Join(said, "; "); (test.want == "") != (len(said) == 0) || !strings.Contains(all, test.want) {
			t.Errorf("%s: %q, want %q", name, all, test.want)
		}
		if test.want == "" && (report.Used != 1 || report.Approved != 1) {
			t.Errorf("%s: %+v", name, report)
		}
	}
	x := newTale(t)
	if report := x.told(x.eve.key); len(report.Problems) == 0 {
		t.Error("with another first key pinned the log's own is believed")
	}
}
