package tinylm

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
)

// shards is how many goroutines share a step. It is fixed, and their sums are added in a fixed order, so that the
// result does not depend on the machine's number of cores.
const shards = 2

const (
	rate     = 0.08 // Adagrad's step at the start
	skip     = 3e-5 // softmax gradients below this are left out
	progress = 10   // steps between reports
)

// Dropout (Srivastava et al., JMLR 2014). The text is small: without it the model learns the text by heart within
// seconds and does worse on new text than token frequencies do.
const (
	dropGram   = 0.5 // of hashed rows
	dropIn     = 0.2 // of tokens in the window
	dropHidden = 0.5 // of the tanh layer
)

// Train learns a tokenizer and a model from the text that ships with the package; a tenth of its paragraphs is held
// out of both. It calls report, if not nil, every few steps and after the last, on this goroutine, with the mean loss
// in nats a token since the call before. It ends early with ctx's error.
func Train(ctx context.Context, c Config, report func(step, steps int, loss float64)) (*Model, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	corpus, err := shipped.ReadFile(corpusFile)
	if err != nil {
		return nil, fmt.Errorf("tinylm: train: %w", err)
	}
	text := splitCorpus(string(corpus), c.Text)
	tok, err := learnTokens(text, &c)
	if err != nil {
		return nil, err
	}
	train, held := encodeAll(tok, text.train), encodeAll(tok, text.held)
	m := &Model{config: c, tok: tok, net: newNet(c)}
	m.report = Report{
		TextBytes: text.bytes, Steps: c.Steps, TrainTokens: len(train), HeldOutTokens: len(held),
		Unigram: unigram(train, held, c.Vocab), Before: m.perplexity(held),
	}
	t := newTrainer(c, &m.net, train)
	sum, n := 0.0, 0
	for step := 1; step <= c.Steps; step++ {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("tinylm: train: step %d of %d: %w", step, c.Steps, err)
		}
		sum, n = sum+t.step(step), n+1
		if report != nil && (step%progress == 0 || step == c.Steps) {
			report(step, c.Steps, sum/float64(n))
			sum, n = 0, 0
		}
	}
	m.report.After, m.report.TrainAfter = m.perplexity(held), m.perplexity(train[:min(len(train), len(held))])
	return m, nil
}

// trainer holds what training needs beside the weights.
type trainer struct {
	c      Config
	net    *net
	tokens []int32
	order  []int // positions to predict, shuffled anew when used up
	next   int
	rng    *rand.Rand
	parts  [shards]*shard
	dense  []*param
	gramSq [][]float32 // Adagrad's memory of the hashed tables, one value a row
}

// param is a dense weight matrix with its gradients and Adagrad's memory (Duchi et al., JMLR 2011).
type param struct {
	w, sq []float32
	g     [shards][]float32
}

// shard is one goroutine's share of a step.
type shard struct {
	*batch
	dHid, dHidT, dOut, dOutT, dIn []float32
	loss                          float64
}

func newTrainer(c Config, n *net, tokens []int32) *trainer {
	t := &trainer{c: c, net: n, tokens: tokens, rng: rand.New(rand.NewPCG(c.Seed, 2))}
	t.order = t.rng.Perm(len(tokens))
	for _, w := range [...][]float32{n.embed, n.window, n.windowBias, n.project, n.outBias} {
		p := &param{w: w, sq: make([]float32, len(w))}
		for s := range p.g {
			p.g[s] = make([]float32, len(w))
		}
		t.dense = append(t.dense, p)
	}
	for range c.Orders {
		t.gramSq = append(t.gramSq, make([]float32, c.Rows))
	}
	size := c.Batch / shards
	for s := range t.parts {
		t.parts[s] = &shard{
			batch: newBatch(c, size),
			dHid:  make([]float32, size*c.Hidden), dHidT: make([]float32, size*c.Hidden),
			dOut: make([]float32, size*c.Embed), dOutT: make([]float32, size*c.Embed),
			dIn: make([]float32, size*c.Window*c.Embed),
		}
		t.parts[s].keep = make([]float32, size*c.Hidden)
	}
	return t
}

// step takes one batch through forward, backward and update and returns its mean loss.
func (t *trainer) step(step int) float64 {
	for _, p := range t.parts {
		t.fill(p)
	}
	parallel(func(s int) {
		p := t.parts[s]
		t.net.forward(p.batch)
		p.loss = p.softmax()
		t.backward(p, s)
	})
	// the rate falls to a tenth over the run
	lr := float32(rate * (1 - 0.9*float64(step)/float64(t.c.Steps)))
	parallel(func(s int) {
		for _, p := range t.dense {
			p.update(s, lr)
		}
		t.updateGrams(s, lr)
	})
	total := 0.0
	for _, p := range t.parts {
		total += p.loss
	}
	return total / float64(t.c.Batch)
}

func parallel(f func(shard int)) {
	var wg sync.WaitGroup
	for s := range shards {
		wg.Go(func() { f(s) })
	}
	wg.Wait()
}

