package federation_test

import (
	"context"
	"crypto/rand"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/federation"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/store/sqldb/sqldbtest"
)

// An upstream takes every answer that names its request, as a verified one. What real ones verify has its own tests.
type upstream struct {
	issuer string
	id     string // of the message
	now    func() time.Time
	last   federation.Attempt
	proved time.Time
	down   bool
}

func (u *upstream) Begin(_ context.Context, a federation.Attempt) (string, error) {
	if u.last = a; u.down {
		return "", sallyport.E("sign in", sallyport.Unavailable, "down", "").Because(federation.ReasonDown)
	}
	return "https://idp.example/?state=" + a.State, nil
}

func (u *upstream) Read(_ context.Context, a federation.Attempt, answer url.Values) (federation.Assertion, error) {
	if answer.Get("request") != a.Request {
		return federation.Assertion{}, sallyport.E("sign in", sallyport.Unknown, "another request", "").Because(federation.ReasonAnswer)
	}
	return federation.Assertion{Issuer: u.issuer, Subject: "u-1", ID: u.id, AuthTime: u.proved, Expires: u.now().Add(5 * time.Minute)}, nil
}

// A desk is a service with two providers on a database of its own.
type desk struct {
	*federation.Service
	t    *testing.T
	at   time.Time
	corp *upstream
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	db, err := sqldbtest.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	d := &desk{t: t, at: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)}
	now := func() time.Time { return d.at }
	d.corp = &upstream{issuer: "https://corp.example", id: "m-1", now: now, proved: d.at}
	other := &upstream{issuer: "https://other.example", now: now, proved: d.at}
	d.Service = &federation.Service{Store: db.Federation(), Now: now, Random: rand.Reader, Providers: []federation.Provider{
		{Name: "corp", Title: "Corp", Kind: federation.SAML, Issuer: d.corp.issuer, Upstream: d.corp},
		{Name: "other", Title: "Other", Kind: federation.SAML, Issuer: other.issuer, Upstream: other},
		{Name: "people", Title: "People", Kind: federation.LDAP, Issuer: "ldap:people"},
	}}
	return d
}

func (d *desk) begin(fresh bool) (federation.Departure, url.Values) {
	d.t.Helper()
	to, err := d.Begin(d.t.Context(), "corp", fresh, "/back")
	if err != nil {
		d.t.Fatal(err)
	}
	return to, url.Values{"state": {d.corp.last.State}, "RelayState": {d.corp.last.State}, "request": {d.corp.last.Request}}
}

func want(t *testing.T, what string, err error, reason string) {
	t.Helper()
	if sallyport.KindOf(err) != sallyport.Unknown || sallyport.ReasonOf(err) != reason {
		t.Errorf("%s: %v (%s), want %s", what, err, sallyport.ReasonOf(err), reason)
	}
}

// FED6: an answer is for the browser that left for it. A valid state and code in another browser would sign its owner in as
// somebody else.
func TestFED6AnotherBrowser(t *testing.T) {
	d := newDesk(t)
	mine, answer := d.begin(false)
	theirs, _ := d.begin(false)
	for name, cookie := range map[string]secret.Text{"another browser": theirs.Handle, "none": {}, "garbage": secret.NewText("x")} {
		_, _, err := d.Answer(t.Context(), "corp", cookie, answer)
		want(t, name, err, federation.ReasonFlow)
	}
	p, back, err := d.Answer(t.Context(), "corp", mine.Handle, answer)
	if err != nil || p.Subject != "u-1" || back != "/back" {
		t.Fatalf("%+v, %q, %v", p, back, err)
	}
	_, _, err = d.Answer(t.Context(), "corp", mine.Handle, answer)
	want(t, "twice", err, federation.ReasonFlow)

	mine, answer = d.begin(false)
	d.corp.id = "m-2"
	if err := d.Receive(t.Context(), "corp", answer); err != nil {
		t.Fatal(err)
	}
	theirs, _ = d.begin(false)
	_, _, err = d.Finish(t.Context(), "corp", theirs.Handle)
	want(t, "a received answer in another browser", err, federation.ReasonFlow)
	if p, _, err := d.Finish(t.Context(), "corp", mine.Handle); err != nil || p.Subject != "u-1" {
		t.Errorf("%+v, %v", p, err)
	}
	_, _, err = d.Finish(t.Context(), "corp", mine.Handle)
	want(t, "finished twice", err, federation.ReasonFlow)
}

// FED2: what was begun with one provider ends with it or not at all, and then it is over.
func TestFED2AnotherProvider(t *testing.T) {
	d := newDesk(t)
	mine, answer := d.begin(false)
	_, _, err := d.Answer(t.Context(), "other", mine.Handle, answer)
	want(t, "at another provider", err, federation.ReasonFlow)
	_, _, err = d.Answer(t.Context(), "corp", mine.Handle, answer)
	want(t, "used up", err, federation.ReasonFlow)
	_, answer = d.begin(false)
	want(t, "received elsewhere", d.Receive(t.Context(), "other", answer), federation.ReasonFlow)
	mine, answer = d.begin(false)
	d.corp.issuer = "https://other.example" // speaks for another's people
	_, _, err = d.Answer(t.Context(), "corp", mine.Handle, answer)
	want(t, "another issuer", err, federation.ReasonAnswer)
}

