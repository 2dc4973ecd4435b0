// Package drills owns the page that the link of a drill leads to: before an answer what an attacker would show, in our own
// look, and afterwards that it was a drill and by which signs that could be known. Plain HTML without a script.
//
//	GET  /confirm/LINK   the page
//	POST /confirm/LINK   answer=yes|no, and answer=read when it is over for them
//
// The page decides nothing and keeps nothing: it is drawn from answers of the management API, which web/within asks with the
// visitor's own session. Everybody but the one whom the link was sent to gets what a link gets that there is not.
package drills

import (
	"embed"
	"net/http"
	"net/url"

	"sallyport"
	"sallyport/internal/web/api"
	"sallyport/internal/web/page"
	"sallyport/internal/web/within"
)

//go:embed pages
var files embed.FS

// A Door serves the pages. It is safe for concurrent use.
type Door struct {
	*within.Desk
	pages *page.Set
}

// New makes the door.
func New(desk *within.Desk) (*Door, error) {
	pages, err := page.New(files)
	return &Door{Desk: desk, pages: pages}, err
}

// Routes adds the pages to mux.
func (d *Door) Routes(mux *http.ServeMux) {
	for pattern, serve := range map[string]func(within.Visit) error{"GET /confirm/{id}": d.show, "POST /confirm/{id}": d.answer} {
		mux.Handle(pattern, d.Desk.Handler(serve))
	}
}

// A shown is what a page is drawn from.
type shown struct {
	api.Lure
	Here                          string
	Tone, Ended, Verdict, Learned string
}

func path(v within.Visit) string { return "/me/lures/" + url.PathEscape(v.R.PathValue("id")) }

func (d *Door) show(v within.Visit) error {
	s := shown{Here: within.Here(v.R)}
	if err := d.Call(v, within.Question{Method: http.MethodGet, Path: path(v)}, &s.Lure); err != nil {
		return err
	}
	name := "lure"
	if s.Told != nil {
		name = "told"
		s.tell()
	}
	view := v.View(s)
	view.Wide = s.Told != nil
	return d.pages.Write(v.W, v.R, http.StatusOK, name, view)
}

// tell says how it ended, without blame.
func (s *shown) tell() {
	switch s.Told.Ended {
	case "reported":
		s.Ended, s.Verdict = "reported", "You saw it and reported it: well done."
	case "denied":
		s.Ended, s.Verdict = "refused", "You said no: well done. Reporting it would have warned the others, too."
	case "fell":
		s.Tone, s.Ended, s.Verdict = " bad", "accepted", "You said yes. An attacker would have what the page asked for."
	default:
		s.Tone, s.Ended, s.Verdict = " wait", "unanswered", "You did not answer. Reporting it would have warned the others."
	}
	if !s.Told.Learned.IsZero() {
		s.Learned = s.Told.Learned.UTC().Format("2 January 2006")
	}
}

// answer takes a form of one field, and shows the page again.
func (d *Door) answer(v within.Visit) error {
	bad := sallyport.E("read form", sallyport.Invalid, "the form is not one of ours", "reload the page and try again")
	if v.R.URL.RawQuery != "" || v.R.ParseForm() != nil || len(v.R.PostForm) != 1 || len(v.R.PostForm["answer"]) != 1 {
		return bad
	}
	in := api.LureAnswer{Answer: v.R.PostForm.Get("answer")}
	if err := d.Call(v, within.Question{Method: http.MethodPost, Path: path(v), In: in}, nil); err != nil {
		return err
	}
	http.Redirect(v.W, v.R, within.Here(v.R), http.StatusSeeOther)
	return nil
}
