// Package httpsafe owns HTTP servers and clients with limits (RFC 9110, RFC
// 9112): timeouts, sizes, one canonical path, no forwarded identity, and an
// outbound dialer that refuses addresses it was not given.
//
// It leaves routing, identity and the meaning of requests to the doors.
package httpsafe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"sallyport"
)

// Limits of every listener. An unauthenticated request costs no more than these.
const (
	MaxHeaderBytes    = 64 << 10
	ReadHeaderTimeout = 10 * time.Second
	IdleTimeout       = 2 * time.Minute
	MaxHeaders        = 128
)

// Server returns a server for h with every limit set. Reading a body and writing
// an answer have no total time limit, because weights take long: a body has to come
// at a rate (LimitBody), doors bound bodies by size and streams by their permit.
func Server(h http.Handler, config *tls.Config, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           Guard(h),
		TLSConfig:         config,
		ReadHeaderTimeout: ReadHeaderTimeout,
		IdleTimeout:       IdleTimeout,
		MaxHeaderBytes:    MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),

		DisableGeneralOptionsHandler: true, // "OPTIONS *" is a route like any other: unknown
	}
}

// Guard refuses what no door should have to think about (odd paths, doubled
// headers, tunnels), and drops every header by which somebody in front claims to
// know the caller: identity comes from a credential or not at all.
func Guard(h http.Handler) http.Handler {
	return Recorded(h, func(*http.Request) error { return nil })
}

// Recorded is Guard that has what it refuses written down, before the answer. An
// error of record is answered instead.
func Recorded(h http.Handler, record func(*http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := check(r); err != nil {
			if rerr := record(r); rerr != nil {
				err = rerr
			}
			w.Header().Set("Connection", "close")
			http.Error(w, "sallyport: "+sallyport.PublicText(err), Status(err))
			return
		}
		dropForwarded(r.Header)
		rest := LimitBody(w, r)
		h.ServeHTTP(w, r)
		rest()
	})
}

func check(r *http.Request) error {
	const op = "read request"
	if r.Method == http.MethodConnect || r.Method == http.MethodTrace || r.Header.Get("Upgrade") != "" {
		return sallyport.E(op, sallyport.Invalid, "tunnels and upgrades are not offered", "use plain HTTP requests")
	}
	if len(r.Header) > MaxHeaders {
		return sallyport.E(op, sallyport.Invalid, "too many header fields", "")
	}
	for _, once := range []string{"Authorization", "Content-Type", "Content-Encoding", "Content-Length", "Range", "If-Range", "Cookie"} {
		if len(r.Header[once]) > 1 {
			return sallyport.E(op, sallyport.Invalid, "the header field "+once+" is there twice", "send it once")
		}
	}
	_, err := Segments(r.URL.EscapedPath())
	return err
}

