package cedar_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"pgregory.net/rapid"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	own "sallyport/internal/authz/policy/cedar"
)

// thorough makes the long loops whole; see each test for what it leaves out otherwise.
func thorough() bool { return os.Getenv("SALLYPORT_FULL") != "" }

// TestMergedCorpus is PX2: corpus policies, neighbours by schema, merged into sets
// of 25 and 200, every request asked under its own entities; the index changes nothing.
// Also PX3: a second iteration yields the same policies, each once. Of the sets of
// 200 every eighth request is asked unless SALLYPORT_FULL is set.
func TestMergedCorpus(t *testing.T) {
	for _, size := range []int{25, 200} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			step := 1
			if size > 25 && !thorough() {
				step = 8
			}
			asked, candidates, rescued := 0, 0, 0
			for group := range slices.Chunk(readCorpus(t), size) {
				engine := own.NewBare(merge(group))
				full := engine.FullSet()
				for _, c := range group {
					for i := range c.requests {
						if asked%step != 0 {
							asked++
							continue
						}
						asked++
						r := c.requests[i].cedar()
						want := own.EvaluateFull(full, r, c.entities)
						got := engine.EvaluateBare(r, c.entities)
						if !sameResult(got, want) {
							t.Fatalf("%s request %d: indexed %+v, full %+v", c.name, i, got, want)
						}
						first, second := engine.Candidates(r, c.entities)
						if !slices.Equal(first, second) || hasTwice(first) {
							t.Fatalf("%s request %d: iterations yield %q and %q", c.name, i, first, second)
						}
						candidates += len(first)
						if d := decision.Combine(engine, got); got.Allowed && d.Outcome != sallyport.Allow {
							rescued++ // a forbid failed, and the engine alone would have allowed
						}
					}
				}
			}
			if rescued == 0 && size == 25 { // in the larger sets next to nothing is allowed any more
				t.Errorf("of %d requests none is denied for a failing forbid: the corpus says nothing", asked)
			}
			t.Logf("one in %d of %d requests, %.1f candidates each, %d allowed by the engine alone while a forbid failed",
				step, asked, float64(candidates*step)/float64(asked), rescued)
		})
	}
}

func merge(group []corpusCase) map[string]*cedar.Policy {
	set := map[string]*cedar.Policy{}
	for _, c := range group {
		for _, p := range c.policies {
			set[fmt.Sprintf("p%04d", len(set))] = p
		}
	}
	return set
}

func sameResult(a, b policy.Result) bool {
	return a.Allowed == b.Allowed && slices.Equal(a.Reasons, b.Reasons) && slices.Equal(a.Errors, b.Errors)
}

func hasTwice(ids []string) bool {
	sorted := slices.Sorted(slices.Values(ids))
	return len(slices.Compact(sorted)) != len(ids)
}

// bare compiles policies without our rules, ids p0, p1, ...
func bare(t interface{ Fatal(...any) }, text string) *own.Engine {
	list, err := cedar.NewPolicyListFromBytes("test.cedar", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]*cedar.Policy{}
	for i, p := range list {
		set[fmt.Sprintf("p%d", i)] = p
	}
	return own.NewBare(set)
}

func uid(kind, id string) cedar.EntityUID {
	return cedar.NewEntityUID(cedar.EntityType(kind), cedar.String(id))
}

// graph makes entities from child -> parents.
func graph(edges map[cedar.EntityUID][]cedar.EntityUID) types.EntityMap {
	m := types.EntityMap{}
	for u, parents := range edges {
		m[u] = types.Entity{UID: u, Parents: cedar.NewEntityUIDSet(parents...)}
	}
	return m
}

