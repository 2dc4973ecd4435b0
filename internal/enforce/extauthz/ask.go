package extauthz

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"sallyport"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/plumbing/httpsafe"
)

// A Request is what a proxy says of a request that it holds back.
type Request struct {
	Upstream    string // whom it is for
	Protocol    string // the dialect that the proxy takes it for; "" = it does not say
	Environment string // as the proxy is set up; "" = it does not say
	Method      string
	URI         string // path and query, as the client sent them
	Host        string // as the client named it
	Header      http.Header
	IP          string            // of the client
	Certificate *x509.Certificate // of the client's connection to the proxy; nil where there is none
	Body        []byte
	Whole       bool // Body is all of the body
}

// A Verdict is what a proxy is told. Header and Body of a refusal are for the client; Header of a permission is for the
// upstream.
type Verdict struct {
	Allow    bool
	Status   int // 200 only with Allow
	Header   http.Header
	Body     []byte
	Remove   []string    // with Allow: fields of the client's that must not reach the upstream
	Reply    http.Header // with Allow: fields for the client, on the upstream's answer
	Decision string
}

// The fields that a permission adds to the request.
const (
	DecisionHeader = "X-Sallyport-Decision" // id of the decision
	UserHeader     = "X-Sallyport-User"     // the principal's id
	ActorHeader    = "X-Sallyport-Actor"    // who acts on the principal's behalf, the present one first
	ActionHeader   = "X-Sallyport-Action"   // what was decided on
	ResourceHeader = "X-Sallyport-Resource" // its pinned name: the version that may be served
	DigestHeader   = "X-Sallyport-Digest"   // the version's manifest, SHA-256

	answerHeader = "Sallyport-Decision" // on answers to the client
)

// handedOver is the end of a permit whose effect is somebody else's.
const handedOver = "handed over"

// Ask answers one question of a proxy. Whatever goes wrong, the verdict is no: a proxy that is told of an error may be
// set up to let requests pass.
func (s *Service) Ask(ctx context.Context, peer Peer, q Request) (v Verdict) {
	defer func() {
		if p := recover(); p != nil {
			s.config.Logger.Error("answering a proxy panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			v = s.refuse(ctx, sallyport.E("ask", sallyport.Other, "the question could not be answered", ""))
		}
	}()
	w, err := s.find(peer, q.Upstream)
	if err != nil {
		return s.stranger(ctx, peer, q, err)
	}
	r, err := s.request(ctx, w, q)
	if err != nil {
		odd := &http.Request{Method: q.Method, URL: &url.URL{Path: sallyport.OneLine(q.URI)}, RemoteAddr: remote(q.IP)}
		if rerr := s.odd(ctx, w, odd); rerr != nil {
			err = rerr
		}
		return s.refuse(ctx, err)
	}
	a := &answer{header: http.Header{}}
	w.handler.ServeHTTP(a, r)
	return a.verdict(q.Header)
}

// stranger records and refuses a question of a proxy that may not ask it.
func (s *Service) stranger(ctx context.Context, peer Peer, q Request, cause error) Verdict {
	_, err := s.config.Guard.Note(ctx, sallyport.Event{Type: sallyport.EventRefused, Reasons: []string{sallyport.ReasonOf(cause)},
		Asked: &sallyport.Asked{Door: "extauthz", IP: peer.IP}, Detail: map[string]string{"upstream": sallyport.OneLine(q.Upstream), "client": sallyport.OneLine(q.IP)}})
	if err != nil {
		return s.refuse(ctx, err)
	}
	v := s.refuse(ctx, cause)
	v.Status = http.StatusForbidden // the client's credentials are not what is missing
	return v
}

// odd records a request with more than one reading.
func (s *Service) odd(ctx context.Context, w *way, r *http.Request) error {
	_, err := s.config.Guard.Unmapped(ctx, guard.Call{Door: w.name, IP: httpsafe.PeerIP(r)}, r.Method, r.URL.EscapedPath())
	return err
}

// refuse is a refusal without a dialect.
func (s *Service) refuse(ctx context.Context, err error) Verdict {
	status := httpsafe.Status(err)
	if status == http.StatusInternalServerError {
		s.config.Logger.ErrorContext(ctx, "a proxy's question failed", "err", err)
	}
	return Verdict{Status: status, Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, Body: []byte("sallyport: " + sallyport.PublicText(err) + "\n")}
}

// request makes the request that the gateway would have seen.
func (s *Service) request(ctx context.Context, w *way, q Request) (*http.Request, error) {
	if err := w.agrees(q); err != nil {
		return nil, err
	}
	u, err := readURI(q.URI)
	if err != nil {
		return nil, err
	}
	for name := range q.Header {
		if httpsafe.Redirects(name) {
			return nil, ambiguous("a field of the request asks for something else than its first line")
		}
	}
	r := &http.Request{Method: q.Method, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Host: q.Host, RemoteAddr: remote(q.IP), RequestURI: q.URI}
	for name, values := range q.Header {
		if !strings.EqualFold(name, TokenHeader) {
			name = http.CanonicalHeaderKey(name)
			r.Header[name] = append(r.Header[name], values...)
		}
	}
	if err := s.setBody(r, q); err != nil {
		return nil, err
	}
	if q.Certificate != nil && s.config.Certified != nil && s.config.Certified(ctx, []*x509.Certificate{q.Certificate}) == nil {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{q.Certificate}}
	}
	return r.WithContext(ctx), nil
}

