package server_test

import (
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

// browse sends what a browser sends with the session of whoever acts, and returns the status and the page.
func (r *story) browse(method, path string, form url.Values) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.server.External()+path, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := r.who.web.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

var (
	thingName  = regexp.MustCompile(`<article class="thing"><h4>(\S+) `)
	thingGroup = regexp.MustCompile(`(?s)<dt class="(\w+)">[^<]*</dt><dd[^>]*>(.*?)</dd>`)
	inTags     = regexp.MustCompile(`<[^>]*>`)
)

// group is what a page says of one thing in a group, as text.
func group(page, thing, group string) string {
	_, page, _ = strings.Cut(page, "<h4>"+thing+" ")
	page, _, _ = strings.Cut(page, "</article>")
	for _, m := range thingGroup.FindAllStringSubmatch(page, -1) {
		if m[1] == group {
			return strings.Join(strings.Fields(inTags.ReplaceAllString(m[2], " ")), " ")
		}
	}
	return ""
}

// home opens the page of whoever acts.
func (r *story) home() string {
	r.t.Helper()
	status, text := r.browse(http.MethodGet, "/home", nil)
	if status != http.StatusOK || !strings.Contains(text, `id="may"`) {
		r.t.Fatalf("%s's page: %d\n%s", r.who.id, status, text)
	}
	return text
}

// UX-2: people see who they are, what waits for them, and what they can do, could, may ask for and cannot, as the API answers
// them; of what they may not know of, nothing; and the look at it is recorded.
func TestUX2Home(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	at, err := r.As("ana").who.open(ctx, r.server.External()+"/")
	if err != nil || at.path != landing || !strings.Contains(at.text, "user:ana, proved by password") {
		t.Fatalf("the front door leads to %s: %v\n%s", at.path, err, at.text)
	}
	says := map[sallyport.Action]string{sallyport.ModelEvaluate: "evaluate", sallyport.ModelPull: "download the weights", sallyport.ModelPush: "upload a version", sallyport.ModelDelete: "delete"}
	in := map[string]string{"allow": "can", "step-up": "proof", "device": "device", "request": "ask", "hold": "not", "deny": "not"}
	for name, wants := range map[string][]string{
		"ana":  {"model-developer on project:acme/risk", `href="/approvals/ask?action=model.pull&amp;resource=acme%2Ffraud%40v1"`},
		"eva":  {"evaluator on org:acme"},
		"rita": {"approve rights, place holds, read the log"},
		"adam": {"There is nothing in the catalog that you may see.", "administer the people"},
		"nora": {"There is nothing in the catalog that you may see."},
		"alba": {"Auditors inspect the log and touch nothing else.", "read the log"},
	} {
		one := r.As(name)
		page := one.home()
		for _, want := range wants {
			if !strings.Contains(page, want) {
				t.Errorf("%s's page lacks %q\n%s", name, want, page)
			}
		}
		things, err := one.who.client.Things(ctx)
		if err != nil && name != "alba" {
			t.Fatal(err)
		}
		listed := map[string]bool{}
		for _, x := range things {
			listed[x.Resource] = true
			for action, words := range says {
				a, err := one.who.client.Can(ctx, client.Can{Action: action, Resource: x.Resource})
				if err != nil {
					t.Fatal(err)
				}
				for _, class := range in {
					if got := group(page, x.Resource, class); strings.Contains(got, words) != (class == in[a.Cell]) {
						t.Errorf("%s on %s for %s is %q; the page has under %s: %q", action, x.Resource, name, a.Cell, class, got)
					}
				}
			}
		}
		for _, model := range []string{base, fraud, keel, ghost} {
			if shown := strings.Contains(page, model); shown != listed[model] {
				t.Errorf("%s sees %s in the list: %t, on the page: %t", name, model, listed[model], shown)
			}
		}
		if n := len(thingName.FindAllString(page, -1)); n != len(listed) {
			t.Errorf("%s sees %d things on the page, %d in the list", name, n, len(listed))
		}
	}
	if _, ok := r.found(func(e sallyport.Logged) bool {
		return e.Type == sallyport.EventDecided && e.Who == "user:eva" && e.Action == sallyport.ModelList && e.Asked != nil && e.Asked.Client == "sallyport-pages"
	}); !ok {
		t.Error("that eva looked at the list is not in the log")
	}

	// What is asked waits for one and stands with the other; what was granted is there with its end.
	x := r.As("ana").Request(sallyport.ModelPull, fraud, "1h")
	if page := r.As("ana").home(); !strings.Contains(page, `href="/approvals/`+x.ID+`"`) {
		t.Errorf("ana's own request is not there\n%s", page)
	}
	if page := r.As("rita").home(); !strings.Contains(page, "<strong>1</strong> request to answer") {
		t.Errorf("nothing waits for rita\n%s", page)
	}
	r.As("rita").Approve(x)
	page := r.As("ana").home()
	if !strings.Contains(page, "download the weights of acme/fraud") || !strings.Contains(page, "in 59 minutes") || strings.Contains(page, x.ID) {
		t.Errorf("ana's grant is not there, or her request still is\n%s", page)
	}
	if page := r.As("rita").home(); strings.Contains(page, "<strong>1</strong> request to answer") {
		t.Error("what rita answered still waits for her")
	}
	if status, page := r.As("ana").browse(http.MethodGet, "/home?from="+url.QueryEscape(keel), nil); status != http.StatusOK || strings.Contains(page, keel) {
		t.Errorf("a sheet that begins with what she may not know of: %d", status)
	}
}

// EN-3: who may not ask is offered no link to ask, and the form sent by a script is refused with 403 and found as ui-bypass.
func TestEN3WhatHomeDoesNotOffer(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	const ask = `href="/approvals/ask?action=model.pull&amp;resource=acme%2Ffraud%40v1"`
	if page := r.As("eva").home(); !strings.Contains(page, ask) {
		t.Fatalf("eva is not offered to ask\n%s", page)
	}
	old, err := r.As("adam").who.client.Policy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := api.Proposal{Schema: old.Schema, Policies: maps.Clone(old.Policies), Why: "evaluators take no weights"}
	next.Policies["asking.cedar"] = `
@id("asking.not-evaluators") @owner("security") @requirement("EN-3") @text("Evaluators do not ask for weights.")
forbid (principal in Role::"evaluator", action == Action::"grant.request", resource);`
	r.InForce(next)
	eva := r.As("eva")
	if page := eva.home(); strings.Contains(page, "/approvals/ask") || group(page, fraud, "ask") != "" || !strings.Contains(group(page, fraud, "not"), "download the weights") {
		t.Errorf("eva is offered what she may not do: %q, %q", group(page, fraud, "ask"), group(page, fraud, "not"))
	}
	form := url.Values{"action": {"model.pull"}, "resource": {fraud}, "for": {"1h"}, "why": {"because"}, "task": {""}}
	if status, text := eva.browse(http.MethodPost, "/approvals/ask", form); status != http.StatusForbidden {
		t.Errorf("asked by a script: %d\n%s", status, text)
	}
	r.eventually("the finding of who went around the page", func() bool {
		all, err := r.As("alba").who.client.Findings(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(all, func(f api.Finding) bool { return f.Rule == "ui-bypass" && f.Who == "user:eva" })
	})
}

// UX-2: the page on a real screen: it fits a desk and a phone, by light and in the dark, opens by keyboard, and each step is
// big enough for a finger.
func TestUX2HomeOnScreen(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.Big()
	r.As("rita").Approve(r.As("ana").Request(sallyport.ModelPull, fraud, "1h"))
	r.As("eva").Request(sallyport.ModelPull, keel, "2h")
	for _, name := range []string{"ana", "rita", "adam", "eva"} {
		s := r.As(name).Screen()
		s.open("/home", "#may")
		for _, scheme := range []string{"light", "dark"} {
			s.scheme(scheme)
			s.shoot("home-" + name + "-" + scheme)
		}
		if name != "eva" {
			continue
		}
		if got := s.text("#sentence"); !strings.Contains(got, "user:eva, proved by password") {
			t.Errorf("eva is %q", got)
		}
		s.script(`document.querySelector(".may summary").focus()`)
		s.do(chromedp.KeyEvent(kb.Enter))
		if got := s.text(".may details[open] .line"); got != "sallyport token --for model.infer@acme/keel" {
			t.Errorf("by keyboard the first fold shows %q", got)
		}
		s.script(`document.querySelectorAll("details").forEach(d => d.open = true)`)
		s.shoot("home-eva-open")
		for _, selector := range []string{".step", ".tile", ".may summary"} {
			if got := s.script("document.querySelector(" + quoted(selector) + ").getBoundingClientRect().height >= 24"); got != "true" {
				t.Errorf("%s is too small to be touched", selector)
			}
		}
		s.click(`a.step[href^="/approvals/ask"]`, "#submit")
		if got := s.script(`document.querySelector("#action").value + " " + document.querySelector("#resource").value`); got != "model.pull acme/base@v1" { // keel is asked for already
			t.Errorf("the link to ask fills in %q", got)
		}
	}
}
