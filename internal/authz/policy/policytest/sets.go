package policytest

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/internal/authz/policy"
	"sallyport/internal/authz/policy/cedar"
)

// A Set is one policy set in every language.
type Set struct {
	Name        string
	Cedar, Rego policy.Source
}

// A rule is one policy of a set.
type rule struct {
	id, effect string
	notes      string // further annotations, "name=value; …"
	role       string // of the principal; "" = anybody
	action     string
	cedar      string // condition; "" = none
	rego       string
}

// Base is the set that most of the suite asks. More is Base with one forbid more, Failing has policies that fail where
// the risk is 100, and Context has one policy for each member of a context.
func Base() Set {
	return build("base", []rule{
		{"reader.read", "permit", "", "reader", "model.read", "", ""},
		{"owner.pull", "permit", "obligation=limit-bytes=1024", "", "model.pull", "principal is User && resource.owners.contains(principal.person)", "input.principal.attrs.person in input.resource.attrs.owners"},
		{"reader.pull", "permit", "obligation=limit-bytes=4096", "reader", "model.pull", "", ""},
		{"restricted.proof", "forbid", "outcome=step-up; needs=aal2", "", "model.pull", `resource.class == "restricted" && context.assurance < 2`, "restricted\n\tinput.context.assurance < 2"},
		{"restricted.risk", "forbid", "outcome=hold", "", "model.pull", `resource.class == "restricted" && context.risk > 80`, "restricted\n\tinput.context.risk > 80"},
		{"leavers.nothing", "forbid", "", "leaver", "model.read", "", ""},
	}, `restricted if input.resource.attrs["class"] == "restricted"`)
}

// More is Base with a forbid more.
func More() Set {
	return join("more", Base(), build("", []rule{{"more.night", "forbid", "", "", "model.pull", "!context.working", "not input.context.working"}}, ""))
}

// Failing has, beside sound policies, a permit and a forbid that cannot be evaluated where the risk is 100.
func Failing() Set {
	const cedarFails, regoFails = "context.risk + 9223372036854775708", "1 % (input.context.risk - 100)"
	return build("failing", []rule{
		{"plain.read", "permit", "", "", "model.read", "", ""},
		{"shaky.read", "permit", "", "", "model.read", cedarFails + " > 0", regoFails + " >= 0"},
		{"shaky.infer", "permit", "", "", "model.infer", cedarFails + " > 0", regoFails + " >= 0"},
		{"plain.pull", "permit", "", "", "model.pull", "", ""},
		{"shaky.forbid", "forbid", "", "", "model.pull", cedarFails + " < 0", regoFails + " < 0"},
	}, "")
}

// members are conditions on a context that hold of Full and not of the zero context.
func members() []rule {
	var rules []rule
	add := func(id, cedar, rego string) {
		rules = append(rules, rule{"member." + id, "permit", "", "", "server.read", cedar, rego})
	}
	add("now", `context.now > datetime("2026-01-01")`, "input.context.now > 1767225600000000000")
	add("hour", `context.now.toTime() >= duration("13h")`, "input.context.clock.hour >= 13")
	add("ip", `context has ip && context.ip.isInRange(ip("192.0.2.0/24"))`, `net.cidr_contains("192.0.2.0/24", input.context.ip)`)
	for _, name := range []string{"assurance", "authAge", "risk", "device.level", "history.short.bytes", "history.day.denials", "history.month.models", "history.month.exports"} {
		add(strings.ToLower(name), "context."+name+" > 1", "input.context."+name+" > 1")
	}
	add("posture", "context.device.postureAge < 100 && context.device.postureAge > 1", "input.context.device.postureAge < 100\n\tinput.context.device.postureAge > 1")
	add("training", "context.training < 100 && context.training > 1", "input.context.training < 100\n\tinput.context.training > 1")
	for _, name := range []string{"door", "file", "client", "actor", "purpose", "network", "country", "to", "device.class", "device.os"} {
		add(strings.ToLower(name), "context."+name+` != ""`, "input.context."+class(name)+` != ""`)
	}
	for _, name := range []string{"granted", "session", "bound", "working", "probation", "device.encrypted", "device.locked", "device.patched"} {
		add(name, "context."+name, "input.context."+name)
	}
	return rules
}

// class writes the member class as Rego can read it beside its keywords.
func class(name string) string { return strings.Replace(name, "device.class", `device["class"]`, 1) }

// Context has one policy for each member of a context: each permits server.read where the member is not zero.
func Context() Set { return build("context", members(), "") }

// Many has n permits and n forbids that all apply to model.read and model.pull.
func Many(n int) Set {
	var rules []rule
	for i := range n {
		rules = append(rules, rule{fmt.Sprintf("many.%d", n-i), "permit", "", "", "model.read", "", ""}, rule{fmt.Sprintf("none.%d", n-i), "forbid", "", "", "model.pull", "", ""})
	}
	return build("many", rules, "")
}

// build writes the set in each language.
func build(name string, rules []rule, helpers string) Set {
	var c, r, d strings.Builder
	r.WriteString("package sallyport\n\n" + helpers + "\n")
	d.WriteString("{")
	for i, x := range rules {
		if i > 0 {
			d.WriteString(",")
		}
		fmt.Fprintf(&d, "\n%q: {\"effect\": %q, \"owner\": \"test\", \"requirement\": \"AZ-3\"", x.id, x.effect)
		fmt.Fprintf(&c, "@id(%q) @owner(\"test\") @requirement(\"AZ-3\")", x.id)
		for note := range strings.SplitSeq(x.notes, "; ") {
			if name, value, ok := strings.Cut(note, "="); ok {
				fmt.Fprintf(&c, " @%s(%q)", name, value)
				fmt.Fprintf(&d, ", %q: %q", name, value)
			}
		}
		d.WriteString("}")
		fmt.Fprintf(&r, "%s contains %q if {\n\tinput.action.id == %q\n", x.effect, x.id, x.action)
		who := "principal"
		if x.role != "" {
			who += fmt.Sprintf(" in Role::%q", x.role)
			fmt.Fprintf(&r, "\tinput.principal[\"in\"].Role[%q]\n", x.role)
		}
		fmt.Fprintf(&c, "\n%s (%s, action == Action::%q, resource)", x.effect, who, x.action)
		if x.cedar != "" {
			fmt.Fprintf(&c, " when { %s }", x.cedar)
			fmt.Fprintf(&r, "\t%s\n", x.rego)
		}
		c.WriteString(";\n")
		r.WriteString("}\n\n")
	}
	d.WriteString("\n}\n")
	return Set{name, policy.Source{Schema: cedar.Schema, Policies: map[string]string{name + ".cedar": c.String()}},
		policy.Source{Schema: cedar.Schema, Policies: map[string]string{name + ".rego": r.String(), "policies.json": d.String()}}}
}

// join puts two sets together.
func join(name string, a, b Set) Set {
	cut := func(s Set) string {
		text := strings.TrimSpace(s.Rego.Policies["policies.json"])
		return strings.TrimSpace(text[1 : len(text)-1])
	}
	a.Cedar.Policies["more.cedar"] = b.Cedar.Policies[b.Name+".cedar"]
	a.Rego.Policies["more.rego"] = b.Rego.Policies[b.Name+".rego"]
	a.Rego.Policies["policies.json"] = "{\n" + cut(a) + ",\n" + cut(b) + "\n}\n"
	a.Name = name
	return a
}

// Sets are all sets of the suite.
func Sets() []Set { return slices.Clone([]Set{Base(), More(), Failing(), Context(), Many(20)}) }
