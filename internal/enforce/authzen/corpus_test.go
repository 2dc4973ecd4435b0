package authzen_test

import (
	"strings"
	"testing"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/authz/decision"
	"sallyport/internal/enforce/authzen"
	"sallyport/internal/enforce/authzen/dictionary"
	"sallyport/internal/enforce/authzen/wire"
	"sallyport/internal/enforce/doortest"
)

// TestCorpusProved asks the one corpus with the subjects' own tokens: everything the guard knows of a call is there.
func TestCorpusProved(t *testing.T) {
	w := corpus(t)
	s := open(t, w.World, authzen.Point{Principal: "service:mesh", Obligations: sallyport.ObligationKinds()})
	sent := doortest.Run(t, w, carried, func(t testing.TB, c doortest.Case) doortest.Said {
		r := request(t, c)
		r.Context = map[string]any{"ip": "127.0.0.1", "subject_token": w.Issue(w.Principal(c, external+authzen.Audience))}
		return said(s.decide(r))
	})
	if sent < 180 {
		t.Errorf("%d cases sent", sent)
	}
}

// TestCorpusNamed asks what a point can say of a subject in its own word: no session, no scope.
func TestCorpusNamed(t *testing.T) {
	w := corpus(t)
	s := open(t, w.World, authzen.Point{Principal: "service:mesh", Believed: true, Assurance: sallyport.Hardware, Obligations: sallyport.ObligationKinds()})
	sent := doortest.Run(t, w, func(c doortest.Case) string {
		switch {
		case !c.Whole():
			return "a scope"
		case c.Risk > 0 || c.Hold == "session:s1":
			return "a session"
		case c.Action == sallyport.GrantRequest || c.Action == sallyport.TokenIssue:
			return "asks for a session"
		}
		return ""
	}, func(t testing.TB, c doortest.Case) doortest.Said {
		r := request(t, c)
		r.Subject.Properties = map[string]any{"acr": c.Assurance.String(), "auth_time": w.Clock.Now().Add(-c.Proved).Unix()}
		if len(c.Actors) > 0 {
			r.Subject.Properties["act"] = c.Actors
		}
		r.Context = map[string]any{"purpose": c.Purpose}
		return said(s.decide(r))
	})
	if sent < 150 {
		t.Errorf("%d cases sent", sent)
	}
}

// carried leaves out nothing.
func carried(doortest.Case) string { return "" }

// corpus is the world, with a point that may ask about everything.
func corpus(t *testing.T) *doortest.World {
	w := doortest.New(t, acme.Files)
	w.Assign("service:mesh", "enforcement-point", sallyport.Ref{Kind: sallyport.SystemKind})
	return w
}

func request(t testing.TB, c doortest.Case) wire.Request {
	e := dictionary.OwnEntity(c.Ref(t))
	r := wire.Request{Subject: &wire.Entity{Type: string(c.Who.Kind()), ID: c.Who.Name()}, Action: &wire.Action{Name: string(c.Action)}, Resource: &e}
	if c.To != "" {
		r.Action.Properties = map[string]any{"environment": string(c.To)}
	}
	return r
}

func said(d wire.Decision) doortest.Said {
	return doortest.Said{Allowed: d.Decision, StepUp: d.Context.Outcome == "step-up", Held: d.Context.Outcome == "hold"}
}

// TestWhereItGoes: a point says into which environment something is brought, with the action or, where it searches for
// actions, in the context. What it does not say, or what is no environment, is refused, and a replay says the same.
func TestWhereItGoes(t *testing.T) {
	w := corpus(t)
	s := open(t, w.World, authzen.Point{Principal: "service:mesh", Believed: true, Assurance: sallyport.Hardware, Obligations: sallyport.ObligationKinds()})
	for said, want := range map[string]string{"staging": "allow", "production": "step-up", "here": "allow", "": "deny target.missing", "-": "deny target.missing",
		strings.Repeat("p", 100_000): "deny target.missing"} {
		q := question("user:oto", "model.deploy", "version", "acme/fraud@v2", nil)
		q.Subject.Properties = map[string]any{"acr": "aal1", "auth_time": w.Clock.Now().Unix()}
		q.Action.Properties = map[string]any{"environment": said}
		s.decide(q)
		all := w.Of(sallyport.EventDecided)
		e := all[len(all)-1]
		if !strings.HasPrefix(e.Outcome+" "+strings.Join(e.Reasons, " "), want) || len(e.Asked.To) > len("development") {
			t.Errorf("into %.20q: %s %q, recorded as %.20q; want %s", said, e.Outcome, e.Reasons, e.Asked.To, want)
		}
		f, err := decision.QuestionOf(e)
		if err != nil || f.Recorded().To != e.Asked.To {
			t.Errorf("into %.20q: read again as %q, %v", said, f.To, err)
		}
	}
}
