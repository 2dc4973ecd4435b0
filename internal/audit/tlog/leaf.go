package tlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// MaxOriginSize is the greatest length of a log's origin in bytes.
const MaxOriginSize = 200

// ErrLeaf is what every refusal of a leaf or of its body wraps.
var ErrLeaf = errors.New("not a leaf of the trail")

// CheckOrigin refuses an origin that is not 1 to MaxOriginSize of the characters a-z A-Z 0-9 . - _ : and /.
// Such an origin is a signed-note key name, one line of a checkpoint and a JSON string, all without escaping.
func CheckOrigin(origin string) error {
	if origin == "" || len(origin) > MaxOriginSize {
		return fmt.Errorf("check log origin %.60q: 1 to %d characters are needed", origin, MaxOriginSize)
	}
	for _, c := range []byte(origin) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '-', c == '_', c == ':', c == '/':
		default:
			return fmt.Errorf("check log origin %.60q: use only letters, digits and . - _ : /", origin)
		}
	}
	return nil
}

// CheckBody refuses what cannot become a leaf: anything but one JSON object (RFC 8259) without surrounding space.
// The object must not have members "log" and "seq" of its own at the top; the caller answers for that.
func CheckBody(body []byte) error {
	if len(body) > MaxEntrySize {
		return fmt.Errorf("%w: body of %d bytes, at most %d fit; record a digest instead", ErrLeaf, len(body), MaxEntrySize)
	}
	if len(body) < 2 || body[0] != '{' || body[len(body)-1] != '}' || !json.Valid(body) {
		return fmt.Errorf("%w: body %.40q is not one JSON object", ErrLeaf, body)
	}
	return nil
}

// AppendLeaf appends to dst the leaf of a body: the same JSON object with "log" and "seq" as its first members, so that
// a leaf says by itself which log and which place it belongs to and no two leaves are equal.
// origin has passed CheckOrigin and body CheckBody.
func AppendLeaf(dst []byte, origin string, seq uint64, body []byte) []byte {
	dst = append(dst, `{"log":"`...)
	dst = append(dst, origin...)
	dst = append(dst, `","seq":`...)
	dst = strconv.AppendUint(dst, seq, 10)
	rest := bytes.TrimLeft(body[1:], " \t\r\n")
	if len(rest) > 0 && rest[0] != '}' {
		dst = append(dst, ',')
	}
	return append(dst, rest...)
}

// ParseLeaf returns the log and the sequence number that a leaf written by AppendLeaf states.
func ParseLeaf(leaf []byte) (origin string, seq uint64, err error) {
	rest, ok := bytes.CutPrefix(leaf, []byte(`{"log":"`))
	name, rest, ok2 := bytes.Cut(rest, []byte(`","seq":`))
	if !ok || !ok2 || len(name) > MaxOriginSize {
		return "", 0, fmt.Errorf("%w: %.60q does not begin with its log and seq", ErrLeaf, leaf)
	}
	if err := CheckOrigin(string(name)); err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrLeaf, err)
	}
	end := bytes.IndexAny(rest, ",}")
	if end < 1 || end > 20 {
		return "", 0, fmt.Errorf("%w: %.60q has no whole seq", ErrLeaf, leaf)
	}
	digits := string(rest[:end])
	seq, err = strconv.ParseUint(digits, 10, 64)
	if err != nil || strconv.FormatUint(seq, 10) != digits {
		return "", 0, fmt.Errorf("%w: seq %q is not a plain number", ErrLeaf, digits)
	}
	return string(name), seq, nil
}
