// Package secevent owns security event tokens (RFC 8417) in the form that the
// OpenID Shared Signals Framework 1.0 gives them: one event a token, about a
// subject (RFC 9493), with the eight events of CAEP 1.0 and the two of streams. It
// reads and writes them and holds them against what is expected. It is pure.
//
// It leaves signatures to identity/jose, streams to identity/signals, and what an
// event brings about to identity/heed.
package secevent

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/jose"
)

// Typ is the typ of a token (RFC 8417, section 2.3).
const Typ = "secevent+jwt"

// A Type is the URI of an event.
type Type string

const (
	caep = "https://schemas.openid.net/secevent/caep/event-type/"
	ssf  = "https://schemas.openid.net/secevent/ssf/event-type/"
)

// The events of CAEP 1.0, section 3, and those of SSF 1.0, section 8.1.
const (
	SessionRevoked         Type = caep + "session-revoked"
	TokenClaimsChange      Type = caep + "token-claims-change"
	CredentialChange       Type = caep + "credential-change"
	AssuranceLevelChange   Type = caep + "assurance-level-change"
	DeviceComplianceChange Type = caep + "device-compliance-change"
	SessionEstablished     Type = caep + "session-established"
	SessionPresented       Type = caep + "session-presented"
	RiskLevelChange        Type = caep + "risk-level-change"
	Verification           Type = ssf + "verification"
	StreamUpdated          Type = ssf + "stream-updated"
)

// Types returns the events of CAEP.
func Types() []Type {
	return []Type{SessionRevoked, TokenClaimsChange, CredentialChange, AssuranceLevelChange, DeviceComplianceChange, SessionEstablished, SessionPresented, RiskLevelChange}
}

// Name is the last part of the URI, such as "session-revoked".
func (t Type) Name() string { return string(t[strings.LastIndexByte(string(t), '/')+1:]) }

// The limits of what is read.
const (
	maxText  = 1024 // bytes
	maxParts = 8    // of a complex subject
)

// A Subject says whom or what an event is about (RFC 9493, section 3; SSF 1.0,
// section 3): by one identifier, or of format "complex" by parts.
type Subject struct {
	Format string             // "iss_sub", "email", "opaque", "complex" or another of RFC 9493
	Fields map[string]string  // of an identifier: "iss" and "sub", "email", "id", …
	Parts  map[string]Subject // of a complex one: "user", "session", "device", "tenant", …
}

// IssSub is a subject that an issuer names.
func IssSub(issuer, subject string) Subject {
	return Subject{Format: "iss_sub", Fields: map[string]string{"iss": issuer, "sub": subject}}
}

// Opaque is a subject by an id that both sides know.
func Opaque(id string) Subject { return Subject{Format: "opaque", Fields: map[string]string{"id": id}} }

// Complex is a subject of parts.
func Complex(parts map[string]Subject) Subject { return Subject{Format: "complex", Parts: parts} }

// Key is a text in which two equal subjects are equal.
func (s Subject) Key() string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // cannot happen: texts only
	}
	return string(b)
}

// Part returns a part of a complex subject; of a simple one itself for "user".
func (s Subject) Part(name string) (Subject, bool) {
	if s.Format != "complex" {
		return s, name == "user"
	}
	p, ok := s.Parts[name]
	return p, ok
}

// MarshalJSON implements json.Marshaler.
func (s Subject) MarshalJSON() ([]byte, error) {
	m := map[string]any{"format": s.Format}
	for k, v := range s.Fields {
		m[k] = v
	}
	for k, v := range s.Parts {
		m[k] = v
	}
	return json.Marshal(m)
}

// UnmarshalJSON implements json.Unmarshaler. It is strict about what every format
// must have.
func (s *Subject) UnmarshalJSON(raw []byte) error { return s.read(raw, false) }

func (s *Subject) read(raw []byte, within bool) error {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil {
		return wrong("subject", "it is no object")
	}
	if err := json.Unmarshal(m["format"], &s.Format); err != nil || s.Format == "" {
		return wrong("subject", "it has no format")
	}
	delete(m, "format")
	if len(m) == 0 || len(m) > maxParts {
		return wrong("subject", fmt.Sprintf("it has %d members", len(m)))
	}
	s.Fields, s.Parts = map[string]string{}, map[string]Subject{}
	for name, value := range m {
		if s.Format == "complex" {
			var part Subject
			if within {
				return wrong("subject", "a part has parts")
			}
			if err := part.read(value, true); err != nil {
				return err
			}
			s.Parts[name] = part
			continue
		}
		var text string
		if json.Unmarshal(value, &text) == nil && len(text) <= maxText {
			s.Fields[name] = text // what is no text says nothing that is understood
		}
	}
	if len(s.Parts) == 0 {
		s.Parts = nil
	} else {
		s.Fields = nil
	}
	for _, need := range map[string][]string{"iss_sub": {"iss", "sub"}, "email": {"email"}, "opaque": {"id"}}[s.Format] {
		if s.Fields[need] == "" {
			return wrong("subject", fmt.Sprintf("of format %s it has no %s", s.Format, need))
		}
	}
	return nil
}

