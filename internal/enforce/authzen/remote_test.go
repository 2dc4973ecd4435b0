package authzen_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/enforce/authzen"
	"sallyport/internal/enforce/authzen/remote"
	"sallyport/internal/enforce/authzen/wire"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/plumbing/secret"
)

// asks lets a world ask a decision point at a URL about inference and weights.
func asks(w *guardtest.World, url, token string) {
	w.Guard.Opinions = remote.Points{{Name: "corp", URL: url, Actions: []sallyport.Action{sallyport.ModelInfer, sallyport.ModelPull}, Wait: time.Second,
		Token: func() (secret.Text, error) { return secret.NewText(token), nil }, Client: http.DefaultClient}}.Opinions
}

func check(t *testing.T, w *guardtest.World, name string, a sallyport.Action, on string) (guard.Answer, error) {
	t.Helper()
	ref, err := sallyport.ParseRef(on)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := w.Guard.Check(t.Context(), guard.Call{Door: "test", Action: a, Target: ref,
		Proof: guard.Proof{Audience: "here", Bearer: secret.NewText(guardtest.Token(name, sallyport.MultiFactor, "here", "*"))}})
	if answer.Permit != nil {
		if err := answer.Permit.Done(sallyport.Delivered{}); err != nil {
			t.Fatal(err)
		}
	}
	return answer, err
}

// TestRemoteNarrows asks another Sallyport's door over HTTP: what it refuses is refused, what it permits is permitted
// only where it is permitted here, and the decision is made again from the log, without the network.
func TestRemoteNarrows(t *testing.T) {
	there := small(t, authzen.Point{Believed: true, Assurance: sallyport.Hardware})
	here := guardtest.New(t)
	asks(here, there.url+wire.EvaluationPath, there.token)
	for _, c := range []struct {
		who    string
		action sallyport.Action
		on     string
		want   sallyport.Outcome
		reason string
	}{
		{"ana", sallyport.ModelInfer, "acme/open", sallyport.Allow, "user.use"},
		{"rob", sallyport.ModelPull, "acme/open", sallyport.Allow, "reader.weights"},
		{"ana", sallyport.ModelInfer, "acme/secret", sallyport.Deny, "opinion:corp"}, // the point may not ask about it there
		{"ana", sallyport.ModelPull, "acme/open", sallyport.Deny, "default.deny"},    // refused here: never asked
		{"ana", sallyport.ModelRead, "acme/secret", sallyport.Allow, "user.use"},     // it has no say
	} {
		a, err := check(t, here, c.who, c.action, c.on)
		if err != nil || a.Outcome != c.want || !slices.Contains(a.ReasonIDs(), c.reason) {
			t.Errorf("%s %s %s: %v %v %v, want %v because of %s", c.who, c.action, c.on, a.Outcome, a.ReasonIDs(), err, c.want, c.reason)
		}
	}
	there.world.Suspend("rob")
	if a, err := check(t, here, "rob", sallyport.ModelPull, "acme/open"); err != nil || a.Outcome != sallyport.Deny {
		t.Errorf("suspended there: %v, %v", a.Outcome, err)
	}
	replay(t, here)
	if asked := len(there.world.Of(sallyport.EventDecided)); asked == 0 {
		t.Error("the other side has recorded nothing")
	}
}

// replay makes every recorded decision again.
func replay(t *testing.T, w *guardtest.World) {
	t.Helper()
	engine, err := guardtest.Compile(guardtest.Policies)
	if err != nil {
		t.Fatal(err)
	}
	bases := map[string][]byte{}
	for _, e := range w.Of(sallyport.EventFacts) {
		bases[e.Facts] = e.Basis
	}
	said := 0
	for _, e := range w.Of(sallyport.EventDecided) {
		d, err := decision.Again(engine, e, func(hash string) []byte { return bases[hash] })
		if err != nil || d.Outcome.String() != e.Outcome || !slices.Equal(d.ReasonIDs(), e.Reasons) {
			t.Errorf("%s: %v because of %v (%v), recorded %s because of %v", e.Decision, d.Outcome, d.ReasonIDs(), err, e.Outcome, e.Reasons)
		}
		if e.Asked.Opinions != "" {
			said++
		}
	}
	if said < 3 {
		t.Errorf("%d opinions recorded", said)
	}
}

// TestRemoteThatCannotBeAsked: anything that is no decision is unavailable, recorded, and permits nothing.
func TestRemoteThatCannotBeAsked(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"an error":         func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) },
		"unauthorized":     func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusUnauthorized) },
		"a page":           func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"decision":true}`) },
		"no decision":      reply(`{}`),
		"a text":           reply(`{"decision":"true"}`),
		"two readings":     reply(`{"decision":false,"decision":true}`),
		"something behind": reply(`{"decision":true}{"decision":false}`),
		"nothing in time": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the client is gone
			<-r.Context().Done()
		},
	} {
		s := httptest.NewServer(answer)
		w := guardtest.New(t)
		asks(w, s.URL, "x")
		points := remote.Points{{Name: "corp", URL: s.URL, Actions: []sallyport.Action{sallyport.ModelInfer}, Wait: 200 * time.Millisecond,
			Token: func() (secret.Text, error) { return secret.NewText("x"), nil }, Client: http.DefaultClient}}
		w.Guard.Opinions = points.Opinions
		a, err := check(t, w, "ana", sallyport.ModelInfer, "acme/open")
		if sallyport.KindOf(err) != sallyport.Unavailable || a.Permit != nil || a.Outcome == sallyport.Allow {
			t.Errorf("%s: %v, %v", name, a.Outcome, err)
		}
		if e := w.Of(sallyport.EventRefused); len(e) != 1 || e[0].Reasons[0] != "opinion.unavailable" {
			t.Errorf("%s: recorded %+v", name, e)
		}
		if w.Guard.Open() != 0 {
			t.Errorf("%s: a call stays open", name)
		}
		s.Close()
	}
	s := httptest.NewServer(reply(`{"decision":true,"context":{"obligations":[{"id":"1","type":"step-up","properties":{}}]}}`))
	defer s.Close()
	w := guardtest.New(t)
	asks(w, s.URL, "x")
	if a, err := check(t, w, "ana", sallyport.ModelInfer, "acme/open"); err != nil || a.Outcome != sallyport.Deny {
		t.Errorf("an obligation that is not known: %v, %v", a.Outcome, err)
	}
	w.Guard.Opinions = func(context.Context, decision.Facts) ([]decision.Opinion, error) { return nil, errors.New("down") }
	if a, err := check(t, w, "ana", sallyport.ModelPull, "acme/open"); err != nil || a.Outcome != sallyport.Deny {
		t.Errorf("what is refused here needs nobody: %v, %v", a.Outcome, err)
	}
}

func reply(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, body)
	}
}
