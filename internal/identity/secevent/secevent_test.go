package secevent_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
	"sallyport/internal/identity/secevent"
)

const (
	idp      = "https://idp.example.com/123456789/"
	audience = "https://sp.example.com/caep"
)

var now = time.Unix(1615305200, 0)

// A signer signs as a partner does.
type signer struct {
	jose.Signer
	set *jose.Set
}

func newSigner(t testing.TB) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := jose.NewKey("k1", jose.RS256, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.NewSet(public)
	if err != nil {
		t.Fatal(err)
	}
	return signer{jose.Signer{Key: key, Algorithm: jose.RS256, KeyID: "k1", Rand: rand.Reader}, set}
}

func (s signer) sign(t testing.TB, typ, claims string) string {
	t.Helper()
	text, err := s.Sign(typ, json.RawMessage(claims))
	if err != nil {
		t.Fatalf("%v in %s", err, claims)
	}
	return text.Reveal()
}

func rules() secevent.Rules {
	return secevent.Rules{Issuer: idp, Audience: audience, Algorithms: []jose.Algorithm{jose.RS256}, Now: now, MaxAge: time.Hour, Leeway: time.Minute}
}

func claims(subject, events string) string {
	return `{"iss":"` + idp + `","jti":"24c63fb56e5a2d77a6b512616ca9fa24","iat":1615305159,"aud":"` + audience + `","txn":"8675309","sub_id":` + subject + `,"events":` + events + `}`
}

const (
	user    = `{"format":"iss_sub","iss":"https://idp.example.com/123456789/","sub":"jane.smith@example.com"}`
	complex = `{"format":"complex","session":{"format":"opaque","id":"dMTlD|1600802906337.16|16008.16"},"user":` + user + `,"tenant":{"format":"opaque","id":"123456789"}}`
	base    = `"https://schemas.openid.net/secevent/caep/event-type/`
)

// The forms in which CAEP 1.0, section 3, and SSF 1.0, section 8, print their
// events.
func TestTheEventsOfTheTexts(t *testing.T) {
	s := newSigner(t)
	for name, x := range map[string]struct {
		subject, events string
		field, want     string
	}{
		"session-revoked": {complex, `{` + base + `session-revoked":{"initiating_entity":"policy","reason_admin":{"en":"Policy Violation: C076E82F"},
			"reason_user":{"en":"Access attempt from multiple regions.","es-410":"Intento de acceso desde varias regiones."},"event_timestamp":1615304991}}`, "", ""},
		"session-revoked of all": {user, `{` + base + `session-revoked":{"event_timestamp":1615304991}}`, "", ""},
		"token-claims-change":    {user, `{` + base + `token-claims-change":{"event_timestamp":1615304991,"claims":{"role":"ro-admin"}}}`, "", ""},
		"credential-change": {user, `{` + base + `credential-change":{"credential_type":"fido2-roaming","change_type":"create","fido2_aaguid":"accced6a-63f5-490a-9eea-e59bc1896cfc",
			"friendly_name":"Jane's USB authenticator","initiating_entity":"user","reason_admin":{"en":"User self-enrollment"},"event_timestamp":1615304991}}`, "change_type", "create"},
		"assurance-level-change": {user, `{` + base + `assurance-level-change":{"namespace":"NIST-AAL","current_level":"nist-aal2","previous_level":"nist-aal1","change_direction":"increase","initiating_entity":"user","event_timestamp":1615304991}}`, "current_level", "nist-aal2"},
		"device-compliance-change": {`{"format":"complex","device":{"format":"iss_sub","iss":"` + idp + `","sub":"e9297990-14d2-42ec-a4a9-4036db86509a"},"tenant":{"format":"opaque","id":"123456789"}}`,
			`{` + base + `device-compliance-change":{"current_status":"not-compliant","previous_status":"compliant","initiating_entity":"policy","reason_admin":{"en":"Location Policy Violation: C076E8A3"},"event_timestamp":1615304991}}`, "current_status", "not-compliant"},
		"session-established": {user, `{` + base + `session-established":{"fp_ua":"abb0b6e7da81a42233f8f2b1a8ddb1b9a4c81611","acr":"AAL2","amr":["otp"],"event_timestamp":1615304991}}`, "acr", "AAL2"},
		"session-presented":   {user, `{` + base + `session-presented":{"fp_ua":"abb0b6e7da81a42233f8f2b1a8ddb1b9a4c81611","ext_id":"12345","event_timestamp":1615304991}}`, "ext_id", "12345"},
		"risk-level-change":   {user, `{` + base + `risk-level-change":{"current_level":"LOW","previous_level":"HIGH","event_timestamp":1615304991,"principal":"USER","risk_reason":"PASSWORD_FOUND_IN_DATA_BREACH"}}`, "current_level", "LOW"},
		"verification":        {`{"format":"opaque","id":"f67e39a0a4d34d56b3aa1bc4cff0069f"}`, `{"https://schemas.openid.net/secevent/ssf/event-type/verification":{"state":"VGhpcyBpcyBhbiBleGFtcGxlIHN0YXRlIHZhbHVlLgo="}}`, "state", "VGhpcyBpcyBhbiBleGFtcGxlIHN0YXRlIHZhbHVlLgo="},
		"stream-updated":      {`{"format":"opaque","id":"f67e39a0a4d34d56b3aa1bc4cff0069f"}`, `{"https://schemas.openid.net/secevent/ssf/event-type/stream-updated":{"status":"paused","reason":"Internal error"}}`, "status", "paused"},
	} {
		got, err := secevent.Verify(s.sign(t, secevent.Typ, claims(x.subject, x.events)), s.set, rules())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want, _, _ := strings.Cut(name, " "); got.Event.Type.Name() != want || got.Txn != "8675309" || got.Event.Fields[x.field] != x.want {
			t.Errorf("%s is %+v", name, got)
		}
		if strings.Contains(x.events, "event_timestamp") && got.Event.At.Unix() != 1615304991 {
			t.Errorf("%s happened at %v", name, got.Event.At)
		}
		again, err := json.Marshal(got.Event.Subject)
		var same secevent.Subject
		if err != nil || json.Unmarshal(again, &same) != nil || same.Key() != got.Event.Subject.Key() {
			t.Errorf("%s: the subject %s: %v", name, again, err)
		}
	}
	// As drafts had it: the subject in the event, the time in milliseconds.
	draft := `{"iss":"` + idp + `","jti":"1","iat":1615305159,"aud":["x","` + audience + `"],"events":{` + base + `session-revoked":{"subject":` + user + `,"event_timestamp":1615304991643,"reason_admin":"why"}}}`
	if got, err := secevent.Verify(s.sign(t, secevent.Typ, draft), s.set, rules()); err != nil || got.Event.At.Unix() != 1615304991 || got.Event.Subject.Fields["sub"] == "" || got.Event.Admin != "why" {
		t.Errorf("a draft's event: %+v, %v", got, err)
	}
}

