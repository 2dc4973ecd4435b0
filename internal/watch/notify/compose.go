package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/risk"
)

// Types are the events that Handle reads.
func Types() []sallyport.EventType {
	return []sallyport.EventType{sallyport.EventSignedIn, sallyport.EventRiskChanged, sallyport.EventFactorChanged, sallyport.EventEnrolled, sallyport.EventCloned,
		sallyport.EventRecovery, sallyport.EventDeviceEnrolled, sallyport.EventDeviceRemoved, sallyport.EventIdentityLinked, sallyport.EventDecided,
		sallyport.EventLooked, sallyport.EventHoldPlaced, sallyport.EventBreakGlass, sallyport.EventReported,
		sallyport.EventGrantRequested, sallyport.EventPolicyProposed, sallyport.EventGrantVoted, sallyport.EventPolicyVoted, sallyport.EventGrantEnded,
		sallyport.EventApprover, sallyport.EventFinding}
}

// compose makes the notices of one event, none for most.
func (s *Service) compose(ctx context.Context, e *sallyport.Logged) ([]Notice, error) {
	switch e.Type {
	case sallyport.EventDecided:
		return s.decided(e), nil
	case sallyport.EventFinding:
		return s.found(e), nil
	case sallyport.EventBreakGlass:
		return s.everybody(ctx, e, "breakglass", fmt.Sprintf("Break-glass: %s %s %s.", person(e.Who), e.Detail["what"], e.Detail["name"]))
	case sallyport.EventReported:
		return s.everybody(ctx, e, "reported", fmt.Sprintf("%s reported: %s.", person(e.Who), e.Detail["what"]))
	case sallyport.EventHoldPlaced:
		if id := sallyport.PrincipalID(e.On); id.Kind() == sallyport.User {
			return s.one(e, id, "hold", "Your account is held. A security reviewer can say why.", on(e)), nil
		}
		return nil, nil
	case sallyport.EventGrantRequested, sallyport.EventPolicyProposed, sallyport.EventGrantVoted, sallyport.EventPolicyVoted, sallyport.EventGrantEnded, sallyport.EventApprover:
		return s.approval(ctx, e)
	case sallyport.EventLooked:
		about := sallyport.PrincipalID(e.On)
		if about.Kind() != sallyport.User || about == e.Who {
			return nil, nil
		}
		return s.one(e, about, "looked", fmt.Sprintf("%s read what the log holds about you.", person(e.Who)), string(e.Who)+e.Time().Format("2006-01-02")), nil
	}
	if e.Who.Kind() != sallyport.User {
		return nil, nil
	}
	kind, text := own(e)
	if text == "" {
		return nil, nil
	}
	return s.one(e, e.Who, kind, text, on(e)), nil
}

// own is what somebody is told of an event of their own account.
func own(e *sallyport.Logged) (kind, text string) {
	const notYou = " If this was not you, run 'sallyport report wasnt-me' at once."
	switch e.Type {
	case sallyport.EventSignedIn:
		if news := unusual(e); news != "" {
			return "signin.new", fmt.Sprintf("A sign-in to your account %s, from %s.", news, where(e)) + notYou
		}
	case sallyport.EventRiskChanged:
		if e.Detail["what"] == "held" {
			return "signin.held", fmt.Sprintf("A sign-in to your account was not let in: it came from %s, farther away than anybody travels in the time.", where(e)) + notYou
		}
	case sallyport.EventEnrolled:
		return "factor.enrolled", "A proof of yours was set up with an enrolment link." + notYou
	case sallyport.EventFactorChanged:
		return "factor.changed", "A way to prove that it is you was changed: " + either(e.Detail["what"], "see your account page") + "." + notYou
	case sallyport.EventCloned:
		return "factor.cloned", "One of your passkeys exists twice and was stopped." + notYou
	case sallyport.EventRecovery:
		return "recovery", "The recovery of your account goes on: " + either(e.Detail["what"], "it has begun") + "." + notYou
	case sallyport.EventDeviceEnrolled:
		return "device.new", "A device was enrolled for you: " + either(e.Detail["name"], e.On) + "." + notYou
	case sallyport.EventDeviceRemoved:
		return "device.removed", "A device of yours was removed: " + either(e.Detail["name"], e.On) + "."
	case sallyport.EventIdentityLinked:
		return "identity.linked", "An account of another provider was linked to yours." + notYou
	}
	return "", ""
}

func either(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// where is where a sign-in came from, as far as it is kept.
func where(e *sallyport.Logged) string {
	parts := []string{}
	if c := e.Detail["country"]; c != "" {
		parts = append(parts, c)
	}
	if e.Detail["prefix"] != "" {
		parts = append(parts, e.Detail["prefix"])
	} else if e.Asked != nil && e.Asked.IP != "" {
		parts = append(parts, e.Asked.IP)
	}
	if b := strings.TrimSpace(e.Detail["browser"] + " " + e.Detail["os"]); b != "" {
		parts = append(parts, b)
	}
	return either(strings.Join(parts, ", "), "a place that is not known")
}

// unusual says what was new about a sign-in, "" when nothing was.
func unusual(e *sallyport.Logged) string {
	var reasons []risk.Reason
	if err := json.Unmarshal([]byte(e.Detail["because"]), &reasons); err != nil {
		return ""
	}
	has := func(kinds ...risk.Kind) bool {
		return slices.ContainsFunc(reasons, func(r risk.Reason) bool { return slices.Contains(kinds, r.Kind) })
	}
	device, place := has(risk.NewDevice), has(risk.NewCountry, risk.NewASN)
	switch {
	case device && place:
		return "on a new device and from a new place"
	case device:
		return "on a new device"
	case place:
		return "from a new place"
	}
	return ""
}

// decided tells of weights that were taken and of what became of models that somebody owns. A download is many requests,
// and is told of once an hour.
func (s *Service) decided(e *sallyport.Logged) []Notice {
	if e.Outcome != sallyport.Allow.String() {
		return nil
	}
	hour := e.On + strconv.FormatInt(e.At/int64(time.Hour/time.Microsecond), 10)
	switch e.Action {
	case sallyport.ModelPull, sallyport.ModelExport:
		if e.Who.Kind() == sallyport.User && s.About.Restricted(e.On) {
			return s.one(e, e.Who, "weights.pulled", fmt.Sprintf("Restricted weights were downloaded with your account: %s.", e.On), hour)
		}
	case sallyport.ModelPromote, sallyport.ModelDeploy, sallyport.ModelRollback:
		var all []Notice
		for _, owner := range s.About.Owners(e.On) {
			if owner != e.Who && owner.Kind() == sallyport.User {
				all = append(all, s.one(e, owner, "model.released", fmt.Sprintf("%s: %s of %s, which you own.", person(e.Who), e.Action, e.On), string(e.Who)+string(e.Action)+hour)...)
			}
		}
		return all
	}
	return nil
}

func (s *Service) one(e *sallyport.Logged, who sallyport.PrincipalID, kind, text, once string) []Notice {
	n := s.notice(who, kind, text, once, e.Time())
	n.Seq = e.Seq
	return []Notice{n}
}

// everybody tells those who run the system.
func (s *Service) everybody(ctx context.Context, e *sallyport.Logged, kind, text string) ([]Notice, error) {
	people, err := s.About.Administrators(ctx)
	if err != nil {
		return nil, err
	}
	var all []Notice
	for _, who := range people {
		all = append(all, s.one(e, who, kind, text, on(e))...)
	}
	return all, nil
}

func person(id sallyport.PrincipalID) string { return either(id.Name(), "Somebody") }
