package format

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strings"
	"unicode/utf8"
)

// Limits of a GGUF header.
const (
	maxGGUFPairs  = 1 << 16
	maxGGUFKey    = 1<<16 - 1
	maxGGUFString = 4 << 20
	maxGGUFName   = 64 // bytes of a tensor's name (GGML_MAX_NAME)
	maxGGUFDims   = 4
	maxGGUFNested = 4 // arrays in arrays
	maxGGUFAlign  = 1 << 20
)

// Types of values in the header of a GGUF file.
const (
	ggufBool   = 7
	ggufString = 8
	ggufArray  = 9
)

// ggufSizes holds the bytes of every value type of fixed size, by type id; 0 for those that have none.
func ggufSizes(typ uint32) int64 {
	sizes := [...]int64{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}
	if typ >= uint32(len(sizes)) {
		return 0
	}
	return sizes[typ]
}

// ggmlType returns how many elements of a tensor type form a block and how many bytes a block takes; 0 for a type
// that does not exist, was withdrawn, or lives in memory only (ggml.h, GGML_TYPE_*).
func ggmlType(typ uint32) (elements, size uint64) {
	table := [...][2]uint64{
		0: {1, 4}, 1: {1, 2}, // F32 F16
		2: {32, 18}, 3: {32, 20}, 6: {32, 22}, 7: {32, 24}, 8: {32, 34}, // Q4_0 Q4_1 Q5_0 Q5_1 Q8_0
		10: {256, 84}, 11: {256, 110}, 12: {256, 144}, 13: {256, 176}, 14: {256, 210}, // Q2_K … Q6_K
		16: {256, 66}, 17: {256, 74}, 18: {256, 98}, 19: {256, 50}, // IQ2_XXS IQ2_XS IQ3_XXS IQ1_S
		20: {32, 18}, 21: {256, 110}, 22: {256, 82}, 23: {256, 136}, // IQ4_NL IQ3_S IQ2_S IQ4_XS
		24: {1, 1}, 25: {1, 2}, 26: {1, 4}, 27: {1, 8}, 28: {1, 8}, // I8 I16 I32 I64 F64
		29: {256, 56}, 30: {1, 2}, 34: {256, 54}, 35: {256, 66}, // IQ1_M BF16 TQ1_0 TQ2_0
		39: {32, 17}, 40: {64, 36}, 41: {128, 18}, // MXFP4 NVFP4 Q1_0
	}
	if typ >= uint32(len(table)) {
		return 0, 0
	}
	return table[typ][0], table[typ][1]
}

// ggufReader reads little-endian values and knows how many bytes are left, so that no length is believed.
type ggufReader struct {
	in   *bufio.Reader
	left int64
}

