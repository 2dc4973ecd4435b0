package oauth

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"sallyport"
	"sallyport/internal/plumbing/httpsafe"
)

// Limits for one address (of IPv6, one /64) on the endpoints that keep a row for whoever asks.
const (
	rateEvery = 2 * time.Second
	rateBurst = 60
	rateMost  = 4096 // addresses that are remembered
)

// rates bounds how often one address starts something. Addresses beyond the most are forgotten all at once: whoever
// floods from thousands of them gets a new burst each time, and the rows they leave are swept.
type rates struct {
	now func() time.Time
	mu  sync.Mutex
	at  map[string]*rate.Limiter
}

func newRates(now func() time.Time) *rates { return &rates{now: now, at: map[string]*rate.Limiter{}} }

// network is whom an address counts as: of IPv6 everybody has the whole of a /64.
func network(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil || !addr.Is6() {
		return ip
	}
	return netip.PrefixFrom(addr, 64).Masked().String()
}

func (l *rates) check(r *http.Request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	address := network(httpsafe.PeerIP(r))
	one, ok := l.at[address]
	if !ok {
		if len(l.at) >= rateMost {
			clear(l.at)
		}
		one = rate.NewLimiter(rate.Every(rateEvery), rateBurst)
		l.at[address] = one
	}
	if !one.AllowN(l.now(), 1) {
		return sallyport.E("request", sallyport.Busy, "too many requests from this address", "wait some seconds").Because("rate")
	}
	return nil
}
