package place

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// database makes a file of documentation networks.
func database(t testing.TB, records map[string]mmdbtype.Map) []byte {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "Test", Description: map[string]string{"en": "made by a test"}, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for network, record := range records {
		_, block, err := net.ParseCIDR(network)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(block, record); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func city(country string, lat, lon float64, radius uint16) mmdbtype.Map {
	return mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(country)},
		"location": mmdbtype.Map{"latitude": mmdbtype.Float64(lat), "longitude": mmdbtype.Float64(lon), "accuracy_radius": mmdbtype.Uint16(radius)}}
}

func write(t testing.TB, path string, data []byte, at time.Time) {
	t.Helper()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path+".new", at, at); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func find(t testing.TB, a *Atlas, addr string) Place { return a.Find(netip.MustParseAddr(addr)) }

func TestFind(t *testing.T) {
	dir := t.TempDir()
	cities, networks := filepath.Join(dir, "city.mmdb"), filepath.Join(dir, "asn.mmdb")
	write(t, cities, database(t, map[string]mmdbtype.Map{"192.0.2.0/24": city("NO", 59.9, 10.7, 20), "2001:db8::/32": city("AU", -33.9, 151.2, 0),
		"198.51.100.0/24": {"country_code": mmdbtype.String("DE"), "asn": mmdbtype.String("AS64499")},
		"203.0.113.0/25":  {"country": mmdbtype.String("odd"), "location": mmdbtype.Map{"latitude": mmdbtype.Float64(400), "longitude": mmdbtype.Float64(1)}}}), time.Now())
	write(t, networks, database(t, map[string]mmdbtype.Map{"192.0.2.0/24": {"autonomous_system_number": mmdbtype.Uint32(64496)}}), time.Now())
	a, err := Open([]string{cities, networks}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]Place{
		"192.0.2.7":        {"NO", "AS64496", true, 59.9, 10.7, 20},
		"::ffff:192.0.2.7": {"NO", "AS64496", true, 59.9, 10.7, 20},
		"2001:db8:1::1":    {"AU", "", true, -33.9, 151.2, unsure},
		"198.51.100.1":     {Country: "DE", ASN: "AS64499"},
		"203.0.113.1":      {}, "203.0.113.200": {}, "10.0.0.1": {},
	} {
		if got := find(t, a, addr); got != want {
			t.Errorf("%s: %+v, want %+v", addr, got, want)
		}
	}
	if (a.Find(netip.Addr{}) != Place{}) {
		t.Error("no address has a place")
	}
	nowhere, err := Open(nil, nil)
	if err != nil || (find(t, nowhere, "192.0.2.7") != Place{}) {
		t.Errorf("without a file: %v", err)
	}
	if _, err := Open([]string{"1", "2", "3", "4", "5"}, nil); err == nil {
		t.Error("five files are opened")
	}
}

// RISK1: a damaged file, whatever the damage, leaves the old data in use, and is told of, once for each version.
func TestRISK1DamagedFileWhileServing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "city.mmdb")
	good := database(t, map[string]mmdbtype.Map{"192.0.2.0/24": city("NO", 59.9, 10.7, 20)})
	at := time.Now().Add(-time.Hour)
	write(t, path, good, at)
	var said bytes.Buffer
	a, err := Open([]string{path}, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	damage := map[string][]byte{"empty": {}, "half": good[:len(good)/2], "text": []byte("not a database"), "no end": good[:len(good)-20]}
	for _, i := range []int{1, len(good) / 4, len(good) / 2} {
		torn := bytes.Clone(good)
		for k := range 16 {
			torn[min(i+k, len(torn)-1)] = 0xff
		}
		damage["torn at "+strings.Repeat("i", i%7)] = torn
	}
	for name, data := range damage {
		said.Reset()
		at = at.Add(time.Minute)
		write(t, path, data, at)
		for range 2 {
			if err := a.Reload(t.Context()); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if p := find(t, a, "192.0.2.7"); p.Country != "NO" {
			t.Errorf("%s: the address lies in %q now", name, p.Country)
		}
		if n := strings.Count(said.String(), "level=ERROR"); n != 1 {
			t.Errorf("%s: told %d times, want once: %s", name, n, said.String())
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(t.Context()); err == nil || find(t, a, "192.0.2.7").Country != "NO" {
		t.Errorf("a file that is gone: %v", err)
	}
	write(t, path, database(t, map[string]mmdbtype.Map{"192.0.2.0/24": city("SE", 59.3, 18.1, 20)}), at.Add(time.Minute))
	if err := a.Reload(t.Context()); err != nil || find(t, a, "192.0.2.7").Country != "SE" {
		t.Errorf("a good file again: %v, %+v", err, find(t, a, "192.0.2.7"))
	}
	if err := a.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := Open([]string{path + ".none"}, nil); err == nil {
		t.Error("a start with a file that is not there succeeds")
	}
}

// The file is swapped while addresses are looked up: every answer is of one version.
func TestSwappedWhileServing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "city.mmdb")
	editions := [][]byte{database(t, map[string]mmdbtype.Map{"192.0.2.0/24": city("NO", 59.9, 10.7, 20)}), database(t, map[string]mmdbtype.Map{"192.0.2.0/24": city("SE", 59.3, 18.1, 30)})}
	at := time.Now().Add(-time.Hour)
	write(t, path, editions[0], at)
	a, err := Open([]string{path}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for ctx.Err() == nil {
				p := find(t, a, "192.0.2.7")
				if p.Country == "NO" && p.Radius != 20 || p.Country == "SE" && p.Radius != 30 || p.Country == "" {
					t.Errorf("%+v", p)
					return
				}
			}
		})
	}
	asking.Go(func() { a.Follow(ctx, time.Millisecond) })
	for i := range 20 {
		at = at.Add(time.Second)
		write(t, path, editions[i%2], at)
		time.Sleep(2 * time.Millisecond)
	}
	cancel()
	asking.Wait()
}

func FuzzOpen(f *testing.F) {
	good := database(f, map[string]mmdbtype.Map{"192.0.2.0/24": city("NO", 59.9, 10.7, 20)})
	f.Add(good, uint16(0), byte(0))
	f.Add(good[:100], uint16(0), byte(0))
	f.Add(good, uint16(len(good)-40), byte(0xff))
	path := filepath.Join(f.TempDir(), "x.mmdb")
	f.Fuzz(func(t *testing.T, data []byte, at uint16, with byte) {
		data = bytes.Clone(data)
		if int(at) < len(data) {
			data[at] ^= with
		}
		write(t, path, data, time.Now())
		a, err := Open([]string{path}, slog.New(slog.DiscardHandler))
		if err != nil {
			return
		}
		for _, s := range []string{"192.0.2.1", "2001:db8::1", "255.255.255.255"} {
			p := find(t, a, s)
			if len(p.Country) > 2 || len(p.ASN) > maxWord || p.Latitude > 90 || p.Longitude > 180 {
				t.Errorf("%s: %+v", s, p)
			}
		}
	})
}

func TestPrefix(t *testing.T) {
	for addr, want := range map[string]string{"192.0.2.7": "192.0.2.0/24", "::ffff:192.0.2.7": "192.0.2.0/24", "2001:db8:1:2::3": "2001:db8:1::/48", "fe80::1%eth0": "fe80::/48"} {
		if got := Prefix(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	if Prefix(netip.Addr{}) != "" {
		t.Error("no address has a prefix")
	}
}
