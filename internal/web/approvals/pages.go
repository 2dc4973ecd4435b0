package approvals

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/authz/explain"
	"sallyport/internal/web/api"
	"sallyport/internal/web/within"
)

// A line is one request in a list.
type line struct {
	api.Request
	Until, Tone string
	Yes         int
}

// tone is the class of the tag that tells where a request stands.
func tone(state string) string {
	switch state {
	case "approved", "used":
		return ""
	case "pending":
		return " wait"
	}
	return " bad"
}

func lines(all []api.Request) []line {
	out := make([]line, len(all))
	for i, r := range all {
		out[i] = line{Request: r, Until: when(r.Expires), Tone: tone(r.State)}
		for _, v := range r.Votes {
			if v.Yes {
				out[i].Yes++
			}
		}
	}
	return out
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2 January 2006, 15:04 UTC")
}

func (d *Door) list(v within.Visit) error {
	var inbox, mine []api.Request
	if err := d.Call(v, within.Question{Method: http.MethodGet, Path: "/requests"}, &inbox); err != nil {
		return err
	}
	if err := d.Call(v, within.Question{Method: http.MethodGet, Path: "/requests", Query: url.Values{"mine": {"true"}}}, &mine); err != nil {
		return err
	}
	may, err := d.mayAsk(v, "")
	if err != nil {
		return err
	}
	return d.write(v, "list", struct {
		Inbox, Mine []line
		May         bool
	}{lines(inbox), lines(mine), may}, false)
}

// mayAsk reports whether the visitor may ask for a right on a resource, or at all where it is "".
func (d *Door) mayAsk(v within.Visit, resource string) (bool, error) {
	on := []string{resource}
	if resource == "" {
		if on = []string{"system"}; v.Who.Org != "" {
			on = append(on, "org:"+v.Who.Org)
		}
	}
	var asks []api.CanAsk
	for _, ref := range on {
		asks = append(asks, api.CanAsk{Action: sallyport.GrantRequest, Resource: ref})
	}
	can, err := d.May(v, asks...)
	return slices.Contains(can, true), err
}

// A shown is one request as its page shows it.
type shown struct {
	api.Review
	Created, Expires, Until string
	Votes                   []shownVote
	Similar                 []shownSimilar
	Mine, Open, Granted     bool
	Rule, Tone, Level       string
	Yes                     int
	Hash, Digest            []string // in pieces, between which a line may break
	Offer, Back             string   // what the forms for a vote and for taking it back were offered by
}

type shownVote struct {
	By, Word, Reason, At string
	Signed               bool
}

type shownSimilar struct {
	api.Similar
	Day, Tone, Lasting string
}

// pieces cuts a long name made of digits where a line may break.
func pieces(s string) []string {
	var all []string
	for chunk := range slices.Chunk([]byte(s), 8) {
		all = append(all, string(chunk))
	}
	return all
}

// level says a risk in a word.
func level(risk int) string {
	switch {
	case risk >= 70:
		return "high"
	case risk >= 30:
		return "raised"
	}
	return "low"
}

func (d *Door) show(v within.Visit) error {
	id := v.R.PathValue("id")
	var x api.Review
	if err := d.Call(v, within.Question{Method: http.MethodGet, Path: "/requests/" + url.PathEscape(id) + "/review"}, &x); err != nil {
		return err
	}
	s := shown{Review: x, Created: when(x.Request.Created), Expires: when(x.Request.Expires), Open: x.Request.State == "pending",
		Mine: x.Request.Who == v.Who.ID, Rule: sallyport.JoinQuorums(x.Request.Groups), Tone: tone(x.Request.State), Level: level(x.Risk), Hash: pieces(x.Request.Hash), Digest: pieces(x.Request.Digest)}
	if g := x.Request.Grant; g != nil {
		s.Granted, s.Until = g.Active, when(g.Until)
	}
	for _, o := range x.Request.Votes {
		word := "no"
		if o.Yes {
			word, s.Yes = "yes", s.Yes+1
		}
		s.Votes = append(s.Votes, shownVote{By: string(o.By), Word: word, Reason: o.Reason, At: when(o.At), Signed: o.Signature != nil})
	}
	for _, o := range x.Similar {
		s.Similar = append(s.Similar, shownSimilar{o, o.At.UTC().Format("2 January 2006"), tone(o.State), lasting(o.For)})
	}
	if s.MayVote || s.Author {
		s.Offer = d.Offer(v, votes(id))
	}
	if s.Open && (s.Mine || s.Author) {
		s.Back = d.Offer(v, "/approvals/"+url.PathEscape(id)+"/withdraw")
	}
	return d.write(v, "request", s, x.Sign && (x.MayVote || x.Author))
}

