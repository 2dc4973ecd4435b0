package world_test

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"sallyport/examples/acme"
	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
	"sallyport/internal/authz/policy/world"
)

// acmePolicies are the policies of acme, and those of further directories.
func acmePolicies(t testing.TB, more ...string) policy.Source {
	t.Helper()
	src := policy.Source{Schema: cedar.Schema, Policies: map[string]string{}}
	for _, dir := range append([]string{"policies"}, more...) {
		files, err := fs.Glob(acme.Files, dir+"/*.cedar")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := acme.Files.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			src.Policies[path.Base(f)] = string(b)
		}
	}
	return src
}

func compiled(t testing.TB, src policy.Source) *cedar.Engine {
	t.Helper()
	e, err := cedar.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// with is acme with further policies.
func with(t testing.TB, more string) *cedar.Engine {
	t.Helper()
	src := acmePolicies(t)
	src.Policies["more.cedar"] = more
	return compiled(t, src)
}

func filter(t testing.TB, s string) world.Filter {
	t.Helper()
	f, err := world.ParseFilter(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// GV-3: a change that opens something is found with a question that shows it, one that does not is checked.
func TestNoWider(t *testing.T) {
	old := compiled(t, acmePolicies(t))
	for name, test := range map[string]struct {
		more, filter string
		wider        string // a part of the example's action; "" = none
	}{
		"the same":                       {"", "", ""},
		"a forbid more":                  {`@id("x") @owner("o") @requirement("AZ-1") forbid (principal, action == Action::"model.pull", resource);`, "", ""},
		"a permit of everything":         {`@id("x") @owner("o") @requirement("AZ-1") permit (principal, action, resource);`, "", "."},
		"to one person":                  {`@id("x") @owner("o") @requirement("AZ-1") permit (principal == User::"bo", action == Action::"model.deploy", resource);`, "", "model.deploy"},
		"what is forbidden anyway":       {`@id("x") @owner("o") @requirement("AZ-1") permit (principal in Role::"administrator", action == Action::"model.pull", resource);`, "", ""},
		"only of what is public":         {`@id("x") @owner("o") @requirement("AZ-1") permit (principal, action == Action::"model.pull", resource) when { resource.class == "public" };`, "class == restricted", ""},
		"and seen without the filter":    {`@id("x") @owner("o") @requirement("AZ-1") permit (principal, action == Action::"model.pull", resource) when { resource.class == "public" };`, "", "model.pull"},
		"of one environment":             {`@id("x") @owner("o") @requirement("AZ-1") permit (principal, action == Action::"model.infer", resource in Environment::"staging");`, "environment == production", ""},
		"at night on a rare network":     {`@id("x") @owner("o") @requirement("AZ-1") permit (principal is User, action == Action::"dataset.delete", resource) when { context.network == "lab" && context.now.toTime() < duration("3h") };`, "", "dataset.delete"},
		"for paths of a kind":            {`@id("x") @owner("o") @requirement("AZ-1") permit (principal is User, action == Action::"model.pullAux", resource) when { context.file like "*.json" };`, "", "model.pullAux"},
		"from an address":                {`@id("x") @owner("o") @requirement("AZ-1") permit (principal is Service, action == Action::"model.push", resource) when { context has ip && context.ip.isInRange(ip("10.0.0.0/8")) };`, "", "model.push"},
		"for its owner":                  {`@id("x") @owner("o") @requirement("AZ-1") permit (principal is User, action == Action::"model.rename", resource) when { resource.owners.contains(principal.person) };`, "", "model.rename"},
		"for who did not push":           {`@id("x") @owner("o") @requirement("AZ-1") permit (principal is User, action == Action::"model.retire", resource is Version) when { resource has pushedBy && resource.pushedBy != principal.person };`, "", "model.retire"},
		"by a narrow number":             {`@id("x") @owner("o") @requirement("AZ-1") permit (principal is User, action == Action::"model.train", resource) when { context.risk == 37 };`, "", "model.train"},
		"after little was done":          {`@id("x") @owner("o") @requirement("AZ-1") permit (principal is User, action == Action::"model.tune", resource) when { context.history.day.bytes < 1000 };`, "", "model.tune"},
		"for a purpose that it declares": {`@id("x") @owner("o") @requirement("AZ-1") permit (principal is User, action == Action::"model.embed", resource) when { resource has purposes && resource.purposes.contains(context.purpose) };`, "", "model.embed"},
	} {
		next := old
		if test.more != "" {
			next = with(t, test.more)
		}
		r, err := world.NoWider(t.Context(), old, next, filter(t, test.filter), world.Limits{})
		switch {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case test.wider == "" && r.Example != nil:
			t.Errorf("%s: found %+v", name, r.Example)
		case test.wider != "" && (r.Example == nil || !strings.Contains(r.Example.Action, test.wider)):
			t.Errorf("%s: found nothing among %d questions", name, r.Questions)
		}
		t.Logf("%s: %d questions, %d pairs", name, r.Questions, r.Pairs)
	}
}

// What an expression cannot mean is refused: it would be checked for nothing.
func TestFilters(t *testing.T) {
	old := compiled(t, acmePolicies(t))
	for s, good := range map[string]bool{
		"": true, "class == restricted": true, `class == "restricted" and action in model.pull, model.export`: true, "group != govern": true, "principal == Service and role == operator": true,
		"class = restricted": false, "class == secret": false, "klass == restricted": false, "action == model.fly": false, "group in": false, "environment == moon": false,
		"principal == Robot": false, "class == restricted or group == use": false, strings.Repeat("class == public and ", 40) + "class == public": false, strings.Repeat("x", 2000): false,
	} {
		f, err := world.ParseFilter(s)
		if err == nil {
			_, err = world.NoWider(t.Context(), old, old, f, world.Limits{})
		}
		if (err == nil) != good {
			t.Errorf("%.60q: %v", s, err)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"class == restricted", "group in possess, release and role != operator", "action == model.pull and", "class  ==  'public'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := world.ParseFilter(s); err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}
	})
}

// A search says when it cannot be whole, and does not say that it was.
func TestTooLarge(t *testing.T) {
	old, next := compiled(t, acmePolicies(t)), with(t, `@id("x") @owner("o") @requirement("AZ-1") permit (principal in Role::"administrator", action == Action::"model.pull", resource);`)
	if r, err := world.NoWider(t.Context(), old, next, world.Filter{}, world.Limits{Questions: 10}); err == nil || r.Example != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

// GV-5: permits that permit nothing, and those that change nothing.
func TestEffects(t *testing.T) {
	e := with(t, `@id("x.never") @owner("o") @requirement("AZ-1") permit (principal in Role::"administrator", action == Action::"model.pull", resource);
@id("x.narrower") @owner("o") @requirement("AZ-1") permit (principal in Role::"auditor", action == Action::"audit.read", resource is Model) when { context.assurance >= 2 };
@id("x.contradiction") @owner("o") @requirement("AZ-1") permit (principal is User, action == Action::"model.infer", resource) when { context.risk > 60 && context.risk < 50 };`)
	found, r, err := world.Effects(t.Context(), e, world.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d questions", r.Questions)
	for _, p := range e.Policies() {
		f := found[p.ID]
		idle := p.Effect == policy.Permit && !f.Alone || !f.Applied
		if want := strings.HasPrefix(p.ID, "x."); idle != want {
			t.Errorf("%s: %+v", p.ID, f)
		}
	}
	if f := found["x.narrower"]; !slices.Equal(f.With, []string{"auditor.logs"}) {
		t.Errorf("x.narrower: %+v", f)
	}
}
