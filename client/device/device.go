// Package device owns this computer's enrolment at a server: making a key that does not leave it (in a TPM 2.0, or in a file
// that is bound to the computer), the certificate over it, renewing that in time, and saying what state the computer is in.
//
// It leaves signing in to client, and what an enrolled device may do to the server.
package device

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/identity/jose"
	"sallyport/internal/plumbing/posture"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/plumbing/tpmkey"
	"sallyport/internal/web/api"
)

// A Keeper keeps enrolments in a directory, one for each server.
type Keeper struct {
	Dir    string         // made with mode 0700 where it is missing
	System posture.System // this computer
	Now    func() time.Time
}

// An Enrolment says how to enrol.
type Enrolment struct {
	Name     string // of the device
	Software bool   // the key lies in a file, which the server holds for less
	TPM      string // path of the TPM; "" = the computer's own
}

// A Device is this computer as one server knows it: its key and its certificate. Close it when it is not used any more. It
// is safe for concurrent use.
type Device struct {
	keeper *Keeper
	signer crypto.Signer
	close  func() error

	mu   sync.Mutex
	kept kept
}

// Enrol makes a key, enrols this computer with it and keeps what came of it in the place of what was there. The client is
// signed in.
func (k *Keeper) Enrol(ctx context.Context, c *client.Client, e Enrolment) (*Device, api.Device, error) {
	if e.Software {
		return k.software(ctx, c, e)
	}
	t, err := tpmkey.Open(e.TPM)
	if err != nil {
		return nil, api.Device{}, err
	}
	d, out, err := k.hardware(ctx, c, e, t)
	if err != nil {
		return nil, out, errors.Join(err, t.Close())
	}
	return d, out, nil
}

