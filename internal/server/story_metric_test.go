package server_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/trail"
	"sallyport/internal/web/api"
)

// revocations are the figures by kind, as alba reads them who reads the log.
func (r *story) revocations(since time.Time) map[string]api.Revocation {
	r.t.Helper()
	got, err := r.As("alba").who.client.Revocations(r.t.Context(), since)
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string]api.Revocation{}
	for _, k := range got.Kinds {
		all[k.Kind] = k
	}
	return all
}

// ID-10, TK-5: while transfers run, people are locked, disabled by their provider and sign out everywhere; a grant is taken back. Each is measured, whoever ordered it; the figures are those of the log, made again here; and they outlive a restart.
func TestID10HowFastOrdersAreInForce(t *testing.T) {
	r := tellAnew(t, trail.Files{})
	r.Big()
	okta := r.provider("okta")
	lea := okta.do("POST", "/Users", userBody("lea"), 201)["id"].(string)
	adam := r.As("adam").who.client
	if _, err := adam.Assign(t.Context(), api.Assignment{Subject: "user:lea", Role: "model-developer", Scope: "project:acme/risk"}); err != nil {
		t.Fatal(err)
	}
	if k := r.revocations(time.Time{}); len(k) == 0 || k["lock"] != (api.Revocation{Kind: "lock"}) || k["scim"] != (api.Revocation{Kind: "scim"}) || k["logout"] != (api.Revocation{Kind: "logout"}) {
		t.Errorf("before anything was ordered: %+v", k)
	}
	r.As("ana").Send(request{path: "/api/v1/metrics/revoke"})
	if r.last.status == http.StatusOK {
		t.Error("who may not read the log reads its figures")
	}

	ana := r.As("ana")
	anas, anasStream := ana.begun(big)
	h := r.As("rita").Lock("user:ana")
	r.wantBroken(anas, anasStream)
	r.As("ravi").Unlock(h, "the story goes on")

	leas, leasStream := r.As("lea").begun(big)
	okta.do("PATCH", "/Users/"+lea, patchBody(`{"op":"Replace","path":"active","value":"False"}`), 200)
	r.wantBroken(leas, leasStream)

	out := r.As("ana")
	anas, anasStream = out.begun(big)
	if _, err := out.who.client.LogoutEverywhere(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.wantBroken(anas, anasStream)

	var told map[string]api.Revocation
	var unlike []string
	if !soon(func() bool { // an order may be more than one record, and each is measured when its sweep is over
		told = r.revocations(time.Time{})
		unlike = r.unlikeTheLog(told)
		return told["lock"].Orders == 1 && told["scim"].Orders == 1 && told["logout"].Orders == 1 && len(unlike) == 0
	}) {
		t.Fatalf("the figures are %+v\n%s", told, strings.Join(unlike, "\n"))
	}
	for _, kind := range []string{"lock", "scim", "logout"} {
		k := told[kind]
		t.Logf("%s: %s", kind, time.Duration(k.Slowest)*time.Microsecond)
		if k.P50 <= 0 || k.Slowest < k.P99 || k.Cut < 2 || k.Known != k.Cut || k.Unseen != 0 {
			t.Errorf("%s: %+v", kind, k)
		}
	}
	if told["logout"].Decision == "" || told["lock"].Decision == "" || told["task"].Orders != 0 {
		t.Errorf("figures: %+v", told)
	}
	r.restartWith(func() {})
	if again := r.revocations(time.Time{}); again["lock"] != told["lock"] || again["logout"] != told["logout"] {
		t.Errorf("after a restart %+v, before %+v", again, told)
	}
	if later := r.revocations(r.clock.Now().Add(time.Hour)); later["lock"].Orders != 0 {
		t.Errorf("since later: %+v", later["lock"])
	}
}

// unlikeTheLog makes the figures of the log again, and says where those that were told are others.
func (r *story) unlikeTheLog(told map[string]api.Revocation) (unlike []string) {
	r.t.Helper()
	took, late, which := map[string]map[string]int64{}, map[string]int64{}, map[string]uint64{}
	after := map[string]int64{}
	all := r.leaves()
	for _, e := range all {
		if e.Type == sallyport.EventCompleted {
			after[e.Decision] = e.Delivered.AfterCut
		}
	}
	for _, e := range all {
		if e.Type != sallyport.EventInForce {
			continue
		}
		n, err := strconv.ParseInt(e.Detail["micros"], 10, 64)
		seq, serr := strconv.ParseUint(e.Detail["order"], 10, 64)
		if err != nil || serr != nil || seq >= e.Seq {
			r.t.Fatalf("recorded %+v", e)
		}
		order, kind := all[seq], e.Detail["kind"]
		if order.Who != e.Who || order.On != e.On || order.Decision != e.Decision || order.OrderedAt().Add(time.Duration(n)*time.Microsecond).After(e.Time()) {
			text, _ := json.Marshal([]sallyport.Logged{order, e})
			r.t.Errorf("the record is not of its order: %s", text)
		}
		if took[kind] == nil {
			took[kind] = map[string]int64{}
		}
		name := e.Detail["order"]
		if e.Decision != "" {
			name = e.Decision
		}
		took[kind][name] = max(took[kind][name], n)
		if took[kind][name] == n && slices.Max(slices.Collect(maps.Values(took[kind]))) == n {
			which[kind] = seq
		}
		for _, id := range strings.Fields(e.Detail["calls"]) {
			late[kind] += after[id]
			delete(after, id)
		}
	}
	for kind, k := range told {
		times := slices.Sorted(maps.Values(took[kind]))
		if len(times) != k.Orders {
			unlike = append(unlike, fmt.Sprintf("%s: the log has %d orders, the figures %d", kind, len(times), k.Orders))
		} else if len(times) > 0 && (times[len(times)-1] != k.Slowest || times[(len(times)-1)/2] != k.P50 || which[kind] != k.Record || late[kind] != k.Late) {
			unlike = append(unlike, fmt.Sprintf("%s: the log has %v and %d bytes, entry %d; the figures are %+v", kind, times, late[kind], which[kind], k))
		}
	}
	return unlike
}