// lasting says how long a right was asked for, "" where it was no right.
func lasting(text string) string {
	d, err := time.ParseDuration(text)
	if err != nil {
		return ""
	}
	return "for " + explain.Lasting(d)
}

// cast counts a vote on the request of the page.
func (d *Door) cast(v within.Visit, vote api.Vote) error {
	var r api.Request
	if err := d.Call(v, within.Question{Method: http.MethodGet, Path: "/requests/" + url.PathEscape(v.R.PathValue("id"))}, &r); err != nil {
		return err
	}
	path, query, _ := strings.Cut(r.VotePath, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return err
	}
	return d.Call(v, within.Question{Method: http.MethodPost, Path: path, Query: values, In: vote}, nil)
}

func (d *Door) vote(v within.Visit) error {
	f, err := fields(v.R, "yes", "reason", "hash")
	if err != nil {
		return err
	}
	if f["yes"] != "yes" && f["yes"] != "no" {
		return sallyport.E("vote", sallyport.Invalid, "neither yes nor no", "choose one")
	}
	if err := d.cast(v, api.Vote{Yes: f["yes"] == "yes", Reason: f["reason"], Hash: f["hash"]}); err != nil {
		return err
	}
	http.Redirect(v.W, v.R, within.Here(v.R), http.StatusSeeOther)
	return nil
}

func (d *Door) withdraw(v within.Visit) error {
	if _, err := fields(v.R); err != nil {
		return err
	}
	if err := d.Call(v, within.Question{Method: http.MethodPost, Path: "/requests/" + url.PathEscape(v.R.PathValue("id")) + "/withdraw"}, nil); err != nil {
		return err
	}
	http.Redirect(v.W, v.R, within.Here(v.R), http.StatusSeeOther)
	return nil
}

// statement gives the script what is to be signed.
func (d *Door) statement(v within.Visit) error {
	var in api.Ballot
	if err := body(v.R, &in); err != nil {
		return err
	}
	var out api.Statement
	if err := d.Call(v, within.Question{Method: http.MethodPost, Path: "/requests/" + url.PathEscape(v.R.PathValue("id")) + "/statement", In: in}, &out); err != nil {
		return err
	}
	within.WriteJSON(v.W, http.StatusOK, out)
	return nil
}

// A signing is what the script sends: the vote as it was put before the voter, and the browser's answer.
type signing struct {
	Yes      bool      `json:"yes"`
	Reason   string    `json:"reason"`
	Hash     string    `json:"hash"`
	Groups   []string  `json:"groups"`
	At       time.Time `json:"at"`
	Response struct {
		ID       string          `json:"id"`
		RawID    string          `json:"rawId"`
		Type     string          `json:"type"`
		Place    string          `json:"authenticatorAttachment,omitempty"`
		More     json.RawMessage `json:"clientExtensionResults,omitempty"`
		Response struct {
			Data      string `json:"authenticatorData"`
			Client    string `json:"clientDataJSON"`
			Signature string `json:"signature"`
			User      string `json:"userHandle,omitempty"`
		} `json:"response"`
	} `json:"response"`
}

func (d *Door) sign(v within.Visit) error {
	var in signing
	if err := body(v.R, &in); err != nil {
		return err
	}
	a := in.Response
	if err := d.cast(v, api.Vote{Yes: in.Yes, Reason: in.Reason, Hash: in.Hash, Groups: in.Groups, At: in.At,
		Signature: &api.Signature{Credential: a.RawID, Data: a.Response.Data, Client: a.Response.Client, Signature: a.Response.Signature}}); err != nil {
		return err
	}
	within.WriteJSON(v.W, http.StatusOK, map[string]string{"next": within.Here(v.R)})
	return nil
}

