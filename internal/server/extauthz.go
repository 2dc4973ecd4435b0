package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc"

	"sallyport"
	"sallyport/internal/enforce/extauthz"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/plumbing/httpsafe"
)

// ExtAuthz says which proxies may ask before they pass a request on. The zero value answers none.
type ExtAuthz struct {
	GRPC string `yaml:"grpc"` // address for Envoy, "127.0.0.1:9191"; "" = none
	HTTP string `yaml:"http"` // address for Envoy's HTTP service, nginx and Caddy; "" = none
	// ClientCA is a PEM file of the authorities that sign proxies' certificates. With it both listeners speak TLS and
	// require one; without it they are for loopback, and proxies have tokens. It may change while the server runs.
	ClientCA  string          `yaml:"client_ca"`
	Upstreams []MeshUpstream  `yaml:"upstreams"`
	Proxies   []ExternalProxy `yaml:"proxies"`
}

// A MeshUpstream is what proxies stand in front of.
type MeshUpstream struct {
	Name        string                `yaml:"name"`
	Speaks      string                `yaml:"speaks"`   // hfhub, openai or vault
	External    string                `yaml:"external"` // https://HOST[:PORT] by which clients call the proxy
	Prefix      string                `yaml:"prefix"`   // below which the dialect begins there: "/hf", or ""
	Environment sallyport.Environment `yaml:"environment"`
}

// An ExternalProxy is one that may ask.
type ExternalProxy struct {
	Name      string   `yaml:"name"`
	SAN       []string `yaml:"san"`        // of its certificate: URIs or DNS names
	TokenFile string   `yaml:"token_file"` // holds what it sends as X-Sallyport-Proxy
	Upstreams []string `yaml:"upstreams"`
}

func (e ExtAuthz) check() error {
	const op = "configuration"
	for _, address := range []string{e.GRPC, e.HTTP} {
		if address == "" {
			continue
		}
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return sallyport.Wrap(op, sallyport.Invalid, "\"extauthz\" has an address that is not HOST:PORT", err)
		}
		if e.ClientCA == "" && !loopback(host) {
			return sallyport.E(op, sallyport.Invalid, "\"extauthz\" without \"client_ca\" is for loopback only", "listen on 127.0.0.1, or name the authorities of the proxies' certificates")
		}
	}
	if e.GRPC == "" && e.HTTP == "" && (len(e.Proxies) > 0 || len(e.Upstreams) > 0) {
		return sallyport.E(op, sallyport.Invalid, "\"extauthz\" listens nowhere", "set \"grpc\" or \"http\"")
	}
	for _, p := range e.Proxies {
		if len(p.SAN) > 0 && e.ClientCA == "" {
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the proxy %q has a \"san\", and \"extauthz\" no \"client_ca\"", p.Name), "name the authorities, or give the proxy a \"token_file\"")
		}
	}
	for _, u := range e.Upstreams {
		if !slices.Contains([]string{"", string(sallyport.Development), string(sallyport.Staging), string(sallyport.Production)}, string(u.Environment)) {
			return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the upstream %q stands in no environment that there is", u.Name), "write development, staging or production")
		}
	}
	return nil
}

