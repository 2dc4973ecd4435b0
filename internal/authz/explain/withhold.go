package explain

import (
	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
)

// Withhold is a decided event as whom it is about may see it: with the reasons of decision.Shown, and without the attributes that
// the schema keeps for auditors. It keeps no content hash of facts: a hash of what is easily guessed tells it.
func Withhold(engine policy.Engine, e sallyport.Event) sallyport.Event {
	d := sallyport.Decision{Errors: e.Errors}
	d.Outcome, _ = sallyport.ParseOutcome(e.Outcome)
	for _, id := range e.Reasons {
		d.Reasons = append(d.Reasons, sallyport.Reason{ID: id})
	}
	d = decision.Shown(engine, d)
	e.Reasons, e.Errors, e.Facts = d.ReasonIDs(), d.Errors, ""
	if e.Asked == nil {
		return e
	}
	asked := *e.Asked
	e.Asked, asked.ActedOn = &asked, ""
	x, ok := engine.(policy.Explainer)
	if !ok {
		return e
	}
	var none sallyport.Asked
	for name, hide := range map[string]func(){
		"context.assurance": func() { asked.Assurance = none.Assurance },
		"context.authAge":   func() { asked.AuthTime = none.AuthTime },
		"context.ip":        func() { asked.IP = none.IP },
		"context.door":      func() { asked.Door = none.Door },
		"context.file":      func() { asked.File = none.File },
		"context.session":   func() { asked.Session = none.Session },
		"context.bound":     func() { asked.Bound = none.Bound },
		"context.client":    func() { asked.Client = none.Client },
		"context.actor":     func() { asked.Actors = none.Actors },
		"context.purpose":   func() { asked.Purpose = none.Purpose },
		"context.network":   func() { asked.Network = none.Network },
		"context.risk":      func() { asked.Risk = none.Risk },
		"context.device":    func() { asked.Device = none.Device },
		"context.working":   func() { asked.Working = none.Working },
		"context.country":   func() { asked.Country = none.Country },
		"context.to":        func() { asked.To = none.To },
		"context.history":   func() { asked.History = none.History },
		"context.training":  func() { asked.Trained = none.Trained },
	} {
		if x.Withheld(name) {
			hide()
		}
	}
	asked.Device = withholdDevice(x, asked.Device)
	return e
}

// withholdDevice leaves out single facts about a device.
func withholdDevice(x policy.Explainer, d *sallyport.AskedDevice) *sallyport.AskedDevice {
	if d == nil {
		return nil
	}
	c := *d
	if x.Withheld("context.device.class") {
		c.Class = ""
	}
	if x.Withheld("context.device.level") {
		c.Level = 0
	}
	if x.Withheld("context.device.postureAge") {
		c.Posture = -1
	}
	if x.Withheld("context.device.os") {
		c.OS = ""
	}
	if x.Withheld("context.device.encrypted") || x.Withheld("context.device.locked") || x.Withheld("context.device.patched") {
		c.Good = ""
	}
	return &c
}
