package device_test

import (
	"testing"

	"sallyport"
	"sallyport/internal/identity/device"
	"sallyport/internal/identity/device/tpm"
	"sallyport/internal/web/api"
)

// FuzzFinish sends whatever as the end of an enrolment, and wants no panic, no device and no error but the client's.
func FuzzFinish(f *testing.F) {
	f.Add([]byte{0x30, 0x82}, []byte{0x30}, []byte("answer"), []byte{0, 0x23}, []byte("\xffTCG\x80\x17"), []byte{0, 0x18}, "linux", "6.1", true)
	f.Add([]byte{}, []byte{}, []byte{}, []byte{}, []byte{}, []byte{}, "macos", "-1.x", false)
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, request, signature, answer, public, word, by []byte, family, version string, chip bool) {
		c, err := w.Begin(t.Context(), device.Start{Owner: "user:ana", Name: "laptop"})
		if err != nil {
			t.Fatal(err)
		}
		p := device.Proof{Owner: "user:ana", ID: c.ID, Request: request, Signed: signature, Answer: answer, Report: &device.Report{Family: family, Version: version}}
		if chip {
			p.Key = &tpm.Made{Public: public, Attestation: word, Signature: by}
		}
		if len(request)%2 == 0 { // a good request, and only the report is the fuzzer's
			l := newLaptop(t)
			p.Request, p.Signed = l.request, signed(t, l.key, api.ToSign(server, c.Nonce, l.request))
		}
		x, err := w.Finish(t.Context(), p)
		if err == nil {
			if _, err := w.Remove(t.Context(), x.Device.ID, "user:ana", ""); err != nil {
				t.Fatal(err)
			}
		}
		switch kind := sallyport.KindOf(err); {
		case err == nil && (x.Device.Level != device.Software || x.Device.Posture.Patched):
			t.Errorf("enrolled %+v", x.Device)
		case err != nil && kind != sallyport.Invalid && kind != sallyport.TooLarge:
			t.Error(err)
		}
	})
}
