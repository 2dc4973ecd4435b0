package whatif_test

import (
	"testing"

	"sallyport"
	"sallyport/internal/authz/whatif"
	"sallyport/internal/enforce/guard/guardtest"
)

// TestApprovers: who must approve stands on the policies that stop somebody, and on those that a grant would let apply.
func TestApprovers(t *testing.T) {
	w := guardtest.New(t)
	x, _ := w.Facts.Snapshot().Resolve(ref(t, "acme/open"))
	who := asker(w, "ana", sallyport.SingleFactor)
	if got, err := whatif.Approvers(w.Facts.Snapshot(), who, sallyport.ModelPull, x); err != nil || len(got) != 0 {
		t.Errorf("no policy says who: %v, %v", got, err)
	}
	w.Rules(guardtest.Policies + `
@id("pull.asks") @owner("t") @requirement("AZ-16") @approvers("1 of group:acme/risk, 1 of owners")
forbid (principal, action == Action::"model.pull", resource) unless { context.granted };
@id("pull.granted") @owner("t") @requirement("AZ-16") @approvers("2 of group:acme/risk")
permit (principal, action == Action::"model.pull", resource) when { context.granted };
@id("push.other") @owner("t") @requirement("AZ-16") @approvers("9 of owners")
permit (principal, action == Action::"model.push", resource) when { context.granted };`)
	got, err := whatif.Approvers(w.Facts.Snapshot(), who, sallyport.ModelPull, x)
	if want := "2 of group:acme/risk, 1 of owners"; err != nil || sallyport.JoinQuorums(got) != want {
		t.Errorf("it asks %q, want %q, %v", sallyport.JoinQuorums(got), want, err)
	}
	changes, err := whatif.WithGrant(w.Facts.Snapshot(), asker(w, "ana", sallyport.Hardware), []sallyport.Action{sallyport.ModelPull}, x)
	if err != nil || len(changes) != 1 || changes[0] != (whatif.Gain{Action: sallyport.ModelPull, Before: whatif.OnRequest, After: whatif.Allowed}) {
		t.Errorf("a grant changes %v, %v", changes, err)
	}
	for _, none := range []string{"0 of owners", "", "1 of everybody"} {
		if _, err := guardtest.Compile(`@id("a") @owner("t") @requirement("T") @approvers("` + none + `") permit (principal, action, resource);`); err == nil {
			t.Errorf("@approvers(%q) is taken", none)
		}
	}
}
