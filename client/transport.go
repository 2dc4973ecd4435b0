package client

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// maxReplay is how much of a body is kept so that a request can be sent once more, in bytes. Longer bodies go out only
// after the server has said that it wants them (RFC 9110, section 10.1.1), so that a refusal finds them whole.
const maxReplay = 1 << 20

// Transport returns a transport for requests to a door of the server: each gets a token that is still good, the proof
// of the key that the login is bound to, and a second chance where the server wants a newer token or nonce. Errors are
// those of signing in; answers are the server's own. It is safe for concurrent use.
func (c *Client) Transport(d Door) http.RoundTripper { return &transport{client: c, door: d} }

type transport struct {
	client *Client
	door   Door
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := readAhead(r)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		token, err := t.client.token(r.Context(), t.door)
		if err != nil {
			return nil, err
		}
		q := r.Clone(r.Context())
		body.attach(q)
		if err := t.client.authorize(q, token); err != nil {
			return nil, err
		}
		answer, err := t.client.http.Transport.RoundTrip(q)
		if err != nil {
			return nil, err
		}
		if !t.again(q, answer, token) || try > 1 || !body.rewind() {
			return answer, nil
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxRefuse)) // so that the connection can be used again
		answer.Body.Close()
	}
}

// again reports whether an answer may change with another token or nonce.
func (t *transport) again(r *http.Request, answer *http.Response, token secret.Text) bool {
	if t.client.cfg.Key.learn(r, answer) {
		return true
	}
	if answer.StatusCode != http.StatusUnauthorized || token.IsZero() || answer.Header.Get("Sallyport-Decision") != "" {
		return false
	}
	t.client.tokens.Refused(r.Context(), t.client.Audience(t.door), token)
	return true
}

// A replay is a body that can be sent again: wholly in memory, or not begun yet.
type replay struct {
	kept  []byte
	whole bool // kept is all of it
	rest  *unread
	size  int64
}

func readAhead(r *http.Request) (*replay, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return &replay{whole: true}, nil
	}
	kept, err := io.ReadAll(io.LimitReader(r.Body, maxReplay))
	if err != nil {
		return nil, sallyport.Wrap("send", sallyport.Invalid, "the body broke off", err)
	}
	b := &replay{kept: kept, whole: len(kept) < maxReplay, size: r.ContentLength}
	if b.whole {
		r.Body.Close()
	} else {
		b.rest = &unread{ReadCloser: r.Body}
	}
	return b, nil
}

// attach makes the body that of a request.
func (b *replay) attach(q *http.Request) {
	switch {
	case b.whole && len(b.kept) == 0:
		q.Body = http.NoBody
	case b.whole:
		q.Body, q.ContentLength = io.NopCloser(bytes.NewReader(b.kept)), int64(len(b.kept))
	default:
		q.Header.Set("Expect", "100-continue")
		q.Body, q.ContentLength = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(b.kept), b.rest), closer{}}, b.size
	}
}

// rewind reports whether the body can be sent again.
func (b *replay) rewind() bool { return b.whole || !b.rest.begun }

type unread struct {
	io.ReadCloser
	begun bool
}

// Read implements io.Reader.
func (c *unread) Read(p []byte) (int, error) {
	c.begun = true
	n, err := c.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = sallyport.Wrap("send", sallyport.Invalid, "the body broke off", err)
	}
	return n, err
}

// closer leaves the caller's body to the caller: it may be sent again.
type closer struct{}

// Close implements io.Closer.
func (closer) Close() error { return nil }