// setBody gives r the body that came along. One that is not there whole cannot be read.
func (s *Service) setBody(r *http.Request, q Request) error {
	lengths := r.Header["Content-Length"]
	if len(lengths) > 1 {
		return ambiguous("the body has two lengths")
	}
	whole := q.Whole && len(q.Body) > 0
	none := len(q.Body) == 0 && (r.Method == http.MethodGet || r.Method == http.MethodHead) && len(r.Header["Transfer-Encoding"]) == 0
	if len(lengths) == 1 {
		n, err := strconv.ParseInt(lengths[0], 10, 64)
		if err != nil || n < 0 {
			return ambiguous("the body's length is no number")
		}
		whole, none = whole && n == int64(len(q.Body)), n == 0 && len(q.Body) == 0
	}
	switch {
	case none:
		r.Body = http.NoBody
	case whole:
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(q.Body)), int64(len(q.Body))
	default:
		r.Body, r.ContentLength = &gateway.NotSent{}, -1
	}
	return nil
}

// agrees refuses what the proxy is set up for otherwise than here.
func (w *way) agrees(q Request) error {
	const hint = "set the proxy up as \"extauthz.upstreams\" says"
	switch {
	case q.Protocol != "" && q.Protocol != w.Protocol.Name():
		return sallyport.E("ask", sallyport.Invalid, "the proxy takes the upstream for another dialect", hint).Because("proxy.protocol")
	case q.Environment != "" && q.Environment != string(w.Environment):
		return sallyport.E("ask", sallyport.Invalid, "the proxy takes the upstream for another environment", hint).Because("proxy.environment")
	case !sameHost(w.Origin, q.Host):
		return sallyport.E("ask", sallyport.Invalid, "the request is for another host", hint).Because("proxy.host")
	}
	return nil
}

// sameHost reports whether a request's host is that of an origin; the scheme's own port may be left out.
func sameHost(origin, host string) bool {
	o, err := url.Parse(origin)
	if err != nil {
		return false
	}
	port := map[string]string{"http": ":80", "https": ":443"}[o.Scheme]
	return strings.EqualFold(strings.TrimSuffix(o.Host, port), strings.TrimSuffix(host, port))
}

const maxURI = 8 << 10

