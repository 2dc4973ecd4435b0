package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"sallyport/internal/demo/tinylm/safetensors"
)

func file(header string, data int) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), make([]byte, data)...)
}

func TestRoundTrip(t *testing.T) {
	big := make([]float32, 70_001) // more than a chunk
	for i := range big {
		big[i] = float32(i) * 0.5
	}
	in := []safetensors.Tensor{
		{Name: "z.weight", Shape: []int{2, 3}, Data: []float32{1, -2, 3.5, 0, math.MaxFloat32, float32(math.Inf(1))}},
		{Name: `a "quoted" <name>`, Shape: []int{70_001}, Data: big},
	}
	var b bytes.Buffer
	if err := safetensors.Write(&b, in, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	if n := binary.LittleEndian.Uint64(b.Bytes()); n%8 != 0 {
		t.Errorf("the data begin at %d, not on a multiple of 8", n+8)
	}
	out, meta, err := safetensors.Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	if meta["format"] != "pt" || len(out) != len(in) {
		t.Errorf("metadata %v, %d tensors", meta, len(out))
	}
	for _, want := range in {
		if got := out[want.Name]; !slices.Equal(got.Data, want.Data) || !slices.Equal(got.Shape, want.Shape) {
			t.Errorf("%s came back changed", want.Name)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	one := safetensors.Tensor{Name: "a", Shape: []int{1}, Data: []float32{1}}
	for name, list := range map[string][]safetensors.Tensor{
		"shape":    {{Name: "a", Shape: []int{2}, Data: []float32{1}}},
		"negative": {{Name: "a", Shape: []int{-1, -1}, Data: []float32{1}}},
		"twice":    {one, one},
		"metadata": {{Name: "__metadata__", Shape: []int{1}, Data: []float32{1}}},
	} {
		if err := safetensors.Write(&bytes.Buffer{}, list, nil); err == nil {
			t.Errorf("%s is written", name)
		}
	}
}

type full struct{}

var errFull = errors.New("disk full")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriteReportsTheDisk(t *testing.T) {
	if err := safetensors.Write(full{}, nil, nil); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}

func TestReadRefuses(t *testing.T) {
	tensor := `{"dtype":"F32","shape":[2],"data_offsets":[%d,%d]}`
	at := func(lo, hi int) string { return fmt.Sprintf(tensor, lo, hi) }
	for name, data := range map[string][]byte{
		"nothing":         nil,
		"a huge header":   binary.LittleEndian.AppendUint64(nil, math.MaxUint64),
		"a cut header":    file(`{"a":`+at(0, 8)+`}`, 8)[:20],
		"cut data":        file(`{"a":`+at(0, 8)+`}`, 7),
		"a tail":          file(`{"a":`+at(0, 8)+`}`, 9),
		"a gap":           file(`{"a":`+at(8, 16)+`}`, 16),
		"an overlap":      file(`{"a":`+at(0, 8)+`,"b":`+at(0, 8)+`}`, 16),
		"a wrong length":  file(`{"a":`+at(0, 12)+`}`, 12),
		"another type":    file(`{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,8]}}`, 8),
		"an extra field":  file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}`, 8),
		"a huge shape":    file(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}`, 8),
		"a negative size": file(`{"a":{"dtype":"F32","shape":[-2],"data_offsets":[8,0]}}`, 8),
		"an empty tensor": file(`{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}`, 0),
		"no object":       file(`[]`, 0),
		"odd metadata":    file(`{"__metadata__":{"a":1}}`, 0),
	} {
		if _, _, err := safetensors.Read(bytes.NewReader(data)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, _, err := safetensors.Read(bytes.NewReader(file(`{"a":`+at(0, 8)+`}`, 8))); err != nil {
		t.Errorf("the pattern of the cases above is refused itself: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8))
	f.Add(file(`{"__metadata__":{"x":"y"}}`, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		tensors, meta, err := safetensors.Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var list []safetensors.Tensor
		for _, v := range tensors {
			list = append(list, v)
		}
		if err := safetensors.Write(&bytes.Buffer{}, list, meta); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}
