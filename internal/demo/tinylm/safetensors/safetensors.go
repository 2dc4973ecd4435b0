// Package safetensors owns the safetensors form of F32 tensors: writing them and reading them back.
//
// It leaves to others every other element type, memory mapping, and deciding whether a file from outside may come
// in: that is artifact/format, which checks all of the format and trusts nothing.
package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

const (
	maxHeader  = 1 << 20   // bytes of JSON
	maxData    = 256 << 20 // bytes of tensors
	align      = 8         // the header is padded with spaces to this
	metaKey    = "__metadata__"
	chunkBytes = 1 << 16
)

// Tensor is one named array of 32-bit floats in row-major order.
type Tensor struct {
	Name  string
	Shape []int // product equals len(Data)
	Data  []float32
}

type entry struct {
	DType   string   `json:"dtype"`
	Shape   []int    `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

// Write writes tensors in the order given, with metadata in the header.
func Write(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	header, err := headerOf(tensors, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return fmt.Errorf("safetensors: write header: %w", err)
	}
	buf := make([]byte, 0, chunkBytes)
	for _, t := range tensors {
		for data := t.Data; len(data) > 0; {
			n := min(len(data), chunkBytes/4)
			buf = buf[:0]
			for _, v := range data[:n] {
				buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
			}
			if _, err := w.Write(buf); err != nil {
				return fmt.Errorf("safetensors: write %q: %w", t.Name, err)
			}
			data = data[n:]
		}
	}
	return nil
}

// headerOf writes the object by hand to keep the order of the tensors, which encoding/json would sort.
func headerOf(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	out := make([]byte, 8, 4096)
	meta, err := json.Marshal(metadata)
	if err != nil {
		return nil, fmt.Errorf("safetensors: metadata: %w", err)
	}
	out = append(append(out, `{"`+metaKey+`":`...), meta...)
	var at int64
	seen := map[string]bool{metaKey: true}
	for _, t := range tensors {
		n, err := elements(t.Shape)
		if err != nil || n != int64(len(t.Data)) || seen[t.Name] {
			return nil, fmt.Errorf("safetensors: tensor %q: name taken or shape %v does not hold %d values", t.Name, t.Shape, len(t.Data))
		}
		seen[t.Name] = true
		e, err := json.Marshal(entry{"F32", t.Shape, [2]int64{at, at + 4*n}})
		if err != nil {
			return nil, fmt.Errorf("safetensors: tensor %q: %w", t.Name, err)
		}
		name, err := json.Marshal(t.Name)
		if err != nil {
			return nil, fmt.Errorf("safetensors: tensor %q: %w", t.Name, err)
		}
		out = append(append(append(append(out, ','), name...), ':'), e...)
		at += 4 * n
	}
	out = append(out, '}')
	for len(out)%align != 0 {
		out = append(out, ' ')
	}
	binary.LittleEndian.PutUint64(out, uint64(len(out)-8))
	return out, nil
}

var errSize = errors.New("safetensors: larger than this reader takes")

// elements returns the product of shape, without overflow.
func elements(shape []int) (int64, error) {
	n := int64(1)
	for _, d := range shape {
		if d < 0 || int64(d) > maxData/4 || d > 0 && n > maxData/4/int64(d) {
			return 0, errSize
		}
		n *= int64(d)
	}
	return n, nil
}

// Read reads a whole file: every tensor, by name, and the metadata. The tensors must be F32 and fill the data
// without gap or overlap; bytes after the data are refused.
func Read(r io.Reader) (map[string]Tensor, map[string]string, error) {
	var size [8]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, nil, fmt.Errorf("safetensors: read header: %w", err)
	}
	n := binary.LittleEndian.Uint64(size[:])
	if n > maxHeader {
		return nil, nil, fmt.Errorf("%w: header of %d bytes", errSize, n)
	}
	header := make([]byte, n)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, nil, fmt.Errorf("safetensors: read header: %w", err)
	}
	plan, metadata, err := parseHeader(header)
	if err != nil {
		return nil, nil, err
	}
	out := make(map[string]Tensor, len(plan))
	for _, t := range plan {
		if err := readValues(r, t.Data); err != nil {
			return nil, nil, fmt.Errorf("safetensors: read %q: %w", t.Name, err)
		}
		out[t.Name] = t
	}
	if k, err := io.ReadFull(r, size[:1]); k != 0 || err != io.EOF {
		return nil, nil, errors.New("safetensors: bytes after the last tensor")
	}
	return out, metadata, nil
}

// parseHeader returns the tensors in the order of their data, not yet filled.
func parseHeader(header []byte) ([]Tensor, map[string]string, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(header, &raw); err != nil {
		return nil, nil, fmt.Errorf("safetensors: header: %w", err)
	}
	var metadata map[string]string
	if m, ok := raw[metaKey]; ok {
		if err := json.Unmarshal(m, &metadata); err != nil {
			return nil, nil, fmt.Errorf("safetensors: metadata: %w", err)
		}
		delete(raw, metaKey)
	}
	starts := make(map[int64]Tensor, len(raw))
	var total int64
	for name, m := range raw {
		var e entry
		dec := json.NewDecoder(bytes.NewReader(m))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&e); err != nil {
			return nil, nil, fmt.Errorf("safetensors: tensor %q: %w", name, err)
		}
		n, err := elements(e.Shape)
		if err != nil || e.DType != "F32" || n == 0 || e.Offsets[0] < 0 || e.Offsets[1]-e.Offsets[0] != 4*n {
			return nil, nil, fmt.Errorf("safetensors: tensor %q: not F32, empty, or its offsets do not fit its shape", name)
		}
		if total += 4 * n; total > maxData {
			return nil, nil, errSize
		}
		starts[e.Offsets[0]] = Tensor{Name: name, Shape: e.Shape}
	}
	var plan []Tensor
	for at := int64(0); at < total; {
		t, ok := starts[at]
		if !ok {
			return nil, nil, fmt.Errorf("safetensors: gap or overlap at offset %d", at)
		}
		n, _ := elements(t.Shape) // checked above
		plan = append(plan, t)
		at += 4 * n
	}
	if len(plan) != len(raw) {
		return nil, nil, errors.New("safetensors: tensors overlap")
	}
	for i := range plan { // only now, when the header has been believed
		n, _ := elements(plan[i].Shape)
		plan[i].Data = make([]float32, n)
	}
	return plan, metadata, nil
}

func readValues(r io.Reader, dst []float32) error {
	buf := make([]byte, chunkBytes)
	for len(dst) > 0 {
		n := min(len(dst), chunkBytes/4)
		if _, err := io.ReadFull(r, buf[:4*n]); err != nil {
			return err
		}
		for i := range n {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(buf[4*i:]))
		}
		dst = dst[n:]
	}
	return nil
}
