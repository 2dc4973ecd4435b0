package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/device/ca"
	"sallyport/internal/identity/device/tpm"
	"sallyport/internal/plumbing/httpsafe"
)

// Devices says which devices are enrolled how. The zero value enrols devices, and takes none for attested.
type Devices struct {
	TrustDomain string      `yaml:"trust_domain"` // of device certificates; the host of External by default
	EKRoots     string      `yaml:"ek_roots"`     // PEM file: TPM manufacturers whose devices are attested; "" = none
	EKAllowed   []string    `yaml:"ek_allowed"`   // SHA-256 of endorsement keys that are attested by themselves, hexadecimal
	Patched     PatchedRule `yaml:"patched"`
	AdminLevel  int         `yaml:"admin_level"` // of a device for administration: 3 (attested) by default, or 2
	// Proxies are the ids of enrolled devices that may pass on the certificate of who called them (RFC 9440).
	Proxies []string `yaml:"mtls_proxies"`
}

// A PatchedRule says when a system counts as patched.
type PatchedRule struct {
	MaxAge  time.Duration     `yaml:"max_age"` // since its last update; 45 days by default
	Minimum map[string]string `yaml:"minimum"` // version by family: linux, macos, windows
}

const (
	patchedFor = 45 * 24 * time.Hour
	maxRoots   = 4 << 20 // bytes of the file of manufacturers
)

// check fills in what is left out and refuses what cannot be meant.
func (d Devices) check(external string) (Devices, error) {
	const op = "configuration"
	if d.TrustDomain == "" {
		d.TrustDomain = trustDomain(external)
	}
	if d.Patched.MaxAge == 0 {
		d.Patched.MaxAge = patchedFor
	}
	if d.AdminLevel == 0 {
		d.AdminLevel = int(device.Attested)
	}
	if d.AdminLevel != int(device.Attested) && d.AdminLevel != int(device.Software) || d.Patched.MaxAge < 0 {
		return d, sallyport.E(op, sallyport.Invalid, "\"devices.admin_level\" is 2 or 3, and \"devices.patched.max_age\" is a time such as 720h", "")
	}
	for family := range d.Patched.Minimum {
		if !slices.Contains([]string{"linux", "macos", "windows"}, family) {
			return d, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("\"devices.patched.minimum\" names the family %q", family), "use linux, macos or windows")
		}
	}
	hash := regexp.MustCompile(`^[0-9a-f]{64}$`)
	for _, ek := range d.EKAllowed {
		if !hash.MatchString(ek) {
			return d, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("\"devices.ek_allowed\" has %q", sallyport.OneLine(ek)), "write the SHA-256 of an endorsement key, as the enrolment records it")
		}
	}
	return d, nil
}

// trustDomain is the host of a URL, or "localhost" where that is an address: certificates name a DNS name.
func trustDomain(external string) string {
	u, err := url.Parse(external)
	if err != nil || u.Hostname() == "" {
		return "localhost"
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return "localhost"
	}
	return u.Hostname()
}

func (s *Server) openDevices(ctx context.Context) error {
	config, err := s.config.Devices.check(s.config.External)
	if err != nil {
		return err
	}
	roots, err := readRoots(config.EKRoots)
	if err != nil {
		return err
	}
	authority, err := ca.Open(ctx, ca.Config{Store: s.db.DeviceAuthority(), Domain: config.TrustDomain, Now: s.clock, Random: rand.Reader,
		Seal: func(p, a []byte) ([]byte, error) { return s.box.seal(p, label(string(a))), nil },
		Open: func(c, a []byte) ([]byte, error) { return s.box.open(c, label(string(a))) }})
	if err != nil {
		return err
	}
	s.rooms.devices = &device.Service{Store: s.db.Device(), CA: authority, Server: s.config.External, Now: s.clock, Random: rand.Reader, Note: s.noteOnly,
		TPM:  &tpm.Verifier{Roots: roots, Allowed: config.EKAllowed, Random: rand.Reader, Now: s.clock},
		Rule: device.Rule{MaxAge: config.Patched.MaxAge, Minimum: config.Patched.Minimum}, Admin: device.Level(config.AdminLevel), Person: s.rooms.person}
	return nil
}

func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxRoots {
		err = errors.New("the file is over 4 MiB")
	}
	if err != nil {
		return nil, sallyport.Wrap("read TPM manufacturers", sallyport.Invalid, fmt.Sprintf("the file %s cannot be read", path), err)
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, sallyport.Wrap("read TPM manufacturers", sallyport.Invalid, fmt.Sprintf("the file %s cannot be read", path), err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, sallyport.E("read TPM manufacturers", sallyport.Invalid, fmt.Sprintf("the file %s holds no certificate", path), "give a PEM file")
	}
	return pool, nil
}

