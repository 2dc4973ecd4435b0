package authzen_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/enforce/authzen"
	"sallyport/internal/enforce/authzen/wire"
	"sallyport/internal/enforce/guard/guardtest"
)

const asking = guardtest.Policies + pointPolicy

// small is the world of guardtest with a point that may ask about acme/open and nothing else.
func small(t *testing.T, point authzen.Point) *site {
	w := guardtest.New(t)
	w.Rules(strings.Replace(asking, `@id("everybody.system")`, `@id("everybody.system2")`, 1))
	join(w)
	w.Assign("service:pep", "enforcement-point", sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "open"})
	point.Principal = "service:pep"
	return open(t, w, point)
}

// TestWhoMayAsk: nobody who is not a registered point gets an answer, and each refusal is recorded.
func TestWhoMayAsk(t *testing.T) {
	s := small(t, authzen.Point{Believed: true, Bound: true})
	body := question("user:rob", "model.pull", "version", "acme/open@v1", nil)
	for _, c := range []struct {
		name, token, reason string
		status              int
	}{
		{"no token", "", "", http.StatusUnauthorized},
		{"a token that proves nobody", "x", "", http.StatusUnauthorized},
		{"a token of another door", guardtest.Token("ana", sallyport.MultiFactor, "https://pdp.test/api", "*"), "token.audience", http.StatusUnauthorized},
		{"a person", issue(s.world, "user:rob", ""), "point.unregistered", http.StatusForbidden},
		{"without its key", issue(s.world, "service:pep", ""), "point.unbound", http.StatusForbidden},
	} {
		before := len(s.world.Of(sallyport.EventRefused))
		s.token = c.token
		if status, out := s.post(wire.EvaluationPath, body); status != c.status {
			t.Errorf("%s: status %d, %s", c.name, status, out)
		}
		after := s.world.Of(sallyport.EventRefused)
		if len(after) != before+1 || c.reason != "" && !slices.Contains(after[before].Reasons, c.reason) {
			t.Errorf("%s: recorded %+v", c.name, after[before:])
		}
	}
	s.token = issue(s.world, "service:pep", "jkt:abc")
	if d := s.decide(body); !d.Decision {
		t.Errorf("with its key: %+v", d.Context)
	}
}

// TestWhatAPointMayAskAbout: what it is not registered for looks like what is not there.
func TestWhatAPointMayAskAbout(t *testing.T) {
	s := small(t, authzen.Point{Believed: true})
	s.world.Assign("user:rob", "reader", sallyport.Ref{Kind: sallyport.SystemKind})
	other, none := s.decide(question("user:rob", "model.pull", "version", "acme/secret@v1", nil)), s.decide(question("user:rob", "model.pull", "version", "acme/none@v1", nil))
	if other.Decision || none.Decision || other.Context.Error.Message != none.Context.Error.Message || other.Context.Reason != nil {
		t.Errorf("%+v and %+v", other.Context, none.Context)
	}
	var list wire.Results[wire.Entity]
	s.ask(wire.ResourcesPath, wire.Search{Request: wire.Request{Subject: &wire.Entity{Type: "user", ID: "rob"}, Action: &wire.Action{Name: "model.read"}, Resource: &wire.Entity{Type: "model"}}}, &list)
	if len(list.Results) != 1 || list.Results[0].ID != "acme/open" {
		t.Errorf("found %+v", list.Results)
	}
	if e := s.world.Of(sallyport.EventSearched); len(e) != 1 || e[0].Who != "service:pep" || e[0].Detail["subject"] != "user:rob" || e[0].Detail["results"] != "1" {
		t.Errorf("recorded %+v", e)
	}
}

// TestSubjectProof: a point that is not believed sends the subject's own token, and nobody else's.
func TestSubjectProof(t *testing.T) {
	s := small(t, authzen.Point{})
	token := func(name, audience string) map[string]any {
		return map[string]any{"subject_token": guardtest.Token(name, sallyport.SingleFactor, audience, "*")}
	}
	own := external + authzen.Audience
	for _, c := range []struct {
		name   string
		with   map[string]any
		want   bool
		reason string
	}{
		{"no proof", nil, false, "subject.unproved"},
		{"their own token", token("rob", own), true, ""},
		{"somebody else's", token("ana", own), false, "subject.mismatch"},
		{"a token for another door", token("rob", external+"/hf"), false, "subject.token"},
		{"no token at all", map[string]any{"subject_token": "x"}, false, "subject.token"},
	} {
		d := s.decide(question("user:rob", "model.pull", "version", "acme/open@v1", c.with))
		if d.Decision != c.want {
			t.Errorf("%s: %+v", c.name, d)
		}
		refused := s.world.Of(sallyport.EventRefused)
		if c.reason != "" && (len(refused) == 0 || !slices.Contains(refused[len(refused)-1].Reasons, c.reason)) {
			t.Errorf("%s: recorded %+v", c.name, refused)
		}
	}
	if status, _ := s.post(wire.SubjectsPath, `{"subject":{"type":"user"},"action":{"name":"model.read"},"resource":{"type":"model","id":"acme/open"}}`); status != http.StatusForbidden {
		t.Errorf("a search by a point that is not believed: status %d", status)
	}
}

