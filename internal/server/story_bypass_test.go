package server_test

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

var offerField = regexp.MustCompile(`/vote" id="ballot">\s*<input[^>]*name="hash"[^>]*><input type="hidden" name="offer" value="([^"]+)"`)

// EN-3: a vote that the page does not offer, sent by a script with the person's cookie, is refused with 403 and found as
// ui-bypass. A vote that was offered, by somebody whose right ended meanwhile, is refused and found as nothing.
func TestEN3AHiddenButtonIsNoWayIn(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	x := r.As("ana").Request(sallyport.ModelPull, fraud, "1h")
	browse := func(name, method, path string, form url.Values) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, r.server.External()+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		if method == http.MethodPost {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		resp, err := r.As(name).who.web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	vote := func(name, offer string) int {
		t.Helper()
		status, _ := browse(name, http.MethodPost, "/approvals/"+x.ID+"/vote", url.Values{"yes": {"yes"}, "reason": {"fine"}, "hash": {x.Hash}, "offer": {offer}})
		return status
	}

	// Rita's right ends between the page and the form.
	_, page := browse("rita", http.MethodGet, "/approvals/"+x.ID, nil)
	offer := offerField.FindStringSubmatch(page)
	if offer == nil {
		t.Fatalf("rita is not offered a vote: %s", page)
	}
	adam := r.As("adam").who.client
	roles, err := adam.Roles(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range roles.Assignments {
		if a.Subject == "user:rita" {
			if err := adam.Unassign(ctx, a.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if status := vote("rita", offer[1]); status != http.StatusForbidden && status != http.StatusNotFound {
		t.Errorf("rita's vote: %d", status)
	}

	// Ana is offered none on what she asked for, and sends it all the same, with what rita was offered too.
	if _, page := browse("ana", http.MethodGet, "/approvals/"+x.ID, nil); offerField.MatchString(page) || strings.Contains(page, `id="approve"`) {
		t.Errorf("ana is offered a vote on what she asked for: %s", page)
	}
	if status := vote("ana", offer[1]); status != http.StatusForbidden {
		t.Errorf("ana's vote: %d", status)
	}
	found := []api.Finding{}
	r.eventually("the finding", func() bool {
		all, err := r.As("alba").who.client.Findings(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		found = slices.DeleteFunc(all, func(f api.Finding) bool { return f.Rule != "ui-bypass" })
		return len(found) > 0
	})
	if len(found) != 1 || found[0].Who != "user:ana" || !strings.HasPrefix(found[0].Subject, "session:") || found[0].Detail["path"] != "/approvals/"+x.ID+"/vote" {
		t.Fatalf("found: %+v", found)
	}
	e, _ := r.decided(found[0].Detail["decision"])
	if e.Outcome != denied || e.Action != sallyport.GrantApprove || e.Who != "user:ana" {
		t.Errorf("the decision that refused it: %+v", e)
	}
}
