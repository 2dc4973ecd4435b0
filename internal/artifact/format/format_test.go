package format

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

func admitBytes(name string, b []byte) (Info, error) {
	return Admit(name, bytes.NewReader(b), int64(len(b)))
}

// wantRefusal checks that a refusal names what is wrong.
func wantRefusal(t *testing.T, name string, b []byte, why string) {
	t.Helper()
	info, err := admitBytes(name, b)
	var r *Refusal
	if !errors.As(err, &r) || !strings.Contains(err.Error(), why) {
		t.Errorf("%s (%d bytes): %v, want a refusal with %q", name, len(b), err, why)
	}
	if !reflect.DeepEqual(info, Info{}) {
		t.Errorf("%s: a refusal came with %+v", name, info)
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReferenceFiles admits what the reference implementations wrote (testdata/make.py).
func TestReferenceFiles(t *testing.T) {
	for _, c := range []struct {
		name string
		want Info
		code string
	}{
		{"small.safetensors", Info{Kind: Weights, Format: "safetensors", Tensors: 5, Parameters: 24 + 3 + 1 + 2}, "[]"},
		{"small.gguf", Info{Kind: Weights, Format: "gguf", Tensors: 9, Parameters: 32 + 5 + 2*(32+32)*3 + 4*(2*256)*3 + 2*32*3}, "[tokenizer.chat_template (25 bytes)]"},
		{"small.model", Info{Kind: Tokenizer, Format: "sentencepiece"}, "[]"},
	} {
		info, err := admitBytes(c.name, read(t, c.name))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if info.Kind != c.want.Kind || info.Format != c.want.Format || info.Tensors != c.want.Tensors || info.Parameters != c.want.Parameters || fmt.Sprint(info.CodeLike) != c.code {
			t.Errorf("%s: %+v, want %+v with %s", c.name, info, c.want, c.code)
		}
		if len(info.Metadata) == 0 {
			t.Errorf("%s: no metadata", c.name)
		}
	}
}

// TestReferenceFilesCut refuses every shorter and every longer version of a valid file.
func TestReferenceFilesCut(t *testing.T) {
	for _, name := range []string{"small.safetensors", "small.gguf"} {
		b := read(t, name)
		for n := range b {
			if _, err := admitBytes(name, b[:n]); err == nil && !(name == "small.gguf" && len(b)-n < 32) {
				t.Errorf("%s cut to %d of %d bytes was admitted", name, n, len(b))
			}
		}
		if _, err := admitBytes(name, append(b, make([]byte, 32)...)); err == nil {
			t.Errorf("%s with 32 bytes behind it was admitted", name)
		}
	}
}

func TestKinds(t *testing.T) {
	for name, want := range map[string]struct {
		kind Kind
		aux  bool
	}{
		"tokenizer.json": {Tokenizer, true}, "sub/tokenizer_config.json": {Tokenizer, true}, "vocab.json": {Tokenizer, true},
		"config.json": {Config, true}, "generation_config.json": {Config, true}, "model.safetensors.index.json": {Config, true},
		"1_Pooling/config.json": {Config, true}, "other.json": {Data, false},
	} {
		info, err := admitBytes(name, []byte(`{"a":{"b":[1,2.5e3,true,null,"x"]}}`))
		if err != nil || info.Kind != want.kind || info.Aux() != want.aux {
			t.Errorf("%s: %+v, %v, want %v", name, info, err, want)
		}
	}
	for name, want := range map[string]Kind{
		"README.md": Card, "LICENSE": Card, "license.txt": Card, ".gitattributes": Card, "docs/use.md": Card,
		"merges.txt": Tokenizer, "vocab.txt": Tokenizer, "chat_template.jinja": Tokenizer, "train.txt": Data,
	} {
		info, err := admitBytes(name, []byte("grüß\n\tGott\r\n"))
		if err != nil || info.Kind != want || info.Format != "text" {
			t.Errorf("%s: %+v, %v, want %v", name, info, err, want)
		}
		if (len(info.CodeLike) == 1) != strings.HasSuffix(name, ".jinja") {
			t.Errorf("%s: code-like %q", name, info.CodeLike)
		}
	}
	if (Info{}).Aux() || (Info{Kind: "new"}).Aux() || (Info{Kind: Weights}).Aux() {
		t.Error("an unknown kind or weights are auxiliary")
	}
}

func TestRefusedByName(t *testing.T) {
	for name, why := range map[string]string{
		"pytorch_model.bin": "pickle", "a.pt": "pickle", "a.ckpt": "safetensors.torch.save_file", "m.onnx": "convert the weights",
		"run.py": "code", "x.ipynb": "code", "lib.so": "code", "a.tar.gz": "archive", "m.zip": "unpack",
		"x.csv": "cannot be judged", "noext": "admitted are", "a.safetensors.exe": "code", "../config.json": "bad name",
	} {
		wantRefusal(t, name, []byte("hello"), why)
	}
}

func TestRefusedByContent(t *testing.T) {
	safe := read(t, "small.safetensors")
	zip := append([]byte("PK\x03\x04"), make([]byte, 100)...)
	pickle := []byte("\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n.")
	for _, c := range []struct {
		name string
		b    []byte
		why  string
	}{
		{"model.safetensors", zip, "zip archive"},
		{"model.safetensors", pickle, "pickle"},
		{"model.gguf", pickle, "pickle"},
		{"tokenizer.json", safe, "safetensors"},
		{"README.md", read(t, "small.gguf"), "GGUF"},
		{"model.gguf", safe, "safetensors"},
		{"model.safetensors", read(t, "small.gguf"), "GGUF"},
		{"tokenizer.model", []byte("\x7fELF\x02\x01\x01"), "program"},
		{"README.md", []byte("MZ\x90\x00\x03\x00"), "program"},
		{"model.safetensors", []byte("\x89HDF\r\n\x1a\n12345678"), "HDF5"},
		{"README.md", []byte("a\x00b"), "control character"},
		{"README.md", []byte("a\x1b[2Jb"), "control character"},
		{"README.md", []byte("caf\xe9"), "byte 3 is not UTF-8"},
		{"tokenizer.model", []byte("IQ== 0\nIg== 1\n"), "push tokenizer.json"},
		{"tokenizer.model", nil, "SentencePiece"},
		{"tokenizer.model", []byte("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), "SentencePiece"},
		{"config.json", []byte(`[1]`), "must be a JSON object"},
		{"config.json", []byte(``), "too early"},
	} {
		wantRefusal(t, c.name, c.b, c.why)
	}
}

type brokenReader struct{ at int64 }

func (b brokenReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.at {
		return 0, errors.New("disk on fire")
	}
	copy(p, strings.Repeat(" ", len(p)))
	return len(p), nil
}

func TestFailingReaderIsNoRefusal(t *testing.T) {
	for _, name := range []string{"model.safetensors", "model.gguf", "config.json", "README.md", "tokenizer.model"} {
		for _, at := range []int64{0, 16} {
			if at == 16 && name == "model.safetensors" {
				continue // sixteen spaces are a header too long, and that is the answer
			}
			_, err := Admit(name, brokenReader{at}, 1<<20)
			var r *Refusal
			if err == nil || errors.As(err, &r) || !strings.Contains(err.Error(), "disk on fire") {
				t.Errorf("%s: %v, want the failure of the reader", name, err)
			}
		}
	}
}

// zeros is an endless file of one byte value behind a head: a bomb that needs no disk.
type zeros struct{ head string }

func (z zeros) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(z.head)) {
		copy(p, z.head[off:])
	}
	return len(p), nil
}

// TestBombs gives files whose headers promise the most, and measures what reading them allocates.
func TestBombs(t *testing.T) {
	u64 := func(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }
	u32 := func(n uint32) string { return string(binary.LittleEndian.AppendUint32(nil, n)) }
	gguf := "GGUF" + u32(3)
	const huge = 1 << 62
	for name, c := range map[string]struct{ name, head string }{
		"safetensors 2^63":      {"m.safetensors", u64(1<<63) + "{"},
		"safetensors 2^64-1":    {"m.safetensors", u64(1<<64-1) + "{"},
		"safetensors 100 MB":    {"m.safetensors", u64(MaxHeader) + `{"a":"`},
		"safetensors deep":      {"m.safetensors", u64(MaxHeader) + strings.Repeat(`{"a":`, 1000)},
		"gguf tensors":          {"m.gguf", gguf + u64(1<<63) + u64(1)},
		"gguf pairs":            {"m.gguf", gguf + u64(1) + u64(1<<63)},
		"gguf key":              {"m.gguf", gguf + u64(1) + u64(1) + u64(1<<63)},
		"gguf string":           {"m.gguf", gguf + u64(1) + u64(1) + u64(1) + "k" + u32(8) + u64(1<<40)},
		"gguf array":            {"m.gguf", gguf + u64(1) + u64(1) + u64(1) + "k" + u32(9) + u32(8) + u64(1<<63)},
		"gguf nested arrays":    {"m.gguf", gguf + u64(1) + u64(1) + u64(1) + "k" + u32(9) + strings.Repeat(u32(9)+u64(1), 100)},
		"gguf most tensors":     {"m.gguf", gguf + u64(MaxTensors) + u64(0)},
		"gguf zero-length keys": {"m.gguf", gguf + u64(1) + u64(maxGGUFPairs)},
		"json endless string":   {"c.json", `{"a":"` + strings.Repeat("x", maxString+1)},
		"json huge":             {"c.json", `{`},
		"text huge":             {"c.txt", ``},
		"sentencepiece huge":    {"c.model", ``},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Admit(c.name, zeros{c.head}, huge)
		runtime.ReadMemStats(&after)
		var r *Refusal
		if !errors.As(err, &r) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 48<<20 {
			t.Errorf("%s: %d MiB allocated", name, used>>20)
		}
	}
}

// tensorFile makes a safetensors file of a header and so many bytes of data.
func tensorFile(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

func TestSafetensors(t *testing.T) {
	ok := func(header string, data int) {
		t.Helper()
		if _, err := admitBytes("m.safetensors", tensorFile(header, data)); err != nil {
			t.Errorf("%s: %v", header, err)
		}
	}
	ok(`{}`, 0)
	ok(`{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}   `, 24)
	ok(`{"b":{"dtype":"U8","shape":[4],"data_offsets":[24,28]},"a":{"shape":[2,3],"data_offsets":[0,24],"dtype":"F32"}}`, 28)
	ok(`{"a":{"dtype":"F4","shape":[6],"data_offsets":[0,3]},"e":{"dtype":"F4","shape":[0],"data_offsets":[3,3]}}`, 3)
	ok(`{"a":{"dtype":"I8","shape":[],"data_offsets":[0,1]}}`, 1)
	bad := func(header string, data int, why string) {
		t.Helper()
		wantRefusal(t, "m.safetensors", tensorFile(header, data), why)
	}
	const a = `"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`
	bad(`{`+a+`}`, 9, "tensors end at byte 8 of 9")
	bad(`{`+a+`}`, 7, "tensors end at byte 8 of 7")
	bad(`{`+a+`,`+a+`}`, 8, "appears twice")
	bad(`{`+a+`,"\u0061":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}`, 16, "appears twice")
	bad(`{`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12, "a gap or an overlap")
	bad(`{`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8, "a gap or an overlap")
	bad(`{`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[9,17]}}`, 17, "a gap or an overlap")
	bad(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}`, 8, "data_offsets")
	bad(`{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, 8, "do not fill")
	bad(`{"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}`, 8, "unknown dtype")
	bad(`{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}`, 1, "do not fill")
	bad(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0, "overflows")
	bad(`{"a":{"dtype":"F32","shape":[0,4294967296,4294967296,4294967296],"data_offsets":[0,0]}}`, 0, "overflows")
	bad(`{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}}`, 0, "do not fill")
	bad(`{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}`, 8, "integers")
	bad(`{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}`, 8, "integers")
	bad(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}}`, 8, "integers")
	bad(`{"a":{"dtype":"F32","shape":[2]}}`, 8, "want dtype, shape and data_offsets")
	bad(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}`, 8, "unknown field")
	bad(`{"a":8}`, 8, "unexpected")
	bad(`{"__metadata__":{"k":1},`+a+`}`, 8, "want a string")
	bad(`{"__metadata__":{"k":{}},`+a+`}`, 8, "want a string")
	bad(`{"__metadata__":{"k":"1","k":"2"},`+a+`}`, 8, "appears twice")
	bad(`{`+a+`} x`, 8, "after the end")
	bad(`{`+a, 8, "too early")
}

// value encodes metadata of a GGUF file: a key, a type, and the bytes of the value.
func pair(key string, typ uint32, value []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(key)))
	b = append(b, key...)
	return append(binary.LittleEndian.AppendUint32(b, typ), value...)
}

