package server_test

import (
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/authz/approval"
	sign "sallyport/internal/authz/approval/signed"
	"sallyport/internal/store/sqldb"
)

// A thief owns the store and the process that takes votes: they write what they like, and hold no key but their own.
type thief struct {
	*story
	db  *sql.DB
	own *sqldb.DB // the same store, through the server's own code
}

func (r *story) thief() *thief {
	r.t.Helper()
	if r.config.Store != "" {
		r.t.Skip("the store is not a file")
	}
	file := filepath.Join(r.config.Data, "sallyport.db")
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(60000)")
	if err != nil {
		r.t.Fatal(err)
	}
	own, err := sqldb.Open(r.t.Context(), "sqlite:"+file)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { db.Close(); own.Close() })
	return &thief{r, db, own}
}

func (h *thief) exec(query string, args ...any) {
	h.t.Helper()
	if _, err := h.db.ExecContext(h.t.Context(), query, args...); err != nil {
		h.t.Fatalf("%s: %v", query, err)
	}
}

// write replaces a request by what the thief makes of it, with a hash that fits.
func (h *thief) write(was approval.Request, forge func(*approval.Request)) {
	h.t.Helper()
	r := was
	forge(&r)
	r.Hash = r.Question().Hash()
	votes, err := json.Marshal(r.Votes)
	if err != nil {
		h.t.Fatal(err)
	}
	groups, err := json.Marshal(r.Groups)
	if err != nil {
		h.t.Fatal(err)
	}
	h.exec("UPDATE approval SET topic=?, asker=?, asker_person=?, subject=?, canonical=?, hash=?, need=?, created=?, expires=?, state=?, decided=?, votes=?, quorums=?, policy=?, nonce=? WHERE id=?",
		r.Topic, string(r.Asker), string(r.AskerPerson), r.Subject, r.Canonical, r.Hash, r.Need, r.Created.UnixMicro(), r.Expires.UnixMicro(), string(r.State), r.Decided.UnixMicro(),
		string(votes), string(groups), r.Policy, r.Nonce, was.ID)
}

