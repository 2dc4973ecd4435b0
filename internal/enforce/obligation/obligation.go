// Package obligation owns carrying out what a permit obliges (obligations of
// XACML 3.0, section 7.18): limits on the bytes of an answer and on their rate.
//
// It leaves deciding obligations to policy, and refusing those that a door cannot
// carry out to the guard.
package obligation

import (
	"fmt"
	"io"

	"golang.org/x/time/rate"

	"sallyport"
	"sallyport/internal/enforce/guard"
)

// Kinds are the obligations that Writer carries out.
func Kinds() []sallyport.ObligationKind {
	return []sallyport.ObligationKind{sallyport.LimitBytes, sallyport.LimitRate}
}

// Bytes is how many bytes the permit covers in all, -1 when any number.
func Bytes(p *guard.Permit) int64 {
	for _, o := range p.Obligations() {
		if o.Kind == sallyport.LimitBytes {
			return o.Value
		}
	}
	return -1
}

// burst is how many bytes may leave at once under limit-rate.
const burst = 256 << 10

// Writer returns a writer that hands bytes to w under the permit: it counts
// them, stops at limit-bytes, waits for limit-rate, and fails as soon as the
// permit is cut. It is for one goroutine.
func Writer(p *guard.Permit, w io.Writer) io.Writer {
	lw := &limitedWriter{permit: p, w: w, left: Bytes(p)}
	for _, o := range p.Obligations() {
		if o.Kind == sallyport.LimitRate {
			lw.rate = rate.NewLimiter(rate.Limit(o.Value), int(min(o.Value, burst)))
		}
	}
	return lw
}

type limitedWriter struct {
	permit *guard.Permit
	w      io.Writer
	left   int64 // -1 = no limit
	rate   *rate.Limiter
}

func (l *limitedWriter) Write(b []byte) (int, error) {
	if l.left >= 0 && int64(len(b)) > l.left {
		return 0, sallyport.E("deliver", sallyport.TooLarge,
			fmt.Sprintf("the permission %s covers no more bytes than were delivered", l.permit.ID()), "ask for a grant with a higher limit")
	}
	written := 0
	for written < len(b) {
		chunk := b[written:]
		if l.rate != nil {
			chunk = chunk[:min(len(chunk), l.rate.Burst())]
			if err := l.rate.WaitN(l.permit.Context(), len(chunk)); err != nil {
				return written, cause(l.permit, err)
			}
		}
		if l.permit.Context().Err() != nil {
			return written, cause(l.permit, l.permit.Context().Err())
		}
		n, err := l.w.Write(chunk)
		written += n
		if cut := l.permit.Count(n); cut != nil {
			return written, cut
		}
		if err != nil {
			return written, err
		}
	}
	if l.left >= 0 {
		l.left -= int64(written)
	}
	return written, nil
}

// cause prefers the cut over the context's own error.
func cause(p *guard.Permit, err error) error {
	if c, ok := guard.AsCut(p.Context()); ok {
		return c
	}
	return err
}
