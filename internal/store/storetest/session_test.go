package storetest

import (
	"fmt"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/credential"
	"sallyport/internal/identity/session"
	"sallyport/internal/identity/signin"
	"sallyport/internal/identity/token"
	"sallyport/internal/store/sqldb"
)

func TestSession(t *testing.T) { Run(t, testSession) }

func testSession(t *testing.T, open func() *sqldb.DB) {
	first, second := open(), open()
	a, b := first.Session(), second.Session()
	at := time.Date(2026, 11, 20, 9, 0, 0, 1000, time.UTC)
	newSession := func(id string, who sallyport.PrincipalID, age time.Duration) session.Session {
		return session.Session{ID: id, Principal: who, Person: "user:ana", Assurance: sallyport.SingleFactor, Methods: []string{"pwd"}, AuthTime: at,
			Created: at.Add(-age), Seen: at, IdleEnd: at.Add(time.Hour), End: at.Add(-age).Add(12 * time.Hour), Source: "192.0.2.0/24", Agent: "Firefox"}
	}
	one, older := newSession("S-1", "user:ana", 0), newSession("S-2", "user:ana", time.Hour)
	for hash, s := range map[session.Hash]session.Session{{1}: one, {2}: older, {3}: newSession("S-3", "user:ana", 13*time.Hour), {4}: newSession("S-4", "user:bo", 0)} {
		if err := a.Insert(t.Context(), hash, s); err != nil {
			t.Fatal(err)
		}
	}
	want := func(q session.Query, all ...session.Session) {
		t.Helper()
		if got, err := b.Sessions(t.Context(), q, at); err != nil || fmt.Sprint(got) != fmt.Sprint(all) {
			t.Errorf("Sessions(%v) = %v, %v; want %v", q, got, err, all)
		}
	}
	want(session.Query{Hash: &session.Hash{1}}, one)
	want(session.Query{Hash: &session.Hash{}})
	want(session.Query{ID: "S-2"}, older)
	want(session.Query{Principal: "user:ana"}, one, older)
	for _, q := range []session.Query{{}, {ID: "S-1", Principal: "user:ana"}} { // empty never means all
		if got, err := a.Sessions(t.Context(), q, at); err == nil {
			t.Errorf("Sessions(%v) = %v, want an error", q, got)
		}
		if got, err := a.Revoke(t.Context(), q, at, ""); err == nil {
			t.Errorf("Revoke(%v) = %v, want an error", q, got)
		}
	}

	for _, seen := range []time.Time{at.Add(2 * time.Minute), at.Add(time.Minute)} { // never backward
		if err := a.Touch(t.Context(), "S-1", seen, seen.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	one.Seen, one.IdleEnd = at.Add(2*time.Minute), at.Add(62*time.Minute)
	want(session.Query{ID: "S-1"}, one)

	one.Assurance, one.Methods, one.AuthTime = sallyport.MultiFactor, []string{"pwd", "otp"}, at.Add(3*time.Minute)
	wantOneWinner(t, func(i int) bool {
		return []session.Store{a, b}[i%2].Raise(t.Context(), session.Hash{1}, session.Hash{byte(10 + i)}, one) == nil
	})
	want(session.Query{Hash: &session.Hash{1}})
	want(session.Query{ID: "S-1"}, one)

	before, err := first.Latest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	begun, elsewhere := tokenFamily("begun"), tokenFamily("elsewhere")
	elsewhere.Session = "S-9"
	must(t, first.Token().StartFamily(t.Context(), begun))
	must(t, first.Token().StartFamily(t.Context(), elsewhere))
	ids, err := a.Revoke(t.Context(), session.Query{Principal: "user:ana"}, at.Add(time.Minute), "lost laptop")
	if err != nil || fmt.Sprint(ids) != "[S-1 S-2 S-3]" {
		t.Errorf("Revoke = %v, %v", ids, err)
	}
	ended, err := second.Token().Revoked(t.Context(), at)
	if err != nil || len(ended) != 1 || ended[0] != (token.Revoked{Family: "begun", At: at.Add(time.Minute), Reason: "lost laptop"}) {
		t.Errorf("the families of the sessions: %+v, %v", ended, err)
	}
	wantChange(t, second, before, sqldb.Session)
	ids, err = a.Revoke(t.Context(), session.Query{ID: "S-2"}, at.Add(time.Hour), "again")
	if err != nil || len(ids) != 0 {
		t.Errorf("the second Revoke = %v, %v; want nothing", ids, err)
	}
	older.Revoked, older.Why = at.Add(time.Minute), "lost laptop"
	want(session.Query{ID: "S-2"}, older)
	want(session.Query{Principal: "user:ana"})
	want(session.Query{Since: at.Add(2 * time.Minute)})
	if got, err := b.Sessions(t.Context(), session.Query{Since: at.Add(time.Minute)}, at); err != nil || len(got) != 3 {
		t.Errorf("revoked since = %v, %v; want three", got, err)
	}
	if err := a.Raise(t.Context(), session.Hash{2}, session.Hash{20}, older); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("Raise of a revoked session = %v, want not found", err)
	}
}

func TestPruneSessions(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		a, at := open().Session(), time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
		for i, end := range []time.Time{at.Add(-time.Microsecond), at} {
			s := session.Session{ID: fmt.Sprint("S-", i), Principal: "user:ana", Person: "user:ana", Assurance: 1, Methods: []string{"pwd"}, Created: at, IdleEnd: end, End: end}
			if err := a.Insert(t.Context(), session.Hash{byte(i)}, s); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Prune(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[string]int{"S-0": 0, "S-1": 1} {
			if got, err := a.Sessions(t.Context(), session.Query{ID: id}, at); err != nil || len(got) != want {
				t.Errorf("%s: %v, %v; want %d", id, got, err, want)
			}
		}
	})
}

func TestSignInFlow(t *testing.T) { Run(t, testFlow) }

func testFlow(t *testing.T, open func() *sqldb.DB) {
	a, b := open().SignIn(), open().SignIn()
	at := time.Date(2026, 11, 20, 9, 0, 0, 1000, time.UTC)
	f := signin.Flow{Hash: session.Hash{1}, Stage: signin.Confirming, Member: "user:ana", Return: "/a?b=c", Attempts: 2,
		Chosen: credential.Password{Hash: "$x", Alone: true, Set: at}, Sealed: []byte{0, 9}, Expires: at.Add(time.Minute),
		Proved: signin.Proved{Assurance: sallyport.MultiFactor, Methods: []string{"pwd", "otp"}}}
	old := signin.Flow{Hash: session.Hash{2}, Stage: signin.NeedsCode, Member: "user:bo", Expires: at}
	for _, f := range []signin.Flow{f, old} {
		if err := a.PutFlow(t.Context(), f, at.Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []signin.Flow{f, old} {
		if got, err := b.Flow(t.Context(), want.Hash); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("Flow = %v, %v; want %v", got, err, want)
		}
	}
	if err := b.PutFlow(t.Context(), signin.Flow{Hash: session.Hash{3}, Expires: at.Add(time.Hour)}, at); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Flow(t.Context(), old.Hash); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("an expired flow is kept: %v", err)
	}
	wantOneWinner(t, func(i int) bool {
		got, err := []signin.Store{a, b}[i%2].TakeFlow(t.Context(), f.Hash)
		return err == nil && got.Member == f.Member
	})
}

// What a session came from is kept, found by, and ended by.
func TestSessionOrigin(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		first, second := open(), open()
		a, b := first.Session(), second.Session()
		at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
		idp := "https://idp.example"
		for i, u := range []session.Upstream{{IdP: idp, Session: "s1", Subject: "ana"}, {IdP: idp, Session: "s2", Subject: "ana"}, {IdP: "https://other.example", Session: "s1", Subject: "ana"}, {}} {
			s := session.Session{ID: fmt.Sprint("S-", i), Principal: "user:ana", Person: "user:ana", Assurance: 2, Methods: []string{"pwd"}, Created: at, IdleEnd: at, End: at.Add(time.Hour), Upstream: u}
			if err := a.Insert(t.Context(), session.Hash{byte(i)}, s); err != nil {
				t.Fatal(err)
			}
		}
		ids := func(q session.Query) (ids string) {
			t.Helper()
			all, err := b.Sessions(t.Context(), q, at)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range all {
				ids += s.ID
			}
			return ids
		}
		for want, u := range map[string]session.Upstream{"S-0S-1": {IdP: idp, Subject: "ana"}, "S-1": {IdP: idp, Session: "s2"}, "": {IdP: idp, Session: "s1", Subject: "bo"}} {
			if got := ids(session.Query{Upstream: &u}); got != want {
				t.Errorf("%+v finds %s, want %s", u, got, want)
			}
		}
		for _, u := range []session.Upstream{{}, {IdP: idp}, {Subject: "ana", Session: "s1"}} {
			if _, err := a.Sessions(t.Context(), session.Query{Upstream: &u}, at); err == nil {
				t.Errorf("%+v selects sessions", u)
			}
			if _, err := a.Revoke(t.Context(), session.Query{Upstream: &u}, at, "x"); err == nil {
				t.Errorf("%+v ends sessions", u)
			}
		}
		before, err := second.Latest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r := session.Rating{Risk: 70, RiskReasons: []string{"travel", "hour"}, Device: "d", Network: "AS1", Country: "DE"}
		if err := a.Rate(t.Context(), "S-3", r); err != nil {
			t.Fatal(err)
		}
		wantChange(t, second, before, sqldb.Session)
		if got, err := b.Sessions(t.Context(), session.Query{Risky: true}, at); err != nil || len(got) != 1 || fmt.Sprint(got[0].Rating) != fmt.Sprint(r) {
			t.Errorf("risky: %v, %v; want %v", got, err, r)
		}
		if err := a.Rate(t.Context(), "S-9", r); sallyport.KindOf(err) != sallyport.NotFound {
			t.Errorf("rating nobody's session = %v", err)
		}
		if got, err := a.Revoke(t.Context(), session.Query{Upstream: &session.Upstream{IdP: idp, Session: "s1"}}, at, "logout"); err != nil || fmt.Sprint(got) != "[S-0]" {
			t.Errorf("ended %v, %v", got, err)
		}
		if got := ids(session.Query{Upstream: &session.Upstream{IdP: idp, Subject: "ana"}}); got != "S-1" {
			t.Errorf("after it %s is left", got)
		}
	})
}