func ggufString8(s string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(s))), s...)
}

type ggufTensor struct {
	name   string
	shape  []uint64
	typ    uint32
	offset uint64
}

func ggufFile(version uint32, pairs [][]byte, tensors []ggufTensor, align, data int) []byte {
	b := binary.LittleEndian.AppendUint32([]byte("GGUF"), version)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(tensors)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(pairs)))
	for _, p := range pairs {
		b = append(b, p...)
	}
	for _, x := range tensors {
		b = append(b, ggufString8(x.name)...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(x.shape)))
		for _, d := range x.shape {
			b = binary.LittleEndian.AppendUint64(b, d)
		}
		b = binary.LittleEndian.AppendUint32(b, x.typ)
		b = binary.LittleEndian.AppendUint64(b, x.offset)
	}
	for len(b)%align != 0 {
		b = append(b, 0)
	}
	return append(b, make([]byte, data)...)
}

func TestGGUF(t *testing.T) {
	u32 := func(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }
	u64 := func(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }
	name := pair("general.name", 8, ggufString8("x"))
	one := ggufTensor{"a", []uint64{4, 2}, 0, 0}
	good := [][]byte{
		ggufFile(3, nil, nil, 1, 0),
		ggufFile(2, [][]byte{name}, []ggufTensor{one}, 32, 32),
		ggufFile(3, [][]byte{pair("general.alignment", 4, u32(64))}, []ggufTensor{one, {"b", []uint64{32}, 2, 64}}, 64, 64+18),
		ggufFile(3, [][]byte{pair("l", 9, append(append(u32(9), u64(1)...), append(u32(0), append(u64(3), 1, 2, 3)...)...))}, nil, 1, 0),
	}
	for i, b := range good {
		if info, err := admitBytes("m.gguf", b); err != nil {
			t.Errorf("good %d: %+v, %v", i, info, err)
		}
	}
	for i, c := range []struct {
		b   []byte
		why string
	}{
		{ggufFile(1, nil, nil, 1, 0), "version 1"},
		{ggufFile(0x03000000, nil, nil, 1, 0), "little-endian"},
		{ggufFile(3, [][]byte{name, name}, nil, 1, 0), "appears twice"},
		{ggufFile(3, [][]byte{pair("", 0, []byte{1})}, nil, 1, 0), "not text"},
		{ggufFile(3, [][]byte{pair("k\xff", 0, []byte{1})}, nil, 1, 0), "not text"},
		{ggufFile(3, [][]byte{pair("k", 8, ggufString8("\xff"))}, nil, 1, 0), "not UTF-8"},
		{ggufFile(3, [][]byte{pair("k", 7, []byte{2})}, nil, 1, 0), "truth value"},
		{ggufFile(3, [][]byte{pair("k", 13, []byte{2})}, nil, 1, 0), "unknown type 13"},
		{ggufFile(3, [][]byte{pair("k", 9, append(u32(13), u64(1)...))}, nil, 1, 0), "unknown type 13"},
		{ggufFile(3, [][]byte{pair("general.alignment", 4, u32(48))}, nil, 1, 0), "power of two"},
		{ggufFile(3, [][]byte{pair("general.alignment", 4, u32(0))}, nil, 1, 0), "power of two"},
		{ggufFile(3, [][]byte{pair("general.alignment", 5, u32(32))}, nil, 1, 0), "power of two"},
		{ggufFile(3, nil, []ggufTensor{one, one}, 32, 64), "appears twice"},
		{ggufFile(3, nil, []ggufTensor{one, {"b", []uint64{4}, 0, 0}}, 32, 64), "want it at 32"},
		{ggufFile(3, nil, []ggufTensor{one, {"b", []uint64{4}, 0, 64}}, 32, 96), "want it at 32"},
		{ggufFile(3, nil, []ggufTensor{one}, 32, 31), "lies at 0 to 32"},
		{ggufFile(3, nil, []ggufTensor{one}, 32, 64), "behind the last tensor"},
		{ggufFile(3, nil, []ggufTensor{{"a", []uint64{4, 2}, 0, 8}}, 32, 64), "not aligned"},
		{ggufFile(3, nil, []ggufTensor{{"a", []uint64{4, 2}, 99, 0}}, 32, 64), "type 99"},
		{ggufFile(3, nil, []ggufTensor{{"a", []uint64{31}, 2, 0}}, 32, 64), "does not fit shape"},
		{ggufFile(3, nil, []ggufTensor{{"a", []uint64{1, 1, 1, 1, 1}, 0, 0}}, 32, 64), "5 dimensions"},
		{ggufFile(3, nil, []ggufTensor{{"a", []uint64{1 << 40, 1 << 40}, 0, 0}}, 32, 64), "overflows"},
		{ggufFile(3, nil, []ggufTensor{{"a", []uint64{1 << 61}, 28, 1 << 63}}, 32, 64), "overflows"},
		{ggufFile(3, nil, []ggufTensor{{strings.Repeat("a", 65), []uint64{4, 2}, 0, 0}}, 32, 32), "65 bytes"},
	} {
		wantRefusal(t, "m.gguf", c.b, c.why)
		if t.Failed() {
			t.Fatalf("case %d", i)
		}
	}
}

