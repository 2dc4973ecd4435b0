package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/web/api"
)

// commands are the command lines, one for each verb that asks the server, each good enough to be sent. $DIR is where
// commandFiles wrote.
var commands = strings.Split(`agent-identity audit helper
agent-identity create helper --org acme --owner ana --purpose answers --for 30d
agent-identity extend helper --for 10d
agent-identity ls
agent-identity rm helper --why x
agent-identity show helper
agent-identity transfer helper --to ana
apply $DIR/acme.yaml
approve R-1
breakglass approve R-1
breakglass define restore --opener user:ana --role administrator --on system --for 1h --why x
breakglass deny R-1
breakglass end B-1
breakglass open restore --why x
breakglass review B-1 --text x
breakglass status
can model.pull acme/fraud
catalog add acme/other --class internal
catalog label acme/fraud public --why x
catalog ls
catalog own acme/fraud --approver rita
catalog promote acme/fraud@v1 --to production --why x
catalog retire acme/fraud@v1 --why x
clients add mlflow --name MLflow --grant client_credentials
clients ls
clients rm mlflow
clients show mlflow
delegate agent:helper --scope model.infer@acme/fraud --for 1h
delegate ls
delegate rm x
deny R-1 --reason x
device comply DV-1 --compliant=false --why x
device ls
device promote DV-1
device rm DV-1 --why x
drift
drift fix --accept x --why x
drill join
drill leave
drill ls
drill mine
drill show DR-1
drill start mfa-fatigue
device show DV-1
findings close F-1 --why x
findings ls
findings rules
findings show F-1
grants
grants revoke G-1
group define acme/other
group join acme/ml ana
group leave acme/ml ana
guest end gia --why x
guest extend gia --for 10d
guest invite gia --org acme --sponsor ana --for 10d
guest ls
guest show gia
guest sponsor gia --to ana
holds
idp link corp ana subject
idp ls
idp map corp $DIR/claims.json
idp test corp
inbox
keys inventory
keys rotate
leave ana --why x
lock user ana --why x
log export
log receipt D-1
log reindex
log search
log tail
log verify
ls
matrix
metrics revoke
notices
onboard nina --role evaluator --project acme/risk --until 2027-03-31
paths --to policy.read@system
policy activate $DIR/set --why x
policy approve R-1
policy blame D-1 D-2
policy deny R-1 --reason x
policy diff live $DIR/set
policy proposals
policy propose $DIR/set --why x
policy rollback --why x
policy show
policy simulate $DIR/set
policy status
policy sign R-1
policy withdraw R-1
pull acme/fraud@v1 $DIR/in
push $DIR/out acme/fraud
recovery approve R-1
recovery ask ana --why x
recovery cancel R-1
recovery link R-1
recovery ls
recovery vouch R-1
replay D-1
request model.pull acme/fraud --for 1h --why x
risk clear K-1
risk relearn
risk show
role assign ana reader org:acme
role define other
role ls
role unassign A-1
scim ls
scim token okta
service audit trainer
service create trainer --org acme --owner ana --purpose trains --for 30d
service extend trainer --for 10d
service ls
service rm trainer --why x
service show trainer
service transfer trainer --to ana
sessions
show acme/fraud
signals ls
signals streams
signals test S-1
successor assign acme/fraud --to ana
successor ls
tokens ls
trust add ci --kind github --issuer https://issuer.example --as service:trainer --match repository=acme/x --scope model.pull@acme/base --life 10m
trust ls
trust rm ci
trust test $DIR/proof.jwt
unlock H-1 --why x
user activate ana
user add nina --org acme
user enrol ana
user history ana
user ls
user remove ana
user suspend ana
user trained ana --at 2026-03-04 --why x
whoami
why D-1
report wasnt-me
catalog purposes acme/fraud --for training --why x
catalog lowerings
catalog approve R-1
catalog deny R-1
usage
approvers enrol --passkey C-1
approvers first --passkey C-1
approvers keys
approvers ls
approvers remove AK-1
grants renew G-1
grants standing
review R-1
logout --everywhere`, "\n")

// alone are the verbs that ask for no decision, and why.
var alone = map[string]string{
	"bench": "measures this computer", "blocklist build": "a file", "demo": "a server of its own", "doctor tls": "a configuration",
	"policy check": "files", "policy eval": "files", "policy lint": "files", "policy test": "files", "matrix diff": "files", "matrix verify": "files", "routes coverage": "this program", "serve": "is the server", "version": "this program",
	"retry": "runs another verb again", "verify log": "files", "verify receipt": "files",
	"login": "there is nobody yet to decide about", "token": "RFC 6749 has its own refusals", "env": "tokens", "run": "tokens", "agent": "tokens", "docker-credential get": "tokens",
	"docker-credential erase": "keeps nothing", "docker-credential list": "keeps nothing", "docker-credential store": "keeps nothing",
	"device enroll": "makes a key first", "device pem": "wants an enrolled computer", "device posture": "wants an enrolled computer", "device renew": "wants an enrolled computer",
}

