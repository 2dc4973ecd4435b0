package tinylm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"unicode/utf8"

	"sallyport/internal/demo/tinylm/bpe"
)

// MaxTokens is the most that one call of Generate makes.
const MaxTokens = 8192

// Options steer a generation.
type Options struct {
	MaxTokens   int      // 1 to [MaxTokens]
	Temperature float64  // 0 takes the likeliest token every time; at most 2
	Seed        uint64   // the same seed and prompt give the same text
	Stop        []string // generation ends before the first of these, at most [MaxStops]; none is emitted
	IgnoreEnd   bool     // goes on where the document would end, until MaxTokens or a stop sequence
}

// MaxStops is how many stop sequences there may be, and MaxStop how many bytes each may have.
const (
	MaxStops = 4
	MaxStop  = 256
)

// Check returns an error that names the first option out of its range.
func (o Options) Check() error {
	if o.MaxTokens < 1 || o.MaxTokens > MaxTokens {
		return fmt.Errorf("tinylm: generate: max tokens is %d: want 1 to %d", o.MaxTokens, MaxTokens)
	}
	if !(o.Temperature >= 0 && o.Temperature <= 2) { // so written to refuse NaN
		return fmt.Errorf("tinylm: generate: temperature is %v: want 0 to 2", o.Temperature)
	}
	if len(o.Stop) > MaxStops {
		return fmt.Errorf("tinylm: generate: %d stop sequences: want at most %d", len(o.Stop), MaxStops)
	}
	for _, s := range o.Stop {
		if s == "" || len(s) > MaxStop {
			return fmt.Errorf("tinylm: generate: stop sequence of %d bytes: want 1 to %d", len(s), MaxStop)
		}
	}
	return nil
}

// Reasons why a generation ended.
const (
	FinishStop   = "stop"   // end of text, or a stop sequence
	FinishLength = "length" // MaxTokens reached
)

// Usage says what a generation cost, in tokens, and why it ended.
type Usage struct {
	Prompt     int
	Completion int
	Finish     string // FinishStop or FinishLength; empty when it ended with an error
}

// Generate continues prompt. It calls emit on this goroutine once a token with the text that has become certain since
// the call before, which is whole UTF-8 characters and may be empty. An error of emit or of ctx ends it; the usage
// counts what was made until then.
func (m *Model) Generate(ctx context.Context, prompt string, o Options, emit func(piece string) error) (Usage, error) {
	if err := o.Check(); err != nil {
		return Usage{}, err
	}
	tokens := m.tok.Encode(prompt)
	u := Usage{Prompt: len(tokens)}
	b := newBatch(m.config, 1)
	b.m = 1
	rng := rand.New(rand.NewPCG(o.Seed, 3))
	out := writer{stop: o.Stop, emit: emit}
	for u.Completion < o.MaxTokens {
		if err := ctx.Err(); err != nil {
			return u, fmt.Errorf("tinylm: generate: %w", err)
		}
		preceding(b.ctx, tokens, len(tokens))
		m.forward(b)
		if o.IgnoreEnd {
			b.logits[bpe.EndOfTextID] = float32(math.Inf(-1))
		}
		next := b.sample(rng, o.Temperature)
		if next == bpe.EndOfTextID {
			u.Finish = FinishStop
			return u, out.flush()
		}
		u.Completion++
		tokens = append(tokens, next)
		text, err := m.tok.Decode(next)
		if err != nil {
			return u, err
		}
		if err := out.write(text); errors.Is(err, errStopped) {
			u.Finish = FinishStop
			return u, nil
		} else if err != nil {
			return u, err
		}
	}
	u.Finish = FinishLength
	return u, out.flush()
}

// minShare cuts the tail: a token less than this as likely as the likeliest is never drawn.
const minShare = 0.2

// sample draws a token from the logits of the first example.
func (b *batch) sample(rng *rand.Rand, temperature float64) int32 {
	best, at := math.Inf(-1), 0
	for v, x := range b.logits[:b.c.Vocab] {
		if float64(x) > best {
			best, at = float64(x), v
		}
	}
	if temperature == 0 {
		return int32(at)
	}
	weight := func(v int) float64 {
		d := float64(b.logits[v]) - best
		if d < math.Log(minShare) {
			return 0
		}
		return math.Exp(d / temperature)
	}
	sum := 0.0
	for v := range b.c.Vocab {
		sum += weight(v)
	}
	left := rng.Float64() * sum
	for v := range b.c.Vocab {
		if w := weight(v); w > 0 {
			if left -= w; left <= 0 {
				return int32(v)
			}
		}
	}
	return int32(at) // rounding only
}

var errStopped = errors.New("tinylm: stop sequence")

// writer emits text, but keeps back what may still become part of a character or of a stop sequence.
type writer struct {
	stop []string
	emit func(string) error
	held string
}

func (w *writer) write(s string) error {
	w.held += s
	first := -1
	for _, stop := range w.stop {
		if i := strings.Index(w.held, stop); i >= 0 && (first < 0 || i < first) {
			first = i
		}
	}
	if first >= 0 {
		if err := w.emit(strings.ToValidUTF8(w.held[:first], "\uFFFD")); err != nil {
			return err
		}
		return errStopped
	}
	n := len(w.held) - w.undecided()
	piece := strings.ToValidUTF8(w.held[:n], "\uFFFD")
	w.held = w.held[n:]
	return w.emit(piece)
}

// undecided returns how many bytes at the end may be the head of a stop sequence or of a character.
func (w *writer) undecided() int {
	longest := 0
	for _, stop := range w.stop {
		for n := min(len(stop)-1, len(w.held)); n > longest; n-- {
			if strings.HasSuffix(w.held, stop[:n]) {
				longest = n
				break
			}
		}
	}
	for n := 1; n < utf8.UTFMax && n <= len(w.held); n++ {
		if tail := w.held[len(w.held)-n:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRuneInString(tail) {
				longest = max(longest, n)
			}
			break
		}
	}
	return longest
}

func (w *writer) flush() error {
	if w.held == "" {
		return nil
	}
	return w.emit(strings.ToValidUTF8(w.held, "\uFFFD"))
}

// EmbeddingSize is the length of what Embed returns.
func (m *Model) EmbeddingSize() int { return m.config.Embed }

// Embed returns the mean of the embeddings of text's tokens, at unit length. Texts that share words lie close
// together; it knows nothing of order.
func (m *Model) Embed(text string) []float32 {
	ids := m.tok.Encode(text)
	if len(ids) == 0 {
		ids = []int32{bpe.EndOfTextID}
	}
	out := make([]float32, m.config.Embed)
	for _, id := range ids {
		add(out, m.embed[int(id)*m.config.Embed:(int(id)+1)*m.config.Embed])
	}
	if norm := sqrt(dot(out, out)); norm > 0 {
		for i := range out {
			out[i] /= norm
		}
	}
	return out
}
