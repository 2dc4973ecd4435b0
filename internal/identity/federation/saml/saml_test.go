//go:build !nosaml

package saml

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"
	"golang.org/x/mod/semver"

	"sallyport"
	"sallyport/internal/identity/federation"
)

var at = time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	saml.TimeNow = func() time.Time { return at } // the library's own clock; ours is a field
	os.Exit(m.Run())
}

const (
	testEntity  = "https://idp.example/saml"
	testOwn     = "https://sallyport.example/saml/corp/metadata"
	testACS     = "https://sallyport.example/saml/corp/acs"
	testRequest = "id-request-of-ours"
)

// An idp is somebody else's identity provider, made of the parts of the signing library.
type idp struct {
	t    testing.TB
	key  crypto.Signer
	cert *x509.Certificate
}

func newIDP(t testing.TB, key crypto.Signer) idp {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "idp"}, NotBefore: at.Add(-time.Hour), NotAfter: at.Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return idp{t, key, cert}
}

func newECDSA(t testing.TB) idp {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newIDP(t, key)
}

func (p idp) client(change ...func(*Config)) *Client {
	p.t.Helper()
	c := Config{Title: "Corp", Entity: testEntity, SSO: "https://idp.example/sso?tenant=1", Certificates: []*x509.Certificate{p.cert}, Own: testOwn, ACS: testACS, Now: func() time.Time { return at }}
	for _, f := range change {
		f(&c)
	}
	client, err := New(c)
	if err != nil {
		p.t.Fatal(err)
	}
	return client
}

// plain is a response without any signature, as SAML's profile wants it. Values are replaced by tests.
const plain = `<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_r1" Version="2.0" IssueInstant="2026-11-20T09:00:00Z" Destination="https://sallyport.example/saml/corp/acs" InResponseTo="id-request-of-ours">` +
	`<saml:Issuer>https://idp.example/saml</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>` +
	`<saml:Assertion ID="_a1" Version="2.0" IssueInstant="2026-11-20T09:00:00Z"><saml:Issuer>https://idp.example/saml</saml:Issuer>` +
	`<saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">G-1234</saml:NameID>` +
	`<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="2026-11-20T09:05:00Z" Recipient="https://sallyport.example/saml/corp/acs" InResponseTo="id-request-of-ours"/></saml:SubjectConfirmation></saml:Subject>` +
	`<saml:Conditions NotBefore="2026-11-20T08:59:30Z" NotOnOrAfter="2026-11-20T09:05:00Z"><saml:AudienceRestriction><saml:Audience>https://sallyport.example/saml/corp/metadata</saml:Audience></saml:AudienceRestriction></saml:Conditions>` +
	`<saml:AuthnStatement AuthnInstant="2026-11-20T08:58:00Z" SessionIndex="_s1" SessionNotOnOrAfter="2026-11-20T17:00:00Z"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:TimeSyncToken</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>` +
	`<saml:AttributeStatement><saml:Attribute Name="mail"><saml:AttributeValue>ana@acme.example</saml:AttributeValue></saml:Attribute><saml:Attribute Name="groups"><saml:AttributeValue>engineers</saml:AttributeValue><saml:AttributeValue>all &amp; sundry</saml:AttributeValue></saml:Attribute></saml:AttributeStatement>` +
	`</saml:Assertion></samlp:Response>`

func (p idp) context(method string) *dsig.SigningContext {
	p.t.Helper()
	c, err := dsig.NewSigningContext(p.key, [][]byte{p.cert.Raw})
	if err != nil {
		p.t.Fatal(err)
	}
	c.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	if err := c.SetSignatureMethod(method); err != nil {
		p.t.Fatal(err)
	}
	return c
}

