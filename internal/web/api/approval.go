package api

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"sallyport"
)

// A Statement is what a voter signs with an approver's key: its SHA-256 is the challenge of the WebAuthn assertion.
type Statement struct {
	Text    string          `json:"text"` // one line of JSON
	Groups  []string        `json:"groups"`
	At      time.Time       `json:"at"`      // sent back with the vote
	Options json.RawMessage `json:"options"` // for navigator.credentials.get
}

// An Ballot is what a voter wants to say, before it is signed.
type Ballot struct {
	Yes    bool   `json:"yes"`
	Reason string `json:"reason"`
	Hash   string `json:"hash"` // of the request that was read
}

// A Signature is a WebAuthn assertion over a statement. Its members are base64url without padding, as in
// PublicKeyCredential.toJSON.
type Signature struct {
	Credential string `json:"credential"`
	Data       string `json:"authenticatorData"`
	Client     string `json:"clientDataJSON"`
	Signature  string `json:"signature"`
}

// An Approver is one key that signs approvals.
type Approver struct {
	ID     string                `json:"id"` // "AK-…": read it to each other when it is enrolled
	Person sallyport.PrincipalID `json:"person"`
	Groups []string              `json:"groups"`
	Since  time.Time             `json:"since,omitzero"` // zero: pinned by the configuration
	Until  time.Time             `json:"until,omitzero"`
	Pinned bool                  `json:"pinned"` // it is one of the first, which nobody approved
	Key    json.RawMessage       `json:"key"`    // as the configuration and 'sallyport verify' read it
}

// Approvers is everybody whose keys sign approvals.
type Approvers struct {
	Keys   []Approver `json:"keys"`
	Signed bool       `json:"signed"` // a yes must be signed
	Own    []OwnKey   `json:"own"`    // passkeys of the caller that could become an approver's key
}

// An OwnKey is one of the caller's passkeys.
type OwnKey struct {
	Passkey string `json:"passkey"` // "K-…"
	Label   string `json:"label"`
	ID      string `json:"id"` // "AK-…", the name it has as an approver's key
}

// An Enrol asks that one of the caller's passkeys becomes an approver's key.
type Enrol struct {
	Passkey string   `json:"passkey"`
	Groups  []string `json:"groups"` // "group:ORG/NAME": for which its votes count
}

// A Similar is an earlier request for the same.
type Similar struct {
	ID    string                `json:"id"`
	Who   sallyport.PrincipalID `json:"who"`
	For   string                `json:"for"`
	Why   string                `json:"why"`
	State string                `json:"state"`
	At    time.Time             `json:"at"`
	Mine  bool                  `json:"mine"` // of the same asker
}

// A Review is what an approver sees before a vote.
type Review struct {
	Request  Request   `json:"request"`
	Sentence string    `json:"sentence"`
	Gains    []string  `json:"gains"`   // rights that the asker would have and has not now
	Changes  []string  `json:"changes"` // to cells such as "download the weights of acme/fraud (model.pull): refused without a grant → allowed"
	Risk     int       `json:"risk"`    // of the asker's riskiest live session, 0 to 100
	History  []string  `json:"history"` // sentences about the asker
	Similar  []Similar `json:"similar"`
	MayVote  bool      `json:"mayVote"`
	Sign     bool      `json:"sign"`             // a yes must be signed
	Author   bool      `json:"author,omitempty"` // the caller answers for it, and has still to sign it as its author
	Why      string    `json:"whyNot,omitempty"` // why the caller cannot vote
}

// Standing is how much somebody may do without an end.
type Standing struct {
	Who      sallyport.PrincipalID `json:"who"`
	Person   sallyport.PrincipalID `json:"person"`
	Standing int                   `json:"standing"` // role assignments without an end, direct or by a group, of accounts without one
	Ending   int                   `json:"ending"`   // assignments and grants that end by themselves, or with the account
	Rights   []string              `json:"rights"`   // the standing ones: "evaluator on acme/fraud by group:acme/risk"
}

// Request reads what a refused decision says can be asked for: the action and the resource of its remedy of that kind.
func (w Why) Request() (sallyport.Action, string, error) {
	const op = "request from decision"
	for _, r := range slices.Concat(append([][]sallyport.Remedy{w.Remedies}, w.Otherwise...)...) {
		words := strings.Fields(r.Command)
		if r.Kind != sallyport.RemedyRequest || len(words) < 4 || words[0] != "sallyport" || words[1] != "request" {
			continue
		}
		action, err := sallyport.ParseAction(words[2])
		if err != nil {
			return "", "", err
		}
		ref, err := sallyport.ParseRef(words[3])
		return action, ref.String(), err
	}
	text := "a request would not change " + sallyport.OneLine(w.ID)
	hint := "see what would with 'sallyport why " + sallyport.OneLine(w.ID) + "'"
	if len(w.Remedies) > 0 {
		hint = w.Remedies[0].Text
	}
	return "", "", sallyport.E(op, sallyport.Conflict, text, hint)
}
