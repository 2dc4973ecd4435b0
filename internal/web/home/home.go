// Package home owns the page on which people see at a glance what they may do: who they are, what waits for them, and for
// each thing that they may know of what they can do, could after more proof, may ask for, and cannot.
//
//	GET /home   from=NAME: the sheet on which that thing stands
//
// The page decides nothing and keeps nothing: it is drawn whole from answers of the management API, which web/within asks, or
// not at all. Names come from the list of what one may know of, rights from one batch of questions, on one state of the
// facts. It has no form: what it offers are links to pages that are decided on anew.
package home

import (
	"cmp"
	"embed"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/internal/authz/explain"
	"sallyport/internal/web/api"
	"sallyport/internal/web/page"
	"sallyport/internal/web/within"
)

//go:embed pages
var files embed.FS

// mostListed is how many grants and how many requests the page lists.
const mostListed = 5

// A Door serves the page. It is safe for concurrent use.
type Door struct {
	*within.Desk
	pages *page.Set
}

// New makes the door.
func New(desk *within.Desk) (*Door, error) {
	pages, err := page.New(files)
	return &Door{Desk: desk, pages: pages}, err
}

// Routes adds the page to mux.
func (d *Door) Routes(mux *http.ServeMux) {
	mux.Handle("GET /home", d.Desk.Handler(d.show))
}

// A shown is the page.
type shown struct {
	Name, Sentence, Watched string
	Roles, Groups           []string
	Waiting                 waiting
	Things                  []thing
	Across                  *thing // what is of no one thing; nil where the visitor may do none of it
	Projects                []jump // the others, where there is more than one sheet
	Empty, Sheet            string // why no thing is shown; which sheet of how many this is
	Before, After           string // links
	At                      string
}

// A jump leads to where a project begins.
type jump struct{ Name, Link string }

func (d *Door) show(v within.Visit) error {
	when := d.when
	var who api.Who
	if err := d.get(v, "/whoami?rights=none", &who); err != nil {
		return err
	}
	s := shown{Name: cmp.Or(who.Display, who.ID.Name()), Sentence: who.Sentence(when), Watched: who.Watched(when), Roles: who.Held(when), Groups: who.Groups, At: d.Now().UTC().Format("2 January 2006, 15:04 UTC")}
	var err error
	if s.Waiting, err = d.waiting(v); err != nil {
		return err
	}
	listed, err := d.governs(v, &s)
	if err != nil {
		return err
	}
	var list []api.Thing
	if listed {
		if err := d.get(v, "/catalog", &list); err != nil {
			return err
		}
		if len(list) == 0 {
			s.Empty = who.Nothing()
		}
	}
	if err := d.rights(v, list, &s); err != nil {
		return err
	}
	return d.pages.Write(v.W, v.R, http.StatusOK, "home", v.View(s))
}

// get asks the API for a list or a record.
func (d *Door) get(v within.Visit, path string, out any) error {
	path, query, _ := strings.Cut(path, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return err
	}
	return d.Call(v, within.Question{Method: http.MethodGet, Path: path, Query: values}, out)
}

// when writes a time for people, shorter where it is today.
func (d *Door) when(t time.Time) string {
	t, now := t.UTC(), d.Now().UTC()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04 UTC")
	}
	return t.Format("2 January 2006, 15:04 UTC")
}

// A waiting is what waits for the visitor, and what they have for a time.
type waiting struct {
	Inbox, Notices int
	Mine           []item
	Grants         []item
	More           []string              // what is not listed, and where it is
	asked          map[api.CanAsk]string // the page of each right that was asked for and is open
}

// An item is one line with its end.
type item struct{ Text, Ends, Link string }

// Quiet reports whether there is nothing.
func (w waiting) Quiet() bool { return w.Inbox+w.Notices+len(w.Mine)+len(w.Grants) == 0 }

func (d *Door) waiting(v within.Visit) (waiting, error) {
	var inbox, mine []api.Request
	var notices []api.Notice
	var grants []api.Grant
	for _, ask := range []struct {
		path string
		out  any
	}{{"/requests", &inbox}, {"/requests?mine=true", &mine}, {"/me/notices", &notices}, {"/grants", &grants}} {
		if err := d.get(v, ask.path, ask.out); err != nil {
			return waiting{}, err
		}
	}
	mine = slices.DeleteFunc(mine, func(r api.Request) bool { return r.State != "pending" })
	grants = slices.DeleteFunc(grants, func(g api.Grant) bool { return g.Ended })
	slices.SortStableFunc(grants, func(a, b api.Grant) int { return a.Until.Compare(b.Until) })
	w := waiting{Inbox: len(inbox), Notices: len(notices), asked: map[api.CanAsk]string{}}
	for _, r := range mine {
		w.asked[api.CanAsk{Action: r.Action, Resource: r.Resource}] = pageOf(r)
	}
	for _, r := range mine[:min(len(mine), mostListed)] {
		w.Mine = append(w.Mine, item{Text: explain.Doing(r.Action, r.Resource), Ends: "open until " + d.when(r.Expires), Link: pageOf(r)})
		if r.Topic != "grant" {
			w.Mine[len(w.Mine)-1].Text = r.Sentence
		}
	}
	for _, g := range grants[:min(len(grants), mostListed)] {
		w.Grants = append(w.Grants, d.granted(g))
	}
	if n := len(mine) - mostListed; n > 0 {
		w.More = append(w.More, strconv.Itoa(n)+" more requests: sallyport request")
	}
	if n := len(grants) - mostListed; n > 0 {
		w.More = append(w.More, strconv.Itoa(n)+" more grants: sallyport grants")
	}
	return w, nil
}

// pageOf is the page of a request.
func pageOf(r api.Request) string { return "/approvals/" + url.PathEscape(r.ID) }

func (d *Door) granted(g api.Grant) item {
	text := ""
	for i, a := range g.Actions {
		if i > 0 {
			text += ", "
		}
		text += explain.Doing(a, g.Resource)
	}
	ends := "begins when its lease is renewed"
	if g.Active {
		ends = "ends " + d.when(g.Until)
		if left := g.Until.Sub(d.Now()).Truncate(time.Minute); left > 0 && left < 24*time.Hour {
			ends += ", in " + explain.Lasting(left)
		}
	}
	if g.Task != "" {
		ends += ", or with " + g.Task
	}
	return item{Text: text, Ends: ends}
}