// below makes relative paths relative to dir.
func (e ExtAuthz) below(dir string) ExtAuthz {
	e.Proxies = slices.Clone(e.Proxies)
	files := []*string{&e.ClientCA}
	for i := range e.Proxies {
		files = append(files, &e.Proxies[i].TokenFile)
	}
	for _, p := range files {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	return e
}

// openExtAuthz answers proxies, where the configuration says so.
func (s *Server) openExtAuthz(ctx context.Context) error {
	e := s.config.ExtAuthz
	if e.GRPC == "" && e.HTTP == "" {
		return nil
	}
	service, err := s.extAuthz()
	if err != nil {
		return err
	}
	config, err := s.proxyTLS()
	if err != nil {
		return err
	}
	if err := s.serveEnvoy(ctx, service.GRPC(config), e.GRPC); err != nil {
		return err
	}
	return s.serveProxies(ctx, service.HTTP(), config.Clone()) // a server of net/http writes into its own
}

// serveEnvoy answers over gRPC.
func (s *Server) serveEnvoy(ctx context.Context, server *grpc.Server, address string) error {
	if address == "" {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	s.meshGRPC = l.Addr().String()
	s.running.Go(func() {
		if err := server.Serve(l); err != nil {
			s.logger.Error("the listener for Envoy ended", "err", err)
		}
	})
	s.ends = append(s.ends, func() { stopGRPC(server) })
	return nil
}

// serveProxies answers over HTTP.
func (s *Server) serveProxies(ctx context.Context, h http.Handler, config *tls.Config) error {
	if s.config.ExtAuthz.HTTP == "" {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.config.ExtAuthz.HTTP)
	if err != nil {
		return err
	}
	s.meshHTTP = l.Addr().String()
	server := httpsafe.Server(nil, config, s.logger)
	server.Handler = h // it reads fields of proxies, which httpsafe.Guard drops
	s.running.Go(func() {
		var err error
		if config == nil {
			err = server.Serve(l)
		} else {
			err = server.ServeTLS(l, "", "")
		}
		if !errors.Is(err, http.ErrServerClosed) {
			s.logger.Error("the listener for proxies ended", "err", err)
		}
	})
	s.ends = append(s.ends, func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopWait)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
	})
	return nil
}

// stopGRPC lets running answers end.
func stopGRPC(server *grpc.Server) {
	late := time.AfterFunc(stopWait, server.Stop)
	defer late.Stop()
	server.GracefulStop()
}

func (s *Server) extAuthz() (*extauthz.Service, error) {
	c := extauthz.Config{Guard: s.guard, Nonce: s.rooms.proofs.Nonce, Help: s.config.External, Logger: s.logger,
		Certified: func(ctx context.Context, chain []*x509.Certificate) error {
			_, err := s.certified(ctx, chain)
			return err
		}}
	for _, u := range s.config.ExtAuthz.Upstreams {
		up := extauthz.Upstream{Name: u.Name, Prefix: u.Prefix, Origin: u.External, Environment: u.Environment}
		for prefix, protocol := range s.dialects {
			if protocol.Name() == u.Speaks {
				up.Protocol, up.Audience = protocol, s.config.External+prefix
			}
		}
		c.Upstreams = append(c.Upstreams, up)
	}
	for _, p := range s.config.ExtAuthz.Proxies {
		token, err := readSecret(p.TokenFile)
		if err != nil {
			return nil, err
		}
		c.Proxies = append(c.Proxies, extauthz.Proxy{Name: p.Name, SAN: p.SAN, Token: token, Upstreams: p.Upstreams})
	}
	return extauthz.New(c)
}

// proxyTLS requires certificates of proxies, nil for loopback.
func (s *Server) proxyTLS() (*tls.Config, error) {
	path := s.config.ExtAuthz.ClientCA
	if path == "" {
		return nil, nil
	}
	base, err := s.serverTLS()
	if err != nil {
		return nil, err
	}
	authorities := &certFiles[*x509.CertPool]{paths: []string{path}, read: func() (*x509.CertPool, error) { return readPool(path) }}
	if _, err := authorities.get(); err != nil {
		return nil, err
	}
	base.ClientAuth, base.SessionTicketsDisabled = tls.RequireAndVerifyClientCert, true // each connection is judged by the authorities of now
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool, err := authorities.get()
		if err != nil {
			return nil, err
		}
		c := base.Clone()
		c.GetConfigForClient, c.ClientCAs = nil, pool
		return c, nil
	}
	base.ClientCAs = x509.NewCertPool()
	return base, nil
}

// ExtAuthz is where proxies ask, over gRPC and over HTTP; "" where they cannot.
func (s *Server) ExtAuthz() (grpc, http string) { return s.meshGRPC, s.meshHTTP }

// extAuthzCoverage is how much of what proxies can ask and say is understood. The routes themselves are the dialects'.
func extAuthzCoverage() gateway.Coverage {
	s := extauthz.Cover()
	return gateway.Coverage{Dialect: "extauthz", Upstream: s.Asked, Mapped: s.Mapped, Denied: s.Refused, Missing: s.Missing, Extra: s.Extra}
}
