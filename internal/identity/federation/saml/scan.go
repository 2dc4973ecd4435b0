//go:build !nosaml

package saml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
)

const (
	protocolNS  = "urn:oasis:names:tc:SAML:2.0:protocol"
	assertionNS = "urn:oasis:names:tc:SAML:2.0:assertion"
	signatureNS = "http://www.w3.org/2000/09/xmldsig#"
	encryptNS   = "http://www.w3.org/2001/04/xmlenc#"
	schemaNS    = "http://www.w3.org/2001/XMLSchema-instance"
	xmlNS       = "http://www.w3.org/XML/1998/namespace"

	maxDepth      = 24
	maxElements   = 4096
	maxAttributes = 32
)

// A fault is a code for what is wrong with a response, for the log and for tests.
type fault string

// The faults that lie in the form of a document.
const (
	faultSize      fault = "size"
	faultXML       fault = "xml"
	faultDepth     fault = "depth"
	faultMarkup    fault = "markup" // comment, processing instruction, document type
	faultAttribute fault = "attribute"
	faultRoot      fault = "root"
	faultID        fault = "id" // missing, or there twice
	faultCount     fault = "assertions"
	faultEncrypted fault = "encrypted"
	faultPlace     fault = "signature-place"
)

// A scanner walks a document once and notes what is wrong with its form.
type scanner struct {
	path       []xml.Name
	ids        map[string]bool
	faults     []fault
	elements   int
	assertions int
	signatures map[string]int // by the path of their parents
}

// scan reads the form of a document. It stops at what it does not understand.
func scan(doc []byte) *scanner {
	s := &scanner{ids: map[string]bool{}, signatures: map[string]int{}}
	if len(doc) > maxMessage {
		return s.note(faultSize)
	}
	dec := xml.NewDecoder(bytes.NewReader(doc))
	dec.Entity, dec.Strict = map[string]string{}, true
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return s.note(faultXML)
		}
		if !s.take(token) {
			return s
		}
	}
	if s.elements == 0 {
		s.note(faultXML)
	}
	if s.assertions != 1 {
		s.note(faultCount)
	}
	return s
}

func (s *scanner) note(f fault) *scanner {
	if !slices.Contains(s.faults, f) {
		s.faults = append(s.faults, f)
	}
	return s
}

// take reports whether to go on.
func (s *scanner) take(token xml.Token) bool {
	switch t := token.(type) {
	case xml.StartElement:
		return s.start(t)
	case xml.EndElement:
		s.path = s.path[:len(s.path)-1]
	case xml.CharData:
		if len(s.path) == 0 && strings.TrimSpace(string(t)) != "" {
			s.note(faultXML)
		}
	case xml.ProcInst:
		if t.Target != "xml" || s.elements > 0 {
			s.note(faultMarkup)
		}
	default: // a comment inside a name makes two readers read two names; nobody needs one
		s.note(faultMarkup)
	}
	return true
}

func (s *scanner) start(t xml.StartElement) bool {
	if s.elements++; s.elements > maxElements || len(s.path) >= maxDepth {
		s.note(faultDepth)
		return false
	}
	if len(s.path) == 0 && (s.elements > 1 || t.Name != xml.Name{Space: protocolNS, Local: "Response"}) {
		s.note(faultRoot)
	}
	s.attributes(t)
	switch {
	case t.Name == xml.Name{Space: protocolNS, Local: "Response"} && len(s.path) > 0:
		s.note(faultRoot)
	case t.Name == xml.Name{Space: assertionNS, Local: "Assertion"}:
		if s.assertions++; len(s.path) != 1 {
			s.note(faultCount)
		}
	case t.Name.Space == encryptNS, t.Name.Space == assertionNS && strings.HasPrefix(t.Name.Local, "Encrypted"):
		s.note(faultEncrypted)
	case t.Name == xml.Name{Space: signatureNS, Local: "Signature"}:
		s.signature()
	case t.Name == xml.Name{Space: signatureNS, Local: "Object"}:
		s.note(faultPlace)
	}
	s.path = append(s.path, t.Name)
	return true
}

// signature holds a signature to its places: under the response, and under its assertion; one each.
func (s *scanner) signature() {
	place := ""
	for _, n := range s.path {
		place += "/" + n.Local
	}
	if s.signatures[place]++; place != "/Response" && place != "/Response/Assertion" || s.signatures[place] > 1 {
		s.note(faultPlace)
	}
}

// attributes holds ids to being there once, and attributes of SAML's elements to having one reading.
func (s *scanner) attributes(t xml.StartElement) {
	if len(t.Attr) > maxAttributes {
		s.note(faultAttribute)
	}
	seen := map[string]bool{}
	for _, a := range t.Attr {
		declares := a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns"
		if declares {
			continue
		}
		foreign := a.Name.Space != "" && a.Name.Space != schemaNS && a.Name.Space != xmlNS
		if foreign && (t.Name.Space == protocolNS || t.Name.Space == assertionNS) && t.Name.Local != "Attribute" || seen[a.Name.Local] {
			s.note(faultAttribute)
		}
		seen[a.Name.Local] = true
		if strings.EqualFold(a.Name.Local, "id") && a.Name.Space == "" {
			if a.Value == "" || s.ids[a.Value] {
				s.note(faultID)
			}
			s.ids[a.Value] = true
		}
	}
}