// TestIndexCorners is PX4.
func TestIndexCorners(t *testing.T) {
	a, b, g := uid("Action", "a"), uid("Action", "b"), uid("Action", "g")
	ana, cycle1, cycle2 := uid("User", "ana"), uid("Group", "1"), uid("Group", "2")
	entities := graph(map[cedar.EntityUID][]cedar.EntityUID{
		a: {g}, ana: {cycle1}, cycle1: {cycle2}, cycle2: {cycle1, cycle2},
	})
	model := uid("Model", "m")
	tests := []struct {
		name, policy string
		request      cedar.Request
		want         bool
	}{
		{"an action doubled in a list", `permit(principal, action in [Action::"a", Action::"a"], resource);`, cedar.Request{Principal: ana, Action: a, Resource: model}, true},
		{"an action and its group in a list", `permit(principal, action in [Action::"a", Action::"g"], resource);`, cedar.Request{Principal: ana, Action: a, Resource: model}, true},
		{"another action", `permit(principal, action in [Action::"a", Action::"g"], resource);`, cedar.Request{Principal: ana, Action: b, Resource: model}, false},
		{"an empty list", `permit(principal, action in [], resource);`, cedar.Request{Principal: ana, Action: a, Resource: model}, false},
		{"a cycle, outer", `permit(principal in Group::"1", action, resource);`, cedar.Request{Principal: ana, Action: a, Resource: model}, true},
		{"a cycle, inner", `permit(principal in Group::"2", action, resource);`, cedar.Request{Principal: ana, Action: a, Resource: model}, true},
		{"a cycle, neither", `permit(principal in Group::"3", action, resource);`, cedar.Request{Principal: ana, Action: a, Resource: model}, false},
		{"a principal that is no entity", `permit(principal == User::"bob", action, resource);`, cedar.Request{Principal: uid("User", "bob"), Action: a, Resource: model}, true},
		{"is", `permit(principal is User, action, resource is Model);`, cedar.Request{Principal: ana, Action: a, Resource: model}, true},
		{"is in", `permit(principal is User in Group::"2", action == Action::"a", resource == Model::"m");`, cedar.Request{Principal: ana, Action: a, Resource: model}, true},
		{"an empty type", `permit(principal, action, resource);`, cedar.Request{Principal: uid("", ""), Action: a, Resource: model}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			engine := bare(t, test.policy)
			got := engine.EvaluateBare(test.request, entities)
			if got.Allowed != test.want || hasTwice(got.Reasons) {
				t.Errorf("got %+v, want allowed = %v", got, test.want)
			}
			if test.request.Principal.Type == "" {
				if !slices.Equal(got.Errors, []string{"engine.request"}) {
					t.Errorf("errors %q, want engine.request", got.Errors)
				}
				return
			}
			if full := own.EvaluateFull(engine.FullSet(), test.request, entities); !sameResult(got, full) {
				t.Errorf("indexed %+v, full %+v", got, full)
			}
		})
	}
}

// TestManyAncestors asks about somebody in a hundred groups, each in the next and
// in the first: past the length where the closure keeps a set.
func TestManyAncestors(t *testing.T) {
	edges := map[cedar.EntityUID][]cedar.EntityUID{}
	group := func(i int) cedar.EntityUID { return uid("Group", fmt.Sprint(i)) }
	for i := range 100 {
		edges[uid("User", "ana")] = append(edges[uid("User", "ana")], group(i))
		edges[group(i)] = []cedar.EntityUID{group(i + 1), group(0), uid("Far", fmt.Sprint(i))}
	}
	entities := graph(edges)
	r := cedar.Request{Principal: uid("User", "ana"), Action: uid("Action", "a"), Resource: uid("Model", "m")}
	for _, name := range []string{`Group::"0"`, `Group::"99"`, `Group::"100"`, `Far::"0"`, `Far::"99"`} {
		if got := bare(t, "permit(principal in "+name+", action, resource);").EvaluateBare(r, entities); !got.Allowed {
			t.Errorf("in %s: %+v, want allowed", name, got)
		}
	}
	if got := bare(t, `permit(principal in Group::"101", action, resource);`).EvaluateBare(r, entities); got.Allowed {
		t.Errorf("in a group that is not there: %+v", got)
	}
}

