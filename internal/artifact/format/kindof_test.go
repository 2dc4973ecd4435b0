package format

import "testing"

// TestKindOf: the name says what Admit will hold the file to, and an unknown one
// counts as weights.
func TestKindOf(t *testing.T) {
	for name, want := range map[string]Kind{
		"model.safetensors": Weights, "q/MODEL.GGUF": Weights, "tokenizer.json": Tokenizer, "a/merges.txt": Tokenizer, "config.json": Config,
		"model.safetensors.index.json": Config, "README.md": Card, "LICENSE": Card, "notes.txt": Data, "results.json": Data,
		"pytorch_model.bin": Weights, "": Weights, "tokenizer": Weights, "config.json/x": Weights, ".env": Weights,
	} {
		if got := KindOf(name); got != want {
			t.Errorf("KindOf(%q) = %s, want %s", name, got, want)
		}
	}
	info, err := admitBytes("config.json", []byte("{}"))
	if err != nil || info.Kind != KindOf("config.json") {
		t.Errorf("Admit says %s, %v", info.Kind, err)
	}
}