// AZ-16, moonshot of users: who owns the store and the process that counts votes cannot invent an approval. Each forgery is written into
// the store of the running server; the guard refuses the download, and takes it again when the store is put right. Each
// change is noticed by the feed of changes, twice for each forgery: that is what the test takes its time for.
func TestForgedApprovalsAreRefusedAtTheGuard(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	browsers := r.approvers("rita", "ana")
	x := r.As("ana").Request(sallyport.ModelPull, fraud, "30m")
	if err := browsers["rita"].Approve(ctx, x.ID, x.Hash, "for the quarter"); err != nil {
		t.Fatal(err)
	}
	other := r.As("eva").Request(sallyport.ModelPull, keel, "30m")
	if err := browsers["rita"].Approve(ctx, other.ID, other.Hash, "another thing"); err != nil {
		t.Fatal(err)
	}
	h := r.thief()
	good, err := h.own.Approval().Get(ctx, x.ID)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := h.own.Approval().Get(ctx, other.ID)
	if err != nil {
		t.Fatal(err)
	}
	grant, err := h.own.Grant().Get(ctx, "G-"+x.ID[2:])
	if err != nil {
		t.Fatal(err)
	}
	chain, err := h.own.Approver().List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// signWith makes a vote that is signed by a key that the thief has: ana's own.
	signWith := func(q *approval.Request, v sign.Vote) sign.Vote {
		t.Helper()
		challenge := sign.Challenge(q.Question(), v)
		options, err := json.Marshal(map[string]any{"publicKey": map[string]any{"challenge": encode64(challenge[:]), "rpId": chain[0].Key.Party}})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := browsers["ana"].Key.Get(options, chain[0].Key.Origin)
		if err != nil {
			t.Fatal(err)
		}
		v.Signature = assertion(t, raw)
		return v
	}
	vote := func(edit func(*sign.Vote)) func() {
		return func() {
			h.write(good, func(q *approval.Request) {
				v := q.Votes[0]
				s := *v.Signature
				v.Signature = &s
				edit(&v)
				q.Votes = []sign.Vote{v}
			})
		}
	}
	question := func(edit func(*approval.Request)) func() { return func() { h.write(good, edit) } }
	column := func(set string, args ...any) func() {
		return func() { h.exec("UPDATE jit_grant SET "+set+" WHERE id = ?", append(args, grant.ID)...) }
	}
	forgeries := []struct {
		name string
		do   func()
	}{
		{"a replayed vote of another request", vote(func(v *sign.Vote) { *v = foreign.Votes[0] })},
		{"a swapped scope", question(func(q *approval.Request) {
			q.Canonical = []byte(strings.Replace(string(q.Canonical), "model.pull", "model.export", 1))
		})},
		{"a longer time", question(func(q *approval.Request) {
			q.Canonical = []byte(strings.Replace(string(q.Canonical), "1800", "8800", 1))
		})},
		{"another nonce", question(func(q *approval.Request) { q.Nonce = strings.Repeat("0", 32) })},
		{"another policy version", question(func(q *approval.Request) { q.Policy = "sha256:other" })},
		{"another asker", question(func(q *approval.Request) { q.Asker, q.AskerPerson = "user:eva", "user:eva" })},
		{"the wrong topic", question(func(q *approval.Request) { q.Topic = "policy" })},
		{"a question without a nonce", question(func(q *approval.Request) { q.Nonce, q.Policy = "", "" })},
		{"no approvals needed", question(func(q *approval.Request) { q.Votes = nil })},
		{"a longer end of the question", question(func(q *approval.Request) { q.Expires = q.Expires.Add(time.Hour) })},
		{"a denied request", question(func(q *approval.Request) { q.State = approval.Denied })},
		{"a changed byte of the signature", vote(func(v *sign.Vote) {
			raw := append([]byte{}, v.Signature.Signature...)
			raw[len(raw)-1] ^= 1
			v.Signature.Signature = raw
		})},
		{"another page", vote(func(v *sign.Vote) {
			v.Signature.Client = []byte(strings.Replace(string(v.Signature.Client), "localhost", "evil.example", 1))
		})},
		{"an unverified user", vote(func(v *sign.Vote) {
			data := append([]byte{}, v.Signature.Data...)
			data[32] &^= 4
			v.Signature.Data = data
		})},
		{"no signature: the process forges a vote", vote(func(v *sign.Vote) { v.Signature = nil })},
		{"a cloned vote under another name", vote(func(v *sign.Vote) { v.Voter, v.Person = "user:adam", "user:adam" })},
		{"an own key, as rita", vote(func(v *sign.Vote) { v.Signature = nil; *v = signWith(&good, *v) })},
		{"an own approval", vote(func(v *sign.Vote) {
			v.Voter, v.Person, v.Signature = "user:ana", "user:ana", nil
			*v = signWith(&good, *v)
		})},
		{"an own approval by a second account", vote(func(v *sign.Vote) {
			v.Voter, v.Person, v.Signature = "user:ana.admin", "user:ana", nil
			*v = signWith(&good, *v)
		})},
		{"one person twice", question(func(q *approval.Request) { q.Need, q.Votes = 2, append(q.Votes[:1:1], q.Votes[0]) })},
		{"fewer people of fewer groups", question(func(q *approval.Request) { q.Groups = []sallyport.Quorum{{Group: "owners", Need: 1}} })},
		{"a longer grant", column("ends = ends + ?", int64(time.Hour/time.Microsecond))},
		{"a wider grant", column("actions = 'model.export model.pull'")},
		{"somebody else's grant", column("request = ?", "R-0000000000")},
		{"a key put in beside the chain", func() {
			e := chain[1]
			e.Key.Person = "user:eva"
			raw, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			h.exec("INSERT INTO approver (n, entry) VALUES (3, ?)", string(raw))
		}},
		{"the chain taken away", func() { h.exec("DELETE FROM approver") }},
		{"a shorter chain", func() { h.exec("DELETE FROM approver WHERE n = 2") }},
		{"rita's key exchanged", func() {
			e := chain[1]
			e.Key.Public = chain[2].Key.Public
			raw, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			h.exec("UPDATE approver SET entry = ? WHERE n = 1", string(raw))
		}},
	}
	if len(forgeries) < 20 {
		t.Fatal("there are too few")
	}
	status := func(want int) bool {
		h.exec("INSERT INTO outbox (kind) VALUES ('grant')")
		return soon(func() bool { return r.As("ana").Pull(fraud).last.status == want })
	}
	if !status(200) {
		t.Fatal("the good approval opens nothing")
	}
	for _, f := range forgeries {
		f.do()
		if !status(403) {
			t.Errorf("%s opens the model", f.name)
		}
		h.write(good, func(*approval.Request) {})
		h.exec("UPDATE jit_grant SET ends = ?, actions = 'model.pull', request = ? WHERE id = ?", grant.Until.UnixMicro(), x.ID, grant.ID)
		h.exec("DELETE FROM approver")
		for n, e := range chain {
			raw, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			h.exec("INSERT INTO approver (n, entry) VALUES (?, ?)", n, string(raw))
		}
		if !status(200) {
			t.Fatalf("after %s was put right the good approval opens nothing", f.name)
		}
	}
	r.eventually("the findings", func() bool { return len(r.findings("user:ana", "approval-void")) > 0 })
	r.Later(31 * time.Minute) // and its time is over all the same
	if !status(403) {
		t.Error("an expired grant opens the model")
	}
}

// assertion reads what PublicKeyCredential.toJSON gives.
func assertion(t *testing.T, raw []byte) *sign.Signature {
	t.Helper()
	var a struct {
		RawID    string `json:"rawId"`
		Response struct {
			Data      string `json:"authenticatorData"`
			Client    string `json:"clientDataJSON"`
			Signature string `json:"signature"`
		} `json:"response"`
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		t.Fatal(err)
	}
	return &sign.Signature{Credential: decode64(t, a.RawID), Data: decode64(t, a.Response.Data), Client: decode64(t, a.Response.Client), Signature: decode64(t, a.Response.Signature)}
}

func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decode64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
