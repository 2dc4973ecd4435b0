package tinylm

import (
	"embed"
	"fmt"
	"math"
	"strings"

	"sallyport/internal/demo/tinylm/bpe"
)

// shipped holds the text that the model learns (pieces about a harbour, a gate and its keeper, written for this
// package; a line is a paragraph, a line of three stars ends a document) and the template of the model's card.
//
//go:embed corpus.txt card.md.tmpl
var shipped embed.FS

const (
	corpusFile       = "corpus.txt"
	cardTemplateFile = "card.md.tmpl"
)

// heldOut is how many paragraphs stand to one that is kept for measuring.
const heldOut = 10

// texts are documents, in the order of the corpus.
type texts struct {
	train, held []string
	bytes       int // of both
}

// splitCorpus takes documents until limit bytes are reached. It keeps every tenth paragraph apart, as a document of
// its own.
func splitCorpus(s string, limit int) texts {
	var out texts
	n := 0
	for doc := range strings.SplitSeq(s, "\n* * *\n") {
		if out.bytes >= limit {
			break
		}
		out.bytes += len(doc)
		var keep []string
		for line := range strings.SplitSeq(strings.TrimSpace(doc), "\n") {
			if n++; n%heldOut == 0 {
				out.held = append(out.held, line)
				continue
			}
			keep = append(keep, line)
		}
		if len(keep) > 0 {
			out.train = append(out.train, strings.Join(keep, "\n"))
		}
	}
	return out
}

// learnTokens trains the tokenizer on the training documents and sets c.Vocab to what it found.
func learnTokens(t texts, c *Config) (*bpe.Tokenizer, error) {
	tok, err := bpe.Train(t.train, c.Vocab)
	if err != nil {
		return nil, fmt.Errorf("tinylm: tokenizer: %w", err)
	}
	c.Vocab = tok.Size()
	return tok, nil
}

// encodeAll joins documents, each closed by end-of-text.
func encodeAll(tok *bpe.Tokenizer, docs []string) []int32 {
	var out []int32
	for _, d := range docs {
		out = append(append(out, tok.Encode(d)...), bpe.EndOfTextID)
	}
	return out
}

// unigram returns the perplexity on held of the frequencies in train, with one added to each: what can be had without
// looking at any context.
func unigram(train, held []int32, vocab int) float64 {
	counts := make([]float64, vocab)
	for _, t := range train {
		counts[t]++
	}
	loss := 0.0
	for _, t := range held {
		loss -= math.Log((counts[t] + 1) / float64(len(train)+vocab))
	}
	return math.Exp(loss / float64(len(held)))
}
