package httpsafe

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// ErrTooLong is the error of reading an answer beyond its limit.
var ErrTooLong = errors.New("the answer is longer than its limit")

// Bounded returns a client like c whose answers are at most most bytes long and take at most wait from the first
// packet to the last byte; c has a Transport, as Client gives it. Reading on is ErrTooLong: an answer that is cut must not look like a whole one.
func Bounded(c *http.Client, most int64, wait time.Duration) *http.Client {
	b := *c
	b.Timeout = wait
	b.Transport = bounded{c.Transport, most}
	return &b
}

type bounded struct {
	next http.RoundTripper
	most int64
}

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer.Body = &limited{answer.Body, b.most}
	return answer, nil
}

type limited struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, ErrTooLong
	}
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1] // one more, to tell the end from the limit
	}
	n, err := l.ReadCloser.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n - 1, ErrTooLong
	}
	return n, err
}
