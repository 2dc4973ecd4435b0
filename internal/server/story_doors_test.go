package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"sallyport"
	"sallyport/client"
)

// An ask is one action as a door offers it.
type ask struct {
	action sallyport.Action
	how    request
}

// asks are the ways in which doors offer actions on a model. Those of one action
// must all be answered alike.
func asks(model string) []ask {
	aux := tokenizer
	return []ask{
		{sallyport.ModelInfer, chat(model, false, 1)},
		{sallyport.ModelPull, request{door: client.Hub, path: hubFile(model, weights)}},
		{sallyport.ModelPull, request{door: client.Vault, path: vaultFile(model, weights)}},
		{sallyport.ModelPullAux, request{door: client.Hub, path: hubFile(model, aux)}},
		{sallyport.ModelPullAux, request{door: client.Vault, path: vaultFile(model, aux)}},
		{sallyport.ModelRead, request{door: client.Hub, path: "/hf/api/models/" + model}},
		{sallyport.ModelRead, request{door: client.Hub, path: hubFile(model, card)}},
		{sallyport.ModelRead, request{door: client.Vault, path: "/vault/v1/" + model + "/versions/main"}},
		{sallyport.ModelRead, request{door: client.OpenAI, path: "/openai/v1/models/" + model}},
	}
}

// I-14: what 'can' says is what every door answers, for the same reasons.
func TestI14CanIsWhatTheDoorsAnswer(t *testing.T) {
	r := tell(t)
	type answer struct {
		what, decision, outcome string
		reasons                 []string
		hidden                  bool // the door's answer was that there is no such thing
	}
	var answers []answer
	allows := 0
	for _, name := range []string{"ana", "ana.admin", "eva", "oto", "tess", "nora", "rita", "alba", "adam"} {
		for _, model := range []string{fraud, base, keel, ghost} {
			said := map[sallyport.Action]answer{}
			for _, q := range asks(model) {
				if _, ok := said[q.action]; !ok {
					c, err := r.As(name).who.client.Can(t.Context(), client.Can{Action: q.action, Resource: model})
					if err != nil {
						t.Fatal(err)
					}
					a := answer{outcome: c.Outcome}
					for _, reason := range c.Reasons {
						a.reasons = append(a.reasons, reason.ID)
					}
					said[q.action] = a
				}
				r.As(name).Send(q.how)
				a := said[q.action]
				a.what, a.decision = fmt.Sprintf("%s: %s (%s)", name, r.last.what, q.action), r.last.decision
				if (a.outcome == allowed) != (r.last.status == http.StatusOK) {
					t.Errorf("%s: %d, and can says %s because of %q: %.200s", a.what, r.last.status, a.outcome, a.reasons, r.last.body)
				}
				if r.last.status == http.StatusOK {
					allows++
				}
				a.hidden = r.last.status == http.StatusNotFound
				answers = append(answers, a)
			}
		}
	}
	logged := map[string]sallyport.Logged{}
	for _, l := range r.leaves() {
		if l.Type == sallyport.EventDecided {
			logged[l.Decision] = l
		}
	}
	for _, a := range answers {
		l, ok := logged[a.decision]
		same := slices.Equal(l.Reasons, a.reasons) || a.hidden && slices.Equal(a.reasons, []string{"resource.unknown"}) // both withhold it
		if !ok || l.Outcome != a.outcome || !same {
			t.Errorf("%s: decision %q is %s because of %q, can says %s because of %q", a.what, a.decision, l.Outcome, l.Reasons, a.outcome, a.reasons)
		}
	}
	t.Logf("%d answers of doors, %d of them permitted", len(answers), allows)
	if allows == 0 || allows == len(answers) {
		t.Error("this shows nothing: all answers are the same")
	}
}

// The matrix says what single questions say.
func TestMatrixEqualsSingleQuestions(t *testing.T) {
	r := tell(t)
	rita := r.As("rita").who.client
	m, err := rita.Matrix(t.Context(), sallyport.MultiFactor, "acme/risk")
	if err != nil {
		t.Fatal(err)
	}
	asked, n := map[string]int{}, 0
	for _, row := range m.Rows {
		for i, cell := range row.Cells {
			n++
			if cell == "-" || n%7 != 0 { // every seventh: all would take long
				continue
			}
			c, err := rita.Can(t.Context(), client.Can{As: string(row.Who), Action: m.Actions[i], Resource: row.Resource, Assurance: sallyport.MultiFactor})
			if err != nil {
				t.Fatal(err)
			}
			want := []string{cell}
			if cell == "request" || cell == "step-up" {
				want = []string{denied, stepUp}
			}
			if !slices.Contains(want, c.Outcome) {
				t.Errorf("%s, %s, %s: the matrix says %s, the question %s", row.Who, m.Actions[i], row.Resource, cell, c.Outcome)
			}
			asked[cell]++
		}
	}
	t.Logf("%d of %d cells asked: %v", asked["allow"]+asked["deny"]+asked["request"]+asked["step-up"], n, asked)
	if asked["allow"] == 0 || asked["deny"] == 0 || asked["request"] == 0 {
		t.Error("some kind of cell was never asked")
	}
	_, err = r.As("ana").who.client.Matrix(t.Context(), 0, "")
	r.heard("matrix", err)
	r.Want(denied)
	_, err = r.As("ana").who.client.Can(t.Context(), client.Can{As: "user:eva", Action: sallyport.ModelPull, Resource: fraud})
	r.heard("can as somebody else", err)
	r.WantStatus(404)
}
