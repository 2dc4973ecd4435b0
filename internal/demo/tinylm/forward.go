package tinylm

import "math"

// batch is the working memory of one goroutine for up to cap examples.
type batch struct {
	c       Config
	m       int       // examples in use
	ctx     []int32   // [m, reach], nearest token first
	targets []int32   // [m]
	drop    []bool    // [m, orders]: leave this hashed row out
	dropIn  []bool    // [m, window]: leave this token out
	keep    []float32 // [m, hidden]: dropout's factors, nil for none
	rows    []int     // [m, orders]
	in      []float32 // [m, window*embed]
	hidT    []float32 // [hidden, m]
	hid     []float32 // [m, hidden]
	outT    []float32 // [embed, m]
	out     []float32 // [m, embed]
	logits  []float32 // [vocab, m]
	top     []float32 // [m]
	sum     []float64 // [m]
}

func newBatch(c Config, size int) *batch {
	return &batch{
		c: c, ctx: make([]int32, size*c.reach()), targets: make([]int32, size),
		drop: make([]bool, size*c.Orders), dropIn: make([]bool, size*c.Window), rows: make([]int, size*c.Orders),
		in:   make([]float32, size*c.Window*c.Embed),
		hidT: make([]float32, size*c.Hidden), hid: make([]float32, size*c.Hidden),
		outT: make([]float32, size*c.Embed), out: make([]float32, size*c.Embed),
		logits: make([]float32, size*c.Vocab), top: make([]float32, size), sum: make([]float64, size),
	}
}

// project runs n up to the projection: b.out.
func (n *net) forwardOut(b *batch) {
	c, m, reach := b.c, b.m, b.c.reach()
	wide := c.Window * c.Embed
	for i := range m {
		ctx := b.ctx[i*reach : (i+1)*reach]
		for p, t := range ctx[:c.Window] {
			in := b.in[i*wide+p*c.Embed : i*wide+(p+1)*c.Embed]
			if b.dropIn[i*c.Window+p] {
				clear(in)
				continue
			}
			copy(in, n.embed[int(t)*c.Embed:])
		}
	}
	mulT(b.hidT, b.in[:m*wide], n.window, m, wide, c.Hidden)
	transpose(b.hid, b.hidT, c.Hidden, m)
	for i := range m {
		h := b.hid[i*c.Hidden : (i+1)*c.Hidden]
		add(h, n.windowBias)
		for o := range c.Orders {
			if b.drop[i*c.Orders+o] {
				continue
			}
			row := rowOf(b.ctx[i*reach:], o+2, c.Rows)
			b.rows[i*c.Orders+o] = row
			add(h, n.grams[o][row*c.Hidden:(row+1)*c.Hidden])
		}
		tanhAll(h)
	}
	if b.keep != nil {
		mul(b.hid[:m*c.Hidden], b.keep)
	}
	mulT(b.outT, b.hid[:m*c.Hidden], n.project, m, c.Hidden, c.Embed)
	transpose(b.out, b.outT, c.Embed, m)
}

// forward runs n to the logits, and to the maximum of each example.
func (n *net) forward(b *batch) {
	c, m := b.c, b.m
	n.forwardOut(b)
	mulT(b.logits, b.out[:m*c.Embed], n.embed, m, c.Embed, c.Vocab)
	top, sum := b.top[:m], b.sum[:m]
	for i := range m {
		top[i], sum[i] = float32(math.Inf(-1)), 0
	}
	for v := range c.Vocab {
		bias := n.outBias[v]
		row := b.logits[v*m : (v+1)*m]
		for i := range row {
			row[i] += bias
			top[i] = max(top[i], row[i])
		}
	}
}

// softmax replaces the logits by their exponentials, less each example's maximum, sums them, and returns the sum of
// -ln p(target) in nats.
func (b *batch) softmax() float64 {
	total := 0.0
	for i, t := range b.targets[:b.m] {
		total += float64(b.top[i] - b.logits[int(t)*b.m+i])
	}
	for v := range b.c.Vocab {
		row := b.logits[v*b.m : (v+1)*b.m]
		for i, x := range row {
			e := math.Exp(float64(x - b.top[i]))
			row[i] = float32(e)
			b.sum[i] += e
		}
	}
	for _, s := range b.sum[:b.m] {
		total += math.Log(s)
	}
	return total
}
