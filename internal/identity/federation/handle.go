package federation

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"io"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// A Hash is how a value that finds a row is kept.
type Hash = [sha256.Size]byte

// A handle is what a browser's cookie holds.
type handle [32]byte

func newHandle(random io.Reader) (handle, error) {
	var h handle
	if _, err := io.ReadFull(random, h[:]); err != nil {
		return h, sallyport.Wrap("sign in", sallyport.Unavailable, "no randomness", err)
	}
	return h, nil
}

func parseHandle(t secret.Text) (h handle, ok bool) {
	if t.Len() != base64.RawURLEncoding.EncodedLen(len(h)) {
		return h, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(h[:], []byte(t.Reveal()))
	return h, err == nil && n == len(h)
}

func (h handle) text() secret.Text {
	return secret.NewText(base64.RawURLEncoding.EncodeToString(h[:]))
}

// derive makes a value for one use, from which neither the handle nor another value follows.
func (h handle) derive(use string) string {
	mac := hmac.New(sha256.New, h[:])
	mac.Write([]byte("sallyport federation v1 " + use))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func hashText(s string) Hash { return sha256.Sum256([]byte(s)) }

func same(a, b string) bool { return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