// SAML1, SAML2: a request is answered once, by an answer that was not used, and nobody answers what was not asked.
func TestSAML1AndSAML2Once(t *testing.T) {
	d := newDesk(t)
	mine, answer := d.begin(false)
	if err := d.Receive(t.Context(), "corp", answer); err != nil {
		t.Fatal(err)
	}
	want(t, "the same response twice", d.Receive(t.Context(), "corp", answer), federation.ReasonFlow)
	_, again := d.begin(false)
	want(t, "the same assertion to another request", d.Receive(t.Context(), "corp", again), federation.ReasonReplay)
	if _, _, err := d.Finish(t.Context(), "corp", mine.Handle); err != nil {
		t.Error(err)
	}
	d.corp.id = "m-2"
	for name, spoil := range map[string]func(url.Values){
		"idp-initiated": func(v url.Values) { v.Del("RelayState") }, "two states": func(v url.Values) { v.Add("RelayState", "x") },
		"unknown state": func(v url.Values) { v.Set("RelayState", "x") },
	} {
		_, answer := d.begin(false)
		spoil(answer)
		want(t, name, d.Receive(t.Context(), "corp", answer), federation.ReasonFlow)
	}
	_, answer = d.begin(false)
	answer.Set("request", "id-other")
	want(t, "another request", d.Receive(t.Context(), "corp", answer), federation.ReasonAnswer)
	answer.Set("request", d.corp.last.Request)
	want(t, "a wrong answer used it up", d.Receive(t.Context(), "corp", answer), federation.ReasonFlow)
	_, answer = d.begin(false)
	d.at = d.at.Add(10 * time.Minute)
	want(t, "too late", d.Receive(t.Context(), "corp", answer), federation.ReasonFlow)

	d.corp.id, d.corp.proved = "m-3", d.at
	_, answer = d.begin(false)
	var won atomic.Int64
	done := make(chan struct{})
	for range 4 {
		go func() {
			if d.Receive(context.Background(), "corp", answer) == nil {
				won.Add(1)
			}
			done <- struct{}{}
		}()
	}
	for range 4 {
		<-done
	}
	if won.Load() != 1 {
		t.Errorf("%d of four at once", won.Load())
	}
}

// A fresh proof is from after the attempt.
func TestFreshProof(t *testing.T) {
	d := newDesk(t)
	for name, c := range map[string]struct {
		proved time.Time
		reason string
	}{"old": {d.at.Add(-2 * time.Minute), federation.ReasonStale}, "unsaid": {time.Time{}, federation.ReasonStale}, "future": {d.at.Add(time.Hour), federation.ReasonAnswer}} {
		d.corp.proved, d.corp.id = c.proved, name
		mine, answer := d.begin(true)
		_, _, err := d.Answer(t.Context(), "corp", mine.Handle, answer)
		want(t, name, err, c.reason)
	}
	d.corp.proved, d.corp.id = d.at, "new"
	mine, answer := d.begin(true)
	if _, _, err := d.Answer(t.Context(), "corp", mine.Handle, answer); err != nil {
		t.Error(err)
	}
}

// What waits for a code of ours has a handle of its own, which works once.
func TestKeptProofs(t *testing.T) {
	d := newDesk(t)
	person := &federation.Person{Provider: "corp", Issuer: d.corp.issuer, Subject: "u-1"}
	handle, err := d.Keep(t.Context(), federation.Flow{Provider: "corp", Member: "user:ana", Proved: person, Return: "/x"})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = d.Finish(t.Context(), "corp", handle)
	want(t, "at another stage", err, federation.ReasonFlow)
	f, err := d.Kept(t.Context(), "corp", handle)
	if err != nil || f.Member != "user:ana" || f.Proved.Subject != "u-1" || f.Return != "/x" {
		t.Fatalf("%+v, %v", f, err)
	}
	_, err = d.Kept(t.Context(), "corp", handle)
	want(t, "twice", err, federation.ReasonFlow)
	if _, err := d.Begin(t.Context(), "people", false, ""); sallyport.KindOf(err) != sallyport.Invalid {
		t.Errorf("a directory is no place to go to: %v", err)
	}
	if _, err := d.Begin(t.Context(), "nobody", false, ""); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("an unknown provider: %v", err)
	}
	d.corp.down = true
	if _, err := d.Begin(t.Context(), "corp", false, ""); sallyport.KindOf(err) != sallyport.Unavailable {
		t.Errorf("one that is down: %v", err)
	}
	if _, _, err := d.Ended(t.Context(), "corp", "x"); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("one that sends no logout tokens: %v", err)
	}
	var none *federation.Service
	if _, err := none.Provider("corp"); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("without federation: %v", err)
	}
}
