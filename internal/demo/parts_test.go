package demo

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/demo/people"
)

func TestReport(t *testing.T) {
	var out strings.Builder
	r := &report{out: &out}
	if r.good() {
		t.Error("a report of nothing is good")
	}
	r.step(line{Who: "ana", What: "pulls", Action: "model.pull", Resource: "acme/x@v1", Want: "deny", Outcome: "deny", Reason: "a b", Decision: "D-1", Note: strings.Repeat("word\x1b ", 40), OK: true})
	r.step(line{Who: "eva", What: "waits", Want: "ended", Outcome: "error", Problem: "it goes on"})
	r.progress("unseen")
	var shown strings.Builder
	r.terminal = &shown
	r.progress("half of it")
	r.end(time.Second)
	text := out.String()
	if !strings.HasPrefix(shown.String(), "half of it") || !strings.HasSuffix(shown.String(), "\r\x1b[K") {
		t.Errorf("progress %q", shown.String())
	}
	for _, want := range []string{
		"  1  ana       model.pull       acme/x@v1          deny      a b                                       D-1\n     pulls: word word",
		"  2  eva       -                -                  error     -                                         -\n     waits\n     NOT AS EXPECTED: wanted \"ended\"; it goes on\n",
		"\ndemo: 1 of 2 steps as expected, in 1s\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
	for l := range strings.Lines(text) {
		if len(l) > width+len(margin)+1 || strings.Contains(l, "\x1b") {
			t.Errorf("line %q", l)
		}
	}
	if r.good() {
		t.Error("a report with a wrong step is good")
	}
}

func TestReportAsJSON(t *testing.T) {
	var out strings.Builder
	r := &report{out: &out, json: true}
	r.say("unseen")
	r.chapter("unseen")
	r.step(line{Who: "ana", Want: "allow", Outcome: "allow", OK: true})
	var l line
	if err := json.Unmarshal([]byte(out.String()), &l); err != nil || l.Step != 1 || l.Who != "ana" || !l.OK || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("%q: %v", out.String(), err)
	}
}

// TestStepsThatGoWrong plays steps that do not do what they say.
func TestStepsThatGoWrong(t *testing.T) {
	does := func(got seen, err error) func(*story, context.Context, *people.Person) (seen, error) {
		return func(*story, context.Context, *people.Person) (seen, error) { return got, err }
	}
	for name, test := range map[string]struct {
		step step
		ok   bool
	}{
		"as it says":               {step{"anybody", "", "deny", does(seen{outcome: "deny", reason: "x"}, nil)}, true},
		"with its reason":          {step{"thief", "", "deny x", does(seen{outcome: "deny", reason: "x"}, nil)}, true},
		"somebody who joins":       {step{"+eva", "", "done", does(seen{outcome: "done"}, nil)}, true},
		"another outcome":          {step{"anybody", "", "deny", does(seen{outcome: "allow"}, nil)}, false},
		"another reason":           {step{"anybody", "", "deny x", does(seen{outcome: "deny", reason: "x y"}, nil)}, false},
		"an error":                 {step{"anybody", "", "deny", does(seen{outcome: "deny"}, errors.New("no"))}, false},
		"somebody who is not here": {step{"ana", "", "deny", does(seen{outcome: "deny"}, nil)}, false},
		"nothing":                  {step{"anybody", "", "", does(seen{}, errors.New("no"))}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(&stage{}, &report{out: new(strings.Builder)})
			s.play(t.Context(), "chapter", test.step)
			if s.out.good() != test.ok {
				t.Errorf("it went well: %t", s.out.good())
			}
		})
	}
}

// TestEveryStepCanGoWrong wants each step to say what must come of it, and by whom.
func TestEveryStepCanGoWrong(t *testing.T) {
	for _, c := range new(story).chapters() {
		for _, one := range c.steps {
			if one.who == "" || one.what == "" || one.want == "" || one.do == nil || strings.HasPrefix(one.want, "error") {
				t.Errorf("%s: %+v", c.title, one)
			}
		}
	}
}

func TestRecordWithoutItsFacts(t *testing.T) {
	r := &record{facts: map[string][]byte{"f": []byte(`{}`)}}
	if err := r.compile(); err != nil {
		t.Fatal(err)
	}
	for _, e := range []sallyport.Event{{Decision: "D-1", Facts: "gone"}, {Decision: "D-2", Facts: "f"}} {
		if err := r.again(e); err == nil || !strings.Contains(err.Error(), e.Decision) {
			t.Errorf("%s: %v", e.Decision, err)
		}
	}
	if err := r.read(0, []byte("{")); err == nil {
		t.Error("a leaf that is no event is read")
	}
}

func TestExports(t *testing.T) {
	if got, want := exports(map[string]string{"B": "2", "A": "1"}), "export A='1'\nexport B='2'\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
