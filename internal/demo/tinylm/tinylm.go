// Package tinylm owns a small language model: its text, its training by gradient descent, its files and its
// generation, all in Go and in seconds.
//
// The network is a feed-forward model in the manner of Bengio et al. (JMLR 2003): the embeddings of the last few
// tokens, plus one row for each of the last 2, 3 and 4 tokens taken together, found by hashing, give a tanh layer; a
// narrow projection of it is compared with the embedding of every token. It is a real model, and a very small one:
// it continues text in the voice of one small book, and knows nothing.
//
// It leaves tokens to bpe, the form of the weights to safetensors and HTTP to serve. It protects nothing: that is
// what it is there to be the object of.
package tinylm

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"sallyport/internal/demo/tinylm/bpe"
	"sallyport/internal/demo/tinylm/safetensors"
)

// Config is the shape of a model and the plan of its training. The same Config gives the same model on the same
// processor architecture, however many cores there are.
type Config struct {
	Text   int // bytes of the shipped text to learn from, rounded up to a document; more than there is means all
	Vocab  int // tokens to learn, 257 or more
	Window int // how many preceding tokens are seen one by one
	Embed  int // width of a token's embedding and of the output projection
	Hidden int // width of the tanh layer
	Orders int // hashed contexts: the last 2, 3, ... Orders+1 tokens
	Rows   int // rows of each hashed table
	Steps  int // training steps
	Batch  int // examples in a step, even
	Seed   uint64
}

// Default is the demo's model: about 9.6 million weights, 36.6 MiB.
func Default() Config {
	return Config{Text: maxText, Vocab: 2048, Window: 4, Embed: 64, Hidden: 128, Orders: 4, Rows: 18432, Steps: 440, Batch: 128, Seed: 7}
}

// Small is a model for tests: it trains in about a second.
func Small() Config {
	return Config{Text: 16_000, Vocab: 384, Window: 3, Embed: 16, Hidden: 32, Orders: 2, Rows: 1024, Steps: 220, Batch: 64, Seed: 7}
}

// limits of a Config, which also comes from files
const (
	maxText  = 1 << 20
	maxWidth = 4096
	maxRows  = 1 << 20
	maxSteps = 1 << 20
)

func (c Config) check() error {
	for _, f := range []struct {
		name          string
		got, low, top int
	}{
		{"text", c.Text, 1000, maxText}, {"vocab", c.Vocab, 257, bpe.MaxVocab}, {"window", c.Window, 1, 64}, {"embed", c.Embed, 1, maxWidth},
		{"hidden", c.Hidden, 1, maxWidth}, {"orders", c.Orders, 0, 8}, {"rows", c.Rows, 1, maxRows},
		{"steps", c.Steps, 1, maxSteps}, {"batch", c.Batch, 2, 1 << 12},
	} {
		if f.got < f.low || f.got > f.top {
			return fmt.Errorf("tinylm: config: %s is %d: want %d to %d", f.name, f.got, f.low, f.top)
		}
	}
	if c.Batch%shards != 0 {
		return fmt.Errorf("tinylm: config: batch is %d: want a multiple of %d", c.Batch, shards)
	}
	return nil
}

// reach is how many preceding tokens can change the prediction.
func (c Config) reach() int { return max(c.Window, c.Orders+1) }

// Report says what training did. Perplexities are per token of the model's own vocabulary, on the paragraphs that
// training never saw.
type Report struct {
	TextBytes     int     `json:"text_bytes"`
	Steps         int     `json:"steps"`
	TrainTokens   int     `json:"train_tokens"`
	HeldOutTokens int     `json:"held_out_tokens"`
	Unigram       float64 `json:"held_out_perplexity_unigram"` // of token frequencies alone, add-one smoothed
	Before        float64 `json:"held_out_perplexity_before"`
	After         float64 `json:"held_out_perplexity_after"`
	TrainAfter    float64 `json:"train_perplexity_after"` // on as many tokens from the beginning of the training text
}

// Model is a trained model. It is immutable and safe for concurrent use.
type Model struct {
	config Config
	report Report
	tok    *bpe.Tokenizer
	net
}

// Config returns the shape of the model.
func (m *Model) Config() Config { return m.config }

