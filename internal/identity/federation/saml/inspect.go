//go:build !nosaml

package saml

import (
	"encoding/xml"
	"slices"
	"time"
)

// The faults that lie in what a response says.
const (
	faultVersion      fault = "version"
	faultDestination  fault = "destination"
	faultRequest      fault = "request" // in answer to another request, or to none
	faultIssuer       fault = "issuer"
	faultStatus       fault = "status"
	faultSubject      fault = "subject" // named for one session, or by somebody else
	faultName         fault = "name"
	faultConfirmation fault = "confirmation"
	faultRecipient    fault = "recipient"
	faultTime         fault = "time"
	faultConditions   fault = "conditions"
	faultAudience     fault = "audience"
	faultStatement    fault = "statement"
	faultSession      fault = "session"
	faultAttributes   fault = "attributes"
	faultUnsigned     fault = "unsigned"
	faultReference    fault = "reference" // the signature is over something else
	faultAlgorithm    fault = "algorithm"
)

// A want is what a response must be.
type want struct {
	Entity  string // the provider
	Own     string // us
	ACS     string
	Request string
	Now     time.Time
	Longest time.Duration // life of an assertion
}

type response struct {
	XMLName      xml.Name    `xml:"urn:oasis:names:tc:SAML:2.0:protocol Response"`
	ID           string      `xml:"ID,attr"`
	Version      string      `xml:"Version,attr"`
	InResponseTo string      `xml:"InResponseTo,attr"`
	Destination  string      `xml:"Destination,attr"`
	IssueInstant string      `xml:"IssueInstant,attr"`
	Issuers      []string    `xml:"urn:oasis:names:tc:SAML:2.0:assertion Issuer"`
	Status       []status    `xml:"urn:oasis:names:tc:SAML:2.0:protocol Status"`
	Signatures   []signature `xml:"http://www.w3.org/2000/09/xmldsig# Signature"`
	Assertions   []assertion `xml:"urn:oasis:names:tc:SAML:2.0:assertion Assertion"`
}

type status struct {
	Codes []struct {
		Value string `xml:"Value,attr"`
	} `xml:"urn:oasis:names:tc:SAML:2.0:protocol StatusCode"`
}

type assertion struct {
	ID         string      `xml:"ID,attr"`
	Version    string      `xml:"Version,attr"`
	Issuers    []string    `xml:"urn:oasis:names:tc:SAML:2.0:assertion Issuer"`
	Signatures []signature `xml:"http://www.w3.org/2000/09/xmldsig# Signature"`
	Subjects   []struct {
		NameIDs []struct {
			Value  string `xml:",chardata"`
			Format string `xml:"Format,attr"`
			For    string `xml:"SPNameQualifier,attr"`
		} `xml:"urn:oasis:names:tc:SAML:2.0:assertion NameID"`
		Confirmations []confirmation `xml:"urn:oasis:names:tc:SAML:2.0:assertion SubjectConfirmation"`
	} `xml:"urn:oasis:names:tc:SAML:2.0:assertion Subject"`
	Conditions []struct {
		NotBefore    string `xml:"NotBefore,attr"`
		NotOnOrAfter string `xml:"NotOnOrAfter,attr"`
		Restrictions []struct {
			Audiences []string `xml:"urn:oasis:names:tc:SAML:2.0:assertion Audience"`
		} `xml:"urn:oasis:names:tc:SAML:2.0:assertion AudienceRestriction"`
	} `xml:"urn:oasis:names:tc:SAML:2.0:assertion Conditions"`
	Statements []struct {
		Instant string `xml:"AuthnInstant,attr"`
		Session string `xml:"SessionIndex,attr"`
		End     string `xml:"SessionNotOnOrAfter,attr"`
	} `xml:"urn:oasis:names:tc:SAML:2.0:assertion AuthnStatement"`
	Attributes []struct {
		Attributes []struct {
			Name string `xml:"Name,attr"`
		} `xml:"urn:oasis:names:tc:SAML:2.0:assertion Attribute"`
	} `xml:"urn:oasis:names:tc:SAML:2.0:assertion AttributeStatement"`
}