func (k *Keeper) software(ctx context.Context, c *client.Client, e Enrolment) (*Device, api.Device, error) {
	const op = "enrol device"
	machine, err := k.machine(ctx)
	if err != nil {
		return nil, api.Device{}, err
	}
	challenge, err := c.BeginDevice(ctx, api.DeviceStart{Name: e.Name})
	if err != nil {
		return nil, api.Device{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, api.Device{}, sallyport.Wrap(op, sallyport.Other, "no key", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, api.Device{}, sallyport.Wrap(op, sallyport.Other, "encode", err)
	}
	proof, err := prove(c, challenge, key)
	if err != nil {
		return nil, api.Device{}, err
	}
	d := &Device{keeper: k, signer: key, close: func() error { return nil }, kept: kept{Key: base64.StdEncoding.EncodeToString(der), Machine: machine}}
	out, err := d.finish(ctx, c, proof)
	return d, out, err
}

func (k *Keeper) hardware(ctx context.Context, c *client.Client, e Enrolment, t *tpmkey.TPM) (*Device, api.Device, error) {
	candidate, err := t.Candidate()
	if err != nil {
		return nil, api.Device{}, err
	}
	challenge, err := c.BeginDevice(ctx, api.DeviceStart{Name: e.Name,
		TPM: &api.TPMEvidence{EK: candidate.EK, EKChain: candidate.EKChain, AK: api.TPMPart(candidate.AK)}})
	if err != nil {
		return nil, api.Device{}, errors.Join(err, candidate.Close())
	}
	answer, err := candidate.Answer(challenge.Credential, challenge.Encrypted)
	if err != nil {
		return nil, api.Device{}, errors.Join(err, candidate.Close())
	}
	key, part, err := candidate.NewKey(challenge.Nonce)
	if err = errors.Join(err, candidate.Close()); err != nil {
		return nil, api.Device{}, err
	}
	wrapped, err := key.Wrapped()
	if err != nil {
		return nil, api.Device{}, err
	}
	proof, err := prove(c, challenge, key)
	if err != nil {
		return nil, api.Device{}, err
	}
	made := api.TPMPart(part)
	proof.Answer, proof.Key = answer, &made
	d := &Device{keeper: k, signer: key, close: func() error { return errors.Join(key.Close(), t.Close()) }, kept: kept{Wrapped: wrapped, TPM: e.TPM}}
	out, err := d.finish(ctx, c, proof)
	return d, out, err
}

// prove signs what an enrolment asks for.
func prove(c *client.Client, challenge api.DeviceChallenge, key crypto.Signer) (api.DeviceProof, error) {
	const op = "enrol device"
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return api.DeviceProof{}, sallyport.Wrap(op, sallyport.Unavailable, "the key did not sign", err)
	}
	signed, err := key.Sign(rand.Reader, api.ToSign(c.Server(), challenge.Nonce, request), crypto.SHA256)
	if err != nil {
		return api.DeviceProof{}, sallyport.Wrap(op, sallyport.Unavailable, "the key did not sign", err)
	}
	return api.DeviceProof{ID: challenge.ID, Request: request, Signed: signed}, nil
}

// finish sends the proof and keeps what came back.
func (d *Device) finish(ctx context.Context, c *client.Client, p api.DeviceProof) (api.Device, error) {
	report := d.keeper.report(ctx)
	p.Report = &report
	out, err := c.FinishDevice(ctx, p)
	if err != nil {
		return out, errors.Join(err, d.close())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept.Server, d.kept.Name, d.kept.Level = c.Server(), out.Name, out.Level
	d.kept.take(out)
	return out, d.keeper.write(d.kept)
}

// report looks at this computer. What is not known is not good.
func (k *Keeper) report(ctx context.Context) api.PostureReport {
	r := k.System.Look(ctx)
	return api.PostureReport{Family: r.Family, Version: r.Version, Updated: r.Updated, Encrypted: r.Encrypted == posture.Yes, Locked: r.Locked == posture.Yes}
}

// machine is what a key in a file is bound to.
func (k *Keeper) machine(ctx context.Context) (string, error) {
	id := k.System.Machine(ctx)
	if id == "" {
		return "", sallyport.E("enrol device", sallyport.Invalid, "this computer has no name of its own to bind a key to", "use its TPM: sallyport device enroll --tpm PATH")
	}
	sum := sha256.Sum256([]byte("sallyport device " + id)) // the name itself is nobody's business
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// Open returns this computer's enrolment at a server, fs.ErrNotExist where there is none. A key that was copied from another
// computer is refused.
func (k *Keeper) Open(ctx context.Context, server string) (*Device, error) {
	kept, err := k.read(server)
	if err != nil {
		return nil, err
	}
	d := &Device{keeper: k, kept: kept, close: func() error { return nil }}
	if kept.Wrapped == nil {
		d.signer, err = k.fromFile(ctx, kept)
		return d, err
	}
	t, err := tpmkey.Open(kept.TPM)
	if err != nil {
		return nil, err
	}
	key, err := t.Load(kept.Wrapped)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	d.signer, d.close = key, func() error { return errors.Join(key.Close(), t.Close()) }
	return d, nil
}

func (k *Keeper) fromFile(ctx context.Context, kept kept) (crypto.Signer, error) {
	const op = "use device key"
	machine, err := k.machine(ctx)
	if err != nil {
		return nil, err
	}
	if machine != kept.Machine {
		return nil, sallyport.E(op, sallyport.Invalid, "this key belongs to another computer: the directory was copied",
			"remove "+k.path(kept.Server)+", sign in and enrol this computer: sallyport device enroll")
	}
	der, err := base64.StdEncoding.DecodeString(kept.Key)
	if err == nil {
		var key any
		if key, err = x509.ParsePKCS8PrivateKey(der); err == nil {
			if signer, ok := key.(crypto.Signer); ok {
				return signer, nil
			}
		}
	}
	return nil, sallyport.Wrap(op, sallyport.Invalid, k.path(kept.Server)+" is damaged", err)
}

// Close lets the key go.
func (d *Device) Close() error { return d.close() }

// ID is the device's id.
func (d *Device) ID() string { d.mu.Lock(); defer d.mu.Unlock(); return d.kept.ID }

// Expires is when the certificate ends.
func (d *Device) Expires() time.Time { d.mu.Lock(); defer d.mu.Unlock(); return d.kept.Expires }

// Key is the device's key, for client.NewKey.
func (d *Device) Key() crypto.Signer { return d.signer }

// Certificate is for client.Config: the certificate, or none where it has ended.
func (d *Device) Certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.keeper.Now().Before(d.kept.Expires) {
		return &tls.Certificate{}, nil
	}
	return &tls.Certificate{Certificate: d.kept.Chain, PrivateKey: d.signer}, nil
}

// PEM is the certificate with its chain and the key, for programs that read both from a file. Who has it is this device until the
// certificate ends, from any computer. It is there for a key in software only: one in a TPM cannot leave it.
func (d *Device) PEM() (secret.Bytes, error) {
	const op = "export device"
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.kept.Wrapped != nil:
		return secret.Bytes{}, sallyport.E(op, sallyport.Invalid, "the key is in the TPM and cannot leave it", "run the program with 'sallyport run', which shows the certificate for it")
	case !d.keeper.Now().Before(d.kept.Expires):
		return secret.Bytes{}, sallyport.E(op, sallyport.Invalid, "the certificate has ended", "renew it with 'sallyport device renew'")
	}
	key, err := base64.StdEncoding.DecodeString(d.kept.Key)
	if err != nil {
		return secret.Bytes{}, sallyport.Wrap(op, sallyport.Invalid, d.keeper.path(d.kept.Server)+" is damaged", err)
	}
	var out []byte
	for _, der := range d.kept.Chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return secret.NewBytes(append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)), nil
}

