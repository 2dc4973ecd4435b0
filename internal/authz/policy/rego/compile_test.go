package rego_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/policy/policytest"
	"sallyport/internal/authz/policy/rego"
)

// one declares the policy "x", a permit, and "no", a forbid.
const one = `{"x": {"effect": "permit", "owner": "o", "requirement": "AZ-3"}, "no": {"effect": "forbid", "owner": "o", "requirement": "AZ-3"}}`

// sound is a set of them; more rules are added to it.
const sound = "package sallyport\n\nforbid contains \"no\" if input.context.risk > 90\n\n"

func source(rules, documents string, more ...string) policy.Source {
	src := policy.Source{Schema: cedar.Schema, Policies: map[string]string{"a.rego": rules, "policies.json": documents}}
	for i := 0; i+1 < len(more); i += 2 {
		src.Policies[more[i]] = more[i+1]
	}
	return src
}

func mustCompile(t testing.TB, src policy.Source) *rego.Engine {
	t.Helper()
	e, err := rego.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// ask asks whether Ana may read acme/open.
func ask(t testing.TB, e *rego.Engine, change func(*policy.Query)) policy.Result {
	t.Helper()
	over, err := e.Load(policytest.Entities())
	if err != nil {
		t.Fatal(err)
	}
	q := policytest.Query("ana", "model.read", "open")
	if change != nil {
		change(&q)
	}
	return e.Evaluate(q, over)
}

// TestCompileRefuses: what is not understood, cannot be, or is not closed is no set.
func TestCompileRefuses(t *testing.T) {
	permit := func(body string) string { return sound + "permit contains \"x\" if {\n\t" + body + "\n}\n" }
	good := permit("input.context.session")
	mustCompile(t, source(good, one))
	declared := func(members string) string {
		return `{"x": {` + members + `}, "no": {"effect": "forbid", "owner": "o", "requirement": "AZ-3"}}`
	}
	for name, x := range map[string]struct {
		src  policy.Source
		want string
	}{
		"syntax":                        {source("package sallyport\npermit contains", one), "a.rego"},
		"an empty file":                 {source("", one), "empty"},
		"rego of before v1":             {source("package sallyport\npermit[\"x\"] { true }", one), "a.rego"},
		"no policies.json":              {policy.Source{Schema: cedar.Schema, Policies: map[string]string{"a.rego": good}}, "declares no policy"},
		"policies.json of another form": {source(good, `["x"]`), "declares no policy"},
		"a name twice":                  {source(good, `{"x": {}, "x": {}}`), "twice"},
		"a declaration of another form": {source(good, `{"x": 1}`), "no object"},
		"no effect":                     {source(good, declared(`"owner": "o", "requirement": "AZ-3"`)), "no effect"},
		"an effect of no name":          {source(good, declared(`"effect": "allow", "owner": "o", "requirement": "AZ-3"`)), "not understood"},
		"a misspelt annotation":         {source(good, declared(`"effect": "permit", "owner": "o", "requirement": "AZ-3", "outcom": "hold"`)), "outcom"},
		"an annotation that is no text": {source(good, declared(`"effect": "permit", "owner": ["o"], "requirement": "AZ-3"`)), "not understood"},
		"no owner":                      {source(good, declared(`"effect": "permit", "requirement": "AZ-3"`)), "@owner"},
		"for auditors only":             {source(good, declared(`"effect": "permit", "owner": "o", "requirement": "AZ-3", "audience": "auditor"`)), "cannot keep"},
		"a policy without a rule":       {source(sound, one), "no rule can give it"},
		"a rule without a policy":       {source(good+"permit contains \"y\" if true", one), "not declared"},
		"a forbid that permits":         {source(good+"permit contains \"no\" if true", one), "not declared as a permit"},
		"no set":                        {source(sound+"permit := \"x\" if true", one), "is a set of ids"},
		"a function":                    {source(sound+"permit(x) if x", one), "is a set of ids"},
		"an object":                     {source(sound+"permit[id] := 1 if some id in [\"x\"]", one), "is a set of ids"},
		"a number as id":                {source(good+"permit contains 1 if true", one), "is no id"},
		"input that is misspelt":        {source(permit("input.context.assurence > 1"), one), "assurence"},
		"an attribute that is misspelt": {source(permit(`input.resource.attrs.klass == "public"`), one), "klass"},
		"a type that is not there":      {source(permit(`input.principal["in"].Rolle.reader`), one), "Rolle"},
		"a wrong type":                  {source(permit(`input.context.risk == "high"`), one), "a.rego"},
		"data that is not there":        {source(permit("data.grants.ana"), one), "leads to no rule"},
		"data below data":               {source(permit("data.policies.y.owner"), one), "leads to no rule"},
		"a rule that is not there":      {source(permit("data.helpers.nobody"), one, "b.rego", "package helpers\n\nsome_body := true"), "leads to no rule"},
		"all data":                      {source(permit("some k; data[k]"), one), "recursive"},
		"a package over a document":     {source(good, one, "b.rego", "package policies\n\nx := 1"), "name of a document"},
		"recursion":                     {source(sound+"permit contains \"x\" if f(1)\n\nf(x) := f(x)", one), "recursive"},
		"an unused variable":            {source(permit("y := 1"), one), "unused"},
		"a number with a point":         {source(permit("input.context.risk > 0.5"), one), "whole number"},
		"a number without end":          {source(permit("input.context.risk > 1e99999999"), one), "number"},
		"such a number in data":         {source(good, one, "d.json", `[1e99999999]`), "number"},
		"data that nests too deep":      {source(good, one, "d.json", strings.Repeat("[", 40)+strings.Repeat("]", 40)), "nest"},
		"a document of a strange name":  {source(good, one, "my-data.json", "{}"), "name of a document"},
		"a document called sallyport":   {source(good, one, "sallyport.json", "{}"), "name of a document"},
		"another file":                  {source(good, one, "a.cedar", ""), "files only"},
		"brackets without end":          {source(permit("x := "+strings.Repeat("[", 5_000)+strings.Repeat("]", 5_000)), one), "a.rego"},
		"a rule without end":            {source(permit("1 == "+strings.Repeat("1+", 10_000)+"1"), one), "depth"},
		"a rule too long":               {source(permit(strings.Repeat("input.context.risk > 1\n\t", 1_000)+"input.context.session"), one), "bytes"},
		"a file too large":              {source(good+strings.Repeat("# x\n", 70_000), one), "bytes"},
		"too many rules":                {source(good+strings.Repeat("a := 1\n", 5_001), one), "rules"},
		"a text that is not UTF-8":      {source(good+"# \xff", one), "UTF-8"},
		"a schema that is none":         {policy.Source{Schema: "entity", Policies: source(good, one).Policies}, "schema"},
		"preparing from a question":     {source(good, one, "p.rego", "package prepared\n\nx := input.context.risk"), "context"},
		"preparing that takes too long": {source(good, one, "n.json", numbers(400), "p.rego", "package prepared\n\nx := count([1 | some a in data.n; some b in data.n; some c in data.n; a + b + c < 0])"), "too long"},
		"preparing what is too large":   {source(good, one, "p.rego", "package prepared\n\n"+doubled(40)), "too large"},
		"preparing that fails":          {source(good, one, "p.rego", "package prepared\n\nx := 1 % y\n\ny := count(data.policies) - 2"), "prepared"},
	} {
		e, err := rego.Compile(x.src)
		if kind := sallyport.KindOf(err); e != nil || kind != sallyport.Invalid && kind != sallyport.TooLarge || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, x.want)
		}
	}
}