type confirmation struct {
	Method string `xml:"Method,attr"`
	Data   []struct {
		Recipient    string `xml:"Recipient,attr"`
		InResponseTo string `xml:"InResponseTo,attr"`
		NotBefore    string `xml:"NotBefore,attr"`
		NotOnOrAfter string `xml:"NotOnOrAfter,attr"`
	} `xml:"urn:oasis:names:tc:SAML:2.0:assertion SubjectConfirmationData"`
}

type signature struct {
	Infos []struct {
		Canonical  algorithm `xml:"http://www.w3.org/2000/09/xmldsig# CanonicalizationMethod"`
		Method     algorithm `xml:"http://www.w3.org/2000/09/xmldsig# SignatureMethod"`
		References []struct {
			URI        string      `xml:"URI,attr"`
			Transforms []algorithm `xml:"http://www.w3.org/2000/09/xmldsig# Transforms>Transform"`
			Digest     algorithm   `xml:"http://www.w3.org/2000/09/xmldsig# DigestMethod"`
		} `xml:"http://www.w3.org/2000/09/xmldsig# Reference"`
	} `xml:"http://www.w3.org/2000/09/xmldsig# SignedInfo"`
}

type algorithm struct {
	Name string `xml:"Algorithm,attr"`
}

// A seen is what inspect has found beside faults.
type seen struct {
	*scanner
	want want
	id   string    // of the assertion
	end  time.Time // after this the assertion is refused for its age
}

// inspect reads a response and notes everything that keeps it from being the answer that is wanted; it looks at no signature's
// value. Without faults there is exactly one assertion, with everything in it that the profile asks for.
func inspect(doc []byte, w want) *seen {
	s := &seen{scanner: scan(doc), want: w}
	if slices.Contains(s.faults, faultXML) || slices.Contains(s.faults, faultSize) || slices.Contains(s.faults, faultDepth) {
		return s
	}
	var r response
	if err := xml.Unmarshal(doc, &r); err != nil {
		s.note(faultXML)
		return s
	}
	s.response(r)
	for _, a := range r.Assertions {
		s.assertion(a)
	}
	return s
}

// unless notes a fault where something does not hold.
func (s *seen) unless(ok bool, f fault) {
	if !ok {
		s.note(f)
	}
}

func (s *seen) response(r response) {
	s.unless(r.Version == "2.0", faultVersion)
	s.unless(r.ID != "", faultID)
	s.unless(r.Destination == s.want.ACS, faultDestination)
	s.unless(s.want.Request != "" && r.InResponseTo == s.want.Request, faultRequest)
	s.unless(len(r.Issuers) == 1 && r.Issuers[0] == s.want.Entity, faultIssuer)
	s.unless(len(r.Status) == 1 && len(r.Status[0].Codes) == 1 && r.Status[0].Codes[0].Value == "urn:oasis:names:tc:SAML:2.0:status:Success", faultStatus)
	if issued, ok := instant(r.IssueInstant); !ok || issued.After(s.want.Now.Add(leeway)) {
		s.note(faultTime)
	}
	for _, one := range r.Signatures {
		s.signed(one, r.ID)
	}
}

func (s *seen) assertion(a assertion) {
	s.id = a.ID
	s.unless(a.ID != "" && len(a.ID) <= 255, faultID)
	s.unless(a.Version == "2.0", faultVersion)
	s.unless(len(a.Issuers) == 1 && a.Issuers[0] == s.want.Entity, faultIssuer)
	s.unless(len(a.Signatures) == 1, faultUnsigned)
	for _, one := range a.Signatures {
		s.signed(one, a.ID)
	}
	s.subject(a)
	s.conditions(a)
	s.statements(a)
	names := map[string]bool{}
	for _, statement := range a.Attributes {
		for _, one := range statement.Attributes {
			s.unless(one.Name != "" && !names[one.Name], faultAttributes)
			names[one.Name] = true
		}
	}
}

