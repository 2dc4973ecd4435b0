package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

// A provider is a source's account and its token.
type provider struct {
	*story
	token string
}

// provider connects a source: an account, its role, a token.
func (r *story) provider(name string) provider {
	r.t.Helper()
	adam, ctx := r.As("adam").who.client, r.t.Context()
	if _, err := adam.DefineRole(ctx, api.Role{Name: "provisioner"}); err != nil {
		r.t.Fatal(err)
	}
	m := api.Member{ID: sallyport.PrincipalID("service:" + name), Org: "acme", Person: "user:adam", Purpose: "keeps people", Ends: r.clock.Now().Add(100 * 24 * time.Hour)}
	if _, err := adam.AddPerson(ctx, m); err != nil {
		r.t.Fatal(err)
	}
	if _, err := adam.Assign(ctx, api.Assignment{Subject: string(m.ID), Role: "provisioner", Scope: "org:acme"}); err != nil {
		r.t.Fatal(err)
	}
	t, err := adam.SourceToken(ctx, name)
	if err != nil {
		r.t.Fatal(err)
	}
	return provider{story: &story{scene: r.scene}, token: t.Token}
}

// do sends a request and returns the body of its answer.
func (p provider) do(method, path, body string, want int, header ...string) map[string]any {
	p.t.Helper()
	h := map[string]string{"Content-Type": "application/scim+json"}
	for i := 0; i+1 < len(header); i += 2 {
		h[header[i]] = header[i+1]
	}
	p.Send(request{method: method, path: "/scim/v2" + path, body: body, bearer: p.token, header: h})
	p.WantStatus(want)
	var out map[string]any
	if len(p.last.body) > 0 {
		if err := json.Unmarshal(p.last.body, &out); err != nil {
			p.t.Errorf("%s %s: %v in %.200s", method, path, err, p.last.body)
		}
	}
	return out
}

func userBody(name string) string {
	return fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"%s@acme.example","externalId":"ext-%s","active":true,
		"name":{"givenName":"Lea","familyName":"Weiss"},"emails":[{"value":"%s@acme.example","type":"work","primary":true}]}`, name, name, name)
}

func patchBody(operations string) string {
	return `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` + operations + `]}`
}

// TestSCIM2ADisabledUserIsGoneAtOnce: "active": false while they download. ID-10.
func TestSCIM2ADisabledUserIsGoneAtOnce(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.Big()
	okta := r.provider("okta")
	id := okta.do("POST", "/Users", userBody("lea"), 201)["id"].(string)
	group := okta.do("POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Risk Team","members":[{"value":"`+id+`"}]}`, 201)
	if _, err := r.As("adam").who.client.Assign(t.Context(), api.Assignment{Subject: "group:acme/risk-team", Role: "model-developer", Scope: "project:acme/risk"}); err != nil {
		t.Fatal(err)
	}
	lea := r.As("lea")
	download, stream := lea.begun(big)
	asked := lea.Request(sallyport.ModelPull, fraud, "1h")
	token, err := lea.who.token(t.Context(), client.Hub)
	if err != nil {
		t.Fatal(err)
	}

	began := time.Now()
	okta.do("PATCH", "/Users/"+id, patchBody(`{"op":"Replace","path":"active","value":"False"}`), 200)
	t.Logf("answered after %s", time.Since(began))
	r.Nobody().Send(request{path: hubFile(big, weights), bearer: token})
	r.WantStatus(401)
	r.wantBroken(download, stream)
	r.As("rita").Approve(asked)
	if r.last.status < 400 {
		t.Error("a leaver's question was approved")
	}
	var left sallyport.Logged
	for _, l := range r.leaves() {
		if l.Type == sallyport.EventLeft && l.On == "user:lea" {
			left = l
		}
	}
	t.Logf("%v", left.Detail)
	if left.Who != "service:okta" || left.Detail["cut"] != "2" || left.Detail["groups"] != "1" || left.Detail["sessions"] != "1" {
		t.Errorf("the log tells %+v", left)
	}

	// Back, and with no old right: not even the group.
	if u := okta.do("PATCH", "/Users/"+id, patchBody(`{"op":"replace","value":{"active":true}}`), 200); u["active"] != true || u["groups"] != nil {
		t.Errorf("back as %v", u)
	}
	r.Nobody().Send(request{path: hubFile(big, weights), bearer: token})
	r.WantStatus(401)

	// TestSCIM3: a name or an id that was used is never somebody else's.
	okta.do("DELETE", "/Users/"+id, "", 204)
	okta.do("GET", "/Users/"+id, "", 404)
	okta.do("DELETE", "/Users/"+id, "", 404)
	if e := okta.do("POST", "/Users", userBody("lea"), 409); e["scimType"] != "uniqueness" {
		t.Errorf("SCIM3: %v", e)
	}
	gid := group["id"].(string)
	okta.do("DELETE", "/Groups/"+gid, "", 204)
	okta.do("POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"risk team"}`, 409)
	roles, err := r.As("adam").who.client.Roles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range roles.Assignments {
		if strings.Contains(a.Subject, "risk-team") || strings.Contains(a.Subject, "lea") {
			t.Errorf("SCIM3: a role is left: %+v", a)
		}
	}
}

