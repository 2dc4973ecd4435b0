package server

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"

	"sallyport"
	"sallyport/internal/enforce/gateway/openai"
	"sallyport/internal/plumbing/httpsafe"
)

// upstreamIdle is how many idle connections are kept to one upstream.
const upstreamIdle = 256

// bindings turns the configured models into bindings, and says what their client
// may reach.
func (s *Server) bindings() ([]openai.Binding, reach, error) {
	upstreams := map[string]Upstream{}
	to := reach{}
	for _, u := range s.config.Upstreams {
		key, err := readSecret(u.KeyFile)
		if err != nil {
			return nil, nil, err
		}
		at, err := url.Parse(u.URL)
		if err != nil {
			return nil, nil, err
		}
		u.key = key
		upstreams[u.Name] = u
		to[at.Host] = httpsafe.Client(only(at), upstreamIdle).Transport
		if err := s.secure(to[at.Host], u); err != nil {
			return nil, nil, err
		}
	}
	var bindings []openai.Binding
	for _, m := range s.config.Models {
		ref, err := sallyport.ParseRef(m.Model)
		if err != nil {
			return nil, nil, err
		}
		u := upstreams[m.Upstream]
		at, err := url.Parse(u.URL)
		if err != nil {
			return nil, nil, err
		}
		bindings = append(bindings, openai.Binding{Ref: ref, URL: at, Model: m.Name, Key: u.key})
	}
	return bindings, to, nil
}

// A reach is the way to each configured upstream, by the host of its URL. There is
// no way to any other host.
type reach map[string]http.RoundTripper

func (to reach) client() *http.Client {
	return &http.Client{Transport: to, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// RoundTrip implements http.RoundTripper.
func (to reach) RoundTrip(r *http.Request) (*http.Response, error) {
	way, ok := to[r.URL.Host]
	if !ok {
		return nil, fmt.Errorf("%s is no configured upstream", r.URL.Host)
	}
	return way.RoundTrip(r)
}

// only lets a client connect to the address that u names and to no other. Of a
// host name the operator's resolver says what it means; its port stays.
func only(u *url.URL) func(netip.AddrPort) bool {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	want, err := netip.ParseAddr(u.Hostname())
	return func(a netip.AddrPort) bool {
		if fmt.Sprint(a.Port()) != port {
			return false
		}
		return err != nil && (u.Hostname() != "localhost" || a.Addr().IsLoopback()) || err == nil && a.Addr() == want.Unmap()
	}
}
