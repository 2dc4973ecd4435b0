package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

var lureLink = regexp.MustCompile(`https?://\S+/confirm/\S+`)

// lured waits for the notice of a drill, and returns it with its link.
func (r *story) lured(name, kind string) (api.Notice, string) {
	r.t.Helper()
	var n api.Notice
	r.eventually(name+" is sent something", func() bool {
		i := slices.IndexFunc(r.notices(name, kind), func(n api.Notice) bool { return lureLink.MatchString(n.Text) })
		if i >= 0 {
			n = r.notices(name, kind)[i]
		}
		return i >= 0
	})
	return n, lureLink.FindString(n.Text)
}

// powers is everything that decides, of everybody, as those see it who may: what a drill must leave as it is.
func (r *story) powers() string {
	r.t.Helper()
	var all []any
	add := func(v any, err error) {
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, v)
	}
	ctx := r.t.Context()
	for _, name := range []string{"ana", "eva", "tess"} {
		c := r.As(name).who.client
		sessions, err := c.Sessions(ctx)
		var ids []string
		for _, s := range sessions {
			ids = append(ids, s.ID+" "+s.Assurance)
		}
		slices.Sort(ids)
		add(ids, err)
		risk, err := c.MyRisk(ctx)
		add(risk.Raised, err)
		delegations, err := c.Delegations(ctx)
		add(delegations, err)
	}
	adam, rita := r.As("adam").who.client, r.As("rita").who.client
	roles, err := adam.Roles(ctx)
	add(roles, err)
	people, err := adam.People(ctx)
	add(people, err)
	clients, err := adam.Programs(ctx)
	add(clients, err)
	holds, err := rita.Holds(ctx, "")
	add(holds, err)
	grants, err := rita.Grants(ctx, true)
	add(grants, err)
	requests, err := rita.Inbox(ctx)
	add(requests, err)
	text, err := json.Marshal(all)
	add(nil, err)
	return string(text)
}

