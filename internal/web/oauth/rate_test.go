package oauth

import (
	"fmt"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"sallyport"
)

// One address starts so much and no more, and whoever has a /64 of IPv6 has one address.
func TestRatesCountNetworks(t *testing.T) {
	at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	for name, x := range map[string]struct {
		address func(i int) string
		most    int // of 2 * rateBurst
	}{
		"one IPv4 address":     {func(int) string { return "192.0.2.1" }, rateBurst},
		"several":              {func(i int) string { return fmt.Sprintf("192.0.2.%d", i%4) }, 2 * rateBurst},
		"IPv4 written as IPv6": {func(i int) string { return []string{"192.0.2.1", "::ffff:192.0.2.1"}[i%2] }, rateBurst},
		"one /64":              {func(i int) string { return fmt.Sprintf("2001:db8::%x", i+1) }, rateBurst},
		"one /64 with zones":   {func(i int) string { return fmt.Sprintf("fe80::1%%eth%d", i) }, rateBurst},
		"two /64":              {func(i int) string { return fmt.Sprintf("2001:db8:0:%d::1", i%2) }, 2 * rateBurst},
	} {
		l, passed := newRates(func() time.Time { return at }), 0
		for i := range 2 * rateBurst {
			r := httptest.NewRequestWithContext(t.Context(), "POST", "/oauth/device", nil)
			r.RemoteAddr = net.JoinHostPort(x.address(i), "1")
			switch err := l.check(r); {
			case err == nil:
				passed++
			case sallyport.KindOf(err) != sallyport.Busy:
				t.Fatal(err)
			}
		}
		if passed != x.most {
			t.Errorf("%s: %d of %d, want %d", name, passed, 2*rateBurst, x.most)
		}
	}
}
