package device

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"strconv"
	"time"

	"sallyport"
	"sallyport/internal/identity/device/ca"
	"sallyport/internal/identity/device/tpm"
	"sallyport/internal/identity/jose"
	"sallyport/internal/web/api"
)

// A Start begins an enrolment. The caller has proved Owner.
type Start struct {
	Owner  sallyport.PrincipalID
	Name   string        // of a new device; a name as of any other thing
	Device string        // of the owner's device whose certificate has ended, "" for a new one
	TPM    *tpm.Evidence // nil for a key in software, and for a device that is there already
}

// A Challenge is what the client works on.
type Challenge struct {
	ID         string // of the enrolment, for Finish; good once
	Nonce      []byte
	Credential []byte // for the TPM to open, with Encrypted; nil without a TPM
	Encrypted  []byte
	Expires    time.Time
}

// A Proof ends an enrolment.
type Proof struct {
	Owner   sallyport.PrincipalID
	ID      string
	Request []byte    // certificate request (PKCS #10, RFC 2986, DER), signed by the device's key
	Signed  []byte    // the key's signature of api.ToSign
	Answer  []byte    // what the TPM found in the challenge
	Key     *tpm.Made // the TPM's word about the key; nil for a key in software
	Report  *Report   // of the device's state, may be nil
}

// An Enrolled device has a certificate.
type Enrolled struct {
	Device Device
	Chain  [][]byte // DER, the leaf first, without the root
}

// Begin begins an enrolment, or the renewal of a certificate that has ended.
func (s *Service) Begin(ctx context.Context, b Start) (Challenge, error) {
	now := s.now()
	e := Enrolment{Owner: b.Owner, Name: b.Name, Expires: now.Add(enrolFor)}
	if b.Device != "" {
		d, err := s.Get(ctx, b.Device, b.Owner)
		if err == nil && !d.Live() {
			err = missing()
		}
		if err != nil {
			return Challenge{}, err
		}
		e.Device, e.Name, b.TPM = d.ID, d.Name, nil
	} else if err := sallyport.CheckName("enrol device", b.Name); err != nil {
		return Challenge{}, err
	}
	id, err := s.newID(20)
	if err != nil {
		return Challenge{}, err
	}
	nonce, err := s.newID(20)
	if err != nil {
		return Challenge{}, err
	}
	c := Challenge{ID: id, Nonce: []byte(nonce), Expires: e.Expires}
	e.Hash, e.Nonce = sha256.Sum256([]byte(id)), c.Nonce
	if b.TPM != nil {
		t, err := s.TPM.Challenge(*b.TPM)
		if err != nil {
			return Challenge{}, err
		}
		e.AK, e.Secret, e.EK, e.Trusted = b.TPM.AK.Public, t.Secret, t.EK, t.Trusted
		c.Credential, c.Encrypted = t.Credential, t.Encrypted
	}
	return c, s.Store.Begin(ctx, e, maxOpen, now)
}

// Finish ends an enrolment with a certificate. An enrolment is good for one try, whatever comes of it.
func (s *Service) Finish(ctx context.Context, p Proof) (Enrolled, error) {
	e, err := s.Store.Take(ctx, sha256.Sum256([]byte(p.ID)))
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return Enrolled{}, err
	}
	if err != nil || e.Owner != p.Owner || !s.now().Before(e.Expires) {
		return Enrolled{}, sallyport.E("enrol device", sallyport.NotFound, "this enrolment is not yours, was used already or has ended", "begin again with 'sallyport device enroll'").Because("device.enrolment")
	}
	key, spki, err := s.proved(e, p)
	if err != nil {
		return Enrolled{}, err
	}
	level := Software
	if e.AK != nil {
		if err := inTPM(e, p, spki); err != nil {
			return Enrolled{}, err
		}
		if e.Trusted {
			level = Attested
		}
	}
	var reported Posture
	if p.Report != nil {
		if reported, err = s.judge(*p.Report, s.now()); err != nil {
			return Enrolled{}, err
		}
	}
	if e.Device != "" {
		return s.again(ctx, e, key, reported)
	}
	id, err := s.newID(10)
	if err != nil {
		return Enrolled{}, err
	}
	now := s.now()
	d := Device{ID: "DV-" + id, Owner: e.Owner, Name: e.Name, Class: Standard, Level: level, Keys: Keys{SPKI: ThumbprintSPKI(spki), JKT: jose.Thumbprint(key)},
		Hardware: e.EK, Posture: reported, State: Active, Created: now, Seen: now}
	return s.enrol(ctx, d, key)
}

// enrol records and adds a new device.
func (s *Service) enrol(ctx context.Context, d Device, key crypto.PublicKey) (Enrolled, error) {
	if _, err := s.one(ctx, Query{SPKI: d.Keys.SPKI}); err == nil {
		return Enrolled{}, sallyport.E("enrol device", sallyport.Conflict, "this key is enrolled already", "make a new one")
	} else if sallyport.KindOf(err) != sallyport.Unknown {
		return Enrolled{}, err
	}
	issued, err := s.issue(&d, key)
	if err != nil {
		return Enrolled{}, err
	}
	detail := map[string]string{"name": d.Name, "level": strconv.Itoa(int(d.Level)), "serial": d.Certificate.Serial, "key": "jkt:" + d.Keys.JKT}
	if d.Hardware != "" {
		detail["tpm"] = d.Hardware
	}
	if err := s.Note(ctx, sallyport.Event{Type: sallyport.EventDeviceEnrolled, Who: d.Owner, On: on(d.ID), Detail: detail}); err != nil {
		return Enrolled{}, err
	}
	return Enrolled{d, issued.Chain}, s.Store.Insert(ctx, d, maxDevices)
}

