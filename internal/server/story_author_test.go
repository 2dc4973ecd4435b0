package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/authz/approval"
	sign "sallyport/internal/authz/approval/signed"
	"sallyport/internal/web/api"
)

// GV-3, AZ-16: a proposed set takes the signature of whoever answers for it, over its own words, now, and nothing else that
// is sent to the same address; sent again it stays one signature, and it approves nothing.
func TestOnlyTheAuthorSigns(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	r.restartWith(func() { r.config.PolicyNeed = 2 })
	browsers := r.approvers("rita")
	adam := r.As("adam").who.client
	old, err := adam.Policy(ctx)
	if err != nil {
		t.Fatal(err)
	}
	h := r.thief()
	asked := func(id string) approval.Request {
		q, err := h.own.Approval().Get(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	propose := func(why string) approval.Request {
		policies := guardRail(t, r)
		policies["why.cedar"] = "// " + why + "\n"
		p, err := adam.Propose(ctx, api.Proposal{Schema: old.Schema, Policies: policies, Why: why})
		if err != nil {
			t.Fatal(err)
		}
		return asked(p.Request)
	}
	mine, other := propose("one"), propose("another")
	pull := r.As("ana").Request(sallyport.ModelPull, fraud, "5m").ID
	keys, err := h.own.Approver().List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// by is a signature of somebody over a request, as their page makes it so long after it was asked.
	by := func(name string, q approval.Request, after time.Duration) api.Vote {
		who := sallyport.PrincipalID("user:" + name)
		v := r.signature(browsers[name], q, sign.Vote{Voter: who, Person: who, Yes: true, At: q.Created.Add(after)}, keys[0].Key)
		s := v.Signature
		return api.Vote{Yes: true, Hash: q.Hash, At: v.At, Signature: &api.Signature{Credential: encode64(s.Credential), Data: encode64(s.Data), Client: encode64(s.Client), Signature: encode64(s.Signature)}}
	}
	edited := func(v api.Vote, edit func(*api.Vote)) api.Vote { edit(&v); return v }
	good := by("adam", mine, 0)
	flipped := *good.Signature
	flipped.Signature = flipped.Signature[:20] + map[bool]string{true: "B", false: "A"}[flipped.Signature[20] == 'A'] + flipped.Signature[21:]
	post := func(who, id string, v any) int {
		body, ok := v.(string)
		if !ok {
			raw, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			body = string(raw)
		}
		return r.As(who).Send(request{door: client.API, method: http.MethodPost, path: api.Version + "/policy/proposals/" + id + "/sign", body: body}).last.status
	}
	text, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	for what, x := range map[string]struct {
		who, id string
		vote    any
		want    int
	}{
		"another author":               {"rita", mine.ID, by("rita", mine, 0), 404},
		"his signature, sent by her":   {"rita", mine.ID, good, 404},
		"her signature, sent by him":   {"adam", mine.ID, by("rita", mine, 0), 409},
		"another proposal's":           {"adam", mine.ID, by("adam", other, 0), 409},
		"another proposal's, renamed":  {"adam", mine.ID, edited(by("adam", other, 0), func(v *api.Vote) { v.Hash = mine.Hash }), 409},
		"for another proposal":         {"adam", other.ID, good, 409},
		"another hash":                 {"adam", mine.ID, edited(good, func(v *api.Vote) { v.Hash = "" }), 409},
		"a changed byte":               {"adam", mine.ID, edited(good, func(v *api.Vote) { v.Signature = &flipped }), 409},
		"another time":                 {"adam", mine.ID, edited(good, func(v *api.Vote) { v.At = v.At.Add(time.Microsecond) }), 409},
		"before it was asked":          {"adam", mine.ID, by("adam", mine, -time.Second), 409},
		"from the future":              {"adam", mine.ID, by("adam", mine, time.Hour), 409},
		"without a signature":          {"adam", mine.ID, edited(good, func(v *api.Vote) { v.Signature = nil }), 409},
		"a no":                         {"adam", mine.ID, edited(good, func(v *api.Vote) { v.Yes = false }), 409},
		"with a reason":                {"adam", mine.ID, edited(good, func(v *api.Vote) { v.Reason = "mine" }), 409},
		"for a group":                  {"adam", mine.ID, edited(good, func(v *api.Vote) { v.Groups = []string{"acme/approvers"} }), 409},
		"no proposal":                  {"adam", "R-nothing", good, 404},
		"a question about a download":  {"ana", pull, good, 404},
		"a member twice":               {"adam", mine.ID, strings.Replace(string(text), `{`, `{"yes":false,`, 1), 400},
		"a member that is not there":   {"adam", mine.ID, strings.Replace(string(text), `{`, `{"authored":true,`, 1), 400},
		"nothing":                      {"adam", mine.ID, "", 400},
		"a signature of no length":     {"adam", mine.ID, edited(good, func(v *api.Vote) { v.Signature = &api.Signature{} }), 400},
		"a signature without end":      {"adam", mine.ID, edited(good, func(v *api.Vote) { v.Signature = &api.Signature{Credential: strings.Repeat("A", 2<<20)} }), 413},
		"a signature in another shape": {"adam", mine.ID, strings.Replace(string(text), `"signature":{`, `"signature":[{`, 1), 400},
	} {
		if got := post(x.who, x.id, x.vote); got != x.want {
			t.Errorf("%s: %d %s, want %d", what, got, r.last.body, x.want)
		}
		for _, q := range []approval.Request{mine, other} {
			if p, err := adam.Proposal(ctx, q.ID); err != nil || p.Authored || len(p.Votes) != 0 || p.State != "pending" {
				t.Fatalf("%s: %+v, %v", what, p, err)
			}
		}
	}
	if r.As("adam").Send(request{door: client.API, path: api.Version + "/policy/proposals/" + mine.ID + "/sign"}); r.last.status != 404 {
		t.Errorf("read: %d", r.last.status)
	}
	for range 2 {
		if got := post("adam", mine.ID, good); got != 200 {
			t.Fatalf("signed: %d %s", got, r.last.body)
		}
		if p, err := adam.Proposal(ctx, mine.ID); err != nil || !p.Authored || len(p.Votes) != 0 || p.State != "pending" {
			t.Fatalf("signed: %+v, %v", p, err)
		}
	}
	_, err = adam.Activate(ctx, mine.ID)
	r.heard("activate what nobody else approved", err)
	r.WantStatus(409)
	if _, err := adam.WithdrawPolicy(ctx, mine.ID); err != nil {
		t.Fatal(err)
	}
	if got := post("adam", mine.ID, good); got != 404 {
		t.Errorf("after it was withdrawn: %d", got)
	}
}
