// Package format owns the judgement what a file is and whether it is safe to hold: safetensors, GGUF, JSON
// (RFC 8259), UTF-8 text and SentencePiece models, each validated to its last byte. What it cannot judge it refuses,
// with a sentence that says what to do instead.
//
// It is pure: it reads through an io.ReaderAt, allocates nothing before it has compared a length with what is left,
// and never executes or instantiates what it reads. Who may push, and where the bytes go, is the vault's.
//
// Symbolic links, devices and permissions do not exist here: a caller that walks a directory must refuse everything
// that is not a regular file.
package format

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"strings"
)

// budget: about 1,450 lines, because five formats, each validated to its last byte, share one strict JSON reader and
// one decision by name.

// Kind says what a file is for. The zero value is unknown and counts as weights.
type Kind string

// The kinds of files.
const (
	Weights   Kind = "weights"   // the model itself
	Tokenizer Kind = "tokenizer" // vocabulary, merges, chat template
	Config    Kind = "config"    // architecture and generation settings, the index of shards
	Card      Kind = "card"      // what people read: README, LICENSE
	Data      Kind = "data"      // well-formed, but of no known purpose
)

// Limits on what is admitted, in bytes unless said otherwise.
const (
	MaxJSON          = 64 << 20    // largest tokenizer.json seen in the field: 35 MB
	MaxText          = 64 << 20    //
	MaxSentencePiece = 16 << 20    //
	MaxTensors       = 1 << 19     // tensors in one file
	MaxHeader        = 100_000_000 // a safetensors header, as in the reference implementation

	maxMetadata      = 256     // entries kept in Info.Metadata
	maxMetadataValue = 4 << 10 // longer values are left out
	maxCodeLike      = 64
)

// Info is what a file told about itself. All strings come from the file: escape them before showing.
type Info struct {
	Kind       Kind              // what it is for
	Format     string            // "safetensors", "gguf", "json", "text", "sentencepiece"
	Tensors    int               // number of tensors
	Parameters int64             // number of elements in all tensors
	Metadata   map[string]string // short strings of the header, at most 256 of 4 KiB each; the rest is left out
	CodeLike   []string          // where the file carries something a client may execute: templates, code references
}

// Aux reports whether the file may go to somebody who may not have the weights. Anything unknown counts as weights.
func (i Info) Aux() bool {
	return i.Kind == Tokenizer || i.Kind == Config || i.Kind == Card
}

func (i *Info) keep(key, value string) {
	if len(i.Metadata) >= maxMetadata || len(key) > maxMetadataValue || len(value) > maxMetadataValue {
		return
	}
	if i.Metadata == nil {
		i.Metadata = make(map[string]string)
	}
	i.Metadata[key] = value
}

func (i *Info) codeLike(what string) {
	if len(i.CodeLike) < maxCodeLike {
		i.CodeLike = append(i.CodeLike, what)
	}
}

// Refusal says why a file is not admitted and what to do. It may be shown to the person who pushes.
type Refusal struct {
	Name string // the file, as given
	Why  string // what is wrong
	Do   string // what to do next; may be empty
}

// Error returns one sentence in lower case.
func (r *Refusal) Error() string {
	s := fmt.Sprintf("format: %q: %s", r.Name, r.Why)
	if r.Do != "" {
		s += "; " + r.Do
	}
	return s
}

// source remembers a failure of the reader, which is not the file's fault and must not read as a refusal.
type source struct {
	io.ReaderAt
	err error
}

func (s *source) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.ReaderAt.ReadAt(p, off)
	if err != nil && err != io.EOF { //nolint:errorlint // io.ReaderAt promises io.EOF itself
		s.err = err
	}
	return n, err
}

// Admit judges the file of size bytes in r under its canonical name. The name decides what the content must be, and
// the content must be that through to its end; a name it does not know is refused.
// The error is a *[Refusal], or that of r when r failed.
func Admit(name string, r io.ReaderAt, size int64) (Info, error) {
	src := &source{ReaderAt: r}
	info, err := admit(name, src, size)
	if src.err != nil {
		return Info{}, fmt.Errorf("format: read %q: %w", name, src.err)
	}
	if err == nil {
		return info, nil
	}
	refusal, ok := err.(*Refusal) //nolint:errorlint // made in this package, never wrapped
	if !ok {
		refusal = &Refusal{Why: err.Error()}
	}
	refusal.Name = name
	return Info{}, refusal
}

func admit(name string, r io.ReaderAt, size int64) (Info, error) {
	if err := CheckName(name); err != nil {
		return Info{}, err
	}
	if size < 0 {
		return Info{}, fmt.Errorf("negative size %d", size)
	}
	form, kind := expect(name)
	head := make([]byte, min(size, 16))
	if _, err := r.ReadAt(head, 0); err != nil && err != io.EOF { //nolint:errorlint // see source
		return Info{}, err
	}
	if found := sniff(head, size); found.form != "" && found.form != form {
		return Info{}, &Refusal{Why: "the content is " + found.what + ", which the name does not say", Do: found.do}
	}
	info := Info{Kind: kind, Format: form}
	in := io.NewSectionReader(r, 0, size)
	switch form {
	case "safetensors":
		return info, readSafetensors(&info, in, size)
	case "gguf":
		return info, readGGUF(&info, in, size)
	case "json":
		return info, readJSON(&info, in, size)
	case "text":
		return info, readText(&info, name, in, size)
	case "sentencepiece":
		return info, readSentencePiece(&info, in, size)
	}
	return Info{}, unknown(name)
}

