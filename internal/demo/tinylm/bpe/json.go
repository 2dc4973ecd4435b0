package bpe

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// maxFile limits the tokenizer.json that Parse reads, in bytes.
const maxFile = 16 << 20

// file is the part of tokenizer.json that this package writes and reads; the rest of the format stays at its
// defaults.
type file struct {
	Version      string    `json:"version"`
	Truncation   *struct{} `json:"truncation"`
	Padding      *struct{} `json:"padding"`
	AddedTokens  []added   `json:"added_tokens"`
	Normalizer   *struct{} `json:"normalizer"`
	PreTokenizer byteLevel `json:"pre_tokenizer"`
	PostProc     *struct{} `json:"post_processor"`
	Decoder      byteLevel `json:"decoder"`
	Model        model     `json:"model"`
}

type added struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

type byteLevel struct {
	Type           string `json:"type"`
	AddPrefixSpace bool   `json:"add_prefix_space"`
	TrimOffsets    bool   `json:"trim_offsets"`
	UseRegex       bool   `json:"use_regex"`
}

type model struct {
	Type         string           `json:"type"`
	Dropout      *float64         `json:"dropout"`
	UnkToken     *string          `json:"unk_token"`
	Prefix       *string          `json:"continuing_subword_prefix"`
	Suffix       *string          `json:"end_of_word_suffix"`
	FuseUnk      bool             `json:"fuse_unk"`
	ByteFallback bool             `json:"byte_fallback"`
	IgnoreMerges bool             `json:"ignore_merges"`
	Vocab        map[string]int32 `json:"vocab"`
	Merges       []string         `json:"merges"` // "a b": the form that every release of tokenizers reads
}

// MarshalJSON returns the tokenizer as a Hugging Face tokenizer.json: model BPE, pre-tokenizer and decoder
// ByteLevel without a prefix space. The bytes are the same every time.
func (t *Tokenizer) MarshalJSON() ([]byte, error) {
	level := byteLevel{Type: "ByteLevel", TrimOffsets: true, UseRegex: true}
	f := file{
		Version:      "1.0",
		AddedTokens:  []added{{ID: EndOfTextID, Content: EndOfText, Special: true}},
		PreTokenizer: level,
		Decoder:      level,
		Model:        model{Type: "BPE", Vocab: make(map[string]int32, len(t.bytes))},
	}
	f.Model.Vocab[EndOfText] = EndOfTextID
	for id, b := range t.bytes[1:] {
		f.Model.Vocab[printable(b)] = int32(id + 1)
	}
	for _, p := range t.merges {
		f.Model.Merges = append(f.Model.Merges, printable(t.bytes[p[0]])+" "+printable(t.bytes[p[1]]))
	}
	return json.Marshal(f)
}

// Parse reads a tokenizer.json that [Tokenizer.MarshalJSON] wrote. It is no reader of the whole format: a file that
// asks for anything else is refused.
func Parse(data []byte) (*Tokenizer, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("bpe: parse: %d bytes: at most %d", len(data), maxFile)
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("bpe: parse: %w", err)
	}
	level := byteLevel{Type: "ByteLevel", TrimOffsets: true, UseRegex: true}
	if f.Model.Type != "BPE" || f.PreTokenizer != level || f.Decoder != level || f.Model.IgnoreMerges {
		return nil, errors.New("bpe: parse: not a byte-level BPE of this package")
	}
	if len(f.Model.Vocab) > MaxVocab || len(f.Model.Vocab) != firstMerge+len(f.Model.Merges) {
		return nil, fmt.Errorf("bpe: parse: %d tokens do not fit %d merges", len(f.Model.Vocab), len(f.Model.Merges))
	}
	merges := make([]pair, len(f.Model.Merges))
	for k, m := range f.Model.Merges {
		left, right, ok := strings.Cut(m, " ")
		a, okA := f.Model.Vocab[left]
		b, okB := f.Model.Vocab[right]
		if !ok || !okA || !okB {
			return nil, fmt.Errorf("bpe: parse: merge %d names an unknown token", k)
		}
		merges[k] = pair{a, b}
	}
	t, err := build(merges)
	if err != nil {
		return nil, err
	}
	for id, b := range t.bytes {
		name := EndOfText
		if int32(id) != EndOfTextID {
			name = printable(b)
		}
		if got, ok := f.Model.Vocab[name]; !ok || got != int32(id) {
			return nil, fmt.Errorf("bpe: parse: token %d is not where its merge puts it", id)
		}
	}
	return t, nil
}

// printable writes raw bytes in the alphabet of the ByteLevel pre-tokenizer: printable Latin-1 stands for itself,
// every other byte for the next character from U+0100.
func printable(raw string) string {
	var b strings.Builder
	for i := range len(raw) {
		b.WriteRune(letterOf(raw[i]))
	}
	return b.String()
}

func letterOf(c byte) rune {
	switch {
	case c <= ' ':
		return 0x100 + rune(c)
	case c < 0x7f || c >= 0xa1 && c != 0xad:
		return rune(c)
	case c <= 0xa0:
		return 0x121 + rune(c-0x7f)
	}
	return 0x143 // 0xad, the soft hyphen
}