func TestTokensThatAreRefused(t *testing.T) {
	s, other := newSigner(t), newSigner(t)
	revoked := `{` + base + `session-revoked":{}}`
	good := claims(user, revoked)
	change := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatal(old)
		}
		return s.sign(t, secevent.Typ, strings.Replace(good, old, new, 1))
	}
	if _, err := secevent.Verify(s.sign(t, secevent.Typ, good), s.set, rules()); err != nil {
		t.Fatal(err)
	}
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	for name, x := range map[string][2]string{
		"alg none":                 {part(`{"alg":"none","typ":"secevent+jwt"}`) + "." + part(good) + ".", "authentication_failed"},
		"alg HS256":                {part(`{"alg":"HS256","kid":"k1","typ":"secevent+jwt"}`) + "." + part(good) + "." + part("0123456789abcdef0123456789abcdef"), "authentication_failed"},
		"another key":              {other.sign(t, secevent.Typ, good), "authentication_failed"},
		"another type":             {s.sign(t, "at+jwt", good), "authentication_failed"},
		"no token":                 {"x", "authentication_failed"},
		"another issuer":           {change(idp+`","jti"`, `https://evil.example","jti"`), "invalid_issuer"},
		"another audience":         {change(audience, audience+"/x"), "invalid_audience"},
		"no jti":                   {change(`"jti":"24c63fb56e5a2d77a6b512616ca9fa24",`, ""), "invalid_request"},
		"too old":                  {change("1615305159", "1615300000"), "invalid_request"},
		"from the future":          {change("1615305159", "1615305300"), "invalid_request"},
		"no time":                  {change(`"iat":1615305159,`, ""), "invalid_request"},
		"an end":                   {change(`"txn"`, `"exp":1715305159,"txn"`), "invalid_request"},
		"a sub":                    {change(`"txn"`, `"sub":"jane","txn"`), "invalid_request"},
		"no event":                 {change(revoked, `{}`), "invalid_request"},
		"two events":               {change(revoked, `{`+base+`session-revoked":{},`+base+`session-presented":{}}`), "invalid_request"},
		"an event that is a text":  {change(revoked, `{`+base+`session-revoked":"x"}`), "invalid_request"},
		"no subject":               {change(`"sub_id":`+user+`,`, ""), "invalid_request"},
		"a subject without format": {change(user, `{"sub":"x"}`), "invalid_request"},
		"half a subject":           {change(user, `{"format":"iss_sub","iss":"x"}`), "invalid_request"},
		"parts of parts":           {change(user, `{"format":"complex","user":{"format":"complex","user":`+user+`}}`), "invalid_request"},
		"a wrong time":             {change(`session-revoked":{}`, `session-revoked":{"event_timestamp":"now"}`), "invalid_request"},
		"no level":                 {change(`session-revoked":{}`, `risk-level-change":{"principal":"USER"}`), "invalid_request"},
		"a level there is not":     {change(`session-revoked":{}`, `risk-level-change":{"principal":"USER","current_level":"EXTREME"}`), "invalid_request"},
		"no claims":                {change(`session-revoked":{}`, `token-claims-change":{}`), "invalid_request"},
	} {
		if got, err := secevent.Verify(x[0], s.set, rules()); err == nil || sallyport.ReasonOf(err) != x[1] {
			t.Errorf("%s: %+v, %v because of %s; want %s", name, got, err, sallyport.ReasonOf(err), x[1])
		}
	}
	for name, lack := range map[string]func(*secevent.Rules){"issuer": func(r *secevent.Rules) { r.Issuer = "" }, "audience": func(r *secevent.Rules) { r.Audience = "" },
		"algorithms": func(r *secevent.Rules) { r.Algorithms = nil }, "age": func(r *secevent.Rules) { r.MaxAge = 0 }, "now": func(r *secevent.Rules) { r.Now = time.Time{} }} {
		r := rules()
		lack(&r)
		if _, err := secevent.Verify(s.sign(t, secevent.Typ, good), s.set, r); err == nil {
			t.Errorf("rules without %s take a token", name)
		}
	}
}