// An Event is what happened to a subject.
type Event struct {
	Type    Type
	Subject Subject
	At      time.Time // when it happened; zero where it is not said
	By      string    // initiating_entity: "admin", "user", "policy" or "system"; "" where it is not said
	Admin   string    // the reason, for administrators, in English or the first language there is
	User    string    // the reason, for the person
	// Fields are the texts of the type, such as "current_level" and "change_type".
	Fields map[string]string
	// Claims are the changed claims of a token, of TokenClaimsChange only.
	Claims map[string]any
}

// needs are the texts that a type must have, with the values there are; none for
// any.
func needs(t Type) map[string][]string {
	switch t {
	case CredentialChange:
		return map[string][]string{"credential_type": nil, "change_type": {"create", "revoke", "update", "delete"}}
	case AssuranceLevelChange:
		return map[string][]string{"namespace": nil, "current_level": nil}
	case DeviceComplianceChange:
		return map[string][]string{"previous_status": {"compliant", "not-compliant"}, "current_status": {"compliant", "not-compliant"}}
	case RiskLevelChange:
		return map[string][]string{"principal": {"USER", "DEVICE", "SESSION", "TENANT", "ORG_UNIT", "GROUP"}, "current_level": {"LOW", "MEDIUM", "HIGH"}}
	case StreamUpdated:
		return map[string][]string{"status": {"enabled", "paused", "disabled"}}
	}
	return nil
}

// readEvent reads the payload of an event.
func readEvent(t Type, raw json.RawMessage) (Event, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil || m == nil {
		return Event{}, wrong(t.Name(), "its payload is no object")
	}
	e := Event{Type: t, Fields: map[string]string{}}
	for name, value := range m {
		switch name {
		case "event_timestamp":
			var at float64
			if err := json.Unmarshal(value, &at); err != nil || at < 0 || at > 1e16 {
				return Event{}, wrong(t.Name(), "its event_timestamp is no time")
			}
			if at > 1e11 { // milliseconds, as before CAEP 1.0
				at /= 1000
			}
			e.At = time.Unix(int64(math.Floor(at)), 0).UTC()
		case "reason_admin":
			e.Admin = localized(value)
		case "reason_user":
			e.User = localized(value)
		case "claims":
			if err := json.Unmarshal(value, &e.Claims); err != nil {
				return Event{}, wrong(t.Name(), "its claims are no object")
			}
		case "subject": // where drafts had it
			if err := json.Unmarshal(value, &e.Subject); err != nil {
				return Event{}, err
			}
		default:
			var text string
			if json.Unmarshal(value, &text) == nil && len(text) <= maxText {
				e.Fields[name] = text
			}
		}
	}
	e.By = e.Fields["initiating_entity"]
	delete(e.Fields, "initiating_entity")
	return e, e.check()
}

func (e Event) check() error {
	for name, among := range needs(e.Type) {
		if v := e.Fields[name]; v == "" || among != nil && !slices.Contains(among, v) {
			return wrong(e.Type.Name(), fmt.Sprintf("its %s is missing or none that there is", name))
		}
	}
	if e.Type == TokenClaimsChange && len(e.Claims) == 0 {
		return wrong(e.Type.Name(), "it changes no claims")
	}
	return nil
}

// localized reads a text, or an object of texts by language.
func localized(raw json.RawMessage) string {
	var all map[string]string
	var one string
	if json.Unmarshal(raw, &one) == nil {
		all = map[string]string{"en": one}
	} else if json.Unmarshal(raw, &all) != nil {
		return ""
	}
	best := all["en"]
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for k := range all {
			if !yield(k) {
				return
			}
		}
	}) {
		if best == "" {
			best = all[name]
		}
	}
	return sallyport.OneLine(best)
}

// payload writes the payload of an event.
func (e Event) payload() map[string]any {
	m := map[string]any{}
	for k, v := range e.Fields {
		m[k] = v
	}
	if !e.At.IsZero() {
		m["event_timestamp"] = e.At.Unix()
	}
	if e.By != "" {
		m["initiating_entity"] = e.By
	}
	if e.Admin != "" {
		m["reason_admin"] = map[string]string{"en": e.Admin}
	}
	if e.User != "" {
		m["reason_user"] = map[string]string{"en": e.User}
	}
	if len(e.Claims) > 0 {
		m["claims"] = e.Claims
	}
	return m
}