// askForCertificates has a listener ask for a client certificate and take none but those of enrolled devices. A client
// without one is served too. What the stack itself checks it checks on full handshakes only: VerifyConnection is called for
// resumed sessions as well, and is where everything is checked.
func (s *Server) askForCertificates(c *tls.Config) *tls.Config {
	c.ClientAuth = tls.RequestClientCert
	c.ClientCAs, _ = s.rooms.devices.CA.Roots() // a hint, so that browsers do not ask; its name stays over rotations
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), handshakeWait)
		defer cancel()
		_, err := s.certified(ctx, state.PeerCertificates)
		return err
	}
	return c
}

// handshakeWait bounds what a handshake may wait for the store.
const handshakeWait = 5 * time.Second

// certified returns the enrolled device of a client's certificates.
func (s *Server) certified(ctx context.Context, chain []*x509.Certificate) (device.Device, error) {
	if _, err := s.rooms.devices.CA.Verify(ctx, chain); err != nil {
		return device.Device{}, err
	}
	return s.enrolledDevice(ctx, chain[0])
}

// enrolledDevice returns the live device of a verified certificate: from memory, or, where it is not known there yet, from
// the store.
func (s *Server) enrolledDevice(ctx context.Context, c *x509.Certificate) (device.Device, error) {
	if d, ok := s.facts.Snapshot().Devices().ByCertificate(c); ok && !s.clock().After(c.NotAfter) {
		return d, nil
	}
	return s.rooms.devices.ByCertificate(ctx, c.Raw)
}

// certificates judges the client's certificate again at every request: a connection may live longer than the device's
// enrolment. Behind it, the certificate of a request's connection is that of an enrolled device.
type certificates struct {
	server  *Server
	next    http.Handler
	proxies []string // ids of devices that speak for others
	logger  *slog.Logger
}

// ServeHTTP serves one request.
func (h *certificates) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	passed := httpsafe.ClientCertificateHeaders(r.Header)
	if len(passed) == 0 && httpsafe.PeerCertificate(r) == nil {
		h.next.ServeHTTP(w, r)
		return
	}
	state, err := h.judge(r, passed)
	if err == nil && r.TLS != nil {
		r = r.WithContext(r.Context()) // the connection's state is every request's: this one gets its own
		r.TLS = &state
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	h.next.ServeHTTP(w, r)
}

// judge returns the state of the connection with the certificate of whoever called: the peer's, or the one that a proxy
// passes on.
func (h *certificates) judge(r *http.Request, passed []string) (tls.ConnectionState, error) {
	var state tls.ConnectionState
	if r.TLS != nil {
		state = *r.TLS
	}
	proxy := false
	if len(state.PeerCertificates) > 0 {
		d, err := h.server.enrolledDevice(r.Context(), state.PeerCertificates[0])
		if err != nil {
			return state, err
		}
		proxy = slices.Contains(h.proxies, d.ID)
	}
	if !proxy {
		if len(passed) == 0 {
			return state, nil
		}
		return state, h.ignored(r, passed)
	}
	state.PeerCertificates = nil // the proxy's own speaks for nobody else
	shown, err := httpsafe.ClientCertificate(r.Header)
	if err != nil || shown == nil {
		return state, err
	}
	if _, err := h.server.certified(r.Context(), []*x509.Certificate{shown}); err != nil {
		return state, err
	}
	state.PeerCertificates = []*x509.Certificate{shown}
	return state, nil
}

// ignored records that a peer which may not do so named a client certificate, and takes the names away.
func (h *certificates) ignored(r *http.Request, names []string) error {
	for _, name := range names {
		r.Header.Del(name)
	}
	_, err := h.server.note(r.Context(), sallyport.Event{Type: sallyport.EventFinding, On: sallyport.OneLine(r.URL.EscapedPath()), Reasons: []string{"header.certificate"},
		Asked: &sallyport.Asked{IP: httpsafe.PeerIP(r)}, Detail: map[string]string{"what": "a client certificate in a header from a peer that may not pass one on; ignored", "header": sallyport.OneLine(names[0])}})
	return err
}

// refuse records and answers a request over a certificate that does not count any more.
func (h *certificates) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if sallyport.KindOf(err) == sallyport.Unknown {
		_, rerr := h.server.note(r.Context(), sallyport.Event{Type: sallyport.EventRefused, On: sallyport.OneLine(r.URL.EscapedPath()), Reasons: []string{sallyport.ReasonOf(err)},
			Asked: &sallyport.Asked{IP: httpsafe.PeerIP(r)}})
		if rerr != nil {
			err = rerr
		}
	}
	if httpsafe.Status(err) >= http.StatusInternalServerError {
		h.logger.ErrorContext(r.Context(), "judging a client certificate", "err", err)
	}
	w.Header().Set("Connection", "close")
	http.Error(w, "sallyport: "+sallyport.PublicText(err), httpsafe.Status(err))
}

// deviceOf is the enrolled device whose certificate a request came with, "" where there is none: a certificate that says
// nothing about the device is no reason to keep its person out.
func (s *Server) deviceOf(r *http.Request) string {
	der := httpsafe.PeerCertificate(r)
	if der == nil {
		return ""
	}
	d, err := s.rooms.devices.ByCertificate(r.Context(), der)
	if err != nil {
		return ""
	}
	return d.ID
}
