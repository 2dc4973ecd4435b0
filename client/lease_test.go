package client_test

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"sallyport/client"
	"sallyport/internal/web/api"
)

// TestKeepJob: the grants of the job are begun before the program starts, and no other; a server that is away or silent for a
// moment is asked again; the end that the server says is told once.
func TestKeepJob(t *testing.T) {
	f := newFake(t)
	c, _ := f.signedIn(t)
	f.mux.HandleFunc("GET /api/v1/grants", f.guarded("api", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, []api.Grant{{ID: "G-1", Task: "lease:train"}, {ID: "G-2", Task: "lease:other"}, {ID: "G-3", Task: "lease:train", Ended: true}, {ID: "G-4", Task: "lease"}})
	}))
	var mu sync.Mutex
	renewed := 0
	f.mux.HandleFunc("POST /api/v1/grants/{id}/renew", f.guarded("api", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.PathValue("id") != "G-1" {
			t.Errorf("%s is renewed", r.PathValue("id"))
		}
		switch renewed++; renewed {
		case 2:
			reply(w, 503, api.Error{Status: 503, Message: "the store is away"})
		case 3:
			_, _ = io.Copy(io.Discard, r.Body) // only then is it known that the other side has enough
			<-r.Context().Done()
		case 5:
			reply(w, 409, api.Error{Status: 409, Message: "the grant has ended"})
		default:
			reply(w, 200, api.Grant{ID: "G-1", Task: "lease:train", Active: true})
		}
	}))
	ctx, over := context.WithCancel(t.Context())
	defer over()
	told := make(chan error, 8)
	if err := c.KeepJob(ctx, "train", func(_ api.Grant, err error) { told <- err }); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-told:
		if err != nil {
			t.Errorf("it begins with %v", err)
		}
	default:
		t.Error("it returns before the grant has begun")
	}
	select {
	case err := <-told:
		wantExit(t, err, client.ExitError, "renew grant: the grant has ended")
	case <-time.After(30 * time.Second):
		t.Error("the end is not told")
	}
	mu.Lock()
	defer mu.Unlock()
	if renewed != 5 || len(told) != 0 {
		t.Errorf("%d renewals, %d more tidings", renewed, len(told))
	}
}
