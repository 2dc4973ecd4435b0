package jose

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/url"
	"strings"
	"time"

	strict "github.com/go-jose/go-jose/v4/json"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// How far the iat of a DPoP proof may lie from now.
const (
	ProofPast   = 60 * time.Second
	ProofFuture = 10 * time.Second
)

const (
	proofType  = "dpop+jwt"
	maxProofID = 256 // bytes of jti and of nonce
	opProof    = "dpop proof"
)

// A Request is the HTTP request that comes with a DPoP proof.
type Request struct {
	Method string
	URL    string // absolute, built from the configured external address, never from what the client sent as Host
	// Token is the access token beside the proof. Where none can be, as at the token endpoint, NoToken says so: one
	// of the two is needed.
	Token   secret.Text
	NoToken bool
	Now     time.Time
}

// A Proof is a DPoP proof that fits its request. It shows possession of a key; whether it was seen before, and whether
// its nonce is one of ours, is the caller's to judge.
type Proof struct {
	Thumbprint string // of the key, RFC 7638, as in cnf.jkt
	Key        Key
	ID         string // jti; together with Thumbprint it must be new
	Issued     time.Time
	Nonce      string // "" where there is none
}

// VerifyProof checks the DPoP headers of a request by RFC 9449 section 4.3: there is exactly one, of type dpop+jwt,
// signed by the public key in it, made for this method, this address (without query and fragment) and this access
// token, and its iat is at most ProofPast old and ProofFuture ahead. Errors are of kind Unknown; reasons are those of
// [Verify] and jose.count, jose.method, jose.url, jose.token, jose.expired, jose.early and jose.id.
func VerifyProof(headers []string, r Request) (Proof, error) {
	if r.Method == "" || r.Now.IsZero() || r.NoToken != r.Token.IsZero() {
		return Proof{}, unusable(opProof, "method, time, and a token or NoToken are needed")
	}
	here, err := plainURL(r.URL)
	if err != nil {
		return Proof{}, unusable(opProof, "the address of the request is not absolute")
	}
	if len(headers) != 1 {
		return Proof{}, refusal(opProof, "count")
	}
	token, err := openProof(headers[0])
	if err != nil {
		return Proof{}, err
	}
	c := token.Claims
	method, _ := c.Text("htm")
	address, _ := c.Text("htu")
	there, err := plainURL(address)
	nonce, isText := c.Text("nonce")
	switch {
	case method != r.Method:
		return Proof{}, refusal(opProof, "method")
	case err != nil || there != here:
		return Proof{}, refusal(opProof, "url")
	case !c.bearsToken(r.Token):
		return Proof{}, refusal(opProof, "token")
	case c.ID == "" || len(c.ID) > maxProofID || len(nonce) > maxProofID || c.Has("nonce") && !isText:
		return Proof{}, refusal(opProof, "id")
	case c.Issued.Before(r.Now.Add(-ProofPast)): // an absent iat lies far back
		return Proof{}, refusal(opProof, "expired")
	case c.Issued.After(r.Now.Add(ProofFuture)) || c.NotBefore.After(r.Now.Add(ProofFuture)):
		return Proof{}, refusal(opProof, "early")
	case !c.Expires.IsZero() && !r.Now.Before(c.Expires):
		return Proof{}, refusal(opProof, "expired")
	}
	return Proof{Thumbprint: token.Key.Thumbprint(), Key: token.Key, ID: c.ID, Issued: c.Issued, Nonce: nonce}, nil
}

// openProof verifies a proof by the key that it carries: the one kind of token whose key comes from inside it.
func openProof(text string) (Token, error) {
	p, err := parse(opProof, text)
	if err != nil {
		return Token{}, err
	}
	if err := (Profile{Op: opProof, Types: []string{proofType}, Algorithms: ProofAlgorithms()}).accepts(p.header); err != nil {
		return Token{}, err
	}
	jwk, err := strict.Marshal(p.rawHeader["jwk"])
	if err != nil {
		return Token{}, refusal(opProof, "key")
	}
	key, err := ParseKey(jwk)
	if err != nil {
		return Token{}, refusal(opProof, "key")
	}
	return p.open(opProof, key)
}

// bearsToken tells whether ath is the hash of the access token. Where none is beside the proof, ath says nothing.
func (c Claims) bearsToken(token secret.Text) bool {
	if token.IsZero() {
		return true
	}
	ath, _ := c.Text("ath")
	return subtle.ConstantTimeCompare([]byte(ath), []byte(tokenHash(token))) == 1
}

func tokenHash(token secret.Text) string {
	sum := sha256.Sum256([]byte(token.Reveal()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// plainURL writes an absolute http or https address in the one form in which two are compared: scheme and host in
// lower case, no default port, no query and no fragment, percent-encoding as RFC 3986 section 6.2.2 normalises it.
// Dots as segments of a path are refused rather than resolved.
func plainURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxClaim || u.User != nil || u.Opaque != "" || u.Hostname() == "" {
		return "", sallyport.E("read address", sallyport.Invalid, "not an absolute address", "")
	}
	scheme, host, port := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()
	if scheme != "https" && scheme != "http" {
		return "", sallyport.E("read address", sallyport.Invalid, "neither http nor https", "")
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" && !(scheme == "https" && port == "443") && !(scheme == "http" && port == "80") {
		host += ":" + port
	}
	path := plainPath(u.EscapedPath())
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return "", sallyport.E("read address", sallyport.Invalid, "dots as a segment", "")
		}
	}
	return scheme + "://" + host + path, nil
}

// plainPath decodes what need not be encoded and writes the rest in upper case.
func plainPath(escaped string) string {
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != '%' || i+2 >= len(escaped) { // url.Parse let only whole triplets through
			b.WriteByte(escaped[i])
			continue
		}
		triplet := escaped[i : i+3]
		if c, err := url.PathUnescape(triplet); err == nil && strings.ContainsAny(c, unreserved) {
			b.WriteString(c)
		} else {
			b.WriteString(strings.ToUpper(triplet))
		}
		i += 2
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
