package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"sallyport"
)

// UpstreamTLS says who an upstream is, and as whom it is called: one that requires our certificate (RFC 8446, section
// 4.3.2) refuses everybody who comes to it past the gateway.
type UpstreamTLS struct {
	CAFile string `yaml:"ca_file"` // PEM: authorities of the upstream's certificate; "" = the system's
	// Mutual presents a client certificate: of CertFile and CertKey, or, where these are empty, of our own authority,
	// whose certificate is the file ca.pem in the data directory. Both change without a restart.
	Mutual   bool   `yaml:"mutual_tls"`
	CertFile string `yaml:"cert_file"`
	CertKey  string `yaml:"cert_key_file"`
}

func (u UpstreamTLS) check(name, scheme string) error {
	const op = "configuration"
	switch {
	case u == UpstreamTLS{}:
		return nil
	case scheme != "https":
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the upstream %q has certificates and is not reached by https", name), "write https://")
	case (u.CertFile == "") != (u.CertKey == "") || u.CertFile != "" && !u.Mutual:
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("of the upstream %q, \"cert_file\", \"cert_key_file\" and \"mutual_tls\" go together", name), "")
	}
	return nil
}

// files are the paths in u.
func (u *UpstreamTLS) files() []*string { return []*string{&u.CAFile, &u.CertFile, &u.CertKey} }

// secure gives the way to an upstream its identities.
func (s *Server) secure(way http.RoundTripper, u Upstream) error {
	if u.TLS == (UpstreamTLS{}) {
		return nil
	}
	t, ok := way.(*http.Transport)
	if !ok {
		return errors.New("the way to an upstream has no TLS settings")
	}
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if path := u.TLS.CAFile; path != "" {
		pool, err := readPool(path)
		if err != nil {
			return err
		}
		t.TLSClientConfig.RootCAs = pool
	}
	if !u.TLS.Mutual {
		return nil
	}
	present, err := s.presented(u.TLS)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var last *tls.Certificate
	t.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c, err := present()
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		if last != nil && last != c {
			go t.CloseIdleConnections() // which were made as who we were
		}
		last = c
		return c, nil
	}
	return nil
}

// presented is the certificate that upstreams see, as it is now.
func (s *Server) presented(u UpstreamTLS) (func() (*tls.Certificate, error), error) {
	if u.CertFile == "" {
		ca, err := s.ownAuthority()
		if err != nil {
			return nil, err
		}
		return ca.client, nil
	}
	files := &certFiles[*tls.Certificate]{paths: []string{u.CertFile, u.CertKey}, read: func() (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(u.CertFile, u.CertKey)
		return &c, err
	}}
	_, err := files.get()
	return files.get, err
}

// ownAuthority is the authority of our own certificates, opened once.
func (s *Server) ownAuthority() (*authority, error) {
	if s.ca != nil {
		return s.ca, nil
	}
	var err error
	s.ca, err = openAuthority(s.box, s.config.Data, s.config.External, s.clock)
	return s.ca, err
}

// certFiles are certificates in files, read again when one has changed. What cannot be read then, because it is being
// written, leaves what was read before.
type certFiles[T any] struct {
	paths []string
	read  func() (T, error)

	mu     sync.Mutex
	stamps []stamp
	value  T
}

// A stamp tells one state of a file from another.
type stamp struct {
	at   time.Time
	size int64
}

func (f *certFiles[T]) get() (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := make([]stamp, len(f.paths))
	changed := len(f.stamps) == 0
	for i, p := range f.paths {
		info, err := os.Stat(p)
		if err == nil {
			now[i] = stamp{info.ModTime(), info.Size()}
		}
		changed = changed || now[i] != f.stamps[i]
	}
	if !changed {
		return f.value, nil
	}
	value, err := f.read()
	if err == nil {
		f.value, f.stamps = value, now
	} else if len(f.stamps) == 0 {
		return value, sallyport.Wrap("read certificates", sallyport.Invalid, fmt.Sprintf("the file %s cannot be used", f.paths[0]), err)
	}
	return f.value, nil
}

// readPool reads a PEM file of authorities.
func readPool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, sallyport.Wrap("read authorities", sallyport.Invalid, fmt.Sprintf("the file %s cannot be read", path), err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, sallyport.E("read authorities", sallyport.Invalid, fmt.Sprintf("the file %s holds no certificate", path), "give a PEM file")
	}
	return pool, nil
}
