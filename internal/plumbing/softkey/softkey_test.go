package softkey_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"sallyport/internal/plumbing/softkey"
)

const origin = "https://sally.example"

// A party is a relying party by somebody else's library, with one account.
type party struct {
	*webauthn.WebAuthn
	t    *testing.T
	held []webauthn.Credential
}

func newParty(t *testing.T) *party {
	t.Helper()
	w, err := webauthn.New(&webauthn.Config{RPID: "sally.example", RPDisplayName: "Sally", RPOrigins: []string{origin}})
	if err != nil {
		t.Fatal(err)
	}
	return &party{WebAuthn: w, t: t}
}

func (p *party) WebAuthnID() []byte                         { return []byte("handle-of-ana") }
func (p *party) WebAuthnName() string                       { return "ana" }
func (p *party) WebAuthnDisplayName() string                { return "Ana" }
func (p *party) WebAuthnCredentials() []webauthn.Credential { return p.held }

// create registers a passkey of a key, on a page of an origin.
func (p *party) create(k *softkey.Key, at string) (*webauthn.Credential, error) {
	p.t.Helper()
	options, session, err := p.BeginRegistration(p, webauthn.WithConveyancePreference(protocol.PreferDirectAttestation))
	if err != nil {
		p.t.Fatal(err)
	}
	raw, err := json.Marshal(options)
	if err != nil {
		p.t.Fatal(err)
	}
	answer, err := k.Create(raw, at)
	if err != nil {
		p.t.Fatal(err)
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		p.t.Fatalf("%s: %v", answer, err)
	}
	c, err := p.CreateCredential(p, *session, parsed)
	if err == nil {
		p.held = append(p.held, *c)
	}
	return c, err
}

// get asks for a proof, which change may alter before the party sees it.
func (p *party) get(k *softkey.Key, at string, change func([]byte) []byte) (*webauthn.Credential, error) {
	p.t.Helper()
	options, session, err := p.BeginLogin(p, webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		p.t.Fatal(err)
	}
	raw, err := json.Marshal(options)
	if err != nil {
		p.t.Fatal(err)
	}
	answer, err := k.Get(raw, at)
	if err != nil {
		return nil, err
	}
	if change != nil {
		answer = change(answer)
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		p.t.Fatalf("%s: %v", answer, err)
	}
	return p.ValidateLogin(p, *session, parsed)
}

// TestRegisterAndAssert holds a key against somebody else's relying party: what it makes is accepted, as synced without
// attestation and as hardware with one, whose model is the maker's.
func TestRegisterAndAssert(t *testing.T) {
	maker, err := softkey.NewMaker("Test Key", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		key    *softkey.Key
		format string
		synced bool
		model  string
	}{
		"synced":   {new(softkey.Key), "none", true, "00000000-0000-0000-0000-000000000000"},
		"hardware": {maker.Key(), "packed", false, maker.AAGUID},
	} {
		t.Run(name, func(t *testing.T) {
			p := newParty(t)
			c, err := p.create(test.key, origin)
			if err != nil {
				t.Fatal(err)
			}
			if !c.Flags.UserVerified || c.Flags.BackupEligible != test.synced || c.AttestationFormat != test.format {
				t.Errorf("registered as %+v %q", c.Flags, c.AttestationFormat)
			}
			if id := aaguid(c.Authenticator.AAGUID); id != test.model {
				t.Errorf("the model is %s, want %s", id, test.model)
			}
			if _, err := p.get(test.key, origin, nil); err != nil {
				t.Error(err)
			}
			if _, err := p.get(test.key, origin, forge); err == nil {
				t.Error("a changed signature is accepted")
			}
		})
	}
}

