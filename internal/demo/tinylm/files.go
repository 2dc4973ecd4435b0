package tinylm

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"sallyport/internal/demo/tinylm/bpe"
	"sallyport/internal/demo/tinylm/safetensors"
)

// The files of a model, as the Hugging Face Hub names them.
const (
	weightsFile   = "model.safetensors"
	tokenizerFile = "tokenizer.json"
	tokConfigFile = "tokenizer_config.json"
	configFile    = "config.json"
	cardFile      = "README.md"
	maxSmallFile  = 16 << 20 // bytes of each of the others
	modelType     = "sallyport-tinylm"
)

// ChatTemplate is how messages become a prompt: one after the other, a line each. The model is not trained to chat; it
// continues.
const ChatTemplate = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"

type configJSON struct {
	ModelType     string   `json:"model_type"`
	Architectures []string `json:"architectures"`
	DType         string   `json:"torch_dtype"`
	Vocab         int      `json:"vocab_size"`
	Window        int      `json:"window"`
	Embed         int      `json:"embedding_size"`
	Hidden        int      `json:"hidden_size"`
	Orders        int      `json:"ngram_orders"`
	Rows          int      `json:"ngram_rows"`
	Text          int      `json:"train_text_limit"`
	Batch         int      `json:"train_batch_size"`
	Seed          uint64   `json:"train_seed"`
	Report        Report   `json:"training"`
}

// Save writes the model into dir, which it creates when it is missing: model.safetensors, tokenizer.json,
// tokenizer_config.json, config.json and the card README.md. Files that are there are overwritten in place, not
// atomically.
func (m *Model) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("tinylm: save: %w", err)
	}
	c := m.config
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{weightsFile, func(w io.Writer) error {
			return safetensors.Write(w, m.tensors(c), map[string]string{"format": "pt", "model_type": modelType})
		}},
		{tokenizerFile, func(w io.Writer) error { return writeJSON(w, m.tok) }},
		{tokConfigFile, func(w io.Writer) error {
			return writeJSON(w, map[string]any{
				"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bpe.EndOfText, "eos_token": bpe.EndOfText,
				"add_prefix_space": false, "clean_up_tokenization_spaces": false, "chat_template": ChatTemplate,
			})
		}},
		{configFile, func(w io.Writer) error {
			return writeJSON(w, configJSON{
				modelType, []string{"TinyLM"}, "float32", c.Vocab, c.Window, c.Embed, c.Hidden, c.Orders, c.Rows,
				c.Text, c.Batch, c.Seed, m.report,
			})
		}},
		{cardFile, m.writeCard},
	} {
		if err := writeFile(filepath.Join(dir, f.name), f.write); err != nil {
			return fmt.Errorf("tinylm: save %s: %w", f.name, err)
		}
	}
	return nil
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	return errors.Join(write(w), w.Flush(), f.Close())
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func (m *Model) writeCard(w io.Writer) error {
	t, err := template.ParseFS(shipped, cardTemplateFile)
	if err != nil {
		return err
	}
	return t.Execute(w, struct {
		Config            Config
		Report            Report
		Parameters, Reach int
	}{m.config, m.report, m.Parameters(), m.config.Orders + 1})
}

// Load reads the model that Save wrote into dir. Lengths are limited and shapes are checked, but it trusts its
// directory otherwise: it is no way in for files of strangers.
func Load(dir string) (*Model, error) {
	var cj configJSON
	data, err := readSmall(dir, configFile)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &cj); err != nil || cj.ModelType != modelType {
		return nil, fmt.Errorf("tinylm: load %s: not a %s: %w", configFile, modelType, errors.Join(err, errors.New(cj.ModelType)))
	}
	c := Config{
		Vocab: cj.Vocab, Window: cj.Window, Embed: cj.Embed, Hidden: cj.Hidden, Orders: cj.Orders, Rows: cj.Rows,
		Text: cj.Text, Steps: cj.Report.Steps, Batch: cj.Batch, Seed: cj.Seed,
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if data, err = readSmall(dir, tokenizerFile); err != nil {
		return nil, err
	}
	m := &Model{config: c, report: cj.Report}
	if m.tok, err = bpe.Parse(data); err != nil {
		return nil, fmt.Errorf("tinylm: load: %w", err)
	}
	if m.tok.Size() != c.Vocab {
		return nil, fmt.Errorf("tinylm: load: %d tokens, but %s says %d", m.tok.Size(), configFile, c.Vocab)
	}
	f, err := os.Open(filepath.Join(dir, weightsFile))
	if err != nil {
		return nil, fmt.Errorf("tinylm: load: %w", err)
	}
	defer f.Close()
	weights, _, err := safetensors.Read(bufio.NewReaderSize(f, 1<<16))
	if err != nil {
		return nil, fmt.Errorf("tinylm: load: %w", err)
	}
	return m, m.adopt(c, weights)
}

func readSmall(dir, name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("tinylm: load: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSmallFile+1))
	if err == nil && len(data) > maxSmallFile {
		err = fmt.Errorf("more than %d bytes", maxSmallFile)
	}
	if err != nil {
		return nil, fmt.Errorf("tinylm: load %s: %w", strings.ToLower(name), err)
	}
	return data, nil
}
