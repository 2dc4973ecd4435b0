package intent_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/internal/govern/intent"
)

// anySet is a small set, so that two of them share keys often.
func anySet() *rapid.Generator[intent.Set] {
	return rapid.Custom(func(t *rapid.T) intent.Set {
		seen := map[string]bool{}
		var items []intent.Item
		for range rapid.IntRange(0, 8).Draw(t, "n") {
			i := intent.Item{Kind: rapid.SampledFrom(intent.Kinds()).Draw(t, "kind"), Name: rapid.SampledFrom([]string{"a", "b", "c d"}).Draw(t, "name"),
				Value: rapid.SampledFrom([]string{`{}`, `{"inherits":["x"]}`, `{"in":["y"]}`, `{"privileged":true}`, `{"until":"2030-01-01T00:00:00Z"}`}).Draw(t, "value")}
			if !seen[i.Key()] {
				seen[i.Key()] = true
				items = append(items, i)
			}
		}
		s, err := intent.NewSet(items)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// What is compared with itself does not differ; putting every difference into the intention makes it what is, putting every
// one back makes what is the intention, and either changes nothing else.
func TestCompare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, is := anySet().Draw(t, "want"), anySet().Draw(t, "is")
		if d := intent.Compare(want, want); len(d) != 0 {
			t.Fatalf("differs from itself: %v", d)
		}
		all := intent.Compare(want, is)
		if (len(all) == 0) != (want.Hash() == is.Hash()) {
			t.Fatalf("%d differences, and the hashes are %s and %s", len(all), want.Hash(), is.Hash())
		}
		accepted, restored := want, is
		var err error
		for n, d := range all {
			if n > 0 && all[n-1].Key() >= d.Key() {
				t.Fatal("not sorted, or twice")
			}
			if d.Want.Value == d.Is.Value || d.Want.Key() != d.Is.Key() || want.Find(d.Key()).Value != d.Want.Value || is.Find(d.Key()).Value != d.Is.Value {
				t.Fatalf("no difference: %+v", d)
			}
			left := len(intent.Compare(accepted, is))
			if accepted, err = accepted.With(d.Is); err != nil {
				t.Fatal(err)
			}
			if restored, err = restored.With(d.Want); err != nil {
				t.Fatal(err)
			}
			if len(intent.Compare(accepted, is)) != left-1 {
				t.Fatalf("accepting %s changed something else", d.Key())
			}
		}
		if accepted.Hash() != is.Hash() || restored.Hash() != want.Hash() {
			t.Fatal("fixed both ways, they still differ")
		}
	})
}

// Back is the opposite of there.
func TestDirectionsAreOpposite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, is := anySet().Draw(t, "want"), anySet().Draw(t, "is")
		opposite := map[intent.Direction]intent.Direction{intent.Wider: intent.Narrower, intent.Narrower: intent.Wider, intent.Other: intent.Other}
		there, back := intent.Compare(want, is), intent.Compare(is, want)
		for n := range there {
			if back[n].Key() != there[n].Key() || back[n].Direction() != opposite[there[n].Direction()] {
				t.Fatalf("%+v is %s, back %s", there[n], there[n].Direction(), back[n].Direction())
			}
		}
	})
}