func TestJSON(t *testing.T) {
	for _, s := range []string{`{}`, ` [ ] `, `"x"`, `-0.5E+10`, `0`, `true`, `null`, `{"a":[{},[],"\u00e9\ud83d\ude00\n\/"],"b":{"a":1}}`, strings.Repeat("[", 64) + strings.Repeat("]", 64)} {
		if _, err := admitBytes("x.json", []byte(s)); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for s, why := range map[string]string{
		`{"a":1,"a":2}`: "appears twice", `{"a":1,"\u0061":2}`: "appears twice", `{"":1,"":2}`: "appears twice",
		strings.Repeat("[", 65) + strings.Repeat("]", 65): "deep",
		`{"a":NaN}`: "NaN", `[Infinity]`: "NaN", `[-Infinity]`: "not a number",
		`[01]`: "not a number", `[1.]`: "not a number", `[.5]`: "value belongs", `[+1]`: "value belongs", `[1e]`: "not a number", `[-]`: "not a number",
		`{"a" 1}`: "no colon", `{a:1}`: "key belongs", `{"a":1,}`: "key belongs", `[1,]`: "value belongs", `[1 2]`: "comma", `[1}`: "comma", `{"a":1]`: "comma", `{} {}`: "after the end", `[,]`: "value belongs",
		`["\x"]`: "escape", `["\u12g4"]`: "escape", `["\ud800"]`: "surrogate", `["\ud800\u0041"]`: "surrogate", `["\udc00"]`: "surrogate",
		"[\"\x01\"]": "control", "[\"\xff\"]": "not UTF-8", "\ufeff{}": "value belongs", `[tru]`: "not a word", `[nul`: "too early", `["a`: "too early", `{"a"`: "no colon", `[`: "too early",
		`[` + strings.Repeat("1", 2000) + `]`: "characters", "[1]\x00": "after the end",
	} {
		wantRefusal(t, "x.json", []byte(s), why)
	}
	info, err := admitBytes("tokenizer_config.json", []byte(`{"chat_template":"{{x}}","auto_map":{"AutoModel":"m.M"}}`))
	if err != nil || fmt.Sprint(info.CodeLike) != "[chat_template auto_map]" {
		t.Errorf("code-like %q, %v", info.CodeLike, err)
	}
	var many strings.Builder
	many.WriteString("{")
	for i := range maxKeys + 1 {
		fmt.Fprintf(&many, "\"%x\":0,", i)
	}
	wantRefusal(t, "x.json", []byte(many.String()), "keys")
}

// duplicates reports whether some object of valid JSON has a key twice, by another parser than ours.
func duplicates(d *json.Decoder) (bool, error) {
	tok, err := d.Token()
	if err != nil {
		return false, err
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return false, nil
	}
	seen := map[string]bool{}
	for d.More() {
		if delim == '{' {
			key, err := d.Token()
			if err != nil {
				return false, err
			}
			if seen[key.(string)] {
				return true, nil
			}
			seen[key.(string)] = true
		}
		if dup, err := duplicates(d); dup || err != nil {
			return dup, err
		}
	}
	_, err = d.Token()
	return false, err
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":null}],"c":"\ud83d\ude00"}`, `{"a":1,"a":2}`, `[1e5,-0.1]`, `"\u0000"`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := admitBytes("x.json", b)
		if err == nil {
			if !json.Valid(b) {
				t.Fatalf("admitted, but encoding/json refuses %q", b)
			}
			d := json.NewDecoder(bytes.NewReader(b))
			d.UseNumber() // a number may be larger than any type of ours: it is text here
			if dup, err := duplicates(d); dup || err != nil {
				t.Fatalf("admitted with duplicate keys (%v): %q", err, b)
			}
			return
		}
		// What we refuse beyond the grammar must be one of the rules.
		if json.Valid(b) && len(b) < maxNumber {
			for _, rule := range []string{"appears twice", "surrogate", "not UTF-8", "deep", "the content is"} {
				if strings.Contains(err.Error(), rule) {
					return
				}
			}
			t.Fatalf("%q is valid, but: %v", b, err)
		}
	})
}

