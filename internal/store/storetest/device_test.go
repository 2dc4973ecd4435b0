package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/device/ca"
	"sallyport/internal/store/sqldb"
)

func TestDevice(t *testing.T) { Run(t, testDevice) }

func testDevice(t *testing.T, open func() *sqldb.DB) {
	first, second := open(), open()
	a, b := first.Device(), second.Device()
	at := time.Date(2026, 11, 20, 9, 0, 0, 1000, time.UTC)
	newDevice := func(id, spki string, owner sallyport.PrincipalID, age time.Duration) device.Device {
		return device.Device{ID: id, Owner: owner, Name: "laptop", Class: device.Standard, Level: device.Attested, Keys: device.Keys{SPKI: spki, JKT: "j" + spki},
			Hardware: "ff", Certificate: device.Certificate{Serial: id + "-1", Expires: at.Add(24 * time.Hour)}, State: device.Active, Created: at.Add(-age), Seen: at}
	}
	one, older, bos := newDevice("DV-1", "k1", "user:ana", 0), newDevice("DV-2", "k2", "user:ana", time.Hour), newDevice("DV-3", "k3", "user:bo", 2*time.Hour)
	one.Posture = device.Posture{At: at, OS: "linux 6.1", Updated: at.Add(-time.Hour), Patched: true, Encrypted: true, Locked: true, Stated: at.Add(time.Microsecond)}
	before, err := first.Latest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []device.Device{one, older, bos} {
		if err := a.Insert(t.Context(), d, 2); err != nil {
			t.Fatal(err)
		}
	}
	wantChange(t, second, before, sqldb.Device)
	if err := a.Insert(t.Context(), newDevice("DV-4", "k4", "user:ana", 0), 2); sallyport.KindOf(err) != sallyport.Busy {
		t.Errorf("a third device with two allowed: %v, want busy", err)
	}
	if err := a.Insert(t.Context(), newDevice("DV-4", "k1", "user:bo", 0), 9); sallyport.KindOf(err) != sallyport.Conflict {
		t.Errorf("a live device's key again: %v, want a conflict", err)
	}
	want := func(q device.Query, all ...device.Device) {
		t.Helper()
		if got, err := b.Devices(t.Context(), q); err != nil || fmt.Sprint(got) != fmt.Sprint(all) {
			t.Errorf("Devices(%+v) = %+v, %v; want %+v", q, got, err, all)
		}
	}
	want(device.Query{ID: "DV-1"}, one)
	want(device.Query{Owner: "user:ana"}, one, older)
	want(device.Query{SPKI: "k3"}, bos)
	want(device.Query{JKT: "jk2"}, older)
	want(device.Query{All: true}, one, older, bos)
	want(device.Query{SPKI: "none"})
	for _, q := range []device.Query{{}, {ID: "DV-1", All: true}} { // empty never means all
		if got, err := a.Devices(t.Context(), q); err == nil {
			t.Errorf("Devices(%+v) = %v, want an error", q, got)
		}
	}

	refused := errors.New("refused")
	if _, err := a.Update(t.Context(), "DV-1", func(d *device.Device) error { d.Name = "x"; return refused }); !errors.Is(err, refused) {
		t.Errorf("Update = %v, want the error of change", err)
	}
	want(device.Query{ID: "DV-1"}, one)
	if _, err := a.Update(t.Context(), "DV-9", func(*device.Device) error { return nil }); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("Update of none = %v, want not found", err)
	}

	one.Certificate = device.Certificate{Serial: "DV-1-2", Expires: at.Add(48 * time.Hour)}
	one.State, one.Ended, one.Why, one.Class, one.Against = device.Removed, at.Add(time.Minute), "lost", device.Admin, "old"
	one.Posture.Locked, one.Posture.At = false, at.Add(time.Second)
	got, err := a.Update(t.Context(), "DV-1", func(d *device.Device) error { *d = one; return nil })
	if err != nil || !reflect.DeepEqual(got, one) {
		t.Errorf("Update = %+v, %v; want %+v", got, err, one)
	}
	want(device.Query{ID: "DV-1"}, one)
	want(device.Query{SPKI: "k1"})
	want(device.Query{All: true}, older, bos)
	revoked := func(now time.Time, serials ...string) {
		t.Helper()
		got, err := b.Revoked(t.Context(), now)
		var have []string
		for _, r := range got {
			if !r.At.Equal(one.Ended) {
				t.Errorf("%s was revoked at %s, want %s", r.Serial, r.At, one.Ended)
			}
			have = append(have, r.Serial)
		}
		if err != nil || !reflect.DeepEqual(have, serials) {
			t.Errorf("Revoked = %v, %v; want %v", have, err, serials)
		}
	}
	revoked(at, "DV-1-1", "DV-1-2")
	revoked(at.Add(24*time.Hour), "DV-1-2")
	if err := a.Prune(t.Context(), at.Add(24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	revoked(at, "DV-1-2")
	if err := a.Insert(t.Context(), newDevice("DV-5", "k1", "user:bo", 0), 9); err != nil {
		t.Errorf("the key of a removed device: %v", err)
	}
}

func TestDeviceEnrolment(t *testing.T) { Run(t, testDeviceEnrolment) }

func testDeviceEnrolment(t *testing.T, open func() *sqldb.DB) {
	a, b := open().Device(), open().Device()
	at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	e := device.Enrolment{Hash: [32]byte{1}, Owner: "user:ana", Name: "laptop", Device: "DV-1", Nonce: []byte{0, 7}, AK: []byte{8}, Secret: [32]byte{9}, EK: "aa",
		Trusted: true, Expires: at.Add(time.Minute)}
	if err := a.Begin(t.Context(), e, 1, at); err != nil {
		t.Fatal(err)
	}
	second := e
	second.Hash = [32]byte{2}
	if err := b.Begin(t.Context(), second, 1, at); sallyport.KindOf(err) != sallyport.Busy {
		t.Errorf("a second open enrolment with one allowed: %v, want busy", err)
	}
	if err := b.Begin(t.Context(), second, 1, e.Expires); err != nil {
		t.Errorf("after the first has expired: %v", err)
	}
	wantOneWinner(t, func(i int) bool {
		got, err := []device.Store{a, b}[i%2].Take(t.Context(), e.Hash)
		return err == nil && reflect.DeepEqual(got, e)
	})
	if err := a.Prune(t.Context(), e.Expires); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Take(t.Context(), second.Hash); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("an expired enrolment is kept: %v", err)
	}
}