// ID-13: volunteers are sent a drill like any notice; one falls, one reports, one does nothing; whatever they answer, nothing
// that decides has changed. They are told what it was, who reads the signs is trained, and policies see it. Who runs it sees
// numbers.
func TestID13DrillsEndToEnd(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx, start := t.Context(), api.StartDrill{Kind: "fake-approval", For: "1h"}
	began := func(who string, d api.StartDrill, status int) {
		t.Helper()
		_, err := r.As(who).who.client.StartDrill(ctx, d)
		r.heard("start a drill", err)
		r.WantStatus(status)
	}
	began("adam", start, http.StatusConflict) // there is no volunteer
	for _, name := range []string{"ana", "ana", "eva", "tess", "adam"} {
		if _, err := r.As(name).who.client.Volunteer(ctx, api.Volunteering{Join: true}); err != nil {
			t.Fatal(err)
		}
	}
	began("ana", start, http.StatusForbidden)
	for name, bad := range map[string]api.StartDrill{"no kind": {Kind: "phish", For: "1h"}, "short": {Kind: "mfa-fatigue", For: "59m"}, "long": {Kind: "mfa-fatigue", For: "337h"}, "no time": {Kind: "mfa-fatigue", For: "soon"}} {
		if began("adam", bad, http.StatusBadRequest); t.Failed() {
			t.Fatal(name)
		}
	}
	asked := r.As("ana").Request(sallyport.ModelPull, fraud, "8h")
	r.As("rita").Approve(asked)
	before := r.powers()
	d, err := r.As("adam").who.client.StartDrill(ctx, start)
	if err != nil || d.Sent != 3 || d.Over {
		t.Fatalf("started %+v, %v", d, err)
	}
	began("adam", api.StartDrill{Kind: "mfa-fatigue", For: "1h"}, http.StatusConflict) // everybody has one that waits

	_, anas := r.lured("ana", "request.new")
	notice, _ := r.lured("tess", "request.new")
	_, evas := r.lured("eva", "request.new")
	if list := r.notices("adam", "request.new"); slices.ContainsFunc(list, func(n api.Notice) bool { return lureLink.MatchString(n.Text) }) {
		t.Errorf("the one who started it was sent it: %+v", list)
	}

	// Somebody else's link is no link at all.
	nothing := r.page("eva", r.server.External()+"/confirm/AAAAAAAAAAAAAAAAAAAAAAAAAAA")
	for name, link := range map[string]string{"eva": anas, "adam": anas, "rita": evas} {
		if at := r.page(name, link); at.status != http.StatusNotFound || at.text != strings.ReplaceAll(nothing.text, ">eva<", ">"+name+"<") {
			t.Errorf("%s opens another's link: %d, %.500s", name, at.status, at.text)
		}
		_, err := r.As(name).who.client.AnswerLure(ctx, path.Base(link), api.LureAnswer{Answer: "yes"})
		r.heard("answer another's link", err)
		r.WantStatus(http.StatusNotFound)
	}

	// Ana falls, on the page; nothing tells her before, and everything afterwards. Her answer counts once.
	at := r.page("ana", anas)
	if at.status != 200 || !strings.Contains(at.text, "Your approval is needed") || strings.Contains(strings.ToLower(at.text), "drill") {
		t.Fatalf("the page: %d %s", at.status, at.text)
	}
	after, err := r.As("ana").who.send(ctx, at, "/confirm/"+path.Base(anas), map[string]string{"answer": "yes"})
	if err != nil || !strings.Contains(after.text, "That was a drill") || !strings.Contains(after.text, "You said yes") || !strings.Contains(after.text, "did not fit") {
		t.Fatalf("after a yes: %d %s, %v", after.status, after.text, err)
	}
	if again, err := r.As("ana").who.send(ctx, at, "/confirm/"+path.Base(anas), map[string]string{"answer": "no"}); err != nil || again.status != http.StatusConflict {
		t.Errorf("the answer again: %d, %v", again.status, err)
	}
	for name, fill := range map[string]string{"no answer": "maybe", "nothing": ""} {
		if again, err := r.As("ana").who.send(ctx, at, "/confirm/"+path.Base(anas), map[string]string{"answer": fill}); err != nil || again.status != http.StatusBadRequest {
			t.Errorf("%s: %d, %v", name, again.status, err)
		}
	}

	// Tess reports it by its notice, and is locked out of nothing; reports of others' links are reports.
	r.Later(10 * time.Minute)
	done, err := r.As("tess").who.client.Report(ctx, api.Report{What: "phish", ID: notice.ID, About: "I asked nobody"})
	if err != nil || done.Drill != d.ID || len(done.Cut) != 0 || !strings.Contains(done.Did[0], "well done") {
		t.Fatalf("reported: %+v, %v", done, err)
	}
	if now := r.powers(); now != before {
		t.Errorf("what decides has changed:\n%s\nbefore:\n%s", now, before)
	}
	for name, id := range map[string]string{"another's": anas, "no": r.server.External() + "/confirm/x", "no notice's": "N-0123456789abcdef", "": ""} {
		done, err := r.As("oto").who.client.Report(ctx, api.Report{What: "phish", ID: id})
		if err != nil || done.Drill != "" || len(done.Did) < 2 {
			t.Errorf("a report with %s link: %+v, %v", name, done, err)
		}
	}
	if again, err := r.As("tess").who.client.Report(ctx, api.Report{What: "wasnt-me", ID: notice.ID}); err != nil || again.Drill != d.ID || strings.Contains(again.Did[0], "well done") {
		t.Errorf("reported again: %+v, %v", again, err)
	}

	r.counts(d.ID, "sent 3, passed 1, reported 1, fell 1, ignored 0, waiting 1, median 600")
	r.Later(time.Hour)
	_, err = r.As("eva").who.client.AnswerLure(ctx, path.Base(evas), api.LureAnswer{Answer: "no"})
	r.heard("answer after the end", err)
	r.WantStatus(http.StatusConflict)
	r.counts(d.ID, "sent 3, passed 1, reported 1, fell 1, ignored 1, waiting 0, median 600")
	if x, err := r.As("eva").who.client.Lure(ctx, path.Base(evas)); err != nil || x.Told == nil || x.Told.Ended != "ignored" || len(x.Signs) < 3 {
		t.Errorf("after the end eva is told %+v, %v", x, err)
	}
	r.trainedByDrill(d.ID, anas)
	for kind, want := range map[string]int{"started": 1, "joined": 4, "answered": 2} {
		n := 0
		for _, e := range r.leaves() {
			if e.Type == sallyport.EventDrill && e.Detail["what"] == kind && e.Decision != "" {
				n++
			}
		}
		if n != want {
			t.Errorf("%d entries of %s, want %d", n, kind, want)
		}
	}
}