func fuzzFormat(f *testing.F, name string) {
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := admitBytes(name, b)
		var r *Refusal
		if err != nil && !errors.As(err, &r) {
			t.Fatalf("not a refusal: %v", err)
		}
		if err == nil && (info.Parameters < 0 || info.Parameters > 2*int64(len(b))+1 || info.Tensors > len(b)) {
			t.Fatalf("%+v from %d bytes", info, len(b))
		}
	})
}

func FuzzSafetensors(f *testing.F) {
	f.Add(read(f, "small.safetensors"))
	f.Add(tensorFile(`{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}`, 24))
	f.Add(tensorFile(`{"__metadata__":{"k":"v"}}`, 0))
	fuzzFormat(f, "m.safetensors")
}

func FuzzGGUF(f *testing.F) {
	f.Add(ggufFile(3, [][]byte{pair("general.alignment", 4, []byte{8, 0, 0, 0})}, []ggufTensor{{"q", []uint64{32}, 2, 0}}, 8, 18))
	f.Add(ggufFile(3, [][]byte{pair("l", 9, append([]byte{8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, ggufString8("x")...))}, nil, 1, 0))
	f.Add(ggufFile(2, [][]byte{pair("general.name", 8, ggufString8("x"))}, []ggufTensor{{"a", []uint64{4, 2}, 0, 0}}, 32, 32))
	fuzzFormat(f, "m.gguf")
}

func FuzzSentencePiece(f *testing.F) {
	f.Add(read(f, "small.model"))
	f.Add([]byte("\x0a\x03\x0a\x01a"))
	fuzzFormat(f, "m.model")
}

func FuzzAdmit(f *testing.F) {
	f.Add("config.json", []byte(`{}`))
	f.Add("a/b.safetensors", tensorFile(`{}`, 0))
	f.Add("README.md", []byte("# x"))
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		info, err := admitBytes(name, b)
		if err == nil && (info.Kind == "" || info.Format == "" || CheckName(name) != nil) {
			t.Fatalf("%q admitted as %+v", name, info)
		}
	})
}

func BenchmarkJSON(b *testing.B) {
	var s strings.Builder
	s.WriteString("{")
	for i := range 200_000 {
		fmt.Fprintf(&s, "\"token%d\":%d,", i, i)
	}
	s.WriteString(`"x":0}`)
	src := strings.NewReader(s.String())
	b.SetBytes(src.Size())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Admit("vocab.json", src, src.Size()); err != nil {
			b.Fatal(err)
		}
	}
}