// commandFiles writes what the command lines name.
func commandFiles(dir string) error {
	for name, text := range map[string]string{
		"acme.yaml": "organisation: acme\n", "claims.json": "{}", "proof.jwt": "e30.e30.e30",
		"set/policies.cedar": "@id(\"x\")\n@owner(\"x\")\n@requirement(\"X-1\")\npermit(principal, action, resource);\n",
		"out/config.json":    "{}",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// verbs are the commands that do something, by their names.
func verbs() map[string]*cobra.Command {
	all := map[string]*cobra.Command{}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.HasParent() && (!c.HasSubCommands() || strings.Contains(c.Use, " ") || c.HasLocalFlags()) {
			all[verbName(c)] = c
		}
		for _, below := range c.Commands() {
			walk(below)
		}
	}
	walk((&app{}).root())
	return all
}

func verbName(c *cobra.Command) string {
	_, name, _ := strings.Cut(c.CommandPath(), " ")
	return name
}

func TestEveryVerbHasACommandLine(t *testing.T) {
	left := verbs()
	for _, line := range commands {
		c, _, err := (&app{}).root().Find(strings.Fields(line))
		if err != nil || left[verbName(c)] == nil {
			t.Errorf("%q is no verb, or stands here twice (%v)", line, err)
		}
		delete(left, verbName(c))
	}
	for name, why := range alone {
		if left[name] == nil || why == "" {
			t.Errorf("%q is no verb, asks the server, or has no reason", name)
		}
		delete(left, name)
	}
	for name := range left {
		t.Errorf("%q has no command line here, and no reason why it asks for no decision", name)
	}
}

// refusals are what a server says no with, and what every verb makes of it.
var refusals = map[string]struct {
	api.Error
	exit  int
	wants []string
}{
	"denied": {api.Error{Status: 403, Kind: "deny", Outcome: "deny", Decision: "D-7", Message: "no: x.", Reasons: []sallyport.Reason{{ID: "weights.rule", Text: "because"}},
		Remedies: []sallyport.Remedy{{Command: "sallyport request", Text: "ask for it"}}},
		client.ExitDenied, []string{"decision  D-7\n", "because   weights.rule: because\n", "next      sallyport request  # ask for it\n", "explain   sallyport why D-7\n"}},
	"hidden":    {api.Error{Status: 404, Kind: "not found", Outcome: "deny", Decision: "D-7", Message: "no such thing"}, client.ExitDenied, []string{"decision  D-7\n", "explain   sallyport why D-7\n"}},
	"step-up":   {api.Error{Status: 401, Kind: "step-up", Outcome: "step-up", Decision: "D-7", Message: "no", Needs: "phr"}, client.ExitStepUp, []string{"decision  D-7\n", "needs     phr\n", "next      sallyport login --assurance phr\n", "explain   sallyport why D-7\n"}},
	"proof":     {api.Error{Status: 401, Kind: "step-up", Outcome: "step-up", Message: "no", Needs: "aal3"}, client.ExitStepUp, []string{"needs  aal3\n", "next   sallyport login --assurance aal3\n"}},
	"held":      {api.Error{Status: 403, Kind: "hold", Outcome: "hold", Decision: "D-7", Message: "no"}, client.ExitPending, []string{"decision  D-7\n", "explain   sallyport why D-7\n"}},
	"unknown":   {api.Error{Status: 401, Kind: "unknown", Message: "who is this"}, client.ExitStepUp, []string{"sallyport login"}},
	"wrong":     {api.Error{Status: 400, Kind: "invalid", Message: "make: it is wrong; do this"}, client.ExitError, []string{"it is wrong; do this"}},
	"missing":   {api.Error{Status: 404, Kind: "not found", Message: "find: there is none"}, client.ExitError, []string{"there is none"}},
	"not ready": {api.Error{Status: 503, Kind: "unavailable", Message: "write: not now"}, client.ExitUnreachable, []string{"not now"}},
}

// TestEveryVerbTellsARefusal: whatever the verb, a refusal prints its decision and the next step and ends with the one exit
// code for it, for people and as JSON.
func TestEveryVerbTellsARefusal(t *testing.T) {
	dir := t.TempDir()
	if err := commandFiles(dir); err != nil {
		t.Fatal(err)
	}
	for name, r := range refusals {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(r.Status)
			_ = json.NewEncoder(w).Encode(r.Error)
		}))
		defer server.Close()
		for _, line := range commands {
			if slices.Contains([]string{"push", "pull"}, strings.Fields(line)[0]) && name == "not ready" {
				continue // they try again for as long as a server may need to come back
			}
			signedIn(t, dir, server.URL)
			code, _, told := command(t.Context(), dir, dir, line, func() time.Time { return noon })
			if code != r.exit {
				t.Errorf("%s: %q exits %d, want %d: %s", name, line, code, r.exit, told)
			}
			for _, want := range r.wants {
				if !strings.Contains(told, want) {
					t.Errorf("%s: %q does not tell %q: %s", name, line, want, told)
				}
			}
			if name != "denied" && name != "proof" { // the form is the same for all, and made in one place
				continue
			}
			signedIn(t, dir, server.URL)
			code, out, told := command(t.Context(), dir, dir, line+" --json", func() time.Time { return noon })
			var x struct {
				Error api.Error
				Exit  int
			}
			if err := json.Unmarshal([]byte(out), &x); err != nil || x.Exit != r.exit || code != r.exit || x.Error.Decision != r.Decision || strings.Contains(told, "sallyport:") {
				t.Errorf("%s: %q --json exits %d and writes %s %s (%v)", name, line, code, out, told, err)
			}
		}
	}
}

