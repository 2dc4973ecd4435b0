package decision_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
)

func show(q decision.Question) string { return fmt.Sprintf("%+v", q) }

// places is a set whose policies ask from where a call comes.
const places = `
@id("use") @owner("x") @requirement("T") permit(principal, action, resource);
@id("pull.managed") @owner("x") @requirement("DV-2") @text("Weights go to enrolled devices.")
forbid(principal, action == Action::"model.pull", resource) unless { context.device.level >= 2 };
@id("pull.stale") @owner("x") @requirement("DV-2") @outcome("step-up") @needs("phr")
forbid(principal, action == Action::"model.pull", resource)
when { context.device.level >= 2 && context.device.postureAge > 86400 && !(context.assurance >= 3 && context.authAge < 900) };
@id("export.hardware") @owner("x") @requirement("DV-1")
forbid(principal, action == Action::"model.export", resource) unless { context.device.level >= 3 && context.device.encrypted };
@id("deploy.admin") @owner("x") @requirement("DV-5")
forbid(principal, action == Action::"model.deploy", resource) unless { context.device.class == "admin" };
@id("delete.bound") @owner("x") @requirement("TK-4")
forbid(principal, action == Action::"model.delete", resource) unless { context.bound };
@id("retire.bound-and-managed") @owner("x") @requirement("TK-4")
forbid(principal, action == Action::"model.retire", resource) unless { context.bound && context.device.level >= 2 && context.assurance >= 3 };
@id("restore.a-key") @owner("x") @requirement("TK-4")
forbid(principal, action == Action::"model.restore", resource) unless { context.device.level >= 1 };
@id("rename.never") @owner("x") @requirement("T") forbid(principal, action == Action::"model.rename", resource);
`

func TestDV2ADeviceThatWouldHelpIsNamed(t *testing.T) {
	e := compile(t, places)
	const day = 24 * time.Hour
	managed := decision.Device{ID: "DV-1", Class: "standard", Level: 2, Posture: time.Hour, Encrypted: true}
	stale, silent := managed, managed
	stale.Posture, silent.Posture = 2*day, -time.Second
	for _, test := range []struct {
		name    string
		action  sallyport.Action
		device  decision.Device
		bound   bool
		outcome sallyport.Outcome
		needs   sallyport.Assurance
		help    string // kinds and commands
	}{
		{"unmanaged", sallyport.ModelPull, decision.Device{}, false, sallyport.Deny, 0, "device sallyport device enroll"},
		{"managed", sallyport.ModelPull, managed, false, sallyport.Allow, 0, ""},
		{"stale", sallyport.ModelPull, stale, false, sallyport.StepUp, sallyport.PhishingResistant, "step-up sallyport login --assurance phr"},
		{"never reported", sallyport.ModelPull, silent, false, sallyport.StepUp, sallyport.PhishingResistant, "step-up sallyport login --assurance phr"},
		{"in software where hardware is wanted", sallyport.ModelExport, managed, false, sallyport.Deny, 0, "device sallyport device enroll"},
		{"not encrypted", sallyport.ModelExport, decision.Device{ID: "DV-1", Class: "standard", Level: 3}, false, sallyport.Deny, 0, "device sallyport agent"},
		{"not of class admin", sallyport.ModelDeploy, managed, true, sallyport.Deny, 0, "device "},
		{"a bearer token", sallyport.ModelDelete, managed, false, sallyport.Deny, 0, "bind sallyport run -- COMMAND"},
		{"all of it", sallyport.ModelRetire, decision.Device{}, false, sallyport.Deny, 0, "device sallyport device enroll, bind sallyport run -- COMMAND, step-up sallyport login --assurance phr"},
		{"a bound key is level one", sallyport.ModelRestore, decision.Device{}, true, sallyport.Allow, 0, ""},
		{"nothing helps", sallyport.ModelRename, decision.Device{}, false, sallyport.Deny, 0, "ask "},
	} {
		q := question(test.action)
		q.Device, q.Bound = test.device, test.bound
		f := decision.Facts{Basis: prepare(t, e, basis()), Question: q}
		d := decision.Decide(e, f)
		var help []string
		for _, r := range d.Remedies {
			if r.Text == "" {
				t.Errorf("%s: %v says nothing", test.name, r)
			}
			help = append(help, string(r.Kind)+" "+r.Command)
		}
		if d.Outcome != test.outcome || d.Needs != test.needs || strings.Join(help, ", ") != test.help {
			t.Errorf("%s: %v, needs %v, help %q; want %v, %v, %q", test.name, d.Outcome, d.Needs, help, test.outcome, test.needs, test.help)
		}
		replayed(t, e, f, d)
	}
}

