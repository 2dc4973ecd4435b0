package rego_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/policy/rego"
)

// indexed reads policies by action and principal from an index.
const indexed = `package sallyport

permit contains id if {
	some id in candidates(data.index.permit)
	holds(data.policies[id].scope)
}

forbid contains id if {
	some id in candidates(data.index.forbid)
	holds(data.policies[id].scope)
}

candidates(index) := {id |
	some action, _ in input.action["in"].Action
	table := index[action]
	some type, members in input.principal["in"]
	some name, _ in members
	some id in table[type][name]
} | {id |
	some action, _ in input.action["in"].Action
	some id in index[action]["*"]["*"]
}

holds(scope) if {
	[type, name] := scope.resource
	input.resource["in"][type][name]
	meets(scope)
}

holds(scope) if {
	scope.resource == ["*", "*"]
	meets(scope)
}

meets(scope) if {
	scope.when == "granted"
	input.context.granted
}

meets(scope) if {
	scope.when == "class"
	input.resource.attrs["class"] != "restricted"
}

meets(scope) if {
	scope.when == "class"
	input.context.assurance >= 2
	input.context.session
}

meets(scope) if {
	input.context.assurance < 1
	input.context.authAge > scope.age
}
`

// translated is the workload of Cedar's benchmarks as data.
func translated(t testing.TB, w cedar.Workload) policy.Source {
	t.Helper()
	head := regexp.MustCompile(`@id\("([^"]+)"\)[^\n]*\n(permit|forbid)\(principal([^,]*), action (in \[[^\]]*\]|[^,]*), resource([^)]*)\)\s*when \{ ([^\n]*) \};`)
	name, age := regexp.MustCompile(`(\w+)::"([^"]+)"`), regexp.MustCompile(`authAge > (\d+)`)
	entity := func(text string) []string {
		if m := name.FindStringSubmatch(text); m != nil {
			return m[1:]
		}
		return []string{"*", "*"}
	}
	policies, index := map[string]any{}, map[string]map[string]map[string]map[string][]string{"permit": {}, "forbid": {}}
	for _, text := range w.Source.Policies {
		for _, m := range head.FindAllStringSubmatch(text, -1) {
			var actions []string
			for _, a := range name.FindAllStringSubmatch(m[4], -1) {
				actions = append(actions, a[2])
			}
			scope := map[string]any{"resource": entity(m[5])}
			switch {
			case strings.HasPrefix(m[6], "context.granted"):
				scope["when"] = "granted"
			case age.MatchString(m[6]):
				scope["age"] = json.Number(age.FindStringSubmatch(m[6])[1])
			default:
				scope["when"] = "class"
			}
			who := entity(m[3])
			for _, a := range actions {
				at := index[m[2]]
				if at[a] == nil {
					at[a] = map[string]map[string][]string{}
				}
				if at[a][who[0]] == nil {
					at[a][who[0]] = map[string][]string{}
				}
				at[a][who[0]][who[1]] = append(at[a][who[0]][who[1]], m[1])
			}
			policies[m[1]] = map[string]any{"effect": m[2], "owner": "bench", "requirement": "AZ-12", "scope": scope}
		}
	}
	text, err := json.Marshal(policies)
	if err != nil {
		t.Fatal(err)
	}
	table, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Source{Schema: w.Source.Schema, Policies: map[string]string{"bench.rego": indexed, "index.json": string(table), "policies.json": string(text)}}
}

// TestTheWorkloadIsTheSame: what is measured gives the same answers as Cedar's.
func TestTheWorkloadIsTheSame(t *testing.T) {
	w := cedar.NewWorkload(200, 300)
	one, err := cedar.Compile(w.Source)
	if err != nil {
		t.Fatal(err)
	}
	two := mustCompile(t, translated(t, w))
	over, err := one.Load(w.Entities)
	if err != nil {
		t.Fatal(err)
	}
	other, err := two.Load(w.Entities)
	if err != nil {
		t.Fatal(err)
	}
	allowed := 0
	for _, q := range w.Queries {
		a, b := one.Evaluate(q, over), two.Evaluate(q, other)
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Fatalf("%+v: Cedar %+v, Rego %+v", q, a, b)
		}
		if a.Allowed {
			allowed++
		}
	}
	if len(one.Policies()) != len(two.Policies()) || allowed == 0 {
		t.Errorf("%d and %d policies, %d of %d allowed", len(one.Policies()), len(two.Policies()), allowed, len(w.Queries))
	}
}

// BenchmarkEvaluate measures both engines on the workload of Cedar's benchmarks, over the entities of a call.
func BenchmarkEvaluate(b *testing.B) {
	for _, n := range []int{10, 100, 1_000, 10_000} {
		w := cedar.NewWorkload(n, 1_000)
		one, err := cedar.Compile(w.Source)
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		two, err := rego.Compile(translated(b, w))
		if err != nil {
			b.Fatal(err)
		}
		compiled := time.Since(start)
		for name, e := range map[string]policy.Engine{"cedar": one, "rego": two} {
			over, err := e.Load(w.Entities)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%s-%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				var times []time.Duration
				for i := 0; b.Loop(); i++ {
					from := time.Now()
					e.Evaluate(w.Queries[i%len(w.Queries)], over)
					times = append(times, time.Since(from))
				}
				slices.Sort(times)
				b.ReportMetric(float64(times[len(times)/2].Nanoseconds()), "p50-ns")
				b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds()), "p99-ns")
				if name == "rego" {
					b.ReportMetric(float64(compiled.Milliseconds()), "compile-ms")
				}
			})
		}
	}
}

// BenchmarkLoad prepares the entities of a call.
func BenchmarkLoad(b *testing.B) {
	w := cedar.NewWorkload(10, 5)
	e := mustCompile(b, translated(b, w))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Load(w.Entities[:20]); err != nil {
			b.Fatal(err)
		}
	}
}