// readURI reads a request's target in origin form (RFC 9112, section 3.2.1). Beside what httpsafe.Segments refuses it
// takes no encoded slash and no byte outside ASCII: proxies and upstreams read those differently.
func readURI(uri string) (*url.URL, error) {
	path, _, _ := strings.Cut(uri, "?")
	lower := strings.ToLower(path)
	if len(uri) > maxURI || !strings.HasPrefix(uri, "/") || strings.Contains(lower, "%2f") || strings.Contains(lower, "%5c") || strings.Contains(uri, "#") {
		return nil, ambiguous("the path has more than one reading")
	}
	if strings.ContainsFunc(uri, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return nil, ambiguous("the path holds bytes that must be encoded")
	}
	if _, err := httpsafe.Segments(path); err != nil {
		return nil, err
	}
	u, err := url.ParseRequestURI(uri)
	if err != nil || u.Host != "" || u.EscapedPath() != path {
		return nil, ambiguous("the path has more than one reading")
	}
	return u, nil
}

func ambiguous(message string) error {
	return sallyport.E("read request", sallyport.Invalid, message, "write each segment once, without '..', '//', ';', '%2F' or a backslash")
}

// remote is an address as net/http has it, "" where there is none.
func remote(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	return net.JoinHostPort(a.Unmap().WithZone("").String(), "0")
}

// An answer takes what the gateway answers. Only handOver makes it a permission.
type answer struct {
	header    http.Header
	status    int
	body      bytes.Buffer
	permitted bool
	reply     http.Header // for the client, when permitted
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// handOver ends a permit and says so to the proxy: from here on the effect is the upstream's, and nobody here sees how
// it ends. It is recorded before the proxy hears of it.
func handOver(w http.ResponseWriter, p *guard.Permit) error {
	a, ok := w.(*answer)
	if !ok {
		return errors.New("the answer is to nobody who asked")
	}
	who, x, action := p.Who(), p.Resource(), p.Action()
	if err := p.Done(sallyport.Delivered{End: handedOver}); err != nil {
		return err
	}
	if cut, ok := guard.AsCut(p.Context()); ok { // before it was done
		return cut
	}
	actors := make([]string, len(who.Actors))
	for i, id := range who.Actors {
		actors[i] = string(id)
	}
	a.reply = http.Header{answerHeader: {p.ID()}}
	if nonce := a.header.Values("DPoP-Nonce"); len(nonce) > 0 {
		a.reply["Dpop-Nonce"] = nonce
	}
	a.header = http.Header{DecisionHeader: {p.ID()}, UserHeader: {string(who.ID)}, ActorHeader: {strings.Join(actors, " ")},
		ActionHeader: {string(action)}, ResourceHeader: {x.String()}, DigestHeader: {x.Digest}}
	a.permitted, a.status = true, http.StatusOK
	return nil
}

// verdict is what the proxy is told, about a request with the header h.
func (a *answer) verdict(h http.Header) Verdict {
	if !a.permitted {
		if a.status < 300 {
			a.status = http.StatusForbidden
		}
		return Verdict{Status: a.status, Header: a.header, Body: a.body.Bytes(), Decision: a.header.Get(answerHeader)}
	}
	return Verdict{Allow: true, Status: http.StatusOK, Header: a.header, Reply: a.reply, Decision: a.header.Get(DecisionHeader), Remove: remove(h, a.header)}
}

// remove are the fields that must not reach the upstream: credentials of the client, and everything by which it could
// claim to be somebody.
func remove(h, set http.Header) []string {
	names := []string{"authorization", "dpop", "proxy-authorization", "x-forwarded-user", "x-forwarded-client-cert", strings.ToLower(TokenHeader)}
	for name := range h {
		n := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if _, ours := set[http.CanonicalHeaderKey(name)]; !ours && (httpsafe.ClaimsIdentity(name) || strings.HasPrefix(n, "x-sallyport")) {
			names = append(names, strings.ToLower(name))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
