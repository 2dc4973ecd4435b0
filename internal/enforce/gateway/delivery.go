package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/obligation"
)

// A Delivery is the answer to one permitted request. It is an
// http.ResponseWriter whose body goes out under the permit, for one goroutine.
type Delivery struct {
	Permit *guard.Permit
	Report sallyport.Delivered // a protocol may fill Ranges, TokensIn and TokensOut

	door    *Door
	w       http.ResponseWriter
	r       *http.Request
	conn    *http.ResponseController
	header  http.Header         // of the answer; the client's own writer gets it with the first byte
	out     *obligation.Limited // counts, limits, is cut
	unwatch func()              // ends the watch over the permit
	status  int
	started bool   // a byte or a header may have left
	left    int64  // bytes to come of a known length, -1 when unknown
	limit   int64  // bytes that the permit covers, -1 when any number
	held    []byte // the last bytes of a known length
	failed  error  // the first error of a write
}

const (
	// holdBack is how many last bytes of an answer wait for the record of its end.
	holdBack = 32 << 10
	// copyBuffer is how many bytes are read, opened and sent at a time.
	copyBuffer = 256 << 10
	// patience is how long a client may take to accept what is written.
	patience = time.Minute
	// lastWord is how long after a cut the client may take to accept the reason.
	lastWord = time.Second
)

func newDelivery(w http.ResponseWriter, r *http.Request, p *guard.Permit, door *Door) *Delivery {
	d := &Delivery{Permit: p, door: door, w: w, r: r, conn: http.NewResponseController(w), header: http.Header{}, left: -1, limit: obligation.Bytes(p)}
	d.out = door.Rates.Writer(p, (*wire)(d))
	d.watch()
	return d
}

// watch sees to it that a client that does not read cannot keep a cut from ending
// the call.
func (d *Delivery) watch() {
	over := make(chan struct{})
	stop := context.AfterFunc(d.Permit.Context(), func() {
		defer close(over)
		_ = d.conn.SetWriteDeadline(time.Now().Add(lastWord))
	})
	d.unwatch = func() {
		if !stop() {
			<-over
		}
	}
}

// wire is the client's connection below the permit.
type wire Delivery

// Write hands b to the connection, which must accept it in time.
func (c *wire) Write(b []byte) (int, error) {
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
	if err := c.Permit.Context().Err(); err != nil { // after the deadline was set: a cut from here on shortens it
		return 0, context.Cause(c.Permit.Context())
	}
	return c.w.Write(b)
}

// A Told error is one that the client has already read in its own dialect.
type Told struct{ Err error }

// Error returns the cause's text.
func (t *Told) Error() string { return t.Err.Error() }

// Unwrap returns the cause.
func (t *Told) Unwrap() error { return t.Err }

// Request is the client's request; its context ends with the permit.
func (d *Delivery) Request() *http.Request { return d.r.WithContext(d.Permit.Context()) }

// Header is the header of the answer. It reaches the client with the first byte.
func (d *Delivery) Header() http.Header { return d.header }

// WriteHeader begins the answer. A length in the header is binding.
func (d *Delivery) WriteHeader(status int) {
	if d.status != 0 {
		return
	}
	d.status = status
	if n, err := strconv.ParseInt(d.header.Get("Content-Length"), 10, 64); err == nil && d.r.Method != http.MethodHead {
		d.left = n
	}
	d.header.Set(decisionHeader, d.Permit.ID())
}

// begin lets the header go, when the first byte of the body does.
func (d *Delivery) begin() {
	if d.status == 0 {
		d.WriteHeader(http.StatusOK)
	}
	if !d.started {
		d.started = true
		maps.Copy(d.w.Header(), d.header)
		d.w.WriteHeader(d.status)
	}
}

// Write delivers b. It fails when the permit is cut, a limit is reached, or b is
// longer than the length that was announced.
func (d *Delivery) Write(b []byte) (int, error) {
	n, err := d.write(b)
	if err != nil && d.failed == nil {
		d.failed = err
	}
	return n, err
}

func (d *Delivery) write(b []byte) (int, error) {
	if d.status == 0 {
		d.WriteHeader(http.StatusOK)
	}
	if d.r.Method == http.MethodHead {
		return len(b), nil // an answer to HEAD has no body, so there is nothing to count
	}
	if d.left < 0 {
		d.begin()
		return d.out.Write(b)
	}
	if int64(len(b)) > d.left {
		return 0, errors.New("more bytes than were announced")
	}
	if d.limit >= 0 && !d.started && d.left > d.limit {
		return 0, sallyport.E("deliver", sallyport.TooLarge, "the answer is longer than the permission "+d.Permit.ID()+" covers",
			"ask for less, or for a grant with a higher limit")
	}
	n := len(b)
	if over := d.left - int64(n); over < holdBack { // part of b belongs to the last bytes
		keep := min(n, int(holdBack-over))
		d.held = append(d.held, b[n-keep:]...)
		b = b[:n-keep]
	}
	d.left -= int64(n)
	if len(b) == 0 {
		return n, nil
	}
	d.begin()
	_, err := d.out.Write(b)
	return n, err
}

// Flush sends what was written so far, for streams.
func (d *Delivery) Flush() {
	d.begin()
	_ = d.conn.Flush()
}