// TestMaxAge is the freshness that a challenge names: the largest age in use that the policies still take.
func TestMaxAge(t *testing.T) {
	for _, test := range []struct {
		unless string
		want   int64
	}{
		{"context.assurance >= 3", 0}, {"context.assurance >= 3 && context.authAge < 900", 900}, {"context.assurance >= 3 && context.authAge <= 900", 900},
		{"context.authAge < 86400", 8 * 3600}, {"context.authAge < 70", 60}, {"context.authAge < 30", 1},
	} {
		e := compile(t, `@id("use") @owner("x") @requirement("T") permit(principal, action, resource);
@id("fresh") @owner("x") @requirement("T") @outcome("step-up") @needs("aal1") forbid(principal, action, resource) unless { `+test.unless+` };`)
		q := question(sallyport.ModelInfer)
		q.AuthTime = time.Time{}
		d := decision.Decide(e, decision.Facts{Basis: prepare(t, e, basis()), Question: q})
		if d.Outcome != sallyport.StepUp || d.MaxAge != test.want {
			t.Errorf("%s: %v, at most %d seconds; want %d", test.unless, d.Outcome, d.MaxAge, test.want)
		}
	}
}

// TestHoldsOnADevice bear on calls from that device alone.
func TestHoldsOnADevice(t *testing.T) {
	e := compile(t, places)
	b := basis()
	b.Holds = []decision.Hold{{ID: "H-1", Target: "device:DV-1"}}
	for id, want := range map[string]sallyport.Outcome{"DV-1": sallyport.Hold, "DV-2": sallyport.Allow, "": sallyport.Allow} {
		q := question(sallyport.ModelInfer)
		q.Device.ID = id
		if d := decision.Decide(e, decision.Facts{Basis: prepare(t, e, b), Question: q}); d.Outcome != want {
			t.Errorf("device %q: %v because of %q", id, d.Outcome, d.ReasonIDs())
		}
	}
}

// TestTextsOfAQuestionHaveLimits: what could not be recorded whole is not decided on.
func TestTextsOfAQuestionHaveLimits(t *testing.T) {
	e := compile(t, places)
	long := strings.Repeat("a", 257)
	for name, change := range map[string]func(*decision.Question){
		"client": func(q *decision.Question) { q.Client = long }, "purpose": func(q *decision.Question) { q.Purpose = "\xff" },
		"network": func(q *decision.Question) { q.Network = long }, "device": func(q *decision.Question) { q.Device.ID = long },
		"system": func(q *decision.Question) { q.Device.OS = "\xff" }, "class": func(q *decision.Question) { q.Device.Class = long },
		"country": func(q *decision.Question) { q.Country = "at" }, "a long country": func(q *decision.Question) { q.Country = "AUT" },
		"history": func(q *decision.Question) { q.History.Day.Bytes = -1 },
		"risk":    func(q *decision.Question) { q.Risk = 101 }, "no risk": func(q *decision.Question) { q.Risk = -1 },
	} {
		q := question(sallyport.ModelInfer)
		change(&q)
		d := decision.Decide(e, decision.Facts{Basis: prepare(t, e, basis()), Question: q})
		if d.Outcome != sallyport.Deny || !slices.Equal(d.ReasonIDs(), []string{decision.QuestionInvalid}) {
			t.Errorf("%s: %v because of %q", name, d.Outcome, d.ReasonIDs())
		}
	}
}