func TestDirection(t *testing.T) {
	role := func(privileged bool, inherits ...string) intent.Item {
		i, err := intent.NewRole("r", intent.RoleValue{Inherits: inherits, Privileged: privileged})
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	ends := func(at time.Time) intent.Item {
		i, err := intent.NewAssignment("user:ana", "r", "system", at)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	gone := func(i intent.Item) intent.Item { i.Value = ""; return i }
	pair := intent.Item{Kind: intent.Separation, Name: "a b", Value: `{"apart":true}`}
	group := func(in ...string) intent.Item {
		i, err := intent.NewGroup("acme/g", intent.GroupValue{In: in})
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	rule := intent.Item{Kind: intent.Trust, Name: "ci", Value: `{"issuer":"https://ci.example"}`}
	soon, late := time.Unix(2e9, 0), time.Unix(3e9, 0)
	for _, x := range []struct {
		want, is intent.Item
		way      intent.Direction
	}{
		{role(false), role(false, "administrator"), intent.Wider},
		{role(false, "a", "b"), role(false, "a"), intent.Narrower},
		{role(false, "a"), role(false, "b"), intent.Other},
		{role(true, "a"), role(false, "a"), intent.Wider}, // asks for less of who has it
		{group(), group("acme/admins"), intent.Wider},
		{gone(ends(soon)), ends(soon), intent.Wider},
		{ends(soon), gone(ends(soon)), intent.Narrower},
		{ends(soon), ends(late), intent.Wider},
		{ends(soon), ends(time.Time{}), intent.Wider},
		{ends(time.Time{}), ends(late), intent.Narrower},
		{pair, gone(pair), intent.Wider},
		{gone(pair), pair, intent.Narrower},
		{gone(rule), rule, intent.Wider},
		{rule, intent.Item{Kind: intent.Trust, Name: "ci", Value: `{"issuer":"https://other.example"}`}, intent.Other},
	} {
		if way := (intent.Difference{Want: x.want, Is: x.is}).Direction(); way != x.way {
			t.Errorf("from %q to %q is %s, not %s", x.want.Value, x.is.Value, way, x.way)
		}
	}
}

// One spelling: the order of keys and what is empty make no difference.
func TestValue(t *testing.T) {
	for in, want := range map[string]string{
		`{"b":1,"a":[{"y":0},"",false]}`: `{"a":[null,"",false],"b":1}`,
		`{"a":{"b":{"c":""}},"d":[]}`:    `{}`,
		`{"n":12345678901234567890}`:     `{"n":12345678901234567890}`,
		`null`:                           `{}`,
		`true`:                           `true`,
	} {
		var v any
		if err := json.Unmarshal([]byte(in), &v); err != nil {
			t.Fatal(err)
		}
		if in[1] == '"' && strings.Contains(in, "12345") {
			v = map[string]any{"n": json.Number("12345678901234567890")}
		}
		if got, err := intent.Value(v); err != nil || got != want {
			t.Errorf("Value(%s) = %s, %v; want %s", in, got, err, want)
		}
	}
}

func TestNewSetRefuses(t *testing.T) {
	good := intent.Item{Kind: intent.Role, Name: "r", Value: "{}"}
	for name, items := range map[string][]intent.Item{
		"twice":        {good, good},
		"kind":         {{Kind: "rule", Name: "r", Value: "{}"}},
		"no name":      {{Kind: intent.Role, Value: "{}"}},
		"two lines":    {{Kind: intent.Role, Name: "a\nb", Value: "{}"}},
		"a long name":  {{Kind: intent.Role, Name: strings.Repeat("a", intent.MaxName+1), Value: "{}"}},
		"no JSON":      {{Kind: intent.Role, Name: "a", Value: "{"}},
		"bad names":    {{Kind: intent.Role, Name: "a", Value: "{}", Names: []string{""}}},
		"a long value": {{Kind: intent.Role, Name: "a", Value: `"` + strings.Repeat("a", intent.MaxValue) + `"`}},
	} {
		if _, err := intent.NewSet(items); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if s, err := intent.NewSet([]intent.Item{good, {Kind: intent.Role, Name: "bare"}}); err != nil || s.Len() != 1 {
		t.Errorf("%v, %v", s, err)
	}
	long := intent.Item{Kind: intent.Assignment, Name: strings.Repeat("ä", intent.MaxName/2), Value: "{}", Names: []string{strings.Repeat("n", intent.MaxName)}}
	if s, err := intent.NewSet([]intent.Item{long}); err != nil || s.Find(long.Key()).Value != "{}" {
		t.Errorf("a name as long as it may be: %v, %v", s, err)
	}
}

func TestSections(t *testing.T) {
	tree := map[string]any{
		"listen":     "127.0.0.1:7443",
		"plaintext":  false,
		"federation": []any{map[string]any{"name": "corp", "map": []any{map[string]any{"claim": "role", "is": "lead", "groups": []any{"acme/leads"}}}}},
		"tasks":      []any{map[string]any{"name": "mlflow", "url": "https://a"}, map[string]any{"name": "jira", "url": "https://b"}},
		"separate":   []any{[]any{"reviewer", "developer"}, []any{"developer", "reviewer"}},
		"authzen":    map[string]any{"points": []any{map[string]any{"name": "todo"}}, "asked": 3},
		"networks":   map[string]any{"192.0.2.0/24": "office"},
		"models":     []any{map[string]any{"model": "acme/a", "upstream": "u"}},
	}
	items, err := intent.Sections(tree)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range items {
		got = append(got, i.Key())
	}
	want := "door authzen/points/todo,door authzen,provider federation/corp,setting listen,connector models/acme/a,setting networks,separation developer reviewer,connector tasks/mlflow,connector tasks/jira"
	if strings.Join(got, ",") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ","), want)
	}
	if _, err := intent.Sections(map[string]any{"separate": []any{"one"}}); err == nil {
		t.Error("a pair of one is accepted")
	}
	// Two of one name cannot be told apart: the list is one item.
	if items, err = intent.Sections(map[string]any{"tasks": []any{map[string]any{"name": "a"}, map[string]any{"name": "a"}}}); err != nil || len(items) != 1 || items[0].Name != "tasks" {
		t.Errorf("%v, %v", items, err)
	}
}

// Whatever changes in a configuration is a difference.
func TestEveryKeyOfAConfigurationIsCompared(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SampledFrom([]string{"listen", "federation", "tasks", "authzen", "devices", "unheard", "networks"}).Draw(t, "key")
		value := func(label string) any {
			switch rapid.IntRange(0, 2).Draw(t, label) {
			case 0:
				return rapid.StringMatching("[a-c]{1,2}").Draw(t, label+" text")
			case 1:
				return []any{map[string]any{"name": rapid.StringMatching("[a-c]").Draw(t, label+" name"), "x": rapid.IntRange(0, 2).Draw(t, label+" x")}}
			}
			return map[string]any{"points": []any{map[string]any{"name": "p", "x": rapid.IntRange(0, 2).Draw(t, label+" px")}}}
		}
		one, other := value("one"), value("other")
		text1, err1 := intent.Value(one)
		text2, err2 := intent.Value(other)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		set := func(v any) intent.Set {
			items, err := intent.Sections(map[string]any{key: v})
			if err != nil {
				t.Fatal(err)
			}
			s, err := intent.NewSet(items)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		if (text1 == text2) != (len(intent.Compare(set(one), set(other))) == 0) {
			t.Fatalf("%s and %s", text1, text2)
		}
	})
}