// TestSCIM4SourcesDoNotSeeEachOther: users and groups of another source, and those
// that no source keeps, are not there.
func TestSCIM4SourcesDoNotSeeEachOther(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	okta, entra := r.provider("okta"), r.provider("entra")
	const group = `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":%q,"members":[{"value":%q}]}`
	a := okta.do("POST", "/Users", userBody("ada"), 201)["id"].(string)
	b := entra.do("POST", "/Users", userBody("ben"), 201)["id"].(string)
	g := okta.do("POST", "/Groups", fmt.Sprintf(group, "Okta People", a), 201)["id"].(string)
	for _, path := range []string{"/Users/" + a, "/Groups/" + g, "/Users/" + g, "/Groups/" + b} {
		for _, method := range []string{"GET", "DELETE", "PATCH", "PUT"} {
			body := ""
			if method == "PATCH" {
				body = patchBody(`{"op":"replace","path":"active","value":false}`)
			} else if method == "PUT" {
				body = userBody("ada")
			}
			entra.do(method, path, body, 404)
		}
	}
	if l := entra.do("GET", "/Users?filter=userName+eq+%22ada@acme.example%22", "", 200); l["totalResults"] != 0.0 {
		t.Errorf("another source's user is listed: %v", l)
	}
	if l := entra.do("GET", "/Users?filter=id+eq+%22"+a+"%22+or+userName+pr", "", 200); l["totalResults"] != 1.0 {
		t.Errorf("listed: %v", l)
	}
	entra.do("POST", "/Groups", fmt.Sprintf(group, "Entra People", a), 400) // its member is not there
	entra.do("POST", "/Groups", fmt.Sprintf(group, "okta  people", b), 409) // the group is not taken over
	entra.do("POST", "/Groups", fmt.Sprintf(group, "Staff", b), 409)        // nor one that people here keep
	entra.do("POST", "/Users", userBody("ada"), 409)
	entra.do("POST", "/Users", userBody("ana"), 409) // an account of this house is not taken over
	entra.do("PATCH", "/Users/"+b, patchBody(`{"op":"replace","path":"userName","value":"ana@acme.example"}`), 409)
	entra.do("POST", "/Users", strings.ReplaceAll(userBody("cid"), "acme.example", "evil.example"), 400)

	// Who is no source gets nothing here, and a source nothing elsewhere.
	token, err := r.As("adam").who.token(t.Context(), client.API)
	if err != nil {
		t.Fatal(err)
	}
	provider{story: &story{scene: r.scene}, token: token}.do("GET", "/Users", "", 401)
	provider{story: &story{scene: r.scene}, token: "x"}.do("GET", "/Users", "", 401)
	r.Nobody().Send(request{path: "/api/v1/people", bearer: okta.token})
	r.WantStatus(401)
	if _, err := r.As("adam").who.client.SetState(t.Context(), "service:okta", "suspended"); err != nil {
		t.Fatal(err)
	}
	okta.do("GET", "/Users", "", 401)
}

