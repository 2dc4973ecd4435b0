package workload

import (
	"bytes"
	"encoding/json"
	"strings"

	"sallyport/internal/identity/jose"
)

// spiffeID tells whether s is a SPIFFE id with a path: SPIFFE-ID, sections 2.1 and 2.2.
func spiffeID(s string) bool {
	rest, ok := strings.CutPrefix(s, "spiffe://")
	domain, path, below := strings.Cut(rest, "/")
	if !ok || !below || len(s) > 2048 || domain == "" || len(domain) > 255 || !only(domain, "abcdefghijklmnopqrstuvwxyz0123456789.-_") {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." || !only(segment, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") {
			return false
		}
	}
	return true
}

func only(s, alphabet string) bool { return strings.Trim(s, alphabet) == "" }

// parseKeys reads an issuer's keys. Those of a SPIFFE bundle that verify JWT-SVIDs say so by "use":"jwt-svid" (SPIFFE
// Trust Domain and Bundle, section 4.2.2), which the parser of key sets would pass over.
func (k Kind) parseKeys(document []byte) (*jose.Set, error) {
	if k != SPIFFE {
		return jose.ParseSet(document)
	}
	if _, err := jose.ParseSet(document); err != nil { // its limits hold here too
		return nil, err
	}
	var bundle struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &bundle); err != nil {
		return nil, unreadable(err)
	}
	for i, one := range bundle.Keys {
		var key map[string]json.RawMessage
		if json.Unmarshal(one, &key) == nil && string(key["use"]) == `"jwt-svid"` {
			bundle.Keys[i] = bytes.Replace(one, key["use"], []byte(`"sig"`), 1)
		}
	}
	plain, err := json.Marshal(bundle)
	if err != nil {
		return nil, unreadable(err)
	}
	return jose.ParseSet(plain)
}