// TestABelievedWordIsWorthWhatIsRegistered: no more assurance than that, and no actor or level that cannot be read.
func TestABelievedWordIsWorthWhatIsRegistered(t *testing.T) {
	for _, c := range []struct {
		worth sallyport.Assurance
		acr   string
		want  string
	}{{sallyport.NoAssurance, "aal3", "step-up"}, {sallyport.SingleFactor, "aal3", "step-up"}, {sallyport.MultiFactor, "aal3", ""}, {sallyport.Hardware, "aal1", "step-up"}, {sallyport.Hardware, "", "step-up"}} {
		s := small(t, authzen.Point{Believed: true, Assurance: c.worth})
		s.world.Assign("service:pep", "enforcement-point", sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "acme"})
		q := question("user:ana", "model.infer", "model", "acme/secret", nil)
		q.Subject.Properties = map[string]any{"acr": c.acr}
		d := s.decide(q)
		if d.Decision != (c.want == "") || d.Context.Outcome != c.want || c.want == "step-up" && d.Context.ACR != "aal2" {
			t.Errorf("worth %v, said %q: %+v", c.worth, c.acr, d.Context)
		}
	}
	s := small(t, authzen.Point{Believed: true, Assurance: sallyport.Hardware})
	for _, bad := range []map[string]any{{"acr": "urn:best"}, {"act": "agent:x"}, {"act": []any{"x y"}}, {"act": []any{1}}, {"act": []any{"helper"}}} {
		q := question("user:rob", "model.pull", "version", "acme/open@v1", nil)
		q.Subject.Properties = bad
		if d := s.decide(q); d.Decision {
			t.Errorf("%v: permitted", bad)
		}
	}
}

// TestObligations: a point that is not registered with what a permission obliges to is denied it (protocols, 7.6).
func TestObligations(t *testing.T) {
	q := question("user:lim", "model.pull", "version", "acme/open@v1", nil)
	if d := small(t, authzen.Point{Believed: true}).decide(q); d.Decision || len(d.Context.Obligations) > 0 {
		t.Errorf("a point that carries out nothing: %+v", d.Context)
	}
	s := small(t, authzen.Point{Believed: true, Obligations: []sallyport.ObligationKind{sallyport.LimitBytes}})
	d := s.decide(q)
	if !d.Decision || len(d.Context.Obligations) != 1 || d.Context.Obligations[0].Type != "custom" || d.Context.Obligations[0].Properties["sallyport"] != "limit-bytes=1048576" {
		t.Errorf("a point that limits bytes: %+v", d.Context)
	}
	for said, want := range map[string]bool{"custom": true, "step-up": false} {
		q.Context = map[string]any{"supported_obligations": []string{said}}
		if d := s.decide(q); d.Decision != want {
			t.Errorf("that supports %s now: %+v", said, d.Context)
		}
	}
}

// TestRecorded: an answer is in the log under the subject, with the point and the decision that let it ask; without the
// log there is none.
func TestRecorded(t *testing.T) {
	s := small(t, authzen.Point{Believed: true})
	d := s.decide(question("user:rob", "model.pull", "version", "acme/open@v1", nil))
	decided := s.world.Of(sallyport.EventDecided)
	if len(decided) != 2 {
		t.Fatalf("%d decisions recorded", len(decided))
	}
	point, subject := decided[0], decided[1]
	if point.Who != "service:pep" || point.Action != sallyport.DecisionAsk || subject.Who != "user:rob" || subject.Decision != d.Context.ID ||
		subject.Detail["by"] != "service:pep" || subject.Detail["asked"] != point.Decision || subject.Asked.Door != "authzen" {
		t.Errorf("%+v\n%+v", point, subject)
	}
	if s.world.Guard.Open() != 0 {
		t.Error("a call stays open")
	}
	s.world.Suspend("rob")
	if d := s.decide(question("user:rob", "model.pull", "version", "acme/open@v1", nil)); d.Decision {
		t.Error("somebody suspended is permitted")
	}
	s.world.BreakLog()
	if status, _ := s.post(wire.EvaluationPath, question("user:ana", "model.infer", "model", "acme/open", nil)); status != http.StatusServiceUnavailable {
		t.Errorf("without the log: status %d", status)
	}
}

// TestUnmapped: what is no endpoint is recorded.
func TestUnmapped(t *testing.T) {
	s := small(t, authzen.Point{Believed: true})
	if status, _ := s.post("/access/v1/other", "{}"); status != http.StatusNotFound || len(s.world.Of(sallyport.EventUnmapped)) != 1 {
		t.Errorf("status %d, %d recorded", status, len(s.world.Of(sallyport.EventUnmapped)))
	}
}