// proved checks that the request is well-formed and that the key in it has signed this enrolment.
func (s *Service) proved(e Enrolment, p Proof) (crypto.PublicKey, []byte, error) {
	const op = "enrol device"
	if len(p.Request) > maxRequest {
		return nil, nil, sallyport.E(op, sallyport.TooLarge, "the certificate request is over 8 KiB", "")
	}
	csr, err := x509.ParseCertificateRequest(p.Request)
	if err != nil {
		return nil, nil, sallyport.Wrap(op, sallyport.Invalid, "the certificate request cannot be read", err)
	}
	if err := ca.CheckKey(csr.PublicKey); err != nil {
		return nil, nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, nil, sallyport.Wrap(op, sallyport.Invalid, "the certificate request is not signed by its key", err)
	}
	digest, ok := api.ToSign(s.Server, e.Nonce, p.Request), false
	switch k := csr.PublicKey.(type) {
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(k, digest, p.Signed)
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(k, crypto.SHA256, digest, p.Signed) == nil
	}
	if !ok {
		return nil, nil, sallyport.E(op, sallyport.Invalid, "the key has not signed this enrolment", "begin again with 'sallyport device enroll'")
	}
	return csr.PublicKey, csr.RawSubjectPublicKeyInfo, nil
}

// inTPM checks that the key of the request is one that the challenged TPM keeps.
func inTPM(e Enrolment, p Proof, spki []byte) error {
	const op = "enrol device"
	if !tpm.Answered(p.Answer, e.Secret) {
		return sallyport.E(op, sallyport.Invalid, "the TPM's answer is wrong", "begin again with 'sallyport device enroll'").Because("device.activation")
	}
	if p.Key == nil {
		return sallyport.E(op, sallyport.Invalid, "the TPM's word about the key is missing", "")
	}
	key, err := tpm.Certified(e.AK, *p.Key, e.Nonce)
	if err != nil {
		return err
	}
	if !tpm.SameKey(spki, key) {
		return sallyport.E(op, sallyport.Invalid, "the certificate request is for another key than the TPM's", "").Because("device.otherkey")
	}
	return nil
}

// again gives a device that its owner has proved anew another certificate over the same key.
func (s *Service) again(ctx context.Context, e Enrolment, key crypto.PublicKey, reported Posture) (Enrolled, error) {
	d, err := s.Get(ctx, e.Device, e.Owner)
	if err != nil {
		return Enrolled{}, err
	}
	if d.Keys.JKT != jose.Thumbprint(key) {
		return Enrolled{}, sallyport.E("renew certificate", sallyport.Invalid, "the key is not this device's", "enrol it anew").Because("device.otherkey")
	}
	x, err := s.renew(ctx, d, key)
	if err == nil && !reported.At.IsZero() {
		x.Device, err = s.take(ctx, x.Device, reported)
	}
	return x, err
}

// Renew gives a device another certificate over the present one (DER), which the listener has verified: its life begins
// anew. It is refused within a minute of the last time.
func (s *Service) Renew(ctx context.Context, der []byte) (Enrolled, error) {
	d, err := s.ByCertificate(ctx, der)
	if err != nil {
		return Enrolled{}, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return Enrolled{}, unknown(ReasonUnknown)
	}
	return s.renew(ctx, d, c.PublicKey)
}

func (s *Service) renew(ctx context.Context, d Device, key crypto.PublicKey) (Enrolled, error) {
	fresh := d
	issued, err := s.issue(&fresh, key)
	if err != nil {
		return Enrolled{}, err
	}
	fit := func(d Device) error {
		switch {
		case !d.Live():
			return unknown(ReasonUnknown)
		case d.Certificate.Expires.Add(renewedAtMost).After(fresh.Certificate.Expires):
			return sallyport.E("renew certificate", sallyport.Busy, "it was renewed within the last minute", "use that one")
		}
		return nil
	}
	if err := fit(d); err != nil {
		return Enrolled{}, err
	}
	if err := s.Note(ctx, sallyport.Event{Type: sallyport.EventDeviceRenewed, Who: d.Owner, On: on(d.ID), Detail: map[string]string{"serial": fresh.Certificate.Serial}}); err != nil {
		return Enrolled{}, err
	}
	now := s.now()
	d, err = s.Store.Update(ctx, d.ID, func(d *Device) error {
		if err := fit(*d); err != nil {
			return err
		}
		d.Certificate, d.Seen = fresh.Certificate, now
		return nil
	})
	if err != nil {
		return Enrolled{}, err
	}
	return Enrolled{d, issued.Chain}, nil
}

// issue signs a certificate for a device and notes it in d.
func (s *Service) issue(d *Device, key crypto.PublicKey) (ca.Issued, error) {
	issued, err := s.CA.Issue(key, d.ID)
	if err != nil {
		return ca.Issued{}, err
	}
	d.Certificate = Certificate{Serial: Serial(issued.Leaf.SerialNumber), Expires: issued.Expires.UTC()}
	return issued, nil
}
