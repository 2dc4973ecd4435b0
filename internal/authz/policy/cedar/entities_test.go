package cedar_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/internal/authz/policy"
	own "sallyport/internal/authz/policy/cedar"
)

func text(s string) policy.Value { return policy.Value{Kind: policy.StringValue, String: s} }

func reference(kind, id string) policy.Value {
	return policy.Value{Kind: policy.EntityValue, Entity: policy.UID{Type: kind, ID: id}}
}

func user(id string, parents ...policy.UID) policy.Entity {
	return policy.Entity{UID: policy.UID{Type: "User", ID: id}, Parents: parents,
		Attrs: map[string]policy.Value{"name": text(id), "person": reference("User", id)}}
}

func model(id, class string) policy.Entity {
	return policy.Entity{UID: policy.UID{Type: "Model", ID: id},
		Attrs: map[string]policy.Value{"class": text(class), "owners": {Kind: policy.SetValue, Set: []policy.Value{reference("User", "ana")}}}}
}

func TestLoadRefuses(t *testing.T) {
	engine := mustCompile(t, source(head+"permit(principal, action, resource);"))
	with := func(e policy.Entity, name string, v policy.Value) policy.Entity {
		e.Attrs[name] = v
		return e
	}
	deep := text("x")
	for range 20 {
		deep = policy.Value{Kind: policy.SetValue, Set: []policy.Value{deep}}
	}
	tests := []struct {
		name   string
		entity policy.Entity
		want   string
	}{
		{"an empty type", policy.Entity{UID: policy.UID{ID: "x"}}, "no name of an entity"},
		{"an unknown type", policy.Entity{UID: policy.UID{Type: "Robot", ID: "x"}}, "Robot"},
		{"an action", policy.Entity{UID: policy.UID{Type: "Action", ID: "model.pull"}}, "come from the schema"},
		{"an action that does not exist", policy.Entity{UID: policy.UID{Type: "Action", ID: "x"}}, "come from the schema"},
		{"a missing attribute", policy.Entity{UID: policy.UID{Type: "Model", ID: "m"}}, "Model"},
		{"an unknown attribute", with(user("ana"), "admin", policy.Value{Kind: policy.BoolValue, Bool: true}), "admin"},
		{"an attribute of another type", with(user("ana"), "name", policy.Value{Kind: policy.LongValue}), "name"},
		{"an entity of another type", with(user("ana"), "person", reference("Group", "g")), "person"},
		{"a value without kind", with(user("ana"), "name", policy.Value{String: "ana"}), "kind 0"},
		{"a parent of a wrong type", user("ana", policy.UID{Type: "Model", ID: "m"}), "parent"},
		{"a parent without type", user("ana", policy.UID{}), "no name of an entity"},
		{"a class that does not exist", model("m", "Restricted"), "use public, internal or restricted"},
		{"no class", model("m", ""), "use public, internal or restricted"},
		{"a name that is not UTF-8", user("a\xff"), "no name of an entity"},
		{"a text that is not UTF-8", with(user("ana"), "name", text("\xff")), "name"},
		{"a long text", with(user("ana"), "name", text(strings.Repeat("a", own.MaxString+1))), "name"},
		{"a deep value", with(user("ana"), "name", deep), "name"},
		{"many parents", user("ana", make([]policy.UID, own.MaxParents+1)...), "more than"},
		{"a bad address", with(user("ana"), "name", policy.Value{Kind: policy.IPValue, String: "300.1.1.1"}), "name"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := engine.Load([]policy.Entity{test.entity}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
	if _, err := engine.Load([]policy.Entity{user("ana"), user("ana")}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("one entity twice: error %v", err)
	}
	if _, err := engine.Load(make([]policy.Entity, own.MaxEntities+1)); err == nil {
		t.Error("more entities than there may be are loaded")
	}
}

// TestEveryKindOfValue loads each kind under a schema that has it and asks for it.
func TestEveryKindOfValue(t *testing.T) {
	src := policy.Source{
		Schema: `entity User = {b: Bool, l: Long, s: String, e: User, set: Set<Long>, r: {x: String}, ip: ipaddr};
action "a" appliesTo { principal: [User], resource: [User], context: {now: datetime, assurance: Long, authAge: Long, ip?: ipaddr, door: String, file: String, granted: Bool, session: Bool, bound: Bool, client: String, actor: String,
		purpose: String, network: String, risk: Long, device: {class: String, level: Long, postureAge: Long, os: String, encrypted: Bool, locked: Bool, patched: Bool}} };`,
		Policies: map[string]string{"a": head + `permit(principal, action, resource) when {
			principal.b && principal.l == 7 && principal.s == "seven" && principal.e == resource && principal.set.contains(2) &&
			principal.r.x == "y" && principal.ip.isInRange(ip("10.0.0.0/8")) &&
			context.now.toTime() == duration("1h") && context.assurance == 3 && context.authAge == 9 && context has ip && context.ip == ip("10.0.0.1") &&
			context.door == "d" && context.file == "f" && context.granted && context.session &&
			context.bound && context.client == "cl" && context.actor == "agent:x" && context.purpose == "pu" && context.network == "office" && context.risk == 8 &&
			context.device == {class: "admin", level: 3, postureAge: 60, os: "linux", encrypted: true, locked: true, patched: true} };`},
	}
	engine := mustCompile(t, src)
	ana := policy.UID{Type: "User", ID: "ana"}
	loaded, err := engine.Load([]policy.Entity{{UID: ana, Attrs: map[string]policy.Value{
		"b": {Kind: policy.BoolValue, Bool: true}, "l": {Kind: policy.LongValue, Long: 7}, "s": text("seven"), "e": reference("User", "ana"),
		"set": {Kind: policy.SetValue, Set: []policy.Value{{Kind: policy.LongValue, Long: 1}, {Kind: policy.LongValue, Long: 2}}},
		"r":   {Kind: policy.RecordValue, Record: map[string]policy.Value{"x": text("y")}},
		"ip":  {Kind: policy.IPValue, String: "10.1.2.3"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	whole := policy.Context{Now: time.Date(2026, 1, 2, 1, 0, 0, 0, time.UTC), Assurance: 3, AuthAge: 9, IP: netip.MustParseAddr("::ffff:10.0.0.1"),
		Door: "d", File: "f", Granted: true, Session: true,
		Bound: true, Client: "cl", Actor: "agent:x", Purpose: "pu", Network: "office", Risk: 8,
		Device: policy.Device{Class: "admin", Level: 3, Posture: 60, OS: "linux", Encrypted: true, Locked: true, Patched: true}}
	ask := func(c policy.Context) policy.Result {
		return engine.Evaluate(policy.Query{Principal: ana, Action: policy.UID{Type: "Action", ID: "a"}, Resource: ana, Context: c}, loaded)
	}
	if r := ask(whole); !r.Allowed {
		t.Errorf("the whole context: %+v", r)
	}
	for name, change := range map[string]func(*policy.Context){
		"now":       func(c *policy.Context) { c.Now = c.Now.Add(time.Second) },
		"assurance": func(c *policy.Context) { c.Assurance = 2 },
		"authAge":   func(c *policy.Context) { c.AuthAge = 8 },
		"ip":        func(c *policy.Context) { c.IP = netip.Addr{} },
		"door":      func(c *policy.Context) { c.Door = "" },
		"file":      func(c *policy.Context) { c.File = "" },
		"granted":   func(c *policy.Context) { c.Granted = false },
		"session":   func(c *policy.Context) { c.Session = false },
		"bound":     func(c *policy.Context) { c.Bound = false },
		"client":    func(c *policy.Context) { c.Client = "" },
		"actor":     func(c *policy.Context) { c.Actor = "" },
		"purpose":   func(c *policy.Context) { c.Purpose = "" },
		"network":   func(c *policy.Context) { c.Network = "" },
		"risk":      func(c *policy.Context) { c.Risk = 9 },
		"class":     func(c *policy.Context) { c.Device.Class = "" },
		"level":     func(c *policy.Context) { c.Device.Level = 2 },
		"posture":   func(c *policy.Context) { c.Device.Posture = 61 },
		"os":        func(c *policy.Context) { c.Device.OS = "" },
		"encrypted": func(c *policy.Context) { c.Device.Encrypted = false },
		"locked":    func(c *policy.Context) { c.Device.Locked = false },
		"patched":   func(c *policy.Context) { c.Device.Patched = false },
	} {
		c := whole
		change(&c)
		if r := ask(c); r.Allowed || len(r.Errors) != 0 {
			t.Errorf("without %s: %+v", name, r)
		}
	}
}

func TestEvaluateRefuses(t *testing.T) {
	engine := mustCompile(t, source(head+"permit(principal, action, resource);"))
	other := mustCompile(t, source(head+"permit(principal, action, resource);//"))
	load := func(e *own.Engine) policy.Entities {
		l, err := e.Load([]policy.Entity{user("ana"), model("acme/fraud", "public")})
		if err != nil {
			t.Fatal(err)
		}
		if l.Len() != 2 {
			t.Errorf("%d entities loaded, want 2", l.Len())
		}
		return l
	}
	q := policy.Query{Principal: policy.UID{Type: "User", ID: "ana"}, Action: policy.UID{Type: "Action", ID: "model.pull"},
		Resource: policy.UID{Type: "Model", ID: "acme/fraud"}}
	if r := engine.Evaluate(q, load(engine)); !r.Allowed {
		t.Fatalf("a good question: %+v", r)
	}
	group, onSystem, nobody := q, q, q
	group.Action.ID = "possess"
	onSystem.Resource = policy.UID{Type: "System", ID: "sallyport"}
	nobody.Principal = policy.UID{}
	for name, test := range map[string]struct {
		q    policy.Query
		over policy.Entities
		want string
	}{
		"entities of another engine":              {q, load(other), "engine.entities"},
		"no entities":                             {q, nil, "engine.entities"},
		"a group instead of an action":            {group, load(engine), "engine.request"},
		"a resource that the action does not fit": {onSystem, load(engine), "engine.request"},
		"nobody": {nobody, load(engine), "engine.request"},
	} {
		if r := engine.Evaluate(test.q, test.over); r.Allowed || !slices.Equal(r.Errors, []string{test.want}) {
			t.Errorf("%s: %+v, want error %s", name, r, test.want)
		}
	}
}

// TestActionGroups is PX-e: the engine knows the groups of actions by itself.
func TestActionGroups(t *testing.T) {
	engine := mustCompile(t, source(head+`permit(principal, action in Action::"possess", resource);`))
	loaded, err := engine.Load([]policy.Entity{user("ana"), model("acme/fraud", "public")})
	if err != nil {
		t.Fatal(err)
	}
	for action, want := range map[string]bool{"model.pull": true, "model.pullAux": true, "model.export": true, "model.infer": false, "model.read": false} {
		r := engine.Evaluate(policy.Query{Principal: policy.UID{Type: "User", ID: "ana"}, Action: policy.UID{Type: "Action", ID: action},
			Resource: policy.UID{Type: "Model", ID: "acme/fraud"}}, loaded)
		if r.Allowed != want {
			t.Errorf("%s: %+v, want allowed = %v", action, r, want)
		}
	}
}