// sign signs the assertion of a document, or the whole of it.
func (p idp) sign(doc, what, method string) string {
	p.t.Helper()
	d := etree.NewDocument()
	if err := d.ReadFromString(doc); err != nil {
		p.t.Fatal(err)
	}
	root := d.Root()
	e := root
	if what == "Assertion" {
		e = root.FindElement("./Assertion")
		for _, a := range root.Attr { // what is signed stands alone, with its prefixes
			if a.Space == "xmlns" && e.SelectAttr("xmlns:"+a.Key) == nil {
				e.CreateAttr("xmlns:"+a.Key, a.Value)
			}
		}
	}
	signed, err := p.context(method).SignEnveloped(e)
	if err != nil {
		p.t.Fatal(err)
	}
	if what == "Assertion" {
		root.InsertChildAt(e.Index(), signed)
		root.RemoveChild(e)
	} else {
		d.SetRoot(signed)
	}
	text, err := d.WriteToString()
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

func (p idp) good() string { return p.sign(plain, "Assertion", p.method()) }

func (p idp) method() string {
	if _, ok := p.key.(*rsa.PrivateKey); ok {
		return dsig.RSASHA256SignatureMethod
	}
	return dsig.ECDSASHA256SignatureMethod
}

func read(c *Client, doc string) (federation.Assertion, error) {
	return c.Read(context.Background(), federation.Attempt{Request: testRequest}, url.Values{"SAMLResponse": {base64.StdEncoding.EncodeToString([]byte(doc))}})
}

// refused wants a document to be refused for a fault among others, or by the signature's verification.
func refused(t *testing.T, c *Client, name, doc string, f fault) {
	t.Helper()
	_, err := read(c, doc)
	if sallyport.KindOf(err) != sallyport.Unknown || sallyport.ReasonOf(err) != federation.ReasonAnswer || !strings.Contains(err.Error(), string(f)) {
		t.Errorf("%s: %v, want it refused for %s", name, err, f)
	}
	if strings.Contains(sallyport.PublicText(err), "saml") {
		t.Errorf("%s: the browser learns why: %s", name, sallyport.PublicText(err))
	}
}

func TestResponsesAreRead(t *testing.T) {
	p := newECDSA(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	r := newIDP(t, key)
	for name, c := range map[string]struct {
		by  idp
		doc string
	}{
		"ecdsa":      {p, p.good()},
		"rsa":        {r, r.good()},
		"both":       {p, p.sign(p.good(), "Response", p.method())},
		"rsa-sha512": {r, r.sign(plain, "Assertion", dsig.RSASHA512SignatureMethod)},
	} {
		a, err := read(c.by.client(), c.doc)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if a.Issuer != "saml:"+testEntity || a.Subject != "G-1234" || a.Session != "_s1" || a.ID != "_a1" || a.ACR != "urn:oasis:names:tc:SAML:2.0:ac:classes:TimeSyncToken" ||
			!a.AuthTime.Equal(at.Add(-2*time.Minute)) || !a.Expires.Equal(at.Add(5*time.Minute)) || !a.End.Equal(at.Add(8*time.Hour)) ||
			fmt.Sprint(a.Claims) != "map[groups:[engineers all & sundry] mail:[ana@acme.example]]" {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func TestRequest(t *testing.T) {
	c := newECDSA(t).client()
	to, err := c.Begin(t.Context(), federation.Attempt{State: "st", Request: testRequest, Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil || u.Host != "idp.example" || u.Query().Get("tenant") != "1" || u.Query().Get("RelayState") != "st" {
		t.Fatalf("%s, %v", to, err)
	}
	packed, err := base64.StdEncoding.DecodeString(u.Query().Get("SAMLRequest"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		ID     string `xml:"ID,attr"`
		ACS    string `xml:"AssertionConsumerServiceURL,attr"`
		Force  bool   `xml:"ForceAuthn,attr"`
		Issuer string `xml:"urn:oasis:names:tc:SAML:2.0:assertion Issuer"`
	}
	if err := xml.Unmarshal(raw, &r); err != nil || r.ID != testRequest || r.ACS != testACS || !r.Force || r.Issuer != testOwn {
		t.Errorf("%+v, %v", r, err)
	}
	entity, sso, certificates, err := ReadMetadata(c.Metadata())
	if err == nil {
		t.Errorf("our own metadata were taken for a provider's: %s %s %v", entity, sso, certificates)
	}
	if !strings.Contains(string(c.Metadata()), `WantAssertionsSigned="true"`) || !strings.Contains(string(c.Metadata()), testACS) {
		t.Errorf("%s", c.Metadata())
	}
}

// SAML2: another request, none, or one that nobody made.
func TestSAML2RequestOfAnother(t *testing.T) {
	p := newECDSA(t)
	c := p.client()
	for name, doc := range map[string]string{
		"another":            strings.ReplaceAll(plain, testRequest, "id-other"),
		"another in subject": strings.Replace(plain, `acs" InResponseTo="id-request-of-ours"/>`, `acs" InResponseTo="id-other"/>`, 1),
		"none":               strings.ReplaceAll(plain, ` InResponseTo="id-request-of-ours"`, ""),
		"none in subject":    strings.Replace(plain, `acs" InResponseTo="id-request-of-ours"/>`, `acs"/>`, 1),
	} {
		refused(t, c, name, p.sign(doc, "Assertion", p.method()), faultRequest)
	}
	_, err := c.Read(t.Context(), federation.Attempt{}, url.Values{"SAMLResponse": {base64.StdEncoding.EncodeToString([]byte(p.sign(strings.ReplaceAll(plain, testRequest, ""), "Assertion", p.method())))}})
	if err == nil {
		t.Error("no request was made, and an answer to none was taken")
	}
}

// SAML3: nothing that was not signed counts, wherever it stands.
func TestSAML3TamperingAndWrapping(t *testing.T) {
	p := newECDSA(t)
	c := p.client()
	good := p.good()
	for name, x := range map[string]struct {
		doc string
		why fault
	}{
		"name changed":       {strings.Replace(good, "G-1234", "G-9999", 1), "signature"},
		"attribute changed":  {strings.Replace(good, "engineers", "directors", 1), "signature"},
		"comment in name":    {strings.Replace(good, "G-1234", "G-<!-- -->1234", 1), faultMarkup},
		"instruction":        {strings.Replace(good, "G-1234", "G-<?x y?>1234", 1), faultMarkup},
		"document type":      {`<!DOCTYPE x [<!ENTITY e "G-1">]>` + good, faultMarkup},
		"entity":             {strings.Replace(good, "G-1234", "&e;", 1), faultXML},
		"no signature":       {plain, faultUnsigned},
		"response only":      {p.sign(plain, "Response", p.method()), faultUnsigned},
		"foreign attribute":  {strings.Replace(good, `<saml:Conditions `, `<saml:Conditions xmlns:e="e" e:NotOnOrAfter="2036-11-20T09:05:00Z" `, 1), faultAttribute},
		"reference to all":   {strings.Replace(good, `URI="#_a1"`, `URI=""`, 1), faultReference},
		"reference to other": {strings.Replace(good, `URI="#_a1"`, `URI="#_r1"`, 1), faultReference},
		"second document":    {good + good, faultRoot},
	} {
		refused(t, c, name, x.doc, x.why)
	}
	for name, doc := range wrapped(t, good) {
		if _, err := read(c, doc); sallyport.KindOf(err) != sallyport.Unknown {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "saml: signature:") {
			t.Errorf("%s: only the library refused: %v", name, err)
		}
	}
}

// wrapped moves the signed assertion elsewhere and puts one of the attacker's in its place, in the ways of Somorovsky et al.,
// "On Breaking SAML" (2012), and some more.
func wrapped(t *testing.T, good string) map[string]string {
	t.Helper()
	start, end := strings.Index(good, "<saml:Assertion"), strings.Index(good, "</samlp:Response>")
	signed := good[start:end]
	open := good[:start]
	evil := strings.Replace(strings.Replace(signed, "G-1234", "user-of-their-choice", 1), `ID="_a1"`, `ID="_evil"`, 1)
	cut := func(s string) string { // without its signature
		a, b := strings.Index(s, "<ds:Signature"), strings.Index(s, "</ds:Signature>")+len("</ds:Signature>")
		return s[:a] + s[b:]
	}
	signature := signed[strings.Index(signed, "<ds:Signature") : strings.Index(signed, "</ds:Signature>")+len("</ds:Signature>")]
	inside := func(outer, inner string) string {
		return strings.Replace(outer, "</saml:Assertion>", inner+"</saml:Assertion>", 1)
	}
	close := "</samlp:Response>"
	object := func(inner string) string {
		return strings.Replace(signature, "</ds:Signature>", "<ds:Object>"+inner+"</ds:Object></ds:Signature>", 1)
	}
	return map[string]string{
		"XSW1 response in response":    strings.Replace(open, "</samlp:Status>", "</samlp:Status><samlp:Extensions>"+good+"</samlp:Extensions>", 1) + cut(evil) + close,
		"XSW2 response beside":         open + cut(evil) + good + close,
		"XSW3 evil first":              open + cut(evil) + signed + close,
		"XSW4 signed inside evil":      open + inside(cut(evil), signed) + close,
		"XSW5 evil with the signature": open + evil + cut(signed) + close,
		"XSW6 signed inside signature": open + strings.Replace(evil, "</ds:Signature>", cut(signed)+"</ds:Signature>", 1) + close,
		"XSW7 extensions":              open + "<samlp:Extensions>" + signed + "</samlp:Extensions>" + cut(evil) + close,
		"XSW8 object":                  open + strings.Replace(evil, signature, object(cut(signed)), 1) + close,
		"XSW9 same id":                 open + strings.Replace(cut(evil), "_evil", "_a1", 1) + signed + close,
		"evil after":                   open + signed + cut(evil) + close,
		"signature at the response":    open + signature + cut(signed) + close,
		"two signatures":               open + strings.Replace(signed, signature, signature+signature, 1) + close,
		"signature in the subject":     open + strings.Replace(cut(signed), "<saml:Subject>", "<saml:Subject>"+signature, 1) + close,
		"encrypted beside":             open + signed + `<saml:EncryptedAssertion/>` + close,
		"two names":                    open + strings.Replace(signed, "<saml:NameID", "<saml:NameID>x</saml:NameID><saml:NameID", 1) + close,
	}
}

// SAML4: what is weak, foreign, expired, or for somebody else.
func TestSAML4WeakForeignExpired(t *testing.T) {
	p := newECDSA(t)
	c := p.client()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	r := newIDP(t, key)
	refused(t, r.client(), "SHA-1", r.sign(plain, "Assertion", dsig.RSASHA1SignatureMethod), faultAlgorithm)
	refused(t, c, "a certificate that is not pinned", newECDSA(t).good(), "signature")
	later := p.client(func(c *Config) { c.Now = func() time.Time { return at.Add(48 * time.Hour) } })
	moved := strings.NewReplacer("2026-11-20T", "2026-11-22T").Replace(plain)
	saml.TimeNow = func() time.Time { return at.Add(48 * time.Hour) }
	refused(t, later, "a pinned certificate that has expired", p.sign(moved, "Assertion", p.method()), "signature")
	saml.TimeNow = func() time.Time { return at }
	for name, x := range map[string]struct {
		old, new string
		why      fault
	}{
		"recipient":               {`Recipient="https://sallyport.example/saml/corp/acs"`, `Recipient="https://other.example/acs"`, faultRecipient},
		"no recipient":            {`Recipient="https://sallyport.example/saml/corp/acs"`, ``, faultRecipient},
		"destination":             {`Destination="https://sallyport.example/saml/corp/acs"`, `Destination="https://other.example/acs"`, faultDestination},
		"no destination":          {` Destination="https://sallyport.example/saml/corp/acs"`, ``, faultDestination},
		"audience":                {`<saml:Audience>https://sallyport.example/saml/corp/metadata`, `<saml:Audience>https://other.example`, faultAudience},
		"no audience":             {`<saml:AudienceRestriction><saml:Audience>https://sallyport.example/saml/corp/metadata</saml:Audience></saml:AudienceRestriction>`, ``, faultAudience},
		"issuer":                  {`<saml:Issuer>https://idp.example/saml</saml:Issuer><saml:Subject>`, `<saml:Issuer>https://evil.example</saml:Issuer><saml:Subject>`, faultIssuer},
		"issuer of the message":   {`<saml:Issuer>https://idp.example/saml</saml:Issuer><samlp:Status>`, `<samlp:Status>`, faultIssuer},
		"expired":                 {`NotOnOrAfter="2026-11-20T09:05:00Z"><saml:Aud`, `NotOnOrAfter="2026-11-20T08:58:00Z"><saml:Aud`, faultTime},
		"expired confirmation":    {`NotOnOrAfter="2026-11-20T09:05:00Z" Rec`, `NotOnOrAfter="2026-11-20T08:58:00Z" Rec`, faultTime},
		"no end":                  {`NotOnOrAfter="2026-11-20T09:05:00Z" Rec`, `Rec`, faultTime},
		"for a year":              {`NotOnOrAfter="2026-11-20T09:05:00Z"><saml:Aud`, `NotOnOrAfter="2027-11-20T09:05:00Z"><saml:Aud`, faultTime},
		"not yet":                 {`NotBefore="2026-11-20T08:59:30Z"`, `NotBefore="2026-11-20T09:02:00Z"`, faultTime},
		"not a time":              {`NotBefore="2026-11-20T08:59:30Z"`, `NotBefore="yesterday"`, faultTime},
		"from the future":         {`ID="_r1" Version="2.0" IssueInstant="2026-11-20T09:00:00Z"`, `ID="_r1" Version="2.0" IssueInstant="2026-11-20T09:10:00Z"`, faultTime},
		"no conditions":           {plain[strings.Index(plain, "<saml:Conditions"):strings.Index(plain, "<saml:AuthnStatement")], ``, faultConditions},
		"no statement":            {plain[strings.Index(plain, "<saml:AuthnStatement"):strings.Index(plain, "<saml:AttributeStatement")], ``, faultStatement},
		"session over":            {`SessionNotOnOrAfter="2026-11-20T17:00:00Z"`, `SessionNotOnOrAfter="2026-11-20T08:00:00Z"`, faultSession},
		"proved in the future":    {`AuthnInstant="2026-11-20T08:58:00Z"`, `AuthnInstant="2026-11-20T10:58:00Z"`, faultStatement},
		"holder of key":           {`cm:bearer`, `cm:holder-of-key`, faultConfirmation},
		"confirmation not before": {`Recipient=`, `NotBefore="2026-11-20T08:00:00Z" Recipient=`, faultConfirmation},
		"status":                  {`status:Success`, `status:Responder`, faultStatus},
		"version":                 {`ID="_a1" Version="2.0"`, `ID="_a1" Version="1.1"`, faultVersion},
		"transient name":          {`nameid-format:persistent`, `nameid-format:transient`, faultSubject},
		"name of another":         {`<saml:NameID `, `<saml:NameID SPNameQualifier="https://other.example" `, faultSubject},
		"empty name":              {`>G-1234<`, `><`, faultName},
		"attribute twice":         {`Name="groups"`, `Name="mail"`, faultAttributes},
		"no id":                   {`ID="_r1" `, ``, faultID},
	} {
		doc := strings.Replace(plain, x.old, x.new, 1)
		if doc == plain {
			t.Fatalf("%s: nothing was replaced", name)
		}
		refused(t, c, name, p.sign(doc, "Assertion", p.method()), x.why)
	}
}

// SAML5: what is deep or large costs little.
func TestSAML5Bounds(t *testing.T) {
	c := newECDSA(t).client()
	refused(t, c, "deep", strings.Repeat("<a>", 100_00)+strings.Repeat("</a>", 100_00), faultDepth)
	refused(t, c, "many", "<a>"+strings.Repeat("<b/>", 50_000)+"</a>", faultDepth)
	refused(t, c, "large", "<a>"+strings.Repeat("x", maxMessage)+"</a>", faultSize)
	refused(t, c, "attributes", strings.Replace(plain, "<saml:Subject>", "<saml:Subject "+attributes(maxAttributes+1)+">", 1), faultAttribute)
	var bomb bytes.Buffer
	w, err := flate.NewWriter(&bomb, 9)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 10<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	refused(t, c, "deflated", bomb.String(), faultXML) // the POST binding inflates nothing
	if _, err := c.Read(t.Context(), federation.Attempt{Request: testRequest}, url.Values{"SAMLart": {"x"}, "SAMLResponse": {"x"}}); sallyport.KindOf(err) != sallyport.Unknown {
		t.Errorf("an artifact: %v", err)
	}
	for _, text := range []string{"", "%%%", base64.StdEncoding.EncodeToString(nil)} {
		if _, err := c.Read(t.Context(), federation.Attempt{Request: testRequest}, url.Values{"SAMLResponse": {text}}); sallyport.KindOf(err) != sallyport.Unknown {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func attributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `a%d="x" `, i)
	}
	return b.String()
}

// SAML6: an address in metadata is one of a web server.
func TestSAML6Locations(t *testing.T) {
	p := newECDSA(t)
	metadata := func(location string) []byte {
		return []byte(`<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="http://www.w3.org/2000/09/xmldsig#" entityID="https://idp.example/saml"><IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">` +
			`<KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>` + base64.StdEncoding.EncodeToString(p.cert.Raw) + `</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>` +
			`<SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="` + location + `"/></IDPSSODescriptor></EntityDescriptor>`)
	}
	entity, sso, certificates, err := ReadMetadata(metadata("https://idp.example/sso"))
	if err != nil || entity != testEntity || sso != "https://idp.example/sso" || len(certificates) != 1 || !certificates[0].Equal(p.cert) {
		t.Fatalf("%q %q %v, %v", entity, sso, certificates, err)
	}
	for _, evil := range []string{"javascript:alert(1)", "data:text/html,x", "//idp.example/sso", "ldap://idp.example/", "https://user:pass@idp.example/", "", "https://idp.example/#x"} {
		if _, _, _, err := ReadMetadata(metadata(evil)); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("metadata with %q: %v", evil, err)
		}
		c := Config{Entity: testEntity, SSO: evil, Certificates: certificates, Own: testOwn, ACS: testACS, Now: time.Now}
		if _, err := New(c); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("configuration with %q: %v", evil, err)
		}
	}
	for name, change := range map[string]func(*Config){
		"no certificate":   func(c *Config) { c.Certificates = nil },
		"transient names":  func(c *Config) { c.NameID = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient" },
		"plain sso":        func(c *Config) { c.SSO = "http://idp.example/sso" },
		"no entity":        func(c *Config) { c.Entity = "" },
		"our own location": func(c *Config) { c.ACS = "javascript:x" },
	} {
		c := Config{Entity: testEntity, SSO: "https://idp.example/sso", Certificates: certificates, Own: testOwn, ACS: testACS, Now: time.Now}
		change(&c)
		if _, err := New(c); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzResponse: whatever bytes arrive, reading them ends, and nothing that was not signed is taken.
func FuzzResponse(f *testing.F) {
	p := newECDSA(f)
	good := p.good()
	c := p.client()
	f.Add([]byte(good))
	f.Add([]byte(plain))
	f.Add([]byte(strings.Replace(good, "G-1234", "<b/>", 1)))
	f.Add([]byte("<a"))
	expected := want{Entity: testEntity, Own: testOwn, ACS: testACS, Request: testRequest, Now: at, Longest: longest}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if len(inspect(doc, expected).faults) > 0 {
			return // refused before a signature is looked at
		}
		a, err := read(c, string(doc))
		if err == nil && (a.Subject != "G-1234" || !slices.Equal(a.Claims["groups"], []string{"engineers", "all & sundry"})) {
			t.Fatalf("taken: %+v", a)
		}
	})
}

// SAML7: a program built with nosaml links no SAML; any other links an XML signature library without the bypass of
// CVE-2026-33487.
func TestSAML7WhatIsLinked(t *testing.T) {
	for tags, want := range map[string]bool{"": true, "nosaml": false} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", tags, "-f", "{{with .Module}}{{.Path}} {{.Version}}{{end}}", "sallyport/cmd/sallyport").Output()
		if err != nil {
			t.Fatal(err)
		}
		linked := map[string]string{}
		for line := range strings.Lines(string(out)) {
			if path, version, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				linked[path] = version
			}
		}
		for _, module := range []string{"github.com/crewjam/saml", "github.com/russellhaering/goxmldsig", "github.com/beevik/etree"} {
			if _, has := linked[module]; has != want {
				t.Errorf("with tags %q, %s is linked: %v, want %v", tags, module, has, want)
			}
		}
		if version := linked["github.com/russellhaering/goxmldsig"]; want && semver.Compare(version, "v1.6.0") < 0 {
			t.Errorf("goxmldsig %s", version)
		}
	}
}
