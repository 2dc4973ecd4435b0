// Package demo owns the story: the whole system acting out what it is for, on real bytes, through its own doors, as different
// people with their own browsers and tokens.
//
// A small language model is trained and served, a server is started over it with TLS, people are enrolled through its
// pages, and every step goes over HTTP as they would do it. A step says beforehand what must happen; what it prints is
// what the server's log says happened. The story is the list in story.go.
//
// The package leaves wiring to server, calls to client where a client is what a person would use, checking the log to
// verify, and the model to its rooms. None of them is part of the product; only the demo and the end-to-end tests use them:
//
//   - tinylm: a real model, small enough to train while you watch
//   - tinylm/bpe: its byte-level BPE tokenizer, as tokenizer.json
//   - tinylm/safetensors: its weights file
//   - tinylm/serve: a small OpenAI-compatible server around it, with the dangerous routes that real engines have
package demo