// What is read is written again to the byte, and nothing that is no set is read.
func FuzzSet(f *testing.F) {
	f.Add([]byte(`[]`))
	f.Add([]byte(`[{"kind":"role","name":"r","value":"{}"}]`))
	f.Add([]byte(`[{"kind":"role","name":"r","value":"{}","names":["assignment:A-1"]},{"kind":"group","name":"g","value":"{\"in\":[\"a\"]}"}]`))
	f.Add([]byte(`[{"kind":"role","name":"r","value":"{}"},{"kind":"role","name":"r","value":"{}"}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s intent.Set
		if json.Unmarshal(raw, &s) != nil {
			return
		}
		out, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var again intent.Set
		if err := json.Unmarshal(out, &again); err != nil || again.Hash() != s.Hash() || fmt.Sprint(again.Items()) != fmt.Sprint(s.Items()) {
			t.Fatalf("%s\n%s\n%v", raw, out, err)
		}
		for _, i := range s.Items() {
			if found := s.Find(i.Key()); found.Kind != i.Kind || found.Name != i.Name || found.Value != i.Value {
				t.Fatalf("%q finds %+v", i.Key(), found)
			}
		}
	})
}

// A tree of any shape is compared or refused, never a crash.
func FuzzSections(f *testing.F) {
	f.Add([]byte(`{"tasks":[{"name":"a"}],"separate":[["a","b"]],"authzen":{"points":[{"name":"x"}]}}`))
	f.Add([]byte(`{"devices":{"a":{"b":[{"name":"c"}]}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var tree map[string]any
		if json.Unmarshal(raw, &tree) != nil {
			return
		}
		items, err := intent.Sections(tree)
		if err != nil {
			return
		}
		if s, err := intent.NewSet(items); err == nil && len(intent.Compare(s, s)) != 0 {
			t.Fatal("differs from itself")
		}
	})
}
