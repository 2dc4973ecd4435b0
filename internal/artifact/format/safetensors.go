package format

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strconv"
)

const maxTensorName = 1 << 10

// looksLikeSafetensors tells the format by its first nine bytes: a length that fits, then an opening brace.
func looksLikeSafetensors(head []byte, size int64) bool {
	return len(head) >= 9 && head[8] == '{' && binary.LittleEndian.Uint64(head) <= min(MaxHeader, uint64(size-8))
}

// dtypeBits returns the size of an element, 0 for a type that does not exist.
func dtypeBits(dtype string) uint64 {
	switch dtype {
	case "F4":
		return 4
	case "F6_E2M3", "F6_E3M2":
		return 6
	case "BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E5M2FNUZ", "F8_E4M3FNUZ":
		return 8
	case "I16", "U16", "F16", "BF16":
		return 16
	case "I32", "U32", "F32":
		return 32
	case "I64", "U64", "F64", "C64":
		return 64
	}
	return 0
}

// span is where a tensor's bytes lie.
type span struct{ begin, end uint64 }

// readSafetensors validates a file (github.com/huggingface/safetensors, "Format"): u64 length, JSON header, data. Every
// byte of the data belongs to exactly one tensor, so that nothing can hide between or behind them.
func readSafetensors(info *Info, in io.Reader, size int64) error {
	var prefix [8]byte
	if _, err := io.ReadFull(in, prefix[:]); err != nil {
		return brokenOff(err)
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	if n > MaxHeader || n > uint64(size-8) {
		return fmt.Errorf("safetensors: header of %d bytes in a file of %d, at most %d", n, size, MaxHeader)
	}
	j := newJSONReader(io.LimitReader(in, int64(n)))
	if err := j.expect('{'); err != nil {
		return fmt.Errorf("safetensors header: %w", err)
	}
	var spans []span
	for {
		t, err := j.next()
		if err != nil {
			return fmt.Errorf("safetensors header: %w", err)
		}
		if t != tokenKey {
			break
		}
		name := string(j.text)
		if name == "__metadata__" {
			if err := readMetadata(info, j); err != nil {
				return fmt.Errorf("safetensors __metadata__: %w", err)
			}
			continue
		}
		if len(name) > maxTensorName || len(spans) == MaxTensors {
			return fmt.Errorf("safetensors: a name of %d bytes, or more than %d tensors", len(name), MaxTensors)
		}
		s, elements, err := readTensor(j)
		if err != nil {
			return fmt.Errorf("safetensors tensor %.80q: %w", name, err)
		}
		spans = append(spans, s)
		info.Parameters += int64(elements)
	}
	if err := j.expect(tokenEOF); err != nil {
		return fmt.Errorf("safetensors header: %w", err)
	}
	info.Tensors = len(spans)
	return checkSpans(spans, uint64(size)-8-n)
}

// expect consumes one token, which must be t.
func (j *jsonReader) expect(t token) error {
	got, err := j.next()
	if err == nil && got != t {
		err = fmt.Errorf("unexpected %q", byte(got))
	}
	return err
}

func readMetadata(info *Info, j *jsonReader) error {
	if err := j.expect('{'); err != nil {
		return err
	}
	for {
		t, err := j.next()
		if err != nil || t != tokenKey {
			return err
		}
		key := string(j.text)
		if err := j.expect(tokenString); err != nil {
			return fmt.Errorf("%.80q: want a string: %w", key, err)
		}
		info.keep(key, string(j.text))
	}
}

// readTensor reads {"dtype":…,"shape":[…],"data_offsets":[begin,end]} and holds the three against each other.
func readTensor(j *jsonReader) (s span, elements uint64, err error) {
	var bitSize, fields uint64
	elements = 1
	if err := j.expect('{'); err != nil {
		return s, 0, err
	}
	for {
		t, err := j.next()
		if err != nil {
			return s, 0, err
		}
		if t != tokenKey {
			break
		}
		switch string(j.text) {
		case "dtype":
			err = j.expect(tokenString)
			if bitSize = dtypeBits(string(j.text)); err == nil && bitSize == 0 {
				err = fmt.Errorf("unknown dtype %.20q", j.text)
			}
		case "shape":
			elements, err = readShape(j)
		case "data_offsets":
			var offsets []uint64
			offsets, err = readNumbers(j, 2)
			if err == nil && (len(offsets) != 2 || offsets[0] > offsets[1]) {
				err = fmt.Errorf("data_offsets %d, want [begin, end]", offsets)
			}
			if err == nil {
				s = span{offsets[0], offsets[1]}
			}
		default:
			err = fmt.Errorf("unknown field %.80q", j.text)
		}
		if err != nil {
			return s, 0, err
		}
		fields++
	}
	if fields != 3 { // keys are unique, so three known ones are all of them
		return s, 0, errors.New("want dtype, shape and data_offsets")
	}
	high, low := bits.Mul64(elements, bitSize)
	if high != 0 || low%8 != 0 || low/8 != s.end-s.begin {
		return s, 0, fmt.Errorf("%d elements of %d bits do not fill bytes %d to %d", elements, bitSize, s.begin, s.end)
	}
	return s, elements, nil
}

func readShape(j *jsonReader) (uint64, error) {
	shape, err := readNumbers(j, 32)
	if err != nil {
		return 0, err
	}
	return product(shape)
}

// product multiplies dimensions; it fails on overflow also where a later zero would hide it.
func product(shape []uint64) (uint64, error) {
	elements, zero := uint64(1), false
	for _, d := range shape {
		if d == 0 {
			zero = true
			continue
		}
		high, low := bits.Mul64(elements, d)
		if high != 0 || low > 1<<62 {
			return 0, fmt.Errorf("shape %d overflows", shape)
		}
		elements = low
	}
	if zero {
		return 0, nil
	}
	return elements, nil
}

func readNumbers(j *jsonReader, most int) ([]uint64, error) {
	if err := j.expect('['); err != nil {
		return nil, err
	}
	var out []uint64
	for {
		t, err := j.next()
		if err != nil || t == ']' {
			return out, err
		}
		n, err := strconv.ParseUint(string(j.text), 10, 64)
		if t != tokenNumber || err != nil || len(out) == most {
			return nil, fmt.Errorf("want at most %d integers from 0 to 2^64-1", most)
		}
		out = append(out, n)
	}
}

// checkSpans proves that the spans cover data bytes from the first to the last, once.
func checkSpans(spans []span, data uint64) error {
	slices.SortFunc(spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	var at uint64
	for _, s := range spans {
		if s.begin != at {
			return fmt.Errorf("safetensors: a gap or an overlap at byte %d of the data", min(at, s.begin))
		}
		at = s.end
	}
	if at != data {
		return fmt.Errorf("safetensors: tensors end at byte %d of %d bytes of data", at, data)
	}
	return nil
}
