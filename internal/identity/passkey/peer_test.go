package passkey

import (
	"encoding/json"
	"testing"

	"github.com/descope/virtualwebauthn"
)

// An authenticator that somebody else wrote registers and signs in: our own one does not prove our own verifier. Its
// attestation is its own word ("basic_surrogate"), which makes no hardware of it.
func TestAnotherAuthenticator(t *testing.T) {
	d := newDesk(t)
	party := virtualwebauthn.RelyingParty{Name: "Sallyport", ID: "sallyport.example", Origin: site}
	for name, key := range map[string]virtualwebauthn.KeyType{"EC2": virtualwebauthn.KeyTypeEC2, "RSA": virtualwebauthn.KeyTypeRSA} {
		o, err := d.BeginRegister(t.Context(), Person{ID: ana, Display: "Ana"}, "S-1")
		if err != nil {
			t.Fatal(err)
		}
		creation, err := virtualwebauthn.ParseAttestationOptions(string(o.JSON))
		if err != nil {
			t.Fatal(err)
		}
		handle, err := d.config.Store.Handle(t.Context(), ana, nil)
		if err != nil {
			t.Fatal(err)
		}
		authenticator := virtualwebauthn.NewAuthenticatorWithOptions(virtualwebauthn.AuthenticatorOptions{UserHandle: handle})
		credential := virtualwebauthn.NewCredential(key)
		p, err := d.FinishRegister(t.Context(), o.Handle, "S-1", name, []byte(virtualwebauthn.CreateAttestationResponse(party, authenticator, credential, *creation)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := d.Add(t.Context(), p); err != nil || p.Attested || d.Class(p) != Synced {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		authenticator.AddCredential(credential)
		in, err := d.BeginSignIn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var request struct {
			PublicKey struct{ Challenge, RPID string } `json:"publicKey"`
		}
		if err := json.Unmarshal(in.JSON, &request); err != nil || request.PublicKey.RPID != "sallyport.example" {
			t.Fatalf("%s, %v", in.JSON, err)
		}
		assertion, err := virtualwebauthn.ParseAssertionOptions(string(in.JSON))
		if err != nil {
			t.Fatal(err)
		}
		answer := []byte(virtualwebauthn.CreateAssertionResponse(party, authenticator, credential, *assertion))
		if got, err := d.Finish(t.Context(), in.Handle, SignIn, "", answer); err != nil || got.Member != ana {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
