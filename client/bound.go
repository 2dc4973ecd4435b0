package client

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// A Key is the private key that a login is bound to: with it, each request carries a proof of possession (DPoP, RFC
// 9449), and without it the login's tokens are of no use. The private half may lie in hardware; it is asked to sign
// and never shown. It is safe for concurrent use.
type Key struct {
	signer crypto.Signer
	public jwk
	print  string

	mu    sync.Mutex
	nonce string // the last one that the server gave out
}

// jwk is the public key (RFC 7518, section 6.2). Its members stand in the order that RFC 7638 wants.
type jwk struct {
	Curve string `json:"crv"`
	Type  string `json:"kty"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// NewKey makes a Key of a private key on the curve P-256, the one that every server and every TPM knows.
func NewKey(signer crypto.Signer) (*Key, error) {
	const op = "use key"
	public, ok := signer.Public().(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, sallyport.E(op, sallyport.Invalid, "the key is not on the curve P-256", "enrol this device anew")
	}
	point, err := public.Bytes() // 4, X, Y (SEC 1, section 2.3.3)
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "the key has no public half", err)
	}
	k := &Key{signer: signer, public: jwk{Curve: "P-256", Type: "EC",
		X: base64.RawURLEncoding.EncodeToString(point[1:33]), Y: base64.RawURLEncoding.EncodeToString(point[33:])}}
	text, err := json.Marshal(k.public)
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Other, "encode", err)
	}
	sum := sha256.Sum256(text)
	k.print = base64.RawURLEncoding.EncodeToString(sum[:])
	return k, nil
}

// Thumbprint names the key (RFC 7638, SHA-256, base64url).
func (k *Key) Thumbprint() string { return k.print }

// proof makes one DPoP proof (RFC 9449, section 4.2) for a request without its query, and for an access token where
// one goes with it.
func (k *Key) proof(method, url string, access secret.Text, now time.Time) (string, error) {
	claims := map[string]any{"jti": random(), "htm": method, "htu": url, "iat": now.Unix()}
	if !access.IsZero() {
		sum := sha256.Sum256([]byte(access.Reveal()))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	k.mu.Lock()
	if k.nonce != "" {
		claims["nonce"] = k.nonce
	}
	k.mu.Unlock()
	header, err := json.Marshal(map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": k.public})
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	sum := sha256.Sum256([]byte(text))
	der, err := k.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return "", sallyport.Wrap("sign proof", sallyport.Unavailable, "the key of this login cannot sign", err)
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &rs); err != nil || rs.R.Sign() <= 0 || rs.S.Sign() <= 0 || rs.R.BitLen() > 256 || rs.S.BitLen() > 256 {
		return "", sallyport.E("sign proof", sallyport.Unavailable, "the key gave no signature", "")
	}
	var raw [64]byte // JWS wants both halves in full width (RFC 7518, section 3.4)
	rs.R.FillBytes(raw[:32])
	rs.S.FillBytes(raw[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(raw[:]), nil
}

// learn keeps the nonce of an answer and reports whether the answer asks for the request once more with it (RFC 9449,
// sections 8 and 9).
func (k *Key) learn(answer *http.Response) bool {
	nonce := answer.Header.Get("DPoP-Nonce")
	if k == nil || nonce == "" || len(nonce) > 256 {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	changed := nonce != k.nonce
	k.nonce = nonce
	return changed && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusBadRequest)
}

// authorize adds a token to a request, and the proof of the key where the client has one.
func (c *Client) authorize(q *http.Request, token secret.Text) error {
	scheme := "Bearer "
	if c.cfg.Key != nil {
		scheme = "DPoP "
		bare := *q.URL
		bare.RawQuery, bare.Fragment = "", ""
		proof, err := c.cfg.Key.proof(q.Method, bare.String(), token, time.Now())
		if err != nil {
			return err
		}
		q.Header.Set("DPoP", proof)
	}
	if !token.IsZero() {
		q.Header.Set("Authorization", scheme+token.Reveal())
	}
	return nil
}

// keyFile is the login's own key, beside the credentials, where no enrolled device has a better one.
const keyFile = "binding.key"

// Key returns the key that logins are bound to where no enrolled device has one, and makes it when create is set: a
// file that only its owner may read, fs.ErrNotExist where there is none.
func (s *Store) Key(ctx context.Context, create bool) (*Key, error) {
	const op = "read binding key"
	name := filepath.Join(s.Dir, keyFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && create {
		return s.makeKey(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o077 != 0 && !windows() {
		return nil, sallyport.E(op, sallyport.Invalid, name+" may be read by others", "remove it and sign in again")
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, sallyport.E(op, sallyport.Invalid, name+" is damaged", "remove it and sign in again")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, sallyport.E(op, sallyport.Invalid, name+" is damaged", "remove it and sign in again")
	}
	return NewKey(signer)
}

func (s *Store) makeKey(ctx context.Context, name string) (*Key, error) {
	const op = "make binding key"
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Other, "no key", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Other, "encode", err)
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, sallyport.Wrap(op, sallyport.Unavailable, s.Dir, err)
	}
	free, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer free()
	if _, err := os.Stat(name); err == nil { // somebody was quicker
		return s.Key(ctx, false)
	}
	if err := replace(s.Dir, name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return nil, sallyport.Wrap(op, sallyport.Unavailable, name, err)
	}
	return NewKey(private)
}
