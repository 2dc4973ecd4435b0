package server_test

import (
	"bytes"
	"net/http"
	"testing"
)

// Use is not possession, over every door: the same person and the same model.
func TestUseIsNotPossession(t *testing.T) {
	r := tell(t)
	r.As("ana").Infer(fraud)
	r.Want(allowed, "developer.work").WantStatus(200)
	r.As("ana").Pull(fraud)
	r.Want(denied, "weights.restricted-need-a-grant").WantStatus(403)
	r.As("ana").PullVault(fraud)
	r.Want(denied, "weights.restricted-need-a-grant").WantStatus(403)
	r.As("ana").Read(fraud, tokenizer)
	r.Want(allowed, "developer.work").WantStatus(200)
	r.As("ana").ReadVault(fraud, tokenizer)
	r.Want(allowed, "developer.work").WantStatus(200)
	if want := modelFiles(fraud, 1)[tokenizer]; !bytes.Equal(r.last.body, want) {
		t.Errorf("the tokenizer is %q, want %q", r.last.body, want)
	}
	r.As("ana").Read(fraud, card)
	r.Want(allowed, "reader.know")
	r.As("ana").Send(request{door: "hf", path: hubFile(fraud, weights), header: map[string]string{"Range": "bytes=0-0"}})
	r.Want(denied, "weights.restricted-need-a-grant").WantStatus(403) // one byte is possession too
	r.As("ana").Send(request{door: "hf", path: hubFile(fraud, weights), method: http.MethodHead})
	r.Want(allowed, "reader.know")

	r.As("ana").Pull(base)
	r.Want(allowed, "developer.weights")
	if want := modelFiles(base, 256<<10)[weights]; !bytes.Equal(r.last.body, want) {
		t.Errorf("%d bytes of weights came, not the %d that were pushed", len(r.last.body), len(want))
	}
}

// Somebody who may not know of a model gets the same answer for it as for one that
// is not there.
func TestExistenceIsWithheld(t *testing.T) {
	r := tell(t)
	for _, model := range []string{keel, ghost} {
		r.As("ana").Infer(model)
		r.Want(denied).WantStatus(404)
		r.As("ana").Pull(model)
		r.Want(denied).WantStatus(404)
		r.As("ana").PullVault(model)
		r.Want(denied).WantStatus(404)
	}
}
