// Package secret owns values that must never be seen: passwords, tokens, keys.
//
// A [Text] or [Bytes] prints as [redacted] under every fmt verb, in slog, JSON and text encodings, also when it
// stands in an unexported field of somebody else's struct, where fmt cannot call methods and walks the memory
// instead. It compares in constant time and can be zeroed.
//
// It leaves to others where a secret comes from (files, the keyring, a random source) and how long it lives.
package secret

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what a secret prints and encodes as.
const Redacted = "[redacted]"

// errRedacted answers an attempt to read back what an encoder wrote in place of a secret: accepting it would turn
// a well-known word into a valid password.
var errRedacted = errors.New(`secret: decode: "[redacted]" stands for a value that was not written; supply the real one`)

// hidden holds the bytes behind a function value. Reflection follows pointers, slices and strings, but has no way
// into a closure, so that no printer, differ or encoder can reach them. It also makes == a compile error.
type hidden struct {
	open func() []byte
}

func hide(b []byte) hidden {
	if len(b) == 0 {
		return hidden{}
	}
	return hidden{open: func() []byte { return b }}
}

func (h hidden) bytes() []byte {
	if h.open == nil {
		return nil
	}
	return h.open()
}

// equal takes time that depends on the lengths only. Nothing equals an empty secret, not even another one: a
// credential that was never set must not match a credential that was not sent.
func (h hidden) equal(o hidden) bool {
	a, b := h.bytes(), o.bytes()
	return len(a) > 0 && subtle.ConstantTimeCompare(a, b) == 1
}

func format(s fmt.State) { _, _ = io.WriteString(s, Redacted) }

// Text is a secret of characters: a password, a bearer token. The zero value is empty. Copies share the same
// memory, so that Zero on one empties all. Methods are safe for concurrent use, except beside Zero.
type Text struct{ h hidden }

// NewText returns s as a secret. The caller's string itself stays in memory until it is collected.
func NewText(s string) Text { return Text{hide([]byte(s))} }

// Reveal returns the plain text, for the one place that must have it.
func (t Text) Reveal() string { return string(t.h.bytes()) }

// Len returns the length in bytes.
func (t Text) Len() int { return len(t.h.bytes()) }

// IsZero reports whether the secret is empty.
func (t Text) IsZero() bool { return t.Len() == 0 }

// Equal reports whether both hold the same characters, in time that depends on their lengths only.
// An empty secret equals nothing.
func (t Text) Equal(o Text) bool { return t.h.equal(o.h) }

// Zero overwrites the characters, in all copies of t, with zero bytes.
func (t Text) Zero() { clear(t.h.bytes()) }

// Format implements [fmt.Formatter] and prints [Redacted] under every verb.
func (t Text) Format(s fmt.State, _ rune) { format(s) }

// String returns [Redacted].
func (t Text) String() string { return Redacted }

// LogValue implements [slog.LogValuer] with [Redacted].
func (t Text) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText implements [encoding.TextMarshaler] with [Redacted]; JSON, XML and YAML encoders use it too.
func (t Text) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. It refuses [Redacted] and keeps a copy of b.
func (t *Text) UnmarshalText(b []byte) error {
	if string(b) == Redacted {
		return errRedacted
	}
	*t = NewText(string(b))
	return nil
}

// Bytes is a secret of bytes: a key. The zero value is empty. Copies share the same memory, so that Zero on one
// empties all. Methods are safe for concurrent use, except beside Zero.
type Bytes struct{ h hidden }

// NewBytes returns b as a secret. It takes b over: the caller must not use b again.
func NewBytes(b []byte) Bytes { return Bytes{hide(b)} }

// Reveal returns the bytes themselves, not a copy, for the one place that must have them. The caller must neither
// change nor keep the slice.
func (b Bytes) Reveal() []byte { return b.h.bytes() }

// Len returns the length in bytes.
func (b Bytes) Len() int { return len(b.h.bytes()) }

// IsZero reports whether the secret is empty.
func (b Bytes) IsZero() bool { return b.Len() == 0 }

// Equal reports whether both hold the same bytes, in time that depends on their lengths only.
// An empty secret equals nothing.
func (b Bytes) Equal(o Bytes) bool { return b.h.equal(o.h) }

// Zero overwrites the bytes, in all copies of b, with zeroes.
func (b Bytes) Zero() { clear(b.h.bytes()) }

// Format implements [fmt.Formatter] and prints [Redacted] under every verb.
func (b Bytes) Format(s fmt.State, _ rune) { format(s) }

// String returns [Redacted].
func (b Bytes) String() string { return Redacted }

// LogValue implements [slog.LogValuer] with [Redacted].
func (b Bytes) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText implements [encoding.TextMarshaler] with [Redacted]; JSON, XML and YAML encoders use it too.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(Redacted), nil }
