package patch_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/web/scim/patch"
	"sallyport/internal/web/scim/resource"
)

const ana = `{"schemas":["` + resource.UserURN + `"],"userName":"ana@acme.example","active":true,"name":{"givenName":"Ana","familyName":"Lima"},
	"emails":[{"value":"ana@acme.example","type":"work","primary":true},{"value":"ana@home.example","type":"home"}],
	"` + resource.EnterpriseURN + `":{"department":"Risk","manager":{"value":"m1"}}}`

const team = `{"schemas":["` + resource.GroupURN + `"],"displayName":"Risk","members":[{"value":"u1"},{"value":"u2","type":"User"}]}`

func decode(t testing.TB, typ resource.Type, text string) resource.Record {
	t.Helper()
	r, err := typ.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func body(operations string) []byte {
	return fmt.Appendf(nil, `{"schemas":["%s"],"Operations":[%s]}`, patch.URN, operations)
}

// apply returns what operations make of a record, as the names that changed, "-"
// where one went.
func apply(t *testing.T, typ resource.Type, text, operations string) (map[string]any, error) {
	t.Helper()
	before := decode(t, typ, text)
	keep := before.Clone()
	after, err := patch.Apply(typ, before, body(operations))
	if !resource.Same(before, keep) {
		t.Errorf("%s changed the record it was given", operations)
	}
	changed := map[string]any{}
	for name, v := range after {
		if !cmp.Equal(v, before[name]) {
			changed[name] = v
		}
	}
	for name := range before {
		if err == nil && after[name] == nil {
			changed[name] = "-"
		}
	}
	return changed, err
}

// TestSCIM1ProvidersShapes: what Entra and Okta send, and what follows.
func TestSCIM1ProvidersShapes(t *testing.T) {
	users, groups := resource.Users(), resource.Groups()
	for _, x := range []struct {
		name       string
		typ        resource.Type
		record     string
		operations string
		want       string // what changed, JSON
	}{
		{"entra disables, with a capital and a text", users, ana, `{"op":"Replace","path":"active","value":"False"}`, `{"active":false}`},
		{"entra without a path, names with dots and filters", users, ana,
			`{"op":"Add","value":{"displayName":"Ana L","name.givenName":"Anna","emails[type eq \"work\"].value":"al@acme.example","` + resource.EnterpriseURN + `:department":"Fraud"}}`,
			`{"displayName":"Ana L","name":{"givenName":"Anna","familyName":"Lima"},"emails":[{"value":"al@acme.example","type":"work","primary":true},{"value":"ana@home.example","type":"home"}],
			"` + resource.EnterpriseURN + `":{"department":"Fraud","manager":{"value":"m1"}}}`},
		{"entra adds a number that was not there", users, ana, `{"op":"Add","path":"phoneNumbers[type eq \"mobile\"].value","value":"+49 1"}`, `{"phoneNumbers":[{"type":"mobile","value":"+49 1"}]}`},
		{"entra replaces one address", users, ana, `{"op":"Replace","path":"emails[type eq \"work\"].value","value":"x@acme.example"}`,
			`{"emails":[{"value":"x@acme.example","type":"work","primary":true},{"value":"ana@home.example","type":"home"}]}`},
		{"entra names the manager by a bare id", users, ana, `{"op":"Add","path":"` + resource.EnterpriseURN + `:manager","value":"m2"}`,
			`{"` + resource.EnterpriseURN + `":{"department":"Risk","manager":{"value":"m2"}}}`},
		{"entra takes the manager away", users, ana, `{"op":"Remove","path":"` + resource.EnterpriseURN + `:manager"}`, `{"` + resource.EnterpriseURN + `":{"department":"Risk"}}`},
		{"entra adds members", groups, team, `{"op":"Add","path":"members","value":[{"$ref":null,"value":"u3"},{"value":"u1"}]}`,
			`{"members":[{"value":"u1"},{"value":"u2","type":"User"},{"value":"u3"}]}`},
		{"entra removes members as a list", groups, team, `{"op":"Remove","path":"members","value":[{"$ref":null,"value":"u2"}]}`, `{"members":[{"value":"u1"}]}`},
		{"entra renames", groups, team, `{"op":"Replace","path":"displayName","value":"Risk 2"}`, `{"displayName":"Risk 2"}`},
		{"okta removes a member by a filter", groups, team, `{"op":"remove","path":"members[value eq \"u1\"]"}`, `{"members":[{"value":"u2","type":"User"}]}`},
		{"okta removes the last member", groups, team, `{"op":"remove","path":"members[value eq \"u1\" or value eq \"u2\"]"}`, `{"members":"-"}`},
		{"okta replaces all members", groups, team, `{"op":"replace","path":"members","value":[{"value":"u9","display":"u9@acme.example"}]}`, `{"members":[{"value":"u9"}]}`},
		{"okta renames without a path", groups, team, `{"op":"replace","value":{"id":"abc","displayName":"Risk 3"}}`, `{"displayName":"Risk 3"}`},
		{"okta disables without a path", users, ana, `{"op":"replace","value":{"active":false}}`, `{"active":false}`},
		{"okta sets a password", users, ana, `{"op":"replace","value":{"password":"hunter2"}}`, `{}`},
		{"a new primary makes the old one ordinary", users, ana, `{"op":"add","path":"emails","value":[{"value":"n@acme.example","primary":true}]}`,
			`{"emails":[{"value":"ana@acme.example","type":"work","primary":false},{"value":"ana@home.example","type":"home"},{"value":"n@acme.example","primary":true}]}`},
		{"a part of each value goes", users, ana, `{"op":"remove","path":"emails.type"}`, `{"emails":[{"value":"ana@acme.example","primary":true},{"value":"ana@home.example"}]}`},
		{"a whole extension goes", users, ana, `{"op":"remove","path":"` + resource.EnterpriseURN + `"}`, `{"` + resource.EnterpriseURN + `":"-"}`},
		{"an extension in an object", users, ana, `{"op":"replace","value":{"` + resource.EnterpriseURN + `":{"costCenter":"7"}}}`, `{"` + resource.EnterpriseURN + `":{"costCenter":"7"}}`},
		{"parts that are not named stay", users, ana, `{"op":"replace","path":"name","value":{"givenName":"Anna"}}`, `{"name":{"givenName":"Anna","familyName":"Lima"}}`},
		{"the last part takes the whole with it", users, ana, `{"op":"remove","path":"name.givenName"},{"op":"remove","path":"name.familyName"}`, `{"name":"-"}`},
		{"case does not matter", users, ana, `{"OP":"REPLACE","PATH":"USERNAME","VALUE":"lima@acme.example"}`, `{"userName":"lima@acme.example"}`},
		{"an empty value takes it away", users, ana, `{"op":"replace","path":"emails","value":[]}`, `{"emails":"-"}`},
		{"to remove what is not there", users, ana, `{"op":"remove","path":"emails[type eq \"other\"]"},{"op":"remove","path":"title"}`, `{}`},
	} {
		got, err := apply(t, x.typ, x.record, x.operations)
		if x.want == "" {
			if err == nil {
				t.Errorf("%s: accepted", x.name)
			}
			continue
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(x.want), &want); err != nil {
			t.Fatal(x.name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", x.name, err, diff)
		}
	}
}

func TestRefused(t *testing.T) {
	for operations, reason := range map[string]string{
		`{"op":"move","path":"title","value":"x"}`:                                        "invalidSyntax",
		`{"op":"replace","path":"title","value":"x","from":"y"}`:                          "invalidSyntax",
		`{"op":"replace","path":"title","value":"x"},"x"`:                                 "invalidSyntax",
		`{"op":"replace","path":5,"value":"x"}`:                                           "invalidPath",
		`{"op":"replace","path":"ghost","value":"x"}`:                                     "invalidPath",
		`{"op":"replace","path":"name.ghost","value":"x"}`:                                "invalidPath",
		`{"op":"replace","path":"emails[","value":"x"}`:                                   "invalidPath",
		`{"op":"replace","path":"emails[ghost eq \"x\"]","value":"x"}`:                    "invalidFilter",
		`{"op":"replace","path":"name[givenName eq \"Ana\"].familyName","value":"x"}`:     "invalidFilter",
		`{"op":"replace","path":"emails[type eq \"other\"].value","value":"x"}`:           "noTarget",
		`{"op":"add","path":"emails[type ne \"work\" and type ne \"home\"]","value":"x"}`: "noTarget",
		`{"op":"remove"}`:                                                                                  "noTarget",
		`{"op":"replace","value":"x"}`:                                                                     "noTarget",
		`{"op":"replace","path":"id","value":"x"}`:                                                         "mutability",
		`{"op":"add","path":"groups","value":[{"value":"g"}]}`:                                             "mutability",
		`{"op":"replace","path":"meta.version","value":"x"}`:                                               "mutability",
		`{"op":"replace","path":"groups[value eq \"x\"].display","value":"x"}`:                             "mutability",
		`{"op":"remove","path":"userName"}`:                                                                "invalidValue",
		`{"op":"replace","path":"active","value":"maybe"}`:                                                 "invalidValue",
		`{"op":"replace","path":"title","value":7}`:                                                        "invalidValue",
		`{"op":"replace","path":"name","value":"Ana"}`:                                                     "invalidValue",
		`{"op":"add","path":"emails","value":[{"value":"a","primary":true},{"value":"b","primary":true}]}`: "invalidValue",
		`{"op":"replace","path":"title","value":"` + strings.Repeat("x", resource.MaxText+1) + `"}`:        "invalidValue",
		`{"op":"add","path":"emails","value":[` + strings.TrimSuffix(strings.Repeat(`{"value":"x"},`, resource.MaxValues+1), ",") + `]}`: "tooMany",
		strings.TrimSuffix(strings.Repeat(`{"op":"replace","path":"title","value":"x"},`, patch.MaxOperations+1), ","):                   "tooMany",
	} {
		if got, err := apply(t, resource.Users(), ana, operations); err == nil || sallyport.ReasonOf(err) != reason {
			t.Errorf("%.100s: %v, %v; want %s", operations, got, err, reason)
		}
	}
	if _, err := apply(t, resource.Groups(), team, `{"op":"replace","path":"members[value eq \"u1\"].value","value":"u5"}`); sallyport.ReasonOf(err) != "mutability" {
		t.Errorf("a member became another: %v", err)
	}
	members := func(from, n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`{"value":"m%d"}`, from+i))
		}
		return `{"op":"add","path":"members","value":[` + strings.Join(all, ",") + `]}`
	}
	for name, operations := range map[string]string{"at once": members(0, resource.MaxMembers+1), "in two": members(0, resource.MaxMembers-2) + "," + members(resource.MaxMembers, 1)} {
		if _, err := apply(t, resource.Groups(), team, operations); sallyport.KindOf(err) != sallyport.TooLarge || sallyport.ReasonOf(err) != "tooMany" {
			t.Errorf("more members than may be, %s: %v", name, err)
		}
	}
	for _, raw := range []string{``, `[]`, `{}`, `{"Operations":[]}`, `{"schemas":["x"],"Operations":[{"op":"remove","path":"title"}]}`,
		`{"schemas":["` + patch.URN + `"],"Operations":[{"op":"remove","op":"add","path":"title","value":"x"}]}`, string(body(`{}`)) + "x"} {
		if _, err := patch.Apply(resource.Users(), decode(t, resource.Users(), ana), []byte(raw)); err == nil {
			t.Errorf("%s was accepted", raw)
		}
	}
}

// FuzzSCIM5Patch: whatever is sent, there is an error or a record that is in its
// one form.
func FuzzSCIM5Patch(f *testing.F) {
	for _, s := range []string{`{"op":"Add","value":{"name.givenName":"x","emails[type eq \"work\"].value":"y"}}`, `{"op":"remove","path":"emails[primary eq true]"}`,
		`{"op":"replace","path":"` + resource.EnterpriseURN + `","value":{"manager":"x"}}`, `{"op":"replace","path":"active","value":"True"},{"op":"add","path":"emails","value":"x"}`} {
		f.Add(s)
	}
	users := resource.Users()
	f.Fuzz(func(t *testing.T, operations string) {
		after, err := patch.Apply(users, decode(t, users, ana), body(operations))
		if err != nil {
			return
		}
		raw, err := resource.Marshal(after)
		if err != nil {
			t.Fatal(err)
		}
		shown := users.Show(after, resource.Projection{})
		again, err := json.Marshal(shown)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := users.Decode(again); err != nil || !resource.Same(r, after) {
			t.Errorf("%s made %s, which is read as %v: %v", operations, raw, r, err)
		}
	})
}
