package authzen_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/enforce/authzen/wire"
)

// The parts of requests of the certification scenario.
const (
	alice    = `"subject":{"type":"user","id":"alice"}`
	bob      = `"subject":{"type":"user","id":"bob"}`
	bobAdmin = `"subject":{"type":"user","id":"bob","properties":{"role":"admin"}}`
	reads    = `"action":{"name":"read"}`
	writes   = `"action":{"name":"write"}`
	one      = `"resource":{"type":"record","id":"record-1"}`
	two      = `"resource":{"type":"record","id":"record-2"}`
	active   = `"resource":{"type":"record","id":"record-1","properties":{"status":"active"}}`
	archived = `"resource":{"type":"record","id":"record-2","properties":{"status":"archived"}}`
	timed    = `"context":{"time":"2025-06-27T18:03-07:00","ip":"192.168.1.1"}`
)

func object(parts ...string) string { return "{" + strings.Join(parts, ",") + "}" }

// TestCertificationBasic is the level Basic, Core and Properties.
func TestCertificationBasic(t *testing.T) {
	s := records(t)
	for _, c := range []struct {
		name, body string
		want       bool
	}{
		{"2.2.1 permit", object(alice, reads, one), true},
		{"rule 2", object(alice, writes, one), true},
		{"rule 3", object(bob, reads, one), true},
		{"2.2.2 deny", object(bob, writes, one), false},
		{"2.2.3 context", object(alice, reads, one, timed), true},
		{"2.2.4 archived", object(alice, writes, archived), false},
		{"2.2.4 by status, not by id", object(alice, writes, `"resource":{"type":"record","id":"record-1","properties":{"status":"archived"}}`), false},
		{"2.2.5 admin", object(bobAdmin, writes, archived), true},
		{"2.2.6 soft", object(alice, `"action":{"name":"delete","properties":{"soft":true}}`, one), true},
		{"2.2.7 hard", object(alice, `"action":{"name":"delete","properties":{"soft":false}}`, one), false},
		{"2.2.8 more properties", object(`"subject":{"type":"user","id":"alice","properties":{"department":"Sales","role":"manager"}}`,
			`"action":{"name":"read","properties":{"method":"GET"}}`, `"resource":{"type":"record","id":"record-1","properties":{"status":"active","owner":"bob"}}`), true},
		{"2.2.9 unknown members", object(alice, reads, one, `"foo":"bar","futureField":{"nested":true}`), true},
		{"an unknown type", object(`"subject":{"type":"spaceship","id":"alice"}`, reads, one), false},
		{"an unknown action", object(alice, `"action":{"name":"fly"}`, one), false},
		{"an unknown resource", object(alice, reads, `"resource":{"type":"record","id":"record-9"}`), false},
	} {
		for range 2 { // 2.6: the answer stays
			if d := s.decide(c.body); d.Decision != c.want {
				t.Errorf("%s: %v, want %v", c.name, d.Decision, c.want)
			}
		}
	}
}

// TestCertificationRefusals are 2.4 and 2.5: what is no request, and the header.
func TestCertificationRefusals(t *testing.T) {
	s := records(t)
	for _, body := range []string{
		object(reads, one), object(alice, one), object(alice, reads), object(`"subject":{"id":"alice"}`, reads, one),
		object(`"subject":{"type":"user"}`, reads, one), object(alice, `"action":{}`, one), object(alice, reads, `"resource":{"id":"record-1"}`),
		object(alice, reads, `"resource":{"type":"record"}`), "", "{", "null", "[]", `"alice"`, object(`"subject":"alice"`, reads, one),
		object(alice, `"action":{"name":123}`, one), object(alice, reads, one) + "{}", object(alice, alice, reads, one),
		object(`"subject":{"type":"user","id":"bob","id":"alice"}`, reads, one), object(alice, reads, one, `"context":"x"`),
		object(`"subject":{"type":"user","id":"alice","properties":[]}`, reads, one), object(`"subject":{"type":"user","id":"`+"\xff"+`"}`, reads, one),
	} {
		if status, out := s.post(wire.EvaluationPath, body); status != http.StatusBadRequest || len(out) == 0 {
			t.Errorf("%s: status %d, %s", body, status, out)
		}
	}
	if status, _ := s.post(wire.EvaluationPath, object(alice, reads, one), "Content-Type", "text/plain"); status != http.StatusBadRequest {
		t.Errorf("another content type: status %d", status)
	}
	if status, _ := s.post(wire.EvaluationPath, object(alice, reads, one), "X-Request-ID", "bfe9eb29-ab87"); status != http.StatusOK || s.last.Get("X-Request-ID") != "bfe9eb29-ab87" {
		t.Errorf("the request's id comes back as %q", s.last.Get("X-Request-ID"))
	}
	if got := s.last.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
	if status, _ := s.post(wire.EvaluationPath, strings.Repeat(" ", wire.MaxBody+1)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("an endless body: status %d", status)
	}
}

