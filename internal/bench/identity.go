package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/hold"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/role"
	"sallyport/internal/enforce/guard"
	identity "sallyport/internal/identity/caller"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/token/access"
	"sallyport/internal/identity/token/dpop"
	"sallyport/internal/plumbing/secret"
)

const (
	issuer = "https://sallyport.bench"
	asked  = "/vault/v1/acme/model/versions/main"
)

// identity measures the guard's first phase: who makes a call.
func (r *run) identity(ctx context.Context) error {
	g, err := newGatehouse(ctx)
	if err != nil {
		return err
	}
	bearer, err := g.issue("")
	if err != nil {
		return err
	}
	over, err := g.issue(g.certified)
	if err != nil {
		return err
	}
	bound, err := g.issue(g.thumbprint)
	if err != nil {
		return err
	}
	remembered := guard.Proof{Bearer: bearer, Audience: issuer + "/vault", IP: "192.0.2.7"}
	certified := remembered
	certified.Bearer, certified.Certificate = over, g.certificate
	all, err := turns(ctx, r.size.rounds, g.telling(r.size.decisions, remembered), g.telling(r.size.decisions, certified),
		g.proving(max(1, r.size.decisions/20), bound), g.first(max(1, r.size.decisions/20), bearer))
	if err != nil {
		return err
	}
	const group = "identity"
	r.add(figure(of(all[0], micros), "µs").atMost(5), group, "p50, a token that was verified before", "telling who calls by a bearer token: signature remembered, time, audience, revocation and account checked")
	r.add(figure(of(all[1], micros), "µs").atMost(5), group, "p50, with the certificate of a device", "the same for a token that is bound to the certificate of an enrolled device (mutual TLS)")
	r.add(figure(of(all[2], micros), "µs"), group, "p50, with a proof of possession", "the same for a token that is bound to a key, with a new DPoP proof in each call: one signature to verify and a replay to look for")
	r.add(figure(of(all[3], micros), "µs"), group, "p50, a token that was not seen before", "the signature of the token is verified; a minute later it is again")
	return nil
}

// A gatehouse is what tells who calls, without a store.
type gatehouse struct {
	keys        *jose.Set
	signer, own jose.Signer // of tokens; of the device
	proofs      *dpop.Proofs
	facts       *facts.Keeper
	caller      *identity.Service
	certificate []byte
	certified   string // the certificate as a token is bound to it
	thumbprint  string // the device's key, likewise
}

func newGatehouse(ctx context.Context) (*gatehouse, error) {
	g := &gatehouse{}
	secretKey := make([]byte, 32)
	if _, err := rand.Read(secretKey); err != nil {
		return nil, err
	}
	var err error
	if g.proofs, err = dpop.New(secret.NewBytes(secretKey), time.Now); err != nil {
		return nil, err
	}
	for _, s := range []*jose.Signer{&g.signer, &g.own} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		*s = jose.Signer{Key: key, Algorithm: jose.ES256, Rand: rand.Reader}
	}
	public, err := jose.NewKey("bench", jose.ES256, g.signer.Key.Public())
	if err != nil {
		return nil, err
	}
	g.signer.KeyID = "bench"
	if g.keys, err = jose.NewSet(public); err != nil {
		return nil, err
	}
	if err := g.know(ctx); err != nil {
		return nil, err
	}
	verify, err := g.verifier()
	if err != nil {
		return nil, err
	}
	g.caller = &identity.Service{Verify: verify, Prove: g.proofs.Check, Facts: g.facts, External: issuer, Record: func(context.Context, sallyport.Event) error { return nil }}
	return g, nil
}

type verify = func(context.Context, secret.Text, string, time.Time) (sallyport.Principal, error)

func (g *gatehouse) verifier() (verify, error) {
	v, err := access.NewVerifier(access.VerifierConfig{Issuer: issuer, Keys: func() *jose.Set { return g.keys }})
	if err != nil {
		return nil, err
	}
	return v.Verify, nil
}

