package device_test

import (
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/jose"
	"sallyport/internal/web/api"
)

func TestSoftwareEnrolment(t *testing.T) {
	w := newWorld(t)
	l, x := w.enrol(t, "user:ana")
	d := x.Device
	if d.Owner != "user:ana" || d.Level != device.Software || d.Class != device.Standard || !d.Live() || d.Hardware != "" || d.Keys.JKT != jose.Thumbprint(l.key.Public()) ||
		d.Posture.OS != "linux 6.1.0-28-amd64" || !d.Posture.Patched || !d.Posture.Encrypted || !d.Certificate.Expires.Equal(w.now.Add(24*time.Hour)) {
		t.Errorf("enrolled %+v", d)
	}
	if w.noted(sallyport.EventDeviceEnrolled) != 1 {
		t.Error("the enrolment was not recorded once")
	}
	leaf, err := x509.ParseCertificate(x.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	if id, err := w.CA.Verify(t.Context(), []*x509.Certificate{leaf}); id != d.ID || err != nil {
		t.Errorf("the certificate names %q, %v", id, err)
	}
	index := device.NewIndex([]device.Device{d})
	for name, find := range map[string]func() (device.Device, error){
		"by certificate": func() (device.Device, error) { return w.ByCertificate(t.Context(), x.Chain[0]) },
		"by key":         func() (device.Device, error) { return w.ByKey(t.Context(), d.Keys.JKT) },
		"by spelled key": func() (device.Device, error) { return w.ByKey(t.Context(), "jkt:"+d.Keys.JKT) },
		"by id":          func() (device.Device, error) { return w.Get(t.Context(), d.ID, "user:ana") },
		"index by certificate": func() (device.Device, error) {
			d, ok := index.ByCertificate(leaf)
			return d, okErr(ok)
		},
		"index by key": func() (device.Device, error) { d, ok := index.ByKey("jkt:" + d.Keys.JKT); return d, okErr(ok) },
		"index by id":  func() (device.Device, error) { d, ok := index.ByID(d.ID); return d, okErr(ok) },
	} {
		if got, err := find(); err != nil || got != d {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, ok := index.ByKey(""); ok {
		t.Error("no key finds a device")
	}
	other, _ := newWorld(t).enrol(t, "user:ana")
	_, err = w.ByKey(t.Context(), jose.Thumbprint(other.key.Public()))
	wantKind(t, "a strange key", err, sallyport.Unknown)
	_, err = w.ByCertificate(t.Context(), []byte("x"))
	wantKind(t, "no certificate", err, sallyport.Unknown)
	w.now = w.now.Add(25 * time.Hour)
	_, err = w.ByCertificate(t.Context(), x.Chain[0])
	wantKind(t, "an old certificate", err, sallyport.Unknown)
}

func okErr(ok bool) error {
	if ok {
		return nil
	}
	return fmt.Errorf("not found")
}

// TestDEV3 wants nobody to enrol, finish, renew, see or end what is somebody else's.
func TestDEV3(t *testing.T) {
	w := newWorld(t)
	_, x := w.enrol(t, "user:ana")
	_, err := w.Begin(t.Context(), device.Start{Owner: "user:bo", Device: x.Device.ID})
	wantKind(t, "renewing another's device", err, sallyport.NotFound)
	_, err = w.Get(t.Context(), x.Device.ID, "user:bo")
	wantKind(t, "seeing another's device", err, sallyport.NotFound)

	c, err := w.Begin(t.Context(), device.Start{Owner: "user:ana", Name: "second"})
	if err != nil {
		t.Fatal(err)
	}
	l := newLaptop(t)
	_, err = w.Finish(t.Context(), l.proof(t, "user:bo", c))
	wantKind(t, "finishing another's enrolment", err, sallyport.NotFound)
	_, err = w.Finish(t.Context(), l.proof(t, "user:ana", c))
	wantKind(t, "the enrolment after somebody else tried it", err, sallyport.NotFound)
	_, err = w.Finish(t.Context(), l.proof(t, "user:ana", device.Challenge{ID: "made up"}))
	wantKind(t, "an enrolment that never began", err, sallyport.NotFound)
	for _, name := range []string{"", "Laptop", "a/b", strings.Repeat("a", 64)} {
		_, err = w.Begin(t.Context(), device.Start{Owner: "user:ana", Name: name})
		wantKind(t, "the name "+name, err, sallyport.Invalid)
	}
	if n := w.noted(sallyport.EventDeviceEnrolled); n != 1 {
		t.Errorf("%d enrolments recorded, want one", n)
	}
}

// TestProofsThatProveNothing spends one enrolment on each.
func TestProofsThatProveNothing(t *testing.T) {
	w := newWorld(t)
	ana, enrolled := w.enrol(t, "user:ana")
	other := newLaptop(t)
	for name, change := range map[string]func(l *laptop, c device.Challenge, p *device.Proof){
		"no request":        func(_ *laptop, _ device.Challenge, p *device.Proof) { p.Request = nil },
		"a huge request":    func(_ *laptop, _ device.Challenge, p *device.Proof) { p.Request = make([]byte, 1<<16) },
		"a damaged request": func(_ *laptop, _ device.Challenge, p *device.Proof) { p.Request[len(p.Request)-4] ^= 1 },
		"no signature":      func(_ *laptop, _ device.Challenge, p *device.Proof) { p.Signed = nil },
		"another nonce": func(l *laptop, _ device.Challenge, p *device.Proof) {
			p.Signed = signed(t, l.key, api.ToSign(server, []byte("x"), l.request))
		},
		"another server": func(l *laptop, c device.Challenge, p *device.Proof) {
			p.Signed = signed(t, l.key, api.ToSign("https://evil.example", c.Nonce, l.request))
		},
		"another's request": func(_ *laptop, _ device.Challenge, p *device.Proof) { p.Request = other.request },
		"another's signature": func(l *laptop, c device.Challenge, p *device.Proof) {
			p.Signed = signed(t, other.key, api.ToSign(server, c.Nonce, l.request))
		},
		"a key enrolled already":  func(_ *laptop, c device.Challenge, p *device.Proof) { *p = ana.proof(t, "user:ana", c) },
		"an impossible report":    func(_ *laptop, _ device.Challenge, p *device.Proof) { p.Report.Family = "plan9" },
		"a report of the future":  func(_ *laptop, _ device.Challenge, p *device.Proof) { p.Report.Updated = w.now.Add(time.Hour) },
		"a report with no number": func(_ *laptop, _ device.Challenge, p *device.Proof) { p.Report.Version = "sid" },
	} {
		t.Run(name, func(t *testing.T) {
			c, err := w.Begin(t.Context(), device.Start{Owner: "user:ana", Name: "laptop"})
			if err != nil {
				t.Fatal(err)
			}
			l := newLaptop(t)
			p := l.proof(t, "user:ana", c)
			change(&l, c, &p)
			x, err := w.Finish(t.Context(), p)
			if err == nil || x.Chain != nil {
				t.Errorf("enrolled: %+v", x)
			}
			if k := sallyport.KindOf(err); k != sallyport.Invalid && k != sallyport.TooLarge && k != sallyport.Conflict {
				t.Errorf("%v", err)
			}
			_, err = w.Finish(t.Context(), l.proof(t, "user:ana", c))
			wantKind(t, "a second try", err, sallyport.NotFound)
		})
	}
	if all, err := w.Dump(t.Context()); err != nil || len(all) != 1 || all[0] != enrolled.Device {
		t.Errorf("devices: %+v, %v; want the first alone", all, err)
	}
}

func TestEnrolmentsEnd(t *testing.T) {
	w := newWorld(t)
	c, err := w.Begin(t.Context(), device.Start{Owner: "user:ana", Name: "laptop"})
	if err != nil {
		t.Fatal(err)
	}
	w.now = c.Expires
	_, err = w.Finish(t.Context(), newLaptop(t).proof(t, "user:ana", c))
	wantKind(t, "too late", err, sallyport.NotFound)
	if err := w.Tend(t.Context()); err != nil {
		t.Error(err)
	}
	for i := range 6 {
		_, err = w.Begin(t.Context(), device.Start{Owner: "user:ana", Name: "laptop"})
		if i < 5 && err != nil {
			t.Fatal(err)
		}
	}
	wantKind(t, "a sixth open enrolment", err, sallyport.Busy)
}

// TestEnrolmentIsExactlyOnce has many clients end one enrolment at once.
func TestEnrolmentIsExactlyOnce(t *testing.T) {
	w := newWorld(t)
	c, err := w.Begin(t.Context(), device.Start{Owner: "user:ana", Name: "laptop"})
	if err != nil {
		t.Fatal(err)
	}
	l := newLaptop(t)
	p := l.proof(t, "user:ana", c)
	var all sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 16 {
		all.Go(func() {
			if _, err := w.Finish(t.Context(), p); err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if devices, err := w.Dump(t.Context()); err != nil || won != 1 || len(devices) != 1 || w.noted(sallyport.EventDeviceEnrolled) != 1 {
		t.Errorf("%d won, %d devices, %d records, %v; want one of each", won, len(devices), w.noted(sallyport.EventDeviceEnrolled), err)
	}
}

func TestNothingWithoutARecord(t *testing.T) {
	w := newWorld(t)
	_, x := w.enrol(t, "user:ana")
	c, err := w.Begin(t.Context(), device.Start{Owner: "user:ana", Name: "second"})
	if err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(2 * time.Minute)
	w.broken = sallyport.Wrap("record", sallyport.Unavailable, "", errDisk)
	report := *good()
	report.Locked = false
	for name, do := range map[string]func() error{
		"enrolment": func() error { _, err := w.Finish(t.Context(), newLaptop(t).proof(t, "user:ana", c)); return err },
		"renewal":   func() error { _, err := w.Renew(t.Context(), x.Chain[0]); return err },
		"report":    func() error { _, err := w.Report(t.Context(), x.Chain[0], report); return err },
		"removal":   func() error { _, err := w.Remove(t.Context(), x.Device.ID, "user:ana", "lost"); return err },
		"class":     func() error { _, err := w.Classify(t.Context(), x.Device.ID, device.Admin, "user:bo"); return err },
		"comply":    func() error { _, err := w.Comply(t.Context(), x.Device.ID, false, "old"); return err },
	} {
		wantKind(t, name, do(), sallyport.Unavailable)
	}
	if all, err := w.Dump(t.Context()); err != nil || len(all) != 1 || all[0] != x.Device {
		t.Errorf("something changed without a record: %+v, %v", all, err)
	}
}

func TestRenewal(t *testing.T) {
	w := newWorld(t)
	l, x := w.enrol(t, "user:ana")
	_, err := w.Renew(t.Context(), x.Chain[0])
	wantKind(t, "at once", err, sallyport.Busy)
	w.now = w.now.Add(16 * time.Hour)
	y, err := w.Renew(t.Context(), x.Chain[0])
	if err != nil || y.Device.ID != x.Device.ID || !y.Device.Certificate.Expires.Equal(w.now.Add(24*time.Hour)) || y.Device.Keys != x.Device.Keys {
		t.Fatalf("renewed %+v, %v", y.Device, err)
	}
	for _, chain := range [][][]byte{x.Chain, y.Chain} { // the old one counts until it ends
		if _, err := w.ByCertificate(t.Context(), chain[0]); err != nil {
			t.Error(err)
		}
	}
	w.now = w.now.Add(25 * time.Hour)
	_, err = w.Renew(t.Context(), y.Chain[0])
	wantKind(t, "over a certificate that has ended", err, sallyport.Unknown)

	// Its owner signs in and renews it over the same key, and over no other.
	again := func(l laptop) error {
		c, err := w.Begin(t.Context(), device.Start{Owner: "user:ana", Device: x.Device.ID})
		if err != nil {
			t.Fatal(err)
		}
		z, err := w.Finish(t.Context(), l.proof(t, "user:ana", c))
		if err == nil && z.Device.ID != x.Device.ID {
			t.Errorf("renewed %s, want %s", z.Device.ID, x.Device.ID)
		}
		return err
	}
	wantKind(t, "with another key", again(newLaptop(t)), sallyport.Invalid)
	if err := again(l); err != nil {
		t.Error(err)
	}
	if n := w.noted(sallyport.EventDeviceRenewed); n != 2 {
		t.Errorf("%d renewals recorded, want 2", n)
	}
	if all, err := w.Dump(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%d devices, %v", len(all), err)
	}
}

func TestRemoval(t *testing.T) {
	w := newWorld(t)
	l, x := w.enrol(t, "user:ana")
	_, second := w.enrol(t, "user:ana")
	w.now = w.now.Add(time.Hour)
	y, err := w.Renew(t.Context(), x.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, why := range []string{"lost", "again"} {
		d, err := w.Remove(t.Context(), x.Device.ID, "user:ana", why)
		if err != nil || d.Live() || d.Why != "lost" {
			t.Errorf("removed %+v, %v", d, err)
		}
	}
	for _, chain := range [][][]byte{x.Chain, y.Chain} {
		_, err = w.ByCertificate(t.Context(), chain[0])
		wantKind(t, "a removed device's certificate", err, sallyport.Unknown)
		_, err = w.Renew(t.Context(), chain[0])
		wantKind(t, "renewal of a removed device", err, sallyport.Unknown)
		_, err = w.Report(t.Context(), chain[0], *good())
		wantKind(t, "report of a removed device", err, sallyport.Unknown)
	}
	_, err = w.ByKey(t.Context(), x.Device.Keys.JKT)
	wantKind(t, "a removed device's key", err, sallyport.Unknown)
	_, err = w.Begin(t.Context(), device.Start{Owner: "user:ana", Device: x.Device.ID})
	wantKind(t, "renewal by its owner", err, sallyport.NotFound)
	_, err = w.Classify(t.Context(), x.Device.ID, device.Admin, "user:bo")
	wantKind(t, "promotion", err, sallyport.NotFound)
	_, err = w.Remove(t.Context(), "DV-9", "user:ana", "")
	wantKind(t, "one that never was", err, sallyport.NotFound)

	der, err := w.Revoked(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil || len(list.RevokedCertificateEntries) != 2 {
		t.Errorf("%d certificates revoked, %v; want both of the removed device", len(list.RevokedCertificateEntries), err)
	}
	if all, err := w.List(t.Context(), "user:ana"); err != nil || len(all) != 2 {
		t.Errorf("list: %v, %v; removed ones stay to be seen", all, err)
	}
	if n, err := w.RemoveAll(t.Context(), "user:ana", "user:bo", "left"); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	_, err = w.ByCertificate(t.Context(), second.Chain[0])
	wantKind(t, "a device of somebody who left", err, sallyport.Unknown)
	if n := w.noted(sallyport.EventDeviceRemoved); n != 2 {
		t.Errorf("%d removals recorded, want 2", n)
	}
	// The same key is a new device, if its owner enrols it again.
	c, err := w.Begin(t.Context(), device.Start{Owner: "user:ana", Name: "laptop"})
	if err != nil {
		t.Fatal(err)
	}
	z, err := w.Finish(t.Context(), l.proof(t, "user:ana", c))
	if err != nil || z.Device.ID == x.Device.ID {
		t.Fatalf("enrolled again: %s, %v", z.Device.ID, err)
	}
	_, err = w.ByCertificate(t.Context(), x.Chain[0]) // over the same key, and named after the one that was removed
	wantKind(t, "the removed device's certificate", err, sallyport.Unknown)
	leaf, err := x509.ParseCertificate(x.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := device.NewIndex([]device.Device{z.Device}).ByCertificate(leaf); ok {
		t.Error("the removed device's certificate finds the new device")
	}
}

func TestClasses(t *testing.T) {
	w := newWorld(t)
	_, x := w.enrol(t, "user:ana")
	_, service := w.enrol(t, "service:trainer")
	for _, by := range []struct {
		id string
		by sallyport.PrincipalID
	}{{x.Device.ID, "user:ana"}, {service.Device.ID, "user:ana"}, {x.Device.ID, "service:trainer"}} {
		_, err := w.Classify(t.Context(), by.id, device.Admin, by.by)
		wantKind(t, fmt.Sprint("promotion of ", by.id, " by ", by.by), err, sallyport.Conflict)
	}
	if d, err := w.Classify(t.Context(), x.Device.ID, device.Admin, "user:bo"); err != nil || d.Class != device.Admin {
		t.Errorf("promoted: %+v, %v", d, err)
	}
	if d, err := w.Classify(t.Context(), x.Device.ID, device.Standard, "user:ana"); err != nil || d.Class != device.Standard {
		t.Errorf("taken back: %+v, %v", d, err)
	}
	_, err := w.Classify(t.Context(), x.Device.ID, "root", "user:bo")
	wantKind(t, "a class that there is not", err, sallyport.Invalid)
	w.Admin = device.Attested
	_, err = w.Classify(t.Context(), x.Device.ID, device.Admin, "user:bo")
	wantKind(t, "a key in software, where hardware is asked for", err, sallyport.Conflict)
}
