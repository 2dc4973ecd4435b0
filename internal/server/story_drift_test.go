package server_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"go.yaml.in/yaml/v3"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/govern/drift"
	"sallyport/internal/server"
	"sallyport/internal/web/api"
)

// fileHash stands for the hash of an organisation's file.
var fileHash = "sha256:" + strings.Repeat("0a", 32)

// drift is what adam sees of an item; its Item is "" where nothing differs.
func (r *story) drift(item string) api.DriftItem {
	r.t.Helper()
	d, err := r.As("adam").who.client.Drift(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	if d.Problem != "" {
		r.t.Fatal(d.Problem)
	}
	for _, x := range d.Open {
		if x.Item == item {
			return x
		}
	}
	return api.DriftItem{}
}

// drifts waits until an item differs. What was written by hand is found when no record of it can come any more.
func (r *story) drifts(item string) (found api.DriftItem) {
	r.t.Helper()
	if found = r.drift(item); found.Item == "" {
		r.Later(drift.Every)
		r.eventually(item+" is found", func() bool { found = r.drift(item); return found.Item != "" })
	}
	return found
}

// fix asks that an item is put right, and has somebody approve it.
func (r *story) fix(way, who string, items ...string) api.DriftChange {
	r.t.Helper()
	x, err := r.As("adam").who.client.FixDrift(r.t.Context(), api.DriftFix{Way: way, Items: items, Why: "it was looked at"})
	if err != nil || x.Done || x.Request == nil {
		r.t.Fatalf("%s %v: %+v, %v", way, items, x, err)
	}
	if got := r.As(who).Approve(*x.Request); got.State != "approved" && got.State != "used" {
		r.t.Fatalf("%s of %v is %s: %+v", way, items, got.State, r.last.api)
	}
	for _, item := range items {
		if d := r.drift(item); d.Item != "" {
			r.t.Errorf("after %s: %+v", way, d)
		}
	}
	return x
}

// roleNow is a role as it is kept.
func (r *story) roleNow(name string) api.Role {
	r.t.Helper()
	all, err := r.As("adam").who.client.Roles(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	i := slices.IndexFunc(all.Roles, func(x api.Role) bool { return x.Name == name })
	if i < 0 {
		r.t.Fatalf("there is no role %s", name)
	}
	return all.Roles[i]
}

// GV-6: what is deployed matches what was approved. Before anything is declared, a row that was written by hand is found, and
// a change by a decision is not. From the declaration on both are, with the decision where there was one; each is put right
// in either way by a request that somebody else approves.
func TestGV6Drift(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	adam := r.As("adam").who.client
	define := func(name string, inherits ...string) {
		t.Helper()
		if _, err := adam.DefineRole(ctx, api.Role{Name: name, Inherits: inherits}); err != nil {
			t.Fatal(err)
		}
	}
	define("scribe", "evaluator")
	r.sql("UPDATE role SET inherits = 'administrator' WHERE name = 'scribe'")
	found := r.drifts("role scribe")
	if found.Recorded || found.Who != "" || found.Decision != "" || found.Want != `{"inherits":["evaluator"]}` || found.Is != `{"inherits":["administrator"]}` || found.Since.IsZero() {
		t.Errorf("by hand: %+v", found)
	}
	r.eventually("the finding", func() bool { return len(r.findings("", "past-the-record")) == 1 })
	r.eventually("the alert", func() bool { return len(r.notices("rita", "alert.past-the-record")) == 1 })
	r.fix("restore", "rita", "role scribe")
	if got := r.roleNow("scribe"); !slices.Equal(got.Inherits, []string{"evaluator"}) {
		t.Errorf("put back: %+v", got)
	}
	// The first declaration counts at once.
	done, err := adam.Declare(ctx, api.Declaration{Source: fileHash, Roles: []api.Role{{Name: "scribe", Inherits: []string{"evaluator"}}}})
	if err != nil || !done.Done || done.Request != nil {
		t.Fatalf("%+v, %v", done, err)
	}
	if d, err := adam.Drift(ctx); err != nil || d.Declared == nil || d.Declared.By != "user:adam" || d.Declared.Source != fileHash || len(d.Open) != 0 {
		t.Fatalf("%+v, %v", d, err)
	}
	define("scribe", "evaluator", "model-developer")
	found = r.drifts("role scribe")
	if !found.Recorded || found.Who != "user:adam" || found.Direction != "wider" {
		t.Errorf("by a decision: %+v", found)
	}
	if e, _ := r.As("alba").decided(found.Decision); e.Who != "user:adam" || e.Action != sallyport.IdentityAdminister {
		t.Errorf("it names another decision: %+v", e)
	}
	r.eventually("the finding", func() bool { return len(r.findings("user:adam", "drift")) == 1 })
	x := r.fix("accept", "rita", "role scribe")
	if got := r.roleNow("scribe"); !slices.Contains(got.Inherits, "model-developer") {
		t.Errorf("accepted: %+v", got)
	}
	if _, err := r.As("rita").who.client.VoteDrift(ctx, *x.Request, api.Vote{Yes: true}); err == nil {
		t.Error("it is approved twice")
	}
	// Somebody gives herself a role in the table, and takes another's away.
	r.sql("INSERT INTO role_assignment (id, subject, role, scope, by_whom, at, until) VALUES ('A-0000000000', 'user:eva', 'administrator', 'system', 'user:adam', 1, 0)")
	if d := r.drifts("assignment user:eva administrator system"); d.Recorded || d.Direction != "wider" || d.Want != "" {
		t.Errorf("%+v", d)
	}
	r.fix("restore", "rita", "assignment user:eva administrator system")
	// And somebody joins her group in the table.
	if _, err := adam.DefineGroup(ctx, api.Group{Name: "acme/leads"}); err != nil {
		t.Fatal(err)
	}
	r.sql("INSERT INTO membership (member, group_name) VALUES ('user:eva', 'acme/leads')")
	if d := r.drifts("member user:eva acme/leads"); d.Recorded || d.Direction != "wider" {
		t.Errorf("%+v", d)
	}
	r.fix("restore", "rita", "member user:eva acme/leads")
	all, err := adam.Roles(ctx)
	if err != nil || slices.ContainsFunc(all.Assignments, func(a api.Assignment) bool { return a.ID == "A-0000000000" }) {
		t.Errorf("it is there still: %v", err)
	}
	for _, a := range all.Assignments {
		if a.Subject == "user:rita" && a.Role == "security-reviewer" {
			continue
		}
		if a.Subject == "user:ana" {
			item := "assignment " + a.Subject + " " + a.Role + " " + a.Scope
			r.sql("DELETE FROM role_assignment WHERE id = '" + a.ID + "'")
			if d := r.drifts(item); d.Recorded || d.Direction != "narrower" || d.Is != "" {
				t.Errorf("%+v", d)
			}
			r.fix("restore", "rita", item)
			break
		}
	}
	// A later file that says something else is others' to approve.
	done, err = adam.Declare(ctx, api.Declaration{Source: fileHash, Roles: []api.Role{{Name: "scribe", Inherits: []string{"evaluator"}}}})
	if err != nil || done.Done || done.Request == nil || len(done.Items) != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	review, err := r.As("rita").who.client.Review(ctx, done.Request.ID)
	if err != nil || !review.MayVote || len(review.Changes) == 0 || !strings.Contains(review.Changes[0], "role scribe") {
		t.Errorf("the screen says %+v, %v", review, err)
	}
	if got := r.As("rita").Approve(*done.Request); r.last.err != nil {
		t.Fatalf("%+v, %v", got, r.last.err)
	}
	if d := r.drifts("role scribe"); d.Want != `{"inherits":["evaluator"]}` {
		t.Errorf("%+v", d)
	}
	r.fix("restore", "rita", "role scribe")
	if d, err := adam.Drift(ctx); err != nil || len(d.Open) != 0 || d.Declared.Request != done.Request.ID {
		t.Errorf("at the end: %+v, %v", d, err)
	}
}

// GV-6: nobody approves a fix who asked for it, who made the change that it accepts, or who may not; what has changed since
// is not touched; and what is not drift is not fixed.
func TestGV6NobodyFixesAlone(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	adam := r.As("adam").who.client
	if _, err := adam.DefineRole(ctx, api.Role{Name: "scribe", Inherits: []string{"evaluator"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := adam.Declare(ctx, api.Declaration{Source: fileHash, Roles: []api.Role{{Name: "scribe", Inherits: []string{"evaluator"}}}}); err != nil {
		t.Fatal(err)
	}
	r.sql("UPDATE role SET inherits = 'developer' WHERE name = 'scribe'")
	r.drifts("role scribe")
	for name, fix := range map[string]api.DriftFix{
		"another item": {Way: "accept", Items: []string{"role nobody"}, Why: "x"},
		"no way":       {Way: "forget", Items: []string{"role scribe"}, Why: "x"},
		"a file":       {Way: "declare", Items: []string{"role scribe"}, Why: "x"},
		"no reason":    {Way: "accept", Items: []string{"role scribe"}},
		"nothing":      {Way: "accept", Why: "x"},
	} {
		if x, err := adam.FixDrift(ctx, fix); err == nil {
			t.Errorf("%s: %+v", name, x)
		}
	}
	x, err := adam.FixDrift(ctx, api.DriftFix{Way: "accept", Items: []string{"role scribe"}, Why: "it is right"})
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"adam", "ana"} {
		if _, err := r.As(who).who.client.VoteDrift(ctx, *x.Request, api.Vote{Yes: true}); err == nil {
			t.Errorf("%s approves it", who)
		}
	}
	if got, err := r.As("rita").who.client.DriftRequest(ctx, x.Request.ID); err != nil || got.Way != "accept" || len(got.Items) != 1 || got.Items[0].Is != `{"inherits":["developer"]}` {
		t.Errorf("%+v, %v", got, err)
	}
	r.sql("UPDATE role SET inherits = 'administrator' WHERE name = 'scribe'")
	r.drift("role scribe") // from here on a record could come
	r.Later(drift.Every)
	r.eventually("the other change", func() bool { return r.drift("role scribe").Is == `{"inherits":["administrator"]}` })
	r.As("rita").Approve(*x.Request)
	r.WantStatus(http.StatusConflict)
	if d := r.drift("role scribe"); d.Want != `{"inherits":["evaluator"]}` || d.Is != `{"inherits":["administrator"]}` {
		t.Errorf("what was not looked at is accepted: %+v", d)
	}
	// Whoever made the change does not say that it is right. Rita is made an administrator of people for a moment.
	if _, err := r.As("ana").who.client.Drift(ctx); err == nil {
		t.Error("everybody reads what is meant")
	}
	// The store turned back is no way to lose what is meant.
	r.restartWith(func() { r.sql("DELETE FROM drift_intention") })
	r.eventually("the alarm", func() bool {
		d, err := r.As("adam").who.client.Drift(ctx)
		return err == nil && strings.Contains(d.Problem, "gone or went back")
	})
	r.eventually("the finding", func() bool {
		return slices.ContainsFunc(r.findings("", "past-the-record"), func(f api.Finding) bool { return f.Subject == "intention" })
	})
}

// GV-6: the configuration's file is compared with what was approved, while the server runs and over a start.
func TestGV6DriftOfTheConfiguration(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	ctx := t.Context()
	path := filepath.Join(r.dir, "sallyport.yaml")
	write := func(c server.Config) {
		t.Helper()
		text, err := yaml.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	load := func() {
		t.Helper()
		c, err := server.LoadConfig(path)
		if err != nil {
			t.Fatal(err)
		}
		r.config = c
	}
	r.restartWith(func() { write(r.config); load() })
	adam := r.As("adam").who.client
	meant := r.config
	items := []string{}
	r.eventually("what was never seen", func() bool {
		d, err := adam.Drift(ctx)
		items = nil
		for _, x := range d.Open {
			items = append(items, x.Item)
		}
		return err == nil && len(items) > 0
	})
	if !slices.Contains(items, "connector upstreams/up") || !slices.Contains(items, "door authzen/points/mesh") {
		t.Errorf("%q", items)
	}
	r.fix("accept", "rita", items[0])
	if d, err := adam.Drift(ctx); err != nil || len(d.Open) != 0 {
		t.Fatalf("%+v, %v", d, err)
	}
	// A mapping of an identity provider and an enforcement point more, by somebody with an editor.
	edited := meant
	edited.AuthZEN.Points = append(slices.Clone(meant.AuthZEN.Points), server.EnforcementPoint{Service: "evil", Believed: true, Assurance: "aal3", Bearer: true})
	edited.Separate = [][2]string{{"developer", "security-reviewer"}}
	write(edited)
	if d := r.drifts("separation developer security-reviewer"); d.Recorded || d.Direction != "narrower" {
		t.Errorf("%+v", d)
	}
	if d := r.drifts("door authzen/points/evil"); d.Recorded || d.Want != "" {
		t.Errorf("%+v", d)
	}
	r.fix("restore", "rita", "separation developer security-reviewer")
	if now, err := server.LoadConfig(path); err != nil || len(now.Separate) != 0 || len(now.AuthZEN.Points) != 1 {
		t.Errorf("the file: %+v, %v", now.Separate, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("its mode: %v, %v", info.Mode(), err)
	}
	// The same edit, and the server started with it: what runs is not what was approved.
	r.restartWith(func() { edited.AuthZEN.Points = meant.AuthZEN.Points; write(edited); load() })
	r.drifts("separation developer security-reviewer")
	r.fix("accept", "rita", "separation developer security-reviewer")
	if err := os.WriteFile(path, []byte("listen: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.drifts("setting file")
	r.fix("restore", "rita", "setting file")
	// Nobody waits for who would write into a pipe.
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	r.drifts("setting file")
	r.fix("restore", "rita", "setting file")
}

// GV-6: a row that nothing can be compared with is told, and nothing is hidden behind it.
func TestGV6NothingHidesDrift(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	adam := r.As("adam").who.client
	r.drift("")
	told := 0
	for name, row := range map[string][2]string{
		"a name that no terminal may see": {`INSERT INTO role (name, inherits, description, privileged) VALUES ('zz' || char(27) || '[31mil', '', '', 1)`, `DELETE FROM role WHERE name LIKE 'zz%'`},
		"a name of a megabyte":            {`INSERT INTO role (name, inherits, description, privileged) VALUES ('zz' || hex(zeroblob(500000)), '', '', 1)`, `DELETE FROM role WHERE name LIKE 'zz%'`},
		"one that is there twice":         {`INSERT INTO role_assignment SELECT 'A-0000000000', subject, role, scope, by_whom, at, until FROM role_assignment LIMIT 1`, `DELETE FROM role_assignment WHERE id = 'A-0000000000'`},
		"a scope that is none":            {`INSERT INTO role_assignment VALUES ('A-0000000000', 'user:eva', 'administrator', 'no scope', 'user:adam', 1, 0)`, `DELETE FROM role_assignment WHERE id = 'A-0000000000'`},
	} {
		r.sql(row[0])
		d, err := adam.Drift(t.Context())
		if err != nil || d.Problem == "" || len(d.Problem) > 500 || strings.ContainsFunc(d.Problem, unicode.IsControl) {
			t.Errorf("%s: %.600q, %v", name, d.Problem, err)
		}
		told++
		r.eventually("the event", func() bool {
			n := 0
			for _, e := range r.leaves() {
				if e.Type == sallyport.EventDriftFound && e.On == "intention" {
					n++
				}
			}
			return n == told
		})
		if _, err := adam.Declare(t.Context(), api.Declaration{Source: fileHash}); err == nil {
			t.Errorf("%s: something is declared on it", name)
		}
		r.sql(row[1])
	}
	r.eventually("the finding", func() bool { return len(r.findings("", "past-the-record")) == 1 })
	if d, err := adam.Drift(t.Context()); err != nil || d.Problem != "" {
		t.Errorf("it is over: %+v, %v", d, err)
	}
	// Who approves sees what cannot be seen.
	r.sql("INSERT INTO role_assignment VALUES ('A-0000000000', 'user:eva' || char(8203), 'administrator', 'system', 'user:adam', 1, 0)")
	item := r.drifts("assignment user:eva\u200b administrator system").Item
	x, err := adam.FixDrift(t.Context(), api.DriftFix{Way: "restore", Items: []string{item}, Why: "it was looked at"})
	if err != nil || !strings.Contains(x.Request.Subject, "user:eva\ufffd ") {
		t.Fatalf("%+v, %v", x, err)
	}
	if review, err := r.As("rita").who.client.Review(t.Context(), x.Request.ID); err != nil || !strings.Contains(review.Changes[0], "user:eva\ufffd ") {
		t.Errorf("the screen says %q, %v", review.Changes, err)
	}
	// At the very first start what is there becomes what is meant: where it cannot be compared there is none.
	if err := r.server.Close(); err != nil {
		t.Fatal(err)
	}
	r.sql("DELETE FROM drift_intention")
	if err := os.Remove(filepath.Join(r.config.Data, "secrets", "drift-number.sealed")); err != nil {
		t.Fatal(err)
	}
	r.sql("INSERT INTO role (name, inherits, description, privileged) VALUES ('zz' || char(27), '', '', 1)")
	if err := r.start(t.Context(), trail.Files{}); err == nil || !strings.Contains(err.Error(), "zz") {
		t.Errorf("it starts: %v", err)
	}
	r.sql("DELETE FROM role WHERE name LIKE 'zz%'")
	if err := r.start(t.Context(), trail.Files{}); err != nil {
		t.Fatal(err)
	}
}
