// Package obligation owns carrying out what a permit obliges (obligations of
// XACML 3.0, section 7.18): limits on the bytes of an answer and on their rate.
//
// A limit on bytes holds for one permit. A limit on the rate holds for everything
// that one principal takes from one resource through one Rates: many small ranges
// or many connections at once are no faster than one long download.
//
// It leaves deciding obligations to policy, and refusing those that a door cannot
// carry out to the guard.
package obligation

import (
	"context"
	"fmt"
	"io"
	"sync"

	"golang.org/x/time/rate"

	"sallyport"
	"sallyport/internal/enforce/guard"
)

// Kinds are the obligations that Writer carries out.
func Kinds() []sallyport.ObligationKind {
	return []sallyport.ObligationKind{sallyport.LimitBytes, sallyport.LimitRate}
}

// Bytes is how many bytes the permit covers in all, -1 when any number. Of several
// limits the lowest counts.
func Bytes(p *guard.Permit) int64 { return Lowest(p, sallyport.LimitBytes) }

// Lowest is the lowest value of a permit's obligations of a kind, -1 where it has none.
func Lowest(p *guard.Permit, kind sallyport.ObligationKind) int64 {
	least := int64(-1)
	for _, o := range p.Obligations() {
		if o.Kind == kind && (least < 0 || o.Value < least) {
			least = o.Value
		}
	}
	return least
}

// Burst is how many bytes may leave at once under limit-rate.
const Burst = 256 << 10

// maxRates bounds how many limiters are kept.
const maxRates = 4096

// Rates shares limits on the rate between the permits of one principal on one
// resource. The zero value is ready; its methods may be called from many
// goroutines.
type Rates struct {
	mu    sync.Mutex
	rates map[rateKey]*rate.Limiter
}

type rateKey struct {
	who   sallyport.PrincipalID
	on    sallyport.Resource
	value int64
}

// limiter returns the limiter for a permit, nil when its rate is not limited.
func (r *Rates) limiter(p *guard.Permit) *rate.Limiter {
	value := Lowest(p, sallyport.LimitRate)
	if value < 0 {
		return nil
	}
	key := rateKey{p.Who().ID, p.Resource(), value}
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.rates[key]
	if !ok {
		r.forget()
		l = rate.NewLimiter(rate.Limit(value), int(min(value, Burst)))
		r.rates[key] = l
	}
	return l
}

// forget makes room: a limiter that is full again is as good as a new one.
func (r *Rates) forget() {
	if r.rates == nil {
		r.rates = map[rateKey]*rate.Limiter{}
	}
	if len(r.rates) < maxRates {
		return
	}
	for k, l := range r.rates {
		if l.Tokens() >= float64(l.Burst()) {
			delete(r.rates, k)
		}
	}
	for k := range r.rates { // all in use: whoever goes starts again with a full burst
		if len(r.rates) < maxRates {
			break
		}
		delete(r.rates, k)
	}
}

// Writer returns a writer that hands bytes to w under the permit: it counts
// them, stops at limit-bytes, waits for limit-rate, and fails as soon as the
// permit is cut. It is for one goroutine.
func (r *Rates) Writer(p *guard.Permit, w io.Writer) *Limited {
	return &Limited{permit: p, w: w, left: Bytes(p), rate: r.limiter(p)}
}

// Writer is Rates.Writer for a permit that shares its rate with no other.
func Writer(p *guard.Permit, w io.Writer) io.Writer { return new(Rates).Writer(p, w) }

// A Limited is a writer under a permit.
type Limited struct {
	permit *guard.Permit
	w      io.Writer
	left   int64 // -1 = no limit
	rate   *rate.Limiter
}

// Write hands b on, all of it or none when limit-bytes does not cover it.
func (l *Limited) Write(b []byte) (int, error) {
	if l.left >= 0 && int64(len(b)) > l.left {
		return 0, sallyport.E("deliver", sallyport.TooLarge,
			fmt.Sprintf("the permission %s covers no more bytes than were delivered", l.permit.ID()), "ask for a grant with a higher limit")
	}
	written := 0
	for written < len(b) {
		n, err := l.chunk(b[written:])
		written += n
		if l.left >= 0 {
			l.left -= int64(n)
		}
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// chunk hands on as much of b as may leave at once.
func (l *Limited) chunk(b []byte) (int, error) {
	if l.rate != nil {
		b = b[:min(len(b), l.rate.Burst())]
	}
	if err := l.Wait(len(b)); err != nil {
		return 0, err
	}
	n, err := l.w.Write(b)
	if cut := l.permit.Count(n); cut != nil {
		return n, cut
	}
	return n, err
}

// Wait returns when n more bytes may leave under limit-rate, for bytes that do
// not go through Write. It fails as soon as the permit ends.
func (l *Limited) Wait(n int) error {
	for l.rate != nil && n > 0 {
		part := min(n, l.rate.Burst())
		if err := l.rate.WaitN(l.permit.Context(), part); err != nil {
			return cause(l.permit, err)
		}
		n -= part
	}
	if err := l.permit.Context().Err(); err != nil {
		return cause(l.permit, err)
	}
	return nil
}

// cause prefers the reason why the permit ended over the wait's own error, which
// may come early: a limiter does not begin a wait that a deadline would end.
func cause(p *guard.Permit, err error) error {
	if c, ok := guard.AsCut(p.Context()); ok {
		return c
	}
	if p.Context().Err() != nil {
		return context.Cause(p.Context())
	}
	return err
}
