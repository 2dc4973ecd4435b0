package server_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/authz/explain"
	"sallyport/internal/web/api"
)

// more is what a story adds to the rules: a purpose that a call must say, and a rule that only auditors know.
const more = `
@id("scoring.only") @owner("ml-platform") @requirement("GV-9") @text("The fraud model is called to score.")
forbid (principal is User, action == Action::"model.infer", resource in Model::"acme/fraud") unless { context.purpose == "scoring" };
@id("hushed.trap") @owner("security") @requirement("RE-1") @text("hushed: whoever does this is watched") @audience("auditor")
forbid (principal == User::"ana", action == Action::"model.embed", resource in Model::"acme/fraud") unless { context.network == "hushed-room" };`

// AZ-13, UX-1, UX-4: a denial says what would permit, in the words that each client shows; what it says works; and what
// is for auditors is in nothing that the person sees.
func TestAZ13ADenialOpensTheRightDoor(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	old, err := r.As("adam").who.client.Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := api.Proposal{Schema: old.Schema, Policies: maps.Clone(old.Policies), Why: "the fraud model is for scoring"}
	next.Policies["more.cedar"] = more
	r.InForce(next)

	r = r.As("ana")
	r.Infer(fraud)
	r.Want(denied, "scoring.only")
	wantSaid(t, r, "The fraud model is called to score", "sallyport token --for model.infer@acme/fraud@v1 --purpose scoring")
	token, _, err := r.who.client.TokenFor(t.Context(), client.OpenAI, sallyport.Scope{"model.infer@acme/fraud"}, "scoring")
	if err != nil {
		t.Fatal(err)
	}
	scored := chat(fraud, false, 1)
	scored.bearer = token.Reveal()
	r.Send(scored)
	r.Want(allowed)

	// Two ways to take the weights are named to the Hub's clients, with the page that asks for one; the other does not
	// take them at all, and is named where it is permitted.
	r.Pull(fraud)
	r.Want(denied)
	wantSaid(t, r, "sallyport request model.pull acme/fraud@v1 --for 1h", r.server.External()+"/approvals/ask?from="+r.last.decision)
	if r.last.header.Get("X-Error-Message") == "" || !strings.Contains(string(r.last.body), r.last.header.Get("X-Error-Message")[:40]) {
		t.Errorf("the Hub's message is %q, its body %s", r.last.header.Get("X-Error-Message"), r.last.body)
	}
	r.PullVault(fraud)
	r.Want(denied)
	if e := r.last.api; e.Page == "" || !slices.ContainsFunc(e.Remedies, func(x sallyport.Remedy) bool { return x.Kind == sallyport.RemedyRequest }) {
		t.Errorf("the vault names %+v", e)
	}
	r.PullVault(keel)
	r.Want(denied)

	// What only auditors know of refuses like nothing at all.
	r.Send(request{door: client.OpenAI, method: http.MethodPost, path: "/openai/v1/embeddings", body: `{"model":"` + fraud + `","input":"hello"}`})
	e, full := r.decided(r.last.decision)
	if !slices.Contains(e.Reasons, "hushed.trap") || r.last.status != http.StatusForbidden {
		t.Fatalf("%d because of %q", r.last.status, e.Reasons)
	}
	own, err := r.who.client.Why(t.Context(), r.last.decision)
	if err != nil {
		t.Fatal(err)
	}
	seen := marshalled(t, own) + marshalled(t, r.last.header) + string(r.last.body)
	if strings.Contains(seen, "hushed") || !strings.Contains(marshalled(t, own), "default.deny") {
		t.Errorf("ana sees %s", seen)
	}
	if x := full.Explained; x == nil || x.For != string(explain.Auditor) || !strings.Contains(marshalled(t, x), "hushed-room") {
		t.Errorf("the auditor sees %s", marshalled(t, full.Explained))
	}
	if _, err := r.who.client.WhyFor(t.Context(), r.last.decision, "auditor"); err == nil {
		t.Error("ana may look as an auditor")
	}
	hers, err := r.As("alba").who.client.WhyFor(t.Context(), r.last.decision, "asker")
	if err != nil || marshalled(t, hers) != marshalled(t, own) {
		t.Errorf("alba is shown %s, ana %s, error %v", marshalled(t, hers), marshalled(t, own), err)
	}
}

