package format

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// readText validates UTF-8 without control characters, which terminals obey.
func readText(info *Info, name string, in io.Reader, size int64) error {
	if size > MaxText {
		return fmt.Errorf("text of %d bytes, at most %d", size, MaxText)
	}
	r := bufio.NewReaderSize(in, 64<<10)
	for at := 0; ; {
		c, n, err := r.ReadRune()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if c == utf8.RuneError && n == 1 {
			return &Refusal{Why: fmt.Sprintf("byte %d is not UTF-8", at), Do: "save the file as UTF-8 text"}
		}
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' && c != '\f' || c == 0x7f {
			return &Refusal{Why: fmt.Sprintf("control character %#x at byte %d", c, at), Do: "save the file as plain text"}
		}
		at += n
	}
	if strings.HasSuffix(strings.ToLower(name), ".jinja") {
		info.codeLike(fmt.Sprintf("Jinja template (%d bytes)", size))
	}
	return nil
}

// errWire answers any departure from the protocol buffers encoding.
var errWire = errors.New("not a SentencePiece model")

// readSentencePiece validates the outline of a SentencePiece ModelProto (github.com/google/sentencepiece,
// sentencepiece_model.proto): fields 1 to 5 only, each a well-formed message, at least one piece, and every piece a
// UTF-8 string with a score and a type. Such a model is data: nothing in it is executed. Other things that are called
// tokenizer.model, such as tiktoken ranks, are refused.
func readSentencePiece(info *Info, in io.Reader, size int64) error {
	if size > MaxSentencePiece {
		return fmt.Errorf("sentencepiece model of %d bytes, at most %d", size, MaxSentencePiece)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(in, b); err != nil {
		return brokenOff(err)
	}
	pieces := 0
	err := eachField(b, func(field, wire uint64, value []byte) error {
		if wire != 2 || field < 1 || field > 5 {
			return errWire
		}
		if field != 1 {
			return eachField(value, func(uint64, uint64, []byte) error { return nil })
		}
		pieces++
		return eachField(value, checkPiece)
	})
	if err == nil && pieces == 0 {
		err = errWire
	}
	if err != nil {
		return &Refusal{Why: err.Error(), Do: "push tokenizer.json instead"}
	}
	info.keep("pieces", fmt.Sprint(pieces))
	return nil
}

func checkPiece(field, wire uint64, value []byte) error {
	switch {
	case field == 1 && wire == 2 && utf8.Valid(value), field == 2 && wire == 5, field == 3 && wire == 0:
		return nil
	}
	return errWire
}

// eachField calls visit for every field of a message; value is set for fields of wire type 2.
func eachField(b []byte, visit func(field, wire uint64, value []byte) error) error {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 {
			return errWire
		}
		b = b[n:]
		var value []byte
		switch tag & 7 {
		case 0:
			if _, n = binary.Uvarint(b); n <= 0 {
				return errWire
			}
		case 1:
			n = 8
		case 2:
			length, m := binary.Uvarint(b)
			if m <= 0 || length > uint64(len(b)-m) {
				return errWire
			}
			n = m + int(length)
			value = b[m:n]
		case 5:
			n = 4
		default:
			return errWire
		}
		if n > len(b) {
			return errWire
		}
		b = b[n:]
		if err := visit(tag>>3, tag&7, value); err != nil {
			return err
		}
	}
	return nil
}
