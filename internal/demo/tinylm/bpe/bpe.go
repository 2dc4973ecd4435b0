// Package bpe owns a byte-level BPE (byte pair encoding) tokenizer: learning its merges from text, encoding,
// decoding, and the Hugging Face tokenizer.json form of it.
//
// It leaves to others which text to learn from, chat templates, and every other tokenizer family.
package bpe

import (
	"errors"
	"fmt"
	"sort"
)

// EndOfText is the one special token; its id is [EndOfTextID]. Encode never produces it from text, so that a prompt
// cannot smuggle in a document boundary.
const EndOfText = "<|endoftext|>"

// EndOfTextID is the id of [EndOfText].
const EndOfTextID int32 = 0

// Ids: 0 is EndOfText, 1 to 256 are the bytes, the rest are merges in the order in which they were learned.
const firstMerge = 257

// MaxVocab is the largest vocabulary that Train and Parse accept.
const MaxVocab = 1 << 16

type pair [2]int32

// Tokenizer turns text into ids and back. It is immutable and safe for concurrent use.
type Tokenizer struct {
	merges []pair         // merge k makes token firstMerge+k
	ranks  map[pair]int32 // pair to the id it makes; a lower id is merged first
	bytes  []string       // raw bytes of every token
}

// Train learns vocab tokens in all (257 to [MaxVocab]) from texts. It stops earlier when no pair occurs twice; equal
// counts are settled by the smaller ids, so that the same texts always give the same tokenizer.
func Train(texts []string, vocab int) (*Tokenizer, error) {
	if vocab < firstMerge || vocab > MaxVocab {
		return nil, fmt.Errorf("bpe: train: vocabulary of %d: want %d to %d", vocab, firstMerge, MaxVocab)
	}
	words := countWords(texts)
	counts := map[pair]int{}
	for _, w := range words {
		w.add(counts, w.n)
	}
	var merges []pair
	for firstMerge+len(merges) < vocab {
		best, ok := mostFrequent(counts)
		if !ok {
			break
		}
		id := int32(firstMerge + len(merges))
		merges = append(merges, best)
		for _, w := range words {
			if !w.has(best) {
				continue
			}
			w.add(counts, -w.n)
			w.ids = merge(w.ids, best, id)
			w.add(counts, w.n)
		}
		delete(counts, best)
	}
	return build(merges)
}

// word is a distinct piece of the training text with the number of times it occurs.
type word struct {
	ids []int32
	n   int
}

func (w *word) has(p pair) bool {
	for i := 1; i < len(w.ids); i++ {
		if w.ids[i-1] == p[0] && w.ids[i] == p[1] {
			return true
		}
	}
	return false
}

func (w *word) add(counts map[pair]int, n int) {
	for i := 1; i < len(w.ids); i++ {
		p := pair{w.ids[i-1], w.ids[i]}
		if counts[p] += n; counts[p] == 0 {
			delete(counts, p)
		}
	}
}

func countWords(texts []string) []*word {
	seen := map[string]int{}
	for _, t := range texts {
		for len(t) > 0 {
			n := pieceLen(t)
			seen[t[:n]]++
			t = t[n:]
		}
	}
	keys := make([]string, 0, len(seen))
	for k := range seen {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	words := make([]*word, len(keys))
	for i, k := range keys {
		words[i] = &word{ids: byteIDs(k), n: seen[k]}
	}
	return words
}

func mostFrequent(counts map[pair]int) (pair, bool) {
	var best pair
	n := 1 // a pair that occurs once teaches nothing
	for p, c := range counts {
		if c < n || c < 2 {
			continue
		}
		if c > n || p[0] < best[0] || p[0] == best[0] && p[1] < best[1] {
			best, n = p, c
		}
	}
	return best, n > 1
}

func build(merges []pair) (*Tokenizer, error) {
	t := &Tokenizer{merges: merges, ranks: make(map[pair]int32, len(merges))}
	t.bytes = append(t.bytes, EndOfText)
	for b := range 256 {
		t.bytes = append(t.bytes, string([]byte{byte(b)}))
	}
	known := make(map[string]bool, firstMerge+len(merges))
	for _, b := range t.bytes[1:] {
		known[b] = true
	}
	for k, p := range merges {
		id := int32(firstMerge + k)
		if p[0] <= EndOfTextID || p[1] <= EndOfTextID || p[0] >= id || p[1] >= id {
			return nil, fmt.Errorf("bpe: merge %d joins tokens that do not exist yet", k)
		}
		joined := t.bytes[p[0]] + t.bytes[p[1]]
		if known[joined] {
			return nil, fmt.Errorf("bpe: merge %d makes a token that exists already", k)
		}
		known[joined] = true
		t.ranks[p] = id
		t.bytes = append(t.bytes, joined)
	}
	return t, nil
}

// Size returns the number of tokens.
func (t *Tokenizer) Size() int { return len(t.bytes) }

// Encode returns the ids of text. Any bytes are accepted, also such as are not UTF-8.
func (t *Tokenizer) Encode(text string) []int32 {
	var out []int32
	for len(text) > 0 {
		n := pieceLen(text)
		out = append(out, t.encodePiece(text[:n])...)
		text = text[n:]
	}
	return out
}

// encodePiece merges the lowest id first. All its occurrences go in one pass: whatever a merge makes possible has a
// higher id than the merge itself.
func (t *Tokenizer) encodePiece(s string) []int32 {
	ids := byteIDs(s)
	for {
		best, at := int32(MaxVocab), -1
		for i := 1; i < len(ids); i++ {
			if id, ok := t.ranks[pair{ids[i-1], ids[i]}]; ok && id < best {
				best, at = id, i
			}
		}
		if at < 0 {
			return ids
		}
		ids = merge(ids, pair{ids[at-1], ids[at]}, best)
	}
}

// errID is what Decode answers to an id outside the vocabulary.
var errID = errors.New("bpe: decode: id outside the vocabulary")

// Decode returns the bytes of ids. [EndOfText] decodes to nothing. A single token may hold part of a character; a
// streaming caller keeps the rest back until it is complete.
func (t *Tokenizer) Decode(ids ...int32) (string, error) {
	var out []byte
	for _, id := range ids {
		if id < 0 || int(id) >= len(t.bytes) {
			return "", fmt.Errorf("%w: %d of %d", errID, id, len(t.bytes))
		}
		if id != EndOfTextID {
			out = append(out, t.bytes[id]...)
		}
	}
	return string(out), nil
}

// merge replaces p by id in place, from left to right.
func merge(ids []int32, p pair, id int32) []int32 {
	out := ids[:0]
	for i := 0; i < len(ids); i++ {
		if i+1 < len(ids) && ids[i] == p[0] && ids[i+1] == p[1] {
			out = append(out, id)
			i++
			continue
		}
		out = append(out, ids[i])
	}
	return out
}

func byteIDs(s string) []int32 {
	ids := make([]int32, len(s))
	for i := range len(s) {
		ids[i] = int32(s[i]) + 1
	}
	return ids
}