// wantSaid looks for texts in what a client shows of the last answer.
func wantSaid(t *testing.T, r *story, want ...string) {
	t.Helper()
	var body struct {
		Error json.RawMessage `json:"error"`
	}
	_ = json.Unmarshal(r.last.body, &body)
	text := string(body.Error) // the Hub: a text; OpenAI: an object with a message
	for _, w := range append(want, r.last.decision) {
		if !strings.Contains(text, w) {
			t.Errorf("%s does not say %q: %s", r.last.what, w, r.last.body)
		}
	}
}

func marshalled(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What kim may not know of and what does not exist are the same to her: refused at each door, explained, and asked about.
func TestUX1UnseenIsUnknownEverywhere(t *testing.T) {
	r := tell(t)
	r.Join("kim", "", "") // nothing that she did in another story is still to be counted
	r = r.As("kim")
	const gone = "acme/gone1"
	var used api.Usage
	var said [2][]string
	for i, model := range []string{fraud, gone} {
		note := func(text string) {
			l := r.last
			text = strings.NewReplacer(model, "MODEL", l.decision, "ID").Replace(text)
			said[i] = append(said[i], text)
		}
		hidden := func(text string) { // the answer, and how it is explained
			if r.last.decision == "" || r.last.status != http.StatusNotFound {
				t.Fatalf("%s: %d with the decision %q", r.last.what, r.last.status, r.last.decision)
			}
			note(text)
			w, err := r.who.client.Why(t.Context(), r.last.decision)
			if err != nil {
				t.Fatal(err)
			}
			l, err := sallyport.DecodeLogged(w.Decided.Leaf)
			if err != nil {
				t.Fatal(err)
			}
			l.Seq, l.At, w.Decided = 0, 0, api.Entry{}
			note(marshalled(t, w) + marshalled(t, l))
		}
		for _, ask := range []func(string) *story{r.Pull, r.PullVault, r.Infer} {
			ask(model)
			h := r.last.header.Clone()
			for _, name := range []string{"Date", "Content-Length"} {
				h.Del(name)
			}
			hidden(marshalled(t, h) + string(r.last.body))
		}
		can, err := r.who.client.Can(t.Context(), client.Can{Action: sallyport.ModelPull, Resource: model})
		if err != nil {
			t.Fatal(err)
		}
		note(marshalled(t, can))
		r.Request(sallyport.ModelPull, model, "5m")
		hidden(marshalled(t, r.last.api))
		before := used // three calls and what she asked for were refused, and no model was used
		r.eventually("what she did is counted", func() bool {
			used, err = r.who.client.Usage(t.Context(), "")
			return err == nil && used.Day.Denials == before.Day.Denials+4
		})
		note(strconv.FormatInt(used.Day.Models, 10))
	}
	for k := range said[0] {
		if said[0][k] != said[1][k] {
			t.Errorf("of what is there she hears\n%s\nof what is not\n%s", said[0][k], said[1][k])
		}
	}
}

// Whoami names what the list of models names, and beside that only what one may do something with: that a grant would help
// somebody is no reason to tell them that there is a model.
func TestUX2WhoamiNamesNothingUnseen(t *testing.T) {
	r := tell(t)
	for name, beside := range map[string]sallyport.Action{"nora": "", "ana": "", "eva": "", "adam": sallyport.HoldPlace} {
		c := r.As(name).who.client
		who, err := c.Who(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen, err := c.Things(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if name == "eva" && (len(seen) == 0 || len(who.Rights) != len(seen)) {
			t.Errorf("eva sees %+v and has rights on %+v", seen, who.Rights)
		}
		for _, x := range who.Rights {
			model, _, _ := strings.Cut(x.Resource, "@")
			listed := slices.ContainsFunc(seen, func(s api.Thing) bool { return s.Resource == model })
			if !listed && (beside == "" || !slices.Contains(x.Can, beside) || len(x.Request)+len(x.StepUp)+len(x.Device) > 0) {
				t.Errorf("%s is told of %s, which is not in the list: %+v", name, x.Resource, x)
			}
		}
	}
}
