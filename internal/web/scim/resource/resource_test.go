package resource_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/web/scim/filter"
	"sallyport/internal/web/scim/resource"
)

// TestSCIM1Bodies: users as Okta and Entra send them, and what is kept.
func TestSCIM1Bodies(t *testing.T) {
	for name, x := range map[string][2]string{
		"okta": {`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"ana@acme.example","name":{"givenName":"Ana","familyName":"Lima"},
			"emails":[{"primary":true,"value":"ana@acme.example","type":"work"}],"displayName":"Ana Lima","locale":"en-US","externalId":"00ujl29u0le5T6Aj10h7",
			"groups":[],"password":"1mz050nq","active":true}`,
			`{"userName":"ana@acme.example","name":{"givenName":"Ana","familyName":"Lima"},"emails":[{"primary":true,"value":"ana@acme.example","type":"work"}],
			"displayName":"Ana Lima","locale":"en-US","externalId":"00ujl29u0le5T6Aj10h7","active":true}`},
		"entra": {`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],"externalId":"0a21f0f2",
			"userName":"Ana@acme.example","active":"True","emails":[{"primary":true,"type":"work","value":"ana@acme.example"}],
			"meta":{"resourceType":"User"},"name":{"formatted":"Ana Lima","familyName":"Lima","givenName":"Ana"},"roles":null,
			"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Risk","manager":"m1"}}`, ``},
		"entra, without roles": {`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],"externalId":"0a21f0f2",
			"userName":"Ana@acme.example","active":"True","meta":{"resourceType":"User"},"title":"","phoneNumbers":[],
			"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Risk","manager":"m1"}}`,
			`{"externalId":"0a21f0f2","userName":"Ana@acme.example","active":true,"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Risk","manager":{"value":"m1"}}}`},
	} {
		got, err := resource.Users().Decode([]byte(x[0]))
		if x[1] == "" {
			if err == nil {
				t.Errorf("%s: accepted", name)
			}
			continue
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(x[1]), &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, map[string]any(got)); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", name, err, diff)
		}
	}
}

func TestRefused(t *testing.T) {
	user := func(rest string) string {
		return fmt.Sprintf(`{"schemas":["%s"],"userName":"a"%s}`, resource.UserURN, rest)
	}
	for text, reason := range map[string]string{
		``: "invalidSyntax", `[]`: "invalidSyntax", `{"userName":"a"}`: "invalidValue", `{"schemas":["x"],"userName":"a"}`: "invalidValue",
		user(`,"userName":"b"`): "invalidSyntax", user(`,"USERNAME":"b"`): "invalidSyntax", user(`,"ghost":1`): "invalidSyntax", user(`,"name.givenName":"x"`): "invalidSyntax",
		user(`,"name":{"ghost":"x"}`): "invalidSyntax", user(`,"name":{"givenName":"x","GIVENNAME":"y"}`): "invalidSyntax", user(`,"name":"x"`): "invalidValue",
		user(`,"active":1`): "invalidValue", user(`,"title":["x"]`): "invalidValue", user(`,"title":"a\u0000b"`): "invalidValue", user(`,"emails":[[]]`): "invalidValue",
		user(`,"` + resource.EnterpriseURN + `:department":"x"`): "invalidSyntax", user(`,"` + resource.EnterpriseURN + `":{"ghost":1}`): "invalidSyntax",
		fmt.Sprintf(`{"schemas":["%s"],"displayName":"x"}`, resource.UserURN): "invalidValue",
		user("") + "{}": "invalidSyntax",
	} {
		r, err := resource.Users().Decode([]byte(text))
		if err == nil {
			err = resource.Users().Check(r)
		}
		if err == nil || sallyport.ReasonOf(err) != reason || sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%.80s: %v, %v; want %s", text, r, err, reason)
		}
	}
	many := strings.TrimSuffix(strings.Repeat(`{"value":"x"},`, resource.MaxMembers+1), ",")
	if _, err := resource.Groups().Decode([]byte(`{"schemas":["` + resource.GroupURN + `"],"displayName":"x","members":[` + many + `]}`)); sallyport.KindOf(err) != sallyport.TooLarge {
		t.Errorf("too many members: %v", err)
	}
}