func aaguid(b []byte) string {
	h := hex.EncodeToString(b)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// forge changes the last bit of a signature.
func forge(answer []byte) []byte {
	var m map[string]any
	if json.Unmarshal(answer, &m) != nil {
		return answer
	}
	response := m["response"].(map[string]any)
	raw, _ := base64.RawURLEncoding.DecodeString(response["signature"].(string))
	raw[len(raw)-1] ^= 1
	response["signature"] = base64.RawURLEncoding.EncodeToString(raw)
	changed, _ := json.Marshal(m)
	return changed
}

// TestWrongOrigin: what is answered on another page is of no use, and there is nothing for another party.
func TestWrongOrigin(t *testing.T) {
	p := newParty(t)
	k := new(softkey.Key)
	if _, err := p.create(k, "https://sally.example.evil.test"); err == nil {
		t.Error("a passkey of another page is registered")
	}
	if _, err := p.create(k, origin); err != nil {
		t.Fatal(err)
	}
	if _, err := p.get(k, "https://evil.test", nil); err == nil {
		t.Error("a proof of another page is accepted")
	}
	if _, err := k.Get([]byte(`{"publicKey":{"challenge":"AAAA","rpId":"evil.test"}}`), "https://evil.test"); err == nil || !strings.Contains(err.Error(), "there is none for evil.test") {
		t.Errorf("for another party: %v", err)
	}
	if _, err := new(softkey.Key).Get([]byte(`{"publicKey":{"challenge":"AAAA","rpId":"sally.example"}}`), origin); err == nil {
		t.Error("a key without passkeys proves somebody")
	}
	for _, bad := range []string{"", "{", `{"publicKey":{"user":{"id":"%"}}}`} {
		if _, err := k.Create([]byte(bad), origin); err == nil {
			t.Errorf("options %q are answered", bad)
		}
	}
}

// TestCounter: hardware counts, and is found out where it was copied; what is synced has no counter.
func TestCounter(t *testing.T) {
	maker, err := softkey.NewMaker("Test Key", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, k := newParty(t), maker.Key()
	if _, err := p.create(k, origin); err != nil {
		t.Fatal(err)
	}
	var last uint32
	for range 3 {
		c, err := p.get(k, origin, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.Authenticator.SignCount <= last || c.Authenticator.CloneWarning {
			t.Errorf("the counter went from %d to %d", last, c.Authenticator.SignCount)
		}
		last, p.held[0] = c.Authenticator.SignCount, *c
	}
	k.Still = true
	if c, err := p.get(k, origin, nil); err != nil || !c.Authenticator.CloneWarning {
		t.Errorf("a counter that stands still: %v, no warning", err)
	}
	synced := new(softkey.Key)
	p = newParty(t)
	if _, err := p.create(synced, origin); err != nil {
		t.Fatal(err)
	}
	if c, err := p.get(synced, origin, nil); err != nil || c.Authenticator.SignCount != 0 || c.Authenticator.CloneWarning {
		t.Errorf("a synced passkey counts: %v", err)
	}
}

// TestUnverified: a key that does not verify its user says so, and is refused where that is required.
func TestUnverified(t *testing.T) {
	p, k := newParty(t), new(softkey.Key)
	if _, err := p.create(k, origin); err != nil {
		t.Fatal(err)
	}
	k.Unverified = true
	if _, err := p.get(k, origin, func(answer []byte) []byte {
		var m struct {
			Response struct{ AuthenticatorData string }
		}
		if json.Unmarshal(answer, &m) != nil {
			t.Fatalf("%s", answer)
		}
		data, err := base64.RawURLEncoding.DecodeString(m.Response.AuthenticatorData)
		if err != nil || len(data) != 37 || data[32]&0x05 != 0x01 || binary.BigEndian.Uint32(data[33:]) != 0 {
			t.Errorf("authenticator data %x, %v", data, err)
		}
		return answer
	}); err == nil {
		t.Error("it is accepted")
	}
}

// TestBrowser carries the answers as the page's script does: the server's cookies come back, the origin is named, and
// what the server refuses is an error with its words.
func TestBrowser(t *testing.T) {
	p, k := newParty(t), new(softkey.Key)
	if _, err := p.create(k, origin); err != nil {
		t.Fatal(err)
	}
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		if r.Header.Get("Origin") == "" || r.Header.Get("Sec-Fetch-Site") != "same-origin" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", r.Header)
		}
		if strings.HasSuffix(r.URL.Path, "/begin") {
			http.SetCookie(w, &http.Cookie{Name: "ceremony", Value: "1"})
			_, _ = w.Write([]byte(`{"publicKey":{"challenge":"AAAA","rpId":"sally.example"}}`))
			return
		}
		if c, err := r.Cookie("ceremony"); err != nil || c.Value != "1" {
			t.Error("the cookie did not come back")
		}
		var body struct {
			Response json.RawMessage
			Return   string
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.Response) == 0 {
			t.Errorf("%s: %v", body.Response, err)
		}
		if body.Return == "/refused" {
			http.Error(w, "not today", http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte(`{"next":"` + body.Return + `"}`))
	}))
	defer s.Close()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := softkey.Browser{HTTP: &http.Client{Jar: jar}, URL: s.URL, Key: k}
	if next, err := b.SignIn(t.Context(), "/account"); err != nil || next != "/account" {
		t.Errorf("sign in: %q, %v", next, err)
	}
	if next, err := b.StepUp(t.Context(), "/there"); err != nil || next != "/there" {
		t.Errorf("step up: %q, %v", next, err)
	}
	if _, err := b.Second(t.Context()); err != nil {
		t.Errorf("second: %v", err)
	}
	if _, err := b.SignIn(t.Context(), "/refused"); err == nil || !strings.Contains(err.Error(), "not today") {
		t.Errorf("refused: %v", err)
	}
	if want := "/passkey/signin/begin /passkey/signin/finish /passkey/stepup/begin"; !strings.HasPrefix(strings.Join(asked, " "), want) {
		t.Errorf("asked %v", asked)
	}
}
