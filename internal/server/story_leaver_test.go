package server_test

import (
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

// I-28, ID-10: somebody leaves while they download. Everything of theirs is dead
// within a second, over the real server; what runs is cut and counted; what they
// answered for waits.
func TestALeaverIsGoneAtOnce(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.Big()
	adam := r.As("adam").who.client
	ctx := t.Context()
	r.Join("lea", "model-developer", "project:acme/risk")
	lea := r.As("lea")
	asked := lea.Request(sallyport.ModelPull, fraud, "1h")
	r.WantStatus(200)
	granted := lea.Request(sallyport.ModelPull, fraud, "2h")
	r.As("rita").Approve(granted)
	r.WantStatus(200)
	download, stream := lea.begun(big)
	token, err := lea.who.token(ctx, client.Hub)
	if err != nil {
		t.Fatal(err)
	}

	began := time.Now()
	left, err := adam.Leave(ctx, "user:lea", api.Leave{Why: "last day"})
	if err != nil {
		t.Fatal(err)
	}
	dead := time.Since(began)
	t.Logf("in force after %s, answered after %s: %+v", left.InEffect, dead, left)
	if d, err := time.ParseDuration(left.InEffect); err != nil || d > 10*time.Second { // a fraction of a second where nothing else runs
		t.Errorf("it was in force after %s", left.InEffect)
	}
	if left.Sessions != 1 || left.Families < 1 || left.Requests != 1 || left.Grants != 1 || left.Groups != 1 || left.Roles != 1 || left.Cut != 2 {
		t.Errorf("the report is %+v", left)
	}
	r.wantBroken(download, stream)
	r.Nobody().Send(request{path: hubFile(big, weights), bearer: token})
	r.WantStatus(401)
	r.As("rita").Approve(asked)
	if r.last.status < 400 {
		t.Error("a leaver's question was approved")
	}

	if _, err := adam.SetState(ctx, "user:lea", "active"); err != nil { // back, with no old right
		t.Fatal(err)
	}
	r.Nobody().Send(request{path: hubFile(big, weights), bearer: token})
	r.WantStatus(401)
	var found bool
	for _, l := range r.leaves() {
		found = found || l.Type == sallyport.EventLeft && l.On == "user:lea" && l.Who == "user:adam" && l.Detail["why"] == "last day" && l.Detail["cut"] == "2"
	}
	if !found {
		t.Error("the log does not tell of the leaver")
	}
}
