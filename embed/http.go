package embed

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"sallyport"
)

// Protect returns a handler that serves what is permitted and nothing else. read reduces a request to the one thing that it
// asks for, and must not read the body; a request that it does not understand is refused. serve runs with the permit, whose
// context is the request's; what it writes is counted against the permit, and stops when that is cut.
func (g *Guard) Protect(read func(*http.Request) (Call, error), serve func(http.ResponseWriter, *http.Request, *Permit)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := read(r)
		var a Answer
		if err == nil {
			a, err = g.Check(r.Context(), c)
		}
		if err != nil {
			fail(w, err)
			return
		}
		if a.Permit == nil {
			refuse(w, a)
			return
		}
		defer a.Permit.Done()
		w.Header().Set("Sallyport-Decision", a.ID)
		out := &guarded{ResponseWriter: w, permit: a.Permit}
		serve(out, r.WithContext(a.Permit.Context()), a.Permit)
		out.finish()
	})
}

// Bearer returns the access token of a request, "" where it has none or more than one.
func Bearer(r *http.Request) string {
	all := r.Header.Values("Authorization")
	if len(all) != 1 || len(all[0]) < len("Bearer ") || all[0][:len("Bearer ")] != "Bearer " {
		return ""
	}
	return all[0][len("Bearer "):]
}

// A guarded writer lets out what the permit allows.
type guarded struct {
	http.ResponseWriter
	permit  *Permit
	started bool
	broken  bool
}

// WriteHeader implements http.ResponseWriter.
func (g *guarded) WriteHeader(status int) {
	g.started = true
	g.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (g *guarded) Write(b []byte) (int, error) {
	if err := g.permit.Count(len(b)); err != nil {
		g.broken = true
		return 0, err
	}
	g.started = true
	return g.ResponseWriter.Write(b)
}

// Flush implements http.Flusher.
func (g *guarded) Flush() {
	if f, ok := g.ResponseWriter.(http.Flusher); ok && g.permit.Valid() {
		g.started = true
		f.Flush()
	}
}

// finish tells a client that an answer which was cut is not whole.
func (g *guarded) finish() {
	if g.permit.Valid() && !g.broken {
		return
	}
	if !g.started {
		refuse(g.ResponseWriter, Answer{ID: g.permit.ID(), Outcome: sallyport.Deny, Message: "Sallyport " + g.permit.ID() + ": the permission was withdrawn"})
		return
	}
	// It cannot happen in another way: net/http tells a client that its answer is not whole only when the handler panics so.
	panic(http.ErrAbortHandler)
}

// refuse answers with a decision that permits nothing.
func refuse(w http.ResponseWriter, a Answer) {
	status := http.StatusForbidden
	switch {
	case a.Hidden:
		status = http.StatusNotFound
	case a.Outcome == sallyport.StepUp: // RFC 9470
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_user_authentication", acr_values=`+strconv.Quote(a.Needs.String()))
	}
	reply(w, status, a.Message, a.ID)
}

// fail answers where nothing was decided.
func fail(w http.ResponseWriter, err error) {
	status := http.StatusServiceUnavailable
	if k := sallyport.KindOf(err); k == sallyport.Invalid || k == sallyport.NotFound {
		status = http.StatusNotFound // as for what is not there
	} else if k == sallyport.Unknown {
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	text := "internal error"
	if _, ours := errors.AsType[*sallyport.Error](err); ours {
		text = sallyport.PublicText(err)
	}
	reply(w, status, text, "")
}

func reply(w http.ResponseWriter, status int, message, decision string) {
	body, err := json.Marshal(map[string]any{"status": status, "message": message, "decision": decision})
	if err != nil {
		body = []byte(`{}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone: nothing is left to tell
}
