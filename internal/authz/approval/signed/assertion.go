package signed

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport"
)

// A Key is an approver's public key.
type Key struct {
	Credential []byte                `json:"credential"`
	Person     sallyport.PrincipalID `json:"person"`
	Groups     []string              `json:"groups,omitempty"` // the groups that its votes may count for, sorted; Owners needs no mention
	Algorithm  int64                 `json:"alg"`              // of COSE: -7, -35, -36, -8 or -257
	Public     []byte                `json:"public"`           // SubjectPublicKeyInfo, DER
	Party      string                `json:"rpId"`
	Origin     string                `json:"origin"` // of the page that may ask for a signature
	Since      time.Time             `json:"-"`      // from when it counts; zero: always
	Until      time.Time             `json:"-"`      // to when, exclusive; zero: no end
}

// ID names a key: "AK-" and 16 characters of the hash of its credential id.
func (k Key) ID() string { return KeyID(k.Credential) }

// KeyID names the key of a credential id.
func KeyID(credential []byte) string {
	hash := sha256.Sum256(credential)
	return "AK-" + base64.RawURLEncoding.EncodeToString(hash[:12])
}

// maxKeys bounds a file of keys, in bytes.
const maxKeys = 1 << 20

// ParseKeys reads a list of keys in JSON, strictly.
func ParseKeys(raw []byte) ([]Key, error) {
	const op, hint = "read approvers' keys", "write the list that 'sallyport approvers keys' prints"
	if len(raw) > maxKeys {
		return nil, sallyport.E(op, sallyport.TooLarge, "the list has more than 1 MiB", hint)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	var keys []Key
	if err := d.Decode(&keys); err != nil || d.More() {
		return nil, sallyport.E(op, sallyport.Invalid, "it is not a list of keys", hint)
	}
	for _, k := range keys {
		if err := k.Check(); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// The algorithms of COSE (RFC 9053, RFC 8812) that we verify.
const (
	es256 = -7
	es384 = -35
	es512 = -36
	eddsa = -8
	rs256 = -257
)

// Check refuses a key that could not verify anything, or names nobody.
func (k Key) Check() error {
	const op = "read approver's key"
	if _, err := k.public(); err != nil {
		return err
	}
	if id, err := sallyport.ParsePrincipalID(string(k.Person)); err != nil || id != k.Person || id.Kind() != sallyport.User {
		return sallyport.E(op, sallyport.Invalid, "it names no person", "write user:NAME")
	}
	if len(k.Credential) == 0 || len(k.Credential) > maxCredential {
		return sallyport.E(op, sallyport.Invalid, "its credential id is missing or too long", "enrol the passkey again")
	}
	for i, g := range k.Groups {
		if err := sallyport.CheckQuorums([]Quorum{{Group: g, Need: 1}}); err != nil || g == sallyport.Owners {
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%.80q is no group", g), "write group:ORG/NAME")
		}
		if i > 0 && k.Groups[i-1] >= g {
			return sallyport.E(op, sallyport.Invalid, "its groups are not in order", "sort them, each once")
		}
	}
	if k.Party == "" || !strings.Contains(k.Origin, "://") {
		return sallyport.E(op, sallyport.Invalid, "it names no page", "enrol it on the page of your server")
	}
	return nil
}

// public parses the key and holds it to its algorithm.
func (k Key) public() (crypto.PublicKey, error) {
	weak := sallyport.E("read approver's key", sallyport.Invalid, fmt.Sprintf("it is no key of the algorithm %d", k.Algorithm), "use a passkey with ES256, ES384, ES512, EdDSA or RS256")
	public, err := x509.ParsePKIXPublicKey(k.Public)
	if err != nil {
		return nil, weak
	}
	fits := false
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		fits = k.Algorithm == es256 && p.Curve == elliptic.P256() || k.Algorithm == es384 && p.Curve == elliptic.P384() || k.Algorithm == es512 && p.Curve == elliptic.P521()
	case ed25519.PublicKey:
		fits = k.Algorithm == eddsa
	case *rsa.PublicKey:
		fits = k.Algorithm == rs256 && p.N.BitLen() >= 2048 && p.N.BitLen() <= 8192
	}
	if !fits {
		return nil, weak
	}
	return public, nil
}

// signed reports whether signature is the key's over message.
func (k Key) signed(message, signature []byte) bool {
	public, err := k.public()
	if err != nil {
		return false
	}
	digest := sha256.Sum256(message)
	hash := digest[:]
	switch k.Algorithm {
	case es384:
		d := sha512.Sum384(message)
		hash = d[:]
	case es512:
		d := sha512.Sum512(message)
		hash = d[:]
	}
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(p, hash, signature)
	case ed25519.PublicKey:
		return ed25519.Verify(p, message, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(p, crypto.SHA256, hash, signature) == nil
	}
	return false
}

// The flags of authenticator data, section 6.1.
const (
	userPresent  = 0x01
	userVerified = 0x04
)

// verify holds an assertion to a challenge and the key (section 7.2, steps 11 to 21). The counter is not looked at: most
// passkeys have none, and a challenge is used once.
func (k Key) verify(s Signature, challenge [sha256.Size]byte) error {
	if err := s.Fits(); err != nil {
		return err
	}
	if !bytes.Equal(s.Credential, k.Credential) {
		return refuse("it is another key's")
	}
	if err := k.client(s.Client, challenge); err != nil {
		return err
	}
	party := sha256.Sum256([]byte(k.Party))
	switch {
	case len(s.Data) < 37 || subtle.ConstantTimeCompare(s.Data[:32], party[:]) != 1:
		return refuse("it was made for another site than " + k.Party)
	case s.Data[32]&userPresent == 0 || s.Data[32]&userVerified == 0:
		return refuse("the authenticator did not verify its user")
	}
	client := sha256.Sum256(s.Client)
	if !k.signed(append(bytes.Clone(s.Data), client[:]...), s.Signature) {
		return refuse("it does not verify")
	}
	return nil
}

// client holds what the browser says to what was asked of it (section 5.8.1).
func (k Key) client(raw []byte, challenge [sha256.Size]byte) error {
	var c struct {
		Type        string  `json:"type"`
		Challenge   string  `json:"challenge"`
		Origin      string  `json:"origin"`
		CrossOrigin bool    `json:"crossOrigin"`
		TopOrigin   *string `json:"topOrigin"`
	}
	if err := once(raw, &c); err != nil {
		return refuse("what the browser said cannot be read")
	}
	switch {
	case c.Type != "webauthn.get":
		return refuse("it was made for something else")
	case c.Challenge != base64.RawURLEncoding.EncodeToString(challenge[:]):
		return refuse("it is for another statement")
	case c.Origin != k.Origin || c.CrossOrigin || c.TopOrigin != nil:
		return refuse("it was made on another page than " + k.Origin)
	}
	return nil
}

// once decodes one JSON object in which no member stands twice, whatever its case: the decoder would take the last.
func once(raw []byte, into any) error {
	bad := fmt.Errorf("not one plain object")
	if !utf8.Valid(raw) {
		return bad
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return bad
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		if folded := strings.ToLower(name); seen[folded] {
			return bad
		} else {
			seen[folded] = true
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return bad
	}
	return json.Unmarshal(raw, into)
}

func refuse(text string) error {
	return sallyport.E("verify signature", sallyport.Conflict, text, "open the request and sign again").Because(ReasonSignature)
}