// What the trail tells partners: whom it is about, and always why.
func TestOf(t *testing.T) {
	owner := func(session string) sallyport.PrincipalID {
		return map[string]sallyport.PrincipalID{"S-1": "user:ana"}[session]
	}
	at := func(e sallyport.Event) sallyport.Logged {
		e.At = now.UnixMicro()
		return sallyport.Logged{Seq: 1, Event: e}
	}
	x := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	for name, c := range map[string]struct {
		event sallyport.Event
		want  string // event and about; "" where it is nothing to partners
	}{
		"a session ended by others": {sallyport.Event{Type: sallyport.EventSessionRevoked, Who: "user:adam", On: "session:S-1"}, "session-revoked user:ana"},
		"a session of nobody":       {sallyport.Event{Type: sallyport.EventSessionRevoked, Who: "user:adam", On: "session:S-9"}, ""},
		"a leaver":                  {sallyport.Event{Type: sallyport.EventLeft, Who: "service:okta", On: "user:ana", Detail: x("why", "last day")}, "session-revoked user:ana"},
		"a service that leaves":     {sallyport.Event{Type: sallyport.EventLeft, Who: "user:adam", On: "service:x"}, ""},
		"a passkey":                 {sallyport.Event{Type: sallyport.EventFactorChanged, Who: "user:ana", Detail: x("what", "passkey added")}, "credential-change user:ana"},
		"a sign-in":                 {sallyport.Event{Type: sallyport.EventSignedIn, Who: "user:ana", Asked: &sallyport.Asked{Session: "S-1", Assurance: 2}}, "session-established user:ana"},
		"a step up":                 {sallyport.Event{Type: sallyport.EventSteppedUp, Who: "user:ana", Asked: &sallyport.Asked{Session: "S-1", Assurance: 4}}, "assurance-level-change user:ana"},
		"risk":                      {sallyport.Event{Type: sallyport.EventRiskChanged, Who: "user:ana", Detail: x("what", "raised", "points", "80")}, "risk-level-change user:ana"},
		"a hold on a person":        {sallyport.Event{Type: sallyport.EventHoldPlaced, Who: "user:rita", On: "user:ana", Detail: x("why", "odd")}, "risk-level-change user:ana"},
		"a hold on a model":         {sallyport.Event{Type: sallyport.EventHoldPlaced, Who: "user:rita", On: "model:acme/fraud"}, ""},
		"a device that fails":       {sallyport.Event{Type: sallyport.EventDevicePosture, Who: "user:ana", On: "device:DV-1", Detail: x("compliant", "false")}, "device-compliance-change user:ana"},
		"a device's report":         {sallyport.Event{Type: sallyport.EventDevicePosture, Who: "user:ana", On: "device:DV-1", Detail: x("os", "linux")}, ""},
		"a group":                   {sallyport.Event{Type: sallyport.EventMoved, Who: "user:adam", On: "user:ana", Detail: x("joined", "acme/risk")}, "token-claims-change user:ana"},
		"a role":                    {sallyport.Event{Type: sallyport.EventMoved, Who: "user:adam", On: "user:ana", Detail: x("what", "role assigned")}, ""},
		"something else":            {sallyport.Event{Type: sallyport.EventDecided, Who: "user:ana"}, ""},
	} {
		e, about, ok := secevent.Of(at(c.event), "https://us", owner)
		got := ""
		if ok {
			got = e.Type.Name() + " " + string(about)
			if e.Admin == "" || e.At.Unix() != now.Unix() {
				t.Errorf("%s: %+v", name, e)
			}
			if u, ok := e.Subject.Part("user"); !ok || u.Fields["sub"] != string(about) || u.Fields["iss"] != "https://us" {
				t.Errorf("%s: about %+v", name, e.Subject)
			}
			if _, err := json.Marshal(secevent.Token{Issuer: "https://us", Audience: []string{"a"}, ID: "1", Issued: now, Event: e}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func FuzzSubject(f *testing.F) {
	f.Add(user)
	f.Add(complex)
	f.Fuzz(func(t *testing.T, text string) {
		var s, again secevent.Subject
		if json.Unmarshal([]byte(text), &s) != nil {
			return
		}
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &again); err != nil && len(s.Fields)+len(s.Parts) > 0 || err == nil && again.Key() != s.Key() {
			t.Errorf("%s is %s is %v: %v", text, raw, again, err)
		}
	})
}
