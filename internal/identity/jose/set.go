package jose

import (
	"bytes"
	"encoding/json"
	"fmt"

	strict "github.com/go-jose/go-jose/v4/json"

	"sallyport"
)

const (
	maxSetBytes = 64 << 10
	maxSetKeys  = 64
)

// A Set is public keys by their ids. It never changes: another set is another pointer.
type Set struct {
	keys     []Key
	document []byte // JWKS
}

// ParseSet reads a JWKS document (RFC 7517 section 5), at most 64 KiB and 64 keys. As the RFC asks, keys that
// [ParseKey] does not accept are passed over: the others still work. Two keys under one kid that could both verify a
// signature make the whole document Invalid.
func ParseSet(document []byte) (*Set, error) {
	const op = "read key set"
	if len(document) > maxSetBytes {
		return nil, sallyport.E(op, sallyport.TooLarge, "more than 64 KiB", "")
	}
	var raw struct {
		Keys *[]strict.RawMessage `json:"keys"`
	}
	if err := strict.Unmarshal(document, &raw); err != nil || raw.Keys == nil {
		return nil, sallyport.Wrap(op, sallyport.Invalid, "not a JWKS document", err)
	}
	if len(*raw.Keys) > maxSetKeys {
		return nil, sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("more than %d keys", maxSetKeys), "")
	}
	var keys []Key
	for _, one := range *raw.Keys {
		if k, err := ParseKey(one); err == nil {
			keys = append(keys, k)
		}
	}
	return NewSet(keys...)
}

// NewSet makes a set. Two keys under one kid that could both verify a signature are Invalid; so is a zero key.
func NewSet(keys ...Key) (*Set, error) {
	const op = "make key set"
	s := &Set{keys: keys, document: append(make([]byte, 0, sizeOfKey*len(keys)), `{"keys":[`...)}
	for i, k := range keys {
		for _, other := range keys[:i] {
			if k.id == other.id && k.id != "" && overlap(k, other) {
				return nil, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("two keys are called %.80q", k.id), "give each its own kid")
			}
		}
		one, err := k.JWK()
		if err != nil {
			return nil, err
		}
		s.document = append(append(s.document, one...), ',')
	}
	s.document = append(bytes.TrimSuffix(s.document, []byte{','}), "]}"...)
	return s, nil
}

// overlap tells whether some algorithm would do for both keys.
func overlap(a, b Key) bool {
	for _, algorithm := range ForeignAlgorithms() {
		if a.allows(algorithm) && b.allows(algorithm) {
			return true
		}
	}
	return false
}

// Document returns the set as a JWKS document of public keys. The caller must not change it.
func (s *Set) Document() json.RawMessage {
	if s == nil {
		return json.RawMessage(`{"keys":[]}`)
	}
	return s.document
}

// Keys returns the keys. The caller must not change the slice.
func (s *Set) Keys() []Key {
	if s == nil {
		return nil
	}
	return s.keys
}

// Has tells whether a key has this id: if not, a newer set may help.
func (s *Set) Has(id string) bool {
	for _, k := range s.Keys() {
		if k.id == id {
			return true
		}
	}
	return false
}

// find returns the one key that may verify a signature with this header. A token that names no key is accepted only
// where a single key of the set fits, named or not.
func (s *Set) find(h Header) (Key, bool) {
	var found []Key
	for _, k := range s.Keys() {
		if k.allows(h.Algorithm) && (h.KeyID == "" || k.id == h.KeyID) {
			found = append(found, k)
		}
	}
	if len(found) != 1 {
		return Key{}, false
	}
	return found[0], true
}
