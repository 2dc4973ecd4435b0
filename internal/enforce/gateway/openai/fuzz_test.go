package openai

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"sallyport"
)

// FuzzParse: whatever is taken is forwarded as one JSON object with exactly one
// member for the model, which is the upstream's; a second parse by another reader
// sees the same members.
func FuzzParse(f *testing.F) {
	f.Add(`{"model":"acme/open","messages":[{"role":"user","content":"hi"}],"stream":true}`, 0)
	f.Add(`{"mod\u0065l":"acme/open@v1","input":[{"role":"user","content":[{"type":"input_text","text":"x"}]}],"store":true}`, 3)
	f.Add(`{"model":"acme/open","model":"acme/secret"}`, 1)
	f.Add(`{"model":"model:acme/open","tools":[{"type":"function","function":{"parameters":{"url":"http://x"}}}],"metadata":{"a":null}}`, 0)
	f.Add(`{"input":[1,2],"model":"acme/open"}`, 2)
	f.Add(`{"model":"acme/open","prompt":"\ud83d\ude00","stream_options":{"include_usage":true},"n":1E400}`, 1)
	f.Fuzz(func(t *testing.T, raw string, which int) {
		route := []string{"chat", "completions", "embeddings", "responses"}[uint(which)%4]
		body, err := parse([]byte(raw), route)
		if err != nil {
			return
		}
		if body.ref.Kind != sallyport.ModelKind || body.model == "" {
			t.Fatalf("taken for %+v", body.ref)
		}
		out, err := body.forUpstream("up/stream", route)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		dec := json.NewDecoder(bytes.NewReader(out))
		if _, err := dec.Token(); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				t.Fatalf("%s: %v", out, err)
			}
			var v any
			var rawValue json.RawMessage
			if err := dec.Decode(&rawValue); err != nil {
				t.Fatalf("%s: %v", out, err)
			}
			seen[strings.ToLower(name.(string))]++
			if name == "model" {
				if err := json.Unmarshal(rawValue, &v); err != nil || v != "up/stream" {
					t.Fatalf("the model is %s", rawValue)
				}
			}
		}
		for name, n := range seen {
			if n != 1 {
				t.Fatalf("%s stands %d times in %s", name, n, out)
			}
		}
		if seen["model"] != 1 {
			t.Fatalf("no model in %s", out)
		}
		var before map[string]json.RawMessage
		if err := json.Unmarshal([]byte(raw), &before); err != nil {
			t.Fatalf("another reader does not take %q: %v", raw, err)
		}
		var named string
		if err := json.Unmarshal(before["model"], &named); err != nil || named != body.model {
			t.Fatalf("another reader reads %q as a call of %q, not %q", raw, named, body.model)
		}
	})
}

// collect splits a stream that arrives in some pieces, through the smallest buffer.
func collect(r io.Reader) (all []string, err error) {
	err = split(bufio.NewReaderSize(r, 16), func(e []byte, _ bool) error {
		all = append(all, string(e))
		return nil
	})
	return all, err
}

// FuzzEvents: however a stream is cut into pieces on the way, the events are the
// same, and nothing but an unfinished end is lost.
func FuzzEvents(f *testing.F) {
	f.Add("data: a\n\ndata: b\n\n", 3)
	f.Add("data: a\r\n\r\n: ping\r\n\r\ndata: [DONE]", 1)
	f.Add(strings.Repeat("x", 16)+"\n\n", 100)
	f.Add(strings.Repeat("x", 15)+"\n"+"data: 1\n\n", 7)
	f.Add("\n\r\n\r\r\n", 2)
	f.Fuzz(func(t *testing.T, text string, size int) {
		whole, wholeErr := collect(strings.NewReader(text))
		single, singleErr := collect(iotest.OneByteReader(strings.NewReader(text)))
		pieces, piecesErr := collect(&inPieces{text: text, size: int(uint(size)%4096) + 1})
		if strings.Join(whole, "\x00|") != strings.Join(single, "\x00|") || strings.Join(whole, "\x00|") != strings.Join(pieces, "\x00|") {
			t.Fatalf("%q\n%q\n%q", whole, single, pieces)
		}
		if (wholeErr == nil) != (singleErr == nil) || (wholeErr == nil) != (piecesErr == nil) {
			t.Fatalf("%v, %v, %v", wholeErr, singleErr, piecesErr)
		}
		joined := strings.Join(whole, "")
		if wholeErr == nil && strings.TrimRight(joined, "\r\n") != strings.TrimRight(text, "\r\n \t\v\f\u0085\u00a0") && strings.TrimSpace(joined) != strings.TrimSpace(text) {
			t.Fatalf("%q became %q", text, joined)
		}
	})
}

type inPieces struct {
	text string
	size int
}

func (p *inPieces) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	n := copy(b, p.text[:min(p.size, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}

// FuzzAnswer: an answer is renamed in its top members only, and stays otherwise
// what it was.
func FuzzAnswer(f *testing.F) {
	f.Add(plainAnswer, "")
	f.Add(`{"response":{"model":"a","usage":{"input_tokens":1}},"model":"b"}`, "response")
	f.Add(`{"model":"a","model":1,"choices":[ ],"usage":{"prompt_tokens":-5}}`, "")
	f.Fuzz(func(t *testing.T, doc, inner string) {
		a, err := readAnswer([]byte(doc), inner)
		if err != nil {
			return
		}
		same := doc
		for i := len(a.models) - 1; i >= 0; i-- {
			span := a.models[i]
			if same[span[0]] != '"' || same[span[1]-1] != '"' {
				t.Fatalf("the span %v of %q is no string", span, doc)
			}
			same = same[:span[0]] + `"new"` + same[span[1]:]
		}
		out := string(a.renamed(nil, []byte(doc), []byte(`"new"`)))
		if out != same {
			t.Fatalf("%q became %q, want %q", doc, out, same)
		}
		b, err := readAnswer([]byte(out), inner)
		if err != nil || len(b.models) != len(a.models) {
			t.Fatalf("%q became %q: %v", doc, out, err)
		}
	})
}
