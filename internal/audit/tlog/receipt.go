package tlog

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxReceiptSize is the greatest length of a receipt in bytes.
const MaxReceiptSize = 256 << 10

// receiptHeader is the first line of a C2SP tlog-proof.
const receiptHeader = "c2sp.org/tlog-proof@v1"

// Receipt is a C2SP tlog-proof: one text that proves, offline and for as long as the keys are trusted, that an entry
// stands at an index of a log. Store it with the file extension .tlog-proof.
type Receipt struct {
	Index      uint64
	Proof      []Hash // RFC 6962 inclusion proof, leaf's sibling first
	Extra      []byte // optional; ours carry the entry itself, which Verify then checks against the proof
	Checkpoint []byte // the signed checkpoint, verbatim
}

// Marshal returns the text of r.
func (r Receipt) Marshal() []byte {
	var b bytes.Buffer
	b.WriteString(receiptHeader + "\n")
	if len(r.Extra) > 0 {
		b.WriteString("extra " + base64.StdEncoding.EncodeToString(r.Extra) + "\n")
	}
	b.WriteString("index " + strconv.FormatUint(r.Index, 10) + "\n")
	for _, h := range r.Proof {
		b.WriteString(h.String() + "\n")
	}
	b.WriteString("\n")
	b.Write(r.Checkpoint)
	return b.Bytes()
}

// ParseReceipt reads a receipt in its one canonical form. Nothing of it is believed before Verify.
func ParseReceipt(text []byte) (Receipt, error) {
	if len(text) > MaxReceiptSize {
		return Receipt{}, fmt.Errorf("parse receipt: %d bytes, at most %d allowed", len(text), MaxReceiptSize)
	}
	head, checkpoint, ok := bytes.Cut(text, []byte("\n\n"))
	if !ok || len(checkpoint) == 0 {
		return Receipt{}, errors.New("parse receipt: no empty line before a checkpoint")
	}
	lines := strings.Split(string(head), "\n")
	if lines[0] != receiptHeader {
		return Receipt{}, fmt.Errorf("parse receipt: first line %.40q is not %s", lines[0], receiptHeader)
	}
	r, lines := Receipt{Checkpoint: checkpoint}, lines[1:]
	var err error
	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		if r.Extra, err = base64.StdEncoding.Strict().DecodeString(lines[0][len("extra "):]); err != nil || len(r.Extra) == 0 {
			return Receipt{}, errors.New("parse receipt: the extra line is not base64")
		}
		lines = lines[1:]
	}
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "index ") {
		return Receipt{}, errors.New("parse receipt: no index line")
	}
	digits := lines[0][len("index "):]
	if r.Index, err = strconv.ParseUint(digits, 10, 64); err != nil || strconv.FormatUint(r.Index, 10) != digits {
		return Receipt{}, fmt.Errorf("parse receipt: index %.30q is not a plain number", digits)
	}
	if lines = lines[1:]; len(lines) > maxProofHashes {
		return Receipt{}, fmt.Errorf("parse receipt: %d proof lines, at most %d allowed", len(lines), maxProofHashes)
	}
	for _, line := range lines {
		h, err := parseHash(line)
		if err != nil {
			return Receipt{}, fmt.Errorf("parse receipt: proof: %w", err)
		}
		r.Proof = append(r.Proof, h)
	}
	if !bytes.Equal(r.Marshal(), text) {
		return Receipt{}, errors.New("parse receipt: not in its canonical form")
	}
	return r, nil
}

// Verify checks that the entry stands at r.Index of a log that p trusts, and returns the checkpoint that proves it.
func (r Receipt) Verify(entry []byte, p *Policy) (Checkpoint, error) {
	c, err := p.Open(r.Checkpoint)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("verify receipt: %w", err)
	}
	if err := VerifyInclusion(LeafHash(entry), r.Index, r.Proof, c); err != nil {
		return Checkpoint{}, fmt.Errorf("verify receipt: %w", err)
	}
	return c, nil
}

// VerifySelf is Verify for a receipt that carries its entry as Extra, as those of the trail do. It also checks that the
// entry itself states this log and this index.
func (r Receipt) VerifySelf(p *Policy) (Checkpoint, error) {
	if len(r.Extra) == 0 {
		return Checkpoint{}, errors.New("verify receipt: it does not carry its entry; give the entry beside it")
	}
	c, err := r.Verify(r.Extra, p)
	if err != nil {
		return Checkpoint{}, err
	}
	origin, seq, err := ParseLeaf(r.Extra)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("verify receipt: %w", err)
	}
	if origin != c.Origin || seq != r.Index {
		return Checkpoint{}, fmt.Errorf("verify receipt: the entry says it is %d of log %q, the proof %d of log %q",
			seq, origin, r.Index, c.Origin)
	}
	return c, nil
}
