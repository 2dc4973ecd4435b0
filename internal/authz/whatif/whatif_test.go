package whatif_test

import (
	"slices"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/authz/whatif"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/identity/device"
	"sallyport/internal/plumbing/secret"
)

func asker(w *guardtest.World, name string, level sallyport.Assurance) whatif.Asker {
	id := sallyport.PrincipalID("user:" + name)
	now := w.Clock.Now()
	return whatif.Asker{At: now, Principal: sallyport.Principal{ID: id, Person: id, Session: "S-" + name, Family: "F-" + name,
		Scope: whatif.Everything(), Assurance: level, AuthTime: now}}
}

func ref(t *testing.T, s string) sallyport.Ref {
	t.Helper()
	r, err := sallyport.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The question answers what the guard decides, for everybody and everything, at every
// level, and leaves no record.
func TestCanIsWhatTheGuardDecides(t *testing.T) {
	w := guardtest.New(t)
	w.Grant("zoe", sallyport.ModelPull, "acme/open", w.Clock.Now().Add(time.Hour))
	w.Lock("user:lim")
	asked, outcomes := 0, map[sallyport.Outcome]int{}
	for _, name := range []string{"ana", "rob", "lim", "pia", "rita", "zoe"} {
		for _, on := range []string{"acme/open", "acme/secret", "acme/gone", "system", "org:acme"} {
			for _, level := range []sallyport.Assurance{sallyport.SingleFactor, sallyport.MultiFactor} {
				for _, action := range []sallyport.Action{sallyport.ModelRead, sallyport.ModelInfer, sallyport.ModelPull, sallyport.ModelDelete, sallyport.AuditRead, sallyport.ServerRead, sallyport.GrantApprove} {
					if err := w.Facts.Sync(t.Context()); err != nil { // nobody follows here: without it the facts grow old
						t.Fatal(err)
					}
					snap := w.Facts.Snapshot()
					d, x, err := whatif.Can(snap, asker(w, name, level), action, ref(t, on))
					if err != nil {
						t.Fatal(err)
					}
					a, err := w.Guard.Check(t.Context(), guard.Call{Door: "test", Action: action, Target: ref(t, on), CarryOut: []sallyport.ObligationKind{sallyport.LimitBytes},
						Proof: guard.Proof{Bearer: secret.NewText(guardtest.Token(name, level, "a", "*")), Audience: "a"}})
					if err != nil {
						t.Fatal(err)
					}
					if a.Outcome != d.Outcome || !slices.Equal(a.ReasonIDs(), d.ReasonIDs()) || a.Resource != x {
						t.Errorf("%s %s %s at %s: the guard says %s %q, the question %s %q", name, action, on, level, a.Outcome, a.ReasonIDs(), d.Outcome, d.ReasonIDs())
					}
					asked++
					outcomes[d.Outcome]++
					if a.Permit != nil {
						if err := a.Permit.Done(sallyport.Delivered{}); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
	}
	if recorded := len(w.Of(sallyport.EventDecided)); recorded != asked {
		t.Errorf("%d decisions are recorded, the guard was asked %d times", recorded, asked)
	}
	for _, o := range []sallyport.Outcome{sallyport.Allow, sallyport.Deny, sallyport.StepUp, sallyport.Hold} {
		if outcomes[o] == 0 {
			t.Errorf("no answer was %s", o)
		}
	}
}

// A cell says the least that would be needed.
func TestRights(t *testing.T) {
	w := guardtest.New(t)
	for _, test := range []struct {
		who    string
		level  sallyport.Assurance
		on     string
		action sallyport.Action
		want   whatif.Cell
	}{
		{"ana", sallyport.SingleFactor, "acme/open", sallyport.ModelInfer, whatif.Allowed},
		{"ana", sallyport.SingleFactor, "acme/secret", sallyport.ModelInfer, whatif.AfterStep},
		{"ana", sallyport.MultiFactor, "acme/secret", sallyport.ModelInfer, whatif.Allowed},
		{"ana", sallyport.MultiFactor, "acme/open", sallyport.ModelPull, whatif.OnRequest},
		{"rob", sallyport.SingleFactor, "acme/open", sallyport.ModelPull, whatif.Allowed},
		{"zoe", sallyport.Hardware, "acme/open", sallyport.ModelInfer, whatif.Denied},
		{"zoe", sallyport.Hardware, "acme/open", sallyport.ModelDelete, whatif.Denied},
	} {
		x, ok := w.Facts.Snapshot().Resolve(ref(t, test.on))
		if !ok {
			t.Fatal(test.on)
		}
		cells, err := whatif.Rights(w.Facts.Snapshot(), asker(w, test.who, test.level), x)
		if err != nil || cells[test.action] != test.want {
			t.Errorf("%s %s %s: %q, want %q, error %v", test.who, test.action, test.on, cells[test.action], test.want, err)
		}
		if len(cells) != len(whatif.ActionsOn(x.Kind)) {
			t.Errorf("%d cells for %d actions", len(cells), len(whatif.ActionsOn(x.Kind)))
		}
		for action, cell := range cells {
			d, _, err := whatif.Can(w.Facts.Snapshot(), asker(w, test.who, test.level), action, ref(t, test.on))
			if err != nil || (cell == whatif.Allowed) != (d.Outcome == sallyport.Allow) {
				t.Errorf("%s %s %s: the cell is %s, the answer %s, error %v", test.who, action, test.on, cell, d.Outcome, err)
			}
		}
	}
	w.Lock("model:acme/open")
	x, _ := w.Facts.Snapshot().Resolve(ref(t, "acme/open"))
	if cells, err := whatif.Rights(w.Facts.Snapshot(), asker(w, "rob", sallyport.MultiFactor), x); err != nil || cells[sallyport.ModelPull] != whatif.OnHold {
		t.Errorf("a held model: %q, error %v", cells[sallyport.ModelPull], err)
	}
}

// What somebody may not know of is in their own rights only as far as they may do something with it, and is told as nothing.
func TestOwn(t *testing.T) {
	w := guardtest.New(t)
	w.Rules(guardtest.Policies + `
@id("pull.granted") @owner("t") @requirement("AZ-16") permit (principal, action == Action::"model.pull", resource) when { context.granted };
@id("ask.all") @owner("t") @requirement("AZ-16") permit (principal, action == Action::"grant.request", resource);
@id("hold.zoe") @owner("t") @requirement("AZ-16") permit (principal == User::"zoe", action == Action::"hold.place", resource);`)
	x, ok := w.Facts.Snapshot().Resolve(ref(t, "acme/open"))
	if !ok {
		t.Fatal("there is no model")
	}
	for _, test := range []struct {
		who          string
		all, own, at whatif.Cell
	}{{"ana", whatif.OnRequest, whatif.OnRequest, whatif.Denied}, {"zoe", whatif.OnRequest, whatif.Denied, whatif.Allowed}} {
		who := asker(w, test.who, sallyport.MultiFactor)
		all, err := whatif.Rights(w.Facts.Snapshot(), who, x)
		if err != nil {
			t.Fatal(err)
		}
		own, err := whatif.Own(w.Facts.Snapshot(), who, x)
		if err != nil || all[sallyport.ModelPull] != test.all || own[sallyport.ModelPull] != test.own || own[sallyport.HoldPlace] != test.at {
			t.Errorf("%s: pull %s, as told %s, hold %s, %v", test.who, all[sallyport.ModelPull], own[sallyport.ModelPull], own[sallyport.HoldPlace], err)
		}
		for action, cell := range own {
			d, y, err := whatif.Can(w.Facts.Snapshot(), who, action, x.Ref())
			if err == nil {
				d, _, err = whatif.Told(w.Facts.Snapshot(), who, d, y)
			}
			if err != nil || whatif.CellOf(d) != cell {
				t.Errorf("%s %s: the own right is %s, what they are told %s, %v", test.who, action, cell, whatif.CellOf(d), err)
			}
		}
	}
}

// The actions of a kind are valid, each there once, and none of another kind.
func TestActionsOn(t *testing.T) {
	for kind, group := range map[sallyport.ResourceKind]string{sallyport.ModelKind: "model", sallyport.VersionKind: "model", sallyport.DatasetKind: "dataset", sallyport.EndpointKind: "endpoint"} {
		actions := whatif.ActionsOn(kind)
		seen := map[sallyport.Action]bool{}
		n := 0
		for _, a := range actions {
			if !a.Valid() || seen[a] {
				t.Errorf("%s: %q is no action, or there twice", kind, a)
			}
			seen[a] = true
			if a.Group() == group {
				n++
			}
		}
		if n == 0 {
			t.Errorf("%s: no action of its own", kind)
		}
	}
	if len(whatif.ActionsOn("")) != 0 {
		t.Error("there are actions on nothing")
	}
	if slices.Contains(whatif.ActionsOn(sallyport.VersionKind), sallyport.ModelList) {
		t.Error("a version is not listed into")
	}
}

// What changes is answered anew.
func TestCanFollowsTheFacts(t *testing.T) {
	w := guardtest.New(t)
	can := func() sallyport.Outcome {
		d, _, err := whatif.Can(w.Facts.Snapshot(), asker(w, "ana", sallyport.SingleFactor), sallyport.ModelInfer, ref(t, "acme/open"))
		if err != nil {
			t.Fatal(err)
		}
		return d.Outcome
	}
	if can() != sallyport.Allow {
		t.Fatal("ana cannot")
	}
	w.Catalog(func(c *catalog.Dump) { c.Models[0].Class = sallyport.Restricted })
	if got := can(); got != sallyport.StepUp {
		t.Errorf("after the label changed: %s", got)
	}
	w.Drop("ana")
	if got := can(); got == sallyport.Allow {
		t.Errorf("after the roles are gone: %s", got)
	}
}

// TestFromADevice: what only an enrolled device or a bound key would permit is a cell of its own.
func TestFromADevice(t *testing.T) {
	w := guardtest.New(t)
	w.Rules(guardtest.Policies + `
@id("pull.managed") @owner("t") @requirement("DV-2") forbid (principal, action == Action::"model.pull", resource) unless { context.device.level >= 2 };
@id("push.bound") @owner("t") @requirement("TK-4") forbid (principal, action == Action::"model.push", resource) unless { context.bound };
@id("delete.office") @owner("t") @requirement("AZ-4") forbid (principal, action == Action::"model.delete", resource) unless { context.network == "office" };`)
	w.Device(device.Device{ID: "DV-1", Owner: "user:rob", Level: device.Software, Class: device.Standard, State: device.Active})
	cell := func(who whatif.Asker, a sallyport.Action) whatif.Cell {
		t.Helper()
		x, _ := w.Facts.Snapshot().Resolve(ref(t, "acme/open"))
		cells, err := whatif.Rights(w.Facts.Snapshot(), who, x)
		if err != nil {
			t.Fatal(err)
		}
		return cells[a]
	}
	rob, pia, ana := asker(w, "rob", sallyport.MultiFactor), asker(w, "pia", sallyport.MultiFactor), asker(w, "ana", sallyport.MultiFactor)
	for _, test := range []struct {
		who    whatif.Asker
		action sallyport.Action
		want   whatif.Cell
	}{
		{rob, sallyport.ModelPull, whatif.OnDevice}, {pia, sallyport.ModelPush, whatif.OnDevice}, {ana, sallyport.ModelPull, whatif.OnRequest},
		{pia, sallyport.ModelDelete, whatif.Denied},
	} {
		if got := cell(test.who, test.action); got != test.want {
			t.Errorf("%s %s: %s, want %s", test.who.Principal.ID, test.action, got, test.want)
		}
	}
	rob.Principal.Device, pia.Principal.Key, pia.IP = "DV-1", "jkt:k", "192.0.2.7"
	if cell(rob, sallyport.ModelPull) != whatif.Allowed || cell(pia, sallyport.ModelPush) != whatif.Allowed || cell(pia, sallyport.ModelDelete) != whatif.Allowed {
		t.Error("device, key and network of the asker do not count")
	}
}