// doubled is a value that holds another twice, which holds another twice, and so on.
func doubled(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "x%d := [x%d, x%d]\n\n", i, i+1, i+1)
	}
	fmt.Fprintf(&b, "x%d := 1\n", n)
	return b.String()
}

func numbers(n int) string {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	text, _ := json.Marshal(list)
	return string(text)
}

// TestClosed: neither clock, chance, network, files nor the machine are there, nor what makes much out of little.
func TestClosed(t *testing.T) {
	for _, call := range []string{
		`time.now_ns() > 0`, `time.clock([0, "Europe/Berlin"])`, `rand.intn("x", 2) == 0`, `uuid.rfc4122("x")`, `opa.runtime().env`, `http.send({"method": "get", "url": "http://127.0.0.1"})`,
		`net.lookup_ip_addr("localhost")`, `net.cidr_expand("10.0.0.0/8")`, `io.jwt.encode_sign({}, {}, {})`, `rego.parse_module("x", "y")`, `trace("x")`, `walk(input)`,
		`numbers.range(1, 1000000000)`, `sprintf("%1000000d", [1])`, `concat("", ["a", "b"])`, `replace("a", "a", "aa")`, `array.concat([1], [2])`, `regex.match("(a*)*b", "aaaa")`, `glob.match("*", [], "x")`,
		`2 * 3 == 6`, `6 / 3 == 2`, `bits.lsh(1, 1000000000)`, `json.unmarshal("1")`, `yaml.unmarshal("1")`, `to_number("1e999999999")`, `json.match_schema({}, {})`, `graphql.is_valid("", "")`,
		`product([1, 2])`, `object.union({}, {})`, `format_int(1, 2)`, `strings.reverse("a")`, `x := $"{input.context.door}"; x != ""`,
	} {
		_, err := rego.Compile(source(sound+"permit contains \"x\" if {\n\t"+call+"\n}\n", one))
		if sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: error %v, want one of kind invalid", call, err)
		}
	}
	mustCompile(t, source(sound+`permit contains "x" if {
	startswith(input.context.file, "model")
	net.cidr_contains("10.0.0.0/8", input.context.ip)
	count(split(input.context.door, "-")) > abs(-1)
}`, one))
}

