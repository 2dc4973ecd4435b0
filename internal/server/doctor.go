package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"sallyport"
)

// A LinkCheck is what was found about one listener or one way to an upstream.
type LinkCheck struct {
	Link    string `json:"link"`    // "listener", or "upstream NAME"
	Address string `json:"address"` // host and port, or URL
	Found   string `json:"found"`   // one sentence
	Good    bool   `json:"good"`
}

// doctorWait bounds one handshake.
const doctorWait = 5 * time.Second

// CheckTLS looks at every connection that a configuration makes or takes: which versions of TLS it speaks, whether its
// certificate can be verified, and where plaintext was permitted and why. It connects, and sends nothing.
func CheckTLS(ctx context.Context, config Config) ([]LinkCheck, error) {
	c, err := config.check()
	if err != nil {
		return nil, err
	}
	checks := []LinkCheck{c.checkListener(ctx)}
	for _, u := range c.Upstreams {
		checks = append(checks, checkUpstream(ctx, u))
	}
	return checks, nil
}

func (c Config) checkListener(ctx context.Context) LinkCheck {
	found := LinkCheck{Link: "listener", Address: c.Listen}
	if c.Plaintext {
		found.Found, found.Good = "plaintext, on this machine only, as \"plaintext\" asks for; for trials", false
		return found
	}
	roots := x509.NewCertPool()
	file := c.CertFile
	if file == "" {
		file = filepath.Join(c.Data, CAFile)
	}
	if pem, err := os.ReadFile(file); err != nil || !roots.AppendCertsFromPEM(pem) {
		found.Found = "its certificate " + file + " cannot be read; has the server been started?"
		return found
	}
	name := c.Listen
	if u, err := url.Parse(c.External); err == nil && u.Hostname() != "" {
		name = u.Host
	}
	host, _, err := net.SplitHostPort(name)
	if err != nil {
		host = name
	}
	for _, old := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		if _, err := handshake(ctx, c.Listen, &tls.Config{RootCAs: roots, ServerName: host, MinVersion: old, MaxVersion: old}); err == nil {
			found.Found = tls.VersionName(old) + " is spoken"
			return found
		}
	}
	state, err := handshake(ctx, c.Listen, &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12})
	return found.with(state, err)
}

// with completes a check by the outcome of a handshake.
func (l LinkCheck) with(state tls.ConnectionState, err error) LinkCheck {
	if err != nil {
		l.Found = reasonOf(err)
		return l
	}
	l.Good = true
	l.Found = fmt.Sprintf("%s, the certificate is good until %s", tls.VersionName(state.Version), state.PeerCertificates[0].NotAfter.UTC().Format("2006-01-02"))
	return l
}

// reasonOf is why a handshake failed, for people.
func reasonOf(err error) string {
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "its certificate is not trusted: " + sallyport.OneLine(bad.Err.Error())
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return "nobody answers there: " + sallyport.OneLine(err.Error())
	}
	return "no TLS connection: " + sallyport.OneLine(err.Error())
}

func checkUpstream(ctx context.Context, u Upstream) LinkCheck {
	found := LinkCheck{Link: "upstream " + u.Name, Address: u.URL}
	at, err := url.Parse(u.URL)
	if err != nil {
		found.Found = "its URL cannot be read"
		return found
	}
	switch {
	case at.Scheme == "http" && loopback(at.Hostname()):
		found.Found, found.Good = "plaintext, within this machine", true
		return found
	case at.Scheme == "http":
		found.Found, found.Good = "plaintext, waived: "+sallyport.OneLine(u.PlaintextBecause), true
		return found
	}
	address := at.Host
	if at.Port() == "" {
		address = net.JoinHostPort(at.Hostname(), "443")
	}
	state, err := handshake(ctx, address, &tls.Config{ServerName: at.Hostname(), MinVersion: tls.VersionTLS12})
	return found.with(state, err)
}

func handshake(ctx context.Context, address string, config *tls.Config) (tls.ConnectionState, error) {
	ctx, cancel := context.WithTimeout(ctx, doctorWait)
	defer cancel()
	dialer := tls.Dialer{Config: config}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return tls.ConnectionState{}, errors.New("the connection is not encrypted")
	}
	return secured.ConnectionState(), nil
}

// noteWaivers records which upstreams are reached in plaintext over a network, and why, at every start.
func (s *Server) noteWaivers(ctx context.Context) error {
	for _, u := range s.config.Upstreams {
		if u.PlaintextBecause == "" {
			continue
		}
		s.logger.WarnContext(ctx, "an upstream is reached in plaintext", "upstream", u.Name, "because", u.PlaintextBecause)
		if err := s.noteOnly(ctx, sallyport.Event{Type: sallyport.EventAlarm, Action: sallyport.SystemConfigure, On: "system",
			Detail: map[string]string{"what": "plaintext upstream", "upstream": u.Name, "why": sallyport.OneLine(u.PlaintextBecause)}}); err != nil {
			return err
		}
	}
	return nil
}
