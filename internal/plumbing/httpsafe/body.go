package httpsafe

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// How long a body is waited for: BodyTime in all, and a second more for every BodyRate bytes of it that have come. Time in
// which nobody reads it, because a disk or a limit is slow, does not count. What a handler has left over is waited for restTime.
const (
	BodyTime = 30 * time.Second
	BodyRate = 16 << 10 // bytes
	restTime = 5 * time.Second
)

// LimitBody bounds how long the body of a request is waited for, before anybody knows who sends it: a Read of one that comes
// slower fails. The caller calls rest when the handler has returned. Where w cannot bound reading, nothing changes.
func LimitBody(w http.ResponseWriter, r *http.Request) (rest func()) {
	return limitBody(w, r, BodyTime)
}

func limitBody(w http.ResponseWriter, r *http.Request, patience time.Duration) (rest func()) {
	conn := http.NewResponseController(w)
	if r.Body == nil || r.Body == http.NoBody || conn.SetReadDeadline(time.Time{}) != nil {
		return func() {}
	}
	b := &timedBody{ReadCloser: r.Body, conn: conn, left: patience}
	r.Body = b
	return func() {
		switch {
		case b.ended:
		case b.left > 0:
			_ = conn.SetReadDeadline(time.Now().Add(restTime)) // it could before; if not, the connection is gone
		default: // net/http would read on, to use the connection again
			_ = conn.SetReadDeadline(time.Now())
		}
	}
}

// A timedBody fails when it has been waited for too long. It is read by one goroutine at a time, as every body is.
type timedBody struct {
	io.ReadCloser
	conn  *http.ResponseController
	left  time.Duration // to wait
	ended bool          // it has come whole
}

// Read implements io.Reader.
func (b *timedBody) Read(p []byte) (int, error) {
	began := time.Now()
	_ = b.conn.SetReadDeadline(began.Add(b.left)) // it could before; if not, the connection is gone
	n, err := b.ReadCloser.Read(p)
	_ = b.conn.SetReadDeadline(time.Time{}) // a deadline that passes later would end the answer
	b.left += time.Duration(n)*time.Second/BodyRate - time.Since(began)
	b.ended = b.ended || errors.Is(err, io.EOF)
	return n, err
}