// TestCertificationBatch is the level Batch, Core and Properties.
func TestCertificationBatch(t *testing.T) {
	s := records(t)
	for _, c := range []struct {
		name, body string
		want       []bool
	}{
		{"3.2.1", object(alice, reads, `"evaluations":[{`+one+`},{`+two+`}]`), []bool{true, true}},
		{"3.2.2", object(bob, one, `"evaluations":[{`+reads+`},{`+writes+`}]`), []bool{true, false}},
		{"3.2.3", object(alice, writes, `"evaluations":[{`+active+`},{`+archived+`}]`), []bool{true, false}},
		{"3.2.4", object(writes, archived, `"evaluations":[{`+alice+`},{`+bobAdmin+`}]`), []bool{false, true}},
		{"3.2.5", object(`"evaluations":[` + object(alice, reads, one) + `,` + object(bob, writes, one) + `]`), []bool{true, false}},
		{"3.2.6", object(alice, reads, timed, `"evaluations":[{`+one+`},{`+two+`,"context":{"source":"batch-override"}}]`), []bool{true, true}},
		{"3.2.7", object(alice, writes, active, `"evaluations":[{},{`+archived+`}]`), []bool{true, false}},
		{"3.4.1", object(alice, reads, `"options":{"evaluations_semantic":"execute_all"},"evaluations":[{`+one+`},{}]`), []bool{true, false}},
		{"deny on first deny", object(alice, writes, `"options":{"evaluations_semantic":"deny_on_first_deny"},"evaluations":[{`+one+`},{`+two+`},{`+one+`}]`), []bool{true, false}},
		{"a failure is a denial", object(alice, writes, `"options":{"evaluations_semantic":"deny_on_first_deny"},"evaluations":[{},{`+one+`}]`), []bool{false}},
		{"permit on first permit", object(alice, writes, `"options":{"evaluations_semantic":"permit_on_first_permit"},"evaluations":[{`+two+`},{`+one+`},{`+one+`}]`), []bool{false, true}},
	} {
		var got wire.Decisions
		s.ask(wire.EvaluationsPath, c.body, &got)
		decisions := []bool{}
		for _, d := range got.Evaluations {
			decisions = append(decisions, d.Decision)
		}
		if !slices.Equal(decisions, c.want) {
			t.Errorf("%s: %v, want %v", c.name, decisions, c.want)
		}
	}
	for _, body := range []string{object(alice, reads, one), object(alice, reads, one, `"evaluations":[]`)} { // 3.4.2, 3.4.3
		var d wire.Decision
		if s.ask(wire.EvaluationsPath, body, &d); !d.Decision {
			t.Errorf("%s: %+v", body, d)
		}
	}
	for _, body := range []string{object(alice, reads, `"evaluations":{}`), object(alice, reads, `"evaluations":[{`+one+`}],"options":{"evaluations_semantic":"maybe"}`),
		object(alice, reads, `"evaluations":[`+strings.Repeat(`{},`, wire.MaxEvaluations)+`{}]`), object(alice, `"evaluations":[]`)} {
		if status, _ := s.post(wire.EvaluationsPath, body); status != http.StatusBadRequest && status != http.StatusRequestEntityTooLarge {
			t.Errorf("%.80s: status %d", body, status)
		}
	}
}

// found are the ids or names that a search finds.
func (s *site) found(path, body string) ([]string, wire.Next) {
	s.t.Helper()
	var out struct {
		Results []struct{ Type, ID, Name string }
		Page    struct {
			NextToken *string `json:"next_token"`
			Count     int
		}
	}
	s.ask(path, body, &out)
	if out.Results == nil || out.Page.NextToken == nil {
		s.t.Fatalf("%s: no results or no page", body)
	}
	ids := []string{}
	for _, r := range out.Results {
		if ids = append(ids, r.ID+r.Name); (r.Type == "") == (r.Name == "") {
			s.t.Errorf("%s: %+v", path, r)
		}
	}
	return ids, wire.Next{Token: *out.Page.NextToken, Count: out.Page.Count}
}

