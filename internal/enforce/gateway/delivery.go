package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
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

	w       http.ResponseWriter
	r       *http.Request
	out     io.Writer // counts, limits, is cut
	status  int
	started bool  // a byte or a header may have left
	left    int64 // bytes to come of a known length, -1 when unknown
	held    []byte
	failed  error // the first error of a write
	limit   int64 // bytes that the permit covers, -1 when any number
}

// holdBack is how many last bytes of an answer wait for the record of its end.
const holdBack = 32 << 10

func newDelivery(w http.ResponseWriter, r *http.Request, p *guard.Permit) *Delivery {
	return &Delivery{Permit: p, w: w, r: r, out: obligation.Writer(p, w), left: -1, limit: obligation.Bytes(p)}
}

// A Told error is one that the client has already read in its own dialect.
type Told struct{ Err error }

// Error returns the cause's text.
func (t *Told) Error() string { return t.Err.Error() }

// Unwrap returns the cause.
func (t *Told) Unwrap() error { return t.Err }

// Request is the client's request; its context ends with the permit.
func (d *Delivery) Request() *http.Request { return d.r.WithContext(d.Permit.Context()) }

// Header is the header of the answer.
func (d *Delivery) Header() http.Header { return d.w.Header() }

// WriteHeader begins the answer. A length in the header is binding.
func (d *Delivery) WriteHeader(status int) {
	if d.status != 0 {
		return
	}
	d.status = status
	if n, err := strconv.ParseInt(d.Header().Get("Content-Length"), 10, 64); err == nil && d.r.Method != http.MethodHead {
		d.left = n
	}
	d.Header().Set("Sallyport-Decision", d.Permit.ID())
}

// begin lets the header go, when the first byte of the body does.
func (d *Delivery) begin() {
	if !d.started {
		d.started = true
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
	if d.status == 0 {
		d.WriteHeader(http.StatusOK)
	}
	d.begin()
	_ = http.NewResponseController(d.w).Flush()
}

// finish records the end and then lets the last bytes go. It returns an error
// when the client must not believe that the answer is whole.
func (d *Delivery) finish(err error) error {
	if d.status == 0 && err == nil {
		d.WriteHeader(http.StatusOK)
	}
	if err == nil && d.left > 0 {
		err = errors.New("fewer bytes than were announced")
	}
	rep := d.Report
	rep.Status, rep.End = d.status, end(err)
	if err == nil {
		rep.Bytes = d.Permit.Bytes() + int64(len(d.held))
	}
	if len(d.held) > 0 && err == nil {
		err = d.lastBytes(rep)
	} else if derr := d.Permit.Done(rep); derr != nil {
		err = derr
	}
	if _, told := errors.AsType[*Told](err); told {
		return nil
	}
	if err == nil {
		d.begin()
	}
	return err
}

// lastBytes records the end as if the held bytes had left, then sends them.
func (d *Delivery) lastBytes(rep sallyport.Delivered) error {
	if d.Permit.Context().Err() != nil {
		rep.Bytes = d.Permit.Bytes()
		if err := d.Permit.Done(rep); err != nil {
			return err
		}
		return context.Cause(d.Permit.Context())
	}
	if err := d.Permit.Done(rep); err != nil {
		return err
	}
	d.begin()
	_, err := d.w.Write(d.held)
	return err
}

// end names how a delivery ended, for the record.
func end(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "client"
	}
	if _, ok := errors.AsType[*guard.Cut](err); ok {
		return "cut"
	}
	return "error"
}

// Whole delivers a body that is complete in memory.
func (d *Delivery) Whole(status int, body []byte) error {
	d.Header().Set("Content-Length", strconv.Itoa(len(body)))
	d.WriteHeader(status)
	_, err := d.Write(body)
	return err
}

// Content delivers what the request asks of content: all of it, or its ranges
// (RFC 9110, section 14), against the ETag that is already in the header.
func (d *Delivery) Content(modified time.Time, content io.ReadSeeker) error {
	d.Report.Ranges = sallyport.OneLine(d.r.Header.Get("Range"))
	from := &failing{ReadSeeker: content}
	http.ServeContent(d, d.Request(), "", modified, from)
	if from.err != nil {
		return from.err
	}
	return d.failed
}

// failing remembers a read error, which http.ServeContent swallows.
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

// copyBuffer is how many bytes are read, opened and sent at a time.
const copyBuffer = 256 << 10

// ReadFrom copies in large pieces, for io.Copy.
func (d *Delivery) ReadFrom(r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{d}, struct{ io.Reader }{r}, make([]byte, copyBuffer))
}

// Tell sends last, the dialect's own form of an error inside a stream, and
// returns err as told. It does not go out under the permit: it is the refusal.
func (d *Delivery) Tell(last []byte, err error) error {
	d.begin()
	if _, werr := d.w.Write(last); werr != nil {
		return err
	}
	_ = http.NewResponseController(d.w).Flush()
	return &Told{Err: err}
}