// noon is when the commands run that talk to a server of the test.
var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// signedIn keeps a login at a server.
func signedIn(t *testing.T, dir, server string) {
	t.Helper()
	access := map[string]any{}
	for _, d := range client.Doors() {
		access[server+"/"+string(d)] = map[string]any{"token": "t", "expires": noon.Add(time.Hour)}
	}
	text, err := json.Marshal(map[string]any{"current": server, "logins": map[string]any{
		server: map[string]any{"server": server, "plaintext": true, "since": noon, "refresh": "r", "access": access}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "sallyport"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sallyport", "credentials.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// command runs a command line with logins and files of these directories, and returns its exit code and what it wrote.
func command(ctx context.Context, config, files, line string, now func() time.Time) (code int, out, told string) {
	var o, e bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &o, err: &e, now: now, env: func(name string) string { return map[string]string{"XDG_CONFIG_HOME": config}[name] }}
	code = a.run(ctx, strings.Fields(strings.ReplaceAll(line, "$DIR", files)))
	return code, o.String(), e.String()
}

// allowed are the verbs of commands that the policies of acme deny nobody, or that answer somebody about their own only.
var allowed = []string{"usage", "approvers keys", "approvers ls", "catalog lowerings", "breakglass status", "catalog ls", "delegate", "delegate ls", "device ls", "grants", "inbox", "ls", "notices", "recovery ask", "report", "risk show",
	"sessions", "whoami", "logout", "drill join", "drill leave", "drill mine"}

// absent are those that find nothing of the caller's under the name that is given, or ask for a decision of others.
var absent = []string{"approve", "catalog approve", "catalog deny", "approvers enrol", "approvers remove", "grants renew", "review", "breakglass approve", "breakglass deny", "breakglass end", "breakglass open", "delegate rm", "deny", "device rm", "device show", "grants revoke",
	"recovery vouch", "replay", "why"}

// refused runs every command line as somebody without any right: what the server denies is told with its decision and the
// command that explains it.
func refused(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: refused")
	}
	ts.Check(commandFiles(ts.MkAbs(".")))
	for _, line := range commands {
		c, _, err := (&app{}).root().Find(strings.Fields(line))
		ts.Check(err)
		code, _, told := command(context.Background(), ts.Getenv("XDG_CONFIG_HOME"), ts.MkAbs("."), line, time.Now)
		switch {
		case slices.Contains(allowed, verbName(c)) && code == 0:
		case slices.Contains(absent, verbName(c)) && (code == client.ExitError || code == client.ExitPending):
		case slices.Contains(allowed, verbName(c)) || slices.Contains(absent, verbName(c)) || code != client.ExitDenied:
			ts.Fatalf("%q exits %d: %s", line, code, told)
		case verbName(c) == "can": // its answer is no refusal
		case !denial.MatchString(told):
			ts.Fatalf("%q does not tell the decision and the next step: %s", line, told)
		}
	}
}

var denial = regexp.MustCompile(`(?s)\n  decision  D-[0-9a-z]{12}\n(.*\n)?  explain   sallyport why D-[0-9a-z]{12}\n$`)