func wrong(what, text string) error {
	return sallyport.E("read "+what, sallyport.Invalid, text, "").Because("invalid_request")
}

// A Token is a security event token.
type Token struct {
	Issuer   string
	Audience []string
	ID       string // jti
	Issued   time.Time
	Txn      string // of the transaction that several events belong to; "" where there is none
	Event    Event
}

// MarshalJSON returns the claims of the token. CAEP's interoperability profile
// wants a reason for administrators in every event of its own.
func (t Token) MarshalJSON() ([]byte, error) {
	if strings.HasPrefix(string(t.Event.Type), caep) && t.Event.Admin == "" {
		return nil, wrong("event", "it says no reason for administrators")
	}
	if err := t.Event.check(); err != nil {
		return nil, err
	}
	m := map[string]any{"iss": t.Issuer, "aud": t.Audience, "jti": t.ID, "iat": t.Issued.Unix(), "sub_id": t.Event.Subject,
		"events": map[string]any{string(t.Event.Type): t.Event.payload()}}
	if t.Txn != "" {
		m["txn"] = t.Txn
	}
	return json.Marshal(m)
}

// Rules say which tokens are taken. Every field is needed.
type Rules struct {
	Issuer     string           // exact
	Audience   string           // must be among aud
	Algorithms []jose.Algorithm // accepted; there is neither none nor a MAC among what jose knows
	Now        time.Time
	MaxAge     time.Duration // since iat
	Leeway     time.Duration // for clocks that differ
}

// Verify returns the event of a token whose signature verifies under keys and
// whose claims are what is expected. Whether its ID was seen before is the
// caller's to judge. An error is of kind Unknown or Invalid and its reason one of
// RFC 8935, section 2.4: authentication_failed, invalid_issuer, invalid_audience,
// invalid_key or invalid_request.
func Verify(text string, keys *jose.Set, want Rules) (Token, error) {
	const op = "security event token"
	if want.Issuer == "" || want.Audience == "" || len(want.Algorithms) == 0 || want.Now.IsZero() || want.MaxAge <= 0 {
		return Token{}, sallyport.E(op, sallyport.Other, "the rules are not complete", "")
	}
	v, err := jose.Verify(text, keys, jose.Profile{Op: op, Types: []string{Typ}, Algorithms: want.Algorithms})
	if err != nil {
		reason := "authentication_failed"
		if sallyport.ReasonOf(err) == "jose.key" {
			reason = "invalid_key"
		}
		return Token{}, sallyport.Wrap(op, sallyport.Unknown, "the token cannot be verified", err).Because(reason)
	}
	c := v.Claims
	bad := func(reason, text string) (Token, error) {
		return Token{}, sallyport.E(op, sallyport.Unknown, text, "").Because(reason)
	}
	switch {
	case c.Issuer != want.Issuer:
		return bad("invalid_issuer", "the token is of another issuer")
	case !slices.Contains(c.Audience, want.Audience):
		return bad("invalid_audience", "the token is for somebody else")
	case c.ID == "" || len(c.ID) > 256:
		return bad("invalid_request", "the token has no usable jti")
	case c.Has("exp") || c.Has("sub"):
		return bad("invalid_request", "the token has exp or sub, which a security event token has not")
	case c.Issued.IsZero() || c.Issued.After(want.Now.Add(want.Leeway)):
		return bad("invalid_request", "the token is from the future, or says not when it was issued")
	case want.Now.Sub(c.Issued) > want.MaxAge:
		return bad("invalid_request", "the token is too old")
	}
	t := Token{Issuer: c.Issuer, Audience: c.Audience, ID: c.ID, Issued: c.Issued}
	t.Txn, _ = c.Text("txn")
	t.Event, err = only(c)
	return t, err
}

// only reads the one event of a token.
func only(c jose.Claims) (Event, error) {
	var body struct {
		Events  map[string]json.RawMessage `json:"events"`
		Subject *Subject                   `json:"sub_id"`
	}
	if err := c.Decode("security event token", &body); err != nil {
		return Event{}, wrong("security event token", "its events or its subject cannot be read")
	}
	if len(body.Events) != 1 {
		return Event{}, wrong("security event token", fmt.Sprintf("it has %d events, and not one", len(body.Events)))
	}
	for t, raw := range body.Events {
		e, err := readEvent(Type(t), raw)
		if err != nil {
			return Event{}, err
		}
		if body.Subject != nil {
			e.Subject = *body.Subject
		}
		if e.Subject.Format == "" {
			return Event{}, wrong("security event token", "it says not whom it is about")
		}
		return e, nil
	}
	return Event{}, nil // cannot happen: there is one
}