// page opens an address in somebody's browser.
func (r *story) page(name, address string) page {
	r.t.Helper()
	p := r.As(name).who
	at, err := p.open(r.t.Context(), address)
	if err == nil && at.path == "/login" { // the browser lay idle
		at, err = p.signIn(r.t.Context(), at)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return at
}

// counts reads how a drill went as its starter and reviewers do: in numbers.
func (r *story) counts(id, want string) {
	r.t.Helper()
	for _, name := range []string{"adam", "rita"} {
		all, err := r.As(name).who.client.Drills(r.t.Context())
		d, err2 := r.As(name).who.client.Drill(r.t.Context(), id)
		if err != nil || err2 != nil || len(all) != 1 || all[0] != d {
			r.t.Fatalf("%+v and %+v, %v, %v", all, d, err, err2)
		}
		if got := fmt.Sprintf("sent %d, passed %d, reported %d, fell %d, ignored %d, waiting %d, median %d", d.Sent, d.Passed, d.Reported, d.Fell, d.Ignored, d.Waiting, d.Median); got != want {
			r.t.Errorf("%s, want %s", got, want)
		}
		if text, err := json.Marshal(all); err != nil || strings.Contains(strings.ReplaceAll(string(text), "user:adam", ""), "user:") {
			r.t.Errorf("names are told: %s, %v", text, err)
		}
	}
	if _, err := r.As("ana").who.client.Drills(r.t.Context()); err == nil {
		r.t.Error("ana reads how others did")
	}
}

// trainedByDrill: who has read the signs is trained from then on, once for each drill, and the next call is decided on it.
func (r *story) trainedByDrill(id, link string) {
	r.t.Helper()
	ctx := r.t.Context()
	r.demandTraining()
	r.As("ana").Pull(fraud)
	r.Want(denied, "weights.trained")
	at := r.page("ana", link)
	after, err := r.As("ana").who.send(ctx, at, "/confirm/"+path.Base(link), map[string]string{"answer": "read"})
	if err != nil || after.status != 200 || !strings.Contains(after.text, "it counts as training") {
		r.t.Fatalf("read: %d %s, %v", after.status, after.text, err)
	}
	r.As("ana").Pull(fraud)
	r.Want(allowed, "weights.granted")
	mine, err := r.As("ana").who.client.MyDrills(ctx)
	if err != nil || len(mine.Drills) != 1 || mine.Drills[0].Ended != "fell" || mine.Drills[0].Learned.IsZero() || mine.Training.Why != "drill "+id || mine.Volunteer.IsZero() {
		r.t.Errorf("her own: %+v, %v", mine, err)
	}
	if again, err := r.As("ana").who.send(ctx, at, "/confirm/"+path.Base(link), map[string]string{"answer": "read"}); err != nil || again.status != http.StatusConflict {
		r.t.Errorf("read again: %d, %v", again.status, err)
	}
}

// TestDrillOnScreen: in a browser, by keyboard and without a script; it fits a phone. The three kinds, and what each was.
func TestDrillOnScreen(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	if _, err := r.As("ana").who.client.Volunteer(ctx, api.Volunteering{Join: true}); err != nil {
		t.Fatal(err)
	}
	s := r.As("ana").Screen()
	for _, kind := range []struct{ name, notice, button, ended string }{
		{"consent-phish", "client.consent", "#yes", "accepted"}, {"mfa-fatigue", "signin.confirm", "#no", "refused"}, {"fake-approval", "request.new", "#no", "refused"},
	} {
		if _, err := r.As("adam").who.client.StartDrill(ctx, api.StartDrill{Kind: kind.name, For: "1h"}); err != nil {
			t.Fatal(err)
		}
		_, link := r.lured("ana", kind.notice)
		s.open("/confirm/"+path.Base(link), "#sentence")
		s.shoot("drill-" + kind.name)
		if s.script("document.scripts.length") != "0" || strings.Contains(strings.ToLower(s.text("body")), "drill") {
			t.Errorf("%s: a script, or it tells what it is: %s", kind.name, s.text("body"))
		}
		s.script("document.querySelector(" + quoted(kind.button) + ").focus()")
		s.click(kind.button, "#told")
		if got := s.text("#ended"); got != kind.ended {
			t.Errorf("%s ended %q", kind.name, got)
		}
		s.shoot("drill-" + kind.name + "-told")
		s.click("#read", "#learned")
		s.shoot("drill-" + kind.name + "-read")
	}
}

// Guests, second accounts and machines take no part, and so nothing is sent to them.
func TestID13WhoTakesNoPart(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	guest := api.Member{ID: "user:gus", Org: "acme", Guest: true, Sponsor: "user:ana", Ends: r.clock.Now().Add(24 * time.Hour)}
	if _, err := r.As("adam").who.client.AddPerson(ctx, guest); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gus", "ana.admin"} {
		_, err := r.As(name).who.client.Volunteer(ctx, api.Volunteering{Join: true})
		r.heard(name+" joins", err)
		r.WantStatus(http.StatusConflict)
	}
	batch := r.Job(api.Member{ID: "service:deputy", Person: "user:ravi", Purpose: "works"}, "security-reviewer", "org:acme")(client.API, "server.read")
	r.Nobody().Send(request{method: http.MethodPost, path: api.Version + "/me/drills", body: `{"join":true}`, bearer: batch})
	r.WantStatus(http.StatusConflict)
	_, err := r.As("adam").who.client.StartDrill(ctx, api.StartDrill{Kind: "mfa-fatigue", For: "1h"})
	r.heard("start a drill", err)
	r.WantStatus(http.StatusConflict) // nobody has joined
}
