// Package sidecar owns the local half of a guarded connection: endpoints on the loopback interface through which
// unmodified tools reach a server's doors, while tokens, their renewal, the key they are bound to (DPoP, RFC 9449) and
// the device's certificate (mutual TLS) stay in this process.
//
// Tools prove themselves to it by a key that is made at its start and lives as long as it does. The package leaves
// every decision to the server and everything about tokens to client.
package sidecar

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

// A Sidecar serves the loopback endpoints of one login. Make one with Start; its methods are safe for concurrent use.
type Sidecar struct {
	client *client.Client
	key    secret.Text
	socket net.Listener
	http   *http.Server
	ended  chan error
	logger *slog.Logger
}

// Start listens on address, which must be of the loopback interface ("127.0.0.1:0" takes any free port), and serves
// until Close.
func Start(ctx context.Context, c *client.Client, address string, logger *slog.Logger) (*Sidecar, error) {
	const op = "start sidecar"
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return nil, sallyport.E(op, sallyport.Invalid, "\""+sallyport.OneLine(address)+"\" is not an address of this computer's own", "write 127.0.0.1:PORT")
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	s := &Sidecar{client: c, key: key, ended: make(chan error, 1), logger: logger}
	if s.socket, err = new(net.ListenConfig).Listen(ctx, "tcp", address); err != nil {
		return nil, sallyport.Wrap(op, sallyport.Unavailable, "the address "+address+" cannot be used", err)
	}
	s.http = httpsafe.Server(s.handler(), nil, logger)
	s.http.ReadTimeout, s.http.WriteTimeout = 0, 0 // weights take hours; the server has the limits that count
	go func() {
		err := s.http.Serve(s.socket)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		s.ended <- err
	}()
	return s, nil
}

// newKey makes what tools show. Stock Hugging Face clients refuse a token that does not begin with "hf_".
func newKey() (secret.Text, error) {
	var b [32]byte
	if _, err := io.ReadFull(rand.Reader, b[:]); err != nil {
		return secret.Text{}, sallyport.Wrap("start sidecar", sallyport.Unavailable, "no randomness", err)
	}
	return secret.NewText("hf_" + base64.RawURLEncoding.EncodeToString(b[:])), nil
}

// URL is where the sidecar answers: http://127.0.0.1:PORT, with the paths of the server's doors below.
func (s *Sidecar) URL() string { return "http://" + s.socket.Addr().String() }

// Key is what tools show as their token. It is good at this sidecar only, and as long as it runs.
func (s *Sidecar) Key() secret.Text { return s.key }

// Ended gives the error with which serving ended, nil after Close.
func (s *Sidecar) Ended() <-chan error { return s.ended }

// closeWait is how long running transfers may take to end.
const closeWait = 2 * time.Second

// Close ends the sidecar; what still runs after two seconds is broken off.
func (s *Sidecar) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

// handler is one reverse proxy a door. What is below no door goes nowhere.
func (s *Sidecar) handler() http.Handler {
	mux := http.NewServeMux()
	for _, d := range client.Doors() {
		mux.Handle("/"+string(d)+"/", s.proxy(d))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, "not_found", "the sidecar has no such path; its doors are /api, /hf, /openai and /vault")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Host != s.socket.Addr().String(): // a page in a browser, by a name that leads to this computer
			refuse(w, http.StatusForbidden, "wrong_host", "the sidecar answers to "+s.socket.Addr().String()+" only")
		case r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "":
			refuse(w, http.StatusForbidden, "no_browsers", "the sidecar serves programs, not pages")
		case !s.proved(r):
			w.Header().Set("WWW-Authenticate", `Bearer realm="sallyport sidecar"`)
			refuse(w, http.StatusUnauthorized, "unauthorized", "show the sidecar's own key, as 'sallyport run' puts it into the environment")
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

// proved reports whether the request shows the key: as a bearer token, as a Basic password, or as the X-Api-Key of
// Anthropic's clients.
func (s *Sidecar) proved(r *http.Request) bool {
	shown, ok := httpsafe.Bearer(r)
	if !ok {
		_, shown, ok = r.BasicAuth()
	}
	if !ok {
		shown = r.Header.Get("X-Api-Key")
	}
	return s.key.Equal(secret.NewText(shown))
}

func (s *Sidecar) proxy(d client.Door) http.Handler {
	target, err := url.Parse(s.client.Server())
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = target.Scheme, target.Host, target.Host
			for _, name := range []string{"Authorization", "X-Api-Key", "DPoP", "Cookie", "Forwarded", "X-Forwarded-For"} {
				p.Out.Header.Del(name)
			}
		},
		Transport:     failing{err, s.client.Transport(d)},
		FlushInterval: -1, // tokens of a stream go on as they come
		ModifyResponse: func(r *http.Response) error {
			for _, name := range []string{"Location", "Link", "Content-Location"} {
				if v := r.Header.Get(name); v != "" {
					r.Header.Set(name, strings.ReplaceAll(v, s.client.Server()+"/", s.URL()+"/"))
				}
			}
			for _, name := range []string{"DPoP-Nonce", "Set-Cookie"} {
				r.Header.Del(name)
			}
			return nil
		},
		ErrorHandler: s.failed,
		ErrorLog:     slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
}

// failing is a transport that cannot be used when err is set.
type failing struct {
	err error
	http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (f failing) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.err != nil {
		return nil, f.err
	}
	return f.RoundTripper.RoundTrip(r)
}

// failed answers when the server could not be asked: 401 when the login has ended, 503 when it cannot be reached.
func (s *Sidecar) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the tool hung up
	}
	status, code := http.StatusServiceUnavailable, "unreachable"
	message := sallyport.PublicText(err)
	if e, ok := errors.AsType[*client.Error](err); ok {
		if message = e.API.Message; e.ExitCode() == client.ExitStepUp {
			status, code = http.StatusUnauthorized, "signed_out"
		}
	}
	s.logger.WarnContext(r.Context(), "a request could not be passed on", "path", r.URL.Path, "err", message)
	refuse(w, status, code, message)
}

// refuse answers in a form that OpenAI's clients show; Hugging Face clients show the header.
func refuse(w http.ResponseWriter, status int, code, message string) {
	httpsafe.SecurityHeaders(w.Header())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Error-Message", "sallyport: "+message)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"message": "sallyport: " + message, "type": "sallyport", "code": code}})
}

// A Setting is one variable of the environment of a tool.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Environment returns the variables under which stock clients go through the sidecar. They hold its key, and no token.
func (s *Sidecar) Environment() []Setting {
	key, at := s.key.Reveal(), s.URL()
	return []Setting{
		{"SALLYPORT_SIDECAR", at}, {"SALLYPORT_SIDECAR_KEY", key}, {"SALLYPORT_SERVER", s.client.Server()},
		{"HF_ENDPOINT", at + "/hf"}, {"HF_TOKEN", key}, {"HF_HUB_DISABLE_XET", "1"}, {"HF_HUB_DISABLE_TELEMETRY", "1"},
		{"OPENAI_BASE_URL", at + "/openai/v1"}, {"OPENAI_API_KEY", key},
		{"NO_PROXY", "127.0.0.1"}, {"no_proxy", "127.0.0.1"},
	}
}
