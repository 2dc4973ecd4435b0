// Package dpop owns what a server must remember to believe a proof of possession (DPoP, RFC 9449): the nonces that it
// gave out, and the proofs that it has seen.
//
// Nonces are kept by nobody: each is a minute and a code over it, and every node with the same key knows its own and the
// others'. Proofs that were seen are kept in memory, per node: a proof is good for a minute and bound to a nonce of the
// last three, so that is how long another node might be shown the same one.
//
// It leaves to others what a proof looks like (identity/jose) and what a key may do (identity/token).
package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/secret"
)

// How long a proof counts.
const (
	kept   = 2 * time.Minute // of a proof that was seen; longer than jose.ProofPast and jose.ProofFuture together
	nonces = 3               // minutes whose nonces are accepted, the current one included
	most   = 1 << 18         // proofs kept at once, in each of two generations: some 20 MB
)

// The reasons of errors, which are of kind Unknown. They begin, up to the first dot, with the code of RFC 9449.
const (
	ReasonNonce  = "use_dpop_nonce" // the answer carries Proofs.Nonce, and the client tries again
	ReasonProof  = "invalid_dpop_proof"
	ReasonReplay = "invalid_dpop_proof.replay" // the proof was seen before
)

// Proofs checks proofs of possession. It is safe for concurrent use.
type Proofs struct {
	key secret.Bytes
	now func() time.Time

	mu         sync.Mutex
	began      time.Time // of the young generation
	young, old map[[sha256.Size]byte]struct{}
	most       int
}

// New makes a checker. The key has 32 bytes or more and is the same on all nodes.
func New(key secret.Bytes, now func() time.Time) (*Proofs, error) {
	if key.Len() < 32 || now == nil {
		return nil, sallyport.E("set up proofs of possession", sallyport.Invalid, "a key of at least 32 bytes and a clock are needed", "")
	}
	return &Proofs{key: key, now: now, most: most}, nil
}

// Nonce returns the nonce that proofs made from now on carry (RFC 9449, section 8). It changes every minute and is
// good for two more.
func (p *Proofs) Nonce() string { return p.nonce(p.minute()) }

func (p *Proofs) minute() uint64 { return uint64(p.now().Unix() / 60) }

func (p *Proofs) nonce(minute uint64) string {
	at := binary.BigEndian.AppendUint64(nil, minute)
	mac := hmac.New(sha256.New, p.key.Reveal())
	mac.Write([]byte("dpop nonce\x00"))
	mac.Write(at)
	return base64.RawURLEncoding.EncodeToString(append(at[4:], mac.Sum(nil)[:16]...))
}

func (p *Proofs) fresh(nonce string) bool {
	good, now := false, p.minute()
	for i := range uint64(nonces) {
		good = hmac.Equal([]byte(nonce), []byte(p.nonce(now-i))) || good
	}
	return good
}

// Check verifies the proof of one request: headers are all values of its DPoP header, method and address are what was
// asked, the address built from the configured external URL, and access is the access token that was shown with it,
// zero where none was (at the token endpoint). It returns the key as in sallyport.Principal.Key, "jkt:…". No headers at
// all is no proof: then the key is "" and there is no error.
//
// Nothing is remembered of a proof that does not hold, so that nobody can use up somebody else's.
func (p *Proofs) Check(headers []string, method, address string, access secret.Text) (string, error) {
	if len(headers) == 0 {
		return "", nil
	}
	now := p.now()
	one, err := jose.VerifyProof(headers, jose.Request{Method: method, URL: address, Token: access, NoToken: access.IsZero(), Now: now})
	switch {
	case sallyport.KindOf(err) == sallyport.Unknown:
		return "", refuse(ReasonProof+"."+sallyport.ReasonOf(err), "the proof is not good for this request")
	case err != nil:
		return "", err
	case !p.fresh(one.Nonce):
		return "", refuse(ReasonNonce, "the proof needs the server's nonce of now")
	}
	if err := p.remember(sha256.Sum256([]byte(one.Thumbprint+"\x00"+one.ID)), now); err != nil {
		return "", err
	}
	return "jkt:" + one.Thumbprint, nil
}

// remember notes a proof, or refuses it because it is known. Each generation is kept for two minutes as the young one
// and for two more as the old one. When there is no room, nothing is believed: what cannot be remembered could be shown
// again.
func (p *Proofs) remember(id [sha256.Size]byte, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if age := now.Sub(p.began); age >= kept || p.young == nil {
		p.old = p.young
		if age >= 2*kept {
			p.old = nil
		}
		p.young, p.began = map[[sha256.Size]byte]struct{}{}, now
	}
	_, young := p.young[id]
	_, old := p.old[id]
	if young || old {
		return refuse(ReasonReplay, "the proof was used before")
	}
	if len(p.young) >= p.most {
		return sallyport.E("proof of possession", sallyport.Busy, "too many proofs at once", "try again in two minutes").Because("dpop.full")
	}
	p.young[id] = struct{}{}
	return nil
}

func refuse(reason, message string) error {
	return sallyport.E("proof of possession", sallyport.Unknown, message, "make a new proof for each request").Because(reason)
}
