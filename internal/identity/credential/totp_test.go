package credential

import (
	"testing"
	"time"

	"github.com/pquerna/otp"
)

// The vectors of RFC 6238 appendix B for SHA-1, less the first two of their eight digits.
func TestMatchStepRFC6238(t *testing.T) {
	key := []byte("12345678901234567890")
	for at, code := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		for skew, want := range map[int64]bool{-60: false, -30: true, 0: true, 30: true, 60: false} {
			if at+skew < 0 {
				continue
			}
			step, ok, err := matchStep(key, code, time.Unix(at+skew, 0))
			if err != nil || ok != want || ok && step != at/30 {
				t.Errorf("code of %d at %d: step %d, %v, %v; want %v", at, at+skew, step, ok, err, want)
			}
		}
	}
	for _, code := range []string{"", "28708", "2870821", "28708２", "287082\x00", "-87082", "94287082"} {
		if _, ok, _ := matchStep(key, code, time.Unix(59, 0)); ok {
			t.Errorf("code %q was accepted", code)
		}
	}
	if _, ok, _ := matchStep(key, " 287 082 ", time.Unix(59, 0)); !ok {
		t.Error("a code with the spaces that apps show was refused")
	}
}

// The address is read by somebody else's parser.
func TestGeneratorAddress(t *testing.T) {
	s := &Service{Issuer: "Sallyport at Acme & Co"}
	g := s.generator("user:ana", []byte("12345678901234567890"))
	key, err := otp.NewKeyFromURL(g.URI.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if key.Issuer() != s.Issuer || key.AccountName() != "ana" || key.Secret() != "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" || key.Secret() != g.Secret.Reveal() ||
		key.Period() != 30 || key.Digits() != otp.DigitsSix || key.Algorithm() != otp.AlgorithmSHA1 {
		t.Errorf("%s is read as %q %q %q", g.URI.Reveal(), key.Issuer(), key.AccountName(), key.Secret())
	}
}
