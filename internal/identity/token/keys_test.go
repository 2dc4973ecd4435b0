package token_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/keys"
)

func (w *world) published() int {
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(w.keys.Current().Document(), &set); err != nil {
		w.t.Fatal(err)
	}
	for _, k := range set.Keys {
		if k["kty"] != "EC" || k["crv"] != "P-256" || k["alg"] != "ES256" || k["use"] != "sig" || k["d"] != "" || k["kid"] == "" {
			w.t.Errorf("published key %v", k)
		}
	}
	return len(set.Keys)
}

func (w *world) signedBy(i token.Issued) string {
	head, _, _ := strings.Cut(i.Access.Reveal(), ".")
	var h struct{ Kid string }
	if err := json.Unmarshal(decode(w.t, head), &h); err != nil {
		w.t.Fatal(err)
	}
	return h.Kid
}

// TestRotation follows a key through its life: published, signing, kept for its last tokens, gone. No token fails.
func TestRotation(t *testing.T) {
	w := newWorld(t)
	old := w.kid()
	if err := w.keys.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := w.kid()
	if w.published() != 2 || next == old {
		t.Fatalf("%d keys published, want 2", w.published())
	}
	if got := w.signedBy(w.login()); got != old {
		t.Errorf("the new key signs before verifiers can know it")
	}
	if err := w.keys.Rotate(t.Context()); err != nil || w.published() != 2 {
		t.Errorf("Rotate while one is waiting: %d keys, %v, want still 2", w.published(), err)
	}
	w.wait(time.Hour - time.Second)
	last := w.login()
	w.wait(time.Second)
	first := w.login()
	if w.signedBy(last) != old || w.signedBy(first) != next {
		t.Error("the keys do not change places at the time published")
	}
	w.wait(token.AccessLifetime - time.Second)
	if err := w.keys.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.verify(last.Access, api) != "" || w.verify(first.Access, api) != "" {
		t.Error("a good token fails during the rotation")
	}
	w.wait(time.Minute)
	if err := w.keys.Tend(t.Context()); err != nil || w.published() != 1 || w.kid() != next {
		t.Errorf("after the last token: %d keys, %v, want the new one alone", w.published(), err)
	}
	w.wait(30 * 24 * time.Hour)
	if err := w.keys.Tend(t.Context()); err != nil || w.published() != 2 {
		t.Errorf("after a period: %d keys, %v, want a next one", w.published(), err)
	}
}

// TestReplace has everything that a lost key signed die at once, remembered or not.
func TestReplace(t *testing.T) {
	w := newWorld(t)
	issued := w.login()
	if w.verify(issued.Access, api) != "" {
		t.Fatal("a good token is refused")
	}
	if err := w.keys.Rotate(t.Context()); err != nil { // one is waiting: it goes too
		t.Fatal(err)
	}
	if err := w.keys.Replace(t.Context()); err != nil || w.published() != 1 {
		t.Fatalf("Replace: %d keys, %v", w.published(), err)
	}
	if got := w.verify(issued.Access, api); got != "token.key" {
		t.Errorf("a token of the lost key: reason %q", got)
	}
	if got := w.verify(w.login().Access, api); got != "" {
		t.Errorf("a token of the new key: reason %q", got)
	}
}

// TestNodesShareKeys has two nodes start and rotate side by side.
func TestNodesShareKeys(t *testing.T) {
	w := newWorld(t)
	other, err := keys.Open(t.Context(), w.keysConfig())
	if err != nil {
		t.Fatal(err)
	}
	if string(other.Current().Document()) != string(w.keys.Current().Document()) {
		t.Error("two nodes publish different keys")
	}
	before := other.Current()
	if err := other.Reload(t.Context()); err != nil || other.Current() != before {
		t.Errorf("Reload without a change: another set, %v", err)
	}
	errs := make(chan error, 2)
	for _, k := range []*keys.Keys{w.keys, other} {
		go func() { errs <- k.Rotate(t.Context()) }()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, k := range []*keys.Keys{w.keys, other} {
		if err := k.Reload(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if string(other.Current().Document()) != string(w.keys.Current().Document()) || w.published() != 2 {
		t.Errorf("after two rotations at once: %d keys, want the same 2 on both", w.published())
	}
}

// TestKeysFromOutside puts into the store what an attacker with write access could: nothing of it is trusted.
func TestKeysFromOutside(t *testing.T) {
	w, evil := newWorld(t), newWorld(t)
	rows, err := evil.store.SigningKeys(t.Context())
	if err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	}
	own, err := w.store.SigningKeys(t.Context())
	if err != nil || len(own) != 1 {
		t.Fatal(own, err)
	}
	renamed := rows[0]
	renamed.Generation, renamed.ID = 2, "another"
	moved := own[0] // an old key put in front again, under a new number
	moved.Generation, moved.ID = 2, own[0].ID+"2"
	for name, row := range map[string]keys.Row{"renamed": renamed, "moved": moved, "in the clear": {Generation: 2, ID: "x", From: w.now(), Sealed: []byte("PKCS #8")}} {
		if err := w.store.AddSigningKey(t.Context(), row); err != nil {
			t.Fatal(err)
		}
		if err := w.keys.Reload(t.Context()); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("%s: Reload = %v, want unavailable", name, err)
		}
		if _, err := keys.Open(t.Context(), w.keysConfig()); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("%s: OpenKeys = %v, want unavailable", name, err)
		}
		if w.published() != 1 {
			t.Errorf("%s: the key is published", name)
		}
		w = newWorld(t)
	}
}

func TestKeysNeedTheirSeal(t *testing.T) {
	w := newWorld(t)
	cfg := w.keysConfig()
	cfg.Seal = func(context.Context, []byte, []byte) ([]byte, error) { return nil, errors.New("no key-encryption key") }
	keys, err := keys.Open(t.Context(), cfg)
	if err != nil { // there is one already: nothing to seal
		t.Fatal(err)
	}
	for name, change := range map[string]func(context.Context) error{"Rotate": keys.Rotate, "Replace": keys.Replace} {
		if err := change(t.Context()); sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("%s = %v, want unavailable", name, err)
		}
	}
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.keys.Tend(t.Context()); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("Tend without a store = %v, want unavailable", err)
	}
	if fmt.Sprint(w.keys.Current() == nil) != "false" {
		t.Error("the keys in use are gone with the store")
	}
}
