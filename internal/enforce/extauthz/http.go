package extauthz

import (
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sallyport/internal/plumbing/httpsafe"
)

// The fields of answers to nginx, which passes on nothing of a refusal by itself: a configuration takes them up.
const (
	StatusHeader = "X-Sallyport-Status" // the status that the client should get
	BodyHeader   = "X-Sallyport-Body"   // the body that the client should get, when it is one line of printable ASCII

	maxBodyHeader = 2 << 10 // bytes; nginx keeps 4 KiB for all fields unless told otherwise
)

// HTTP answers proxies that ask over HTTP:
//
//	/envoy/UPSTREAM/…   Envoy's HTTP service, with that path_prefix: any method, the client's own path behind it; X-Real-IP
//	/nginx/UPSTREAM     auth_request: X-Original-Method, -URI and -Host, X-Real-IP; answers 200, 401 or 403 and nothing else
//	/caddy/UPSTREAM     forward_auth: X-Forwarded-Method, -Uri, -Host and -For
//
// It reads those fields itself: it must not stand behind httpsafe.Guard.
func (s *Service) HTTP() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			return
		}
		defer httpsafe.LimitBody(w, r)()
		target, _, _ := strings.Cut(r.RequestURI, "?") // Caddy leaves the client's query there
		kind, rest, _ := strings.Cut(strings.TrimPrefix(target, "/"), "/")
		upstream, _, _ := strings.Cut(rest, "/")
		peer := Peer{IP: httpsafe.PeerIP(r), Tokens: r.Header.Values(TokenHeader)}
		if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
			peer.Certificate = r.TLS.PeerCertificates[0]
		}
		q := Request{Upstream: upstream, Header: r.Header.Clone()}
		switch kind {
		case "envoy":
			envoyAsks(&q, w, r, strings.TrimPrefix(r.RequestURI, "/envoy/"+upstream))
			answerEnvoy(w, s.Ask(r.Context(), peer, q))
		case "nginx":
			takeOriginal(&q, "X-Original-Method", "X-Original-Uri", "X-Original-Host")
			q.IP = only(q.Header, "X-Real-Ip")
			answerNginx(w, s.Ask(r.Context(), peer, q))
		case "caddy":
			takeOriginal(&q, "X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Host")
			q.IP = last(q.Header["X-Forwarded-For"])
			answerPlain(w, s.Ask(r.Context(), peer, q))
		default:
			q.Upstream = "" // of which nobody may ask
			answerPlain(w, s.Ask(r.Context(), peer, q))
		}
	})
}

// envoyAsks reads a question of Envoy's HTTP service, which keeps the method, the host and the path of the request. To the
// list of addresses it has added its own: the client's is in a field that it sets.
func envoyAsks(q *Request, w http.ResponseWriter, r *http.Request, path string) {
	q.Method, q.URI, q.Host, q.IP = r.Method, path, r.Host, only(q.Header, "X-Real-Ip")
	partial, said := r.Header["X-Envoy-Auth-Partial-Body"]
	q.Header.Del("X-Envoy-Auth-Partial-Body")
	q.Header.Del("Content-Length") // of what came along, not of what the client sent
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	q.Body, q.Whole = body, err == nil && said && len(partial) == 1 && partial[0] == "false"
}

// takeOriginal reads a question of a proxy that asks with GET and without the body. Each field must be there once: it is
// set by the proxy, and a second one would be the client's.
func takeOriginal(q *Request, method, uri, host string) {
	q.Method, q.URI, q.Host = only(q.Header, method), only(q.Header, uri), only(q.Header, host)
	// What these say is of the question, not of the request that it is about.
	q.Header.Del("Content-Length")
	q.Header.Del("Connection")
}

// only is the one value of a field, "" when there is none or another number.
func only(h http.Header, name string) string {
	if v := h[name]; len(v) == 1 {
		return v[0]
	}
	return ""
}

// last is the address that the nearest proxy has added to a list of addresses, "" where it added none.
func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	list := values[len(values)-1]
	text := strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:])
	if a, err := netip.ParseAddr(text); err == nil {
		return a.String()
	}
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().String()
	}
	return ""
}

func answerEnvoy(w http.ResponseWriter, v Verdict) {
	if v.Allow {
		w.Header().Set("X-Envoy-Auth-Headers-To-Remove", strings.Join(v.Remove, ","))
	}
	answerPlain(w, v)
}

// answerPlain tells a proxy that passes a refusal on as it is.
func answerPlain(w http.ResponseWriter, v Verdict) {
	maps.Copy(w.Header(), v.Header)
	maps.Copy(w.Header(), v.Reply)
	w.WriteHeader(v.Status)
	_, _ = w.Write(v.Body) // the proxy may be gone
}

// answerNginx tells nginx, for which every status but these three is a fault of its own, and which drops bodies.
func answerNginx(w http.ResponseWriter, v Verdict) {
	maps.Copy(w.Header(), v.Header)
	maps.Copy(w.Header(), v.Reply)
	status := v.Status
	if !v.Allow {
		w.Header().Set(StatusHeader, strconv.Itoa(v.Status))
		if text := strings.TrimSpace(string(v.Body)); len(text) <= maxBodyHeader && !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
			w.Header().Set(BodyHeader, text)
		}
		if !slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden}, status) {
			status = http.StatusForbidden
		}
	}
	w.WriteHeader(status)
}