// Segments splits an escaped path into its decoded segments. It refuses every
// form in which two readers could see two paths: empty, "." and ".." segments,
// encoded slashes inside anything but one segment's own text, backslashes,
// semicolons, control and invisible characters, letters that normalise to others,
// and bytes that are not UTF-8. A single trailing slash is refused too, except for "/" itself, which has no segments.
func Segments(escaped string) ([]string, error) {
	const op = "read path"
	if len(escaped) > 4096 || !strings.HasPrefix(escaped, "/") {
		return nil, sallyport.E(op, sallyport.Invalid, "the path is not absolute or too long", "")
	}
	if escaped == "/" {
		return nil, nil
	}
	parts := strings.Split(escaped[1:], "/")
	for i, p := range parts {
		s, err := unescape(p)
		if err != nil || s == "" || s == "." || s == ".." || !plain(s) {
			return nil, sallyport.E(op, sallyport.Invalid, "the path has more than one reading", "write each segment once, without '..', '//', ';' or a backslash")
		}
		parts[i] = s
	}
	return parts, nil
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", errors.New("short escape")
		}
		hi, lo := unhex(s[i+1]), unhex(s[i+2])
		if hi < 0 || lo < 0 {
			return "", errors.New("bad escape")
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String(), nil
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// plain accepts letters, digits and marks of any script in normal form NFKC, and
// printable ASCII without the characters that servers read differently. It allows
// a decoded slash only between plain parts, because revisions such as refs/pr/1
// travel as one escaped segment.
func plain(s string) bool {
	if !utf8.ValidString(s) || !norm.NFKC.IsNormalString(s) {
		return false
	}
	for _, c := range s {
		if !readOneWay(c) {
			return false
		}
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

func readOneWay(c rune) bool {
	if c < utf8.RuneSelf {
		return c >= 0x20 && c < 0x7f && !strings.ContainsRune(`\;%?#`, c)
	}
	return unicode.In(c, unicode.L, unicode.M, unicode.N) && !unicode.In(c, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// dropForwarded removes, in every spelling, the header fields that proxies use to
// pass on who called and for what.
func dropForwarded(h http.Header) {
	for name := range h {
		if n := oneSpelling(name); ClaimsIdentity(name) || strings.HasPrefix(n, "x-forwarded") || n == "forwarded" || n == "x-real-ip" || n == "true-client-ip" || n == "via" {
			delete(h, name)
		}
	}
}

func oneSpelling(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }

// ClaimsIdentity reports whether a header field, in any spelling, is one by which who sends a request could claim to be
// somebody, or to ask for something else than its first line says. Fields that only tell the way a request took
// (X-Forwarded-For, Via) are not among them.
func ClaimsIdentity(name string) bool {
	n := oneSpelling(name)
	for _, prefix := range []string{"x-original", "x-auth", "x-remote", "x-ssl", "x-client-cert", "client-cert", "ssl-client"} {
		if strings.HasPrefix(n, prefix) {
			return true
		}
	}
	switch n {
	case "x-user", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override", "remote-user",
		"x-forwarded-user", "x-forwarded-client-cert", "x-forwarded-tls-client-cert", "x-forwarded-email", "x-forwarded-groups",
		"x-forwarded-preferred-username", "x-forwarded-access-token", "x-mlflow-guardrail-bypass":
		return true
	}
	return false
}

// Redirects reports whether a header field, in any spelling, is one by which some servers take a request for another method
// or path than its first line says.
func Redirects(name string) bool {
	switch oneSpelling(name) {
	case "x-rewrite-url", "x-original-url", "x-http-method-override", "x-http-method", "x-method-override":
		return true
	}
	return false
}

// PeerIP returns the address of the connection's other end, "" when it has none.
func PeerIP(r *http.Request) string {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return ap.Addr().Unmap().WithZone("").String()
}

// Bearer returns the token of an Authorization header of the Bearer scheme.
func Bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != "" && !strings.ContainsAny(token, " ,")
}

// SecurityHeaders sets what every page and answer of ours carries.
func SecurityHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Strict-Transport-Security", "max-age=63072000")
}

// Client returns a client that connects only where allow says so, checked on the
// resolved address at the moment of dialling, that follows no redirects and uses
// no proxy. It keeps up to idle connections for each host. Answers are not
// limited in time: the context of the request is.
func Client(allow func(netip.AddrPort) bool, idle int) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil || !allow(netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())) {
				return fmt.Errorf("the address %s is not one that this server may call", address)
			}
			return nil
		}}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second,
			MaxIdleConns: idle, MaxIdleConnsPerHost: idle, ResponseHeaderTimeout: 5 * time.Minute,
			MaxResponseHeaderBytes: MaxHeaderBytes, DisableCompression: true, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Global reports whether an address is on the public Internet: what a server
// must not call on behalf of a caller unless an operator listed it, it is not.
// Addresses that stand for others (NAT64, 6to4, Teredo) are not, whatever is in them.
func Global(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range notGlobal() {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// notGlobal are the special-purpose prefixes of IANA's registries that netip does
// not know.
func notGlobal() []netip.Prefix {
	v4 := func(a, b, c byte, bits int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{a, b, c}), bits)
	}
	v6 := func(a, b, c, d byte, bits int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{a, b, c, d}), bits)
	}
	return []netip.Prefix{
		v4(0, 0, 0, 8), v4(100, 64, 0, 10), v4(192, 0, 0, 24), v4(192, 0, 2, 24), v4(192, 88, 99, 24), v4(198, 18, 0, 15),
		v4(198, 51, 100, 24), v4(203, 0, 113, 24), v4(240, 0, 0, 4),
		v6(0, 0x64, 0xff, 0x9b, 32), v6(0x01, 0, 0, 0, 64), v6(0x20, 0x01, 0, 0, 23), v6(0x20, 0x01, 0x0d, 0xb8, 32),
		v6(0x20, 0x02, 0, 0, 16), v6(0x3f, 0xff, 0, 0, 20), v6(0x5f, 0, 0, 0, 16), v6(0xfe, 0xc0, 0, 0, 10),
	}
}

// Status is the HTTP status for an error's kind.
func Status(err error) int {
	switch sallyport.KindOf(err) {
	case sallyport.Invalid:
		return http.StatusBadRequest
	case sallyport.Unknown:
		return http.StatusUnauthorized
	case sallyport.NotFound:
		return http.StatusNotFound
	case sallyport.Conflict:
		return http.StatusConflict
	case sallyport.TooLarge:
		return http.StatusRequestEntityTooLarge
	case sallyport.Busy:
		return http.StatusTooManyRequests
	case sallyport.Unavailable:
		return http.StatusServiceUnavailable
	}
	if errors.Is(err, context.Canceled) {
		return 499
	}
	return http.StatusInternalServerError
}