// fill chooses the examples of p.
func (t *trainer) fill(p *shard) {
	p.m = t.c.Batch / shards
	reach := t.c.reach()
	for i := range p.m {
		if t.next == len(t.order) {
			t.rng.Shuffle(len(t.order), func(a, b int) { t.order[a], t.order[b] = t.order[b], t.order[a] })
			t.next = 0
		}
		at := t.order[t.next]
		t.next++
		preceding(p.ctx[i*reach:(i+1)*reach], t.tokens, at)
		p.targets[i] = t.tokens[at]
	}
	t.dropOut(p)
}

// dropOut chooses what p does without in this step.
func (t *trainer) dropOut(p *shard) {
	for i := range p.drop {
		p.drop[i] = t.rng.Float32() < dropGram
	}
	for i := range p.dropIn {
		p.dropIn[i] = t.rng.Float32() < dropIn
	}
	for i := range p.keep {
		p.keep[i] = 0
		if t.rng.Float32() >= dropHidden {
			p.keep[i] = 1 / (1 - dropHidden)
		}
	}
}

// backward leaves the gradients of the dense weights in shard s of each param, and that of the hidden layer, which is
// also that of the hashed rows, in p.dHid.
func (t *trainer) backward(p *shard, s int) {
	c, n, m := t.c, t.net, p.m
	embed, window, windowBias, project, outBias := t.dense[0].g[s], t.dense[1].g[s], t.dense[2].g[s], t.dense[3].g[s], t.dense[4].g[s]
	scale := 1 / float32(c.Batch)
	inv := p.top[:m] // used up
	for i := range inv {
		inv[i] = float32(1 / p.sum[i])
	}
	for v := range c.Vocab {
		row := p.logits[v*m : (v+1)*m]
		for i, e := range row {
			g := e * inv[i]
			if int(p.targets[i]) == v {
				g--
			}
			row[i] = g * scale
			outBias[v] += row[i]
		}
	}
	clear(p.dOut)
	mulBack(p.dOut, embed, p.logits, p.out, n.embed, m, c.Embed, c.Vocab, skip*scale)
	transpose(p.dOutT, p.dOut, m, c.Embed)
	clear(p.dHid)
	mulBack(p.dHid, project, p.dOutT, p.hid, n.project, m, c.Hidden, c.Embed, 0)
	for i, h := range p.hid {
		h *= 1 - dropHidden // undo dropout's factor; where it was 0, so is the gradient
		p.dHid[i] *= p.keep[i] * (1 - h*h)
	}
	for i := range m {
		add(windowBias, p.dHid[i*c.Hidden:(i+1)*c.Hidden])
	}
	transpose(p.dHidT, p.dHid, m, c.Hidden)
	wide := c.Window * c.Embed
	clear(p.dIn)
	mulBack(p.dIn, window, p.dHidT, p.in, n.window, m, wide, c.Hidden, 0)
	reach := c.reach()
	for i := range m {
		for w, tok := range p.ctx[i*reach : i*reach+c.Window] {
			if p.dropIn[i*c.Window+w] {
				continue
			}
			from := p.dIn[i*wide+w*c.Embed:]
			add(embed[int(tok)*c.Embed:(int(tok)+1)*c.Embed], from)
		}
	}
}

// update applies and clears the gradients of the part of p that belongs to goroutine s.
func (p *param) update(s int, lr float32) {
	lo, hi := len(p.w)*s/shards, len(p.w)*(s+1)/shards
	w, sq, g0, g1 := p.w[lo:hi], p.sq[lo:hi], p.g[0][lo:hi], p.g[1][lo:hi]
	for i, g := range g0 {
		g += g1[i]
		if g == 0 {
			continue
		}
		g0[i], g1[i] = 0, 0
		sq[i] += g * g
		w[i] -= lr * g / (sqrt(sq[i]) + 1e-8)
	}
}

// updateGrams applies the gradients of the hashed rows whose number belongs to goroutine s, example by example.
func (t *trainer) updateGrams(s int, lr float32) {
	c := t.c
	for _, p := range t.parts {
		for i := range p.m {
			g := p.dHid[i*c.Hidden : (i+1)*c.Hidden]
			mean := dot(g, g) / float32(c.Hidden)
			for o := range c.Orders {
				row := p.rows[i*c.Orders+o]
				if p.drop[i*c.Orders+o] || row%shards != s {
					continue
				}
				t.gramSq[o][row] += mean
				by := lr / (sqrt(t.gramSq[o][row]) + 1e-8)
				w := t.net.grams[o][row*c.Hidden : (row+1)*c.Hidden]
				for k, v := range g {
					w[k] -= by * v
				}
			}
		}
	}
}

func sqrt(x float32) float32 { return float32(math.Sqrt(float64(x))) }

// perplexity returns exp of the mean loss over every position of tokens.
func (m *Model) perplexity(tokens []int32) float64 {
	b := newBatch(m.config, 64)
	reach, total := m.config.reach(), 0.0
	for at := 0; at < len(tokens); at += b.m {
		b.m = min(64, len(tokens)-at)
		for i := range b.m {
			preceding(b.ctx[i*reach:(i+1)*reach], tokens, at+i)
			b.targets[i] = tokens[at+i]
		}
		m.forward(b)
		total += b.softmax()
	}
	return math.Exp(total / float64(len(tokens)))
}
