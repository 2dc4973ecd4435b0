package login

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"sallyport/internal/identity/session"
	"sallyport/internal/web/page"
)

const (
	// endingPage is the prompt to renew a session. Looking at it is not a use of the session.
	endingPage = "/account/ending"
	// promptFor is how long before a session's end people are told.
	promptFor = 2 * time.Minute

	clockText = "15:04 UTC"
)

// ending tells a browser's programs when the session ends, and the page's reader where it ends soon whatever they do.
func (d *Door) ending(w http.ResponseWriter, one session.Session, v *page.View) {
	left := one.Ends().Sub(d.config.Now())
	w.Header().Set(EndsHeader, strconv.FormatInt(int64(left.Seconds()), 10))
	if one.End.Sub(d.config.Now()) <= promptFor {
		v.Ends = one.End.UTC().Format(clockText)
	}
}

// prompt has the browser go to the prompt by itself, in time, unless it goes elsewhere before.
func (d *Door) prompt(w http.ResponseWriter, one session.Session) {
	wait := max(0, one.Ends().Sub(d.config.Now())-promptFor)
	w.Header().Set("Refresh", fmt.Sprintf("%d; url=%s", int64(wait.Seconds()), endingPage))
}

// showEnding is the prompt. A session that was used elsewhere meanwhile has it come again later; one that has ended leads to
// the sign-in.
func (d *Door) showEnding(w http.ResponseWriter, r *http.Request) error {
	one, err := d.config.SignIn.Sessions.Peek(r.Context(), d.bearer(r))
	if err != nil {
		return err
	}
	left, at := one.Ends().Sub(d.config.Now()), one.Ends().UTC().Format(clockText)
	m := message{Title: "Your session ends soon", Text: "You are signed out at " + at + " unless you go on.", Link: "/account", LinkText: "Stay signed in"}
	switch {
	case left > promptFor:
		m.Title, m.Text, m.LinkText = "You are signed in", "Your session lasts until "+at+" at least.", "Your account"
		d.prompt(w, one)
	case !one.End.After(one.IdleEnd):
		m.Text, m.Link, m.LinkText = "You are signed out at "+at+", whatever you do.", "/login?again=1", "Sign in again"
		fallthrough
	default:
		w.Header().Set("Refresh", fmt.Sprintf("%d; url=/login", int64(left.Seconds())+1))
	}
	w.Header().Set(EndsHeader, strconv.FormatInt(int64(left.Seconds()), 10))
	d.show(w, r, http.StatusOK, "message", page.View{Data: m})
	return nil
}