// An asking is the form by which something is asked for.
type asking struct {
	Action, Resource, For, Why, Task, From, Text string
	Offer                                        string // "" where the visitor may not ask
}

// form shows the form, filled in from a denial where one is named.
func (d *Door) form(v within.Visit) error {
	q := v.R.URL.Query()
	a := asking{Action: q.Get("action"), Resource: q.Get("resource"), For: "1h", From: q.Get("from")}
	if a.From != "" {
		var x api.Why
		if err := d.Call(v, within.Question{Method: http.MethodGet, Path: "/decisions/" + url.PathEscape(a.From)}, &x); err != nil {
			return err
		}
		action, resource, err := x.Request()
		if err != nil {
			return err
		}
		a.Action, a.Resource, a.Text = string(action), resource, "Filled in from the refusal "+x.ID+"."
		for _, p := range x.Policies {
			if p.Text != "" {
				a.Text += " " + strings.TrimSuffix(p.Text, ".") + "."
				break
			}
		}
	}
	may, err := d.mayAsk(v, a.Resource)
	if err != nil {
		return err
	}
	if may {
		a.Offer = d.Offer(v, "/approvals/ask")
	}
	return d.write(v, "ask", a, false)
}

func (d *Door) ask(v within.Visit) error {
	f, err := fields(v.R, "action", "resource", "for", "why", "task")
	if err != nil {
		return err
	}
	var r api.Request
	in := api.Ask{Action: sallyport.Action(f["action"]), Resource: f["resource"], For: f["for"], Why: f["why"], Task: f["task"]}
	if err := d.Call(v, within.Question{Method: http.MethodPost, Path: "/requests", Query: url.Values{"resource": {in.Resource}}, In: in}, &r); err != nil {
		return err
	}
	http.Redirect(v.W, v.R, "/approvals/"+url.PathEscape(r.ID), http.StatusSeeOther)
	return nil
}

// A shownKey is one approver's key.
type shownKey struct {
	api.Approver
	From, To string
}

func (d *Door) keys(v within.Visit) error {
	var x api.Approvers
	if err := d.Call(v, within.Question{Method: http.MethodGet, Path: "/approvers"}, &x); err != nil {
		return err
	}
	data := struct {
		Keys  []shownKey
		Own   []api.OwnKey
		First bool
		Offer string // "" where the visitor may not
	}{Own: x.Own, First: len(x.Keys) == 0}
	can, err := d.May(v, api.CanAsk{Action: sallyport.SystemConfigure, Resource: "system"}, api.CanAsk{Action: sallyport.ServerRead, Resource: "system"})
	if err != nil {
		return err
	}
	if data.First && can[0] || !data.First && can[1] {
		data.Offer = d.Offer(v, "/approvals/keys")
	}
	for _, k := range x.Keys {
		data.Keys = append(data.Keys, shownKey{k, when(k.Since), when(k.Until)})
		for i, o := range data.Own {
			if o.ID == k.ID {
				data.Own = append(data.Own[:i:i], data.Own[i+1:]...)
				break
			}
		}
	}
	return d.write(v, "keys", data, false)
}

func (d *Door) enrol(v within.Visit) error {
	f, err := fields(v.R, "passkey", "groups", "first")
	if err != nil {
		return err
	}
	in := api.Enrol{Passkey: f["passkey"], Groups: strings.FieldsFunc(f["groups"], func(c rune) bool { return c == ' ' || c == ',' })}
	if f["first"] == "yes" {
		if err := d.Call(v, within.Question{Method: http.MethodPost, Path: "/approvers/first", In: in}, nil); err != nil {
			return err
		}
		http.Redirect(v.W, v.R, "/approvals/keys", http.StatusSeeOther)
		return nil
	}
	var r api.Request
	if err := d.Call(v, within.Question{Method: http.MethodPost, Path: "/approvers/enrol", In: in}, &r); err != nil {
		return err
	}
	http.Redirect(v.W, v.R, "/approvals/"+url.PathEscape(r.ID), http.StatusSeeOther)
	return nil
}