// expect returns which format a name promises and what such a file is for; no format when the name is not known.
func expect(name string) (form string, kind Kind) {
	base := strings.ToLower(path.Base(name))
	ext := path.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	switch ext {
	case ".safetensors":
		return "safetensors", Weights
	case ".gguf":
		return "gguf", Weights
	case ".model":
		return "sentencepiece", Tokenizer
	case ".jinja":
		return "text", Tokenizer
	case ".md":
		return "text", Card
	case ".json":
		return "json", jsonKind(stem)
	case ".txt":
		switch stem {
		case "vocab", "merges":
			return "text", Tokenizer
		case "readme", "license", "notice", "copying":
			return "text", Card
		}
		return "text", Data
	}
	switch base {
	case "readme", "license", "notice", "copying", ".gitattributes":
		return "text", Card
	}
	return "", ""
}

// KindOf returns what a file of this name is for, as Admit will hold it to: Weights when the name is not known.
func KindOf(name string) Kind {
	if _, kind := expect(name); kind != "" {
		return kind
	}
	return Weights
}

func jsonKind(stem string) Kind {
	switch stem {
	case "tokenizer", "tokenizer_config", "special_tokens_map", "added_tokens", "vocab", "chat_template":
		return Tokenizer
	case "config", "configuration", "model_index", "params", "modules", "config_sentence_transformers":
		return Config
	}
	if strings.HasSuffix(stem, "_config") || strings.HasSuffix(stem, ".index") {
		return Config
	}
	return Data
}

const (
	hintTorch   = `convert it: safetensors.torch.save_file(torch.load(f, weights_only=True), "model.safetensors")`
	hintArchive = "unpack it and push the files themselves"
	hintCode    = "keep code in a source repository; a model here is data only"
	hintExport  = "convert the weights to safetensors or GGUF"
)

// magic is how a content gives itself away.
type magic struct {
	prefix, form, what, do string
}

// magics lists contents that a name must not hide. Order matters only for readers.
func magics() []magic {
	return []magic{
		{"GGUF", "gguf", "GGUF", "name it with .gguf"},
		{"PK\x03\x04", "zip", "a zip archive, as PyTorch checkpoints are", hintTorch},
		{"PK\x05\x06", "zip", "a zip archive", hintArchive},
		{"\x7fELF", "exe", "a program", hintCode},
		{"MZ\x90\x00", "exe", "a Windows program", hintCode},
		{"\xcf\xfa\xed\xfe", "exe", "a macOS program", hintCode},
		{"\xca\xfe\xba\xbe", "exe", "a macOS program or Java class", hintCode},
		{"\x1f\x8b", "archive", "gzip data", hintArchive},
		{"\x28\xb5\x2f\xfd", "archive", "zstd data", hintArchive},
		{"\xfd7zXZ", "archive", "xz data", hintArchive},
		{"BZh91AY", "archive", "bzip2 data", hintArchive},
		{"7z\xbc\xaf", "archive", "a 7z archive", hintArchive},
		{"\x89HDF", "hdf5", "HDF5, as Keras writes", hintExport},
		{"\x93NUMPY", "numpy", "a NumPy array", hintExport},
	}
}

func sniff(head []byte, size int64) magic {
	if looksLikeSafetensors(head, size) {
		return magic{form: "safetensors", what: "safetensors", do: "name it with .safetensors"}
	}
	if len(head) > 1 && head[0] == 0x80 && head[1] <= 5 {
		return magic{form: "pickle", what: "a Python pickle, which executes code when it is loaded", do: hintTorch}
	}
	for _, m := range magics() {
		if bytes.HasPrefix(head, []byte(m.prefix)) {
			return m
		}
	}
	return magic{}
}

// unknown explains the refusal of a name that promises nothing we can judge.
func unknown(name string) *Refusal {
	r := &Refusal{Why: "files of this kind cannot be judged", Do: "admitted are .safetensors, .gguf, .json, .md, .txt, .jinja, tokenizer .model, README and LICENSE"}
	switch strings.ToLower(path.Ext(name)) {
	case ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill":
		r.Why, r.Do = "a pickle executes code when it is loaded", hintTorch
	case ".onnx", ".tflite", ".pb", ".h5", ".keras", ".npy", ".npz", ".msgpack", ".mlmodel", ".engine", ".pte":
		r.Why, r.Do = "this format of weights is not admitted", hintExport
	case ".py", ".pyc", ".ipynb", ".sh", ".js", ".so", ".dll", ".dylib", ".exe", ".jar", ".whl":
		r.Why, r.Do = "this is code", hintCode
	case ".zip", ".tar", ".gz", ".tgz", ".zst", ".xz", ".bz2", ".7z", ".rar":
		r.Why, r.Do = "an archive hides what is in it", hintArchive
	}
	return r
}