func TestShow(t *testing.T) {
	users := resource.Users()
	r := resource.Record{"id": "1", "userName": "ana", "active": true, "name": map[string]any{"givenName": "Ana", "familyName": "Lima"},
		"emails":               []any{map[string]any{"value": "a@b", "type": "work"}, map[string]any{"value": "c@d"}},
		resource.EnterpriseURN: map[string]any{"department": "Risk", "manager": map[string]any{"value": "m", "displayName": "Max"}}}
	both := []any{resource.UserURN, resource.EnterpriseURN}
	for _, x := range []struct {
		only, without []string
		want          map[string]any
	}{
		{[]string{"username"}, nil, map[string]any{"schemas": both[:1], "id": "1", "userName": "ana"}},
		{[]string{"NAME.givenname", "name.familyName", "ghost"}, nil, map[string]any{"schemas": both[:1], "id": "1", "name": r["name"]}},
		{[]string{"emails.value"}, nil, map[string]any{"schemas": both[:1], "id": "1", "emails": []any{map[string]any{"value": "a@b"}, map[string]any{"value": "c@d"}}}},
		{[]string{"emails.value", "emails.type", resource.UserURN + ":active"}, nil, map[string]any{"schemas": both[:1], "id": "1", "emails": r["emails"], "active": true}},
		{[]string{resource.EnterpriseURN + ":manager.value"}, nil, map[string]any{"schemas": both, "id": "1",
			resource.EnterpriseURN: map[string]any{"manager": map[string]any{"value": "m"}}}},
		{nil, []string{"id", "emails", "name.givenName", "active", resource.EnterpriseURN}, map[string]any{"schemas": both[:1], "id": "1", "userName": "ana", "name": map[string]any{"familyName": "Lima"}}},
		{nil, []string{"emails.type", "emails.value", "name", "userName", "active", resource.EnterpriseURN + ":department"}, map[string]any{"schemas": both, "id": "1",
			"emails": []any{map[string]any{}, map[string]any{}}, resource.EnterpriseURN: map[string]any{"manager": map[string]any{"value": "m", "displayName": "Max"}}}},
	} {
		p, err := users.Projection(x.only, x.without)
		if diff := cmp.Diff(x.want, users.Show(r, p)); diff != "" || err != nil {
			t.Errorf("attributes=%v excluded=%v: %v (-want +got)\n%s", x.only, x.without, err, diff)
		}
	}
	for _, names := range [][2][]string{{{"a"}, {"b"}}, {{"a b"}, nil}, {make([]string, 100), nil}} {
		if _, err := users.Projection(names[0], names[1]); err == nil {
			t.Errorf("%.60q was accepted", names)
		}
	}
}

// Every attribute of the schemas can be asked for in a filter, in any case.
func TestEveryAttributeResolves(t *testing.T) {
	for _, typ := range []resource.Type{resource.Users(), resource.Groups()} {
		var walk func(prefix string, all []resource.Attribute)
		walk = func(prefix string, all []resource.Attribute) {
			for _, a := range all {
				if a.Description == "" || a.Type == "" {
					t.Errorf("%s%s says not what it is", prefix, a.Name)
				}
				e, err := filter.Parse(strings.ToUpper(prefix+a.Name) + " pr")
				if err == nil {
					_, err = e.Resolve(typ.Resolve)
				}
				if err != nil && a.Name != "$ref" {
					t.Errorf("%s%s: %v", prefix, a.Name, err)
				}
				walk(prefix+a.Name+".", a.Sub)
			}
		}
		walk("", typ.Schema.Attributes)
		if typ.Extension != nil {
			walk(typ.Extension.URN+":", typ.Extension.Attributes)
		}
	}
}

// FuzzSCIM5Record: what was accepted is in its one form: shown and read again it
// is the same.
func FuzzSCIM5Record(f *testing.F) {
	f.Add(`{"schemas":["` + resource.UserURN + `"],"userName":"a","emails":["x",{"value":"y","primary":"TRUE"}],"name":{"givenName":"x"},"` + resource.EnterpriseURN + `":{"manager":"x"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		users := resource.Users()
		r, err := users.Decode([]byte(text))
		if err != nil {
			return
		}
		shown, err := json.Marshal(users.Show(r, resource.Projection{}))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := users.Decode(shown); err != nil || !resource.Same(r, again) {
			t.Errorf("%s is %v, then %v: %v", text, r, again, err)
		}
	})
}
