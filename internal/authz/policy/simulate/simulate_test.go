package simulate_test

import (
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"sallyport"
	"sallyport/examples/acme"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cast"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/policy/simulate"
	"sallyport/internal/authz/policy/table"
)

func compiled(t testing.TB, schema, more string, leave ...string) *cedar.Engine {
	t.Helper()
	src := policy.Source{Schema: schema, Policies: map[string]string{}}
	files, err := fs.Glob(acme.Files, "policies/*.cedar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := acme.Files.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text := "\n" + string(b)
		for _, id := range leave {
			if i := strings.Index(text, "\n@id(\""+id+"\")"); i >= 0 {
				end := strings.Index(text[i:], ";\n")
				text = text[:i] + text[i+end+1:]
			}
		}
		src.Policies[path.Base(f)] = text
	}
	src.Policies["more.cedar"] = more
	e, err := cedar.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// A run is decisions as a trail would hold them: those of acme's tables.
type run struct {
	events []sallyport.Event
	bases  map[string][]byte
}

func recorded(t testing.TB, e policy.Engine) run {
	t.Helper()
	text, err := acme.Files.ReadFile("acme.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := cast.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	r := run{bases: map[string][]byte{}}
	files, err := fs.Glob(acme.Files, "decisions/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := acme.Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := table.Parse(name, string(b))
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			f, err := row.Facts(e, c)
			if err != nil {
				t.Fatal(err)
			}
			d := decision.Decide(e, f)
			for _, b := range append([]*decision.Basis{f.Basis}, f.Acting...) {
				if r.bases[b.Hash()], err = decision.Marshal(b); err != nil {
					t.Fatal(err)
				}
			}
			r.events = append(r.events, sallyport.Event{Type: sallyport.EventDecided, At: f.At.UnixMicro(), Decision: row.At, Who: f.PrincipalID, Action: f.Action, On: f.Resource.String(),
				Outcome: d.Outcome.String(), Facts: f.Hash(), Reasons: d.ReasonIDs(), Asked: f.Recorded()})
		}
	}
	return r
}

// step is how many policies are passed over: none with SALLYPORT_MUTANTS=all.
func step() int {
	if os.Getenv("SALLYPORT_MUTANTS") == "all" {
		return 1
	}
	return 5
}

func simulated(e policy.Engine, r run) simulate.Report {
	s := simulate.New(e)
	for _, x := range r.events {
		s.Take(x, func(hash string) []byte { return r.bases[hash] })
	}
	return s.Report()
}

// GV-3, pain 26: nothing flips under the set that decided; of each policy that is lost, exactly the decisions flip that are
// answered otherwise without it, new exposure first.
func TestPain26EachFlipIsListed(t *testing.T) {
	e := compiled(t, cedar.Schema, "")
	r := recorded(t, e)
	if same := simulated(e, r); same.Flips != 0 || same.Unasked != 0 || same.Decisions != len(r.events) {
		t.Fatalf("%+v", same)
	}
	flips, exposures := 0, 0
	all := e.Policies()
	for i := 0; i < len(all); i += step() {
		p := all[i]
		next := compiled(t, cedar.Schema, "", p.ID)
		if _, there := next.Info(p.ID); there {
			continue
		}
		want := map[string]bool{}
		for _, x := range r.events {
			q, err := decision.QuestionOf(x)
			if err != nil {
				t.Fatal(err)
			}
			f := decision.Facts{Question: q}
			prepared := func(hash string) *decision.Basis {
				b, err := decision.Unmarshal(r.bases[hash])
				if err == nil {
					b.Policy = ""
					b, err = decision.Prepare(next, b)
				}
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			f.Basis = prepared(x.Facts)
			for _, hash := range decision.ActedOn(x) {
				f.Acting = append(f.Acting, prepared(hash))
			}
			if d := decision.Decide(next, f); d.Outcome.String() != x.Outcome {
				want[x.Decision] = true
			}
		}
		got := simulated(next, r)
		times := 0
		for i, g := range got.Groups {
			times += g.Times
			if i > 0 && g.Exposure && !got.Groups[i-1].Exposure {
				t.Errorf("%s: new exposure is not first", p.ID)
			}
		}
		if got.Flips != len(want) || times != len(want) || got.Unasked != 0 {
			t.Errorf("without %s: %d flips in groups of %d, want %d", p.ID, got.Flips, times, len(want))
		}
		flips += got.Flips
		exposures += got.Exposures
	}
	t.Logf("of %d policies some lost one by one over %d decisions: %d flips, %d of them new exposure", len(e.Policies()), len(r.events), flips, exposures)
	if flips < 20 || exposures < 1 || step() == 1 && (flips < 100 || exposures < 20) {
		t.Error("hardly anything flips: the test shows little")
	}
}

// AZ-14: what was decided under an older schema is asked under a newer one, what the newer one has since added being empty.
func TestSchemasMoveOn(t *testing.T) {
	e := compiled(t, cedar.Schema, "")
	r := recorded(t, e)
	newer := strings.Replace(cedar.Schema, "entity Model in [Project, Organisation] = {", "entity Model in [Project, Organisation] = {\n  tier: Long, labels: Set<String>,", 1)
	if newer == cedar.Schema {
		t.Fatal("the schema has another shape")
	}
	next := compiled(t, newer, `@id("tiers") @owner("o") @requirement("AZ-1") forbid (principal, action == Action::"model.read", resource is Model) when { resource.tier > 3 };`)
	if got := simulated(next, r); got.Unasked != 0 || got.Flips != 0 {
		t.Errorf("%+v", got)
	}
	for _, x := range r.events { // and the old set still says what it said
		q, err := decision.QuestionOf(x)
		if err != nil {
			t.Fatal(err)
		}
		var acting [][]byte
		for _, hash := range decision.ActedOn(x) {
			acting = append(acting, r.bases[hash])
		}
		if d, err := decision.Replay(e, r.bases[x.Facts], q, acting...); err != nil || d.Outcome.String() != x.Outcome {
			t.Errorf("%s: %v, %v", x.Decision, d.Outcome, err)
		}
	}
}

// What the log does not hold is said, and counts as no flip.
func TestWhatCannotBeAsked(t *testing.T) {
	e := compiled(t, cedar.Schema, "")
	r := recorded(t, e)
	r.bases = map[string][]byte{}
	if got := simulated(e, r); got.Unasked != got.Decisions || got.Flips != 0 || len(got.Why) == 0 {
		t.Errorf("%+v", got)
	}
}