// finish records the end and then lets the last bytes go. It returns an error
// when the client must not believe that the answer is whole. It ends the permit
// on every path.
func (d *Delivery) finish(err error) error {
	if d.status == 0 && err == nil {
		d.WriteHeader(http.StatusOK)
	}
	if err == nil && d.left > 0 {
		err = errors.New("fewer bytes than were announced")
	}
	if err == nil {
		err = d.out.Wait(len(d.held)) // what was held back keeps to the rate, and to the permit, too
	}
	d.unwatch()
	d.Report.Status, d.Report.End, d.Report.Bytes = d.status, end(err), d.Permit.Bytes()
	if err == nil {
		d.Report.Bytes += int64(len(d.held))
	}
	if derr := d.Permit.Done(d.Report); derr != nil {
		return derr
	}
	if cut, ok := guard.AsCut(d.Permit.Context()); ok && err == nil {
		err = cut // it came while the end was being recorded; the record says so
	}
	if _, told := errors.AsType[*Told](err); told {
		err = nil
	} else if err == nil {
		err = d.last()
	}
	if d.started {
		_ = d.conn.SetWriteDeadline(time.Time{}) // the connection may serve other requests
	}
	return err
}

// last sends what was held back. The record that covers it is durable.
func (d *Delivery) last() error {
	d.begin()
	if len(d.held) == 0 {
		return nil
	}
	_ = d.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := d.w.Write(d.held)
	return err
}

// UpstreamReason is the reason of errors that are a model server's own.
const UpstreamReason = "upstream"

// end names how a delivery ended, for the record.
func end(err error) string {
	if err == nil {
		return ""
	}
	if _, ok := errors.AsType[*guard.Cut](err); ok {
		return "cut"
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return "client"
	}
	if sallyport.ReasonOf(err) == UpstreamReason {
		return "upstream"
	}
	return "error"
}

// Whole delivers a body that is complete in memory. It keeps no reference to it.
func (d *Delivery) Whole(status int, body []byte) error {
	d.header.Set("Content-Length", strconv.Itoa(len(body)))
	d.WriteHeader(status)
	_, err := d.Write(body)
	return err
}

// Content delivers what the request asks of content: all of it, or one range
// (RFC 9110, section 14), against the ETag that is already in the header. Several
// ranges at once are not satisfied: no client of models sends them, and they
// would let a caller ask for more bytes than there are.
func (d *Delivery) Content(modified time.Time, content io.ReadSeeker) error {
	ranges := d.r.Header.Get("Range")
	d.Report.Ranges = sallyport.OneLine(ranges)
	if emptySuffix := strings.TrimRight(ranges, "0") == "bytes=-"; emptySuffix || strings.Contains(ranges, ",") {
		d.header.Set("Content-Type", "text/plain; charset=utf-8")
		return d.Whole(http.StatusRequestedRangeNotSatisfiable, []byte("ask for one range at a time\n"))
	}
	if first, last := d.Permit.Span(); d.r.Method != http.MethodHead && d.Permit.Scoped() {
		size, err := content.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		if from, to, ok := oneRange(ranges, size); !ok || from < first || to > last {
			d.header.Set("Content-Type", "text/plain; charset=utf-8")
			return d.Whole(http.StatusRequestedRangeNotSatisfiable, fmt.Appendf(nil, "the permission covers the bytes %d to %d; ask for a range within\n", first, last))
		}
	}
	from := &failing{ReadSeeker: content}
	http.ServeContent(d, d.Request(), "", modified, from)
	if from.err != nil {
		return from.err
	}
	return d.failed
}

// oneRange reads which bytes of so many a Range asks for, both offsets inclusive;
// without one it is all of them.
func oneRange(header string, size int64) (first, last int64, ok bool) {
	if header == "" {
		return 0, size - 1, true
	}
	text, ok := strings.CutPrefix(header, "bytes=")
	a, b, cut := strings.Cut(text, "-")
	number := func(s string) (int64, bool) {
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil && n >= 0 && s == strconv.FormatInt(n, 10)
	}
	from, known := number(a)
	to, ends := number(b)
	switch {
	case !ok || !cut:
		return 0, 0, false
	case a == "" && ends: // the last bytes
		return max(0, size-to), size - 1, true
	case known && b == "":
		return from, size - 1, true
	case known && ends && from <= to:
		return from, min(to, size-1), true
	}
	return 0, 0, false
}

// failing remembers an error of the content, which http.ServeContent swallows.
type failing struct {
	io.ReadSeeker
	err error
}

func (f *failing) Read(b []byte) (int, error) {
	n, err := f.ReadSeeker.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

func (f *failing) Seek(offset int64, whence int) (int64, error) {
	n, err := f.ReadSeeker.Seek(offset, whence)
	if err != nil {
		f.err = err
	}
	return n, err
}

// ReadFrom copies in large pieces, for io.Copy.
func (d *Delivery) ReadFrom(r io.Reader) (int64, error) {
	buffer, ok := d.door.buffers.Get().(*[]byte)
	if !ok {
		fresh := make([]byte, copyBuffer)
		buffer = &fresh
	}
	defer d.door.buffers.Put(buffer)
	return io.CopyBuffer(struct{ io.Writer }{d}, struct{ io.Reader }{r}, *buffer)
}

// Tell sends last, the dialect's own form of an error inside a stream, and
// returns err as told. It does not go out under the permit: it is the refusal.
func (d *Delivery) Tell(last []byte, err error) error {
	d.begin()
	if _, werr := d.w.Write(last); werr != nil {
		return err
	}
	if werr := d.conn.Flush(); werr != nil {
		return err
	}
	return &Told{Err: err}
}
