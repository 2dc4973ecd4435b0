package tinylm

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// small trains the model of the tests once.
var small = sync.OnceValues(func() (*Model, error) { return Train(context.Background(), Small(), nil) })

func model(t *testing.T) *Model {
	t.Helper()
	m, err := small()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func generate(t *testing.T, m *Model, prompt string, o Options) (string, Usage) {
	t.Helper()
	var b strings.Builder
	u, err := m.Generate(context.Background(), prompt, o, func(s string) error { b.WriteString(s); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), u
}

func TestTrainingBeatsFrequenciesOnHeldOutText(t *testing.T) {
	r := model(t).Report()
	t.Logf("%+v", r)
	if r.HeldOutTokens < 300 || r.TrainTokens < 5*r.HeldOutTokens {
		t.Errorf("odd split: %+v", r)
	}
	if r.Unigram >= r.Before/2 {
		t.Errorf("unigram perplexity %.0f is no bar, before training it was %.0f", r.Unigram, r.Before)
	}
	if r.After > 0.8*r.Unigram {
		t.Errorf("held-out perplexity is %.1f after training: want below 0.8 of %.1f", r.After, r.Unigram)
	}
	if r.TrainAfter >= r.After {
		t.Errorf("training text (%.1f) is no easier than new text (%.1f): was it held out?", r.TrainAfter, r.After)
	}
}

func TestTrainReportsAFallingLoss(t *testing.T) {
	c := Small()
	c.Vocab, c.Steps = 300, 60
	var losses []float64
	_, err := Train(context.Background(), c, func(step, steps int, loss float64) {
		if steps != 60 || step > steps {
			t.Errorf("step %d of %d", step, steps)
		}
		losses = append(losses, loss)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(losses) != 6 || losses[5] > losses[0]-0.5 {
		t.Errorf("losses %v", losses)
	}
}

func TestTrainIsDeterministic(t *testing.T) {
	c := Small()
	c.Vocab, c.Steps = 300, 8
	var weights [2][]float32
	for i := range weights {
		m, err := Train(context.Background(), c, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range m.tensors(m.config) {
			weights[i] = append(weights[i], w.Data...)
		}
	}
	if !slices.Equal(weights[0], weights[1]) {
		t.Error("the same seed gave two models")
	}
}

func TestTrainStopsWhenTold(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Train(ctx, Small(), func(step, _ int, _ float64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The gradients of backward against differences of the loss, for the heaviest weights of each matrix.
func TestGradients(t *testing.T) {
	c := Small()
	c.Vocab, c.Batch = 300, 16
	m := newNet(c)
	tokens := make([]int32, 200)
	for i := range tokens {
		tokens[i] = int32(i*i%40 + 1)
	}
	tr := newTrainer(c, &m, tokens)
	p := tr.parts[0]
	tr.fill(p)
	loss := func() float64 {
		m.forward(p.batch)
		return p.softmax() / float64(c.Batch)
	}
	loss()
	tr.backward(p, 0)
	for k, name := range []string{"embed", "window", "window bias", "project", "output bias"} {
		d := tr.dense[k]
		g := slices.Clone(d.g[0])
		order := make([]int, len(g))
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int {
			if math.Abs(float64(g[a])) > math.Abs(float64(g[b])) {
				return -1
			}
			return 1
		})
		for _, i := range order[:6] {
			const e = 1e-2
			old := d.w[i]
			d.w[i] = old + e
			up := loss()
			d.w[i] = old - e
			down := loss()
			d.w[i] = old
			if want := (up - down) / (2 * e); math.Abs(want-float64(g[i])) > 0.03*math.Abs(want)+2e-5 {
				t.Errorf("%s[%d]: gradient %g, differences say %g", name, i, g[i], want)
			}
		}
	}
}

func TestKernels(t *testing.T) {
	const m, k, n = 7, 5, 3 // no multiple of the block
	seq := func(n int) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float32(i%11) - 4
		}
		return out
	}
	a, w, c := seq(m*k), seq(n*k), make([]float32, n*m)
	mulT(c, a, w, m, k, n)
	for j := range n {
		for i := range m {
			var want float32
			for x := range k {
				want += a[i*k+x] * w[j*k+x]
			}
			if c[j*m+i] != want {
				t.Errorf("c[%d,%d] is %v, want %v", j, i, c[j*m+i], want)
			}
		}
	}
}

func TestDefaultIsAsLargeAsTheStoryNeeds(t *testing.T) {
	m := &Model{config: Default()} // the shape is enough
	if size := 4 * m.Parameters(); size < 32<<20 || size > 48<<20 {
		t.Errorf("the weights have %d bytes: want 32 to 48 MiB", size)
	}
	corpus, err := shipped.ReadFile(corpusFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(corpus) < 40_000 || !utf8.Valid(corpus) {
		t.Errorf("the corpus has %d bytes", len(corpus))
	}
}

func TestConfigLimits(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"vocab": func(c *Config) { c.Vocab = 10 }, "window": func(c *Config) { c.Window = 0 },
		"rows": func(c *Config) { c.Rows = 1 << 30 }, "batch": func(c *Config) { c.Batch = 3 },
		"steps": func(c *Config) { c.Steps = 0 },
	} {
		c := Small()
		change(&c)
		if _, err := Train(t.Context(), c, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestSaveLoad(t *testing.T) {
	m, dir := model(t), t.TempDir()
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	again, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{MaxTokens: 50, Temperature: 0.8, Seed: 4}
	before, _ := generate(t, m, "The keeper", o)
	after, _ := generate(t, again, "The keeper", o)
	if before != after || again.Report() != m.Report() || again.Config() != m.Config() {
		t.Error("the loaded model is another one")
	}
	card, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil || !strings.HasPrefix(string(card), "---\nlanguage: en\n") || strings.Contains(string(card), "{{") {
		t.Errorf("card: %v\n%s", err, card)
	}
}

func TestLoadRefuses(t *testing.T) {
	m := model(t)
	for name, spoil := range map[string]func(dir string) error{
		"no weights":     func(d string) error { return os.Remove(filepath.Join(d, weightsFile)) },
		"cut weights":    func(d string) error { return os.Truncate(filepath.Join(d, weightsFile), 5000) },
		"no tokenizer":   func(d string) error { return os.Remove(filepath.Join(d, tokenizerFile)) },
		"a foreign kind": func(d string) error { return replaceIn(d, modelType, "llama") },
		"other shapes":   func(d string) error { return replaceIn(d, `"window": 3`, `"window": 4`) },
		"a huge shape":   func(d string) error { return replaceIn(d, `"ngram_rows": 1024`, `"ngram_rows": 99999999`) },
		"another vocab":  func(d string) error { return replaceIn(d, `"vocab_size": 384`, `"vocab_size": 385`) },
	} {
		dir := t.TempDir()
		if err := errors.Join(m.Save(dir), spoil(dir)); err != nil {
			t.Fatal(name, err)
		}
		if _, err := Load(dir); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
}

func replaceIn(dir, old, with string) error {
	path := filepath.Join(dir, configFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(data), old) {
		return errors.New("nothing to replace: " + old)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(data), old, with, 1)), 0o600)
}

func TestGenerate(t *testing.T) {
	m := model(t)
	o := Options{MaxTokens: 40, Temperature: 0.9, Seed: 1}
	a, u := generate(t, m, "The keeper of the gate", o)
	if b, _ := generate(t, m, "The keeper of the gate", o); a != b {
		t.Error("the same seed gave two texts")
	}
	o.Seed = 2
	if b, _ := generate(t, m, "The keeper of the gate", o); a == b {
		t.Error("two seeds gave the same text")
	}
	if u.Prompt != m.Tokens("The keeper of the gate") || u.Completion < 1 || u.Completion > 40 {
		t.Errorf("usage %+v", u)
	}
	if !strings.Contains(a, " ") || !utf8.ValidString(a) {
		t.Errorf("no text: %q", a)
	}
	cold := Options{MaxTokens: 30}
	whole, _ := generate(t, m, "The", cold)
	cold.Stop = []string{whole[3:6]}
	if cut, u := generate(t, m, "The", cold); cut != whole[:strings.Index(whole, whole[3:6])] || u.Finish != FinishStop {
		t.Errorf("stop %q in %q left %q (%s)", cold.Stop, whole, cut, u.Finish)
	}
}

func TestIgnoreEndGoesOnPastTheDocument(t *testing.T) {
	m, o := model(t), Options{MaxTokens: 2000, Temperature: 1, Seed: 1}
	if _, u := generate(t, m, "The", o); u.Finish != FinishStop {
		t.Fatalf("a document of %d tokens: no end to ignore", u.Completion)
	}
	o.IgnoreEnd = true
	if _, u := generate(t, m, "The", o); u.Finish != FinishLength || u.Completion != o.MaxTokens {
		t.Errorf("got %+v", u)
	}
}

func TestGenerateEndsEarly(t *testing.T) {
	m, broken := model(t), errors.New("pipe broken")
	n := 0
	u, err := m.Generate(t.Context(), "The", Options{MaxTokens: 50}, func(string) error {
		if n++; n == 3 {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) || u.Completion != 3 || u.Finish != "" {
		t.Errorf("got %+v, %v", u, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Generate(ctx, "The", Options{MaxTokens: 5}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for _, bad := range []Options{
		{}, {MaxTokens: MaxTokens + 1}, {MaxTokens: 1, Temperature: -1}, {MaxTokens: 1, Temperature: math.NaN()},
		{MaxTokens: 1, Stop: []string{""}}, {MaxTokens: 1, Stop: make([]string, MaxStops+1)},
	} {
		if _, err := m.Generate(t.Context(), "The", bad, nil); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func TestWriterKeepsBackWhatIsUndecided(t *testing.T) {
	for _, c := range []struct {
		name string
		stop []string
		in   []string
		want []string
	}{
		{"a character in halves", nil, []string{"a\xc3", "\xa9b"}, []string{"a", "éb"}},
		{"half a character at the end", nil, []string{"a\xe6\xbc"}, []string{"a", "\uFFFD"}},
		{"a stop in halves", []string{"END"}, []string{"aE", "ND b"}, []string{"a", ""}},
		{"no stop after all", []string{"END"}, []string{"aE", "Nx"}, []string{"a", "ENx"}},
		{"the first of two", []string{"zz", "b"}, []string{"abzz"}, []string{"a"}},
	} {
		var got []string
		w := writer{stop: c.stop, emit: func(s string) error { got = append(got, s); return nil }}
		var err error
		for _, s := range c.in {
			if err = w.write(s); err != nil {
				break
			}
		}
		if err == nil {
			err = w.flush()
		}
		if !slices.Equal(got, c.want) || err != nil && !errors.Is(err, errStopped) {
			t.Errorf("%s: got %q, %v", c.name, got, err)
		}
	}
}

func TestEmbed(t *testing.T) {
	m := model(t)
	key := m.Embed("the iron key of the gate")
	near, far := dot(key, m.Embed("the key and the gate")), dot(key, m.Embed("Potatoes, onions"))
	if len(key) != m.EmbeddingSize() || math.Abs(float64(dot(key, key))-1) > 1e-5 {
		t.Errorf("length %d, norm² %v", len(key), dot(key, key))
	}
	if near <= far {
		t.Errorf("likeness %v to the near text, %v to the far one", near, far)
	}
	if len(m.Embed("")) != m.EmbeddingSize() {
		t.Error("no embedding of nothing")
	}
}
