package jose

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	strict "github.com/go-jose/go-jose/v4/json"

	"sallyport"
)

// Limits on a token, before anything in it is looked at.
const (
	maxToken  = 16 << 10 // bytes
	maxHeader = 4 << 10  // bytes of base64url
	maxDepth  = 16       // of nested values in header and claims
)

// A Header is what is read of a protected header. It may hold more members, which are passed over as RFC 7515 section
// 4 asks; but crit, b64, zip, enc and whatever brings a key of its own (jwk, jku, x5u, x5c) are refused.
type Header struct {
	Algorithm Algorithm
	KeyID     string
	Type      string // typ in lower case, without "application/"; "" where there is none
}

// A Profile says which tokens are expected at one place. Its zero value accepts nothing.
type Profile struct {
	Op         string      // for errors: "access token", "logout token"
	Types      []string    // accepted typ, lower case, without "application/"; "" accepts a token without one
	Algorithms []Algorithm // accepted alg
}

// A Token is a token whose signature was verified. Its claims have still to be held against what is expected: Check.
type Token struct {
	Header Header
	Key    Key // which verified it
	Claims Claims
}

// Verify checks form, header and signature of a token in compact form (RFC 7515 section 3.1) and reads its claims,
// the cheapest check first. Errors are of kind Unknown; their reasons are jose.size, jose.form, jose.header,
// jose.algorithm, jose.type, jose.key, jose.signature and jose.claims.
func Verify(text string, keys *Set, want Profile) (Token, error) {
	p, err := parse(want.Op, text)
	if err != nil {
		return Token{}, err
	}
	if err := want.accepts(p.header); err != nil {
		return Token{}, err
	}
	key, ok := keys.find(p.header)
	if !ok {
		return Token{}, refusal(want.Op, "key")
	}
	return p.open(want.Op, key)
}

func (p Profile) accepts(h Header) error {
	switch {
	case !h.Algorithm.known() || !slices.Contains(p.Algorithms, h.Algorithm):
		return refusal(p.Op, "algorithm")
	case !slices.Contains(p.Types, h.Type):
		return refusal(p.Op, "type")
	}
	return nil
}

// parts is a token in compact form, decoded but not verified.
type parts struct {
	header             Header
	rawHeader          map[string]any
	signed             string // what the signature is over
	payload, signature []byte
}

// open checks the signature and reads the claims.
func (p parts) open(op string, key Key) (Token, error) {
	if !key.allows(p.header.Algorithm) {
		return Token{}, refusal(op, "key")
	}
	if !p.header.Algorithm.verify(key.public, []byte(p.signed), p.signature) {
		return Token{}, refusal(op, "signature")
	}
	claims, err := readClaims(op, p.payload)
	if err != nil {
		return Token{}, err
	}
	return Token{Header: p.header, Key: key, Claims: claims}, nil
}

// parse wants three parts of base64url, each in its one spelling, with a header that is understood.
func parse(op, text string) (parts, error) {
	if len(text) == 0 || len(text) > maxToken {
		return parts{}, refusal(op, "size")
	}
	if strings.Count(text, ".") != 2 || strings.ContainsAny(text, "\r\n") { // the decoder would pass over line ends
		return parts{}, refusal(op, "form")
	}
	head, rest, _ := strings.Cut(text, ".")
	body, signature, _ := strings.Cut(rest, ".")
	if len(head) > maxHeader {
		return parts{}, refusal(op, "size")
	}
	one := base64.RawURLEncoding.Strict()
	rawHeader, errHead := one.DecodeString(head)
	payload, errBody := one.DecodeString(body)
	sum, errSum := one.DecodeString(signature)
	if errHead != nil || errBody != nil || errSum != nil || len(sum) == 0 {
		return parts{}, refusal(op, "form")
	}
	p := parts{signed: text[:len(head)+1+len(body)], payload: payload, signature: sum}
	var err error
	if p.rawHeader, err = object(rawHeader); err != nil {
		return parts{}, refusal(op, "header")
	}
	if p.header, err = readHeader(op, p.rawHeader); err != nil {
		return parts{}, err
	}
	return p, nil
}

func readHeader(op string, members map[string]any) (Header, error) {
	for _, name := range []string{"crit", "b64", "zip", "enc", "jku", "x5u", "x5c"} {
		if _, there := members[name]; there {
			return Header{}, refusal(op, "header")
		}
	}
	var text [3]string
	for i, name := range []string{"alg", "kid", "typ"} {
		value, there := members[name]
		s, isText := value.(string)
		if there && (!isText || s == "" || len(s) > maxKeyID) {
			return Header{}, refusal(op, "header")
		}
		text[i] = s
	}
	if _, there := members["jwk"]; there && text[2] != proofType {
		return Header{}, refusal(op, "header")
	}
	return Header{
		Algorithm: Algorithm(text[0]), KeyID: text[1],
		Type: strings.TrimPrefix(strings.ToLower(text[2]), "application/"),
	}, nil
}

// object reads one JSON object: valid UTF-8, no member twice on any level, names compared byte by byte, not deep,
// nothing behind it. Numbers stay text.
func object(b []byte) (map[string]any, error) {
	if !utf8.Valid(b) || depth(b) > maxDepth {
		return nil, errors.New("not plain JSON")
	}
	decoder := strict.NewDecoder(bytes.NewReader(b))
	decoder.SetNumberType(strict.UnmarshalJSONNumber)
	var members map[string]any
	if err := decoder.Decode(&members); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); members == nil || !errors.Is(err, io.EOF) {
		return nil, errors.New("not one object")
	}
	return members, nil
}

// depth is how deep the brackets outside of texts are nested; of bytes that are no JSON it says nothing.
func depth(b []byte) int {
	deepest, now, quoted := 0, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case quoted:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// An Unverified is what a token says of itself. Anybody can write it: it may choose whose keys are tried, never more.
type Unverified struct {
	Header  Header
	Issuer  string
	Subject string
	Claims  Claims
}

// Peek reads a token without verifying it, only to find out whose keys have to verify it.
func Peek(text string) (Unverified, error) {
	const op = "token"
	p, err := parse(op, text)
	if err != nil {
		return Unverified{}, err
	}
	c, err := readClaims(op, p.payload)
	if err != nil {
		return Unverified{}, err
	}
	return Unverified{Header: p.header, Issuer: c.Issuer, Subject: c.Subject, Claims: c}, nil
}

// unusable is a defect of ours, not of the token: an expectation was left empty.
func unusable(op, what string) error {
	return sallyport.E(op, sallyport.Other, "the check is incomplete: "+what, "")
}
