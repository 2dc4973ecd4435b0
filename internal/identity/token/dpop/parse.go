package dpop

import (
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"sallyport/internal/plumbing/secret"
)

const maxProof = 4 << 10 // bytes

// A proof is what a DPoP header says, its signature verified.
type proof struct {
	thumbprint      string // RFC 7638, base64url
	id, nonce       string
	method, address string
	issued          time.Time
	ath             string
}

func (p *proof) covers(access secret.Text) bool {
	sum := sha256.Sum256([]byte(access.Reveal()))
	return subtle.ConstantTimeCompare([]byte(p.ath), []byte(base64.RawURLEncoding.EncodeToString(sum[:]))) == 1
}

// parse reads and verifies a proof (RFC 9449, section 4.3, steps 2 to 7).
func parse(raw string) (*proof, error) {
	bad := func(what string) error {
		return refuse(ReasonProof+"."+what, "the proof is not one that is accepted here")
	}
	if len(raw) > maxProof {
		return nil, bad("size")
	}
	parsed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA})
	if err != nil {
		return nil, bad("form")
	}
	head := parsed.Signatures[0].Protected
	key := head.JSONWebKey
	if typ, _ := head.ExtraHeaders[jose.HeaderType].(string); typ != "dpop+jwt" {
		return nil, bad("typ")
	}
	if key == nil || !key.IsPublic() || !key.Valid() {
		return nil, bad("key")
	}
	payload, err := parsed.Verify(key)
	if err != nil {
		return nil, bad("signature")
	}
	var c struct {
		ID      string `json:"jti"`
		Method  string `json:"htm"`
		Address string `json:"htu"`
		Issued  int64  `json:"iat"`
		Nonce   string `json:"nonce"`
		Access  string `json:"ath"`
	}
	if json.Unmarshal(payload, &c) != nil || c.ID == "" || len(c.ID) > 256 || c.Method == "" || c.Address == "" || c.Issued <= 0 {
		return nil, bad("claims")
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, bad("key")
	}
	return &proof{thumbprint: base64.RawURLEncoding.EncodeToString(sum), id: c.ID, nonce: c.Nonce, method: c.Method, address: c.Address,
		issued: time.Unix(c.Issued, 0), ath: c.Access}, nil
}

// sameAddress compares without query and fragment, after the normalisation of RFC 3986, section 6.2.2 and 6.2.3.
func sameAddress(said, asked string) bool {
	a, okA := normal(said)
	b, okB := normal(asked)
	return okA && okB && a == b
}

func normal(s string) (string, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" {
		return "", false
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	host = strings.TrimSuffix(host, map[string]string{"https": ":443", "http": ":80"}[scheme])
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return scheme + "://" + host + path, true
}
