package server_test

import (
	"net/http"
	"testing"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

// TestARetiredVersionIsGoneForGood: an operator retires one version, named as such
// and with a reason; its bytes are unreadable afterwards, and the log says why.
func TestARetiredVersionIsGoneForGood(t *testing.T) {
	const model = "acme/withdrawn"
	r := tell(t)
	if _, err := r.As("adam").who.client.Add(t.Context(), api.Thing{Resource: model, Project: "acme/risk", Class: sallyport.Internal}); err != nil {
		t.Fatal(err)
	}
	if err := r.push(t.Context(), r.As("ana").who, model, 1<<10); err != nil {
		t.Fatal(err)
	}
	hub := request{door: client.Hub, path: hubFile(model, weights)}
	if r.As("ana").Send(hub); r.last.status != http.StatusOK {
		t.Fatalf("before: %d", r.last.status)
	}
	oto := r.As("oto").who.client
	if err := oto.Retire(t.Context(), model, "a version must be named"); err == nil {
		t.Error("a bare name was retired")
	}
	if err := oto.Retire(t.Context(), model+"@v1", ""); err == nil {
		t.Error("retired without a reason")
	}
	if err := r.As("ana").who.client.Retire(t.Context(), model+"@v1", "not mine to do"); err == nil {
		t.Error("a developer retired a version")
	}
	if err := oto.Retire(t.Context(), model+"@v1", "its data was withdrawn"); err != nil {
		t.Fatal(err)
	}
	if r.As("ana").Send(hub); r.last.status == http.StatusOK {
		t.Error("the bytes of a retired version were served")
	}
	found, err := r.As("alba").who.client.Search(t.Context(), client.Search{Types: []string{string(sallyport.EventChanged)}, On: model + "@v1"})
	if err != nil || len(found) == 0 {
		t.Errorf("the log tells of %d retirements, %v", len(found), err)
	}
}
