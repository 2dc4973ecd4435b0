package dictionary_test

import (
	"slices"
	"testing"

	"sallyport"
	"sallyport/internal/enforce/authzen/dictionary"
	"sallyport/internal/enforce/authzen/wire"
)

func TestOwnWords(t *testing.T) {
	d := dictionary.Own()
	for e, want := range map[[2]string]string{
		{"model", "acme/fraud"}: "acme/fraud", {"model", "acme/fraud@v1"}: "acme/fraud@v1", {"version", "acme/fraud@v1"}: "acme/fraud@v1",
		{"dataset", "acme/x"}: "dataset:acme/x", {"organisation", "acme"}: "org:acme", {"system", "system"}: "system", {"project", "acme/risk"}: "project:acme/risk",
		{"version", "acme/fraud"}: "", {"model", "fraud"}: "", {"todo", "acme/x"}: "", {"model", "dataset:acme/x"}: "", {"organisation", "acme/x"}: "", {"system", "other"}: "", {"Model", "acme/fraud"}: "",
	} {
		r, ok := d.Resource(wire.Entity{Type: e[0], ID: e[1]}, wire.Entity{})
		if ok != (want != "") || ok && r.String() != want {
			t.Errorf("%v means %v %v, want %q", e, r, ok, want)
		}
		if ok {
			if back, ok := d.Resource(dictionary.OwnEntity(r), wire.Entity{}); !ok || back != r {
				t.Errorf("%v is called %v", r, dictionary.OwnEntity(r))
			}
		}
	}
	for e, ok := range map[[2]string]bool{{"user", "ana"}: true, {"service", "x"}: true, {"agent", "x"}: true, {"group", "x"}: false, {"user", "user:ana"}: false, {"user", "Ana"}: false, {"", "ana"}: false, {"user", ""}: false} {
		if id, got := d.Subject(wire.Entity{Type: e[0], ID: e[1]}); got != ok || got && string(id) != e[0]+":"+e[1] {
			t.Errorf("%v means %v %v", e, id, got)
		}
	}
	if len(d.ActionNames()) != len(sallyport.Actions()) {
		t.Error("actions are missing")
	}
	if _, ok := d.Action(wire.Action{Name: "read"}); ok {
		t.Error("read is an action")
	}
}

func dictionaryOf() *dictionary.Dictionary {
	return &dictionary.Dictionary{
		Subjects: []dictionary.Rule{{Type: "user", ID: []string{"1", "ana@x"}, Is: "user:ana"}, {Type: "job", Is: "service:$id"}},
		Actions:  []dictionary.Rule{{ID: []string{"cut"}, When: map[string]any{"soft": true}, Is: "dataset.write"}, {ID: []string{"cut"}, Is: "dataset.delete"}},
		Resources: []dictionary.Rule{
			{Type: "doc", When: map[string]any{"owner": "$subject", "level": 2}, Is: "dataset:acme/own"},
			{Type: "doc", When: map[string]any{"owner": "$any"}, Is: "dataset:acme/others"}, {Type: "doc", Is: "dataset:acme/$id"}},
	}
}

func TestRules(t *testing.T) {
	d := dictionaryOf()
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
	ana := wire.Entity{Type: "user", ID: "1"}
	for _, c := range []struct {
		id   string
		with map[string]any
		want string
	}{
		{"a", nil, "dataset:acme/a"}, {"a", map[string]any{"owner": "ana@x", "level": 2.0}, "dataset:acme/own"}, {"a", map[string]any{"owner": "ana@x", "level": 3.0}, "dataset:acme/others"},
		{"a", map[string]any{"owner": "ana@x", "level": "2"}, "dataset:acme/others"}, {"a", map[string]any{"owner": "bo@x", "level": 2.0}, "dataset:acme/others"},
		{"a", map[string]any{"owner": nil}, "dataset:acme/a"}, {"A B", nil, ""}, {"a@v1", nil, ""}, {"../x", nil, ""},
	} {
		r, ok := d.Resource(wire.Entity{Type: "doc", ID: c.id, Properties: c.with}, ana)
		if ok != (c.want != "") || ok && r.String() != c.want {
			t.Errorf("%q %v means %v %v, want %q", c.id, c.with, r, ok, c.want)
		}
	}
	for soft, want := range map[any]sallyport.Action{true: sallyport.DatasetWrite, false: sallyport.DatasetDelete, "true": sallyport.DatasetDelete} {
		if a, ok := d.Action(wire.Action{Name: "cut", Properties: map[string]any{"soft": soft}}); !ok || a != want {
			t.Errorf("soft %v means %v", soft, a)
		}
	}
	if id, ok := d.Subject(wire.Entity{Type: "job", ID: "a:b"}); ok {
		t.Errorf("a:b means %v", id)
	}
	var words []string
	for _, x := range d.SubjectsOf("job", []sallyport.PrincipalID{"service:z", "service:a"}) {
		words = append(words, x.Entity.ID+"="+string(x.Is))
	}
	if !slices.Equal(words, []string{"a=service:a", "z=service:z"}) {
		t.Errorf("jobs are %v", words)
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, edit := range map[string]func(*dictionary.Dictionary){
		"a subject that is none":    func(d *dictionary.Dictionary) { d.Subjects[0].Is = "ana" },
		"an action that is none":    func(d *dictionary.Dictionary) { d.Actions[0].Is = "cut" },
		"an action with a type":     func(d *dictionary.Dictionary) { d.Actions[0].Type = "x" },
		"a subject without a type":  func(d *dictionary.Dictionary) { d.Subjects[0].Type = "" },
		"a resource that is none":   func(d *dictionary.Dictionary) { d.Resources[0].Is = "doc" },
		"a list as a condition":     func(d *dictionary.Dictionary) { d.Resources[0].When["level"] = []any{1} },
		"more rules than there may": func(d *dictionary.Dictionary) { d.Actions = make([]dictionary.Rule, 10_001) },
	} {
		d := dictionaryOf()
		if edit(d); d.Check() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
