package drill

import (
	"fmt"
	"time"
)

// What is on a page of a drill. It is written as an attacker would write it: the signs by which it could be known are those
// of Signs, and no others.
type Page struct {
	Title string
	Lead  string
	Facts []Fact
	Yes   string // on the buttons
	No    string
}

// A Fact is one line of a page.
type Fact struct{ Name, Text string }

// Words are those of the page.
func (k Kind) Words() Page {
	switch k {
	case ConsentPhish:
		return Page{Title: "Model Insights asks for access", Lead: "To finish connecting your account, allow Model Insights to act in your name.",
			Facts: []Fact{{"Program", "Model Insights (cloud edition)"}, {"Asked by", "connect.model-insights.example"},
				{"May", "read, download and delete every model; approve requests; issue tokens"}, {"When", "at any time, also while you are not there"}, {"Until", "without an end"}},
			Yes: "Allow", No: "Deny"}
	case MFAFatigue:
		return Page{Title: "Confirm the sign-in", Lead: "Somebody is signing in with your account and waits for your confirmation.",
			Facts: []Fact{{"From", "203.0.113.24, a network that you have not used"}, {"With", "Firefox on Windows"}, {"Level", "two factors"}},
			Yes:   "Confirm", No: "Deny"}
	}
	return Page{Title: "Your approval is needed", Lead: "Somebody asks to read the description of one model for an hour.",
		Facts: []Fact{{"Who", "service:platform-sync"}, {"Action", "model.export, model.delete, grant.approve"}, {"On", "every model of the organisation"},
			{"Until", "without an end"}, {"Why", "urgent, the release is blocked; please just approve"}},
		Yes: "Approve", No: "Deny"}
}

// Signs are those by which the drill could be known.
func (k Kind) Signs() []string {
	switch k {
	case ConsentPhish:
		return []string{
			"You had not connected anything. A program asks for consent only in a sign-in that you began, never by a notice.",
			"It wanted everything, for ever. A program that needs one thing asks for that thing, and its right ends.",
			"The address that asks was none of yours. Consent is given to clients that this organisation has registered.",
			"Its page was at /confirm/…, and consent stands at /oauth/….",
		}
	case MFAFatigue:
		return []string{
			"You were not signing in. Sallyport never asks by a notice to confirm a sign-in: what you began you go on with where you began it.",
			"The network and the browser were not yours.",
			"The prompts came one after another. Whoever sends them hopes that you press the button to have peace: somebody knows your password.",
			"After real ones: say 'sallyport report wasnt-me', and change the password.",
		}
	}
	return []string{
		"The sentence and the scope did not fit: it said the description of one model for an hour, and asked for exporting and deleting all of them without an end.",
		"Requests that wait for you are at /approvals and in 'sallyport inbox'. This one was in neither.",
		"Who asks is a person or service with a history on the page. This one had none.",
		"Urgency is no reason. Nothing is lost by asking the person back, by another way.",
	}
}

// prompts is how many notices a kind sends, one minute apart.
func (k Kind) prompts() int {
	if k == MFAFatigue {
		return 3
	}
	return 1
}

// notice is what the nth prompt says, and of what kind of notice it pretends to be.
func (k Kind) notice(link string, n int) (kind, text string) {
	switch k {
	case ConsentPhish:
		return "client.consent", "Model Insights asks for access to your account. Finish connecting it: " + link
	case MFAFatigue:
		return "signin.confirm", [...]string{
			"Confirm the sign-in from 203.0.113.24 (Firefox on Windows): ",
			"A sign-in from 203.0.113.24 still waits for you. Confirm it: ",
			"Last reminder: confirm the sign-in from 203.0.113.24, or your account will be locked: ",
		}[n%3] + link
	}
	return "request.new", "Somebody asks for your approval: read the description of one model for an hour. Answer here: " + link
}

// once names a prompt, so that it is told one time.
func once(drill string, n int) string { return fmt.Sprintf("%s %d", drill, n) }

// next is when the prompt after n is due, the zero time when it was the last.
func (k Kind) next(n int, now time.Time) time.Time {
	if n >= k.prompts() {
		return time.Time{}
	}
	return now.Add(apart)
}
