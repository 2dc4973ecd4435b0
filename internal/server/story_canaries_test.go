package server_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// canaries are the secrets of a run: what each is, by its value.
type canaries struct {
	mu      sync.Mutex
	secrets map[string]string
}

func newCanaries() *canaries { return &canaries{secrets: map[string]string{}} }

// add makes a secret.
func (c *canaries) add(name string) string {
	s := "canary-" + rand.Text()
	c.note(name, s)
	return s
}

// note keeps a secret that the system made. Of what is signed the signature alone is one too: the rest is no secret without it.
func (c *canaries) note(name, secret string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(secret) < 12 {
		return
	}
	if c.secrets[secret] == "" {
		c.secrets[secret] = name
	}
	if parts := strings.Split(secret, "."); len(parts) == 3 && len(parts[2]) >= 40 {
		c.secrets[parts[2]] = "signature of " + name
	}
}

func (c *canaries) all() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.secrets)
}

// A tapped wire keeps every secret that goes over it, in either direction: whatever a story does, its secrets are known.
type tapped struct {
	*http.Transport
	canaries *canaries
}

func (w *tapped) RoundTrip(r *http.Request) (*http.Response, error) {
	w.request(r)
	a, err := w.Transport.RoundTrip(r)
	if err == nil {
		err = w.response(a)
	}
	return a, err
}

// The names under which secrets travel, in forms, addresses and JSON.
var secretNames = []string{"access_token", "refresh_token", "id_token", "subject_token", "actor_token", "client_assertion", "client_secret", "code", "code_verifier",
	"device_code", "password", "again", "token", "link", "request_uri", "authorization_header", "secret", "logout_token", "SAMLResponse"}

func (w *tapped) request(r *http.Request) {
	at := r.URL.Path
	if _, secret, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
		w.canaries.note("credential at "+at, secret)
	}
	for _, proof := range r.Header.Values("DPoP") {
		w.canaries.note("proof at "+at, proof)
	}
	w.form(at, r.URL.Query())
	if r.GetBody == nil || r.ContentLength > 64<<10 {
		return
	}
	body, err := r.GetBody()
	if err != nil {
		return
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return
	}
	w.json(at, text)
	if form, err := url.ParseQuery(string(text)); err == nil && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		w.form(at, form)
	}
}

// shownOnce are secrets on pages: recovery codes.
var shownOnce = regexp.MustCompile(`<li><code>([^<]+)</code>`)

func (w *tapped) response(a *http.Response) error {
	at := a.Request.URL.Path
	for _, cookie := range a.Cookies() {
		w.canaries.note("cookie "+cookie.Name, cookie.Value)
	}
	if to, err := a.Location(); err == nil {
		w.form(at, to.Query())
	}
	kind := a.Header.Get("Content-Type")
	if a.ContentLength <= 0 || a.ContentLength > 64<<10 || !strings.HasPrefix(kind, "application/json") && !strings.HasPrefix(kind, "text/html") {
		return nil
	}
	text, err := io.ReadAll(a.Body)
	if err != nil {
		return err
	}
	a.Body = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(text), a.Body}
	w.json(at, text)
	for _, code := range shownOnce.FindAllStringSubmatch(string(text), -1) {
		w.canaries.note("recovery code", code[1])
	}
	return nil
}

func (w *tapped) form(at string, form url.Values) {
	for name, all := range form {
		for _, v := range all {
			if slices.Contains(secretNames, name) {
				w.canaries.note(name+" at "+at, v)
			}
		}
	}
}

func (w *tapped) json(at string, text []byte) {
	var members any
	if json.Unmarshal(text, &members) == nil {
		w.members(at, members)
	}
}

func (w *tapped) members(at string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, m := range v {
			if text, ok := m.(string); ok && name != "code" && slices.Contains(secretNames, name) { // a code in JSON is an error's
				w.canaries.note(name+" at "+at, text)
			}
			w.members(at, m)
		}
	case []any:
		for _, m := range v {
			w.members(at, m)
		}
	}
}
