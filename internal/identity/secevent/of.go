package secevent

import (
	"cmp"
	"strconv"
	"strings"

	"sallyport"
)

// HighRisk is how many points of our risk (0 to 100) are a partner's HIGH.
const HighRisk = 60

// Sources are the events of the trail that Of makes events for partners of.
func Sources() []sallyport.EventType {
	return []sallyport.EventType{sallyport.EventSessionRevoked, sallyport.EventSignedOut, sallyport.EventLeft, sallyport.EventFactorChanged, sallyport.EventEnrolled,
		sallyport.EventSteppedUp, sallyport.EventSignedIn, sallyport.EventRiskChanged, sallyport.EventDevicePosture, sallyport.EventHoldPlaced, sallyport.EventMoved}
}

// Of returns what an event of the trail is for partners, and about which of our
// principals; false where it is nothing to them. issuer is how we are named, and
// owner says whose a session is: an event about one names who ended it.
func Of(l sallyport.Logged, issuer string, owner func(session string) sallyport.PrincipalID) (e Event, about sallyport.PrincipalID, ok bool) {
	x := l.Detail
	about = l.Who
	if session, is := strings.CutPrefix(l.On, "session:"); is {
		about = owner(session)
	}
	if id, err := sallyport.ParsePrincipalID(l.On); err == nil && string(id) == l.On {
		about = id
	}
	e = Event{At: l.Time(), By: "system", Fields: map[string]string{}}
	why := x["why"]
	switch l.Type {
	case sallyport.EventSessionRevoked, sallyport.EventSignedOut:
		e.Type, why = SessionRevoked, cmp.Or(why, "the session was ended")
		e.By = initiator(l)
	case sallyport.EventLeft:
		e.Type, e.By, why = SessionRevoked, "admin", cmp.Or(why, "the account has ended")
	case sallyport.EventFactorChanged, sallyport.EventEnrolled:
		e.Type, e.By, why = CredentialChange, "user", cmp.Or(why, x["what"], "a factor was set up")
		e.Fields["credential_type"], e.Fields["change_type"] = credential(x["what"]), change(l, x["what"])
	case sallyport.EventSteppedUp:
		e.Type, e.By, why = AssuranceLevelChange, "user", "a further proof was given"
		e.Fields["namespace"], e.Fields["change_direction"] = "NIST-AAL", "increase"
		e.Fields["current_level"] = level(l)
	case sallyport.EventSignedIn:
		e.Type, e.By, why = SessionEstablished, "user", "somebody signed in"
		e.Fields["acr"] = level(l)
	case sallyport.EventRiskChanged:
		e.Type, why = RiskLevelChange, cmp.Or(why, strings.Join(l.Reasons, ", "), "the risk was rated anew")
		e.Fields["principal"], e.Fields["current_level"] = "USER", riskLevel(l)
	case sallyport.EventHoldPlaced:
		e.Type, e.By, why = RiskLevelChange, "admin", cmp.Or(why, "a hold was placed")
		e.Fields["principal"], e.Fields["current_level"] = "USER", "HIGH"
		if about == l.Who {
			return Event{}, "", false // on a resource
		}
	case sallyport.EventDevicePosture:
		if x["compliant"] == "" {
			return Event{}, "", false // a report, not a judgement
		}
		e.Type, e.By, why = DeviceComplianceChange, "policy", cmp.Or(why, "the device was judged anew")
		e.Fields["previous_status"], e.Fields["current_status"] = statuses(x["compliant"])
	case sallyport.EventMoved:
		if x["joined"]+x["left"]+x["group"] == "" {
			return Event{}, "", false // a role: none of a partner's business
		}
		e.Type, e.By, why = TokenClaimsChange, "admin", "groups have changed"
		e.Claims = moved(x)
	default:
		return Event{}, "", false
	}
	e.Admin = sallyport.OneLine(why)
	if about == "" || about.Kind() != sallyport.User {
		return Event{}, "", false
	}
	e.Subject = subject(l, issuer, about)
	return e, about, true
}

// statuses are what a device was before it was judged, and is now.
func statuses(compliant string) (before, now string) {
	if compliant == "true" {
		return "not-compliant", "compliant"
	}
	return "compliant", "not-compliant"
}

// moved are the groups that somebody joined and left.
func moved(x map[string]string) map[string]any {
	if x["removed"] == "true" {
		return map[string]any{"groups_joined": []string{}, "groups_left": strings.Fields(x["group"])}
	}
	return map[string]any{"groups_joined": strings.Fields(cmp.Or(x["joined"], x["group"])), "groups_left": strings.Fields(x["left"])}
}

// subject names the person, and with it the session or the device that is meant.
func subject(l sallyport.Logged, issuer string, about sallyport.PrincipalID) Subject {
	parts := map[string]Subject{"user": IssSub(issuer, string(about))}
	if s, ok := strings.CutPrefix(l.On, "session:"); ok {
		parts["session"] = Opaque(s)
	} else if l.Asked != nil && l.Asked.Session != "" && l.Type != sallyport.EventFactorChanged && l.Type != sallyport.EventEnrolled {
		parts["session"] = Opaque(l.Asked.Session)
	}
	if d, ok := strings.CutPrefix(l.On, "device:"); ok {
		parts["device"] = Opaque(d)
	}
	if len(parts) == 1 {
		return parts["user"]
	}
	return Complex(parts)
}

func initiator(l sallyport.Logged) string {
	if l.Type == sallyport.EventSignedOut {
		return "user"
	}
	return "admin"
}

func level(l sallyport.Logged) string {
	if l.Asked == nil {
		return sallyport.NoAssurance.String()
	}
	return sallyport.Assurance(l.Asked.Assurance).String()
}

func credential(what string) string {
	switch {
	case strings.Contains(what, "passkey"):
		return "fido2-platform"
	case strings.Contains(what, "code"):
		return "app"
	}
	return "password"
}

func change(l sallyport.Logged, what string) string {
	switch {
	case l.Type == sallyport.EventEnrolled, strings.Contains(what, "added"), strings.Contains(what, "set up"):
		return "create"
	case strings.Contains(what, "remove"):
		return "revoke"
	}
	return "update"
}

func riskLevel(l sallyport.Logged) string {
	points, err := strconv.Atoi(l.Detail["points"])
	switch {
	case l.Detail["what"] == "cleared":
		return "LOW"
	case err == nil && points >= HighRisk, l.Detail["what"] == "held":
		return "HIGH"
	}
	return "MEDIUM"
}