func (s *seen) subject(a assertion) {
	if len(a.Subjects) != 1 || len(a.Subjects[0].NameIDs) != 1 || a.Subjects[0].NameIDs[0].Value == "" {
		s.note(faultName)
		return
	}
	id := a.Subjects[0].NameIDs[0]
	s.unless(id.Format != "urn:oasis:names:tc:SAML:2.0:nameid-format:transient" && (id.For == "" || id.For == s.want.Own), faultSubject)
	all := a.Subjects[0].Confirmations
	s.unless(len(all) > 0, faultConfirmation)
	for _, c := range all {
		if c.Method != "urn:oasis:names:tc:SAML:2.0:cm:bearer" || len(c.Data) != 1 {
			s.note(faultConfirmation)
			continue
		}
		d := c.Data[0]
		s.unless(d.Recipient == s.want.ACS, faultRecipient)
		s.unless(s.want.Request != "" && d.InResponseTo == s.want.Request, faultRequest)
		s.unless(d.NotBefore == "", faultConfirmation) // profiles, 4.1.4.2
		s.until(d.NotOnOrAfter)
	}
}

func (s *seen) conditions(a assertion) {
	if len(a.Conditions) != 1 {
		s.note(faultConditions)
		return
	}
	c := a.Conditions[0]
	if from, ok := instant(c.NotBefore); c.NotBefore != "" && (!ok || from.After(s.want.Now.Add(leeway))) {
		s.note(faultTime)
	}
	s.until(c.NotOnOrAfter)
	s.unless(len(c.Restrictions) > 0, faultAudience)
	for _, r := range c.Restrictions {
		s.unless(slices.Contains(r.Audiences, s.want.Own), faultAudience)
	}
}

func (s *seen) statements(a assertion) {
	if len(a.Statements) != 1 {
		s.note(faultStatement)
		return
	}
	at, ok := instant(a.Statements[0].Instant)
	s.unless(ok && !at.After(s.want.Now.Add(leeway)), faultStatement)
	if text := a.Statements[0].End; text != "" {
		end, ok := instant(text)
		s.unless(ok && end.After(s.want.Now), faultSession)
	}
}

// until takes a NotOnOrAfter: it must be there, to come, and not further away than anybody needs.
func (s *seen) until(text string) {
	end, ok := instant(text)
	s.unless(ok && end.Add(leeway).After(s.want.Now) && end.Before(s.want.Now.Add(s.want.Longest)), faultTime)
	if end.After(s.end) {
		s.end = end
	}
}

// signed holds a signature to one form: one reference, to the element that it stands in, by algorithms of today.
func (s *seen) signed(one signature, id string) {
	if len(one.Infos) != 1 || len(one.Infos[0].References) != 1 {
		s.note(faultReference)
		return
	}
	info, ref := one.Infos[0], one.Infos[0].References[0]
	s.unless(id != "" && ref.URI == "#"+id, faultReference)
	s.unless(info.Canonical.Name == exclusive && slices.Contains(signing(), info.Method.Name) && slices.Contains(digests(), ref.Digest.Name), faultAlgorithm)
	s.unless(len(ref.Transforms) == 2 && ref.Transforms[0].Name == signatureNS+"enveloped-signature" && ref.Transforms[1].Name == exclusive, faultAlgorithm)
}

const exclusive = "http://www.w3.org/2001/10/xml-exc-c14n#"

func signing() []string {
	const more = "http://www.w3.org/2001/04/xmldsig-more#"
	return []string{more + "rsa-sha256", more + "rsa-sha384", more + "rsa-sha512", more + "ecdsa-sha256", more + "ecdsa-sha384", more + "ecdsa-sha512"}
}

func digests() []string {
	return []string{"http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2001/04/xmldsig-more#sha384", "http://www.w3.org/2001/04/xmlenc#sha512"}
}

// instant reads a time in UTC, as SAML writes it.
func instant(text string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, text)
	return t.UTC(), err == nil && t.Location() == time.UTC && len(text) <= 40
}
