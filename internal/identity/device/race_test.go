package device_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/device"
)

// A device that was removed is never renewed, however close the two come: whatever certificate a renewal got is on the
// revocation list, and opens nothing.
func TestARemovedDeviceIsNeverRenewed(t *testing.T) {
	w := newWorld(t)
	_, y := w.enrol(t, "user:bo")
	lost := map[string]bool{}
	for range 6 {
		_, x := w.enrol(t, "user:ana")
		w.now = w.now.Add(2 * time.Minute)
		got := make([]device.Enrolled, 3)
		var all sync.WaitGroup
		for i := range got {
			all.Go(func() {
				var err error
				if got[i], err = w.Renew(t.Context(), x.Chain[0]); err != nil && sallyport.KindOf(err) != sallyport.Unknown && sallyport.KindOf(err) != sallyport.Busy {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			if _, err := w.Remove(t.Context(), x.Device.ID, "user:ana", "lost"); err != nil {
				t.Error(err)
			}
			if _, err := w.Renew(t.Context(), x.Chain[0]); sallyport.KindOf(err) != sallyport.Unknown || err == nil {
				t.Errorf("renewed after its removal: %v", err)
			}
		})
		all.Wait()
		lost[x.Device.Certificate.Serial] = true
		for _, x := range got {
			if x.Chain == nil {
				continue
			}
			lost[x.Device.Certificate.Serial] = true
			if _, err := w.ByCertificate(t.Context(), x.Chain[0]); sallyport.KindOf(err) != sallyport.Unknown || err == nil {
				t.Errorf("the certificate of a renewal counts: %v", err)
			}
		}
		if d, err := w.Get(t.Context(), x.Device.ID, ""); err != nil || d.Live() {
			t.Errorf("the device is %+v, %v", d, err)
		}
	}
	revoked, err := w.Store.Revoked(t.Context(), w.now)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range revoked {
		delete(lost, r.Serial)
		if r.Serial == y.Device.Certificate.Serial {
			t.Error("another's certificate is revoked")
		}
	}
	if len(lost) > 0 {
		t.Errorf("not on the list: %v", lost)
	}
}

// Of many enrolments at once, as many begin as may be open; others' begin, and so do theirs when those have ended.
func TestAFloodOfEnrolments(t *testing.T) {
	w := newWorld(t)
	begin := func(owner sallyport.PrincipalID) error {
		_, err := w.Begin(t.Context(), device.Start{Owner: owner, Name: "laptop"})
		return err
	}
	var begun atomic.Int64
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			if err := begin("user:ana"); err == nil {
				begun.Add(1)
			} else if sallyport.KindOf(err) != sallyport.Busy {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if begun.Load() != 5 {
		t.Errorf("%d began, want 5", begun.Load())
	}
	if err := begin("user:bo"); err != nil {
		t.Error(err)
	}
	w.now = w.now.Add(6 * time.Minute)
	if err := begin("user:ana"); err != nil {
		t.Error(err)
	}
}
