package bpe_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/demo/tinylm/bpe"
)

const text = "The keeper's gate is shut. The keepers keep the gate; the gate keeps them.\n\nIt isn't 1842, it's 1843.\n"

func trained(t testing.TB) *bpe.Tokenizer {
	t.Helper()
	tok, err := bpe.Train([]string{text, strings.Repeat(text, 2)}, 320)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// The ids in testdata are what the Python package tokenizers 0.23.3 answers for the tokenizer.json beside them.
func TestAgreesWithHuggingFaceTokenizers(t *testing.T) {
	data, err := os.ReadFile("testdata/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	tok, err := bpe.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(trained(t))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, bytes.TrimSpace(data)) {
		t.Error("training on the same text no longer gives testdata/tokenizer.json")
	}
	var samples []struct {
		Text string  `json:"text"`
		IDs  []int32 `json:"ids"`
	}
	raw, err := os.ReadFile("testdata/ids.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &samples); err != nil {
		t.Fatal(err)
	}
	if len(samples) < 200 {
		t.Fatalf("only %d samples", len(samples))
	}
	for _, s := range samples {
		if got := tok.Encode(s.Text); !slices.Equal(got, s.IDs) {
			t.Errorf("encode %q: got %v, want %v", s.Text, got, s.IDs)
		}
		if got, err := tok.Decode(s.IDs...); err != nil || got != s.Text {
			t.Errorf("decode of %q: got %q, %v", s.Text, got, err)
		}
	}
}

func TestTrainLearnsWholeWords(t *testing.T) {
	tok := trained(t)
	if n := len(tok.Encode(" gate")); n != 1 {
		t.Errorf("%q takes %d tokens, want 1", " gate", n)
	}
	if n := len(tok.Encode("xylophone")); n < 5 {
		t.Errorf("a word never seen takes only %d tokens", n)
	}
	for _, vocab := range []int{0, 256, bpe.MaxVocab + 1} {
		if _, err := bpe.Train([]string{text}, vocab); err == nil {
			t.Errorf("vocabulary of %d is accepted", vocab)
		}
	}
	if tok, err := bpe.Train([]string{"abc"}, 500); err != nil || tok.Size() != 257 {
		t.Errorf("pairs that occur once were merged: %v, %v", tok.Size(), err)
	}
}

func TestSpecialTokenCannotBeTyped(t *testing.T) {
	tok := trained(t)
	if slices.Contains(tok.Encode("a"+bpe.EndOfText+"b"), bpe.EndOfTextID) {
		t.Error("a prompt produced the end-of-text token")
	}
	if s, err := tok.Decode(bpe.EndOfTextID); s != "" || err != nil {
		t.Errorf("end of text decodes to %q, %v", s, err)
	}
	for _, id := range []int32{-1, int32(tok.Size())} {
		if _, err := tok.Decode(id); err == nil {
			t.Errorf("id %d decodes", id)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good, err := json.Marshal(trained(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"another model":     {`"type":"BPE"`, `"type":"Unigram"`},
		"prefix space":      {`"add_prefix_space":false`, `"add_prefix_space":true`},
		"a missing merge":   {`"merges":["`, `"merges":["q x","`},
		"an unknown token":  {`"merges":["`, `"merges":["漢 `},
		"a moved token":     {`"!":34`, `"!":35`},
		"no JSON":           {`{`, ``},
		"ignoring merges":   {`"ignore_merges":false`, `"ignore_merges":true`},
		"special elsewhere": {`"\u003c|endoftext|\u003e":0`, `"\u003c|endoftext|\u003e":9`},
	} {
		bad := strings.Replace(string(good), change[0], change[1], 1)
		if bad == string(good) {
			t.Fatalf("%s: nothing changed", name)
		}
		if _, err := bpe.Parse([]byte(bad)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func FuzzEncodeDecode(f *testing.F) {
	for _, s := range []string{text, "", " ", "\n \t x", "it's  don't", "\xff\xfe", "漢字 🙂", "aaaaaaaaaaaaaaa"} {
		f.Add(s)
	}
	tok := trained(f)
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := tok.Decode(tok.Encode(s)...); err != nil || got != s {
			t.Errorf("%q came back as %q, %v", s, got, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	data, err := os.ReadFile("testdata/tokenizer.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{},"merges":["a b"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := bpe.Parse(data)
		if err != nil {
			return
		}
		if s, err := tok.Decode(tok.Encode("the gate")...); err != nil || s != "the gate" {
			t.Errorf("an accepted tokenizer loses text: %q, %v", s, err)
		}
	})
}