// TestSCIMDoor goes through the protocol: discovery, lists, filters, projections,
// versions and what is refused.
func TestSCIMDoor(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	okta := r.provider("okta")
	var ids []string
	for _, name := range []string{"ida", "ina", "iva"} {
		ids = append(ids, okta.do("POST", "/Users", userBody(name), 201)["id"].(string))
	}
	if loc := okta.last.header.Get("Location"); !strings.HasSuffix(loc, "/scim/v2/Users/"+ids[2]) || okta.last.header.Get("Etag") != `W/"1"` {
		t.Errorf("Location %q, ETag %q", loc, okta.last.header.Get("Etag"))
	}
	for path, want := range map[string]float64{"": 3, "?count=1": 3, "?filter=userName+sw+%22i%22+and+active+eq+true": 3, "?filter=externalId+eq+%22ext-ina%22": 1,
		"?filter=emails%5Btype+eq+%22work%22+and+value+co+%22iva@%22%5D": 1, "?filter=not+(userName+co+%22ida%22)&startIndex=2": 2, "?filter=meta.created+gt+%222020-01-01T00:00:00Z%22": 3,
		"?startIndex=-4&count=-1": 3, "?startIndex=99": 3} {
		if l := okta.do("GET", "/Users"+path, "", 200); l["totalResults"] != want {
			t.Errorf("%s: %v of %v", path, l["totalResults"], want)
		}
	}
	if l := okta.do("GET", "/Users?startIndex=2&count=1&attributes=userName", "", 200); l["itemsPerPage"] != 1.0 || len(l["Resources"].([]any)[0].(map[string]any)) != 3 {
		t.Errorf("a page: %v", l)
	}
	if l := okta.do("POST", "/Users/.search", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"filter":"userName co \"ina\"","attributes":["userName"],"count":5}`, 200); l["totalResults"] != 1.0 {
		t.Errorf("a search: %v", l)
	}
	for path, status := range map[string]int{"/Users?filter=ghost+pr": 400, "/Users?filter=((": 400, "/Users?count=x": 400, "/Users?attributes=a&excludedAttributes=b": 400,
		"/Users/" + ids[0] + "x": 404, "/Me": 501, "/Ghosts": 404, "/Schemas?filter=id+pr": 403, "/Schemas/urn:ietf:params:scim:schemas:core:2.0:User": 200, "/Schemas/x": 404,
		"/ResourceTypes": 200, "/ResourceTypes/User": 200, "/ServiceProviderConfig": 200} {
		okta.do("GET", path, "", status)
	}
	okta.do("POST", "/Bulk", "{}", 501)
	okta.do("POST", "/Users", userBody("x"), 400, "Content-Type", "text/plain")
	okta.do("POST", "/Users", `{"a":`+strings.Repeat("[", 3<<20)+`}`, 413)

	// Versions: a change from an old one is refused, one that changes nothing stays.
	path := "/Users/" + ids[0]
	okta.do("PATCH", path, patchBody(`{"op":"replace","path":"title","value":"Dr."}`), 200, "If-Match", `W/"1"`)
	okta.do("PATCH", path, patchBody(`{"op":"replace","path":"title","value":"Prof."}`), 412, "If-Match", `W/"1"`)
	okta.do("DELETE", path, "", 412, "If-Match", `W/"1"`)
	okta.do("GET", path, "", 304, "If-None-Match", `W/"2"`)
	if u := okta.do("PATCH", path, patchBody(`{"op":"replace","path":"title","value":"Dr."}`), 200); u["meta"].(map[string]any)["version"] != `W/"2"` {
		t.Errorf("a change of nothing made %v", u["meta"])
	}
	u := okta.do("PUT", path, strings.Replace(userBody("ida"), `"active":true,`, `"displayName":"Ida W",`, 1), 200)
	if u["title"] != nil || u["displayName"] != "Ida W" || u["active"] != true || u["id"] != ids[0] {
		t.Errorf("PUT made %v", u)
	}
	if m := memberOf(t, r, "user:ida"); m.Display != "Ida W" {
		t.Errorf("the directory has %+v", m)
	}
	okta.do("PATCH", path, patchBody(`{"op":"replace","path":"userName","value":"ida.w@acme.example"}`), 200) // renamed; the account keeps its name
	okta.do("GET", "/Users?filter=userName+eq+%22IDA.W@acme.example%22", "", 200)

	// A group, as Entra changes it.
	g := "/Groups/" + okta.do("POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Lab One"}`, 201)["id"].(string)
	okta.do("PATCH", g, patchBody(`{"op":"Add","path":"members","value":[{"value":"`+ids[0]+`"},{"value":"`+ids[1]+`"}]}`), http.StatusNoContent)
	okta.do("PATCH", g, patchBody(`{"op":"Remove","path":"members","value":[{"value":"`+ids[0]+`"}]}`), http.StatusNoContent)
	if x := okta.do("GET", g, "", 200); len(x["members"].([]any)) != 1 || x["meta"].(map[string]any)["version"] != `W/"3"` {
		t.Errorf("the group is %v", x)
	}
	if x := okta.do("GET", "/Users/"+ids[1], "", 200); x["groups"].([]any)[0].(map[string]any)["display"] != "Lab One" {
		t.Errorf("the user is %v", x)
	}
	if m := memberOf(t, r, "user:ina"); len(m.Groups) != 1 || m.Groups[0] != "acme/lab-one" {
		t.Errorf("the directory has %+v", m)
	}
	if l := okta.do("GET", "/Groups?filter=members.value+eq+%22"+ids[1]+"%22", "", 200); l["totalResults"] != 1.0 {
		t.Errorf("groups of a user: %v", l)
	}
	if all, err := r.As("adam").who.client.Sources(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("sources: %+v, %v", all, err)
	}
}

func memberOf(t *testing.T, r *story, id sallyport.PrincipalID) api.Member {
	t.Helper()
	all, err := r.As("adam").who.client.People(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.ID == id {
			return m
		}
	}
	t.Fatalf("there is no %s", id)
	return api.Member{}
}
