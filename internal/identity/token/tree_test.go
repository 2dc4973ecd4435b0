package token_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/clients"
	"sallyport/internal/identity/token/exchange"
	"sallyport/internal/plumbing/secret"
)

// jkt is some key, as in sallyport.Principal.Key.
func jkt(n int) string {
	return "jkt:" + encode([]byte(fmt.Sprintf("%032d", n)))
}

// agentClient registers a client that is the agent of a name.
func (w *world) agentClient(name string) token.By {
	w.t.Helper()
	id := "agent-" + name
	if _, err := w.issuer.Clients.Find(w.t.Context(), id); err != nil {
		_, err := w.issuer.Clients.Add(w.t.Context(), clients.Client{
			ID: id, Name: "Agent " + name, Grants: []clients.Grant{clients.Exchange}, Scopes: sallyport.Scope{"*"}, Audiences: token.Audiences(external),
			Method: clients.SelfSignedTLS, Thumbprint: encode(make([]byte, 32)), Principal: sallyport.PrincipalID("agent:" + name),
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return w.by(id)
}

// A node is a token of a tree, with what it may do.
type node struct {
	raw secret.Text
	who sallyport.Principal
}

// stronger says in what a token is more than the one that it was made from, "" where it is in nothing.
func stronger(child, parent sallyport.Principal) string {
	switch {
	case child.ID != parent.ID || child.Person != parent.Person || child.Session != parent.Session:
		return "somebody else's"
	case !child.Scope.Within(parent.Scope):
		return "wider scope"
	case child.Audience != parent.Audience:
		return "another audience"
	case child.Expires.After(parent.Expires):
		return "longer life"
	case child.Assurance > parent.Assurance || child.AuthTime.After(parent.AuthTime):
		return "more assurance"
	case parent.Key != "" && child.Key != parent.Key:
		return "another binding, or none"
	case len(child.Actors) < len(parent.Actors) || !slices.Equal(child.Actors[len(child.Actors)-len(parent.Actors):], parent.Actors):
		return "forgets who acts"
	case parent.Purpose != "" && child.Purpose != parent.Purpose:
		return "another purpose"
	case child.Family != parent.Family:
		return "another family"
	}
	return ""
}

// TestAZ19RandomTokenTrees grows trees of tokens by every way there is to make a token from a token: a child is never
// more than its parent, whatever it asks for, and so no leaf is more than the root.
func TestAZ19RandomTokenTrees(t *testing.T) {
	w := newWorld(t)
	cli := w.by("sallyport-cli")
	agents := []string{"helper", "clerk", "runner"}
	items := rapid.SampledFrom([]string{"*", "model.*", "model.infer", "model.infer@acme/fraud", "model.pull", "model.pull@acme/fraud", "model.pull@acme/open", "dataset.*", "dataset.read", "server.read"})
	scopes := rapid.SliceOfN(items, 0, 4)
	audiences := rapid.SampledFrom(append(token.Audiences(external), "", "", "", "", "", ""))
	repos := rapid.SampledFrom([]string{"", "", "", "", "", "", "acme/fraud", "acme/open", "dataset:acme/rows", "no such thing", "acme/fraud model.pull"})
	made, refused := 0, map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		root := sallyport.Scope(rapid.SliceOfN(items, 1, 4).Draw(t, "approved"))
		by := cli
		by.Key = rapid.SampledFrom([]string{"", jkt(1)}).Draw(t, "key")
		who := w.ana()
		who.Session = rapid.StringMatching("S-[a-z]{8}").Draw(t, "session")
		f, err := w.issuer.Start(w.t.Context(), who, token.Approval{Client: by.Client, Scope: root, Audiences: token.Audiences(external)})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range agents {
			if rapid.Bool().Draw(t, name) {
				granted := sallyport.Scope(rapid.SliceOfN(items, 1, 3).Draw(t, "granted"))
				who.Scope = sallyport.Scope{"*"}
				if _, err := w.exchange.Delegate(w.t.Context(), who, sallyport.PrincipalID("agent:"+name), granted, time.Duration(rapid.IntRange(1, 3600).Draw(t, "seconds"))*time.Second); err != nil {
					t.Fatal(err)
				}
			}
		}
		first, err := w.issuer.First(w.t.Context(), f, token.Want{Audience: audiences.Draw(t, "audience")}, by, token.Ticket{})
		if err != nil {
			t.Fatal(err)
		}
		tree := []node{w.node(t, first)}
		for range rapid.IntRange(1, 6).Draw(t, "size") {
			parent := rapid.SampledFrom(tree).Draw(t, "parent")
			want := token.Want{Audience: audiences.Draw(t, "audience"), Scope: scopes.Draw(t, "scope"), Purpose: rapid.SampledFrom([]string{"", "", "training", "audit"}).Draw(t, "purpose")}
			if len(want.Scope) == 0 || rapid.Bool().Draw(t, "all") {
				want.Scope = nil
			}
			asker := cli
			if rapid.Bool().Draw(t, "agent") {
				asker = w.agentClient(rapid.SampledFrom(agents).Draw(t, "name"))
			}
			asker.Key = rapid.SampledFrom([]string{parent.who.Key, parent.who.Key, "", jkt(1), jkt(2)}).Draw(t, "proved")
			trade := exchange.Trade{Subject: parent.raw, SubjectType: exchange.TypeAccess, Repo: repos.Draw(t, "repo")}
			w.wait(time.Duration(rapid.IntRange(0, 90).Draw(t, "wait")) * time.Second)
			issued, err := w.exchange.Exchange(w.t.Context(), asker, trade, want)
			if err != nil {
				code, _, _ := strings.Cut(sallyport.ReasonOf(err), ".")
				refused[code]++
				continue
			}
			child := w.node(t, issued)
			for _, ancestor := range []node{parent, tree[0]} {
				if what := stronger(child.who, ancestor.who); what != "" {
					t.Fatalf("%+v became stronger (%s): %+v", ancestor.who, what, child.who)
				}
			}
			if issued.Refresh.Len() > 0 || issued.Identity.Len() > 0 {
				t.Fatal("an exchange gives a refresh or ID token")
			}
			if asker.Client.Principal != "" && child.who.Actors[0] != asker.Client.Principal {
				t.Fatalf("%s got a token for %v", asker.Client.Principal, child.who.Actors)
			}
			tree, made = append(tree, child), made+1
		}
	})
	t.Logf("%d tokens were made, refused: %v", made, refused)
	if made < 20 || len(refused) < 3 {
		t.Errorf("%d tokens made, refusals %v: this shows too little", made, refused)
	}
}

func (w *world) node(t *rapid.T, i token.Issued) node {
	p, err := w.verifier.Verify(w.t.Context(), i.Access, i.Audience, w.now())
	if err != nil {
		t.Fatalf("a token that was just issued: %v", err)
	}
	return node{i.Access, p}
}

// TestTX4 asks of an exchange a longer life, a wider scope and more hops than there are.
func TestTX4(t *testing.T) {
	w := newWorld(t)
	ctx, cli := t.Context(), w.by("sallyport-cli")
	root := w.login() // model.infer model.read at the API
	trade := func(raw secret.Text) exchange.Trade {
		return exchange.Trade{Subject: raw, SubjectType: exchange.TypeAccess}
	}
	_, err := w.exchange.Exchange(ctx, cli, trade(root.Access), token.Want{Scope: sallyport.Scope{"model.pull"}})
	wantReason(t, "wider scope", err, "invalid_scope")
	_, err = w.exchange.Exchange(ctx, cli, trade(root.Access), token.Want{Audience: hub})
	wantReason(t, "another door", err, "invalid_target")
	w.wait(4 * time.Minute)
	later, err := w.exchange.Exchange(ctx, cli, trade(root.Access), token.Want{})
	if err != nil || later.Expires.After(root.Expires) {
		t.Errorf("a token of %v became one of %v: %v", root.Expires, later.Expires, err)
	}
	_, err = w.exchange.Exchange(ctx, w.by("other"), trade(root.Access), token.Want{})
	wantReason(t, "another public client", err, "invalid_grant.client")
	_, err = w.exchange.Exchange(ctx, w.by("narrow"), trade(root.Access), token.Want{})
	wantReason(t, "a client without the grant", err, "unauthorized_client")

	helper := w.agentClient("helper")
	_, err = w.exchange.Exchange(ctx, helper, trade(root.Access), token.Want{})
	wantReason(t, "an agent that nobody let act", err, "access_denied.consent")
	me := w.ana()
	me.Scope = sallyport.Scope{"*"}
	if _, err := w.exchange.Delegate(ctx, me, "agent:helper", sallyport.Scope{"model.infer@acme/fraud"}, time.Hour); err != nil {
		t.Fatal(err)
	}
	acting, err := w.exchange.Exchange(ctx, helper, trade(root.Access), token.Want{})
	if err != nil || acting.Scope.String() != "model.infer@acme/fraud" || acting.Expires.After(root.Expires) {
		t.Fatalf("acting: %v %v, %v", acting.Scope, acting.Expires, err)
	}
	_, err = w.exchange.Exchange(ctx, helper, trade(acting.Access), token.Want{})
	wantReason(t, "the same agent once more", err, "invalid_request.hops")
	raw := acting.Access
	for i, name := range []string{"b", "c", "d"} {
		if _, err := w.exchange.Delegate(ctx, me, sallyport.PrincipalID("agent:"+name), sallyport.Scope{"*"}, time.Hour); err != nil {
			t.Fatal(err)
		}
		next, err := w.exchange.Exchange(ctx, w.agentClient(name), trade(raw), token.Want{})
		if err != nil {
			t.Fatalf("hop %d: %v", i+2, err)
		}
		raw = next.Access
	}
	if _, err := w.exchange.Delegate(ctx, me, "agent:e", sallyport.Scope{"*"}, time.Hour); err != nil {
		t.Fatal(err)
	}
	_, err = w.exchange.Exchange(ctx, w.agentClient("e"), trade(raw), token.Want{})
	wantReason(t, "the fifth hop", err, "invalid_request.hops")

	all, err := w.exchange.Delegations(ctx, "user:ana")
	if err != nil || len(all) != 5 {
		t.Fatalf("%d delegations, %v", len(all), err)
	}
	first := all[slices.IndexFunc(all, func(f token.Family) bool { return f.Actors[0] == "agent:helper" })]
	if _, err := w.issuer.Revoke(ctx, token.Selector{Family: first.ID}, "taken back"); err != nil {
		t.Fatal(err)
	}
	if w.verify(acting.Access, api) != "token.revoked" || w.verify(raw, api) != "token.revoked" || w.verify(root.Access, api) != "" {
		t.Error("a permission that was taken back leaves tokens alive, or takes others along")
	}
}

// TestDelegateRefuses asks for permissions that nobody can give.
func TestDelegateRefuses(t *testing.T) {
	w := newWorld(t)
	me := w.ana()
	me.Scope = sallyport.Scope{"model.infer"}
	machine := me
	machine.ID = "service:trainer"
	acting := me
	acting.Actors = []sallyport.PrincipalID{"agent:helper"}
	for name, test := range map[string]struct {
		who   sallyport.Principal
		agent sallyport.PrincipalID
		scope sallyport.Scope
		life  time.Duration
	}{
		"no agent":            {me, "service:trainer", sallyport.Scope{"model.infer"}, time.Hour},
		"wider":               {me, "agent:helper", sallyport.Scope{"model.pull"}, time.Hour},
		"nothing":             {me, "agent:helper", nil, time.Hour},
		"no time":             {me, "agent:helper", sallyport.Scope{"model.infer"}, 0},
		"for a week":          {me, "agent:helper", sallyport.Scope{"model.infer"}, 7 * 24 * time.Hour},
		"by a service":        {machine, "agent:helper", sallyport.Scope{"model.infer"}, time.Hour},
		"by an agent":         {acting, "agent:clerk", sallyport.Scope{"model.infer"}, time.Hour},
		"an agent that left":  {me, "agent:gone", sallyport.Scope{"model.infer"}, time.Hour},
		"somebody not proved": {sallyport.Principal{ID: "user:ana", Scope: me.Scope}, "agent:helper", sallyport.Scope{"model.infer"}, time.Hour},
	} {
		if _, err := w.exchange.Delegate(t.Context(), test.who, test.agent, test.scope, test.life); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestWorkload exchanges the proof of a job, and lets an agent prove itself by one.
func TestWorkload(t *testing.T) {
	w := newWorld(t)
	ctx, by := t.Context(), w.by(token.HubID)
	proof := func(text string) exchange.Trade {
		return exchange.Trade{Subject: secret.NewText(text), SubjectType: exchange.TypeID}
	}
	one, err := w.exchange.Exchange(ctx, by, proof("service:trainer 5m model.pull model.push@acme/base"), token.Want{})
	if err != nil || one.Family.Principal != "service:trainer" || one.Family.Person != "user:ana" || !one.Refresh.IsZero() {
		t.Fatalf("%+v, %v", one, err)
	}
	if got := one.Expires.Sub(w.now()); got > 5*time.Minute || one.Family.Expires.Sub(w.now()) > 5*time.Minute {
		t.Errorf("a proof of five minutes gives a token of %v, a family of %v", got, one.Family.Expires.Sub(w.now()))
	}
	repo := proof("service:trainer 5m model.pull model.push@acme/base model.read@acme/other")
	repo.Repo = "acme/base"
	two, err := w.exchange.Exchange(ctx, by, repo, token.Want{})
	if err != nil || two.Scope.String() != "model.pull@acme/base model.push@acme/base" {
		t.Errorf("for one repository: %v, %v", two.Scope, err)
	}
	for name, test := range map[string]struct {
		trade exchange.Trade
		want  string
	}{
		"no rule":           {proof("nonsense"), "invalid_grant.workload.rule"},
		"expired":           {proof("service:trainer -1s model.pull"), "invalid_grant.expired"},
		"suspended service": {proof("service:gone 5m model.pull"), "invalid_grant.standing"},
		"an agent alone":    {proof("agent:helper 5m model.pull"), "invalid_request.agent"},
		"no type":           {exchange.Trade{Subject: secret.NewText("x")}, "invalid_request"},
		"nothing":           {exchange.Trade{SubjectType: exchange.TypeID}, "invalid_request"},
		"an actor for a job": {exchange.Trade{Subject: secret.NewText("service:trainer 5m model.pull"), SubjectType: exchange.TypeID,
			Actor: secret.NewText("agent:helper 5m *"), ActorType: exchange.TypeID}, "invalid_request"},
	} {
		_, err := w.exchange.Exchange(ctx, by, test.trade, token.Want{})
		wantReason(t, name, err, test.want)
	}
	me := w.ana()
	me.Scope = sallyport.Scope{"*"}
	if _, err := w.exchange.Delegate(ctx, me, "agent:helper", sallyport.Scope{"model.infer"}, time.Hour); err != nil {
		t.Fatal(err)
	}
	acting, err := w.exchange.Exchange(ctx, w.by("sallyport-cli"), exchange.Trade{Subject: w.login().Access, SubjectType: exchange.TypeAccess,
		Actor: secret.NewText("agent:helper 5m *"), ActorType: exchange.TypeJWT}, token.Want{})
	if err != nil || acting.Scope.String() != "model.infer" || !slices.Equal(acting.Family.Actors, []sallyport.PrincipalID{"agent:helper"}) {
		t.Errorf("an agent by its proof: %+v, %v", acting, err)
	}
}

// TestOA26 shows a rotated refresh token again, within the overlap of a client and after it, with the key and without.
func TestOA26(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	overlapping := token.CommandLine(external)
	overlapping.ID, overlapping.Overlap = "overlapping", 20*time.Second
	if _, err := w.issuer.Clients.Add(ctx, overlapping); err != nil {
		t.Fatal(err)
	}
	start := func() (token.By, token.Issued) {
		by := w.by("overlapping")
		by.Key = jkt(1)
		f, err := w.issuer.Start(ctx, w.ana(), token.Approval{Client: by.Client, Scope: sallyport.Scope{"model.infer"}, Audiences: []string{api}})
		if err != nil {
			t.Fatal(err)
		}
		issued, err := w.issuer.First(ctx, f, token.Want{}, by, token.Ticket{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.issuer.Refresh(ctx, by, issued.Refresh, token.Want{}); err != nil {
			t.Fatal(err)
		}
		return by, issued
	}
	by, issued := start()
	before := w.count(sallyport.EventTokenIssued)
	w.wait(20 * time.Second)
	again, err := w.issuer.Refresh(ctx, by, issued.Refresh, token.Want{})
	if err != nil || again.Refresh.IsZero() || w.count(sallyport.EventTokenIssued) != before+1 {
		t.Fatalf("within the overlap, with the key: %v", err)
	}
	w.mu.Lock()
	detail := w.events[len(w.events)-1].Detail["overlap"]
	w.mu.Unlock()
	if detail == "" {
		t.Error("the use within the overlap is not told apart in the record")
	}
	for name, change := range map[string]func(*token.By){"without a key": func(b *token.By) { b.Key = "" }, "with another key": func(b *token.By) { b.Key = jkt(2) }} {
		by, issued := start()
		change(&by)
		_, err := w.issuer.Refresh(ctx, by, issued.Refresh, token.Want{})
		wantReason(t, name, err, "invalid_grant.reused")
	}
	by, issued = start()
	w.wait(21 * time.Second)
	_, err = w.issuer.Refresh(ctx, by, issued.Refresh, token.Want{})
	wantReason(t, "after the overlap", err, "invalid_grant.reused")
	for _, bad := range []time.Duration{-1, 31 * time.Second} {
		c := overlapping
		c.ID, c.Overlap = "bad", bad
		if _, err := w.issuer.Clients.Add(ctx, c); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("an overlap of %v: %v", bad, err)
		}
	}
}

// TestSteadyRefresh renews for a client that proves itself and a key: its refresh token stays, and no other key works.
func TestSteadyRefresh(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	c := clients.Client{ID: "service-web", Name: "Web", Grants: []clients.Grant{clients.Code, clients.Refresh}, Scopes: sallyport.Scope{"model.*"}, Audiences: []string{api},
		RedirectURIs: []string{"https://web.example/cb"}, Method: clients.SelfSignedTLS, Thumbprint: encode(make([]byte, 32)), Bind: true}
	if _, err := w.issuer.Clients.Add(ctx, c); err != nil {
		t.Fatal(err)
	}
	by := w.by("service-web")
	f, err := w.issuer.Start(ctx, w.ana(), token.Approval{Client: by.Client, Scope: sallyport.Scope{"model.infer"}, Audiences: []string{api}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.issuer.First(ctx, f, token.Want{}, by, token.Ticket{})
	wantReason(t, "a client that must bind, without a key", err, "invalid_dpop_proof.missing")
	by.Key = "x5t:" + encode(make([]byte, 32))
	issued, err := w.issuer.First(ctx, f, token.Want{}, by, token.Ticket{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.wait(8 * 24 * time.Hour)
		next, err := w.issuer.Refresh(ctx, by, issued.Refresh, token.Want{})
		if err != nil || !next.Refresh.IsZero() || next.Key != by.Key {
			t.Fatalf("renewed: %+v, %v", next, err)
		}
	}
	by.Key = jkt(1)
	_, err = w.issuer.Refresh(ctx, by, issued.Refresh, token.Want{})
	wantReason(t, "another key", err, "invalid_grant.key")
}

// TestKeysRotateUnderLoad issues and verifies while keys are made, change places and go, again and again: no request
// fails, and tokens of before live on.
func TestKeysRotateUnderLoad(t *testing.T) {
	w := newWorld(t)
	issued, first := w.login(), w.kid()
	by := token.By{Client: clients.Client{ID: "sallyport-cli"}}
	old := issued
	for range 48 { // four hours, in which a key is asked for every five minutes
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				next, err := w.issuer.First(t.Context(), issued.Family, token.Want{}, by, token.Ticket{})
				if err != nil {
					t.Error(err)
					return
				}
				if got := w.verify(next.Access, api); got != "" {
					t.Errorf("a token just issued: %s", got)
				}
				if got := w.verify(old.Access, api); got != "" {
					t.Errorf("a token of five minutes ago: %s", got)
				}
			})
		}
		wg.Go(func() {
			if err := errors.Join(w.keys.Rotate(t.Context()), w.keys.Tend(t.Context()), w.keys.Reload(t.Context())); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		var err error
		if old, err = w.issuer.First(t.Context(), issued.Family, token.Want{}, by, token.Ticket{}); err != nil {
			t.Fatal(err)
		}
		w.wait(5 * time.Minute)
	}
	if w.kid() == first {
		t.Error("no key took the place of the first")
	}
}