// TestCertificationSearch is the level Search, Core and Properties.
func TestCertificationSearch(t *testing.T) {
	s := records(t)
	for _, c := range []struct {
		name, path, body string
		want             []string
	}{
		{"4.2.1", wire.SubjectsPath, object(`"subject":{"type":"user"}`, reads, one), []string{"alice", "bob"}},
		{"4.2.2", wire.SubjectsPath, object(`"subject":{"type":"user"}`, reads, one, timed), []string{"alice", "bob"}},
		{"4.2.3", wire.SubjectsPath, object(alice, reads, one), []string{"alice", "bob"}},
		{"4.2.4", wire.SubjectsPath, object(`"subject":{"type":"user"}`, writes, archived), []string{"bob"}},
		{"4.3.1", wire.ResourcesPath, object(alice, reads, `"resource":{"type":"record"}`), []string{"record-1", "record-2"}},
		{"4.3.2", wire.ResourcesPath, object(alice, reads, `"resource":{"type":"record"}`, timed), []string{"record-1", "record-2"}},
		{"4.3.3", wire.ResourcesPath, object(alice, reads, one), []string{"record-1", "record-2"}},
		{"4.3.4", wire.ResourcesPath, object(bobAdmin, writes, `"resource":{"type":"record"}`), []string{"record-2"}},
		{"4.4.1", wire.ActionsPath, object(alice, one), []string{"read", "write"}},
		{"4.4.2", wire.ActionsPath, object(alice, one, timed), []string{"read", "write"}},
		{"4.4.3", wire.ActionsPath, object(bobAdmin, archived), []string{"read", "write"}},
		{"4.6.1", wire.ActionsPath, object(`"subject":{"type":"user","id":"nonexistent-user"}`, one), []string{}},
		{"4.6.2", wire.SubjectsPath, object(`"subject":{"type":"spaceship"}`, reads, one), []string{}},
		{"4.6.2 resource", wire.ResourcesPath, object(alice, reads, `"resource":{"type":"spaceship"}`), []string{}},
	} {
		if got, _ := s.found(c.path, c.body); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	for path, bodies := range map[string][]string{
		wire.SubjectsPath:  {object(`"subject":{"type":"user"}`, one), object(`"subject":{"type":"user"}`, reads, `"resource":{"type":"record"}`)},
		wire.ResourcesPath: {object(reads, `"resource":{"type":"record"}`), object(`"subject":{"type":"user"}`, reads, `"resource":{"type":"record"}`)},
		wire.ActionsPath:   {object(alice), object(`"subject":{"type":"user"}`, one)},
	} {
		for _, body := range bodies {
			if status, _ := s.post(path, body); status != http.StatusBadRequest {
				t.Errorf("%s %s: status %d", path, body, status)
			}
		}
	}
}

// TestCertificationPages is 4.5, and that a page's token is good for its own search only.
func TestCertificationPages(t *testing.T) {
	s := records(t)
	base := object(`"subject":{"type":"user"}`, reads, one)
	paged := func(page string) string { return strings.TrimSuffix(base, "}") + `,"page":` + page + "}" }
	first, next := s.found(wire.SubjectsPath, paged(`{"limit":1}`))
	if !slices.Equal(first, []string{"alice"}) || next.Token == "" || next.Count != 1 {
		t.Fatalf("%v %+v", first, next)
	}
	token, err := json.Marshal(next.Token)
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{`{"token":` + string(token) + `}`, `{"limit":1,"token":` + string(token) + `}`} {
		second, end := s.found(wire.SubjectsPath, paged(page))
		if !slices.Equal(second, []string{"bob"}) || end.Token != "" {
			t.Errorf("%v %+v", second, end)
		}
	}
	changed := strings.Replace(paged(`{"token":`+string(token)+`}`), "record-1", "record-2", 1)
	for _, body := range []string{changed, paged(`{"limit":2,"token":` + string(token) + `}`), paged(`{"token":"bm90aGluZw"}`), paged(`{"token":"A` + string(token[2:]) + `}`), paged(`{"limit":-1}`), paged(`{"limit":1.5}`)} {
		if status, _ := s.post(wire.SubjectsPath, body); status != http.StatusBadRequest {
			t.Errorf("%s: status %d", body, status)
		}
	}
	if status, _ := s.post(wire.ResourcesPath, object(alice, reads, `"resource":{"type":"record"},"page":{"token":`+string(token)+`}`)); status != http.StatusBadRequest {
		t.Errorf("the token of another search: status %d", status)
	}
}

// TestCertificationDiscovery is the level Discovery.
func TestCertificationDiscovery(t *testing.T) {
	s := records(t)
	res, err := http.Get(s.url + wire.MetadataPath)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var m wire.Metadata
	if err := json.NewDecoder(res.Body).Decode(&m); err != nil || res.Header.Get("Content-Type") != "application/json" {
		t.Fatal(err, res.Header)
	}
	if m.PDP != external || m.Evaluation != external+wire.EvaluationPath || m.Evaluations != external+wire.EvaluationsPath ||
		m.Subjects != external+wire.SubjectsPath || m.Resources != external+wire.ResourcesPath || m.Actions != external+wire.ActionsPath {
		t.Errorf("%+v", m)
	}
}
