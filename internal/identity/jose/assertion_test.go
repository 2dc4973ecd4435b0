package jose_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
)

func assertion() jose.AssertionWant {
	return jose.AssertionWant{Client: "trainer-ci", Issuer: "https://sally.example", Now: now}
}

func asserted() claims {
	return claims{"iss": "trainer-ci", "sub": "trainer-ci", "aud": "https://sally.example", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "jti": "1"}
}

func TestOA29ClientAssertion(t *testing.T) {
	set := setOf(t, jose.ES256)
	verify := func(c claims, want jose.AssertionWant) (jose.Assertion, error) {
		t.Helper()
		return jose.VerifyAssertion(sign(t, signer(jose.ES256), "JWT", c), set, want)
	}
	for _, c := range []claims{asserted(), asserted().with("aud", []string{"https://sally.example"}), asserted().with("exp", now.Add(10*time.Minute).Unix())} {
		if got, err := verify(c, assertion()); err != nil || got.ID != "1" || got.Expires.IsZero() {
			t.Errorf("%v: %+v, %v", c, got, err)
		}
	}
	for reason, all := range map[string][]claims{
		"audience": {asserted().with("aud", tokenEndpoint), asserted().with("aud", []string{"https://sally.example", "https://other.example"}),
			asserted().with("aud", nil), asserted().with("aud", "https://sally.example/")},
		"issuer":  {asserted().with("iss", "other"), asserted().with("iss", nil)},
		"subject": {asserted().with("sub", "other"), asserted().with("sub", nil)},
		"id":      {asserted().with("jti", nil)},
		"time":    {asserted().with("exp", nil), asserted().with("iat", nil), asserted().with("exp", now.Add(10*time.Minute+time.Second).Unix())},
		"expired": {asserted().with("iat", now.Add(-time.Hour).Unix()).with("exp", now.Add(-time.Minute).Unix()).with("iat", now.Add(-2*time.Minute).Unix())},
		"early":   {asserted().with("iat", now.Add(30*time.Second).Unix())},
	} {
		for _, c := range all {
			_, err := verify(c, assertion())
			wantReason(t, err, reason)
		}
	}
	compatible := assertion()
	compatible.TokenEndpoint = tokenEndpoint
	if _, err := verify(asserted().with("aud", tokenEndpoint), compatible); err != nil {
		t.Errorf("with the switch for older clients: %v", err)
	}
	_, err := verify(asserted().with("aud", []string{tokenEndpoint, "https://sally.example"}), compatible)
	wantReason(t, err, "audience")
	for _, want := range []jose.AssertionWant{{}, {Client: "trainer-ci", Now: now}, {Issuer: "https://sally.example", Now: now}, {Client: "trainer-ci", Issuer: "https://sally.example"}} {
		if _, err := verify(asserted(), want); err == nil || sallyport.KindOf(err) != sallyport.Other {
			t.Errorf("an expectation that is not whole: %v", err)
		}
	}
}

// The public key is no secret: nobody signs with it.
func TestOA29Algorithms(t *testing.T) {
	const payload = `{"iss":"trainer-ci","sub":"trainer-ci","aud":"https://sally.example","iat":1795165200,"exp":1795165260,"jti":"1"}`
	der, err := x509.MarshalPKIXPublicKey(ring()[jose.RS256].Public())
	if err != nil {
		t.Fatal(err)
	}
	unsigned := b64([]byte(`{"alg":"HS256","kid":"k1"}`)) + "." + b64([]byte(payload))
	for _, key := range [][]byte{der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(unsigned))
		_, err := jose.VerifyAssertion(unsigned+"."+b64(mac.Sum(nil)), setOf(t, jose.PS256), assertion())
		wantReason(t, err, "algorithm")
	}
	none := b64([]byte(`{"alg":"none","kid":"k1"}`)) + "." + b64([]byte(payload)) + "."
	_, err = jose.VerifyAssertion(none, setOf(t, jose.PS256), assertion())
	wantReason(t, err, "form")
	_, err = jose.VerifyAssertion(none+"AAAA", setOf(t, jose.PS256), assertion())
	wantReason(t, err, "algorithm")
	_, err = jose.VerifyAssertion(sign(t, signer(jose.RS256), "JWT", asserted()), setOf(t, jose.RS256), assertion())
	wantReason(t, err, "algorithm")
}