// TestErrorsAreOfWhoNeedsThem: what fails is the policies' that needed it, also where one rule serves many, and never
// what merely stands beside.
func TestErrorsAreOfWhoNeedsThem(t *testing.T) {
	const rules = `package sallyport

permit contains id if {
	some id, p in data.policies
	p.effect == "permit"
	1 % p.scope >= 0
}

forbid contains id if {
	some id, p in data.policies
	p.effect == "forbid"
	1 % p.scope > input.context.risk
}
`
	policy1 := func(effect string, scope any) map[string]any {
		return map[string]any{"effect": effect, "owner": "o", "requirement": "AZ-3", "scope": scope}
	}
	for name, x := range map[string]struct {
		policies        map[string]any
		allowed         bool
		reasons, errors string
	}{
		"none":                             {map[string]any{"a": policy1("permit", 2), "b": policy1("permit", 3)}, true, "a b", ""},
		"a permit":                         {map[string]any{"a": policy1("permit", 2), "b": policy1("permit", 0)}, true, "a", "b"},
		"all":                              {map[string]any{"a": policy1("permit", 0), "b": policy1("permit", "x")}, false, "", "a b"},
		"a forbid":                         {map[string]any{"a": policy1("permit", 2), "f": policy1("forbid", 0)}, true, "a", "f"},
		"a forbid beside one that applies": {map[string]any{"a": policy1("permit", 2), "f": policy1("forbid", 0), "g": policy1("forbid", 2)}, false, "g", "f"},
	} {
		text, err := json.Marshal(x.policies)
		if err != nil {
			t.Fatal(err)
		}
		r := ask(t, mustCompile(t, source(rules, string(text))), nil)
		if r.Allowed != x.allowed || strings.Join(r.Reasons, " ") != x.reasons || strings.Join(r.Errors, " ") != x.errors {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestUnknownIds: an id out of data that is no policy, or one of the other effect, is a fault and denies.
func TestUnknownIds(t *testing.T) {
	for name, ids := range map[string]string{"unknown": `["x", "y"]`, "the other effect": `["x", "no"]`, "no text": `["x", 1]`} {
		r := ask(t, mustCompile(t, source(sound+"permit contains id if some id in data.ids", one, "ids.json", ids)), nil)
		if r.Allowed || len(r.Reasons) > 0 || !slices.Equal(r.Errors, []string{"engine.policy"}) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestBudget: a set that would take minutes ends, by counting and so after the same work everywhere.
func TestBudget(t *testing.T) {
	bomb := sound + `permit contains "x" if {
	some a in data.n
	some b in data.n
	some c in data.n
	a + b + c < 0
}`
	e := mustCompile(t, source(bomb, one, "n.json", numbers(1000)))
	for range 3 {
		if r := ask(t, e, nil); r.Allowed || len(r.Reasons) > 0 || !slices.Equal(r.Errors, []string{"engine.budget"}) {
			t.Errorf("%+v", r)
		}
	}
	if r := ask(t, e, func(q *policy.Query) { q.Context.Risk = 91 }); r.Allowed {
		t.Errorf("%+v", r)
	}
	fine := strings.ReplaceAll(bomb, "data.n", "data.few")
	if r := ask(t, mustCompile(t, source(fine, one, "few.json", numbers(20))), nil); len(r.Errors) > 0 {
		t.Errorf("%+v", r)
	}
}

// TestPrepared: an index over documents is computed once, and counts no steps of a question.
func TestPrepared(t *testing.T) {
	const prepared = `package prepared

pairs contains [a, b] if {
	some a in data.n
	some b in data.n
	a + b == 399
}

last[b] := a if some [a, b] in pairs
`
	e := mustCompile(t, source(sound+"permit contains \"x\" if [0, 399] in data.prepared.pairs", one, "n.json", numbers(400), "p.rego", prepared))
	if r := ask(t, e, nil); !r.Allowed {
		t.Errorf("%+v", r)
	}
}

// TestVersion: every byte of every file counts.
func TestVersion(t *testing.T) {
	good := sound + "permit contains \"x\" if input.context.session\n"
	first := mustCompile(t, source(good, one)).Version()
	for name, src := range map[string]policy.Source{
		"a comment":        source(good+"# more\n", one),
		"a space in data":  source(good, one+" "),
		"another document": source(good, one, "d.json", "{}"),
		"another schema":   {Schema: cedar.Schema + "\n", Policies: source(good, one).Policies},
	} {
		if mustCompile(t, src).Version() == first {
			t.Errorf("%s: the same version", name)
		}
	}
}

// TestOldSchema: a set keeps the schema that it was written against, and is given entities as that knows them.
func TestOldSchema(t *testing.T) {
	old := strings.NewReplacer("  purposes: Set<String>, // what it may be used for; empty where nobody has said\n", "").Replace(cedar.Schema)
	if old == cedar.Schema {
		t.Fatal("the schema has changed; change the test")
	}
	src := source(sound+"permit contains \"x\" if count(input.resource.attrs) == 2", one)
	if r := ask(t, mustCompile(t, src), nil); r.Allowed {
		t.Errorf("with purposes: %+v", r)
	}
	src.Schema = old
	if r := ask(t, mustCompile(t, src), nil); !r.Allowed {
		t.Errorf("without purposes: %+v", r)
	}
}

// TestTexts: a policy is shown by its rules, or by its declaration where a rule serves many.
func TestTexts(t *testing.T) {
	e := mustCompile(t, source(sound+"permit contains id if some id in data.ids", one, "ids.json", `["x"]`))
	x, _ := e.Info("x")
	no, _ := e.Info("no")
	if !strings.Contains(x.Text, `"effect": "permit"`) || no.Text != `forbid contains "no" if input.context.risk > 90` {
		t.Errorf("texts %q and %q", x.Text, no.Text)
	}
}

// FuzzCompile wants no panic and no endless work, and of every set that compiles the same version and answer twice.
func FuzzCompile(f *testing.F) {
	f.Add(sound+"permit contains \"x\" if input.context.session", one, "package prepared\n\ny := 1")
	f.Add("package sallyport\n\npermit contains id if some id, p in data.policies", one, "package a.b\n\nc(x) := x")
	f.Add("package sallyport\n\nimport data.policies as p\n\nforbid contains \"no\" if { every x in [1] { x > 0 } }\npermit contains \"x\" if not p.y", one, "")
	for _, s := range policytest.Sets() {
		f.Add(s.Rego.Policies[s.Name+".rego"], s.Rego.Policies["policies.json"], "package z")
	}
	f.Fuzz(func(t *testing.T, rules, policies, more string) {
		src := source(rules, policies, "b.rego", more)
		e, err := rego.Compile(src)
		if err != nil {
			if kind := sallyport.KindOf(err); kind != sallyport.Invalid && kind != sallyport.TooLarge {
				t.Errorf("error %v of kind %v", err, kind)
			}
			return
		}
		again := mustCompile(t, src)
		if a, b := ask(t, e, nil), ask(t, again, nil); e.Version() != again.Version() || fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("not the same twice: %+v and %+v", a, b)
		}
		for _, id := range ask(t, e, nil).Reasons {
			if _, ok := e.Info(id); !ok {
				t.Errorf("the reason %q is no policy", id)
			}
		}
	})
}