func (g *ggufReader) bytes(n uint64) ([]byte, error) {
	if n > uint64(g.left) {
		return nil, fmt.Errorf("a length of %d where %d bytes are left", n, g.left)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(g.in, b)
	g.left -= int64(n)
	return b, err
}

func (g *ggufReader) skip(n int64) error {
	if n > g.left {
		return fmt.Errorf("a length of %d where %d bytes are left", n, g.left)
	}
	g.left -= n
	_, err := io.CopyN(io.Discard, g.in, n)
	return err
}

func (g *ggufReader) u32() (uint32, error) {
	v, err := g.number(4)
	return uint32(v), err
}

func (g *ggufReader) u64() (uint64, error) { return g.number(8) }

// number reads an unsigned number of 4 or 8 bytes.
func (g *ggufReader) number(size int) (v uint64, err error) {
	if int64(size) > g.left {
		return 0, io.ErrUnexpectedEOF
	}
	g.left -= int64(size)
	for i := range size {
		c, err := g.in.ReadByte()
		if err != nil {
			return 0, err
		}
		v |= uint64(c) << (8 * i)
	}
	return v, nil
}

func (g *ggufReader) str(most uint64) (string, error) {
	n, err := g.u64()
	if err != nil {
		return "", err
	}
	if n > most {
		return "", fmt.Errorf("a string of %d bytes, at most %d", n, most)
	}
	b, err := g.bytes(n)
	return string(b), err
}

// count reads a number of things that take at least size bytes each.
func (g *ggufReader) count(size int64, most uint64) (uint64, error) {
	n, err := g.u64()
	if err == nil && (n > most || n > uint64(g.left/size)) {
		err = fmt.Errorf("%d entries where %d bytes are left, at most %d", n, g.left, most)
	}
	return n, err
}

// readGGUF validates a file of version 2 or 3, little-endian (github.com/ggml-org/ggml, docs/gguf.md). Tensors must
// fill the data from the first to the last byte, with nothing between but alignment.
func readGGUF(info *Info, in io.Reader, size int64) error {
	g := &ggufReader{in: bufio.NewReaderSize(in, 64<<10), left: size}
	if err := g.file(info, size); err != nil {
		return fmt.Errorf("gguf: %w", brokenOff(err))
	}
	return nil
}

func (g *ggufReader) file(info *Info, size int64) error {
	magic, err := g.u32()
	if err != nil {
		return err
	}
	version, err := g.u32()
	if err != nil {
		return err
	}
	if magic != binary.LittleEndian.Uint32([]byte("GGUF")) || version != 2 && version != 3 {
		return &Refusal{Why: fmt.Sprintf("gguf: magic %#x, version %d, want GGUF version 2 or 3, little-endian", magic, version), Do: "convert it again with a current llama.cpp"}
	}
	tensors, err := g.count(24, MaxTensors)
	if err != nil {
		return fmt.Errorf("tensors: %w", err)
	}
	pairs, err := g.count(13, maxGGUFPairs)
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	align, err := g.pairs(info, pairs)
	if err != nil {
		return err
	}
	spans := make([]span, 0, tensors)
	names := make(map[string]struct{}, tensors)
	for range tensors {
		name, s, elements, err := g.tensor(align)
		if err != nil {
			return fmt.Errorf("tensor %.80q: %w", name, err)
		}
		if _, ok := names[name]; ok {
			return fmt.Errorf("tensor %.80q appears twice", name)
		}
		names[name] = struct{}{}
		spans = append(spans, s)
		info.Parameters += int64(elements)
	}
	info.Tensors = len(spans)
	header := uint64(size - g.left)
	return checkGGUFSpans(spans, min(pad(header, align), uint64(size)), uint64(size), align)
}

// pairs reads the metadata and returns the alignment it sets.
func (g *ggufReader) pairs(info *Info, n uint64) (align uint64, err error) {
	align = 32
	seen := make(map[string]struct{}, n)
	for range n {
		key, err := g.str(maxGGUFKey)
		if err != nil {
			return 0, fmt.Errorf("metadata: %w", err)
		}
		if _, ok := seen[key]; ok || key == "" || !utf8.ValidString(key) {
			return 0, fmt.Errorf("metadata: key %.80q appears twice or is not text", key)
		}
		seen[key] = struct{}{}
		typ, err := g.u32()
		if err == nil && key == "general.alignment" {
			align, err = g.alignment(typ)
		} else if err == nil {
			err = g.value(info, key, typ)
		}
		if err != nil {
			return 0, fmt.Errorf("metadata %.80q: %w", key, err)
		}
	}
	return align, nil
}

func (g *ggufReader) alignment(typ uint32) (uint64, error) {
	v, err := g.u32()
	if err == nil && (typ != 4 || v < 8 || v > maxGGUFAlign || v&(v-1) != 0) {
		err = fmt.Errorf("alignment %d of type %d, want a power of two from 8 to %d", v, typ, maxGGUFAlign)
	}
	return uint64(v), err
}

func (g *ggufReader) value(info *Info, key string, typ uint32) error {
	if typ == ggufArray {
		return g.array(0)
	}
	if typ != ggufString {
		return g.scalar(typ)
	}
	s, err := g.str(maxGGUFString)
	if err != nil {
		return err
	}
	if !utf8.ValidString(s) {
		return errors.New("the string is not UTF-8")
	}
	if strings.HasPrefix(key, "tokenizer.chat_template") {
		info.codeLike(fmt.Sprintf("%.200s (%d bytes)", key, len(s)))
		return nil
	}
	info.keep(key, s)
	return nil
}

func (g *ggufReader) scalar(typ uint32) error {
	size := ggufSizes(typ)
	if size == 0 {
		return fmt.Errorf("unknown type %d", typ)
	}
	b, err := g.bytes(uint64(size))
	if err == nil && typ == ggufBool && b[0] > 1 {
		err = fmt.Errorf("a truth value of %d", b[0])
	}
	return err
}

// array walks over an array without keeping it.
func (g *ggufReader) array(depth int) error {
	if depth == maxGGUFNested {
		return fmt.Errorf("arrays nested more than %d deep", maxGGUFNested)
	}
	typ, err := g.u32()
	if err != nil {
		return err
	}
	size := ggufSizes(typ)
	switch {
	case typ == ggufString:
		size = 8
	case typ == ggufArray:
		size = 12
	case size == 0:
		return fmt.Errorf("unknown type %d", typ)
	}
	n, err := g.count(size, uint64(g.left))
	if err != nil {
		return err
	}
	if typ != ggufString && typ != ggufArray {
		return g.skip(int64(n) * size)
	}
	for range n {
		if typ == ggufArray {
			err = g.array(depth + 1)
		} else {
			err = g.skipString()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *ggufReader) skipString() error {
	n, err := g.u64()
	if err == nil && n > uint64(min(g.left, maxGGUFString)) {
		err = fmt.Errorf("a string of %d bytes where %d are left, at most %d", n, g.left, maxGGUFString)
	}
	if err != nil {
		return err
	}
	return g.skip(int64(n))
}

func (g *ggufReader) tensor(align uint64) (name string, s span, elements uint64, err error) {
	if name, err = g.str(maxGGUFName); err != nil {
		return name, s, 0, err
	}
	dims, err := g.u32()
	if err == nil && dims > maxGGUFDims {
		err = fmt.Errorf("%d dimensions, at most %d", dims, maxGGUFDims)
	}
	if err != nil {
		return name, s, 0, err
	}
	shape := make([]uint64, dims)
	for i := range shape {
		if shape[i], err = g.u64(); err != nil {
			return name, s, 0, err
		}
	}
	typ, err := g.u32()
	if err != nil {
		return name, s, 0, err
	}
	if s.begin, err = g.u64(); err != nil {
		return name, s, 0, err
	}
	if elements, err = product(shape); err != nil {
		return name, s, 0, err
	}
	block, size := ggmlType(typ)
	if block == 0 || dims > 0 && shape[0]%block != 0 || dims == 0 && block != 1 {
		return name, s, 0, fmt.Errorf("type %d is unknown or does not fit shape %d", typ, shape)
	}
	high, length := bits.Mul64(elements/block, size)
	end, carry := bits.Add64(s.begin, length, 0)
	if high != 0 || carry != 0 || s.begin%align != 0 {
		return name, s, 0, fmt.Errorf("offset %d of %d blocks is not aligned to %d or overflows", s.begin, elements/block, align)
	}
	s.end = end
	return name, s, elements, nil
}

// pad rounds up; numbers that cannot be rounded stay what they are and fail the comparison with the file's size.
func pad(n, align uint64) uint64 {
	if up := (n + align - 1) &^ (align - 1); up >= n {
		return up
	}
	return n
}

// checkGGUFSpans proves, for data from byte start to byte size of the file, that each tensor follows the one before
// after alignment. The reference reader demands the order of the header as well.
func checkGGUFSpans(spans []span, start, size, align uint64) error {
	data, at := size-start, uint64(0)
	for i, s := range spans {
		if s.begin != pad(at, align) || s.end > data {
			return fmt.Errorf("tensor %d lies at %d to %d, want it at %d within %d bytes of data", i, s.begin, s.end, pad(at, align), data)
		}
		at = s.end
	}
	if data > pad(at, align) {
		return fmt.Errorf("%d bytes behind the last tensor", data-at)
	}
	return nil
}
