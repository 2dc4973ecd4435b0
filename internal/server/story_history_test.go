package server_test

import (
	"fmt"
	"testing"
	"time"

	"sallyport/internal/web/api"
)

// ID-5: what somebody was at an instant is rebuilt from the log: no other record is kept of it, and none is asked.
func TestID5HistoryFromTheLog(t *testing.T) {
	r := tell(t)
	adam, alba := r.As("adam").who.client, r.As("alba").who.client
	r.As("nora")
	at := func(instant time.Time) string {
		t.Helper()
		l, err := alba.History(t.Context(), "user:nora", instant)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(l.State, l.Groups)
		for _, x := range l.Roles {
			text += " " + x.Role + "@" + x.Scope
		}
		return text
	}
	before := r.clock.Now()
	given, err := adam.Assign(t.Context(), api.Assignment{Subject: "user:nora", Role: "reader", Scope: keel})
	if err != nil {
		t.Fatal(err)
	}
	between := r.clock.Now()
	if got := at(time.Time{}); got != "active[acme/staff] reader@"+keel {
		t.Errorf("with the role: %s", got)
	}
	if err := adam.Unassign(t.Context(), given.ID); err != nil {
		t.Fatal(err)
	}
	if got := at(time.Time{}); got != "active[acme/staff]" {
		t.Errorf("after it: %s", got)
	}
	if got := at(between); got != "active[acme/staff] reader@"+keel {
		t.Errorf("between: %s", got)
	}
	if got := at(before); got != "active[acme/staff]" {
		t.Errorf("before it: %s", got)
	}
	l, err := alba.History(t.Context(), "user:adam", time.Time{})
	if err != nil || len(l.Roles) != 2 || l.Roles[0].Role != "administrator" {
		t.Errorf("the first administrator: %+v, %v", l, err)
	}
	if _, err := r.As("nora").who.client.History(t.Context(), "user:adam", time.Time{}); err == nil {
		t.Error("anybody may read a history")
	}
}