// know makes the facts: one person with one device.
func (g *gatehouse) know(ctx context.Context) error {
	engine, err := cedar.Compile(cedar.NewWorkload(10, 1).Source)
	if err != nil {
		return err
	}
	d, err := g.enrol()
	if err != nil {
		return err
	}
	g.facts, err = facts.Open(ctx, facts.Sources{
		Directory: func(context.Context) (directory.Dump, error) {
			return directory.Dump{Members: []directory.Member{{ID: "user:ana", Person: "user:ana", State: directory.Active}}}, nil
		},
		Roles:   func(context.Context) (role.State, error) { return role.State{}, nil },
		Grants:  func(context.Context, time.Time) ([]grant.Grant, error) { return nil, nil },
		Holds:   func(context.Context) ([]hold.Hold, error) { return nil, nil },
		Catalog: func(context.Context) (catalog.Dump, error) { return catalog.Dump{}, nil },
		Revoked: func(context.Context, time.Time) ([]string, error) { return nil, nil },
		Devices: func(context.Context) ([]device.Device, error) { return []device.Device{d}, nil },
		Latest:  func(context.Context) (int64, error) { return 0, nil },
	}, engine, time.Now, quiet())
	return err
}

// enrol makes the device and its certificate.
func (g *gatehouse) enrol() (device.Device, error) {
	const id = "DV-bench"
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		URIs: []*url.URL{{Scheme: "spiffe", Host: "sallyport.bench", Path: "/device/" + id}}}
	var err error
	if g.certificate, err = x509.CreateCertificate(rand.Reader, template, template, g.own.Key.Public(), g.own.Key); err != nil {
		return device.Device{}, err
	}
	spki, err := x509.MarshalPKIXPublicKey(g.own.Key.Public())
	if err != nil {
		return device.Device{}, err
	}
	g.certified, g.thumbprint = "x5t:"+device.ThumbprintSPKI(g.certificate), "jkt:"+jose.Thumbprint(g.own.Key.Public()) // both are the SHA-256 of DER
	return device.Device{ID: id, Owner: "user:ana", Class: device.Standard, Level: device.Software, State: device.Active,
		Keys: device.Keys{SPKI: device.ThumbprintSPKI(spki), JKT: jose.Thumbprint(g.own.Key.Public())}}, nil
}

// issue signs a token of a size as they have, bound to a key or to none.
func (g *gatehouse) issue(key string) (secret.Text, error) {
	now := time.Now()
	return g.signer.Sign("at+jwt", access.Claims{Issuer: issuer, Subject: "user:ana", Audience: issuer + "/vault", Expires: now.Add(access.Lifetime).Unix(), Issued: now.Unix(),
		ID: "TK-bench" + key, Client: "sallyport-cli", Scope: "model.read model.pull model.infer", Level: "aal2", Methods: []string{"pwd", "otp"}, AuthTime: now.Unix(),
		Session: "S-bench", Family: "F-bench", Confirm: access.Confirm(key)})
}

// telling tells n times who makes the same call.
func (g *gatehouse) telling(n int, p guard.Proof) side {
	return g.timed(n, func(ctx context.Context, now time.Time) error {
		who, err := g.caller.Who(ctx, p, now)
		if err == nil {
			err = g.facts.Snapshot().Live(who, now)
		}
		return err
	}, nil)
}

// proving does the same with a new proof each time, which takes its maker's time and not ours.
func (g *gatehouse) proving(n int, token secret.Text) side {
	p := guard.Proof{Bearer: token, Scheme: "DPoP", Method: "GET", URL: asked, Audience: issuer + "/vault", IP: "192.0.2.7"}
	return g.timed(n, func(ctx context.Context, now time.Time) error {
		_, err := g.caller.Who(ctx, p, now)
		return err
	}, func() error {
		proof, err := g.own.SignProof(jose.ProofFor{Method: p.Method, URL: issuer + asked, Token: token, Nonce: g.proofs.Nonce(), Now: time.Now()})
		p.DPoP = []string{proof.Reveal()}
		return err
	})
}

// first does the same with a verifier that has seen nothing yet.
func (g *gatehouse) first(n int, token secret.Text) side {
	var v verify
	return g.timed(n, func(ctx context.Context, now time.Time) error {
		_, err := v(ctx, token, issuer+"/vault", now)
		return err
	}, func() (err error) {
		v, err = g.verifier()
		return err
	})
}

// timed times n calls of do, each after prepare.
func (g *gatehouse) timed(n int, do func(context.Context, time.Time) error, prepare func() error) side {
	times := make([]time.Duration, n)
	return func(ctx context.Context) (sample, error) {
		var sum time.Duration
		for i := range times {
			if prepare != nil {
				if err := prepare(); err != nil {
					return sample{}, err
				}
			}
			from := time.Now()
			if err := do(ctx, from); err != nil {
				return sample{}, fmt.Errorf("nobody is told: %w", err)
			}
			times[i] = time.Since(from)
			sum += times[i]
		}
		return sampled(slices.Clone(times), sum), nil
	}
}
