package device_test

import (
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/device"
)

func TestPosture(t *testing.T) {
	w := newWorld(t)
	_, x := w.enrol(t, "user:ana")
	if p, age := x.Device.Reported(w.now.Add(90 * time.Second)); age != 90*time.Second || !p.Patched || !p.Encrypted || !p.Locked {
		t.Errorf("posture %+v, age %s", p, age)
	}
	if _, age := (device.Device{}).Reported(w.now); age >= 0 {
		t.Errorf("a device that never reported has a posture %s old", age)
	}
	w.now = w.now.Add(time.Hour)
	d, err := w.Report(t.Context(), x.Chain[0], *good())
	if err != nil || w.noted(sallyport.EventDevicePosture) != 0 || !d.Posture.At.Equal(w.now) {
		t.Errorf("the same report: %+v, %v, %d records; want it fresh and nothing recorded", d.Posture, err, w.noted(sallyport.EventDevicePosture))
	}
	worse := *good()
	worse.Locked = false
	if d, err = w.Report(t.Context(), x.Chain[0], worse); err != nil || d.Posture.Locked || w.noted(sallyport.EventDevicePosture) != 1 {
		t.Errorf("a worse report: %+v, %v", d.Posture, err)
	}
}

func TestPatched(t *testing.T) {
	w := newWorld(t)
	_, x := w.enrol(t, "user:ana")
	day := 24 * time.Hour
	for name, test := range map[string]struct {
		change func(*device.Report)
		want   bool
	}{
		"as it is":              {func(*device.Report) {}, true},
		"long ago":              {func(r *device.Report) { r.Updated = w.now.Add(-30*day - time.Second) }, false},
		"just in time":          {func(r *device.Report) { r.Updated = w.now.Add(-30 * day) }, true},
		"not known":             {func(r *device.Report) { r.Updated = time.Time{} }, false},
		"an older version":      {func(r *device.Report) { r.Version = "6.0.99" }, false},
		"the least version":     {func(r *device.Report) { r.Version = "6.1" }, true},
		"a much newer version":  {func(r *device.Report) { r.Version = "10" }, true},
		"a shorter version":     {func(r *device.Report) { r.Version = "6" }, false},
		"a family without rule": {func(r *device.Report) { r.Family, r.Version = "macos", "11" }, true},
	} {
		r := *good()
		test.change(&r)
		if d, err := w.Report(t.Context(), x.Chain[0], r); err != nil || d.Posture.Patched != test.want {
			t.Errorf("%s: patched %v, %v; want %v", name, d.Posture.Patched, err, test.want)
		}
	}
	w.Rule = device.Rule{}
	if d, err := w.Report(t.Context(), x.Chain[0], *good()); err != nil || d.Posture.Patched {
		t.Errorf("without a rule: patched %v, %v; want that nothing is", d.Posture.Patched, err)
	}
}

// TestCompliance wants device management's word to outweigh the device's own.
func TestCompliance(t *testing.T) {
	w := newWorld(t)
	_, x := w.enrol(t, "user:ana")
	for range 2 {
		if d, err := w.Comply(t.Context(), x.Device.ID, false, "jailbroken"); err != nil || d.Against != "jailbroken" {
			t.Fatalf("%+v, %v", d, err)
		}
	}
	d, err := w.Report(t.Context(), x.Chain[0], *good())
	if err != nil {
		t.Fatal(err)
	}
	if p, age := d.Reported(w.now); age < 0 || p.Patched || p.Encrypted || p.Locked || p.OS == "" {
		t.Errorf("of a device that does not comply is believed: %+v", p)
	}
	if d, err = w.Comply(t.Context(), x.Device.ID, true, ""); err != nil || d.Against != "" {
		t.Fatalf("%+v, %v", d, err)
	}
	if p, _ := d.Reported(w.now); !p.Encrypted {
		t.Error("a device that complies again is not believed")
	}
	if n := w.noted(sallyport.EventDevicePosture); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
	if d, err := w.Comply(t.Context(), x.Device.ID, false, ""); err != nil || d.Against == "" {
		t.Errorf("without a reason: %+v, %v", d, err)
	}
	_, err = w.Comply(t.Context(), "DV-9", false, "")
	wantKind(t, "of none", err, sallyport.NotFound)
}
