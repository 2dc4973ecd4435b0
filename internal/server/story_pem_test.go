package server_test

import (
	"crypto/tls"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
)

// DV-1: programs that read a certificate and its key from a file are the device while both are good, and no longer.
func TestDevicePEM(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ana := r.As("ana")
	l := ana.Laptop("exporting", "")
	text, err := l.PEM()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(text.Reveal(), text.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := &laptop{wire: r.showing(func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil })}
	from := ana.From(elsewhere)
	from.Infer(base).Want(allowed)
	if e, _ := from.decided(from.last.decision); e.Asked == nil || e.Asked.Device == nil || e.Asked.Device.ID != l.ID() {
		t.Errorf("the record has no device: %+v", e.Asked)
	}
	from.who = nil
	from.Send(request{path: own()[client.API]})
	from.WantStatus(401) // a device is nobody
	if _, err := ana.who.client.RemoveDevice(t.Context(), l.ID(), "sold", false); err != nil {
		t.Fatal(err)
	}
	from = ana.From(elsewhere)
	from.Infer(base)
	if from.last.err == nil && from.last.status != 401 {
		t.Errorf("after the removal: %d", from.last.status)
	}
	r.clock.Add(25 * time.Hour)
	if _, err := l.PEM(); sallyport.KindOf(err) != sallyport.Invalid {
		t.Errorf("after its end: %v", err)
	}
}