func TestDeviceAuthority(t *testing.T) { Run(t, testDeviceAuthority) }

func testDeviceAuthority(t *testing.T, open func() *sqldb.DB) {
	a, b := open().DeviceAuthority(), open().DeviceAuthority()
	at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	record := func(id, parent string) ca.Record {
		return ca.Record{ID: id, Parent: parent, Certificate: []byte{0, 1}, Sealed: []byte{2, 0}, Made: at}
	}
	want := func(all ...ca.Record) {
		t.Helper()
		if got, err := b.Authorities(t.Context()); err != nil || fmt.Sprint(got) != fmt.Sprint(all) {
			t.Errorf("Authorities = %+v, %v; want %+v", got, err, all)
		}
	}
	wantOneWinner(t, func(i int) bool {
		return []ca.Store{a, b}[i%2].Succeed(t.Context(), "", []ca.Record{record("r1", ""), record("s1", "r1")}, at) == nil
	})
	want(record("r1", ""), record("s1", "r1"))
	wantOneWinner(t, func(i int) bool {
		return []ca.Store{a, b}[i%2].Succeed(t.Context(), "s1", []ca.Record{record("s2", "r1")}, at.Add(time.Hour)) == nil
	})
	old := record("s1", "r1")
	old.Retired = at.Add(time.Hour)
	want(record("r1", ""), old, record("s2", "r1"))
	if err := a.Succeed(t.Context(), "s2", []ca.Record{record("r2", ""), record("s3", "r2")}, at.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := a.Forget(t.Context(), []string{"r1", "s1", "s2", "r2", "s3"}); err != nil { // what signs is not forgotten
		t.Fatal(err)
	}
	want(record("r2", ""), record("s3", "r2"))
}
