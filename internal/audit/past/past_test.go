package past_test

import (
	"fmt"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/audit/past"
)

var start = time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)

// script makes the log of a life, one event an hour.
type script []sallyport.Logged

func (s *script) add(t sallyport.EventType, who sallyport.PrincipalID, on string, detail ...string) {
	x := map[string]string{}
	for i := 0; i+1 < len(detail); i += 2 {
		x[detail[i]] = detail[i+1]
	}
	n := len(*s)
	*s = append(*s, sallyport.Logged{Seq: uint64(n), Event: sallyport.Event{Type: t, At: start.Add(time.Duration(n) * time.Hour).UnixMicro(), Who: who, On: on, Detail: x}})
}

func life() script {
	var s script
	day := start.Add(24 * time.Hour).Format(time.RFC3339)
	s.add(sallyport.EventChanged, "user:adam", "group:acme/staff", "what", "group defined")
	s.add(sallyport.EventChanged, "user:adam", "group:acme/risk", "what", "group defined", "parents", "acme/staff")
	s.add(sallyport.EventChanged, "user:adam", "group:acme/staff", "what", "role assigned", "role", "reader", "scope", "org:acme", "id", "A-1")
	s.add(sallyport.EventChanged, "user:adam", "user:ana", "what", "joined", "owner", "user:ana", "groups", "acme/risk", "org", "acme") // 3h
	s.add(sallyport.EventChanged, "user:adam", "user:ana", "what", "role assigned", "role", "developer", "scope", "acme/fraud", "id", "A-2", "until", day)
	s.add(sallyport.EventDeviceEnrolled, "user:ana", "device:D-1")
	s.add(sallyport.EventGrantVoted, "user:rita", "acme/fraud", "who", "user:ana", "grant", "G-1", "actions", "model.pull", "until", start.Add(8*time.Hour).Format(time.RFC3339))
	s.add(sallyport.EventChanged, "user:adam", "user:bo", "what", "joined", "groups", "acme/risk")                // 7h
	s.add(sallyport.EventChanged, "user:adam", "assignment:A-1", "what", "role taken away")                       // 8h
	s.add(sallyport.EventMoved, "user:ana", "", "joined", "acme/ml acme/all", "left", "acme/risk")                // 9h
	s.add(sallyport.EventDeviceRemoved, "user:adam", "device:D-1")                                                // 10h
	s.add(sallyport.EventLeft, "user:adam", "user:ana", "state", "suspended", "extent", "pause", "why", "away")   // 11h
	s.add(sallyport.EventChanged, "user:adam", "user:ana", "what", "state", "to", "active")                       // 12h
	s.add(sallyport.EventLeft, "user:adam", "user:ana", "state", "removed", "extent", "departure", "why", "gone") // 13h
	return s
}

func show(l past.Life) string {
	text := l.State + fmt.Sprint(" ", l.Groups)
	for _, r := range l.Roles {
		text += " " + r.Name + "@" + r.Scope + "/" + r.Subject
	}
	for _, g := range l.Grants {
		text += " " + g.ID
	}
	return text + fmt.Sprint(" ", l.Devices)
}

// ID-5: roles, groups, grants and devices of each instant.
func TestRebuild(t *testing.T) {
	for hours, want := range map[float64]string{
		2.5:  " [] []",
		3:    "active [acme/risk] reader@org:acme/group:acme/staff []",
		4:    "active [acme/risk] developer@acme/fraud/user:ana reader@org:acme/group:acme/staff []",
		5.5:  "active [acme/risk] developer@acme/fraud/user:ana reader@org:acme/group:acme/staff [D-1]",
		6:    "active [acme/risk] developer@acme/fraud/user:ana reader@org:acme/group:acme/staff G-1 [D-1]",
		7.9:  "active [acme/risk] developer@acme/fraud/user:ana reader@org:acme/group:acme/staff G-1 [D-1]",
		8:    "active [acme/risk] developer@acme/fraud/user:ana [D-1]", // the role is taken away, and the grant has ended
		9:    "active [acme/all acme/ml] developer@acme/fraud/user:ana [D-1]",
		10:   "active [acme/all acme/ml] developer@acme/fraud/user:ana []",
		11:   "suspended [acme/all acme/ml] developer@acme/fraud/user:ana []",
		12:   "active [acme/all acme/ml] developer@acme/fraud/user:ana []",
		13:   "removed [] []",
		1000: "removed [] []",
	} {
		at := start.Add(time.Duration(hours * float64(time.Hour)))
		l := past.Rebuild("user:ana", at, life())
		if got := show(l); got != want {
			t.Errorf("after %v hours: %q, want %q", hours, got, want)
		}
		if hours >= 3 && !l.Known.Equal(start.Add(3*time.Hour)) {
			t.Errorf("known from %v", l.Known)
		}
	}
	if l := past.Rebuild("user:bo", start.Add(1000*time.Hour), life()); show(l) != "active [acme/risk] []" || len(l.Steps) != 1 {
		t.Errorf("another's life: %s", show(l))
	}
	if l := past.Rebuild("user:nobody", start.Add(1000*time.Hour), life()); show(l) != " [] []" || !l.Known.IsZero() {
		t.Errorf("nobody's life: %s", show(l))
	}
}