// TestIndexedIsFull is PX5 and PX7: random scopes and conditions over a hierarchy
// eight deep, in any order; the index changes nothing.
func TestIndexedIsFull(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entities := graph(hierarchy(t))
		n := rapid.IntRange(0, 30).Draw(t, "policies")
		text := ""
		for range n {
			text += randomPolicy(t)
		}
		engine := bare(t, text)
		full := engine.FullSet()
		for range 8 {
			r := cedar.Request{
				Principal: uid("U", fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "principal"))),
				Action:    uid("Action", rapid.SampledFrom([]string{"a0", "a1", "a2"}).Draw(t, "action")),
				Resource:  uid("R", fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "resource"))),
			}
			want := own.EvaluateFull(full, r, entities)
			for range 2 {
				if got := engine.EvaluateBare(r, entities); !sameResult(got, want) {
					t.Fatalf("%+v\n%s\nindexed %+v, full %+v", r, text, got, want)
				}
			}
			if first, second := engine.Candidates(r, entities); !slices.Equal(first, second) || hasTwice(first) {
				t.Fatalf("iterations yield %q and %q", first, second)
			}
		}
	})
}

// hierarchy draws users and resources in trees of groups eight deep, with a few
// cycles, and actions in groups.
func hierarchy(t *rapid.T) map[cedar.EntityUID][]cedar.EntityUID {
	edges := map[cedar.EntityUID][]cedar.EntityUID{
		uid("Action", "a0"): {uid("Action", "g0")}, uid("Action", "a1"): {uid("Action", "g0"), uid("Action", "g1")},
		uid("Action", "g1"): {uid("Action", "g2")},
	}
	node := func(level int) cedar.EntityUID {
		return uid("G", fmt.Sprintf("%d.%d", level, rapid.IntRange(0, 2).Draw(t, "group")))
	}
	for i := range 10 {
		edges[uid("U", fmt.Sprint(i))] = []cedar.EntityUID{node(0)}
		edges[uid("R", fmt.Sprint(i))] = []cedar.EntityUID{node(0), node(3)}
	}
	for level := range 8 {
		for i := range 3 {
			edges[uid("G", fmt.Sprintf("%d.%d", level, i))] = []cedar.EntityUID{node(level + 1), node(rapid.IntRange(0, 8).Draw(t, "up"))}
		}
	}
	return edges
}

func randomPolicy(t *rapid.T) string {
	group := func() string {
		return fmt.Sprintf(`G::"%d.%d"`, rapid.IntRange(0, 8).Draw(t, "level"), rapid.IntRange(0, 2).Draw(t, "group"))
	}
	scope := func(word, kind string) string {
		one := fmt.Sprintf(`%s::"%d"`, kind, rapid.IntRange(0, 11).Draw(t, "one"))
		return word + rapid.SampledFrom([]string{"", " == " + one, " in " + one, " in " + group(), " is " + kind, " is " + kind + " in " + group()}).Draw(t, word)
	}
	action := rapid.SampledFrom([]string{"action", `action == Action::"a0"`, `action in Action::"g0"`, `action in Action::"g2"`,
		`action in [Action::"a0", Action::"g0"]`, `action in [Action::"a2", Action::"a2"]`, `action in []`}).Draw(t, "action")
	when := rapid.SampledFrom([]string{"", "when { false }", "when { principal.nothing }", "unless { principal in " + group() + " }", "when { resource in " + group() + " }"}).Draw(t, "when")
	return fmt.Sprintf("%s(%s, %s, %s) %s;\n", rapid.SampledFrom([]string{"permit", "forbid"}).Draw(t, "effect"),
		scope("principal", "U"), action, scope("resource", "R"), when)
}

// TestOrderDoesNotMatter is PX7 on our own policies: files and entities in another
// order, questions repeated.
func TestOrderDoesNotMatter(t *testing.T) {
	w := own.NewWorkload(200, 500)
	engine := mustCompile(t, w.Source)
	base, err := engine.Load(w.Entities)
	if err != nil {
		t.Fatal(err)
	}
	chance := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		shuffled := slices.Clone(w.Entities)
		chance.Shuffle(len(shuffled), func(i, k int) { shuffled[i], shuffled[k] = shuffled[k], shuffled[i] })
		other, err := engine.Load(shuffled)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range w.Queries {
			if a, b := engine.Evaluate(q, base), engine.Evaluate(q, other); !sameResult(a, b) {
				t.Fatalf("%+v: %+v and %+v", q, a, b)
			}
		}
	}
}

func mustCompile(t testing.TB, src policy.Source) *own.Engine {
	t.Helper()
	e, err := own.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
