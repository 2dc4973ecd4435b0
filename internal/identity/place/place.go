// Package place owns the operator's files that say where addresses lie: country, network operator (autonomous system,
// RFC 1930) and coordinates, in the MaxMind DB format 2.0. A file that changes is read anew; one that is damaged leaves
// the data before it in use, loudly.
//
// No file comes with the program, and without one every address lies nowhere. What a place means to a sign-in is
// identity/risk's.
package place

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"sallyport"
)

const (
	maxFile  = 2 << 30 // bytes; the largest files there are have a quarter of it
	maxFiles = 4
	maxWord  = 64   // bytes of a country or a network
	unsure   = 50.0 // km, where a file does not say how exact it is
)

// A Place is what is known of an address. What is not known is the zero value.
type Place struct {
	Country   string // ISO 3166-1, two letters
	ASN       string // "AS64496"
	Located   bool   // the coordinates are known
	Latitude  float64
	Longitude float64
	Radius    float64 // km
}

// An Atlas finds places. Its methods may be called from many goroutines.
type Atlas struct {
	files  []*file
	logger *slog.Logger
}

// A file is one database in use, and what it was read from.
type file struct {
	path string
	read atomic.Pointer[edition]
	bad  stamp // the one that could not be used; only Reload looks at it
}

type edition struct {
	stamp
	reader *maxminddb.Reader
}

type stamp struct {
	modified time.Time
	size     int64
}

// Open reads files in the MaxMind DB format; of two that know the same, the first counts. An atlas of no file is fine.
func Open(paths []string, logger *slog.Logger) (*Atlas, error) {
	if len(paths) > maxFiles {
		return nil, sallyport.E("open places", sallyport.Invalid, fmt.Sprintf("%d files", len(paths)), fmt.Sprintf("name at most %d", maxFiles))
	}
	a := &Atlas{logger: logger}
	for _, path := range paths {
		f := &file{path: path}
		if _, err := f.reload(); err != nil {
			return nil, err
		}
		a.files = append(a.files, f)
	}
	return a, nil
}

// Find returns the place of an address, the zero value for one that no file knows.
func (a *Atlas) Find(addr netip.Addr) Place {
	var p Place
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return p
	}
	for _, f := range a.files {
		e := f.read.Load()
		if found := e.reader.Lookup(addr); found.Found() {
			p.fill(found)
		}
	}
	return p
}

// fill takes what is not known yet from a record, in the shapes of GeoLite2 and DB-IP (nested) and of IPinfo (flat).
func (p *Place) fill(r maxminddb.Result) {
	if p.Country == "" {
		p.Country = country(text(r, "country", "iso_code"), text(r, "country_code"))
	}
	if p.ASN == "" {
		var n uint32
		if err := r.DecodePath(&n, "autonomous_system_number"); err == nil && n > 0 {
			p.ASN = "AS" + strconv.FormatUint(uint64(n), 10)
		} else if s := text(r, "asn"); strings.HasPrefix(s, "AS") {
			p.ASN = s
		}
	}
	if p.Located {
		return
	}
	var lat, lon float64
	var radius uint16
	if r.DecodePath(&lat, "location", "latitude") != nil || r.DecodePath(&lon, "location", "longitude") != nil || lat == 0 && lon == 0 ||
		lat < -90 || lat > 90 || lon < -180 || lon > 180 {
		return
	}
	p.Located, p.Latitude, p.Longitude, p.Radius = true, lat, lon, unsure
	if r.DecodePath(&radius, "location", "accuracy_radius") == nil && radius > 0 {
		p.Radius = float64(radius)
	}
}

// text reads a word of a record, "" where there is none of this shape.
func text(r maxminddb.Result, path ...any) string {
	var s string
	if err := r.DecodePath(&s, path...); err != nil || len(s) > maxWord {
		return ""
	}
	return s
}

// country is the first that is two letters.
func country(spelled ...string) string {
	for _, s := range spelled {
		if len(s) == 2 && s == strings.ToUpper(s) {
			return s
		}
	}
	return ""
}

// Reload reads the files that changed. One that cannot be used leaves its former data in use; the error names it, and is
// logged once for each version of the file.
func (a *Atlas) Reload(ctx context.Context) error {
	var first error
	for _, f := range a.files {
		changed, err := f.reload()
		switch {
		case err != nil && changed:
			a.logger.ErrorContext(ctx, "a file of places cannot be used; the data before it stay in use", "file", f.path, "err", err)
			fallthrough
		case err != nil:
			if first == nil {
				first = err
			}
		case changed:
			a.logger.InfoContext(ctx, "a file of places was read", "file", f.path)
		}
	}
	return first
}

// Follow reloads every interval until ctx ends.
func (a *Atlas) Follow(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for len(a.files) > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = a.Reload(ctx) // it is logged, and tried again
		}
	}
}

// reload reads a file unless it is the one in use, and says whether it is one that was not looked at before.
func (f *file) reload() (changed bool, err error) {
	info, err := os.Stat(f.path)
	if err != nil {
		changed = f.bad != stamp{size: -1}
		f.bad = stamp{size: -1}
		return changed, unusable(f.path, err)
	}
	now := stamp{info.ModTime(), info.Size()}
	if e := f.read.Load(); e != nil && e.stamp == now {
		f.bad = stamp{}
		return false, nil
	}
	changed = now != f.bad
	if !changed && f.bad != (stamp{}) {
		return false, unusable(f.path, fmt.Errorf("it has not changed since it was found damaged"))
	}
	reader, err := open(f.path)
	if err != nil {
		f.bad = now
		return changed, unusable(f.path, err)
	}
	f.bad = stamp{}
	f.read.Store(&edition{now, reader})
	return true, nil
}

// open reads a whole file into memory, where nobody changes it, and checks all of it before it is used.
func open(path string) (*maxminddb.Reader, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	raw, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxFile {
		return nil, fmt.Errorf("it is over %d bytes", maxFile)
	}
	reader, err := maxminddb.OpenBytes(raw)
	if err != nil {
		return nil, err
	}
	if err := reader.Verify(); err != nil {
		return nil, err
	}
	return reader, nil
}

func unusable(path string, err error) error {
	return sallyport.Wrap("read places", sallyport.Invalid, "the file "+path+" is not a MaxMind DB that can be used", err)
}

// Prefix cuts an address to what is kept of it: the /24 of an IPv4, the /48 of an IPv6 address; "" of none.
func Prefix(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	p, err := addr.Prefix(bits)
	if err != nil || !p.IsValid() {
		return ""
	}
	return p.String()
}
