package login

import (
	"context"
	"net/http"
	"time"

	"sallyport"
)

// A Notice is one thing that happened to an account, as the account page tells it.
type Notice struct {
	At   time.Time
	Text string
	New  bool // not read yet
}

// Notices are what the account page knows of somebody's notices. Both may be nil: then there are none.
type Notices struct {
	List func(ctx context.Context, who sallyport.PrincipalID) ([]Notice, error) // the newest first
	Read func(ctx context.Context, who sallyport.PrincipalID, upTo time.Time) error
}

// mostNotices is how many the page shows.
const mostNotices = 10

type shownNotice struct {
	At, AtText, Text string
	New              bool
}

// told are the notices of the account page.
func (d *Door) told(ctx context.Context, who sallyport.PrincipalID) ([]shownNotice, error) {
	if d.config.Notices.List == nil {
		return nil, nil
	}
	all, err := d.config.Notices.List(ctx, who)
	if err != nil {
		return nil, err
	}
	var shown []shownNotice
	for _, n := range all[:min(len(all), mostNotices)] {
		shown = append(shown, shownNotice{At: n.At.Format(time.RFC3339), AtText: n.At.Format("2 January, 15:04 UTC"), Text: n.Text, New: n.New})
	}
	return shown, nil
}

// readNotices marks what the page has shown as read.
func (d *Door) readNotices(w http.ResponseWriter, r *http.Request) error {
	f, err := form(r, "upto")
	if err != nil {
		return err
	}
	one, _, err := d.config.SignIn.Session(r.Context(), d.bearer(r))
	if err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339, f["upto"])
	if err != nil || d.config.Notices.Read == nil {
		return sallyport.E("read notices", sallyport.Invalid, "the form is not one of ours", "go back to your account")
	}
	if err := d.config.Notices.Read(r.Context(), one.Principal, at.Add(time.Second)); err != nil { // the form has whole seconds
		return err
	}
	seeOther(w, r, "/account")
	return nil
}