// Report returns what training measured.
func (m *Model) Report() Report { return m.report }

// Tokens returns the number of tokens of text.
func (m *Model) Tokens(text string) int { return len(m.tok.Encode(text)) }

// Parameters returns the number of weights.
func (m *Model) Parameters() int {
	n := 0
	for _, t := range m.tensors(m.config) {
		size := 1
		for _, d := range t.Shape {
			size *= d
		}
		n += size
	}
	return n
}

// net holds the weights, all row-major.
type net struct {
	embed      []float32   // [vocab, embed]: read on the way in and compared with on the way out
	window     []float32   // [hidden, window*embed]
	windowBias []float32   // [hidden]
	grams      [][]float32 // per order [rows, hidden]
	project    []float32   // [embed, hidden]
	outBias    []float32   // [vocab]
}

func newNet(c Config) net {
	r := rand.New(rand.NewPCG(c.Seed, 1))
	normal := func(n int, deviation float64) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float32(r.NormFloat64() * deviation)
		}
		return out
	}
	n := net{
		embed:      normal(c.Vocab*c.Embed, 0.1),
		window:     normal(c.Hidden*c.Window*c.Embed, 1/math.Sqrt(float64(c.Window*c.Embed))),
		windowBias: make([]float32, c.Hidden),
		project:    normal(c.Embed*c.Hidden, 1/math.Sqrt(float64(c.Hidden))),
		outBias:    make([]float32, c.Vocab),
	}
	for range c.Orders {
		n.grams = append(n.grams, normal(c.Rows*c.Hidden, 0.01))
	}
	return n
}

// tensors names the weights for a file; the data are shared with n.
func (n *net) tensors(c Config) []safetensors.Tensor {
	out := []safetensors.Tensor{
		{Name: "embed.weight", Shape: []int{c.Vocab, c.Embed}, Data: n.embed},
		{Name: "window.weight", Shape: []int{c.Hidden, c.Window * c.Embed}, Data: n.window},
		{Name: "window.bias", Shape: []int{c.Hidden}, Data: n.windowBias},
		{Name: "project.weight", Shape: []int{c.Embed, c.Hidden}, Data: n.project},
		{Name: "output.bias", Shape: []int{c.Vocab}, Data: n.outBias},
	}
	for k := range c.Orders {
		t := safetensors.Tensor{Name: fmt.Sprintf("ngram.%d.weight", k+2), Shape: []int{c.Rows, c.Hidden}}
		if k < len(n.grams) {
			t.Data = n.grams[k]
		}
		out = append(out, t)
	}
	return out
}

// adopt takes the weights of a file; each must be there, in its shape, and no other.
func (n *net) adopt(c Config, from map[string]safetensors.Tensor) error {
	want := n.tensors(c)
	if len(from) != len(want) {
		return errors.New("tinylm: weights: not the tensors of this model")
	}
	n.grams = make([][]float32, c.Orders)
	dst := []*[]float32{&n.embed, &n.window, &n.windowBias, &n.project, &n.outBias}
	for k := range n.grams {
		dst = append(dst, &n.grams[k])
	}
	for i, w := range want {
		t, ok := from[w.Name]
		if !ok || fmt.Sprint(t.Shape) != fmt.Sprint(w.Shape) {
			return fmt.Errorf("tinylm: weights: %s is missing or not of shape %v", w.Name, w.Shape)
		}
		*dst[i] = t.Data
	}
	return nil
}

// preceding fills dst with the tokens before position t, nearest first. What lies before the document's beginning
// reads as end-of-text.
func preceding(dst, tokens []int32, t int) {
	for i := range dst {
		dst[i] = bpe.EndOfTextID
		if t--; t >= 0 {
			dst[i] = tokens[t]
		}
		if dst[i] == bpe.EndOfTextID {
			t = 0
		}
	}
}

// rowOf hashes the nearest n tokens of a context to a row (FNV-1a with a final mix).
func rowOf(ctx []int32, n, rows int) int {
	h := uint64(14695981039346656037)
	for _, t := range ctx[:n] {
		h = (h ^ uint64(uint32(t))) * 1099511628211
	}
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	return int((h ^ h>>32) % uint64(rows))
}