// Due reports whether a third of the certificate's life or less is left.
func (d *Device) Due() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.kept.due(d.keeper.Now())
}

// Renew renews the certificate and reports the computer's state, over the present certificate, which the client shows;
// where that has ended, as the person who is signed in. Another process may have been quicker: that is as good.
func (d *Device) Renew(ctx context.Context, c *client.Client) (api.Device, error) {
	if fresh, err := d.keeper.read(c.Server()); err == nil && d.adopt(fresh) {
		return api.Device{ID: fresh.ID, Name: fresh.Name, Level: fresh.Level, Expires: fresh.Expires}, nil
	}
	out, err := d.renew(ctx, c)
	if err != nil {
		return out, err
	}
	d.mu.Lock()
	d.kept.take(out)
	err = d.keeper.write(d.kept)
	d.mu.Unlock()
	if err != nil || out.Posture != nil && out.Posture.Age == 0 {
		return out, err
	}
	reported, err := d.Report(ctx, c)
	if err == nil {
		out.Posture = reported.Posture
	}
	return out, err
}

// adopt takes over a certificate that another process got.
func (d *Device) adopt(fresh kept) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if fresh.ID != d.kept.ID || !fresh.Expires.After(d.kept.Expires) || fresh.due(d.keeper.Now()) {
		return false
	}
	d.kept = fresh
	return true
}

func (d *Device) renew(ctx context.Context, c *client.Client) (api.Device, error) {
	if d.keeper.Now().Before(d.Expires()) {
		return c.RenewDevice(ctx)
	}
	challenge, err := c.BeginDevice(ctx, api.DeviceStart{Device: d.ID()})
	if err != nil {
		return api.Device{}, err
	}
	proof, err := prove(c, challenge, d.signer)
	if err != nil {
		return api.Device{}, err
	}
	report := d.keeper.report(ctx) // with the proof: connections of before show no certificate
	proof.Report = &report
	return c.FinishDevice(ctx, proof)
}

// Report says what state the computer is in.
func (d *Device) Report(ctx context.Context, c *client.Client) (api.Device, error) {
	signed, err := d.statement(c.Server(), d.keeper.report(ctx))
	if err != nil {
		return api.Device{}, err
	}
	return c.ReportPosture(ctx, api.SignedPosture{Signed: signed})
}

// statementLife is how long a signed report is good.
const statementLife = 2 * time.Minute

// statement is a report that the device's key has signed.
func (d *Device) statement(server string, r api.PostureReport) (string, error) {
	now := d.keeper.Now()
	signer := jose.Signer{Key: d.signer, Algorithm: jose.AlgorithmOf(d.signer.Public()), Rand: rand.Reader}
	signed, err := signer.Sign("posture+jwt", map[string]any{"iss": d.ID(), "aud": server, "iat": now.Unix(), "exp": now.Add(statementLife).Unix(),
		"jti": rand.Text(), "at": now.UnixMicro(), "posture": r})
	return signed.Reveal(), err
}

// keepEvery is how often Keep looks; reportEvery how often it reports what has not changed.
const (
	keepEvery   = time.Minute
	reportEvery = time.Hour
)

// Keep renews the certificate in time and reports the computer's state every hour, until ctx ends. What fails is logged and
// tried again.
func (d *Device) Keep(ctx context.Context, c *client.Client, logger *slog.Logger) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	reported := time.Time{}
	for ctx.Err() == nil {
		var err error
		switch now := d.keeper.Now(); {
		case d.Due():
			_, err = d.Renew(ctx, c)
		case now.Sub(reported) >= reportEvery:
			_, err = d.Report(ctx, c)
			reported = now
		}
		if err != nil && ctx.Err() == nil {
			logger.WarnContext(ctx, "the device's certificate or state could not be brought up to date", "expires", d.Expires(), "err", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// Enrolled reports whether there is an enrolment at a server.
func (k *Keeper) Enrolled(server string) bool {
	_, err := k.read(server)
	return !errors.Is(err, fs.ErrNotExist)
}
