package signed

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"time"

	"sallyport"
)

// A Vote is what one person said.
type Vote struct {
	Voter  sallyport.PrincipalID `json:"voter"`
	Person sallyport.PrincipalID `json:"person"`
	Yes    bool                  `json:"yes"`
	Reason string                `json:"reason,omitempty"`
	At     time.Time             `json:"at"` // of a signed vote: when it was put before the voter, as it was signed
	// Groups are the question's groups that the voter belonged to when the vote was cast.
	Groups    []string   `json:"groups,omitempty"`
	Signature *Signature `json:"signature,omitempty"` // nil: by session only
}

// A Signature is an assertion of Web Authentication over a vote's statement (section 6.3.3), as the browser returned it.
type Signature struct {
	Credential []byte `json:"credential"` // id of the credential
	Data       []byte `json:"data"`       // authenticatorData
	Client     []byte `json:"client"`     // clientDataJSON
	Signature  []byte `json:"signature"`
}

// The limits on a signature's parts, in bytes.
const (
	maxCredential = 1023 // Web Authentication section 4
	maxData       = 1024
	maxClient     = 4096
	maxSignature  = 1024
)

// Fits refuses a signature with parts that no authenticator makes.
func (s Signature) Fits() error {
	if n := len(s.Credential); n == 0 || n > maxCredential || len(s.Data) > maxData || len(s.Client) > maxClient || len(s.Signature) > maxSignature {
		return sallyport.E("read signature", sallyport.Invalid, "a part of it is missing or too long", "sign again")
	}
	return nil
}

// Statement is the text that a voter signs: what is asked, and the voter's answer. It is one line of JSON whose members
// stand in a fixed order.
func Statement(q Question, v Vote) []byte {
	answer := "no"
	switch {
	case v.Yes && v.Person == q.AskerPerson:
		answer = "mine" // the author's word that this is what they ask; see VerifyAuthor
	case v.Yes:
		answer = "yes"
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(struct { // cannot fail: strings, numbers and times
		Statement string                `json:"statement"`
		Request   string                `json:"request"`
		Hash      string                `json:"hash"`
		Topic     string                `json:"topic"`
		Asker     sallyport.PrincipalID `json:"asker"`
		Subject   string                `json:"subject"`
		Asks      string                `json:"asks"`
		Policy    string                `json:"policy"`
		Nonce     string                `json:"nonce"`
		Expires   int64                 `json:"expires"` // microseconds since 1970, as At
		Vote      string                `json:"vote"`
		Voter     sallyport.PrincipalID `json:"voter"`
		Person    sallyport.PrincipalID `json:"person"`
		Groups    []string              `json:"groups"`
		Reason    string                `json:"reason"`
		At        int64                 `json:"at"`
	}{"sallyport approval 2", q.ID, q.Hash(), q.Topic, q.Asker, q.Subject, string(q.Canonical), q.Policy, q.Nonce, q.Expires.UnixMicro(),
		answer, v.Voter, v.Person, append([]string{}, v.Groups...), v.Reason, v.At.UnixMicro()})
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// Challenge is the SHA-256 of a vote's statement: what the authenticator is asked to sign.
func Challenge(q Question, v Vote) [sha256.Size]byte { return sha256.Sum256(Statement(q, v)) }
