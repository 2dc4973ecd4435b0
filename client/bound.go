package client

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/secret"
)

// A Key is the private key that a login is bound to: with it, each request carries a proof of possession (DPoP, RFC
// 9449), and without it the login's tokens are of no use. The private half may lie in hardware; it is asked to sign
// and never shown. It is safe for concurrent use where the signer is.
type Key struct {
	signer jose.Signer
	print  string

	mu    sync.Mutex
	nonce string // the last one that the server gave out
}

// NewKey makes a Key of a private key on the curve P-256, the one that every server and every TPM knows.
func NewKey(signer crypto.Signer) (*Key, error) {
	public := signer.Public()
	if jose.AlgorithmOf(public) != jose.ES256 {
		return nil, sallyport.E("use key", sallyport.Invalid, "the key is not on the curve P-256", "enrol this device anew")
	}
	return &Key{signer: jose.Signer{Key: signer, Algorithm: jose.ES256, Rand: rand.Reader}, print: jose.Thumbprint(public)}, nil
}

// Thumbprint names the key (RFC 7638, SHA-256, base64url).
func (k *Key) Thumbprint() string { return k.print }

// proof makes one proof for a request, and for an access token where one goes with it.
func (k *Key) proof(method, url string, access secret.Text, now time.Time) (secret.Text, error) {
	k.mu.Lock()
	nonce := k.nonce
	k.mu.Unlock()
	return k.signer.SignProof(jose.ProofFor{Method: method, URL: url, Token: access, Nonce: nonce, Now: now})
}

// learn keeps the nonce of an answer and reports whether the answer asks for the request once more with it (RFC 9449,
// sections 8 and 9). What counts is the nonce that was sent: of several requests that were under way with an old one, each
// is sent again, whichever learned the new one first.
func (k *Key) learn(sent *http.Request, answer *http.Response) bool {
	nonce := answer.Header.Get("DPoP-Nonce")
	if k == nil || nonce == "" || len(nonce) > 256 {
		return false
	}
	k.mu.Lock()
	k.nonce = nonce
	k.mu.Unlock()
	if sent == nil || sent.Header.Get("DPoP") == "" {
		return false // nothing would be sent otherwise
	}
	return nonce != nonceOf(sent.Header.Get("DPoP")) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusBadRequest)
}

// nonceOf is the nonce in a proof of our own, "" where there is none.
func nonceOf(proof string) string {
	_, rest, _ := strings.Cut(proof, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	var claims struct {
		Nonce string `json:"nonce"`
	}
	if err != nil || json.Unmarshal(text, &claims) != nil {
		return ""
	}
	return claims.Nonce
}

// authorize adds a token to a request, and the proof of the key where the client has one.
func (c *Client) authorize(q *http.Request, token secret.Text) error {
	scheme := "Bearer "
	if c.cfg.Key != nil {
		scheme = "DPoP "
		proof, err := c.cfg.Key.proof(q.Method, q.URL.String(), token, time.Now())
		if err != nil {
			return err
		}
		q.Header.Set("DPoP", proof.Reveal())
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
