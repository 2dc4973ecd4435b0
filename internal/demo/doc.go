// Package demo answers one question: what does the guarded path look like on real bytes?
//
// Its rooms are no part of the product; only the demo command and the end-to-end tests use them:
//
//   - tinylm: a real model, small enough to train while you watch
//   - tinylm/bpe: its byte-level BPE tokenizer, as tokenizer.json
//   - tinylm/safetensors: its weights file
//   - tinylm/serve: a small OpenAI-compatible server around it, with the dangerous routes that real engines have
//
// The house holds no code itself.
package demo
