package admin

import (
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/approval"
	"sallyport/internal/authz/approval/signed"
	"sallyport/internal/authz/breakglass"
	"sallyport/internal/authz/explain"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/whatif"
	"sallyport/internal/web/api"
)

// called names somebody for people: as the directory does, and always by what they are told apart by.
func (a *API) called(id sallyport.PrincipalID) string {
	m, _ := a.Facts.Snapshot().Member(id)
	return nameFor(id, m.Display)
}

func nameFor(id sallyport.PrincipalID, display string) string {
	short := string(id)
	if id.Kind() == sallyport.User {
		short = id.Name()
	}
	if display == "" || strings.EqualFold(display, id.Name()) {
		return short
	}
	return display + " (" + short + ")" // anybody may be called anything: the account stands beside it
}

// sentence says what is asked in one plain sentence.
func (a *API) sentence(r approval.Request, x api.Request) string {
	who := a.called(r.Asker)
	switch r.Topic {
	case grant.Topic:
		text := who + " wants to " + explain.Doing(x.Action, x.Resource)
		if d, err := time.ParseDuration(x.For); err == nil {
			text += " for " + explain.Lasting(d)
		}
		if x.Purpose != "" {
			text += ", for the purpose “" + x.Purpose + "”"
		}
		if x.Task != "" {
			text += ", at most until " + x.Task + " ends"
		}
		if r.AskerPerson != r.Asker {
			text += "; " + a.called(r.AskerPerson) + " answers for it"
		}
		return text + "."
	case signed.Topic:
		edit, err := changeOf(r)
		if err != nil {
			return r.Subject
		}
		if edit.Act == signed.Remove {
			return who + " asks that the key " + edit.Key.ID() + " of " + a.called(edit.Key.Person) + " signs approvals no more."
		}
		return who + " wants to sign approvals with the passkey " + edit.Key.ID() + "."
	}
	asks := strings.TrimSuffix(strings.TrimPrefix(r.Subject, string(r.Asker)+": "), ".")
	if r.Topic == breakglass.TopicSeal {
		asks = "prepare " + asks
	}
	return who + " asks to " + asks + "."
}

// cellWords says a cell of the matrix for people.
func cellWords(c whatif.Cell) string {
	switch c {
	case whatif.Allowed:
		return "allowed"
	case whatif.AfterStep:
		return "allowed after stronger proof"
	case whatif.OnHold:
		return "on hold"
	case whatif.OnRequest:
		return "refused without a grant"
	case whatif.OnDevice:
		return "only from an enrolled device"
	}
	return "refused"
}
