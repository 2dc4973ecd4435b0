package guard_test

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"

	"sallyport"
	"sallyport/internal/authz/policy"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/guard/guardtest"
)

// counting is an engine that counts what is asked of it over entities, and how many of the questions it could weigh.
type counting struct {
	policy.Engine
	asked, weighed atomic.Int64
}

func (c *counting) Evaluate(q policy.Query, over policy.Entities) policy.Result {
	c.asked.Add(1)
	if q.Resource.Type != "" {
		c.weighed.Add(1)
	}
	return c.Engine.Evaluate(q, over)
}

// TestUnseenAndUnknownCostTheSame: what one may not know of and what does not exist are answered in the same words, after
// the policies were weighed as often, and without a search for a way out. Work is counted, no time is taken.
func TestUnseenAndUnknownCostTheSame(t *testing.T) {
	for _, kind := range []struct {
		unseen, unknown string
		action          sallyport.Action
	}{{"acme/secret", "acme/nothing", sallyport.ModelPull}, {"acme/secret@v1", "acme/nothing@v1", sallyport.ModelInfer}, {"acme/secret", "other/nothing", sallyport.ModelDelete}} {
		r := story(t)
		compiled, err := guardtest.Compile(guardtest.Policies)
		if err != nil {
			t.Fatal(err)
		}
		engine := &counting{Engine: compiled}
		r.Facts.Use(engine)
		r.As("zoe")
		var weighed []int64
		var said []string
		for _, name := range []string{kind.unseen, kind.unknown} {
			engine.asked.Store(0)
			engine.weighed.Store(0)
			r.Ask(kind.action, name)
			if !r.answer.Hidden || len(r.answer.Remedies)+len(r.answer.Otherwise) > 0 || r.answer.Page != "" {
				t.Fatalf("%s: %+v", name, r.answer)
			}
			weighed = append(weighed, engine.weighed.Load())
			said = append(said, strings.NewReplacer(name, "NAME", r.answer.ID, "ID").Replace(guard.Sentence(r.answer, r.call)))
		}
		if weighed[0] != weighed[1] || weighed[0] == 0 || said[0] != said[1] {
			t.Errorf("%s weighs the policies %d times, %s %d times; %q and %q", kind.unseen, weighed[0], kind.unknown, weighed[1], said[0], said[1])
		}
	}
}

// TestAPolicyForAuditorsIsNotSeen: a forbid that the asker may not know of refuses like no policy at all. The record has it.
func TestAPolicyForAuditorsIsNotSeen(t *testing.T) {
	r := story(t)
	r.Rules(guardtest.Policies + `
@id("hushed.tripwire") @owner("security") @requirement("RE-1") @text("hushed: the bait") @audience("auditor")
forbid (principal == User::"rob", action == Action::"model.pull", resource in Model::"acme/open") unless { context.network == "hushed-room" };`)
	r.As("rob")
	r.Ask(sallyport.ModelPull, "acme/open")
	r.Want(sallyport.Deny, "default.deny")
	shown, err := json.Marshal(r.answer.Decision)
	if err != nil || strings.Contains(string(shown)+guard.Sentence(r.answer, r.call), "hushed") {
		t.Errorf("he is told %s, error %v", shown, err)
	}
	if e := r.Of(sallyport.EventDecided); len(e) == 0 || !strings.Contains(strings.Join(e[len(e)-1].Reasons, " "), "hushed.tripwire") {
		t.Errorf("recorded is %+v", e)
	}
}

// TestEveryWayOutIsInTheSentence: what a client shows has the decision's id, the reason, the ways out and the page.
func TestEveryWayOutIsInTheSentence(t *testing.T) {
	r := story(t)
	r.Guard.External = "https://acme.test"
	r.As("ana")
	r.Ask(sallyport.ModelPull, "acme/open")
	s := guard.Sentence(r.answer, r.call)
	for _, want := range []string{r.answer.ID, "no policy permits this", "sallyport request model.pull acme/open@v1 --for 1h", ". Or use model.infer instead: sallyport token --for model.infer@acme/open@v1",
		". Ask at https://acme.test/approvals/ask?from=" + r.answer.ID} {
		if !strings.Contains(s, want) {
			t.Errorf("%q does not say %q", s, want)
		}
	}
}
