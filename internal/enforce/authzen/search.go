package authzen

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"

	strict "github.com/go-json-experiment/json"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/enforce/authzen/dictionary"
	"sallyport/internal/enforce/authzen/wire"
	"sallyport/internal/enforce/guard"
)

// maxJudged bounds the decisions behind one page: a page may hold less than was asked for, and its token goes on.
const maxJudged = 2000

// subjects answers who may (section 8.4): of the people of the point's own organisation, and only to a point that is
// believed, because nobody found has proved anything.
func (a *asking) subjects(body []byte) (any, error) {
	s, page, err := a.search(body, wire.Subjects)
	if err != nil {
		return nil, err
	}
	if !a.point.Believed {
		return nil, a.refused(sallyport.E("search", sallyport.NotFound, "this enforcement point may ask about subjects that are proved, not search for them", "").Because("point.unbelieved"))
	}
	none := wire.Entity{Type: s.Subject.Type}
	action, known := a.point.Words.Action(*s.Action)
	on, ok := a.point.Words.Resource(*s.Resource, none)
	if !known || !ok {
		return page.empty(a, "word.unknown")
	}
	by, _, err := a.may(sallyport.DecisionAsk, on)
	if err != nil || by == nil {
		return wire.Results[wire.Entity]{Results: []wire.Entity{}}, err
	}
	c := a.about(question{action: action, on: on}, s.Request)
	return results(a, by, page, a.people(s.Subject.Type), func(x dictionary.Named[sallyport.PrincipalID]) (wire.Entity, bool) {
		who, ok := a.named(x.Is, wire.Entity{Properties: s.Subject.Properties}, s.Context)
		return x.Entity, ok && a.door.Guard.Would(by, who, c)
	})
}

// people are the words for those of the point's organisation.
func (a *asking) people(kind string) []dictionary.Named[sallyport.PrincipalID] {
	snap := a.door.Facts.Snapshot()
	self, _ := snap.Member(a.point.Principal)
	var ids []sallyport.PrincipalID
	for _, m := range snap.Sorted() {
		if m.Org == self.Org {
			ids = append(ids, m.ID)
		}
	}
	return slices.DeleteFunc(a.point.Words.SubjectsOf(kind, ids), func(x dictionary.Named[sallyport.PrincipalID]) bool { return !slices.Contains(ids, x.Is) })
}

// resources answers on what (section 8.5): of what the point may ask about.
func (a *asking) resources(body []byte) (any, error) {
	s, page, err := a.search(body, wire.Resources)
	if err != nil {
		return nil, err
	}
	subject, known := a.point.Words.Subject(*s.Subject)
	action, ok := a.point.Words.Action(*s.Action)
	if !known || !ok {
		return page.empty(a, "word.unknown")
	}
	by, _, err := a.may(sallyport.ModelList, sallyport.Ref{Kind: sallyport.SystemKind})
	if err != nil || by == nil {
		return wire.Results[wire.Entity]{Results: []wire.Entity{}}, err
	}
	who, why, err := a.subject(subject, *s.Subject, s.Context)
	if err != nil || why != "" {
		return wire.Results[wire.Entity]{Results: []wire.Entity{}}, a.unproven(err, why, subject)
	}
	c := a.about(question{action: action}, wire.Request{Context: s.Context, Action: s.Action})
	return results(a, by, page, a.point.Words.ResourcesOf(s.Resource.Type, *s.Subject, refs(a.door.Facts.Snapshot().Catalog())),
		func(x dictionary.Named[sallyport.Ref]) (wire.Entity, bool) {
			c.Target = x.Is
			asks := a.call
			asks.Target = x.Is
			return x.Entity, a.door.Guard.Would(by, by.Who(), asks) && a.door.Guard.Would(by, who, c)
		})
}

// refs are the names of everything in the catalog: models also at their main version.
func refs(x *catalog.Index) []sallyport.Ref {
	var all []sallyport.Ref
	for _, r := range x.All() {
		ref := r.Ref()
		if ref.Kind == sallyport.VersionKind {
			ref.Kind = sallyport.ModelKind
		}
		all = append(all, ref)
		if ref.Revision != "" {
			ref.Revision = ""
			all = append(all, ref)
		}
	}
	return all
}

// actions answers what somebody may do (section 8.6).
func (a *asking) actions(body []byte) (any, error) {
	s, page, err := a.search(body, wire.Actions)
	if err != nil {
		return nil, err
	}
	subject, known := a.point.Words.Subject(*s.Subject)
	on, ok := a.point.Words.Resource(*s.Resource, *s.Subject)
	if !known || !ok {
		return page.noActions(a, "word.unknown")
	}
	by, _, err := a.may(sallyport.DecisionAsk, on)
	if err != nil || by == nil {
		return wire.Results[wire.Action]{Results: []wire.Action{}}, err
	}
	who, why, err := a.subject(subject, *s.Subject, s.Context)
	if err != nil || why != "" {
		return wire.Results[wire.Action]{Results: []wire.Action{}}, a.unproven(err, why, subject)
	}
	c := a.about(question{on: on}, s.Request)
	names := a.point.Words.ActionNames()
	var all []dictionary.Named[sallyport.Action]
	for _, name := range slices.Sorted(maps.Keys(names)) {
		all = append(all, dictionary.Named[sallyport.Action]{Entity: wire.Entity{ID: name}, Is: names[name]})
	}
	return results(a, by, page, all, func(x dictionary.Named[sallyport.Action]) (wire.Action, bool) {
		c.Action, c.To = x.Is, into(x.Is, s.Request)
		return wire.Action{Name: x.Entity.ID}, a.door.Guard.Would(by, who, c)
	})
}

// unproven records why a search found nothing.
func (a *asking) unproven(err error, why string, subject sallyport.PrincipalID) error {
	if err != nil {
		return err
	}
	return a.note(why, map[string]string{"subject": string(subject)})
}

// A part is which of the results are wanted.
type part struct {
	hole  string
	after string // the id of the last result before, "" from the first
	limit int
	bind  []byte // what the token is for
	what  map[string]string
}

// search reads a search for hole.
func (a *asking) search(body []byte, hole string) (wire.Search, part, error) {
	var s wire.Search
	err := wire.Parse(body, &s)
	if err == nil {
		err = s.Whole(hole)
	}
	p := part{hole: hole, limit: wire.MaxPage}
	if err == nil {
		p, err = a.page(s, hole)
	}
	if err != nil {
		return s, p, a.refused(err)
	}
	return s, p, nil
}

// page opens the token of the page before.
func (a *asking) page(s wire.Search, hole string) (part, error) {
	p := part{hole: hole, limit: wire.MaxPage, what: map[string]string{"search": hole}}
	if s.Subject != nil {
		p.what["subject"] = word(s.Subject.Type, s.Subject.ID)
	}
	if s.Action != nil {
		p.what["action"] = word("", s.Action.Name)
	}
	if s.Resource != nil {
		p.what["resource"] = word(s.Resource.Type, s.Resource.ID)
	}
	canonical, err := strict.Marshal(s.Request, strict.Deterministic(true))
	if err != nil {
		return p, sallyport.E("search", sallyport.Invalid, "the request cannot be written down", "")
	}
	p.bind = fmt.Appendf(nil, "%s\n%s\n%s", a.point.Principal, hole, canonical)
	if s.Page == nil {
		return p, nil
	}
	if s.Page.Limit != nil {
		p.limit = min(*s.Page.Limit, wire.MaxPage)
	}
	if s.Page.Token == "" {
		return p, nil
	}
	bad := sallyport.E("search", sallyport.Invalid, "the page's token is not of this search", "send the token with the request that it was the answer to, unchanged").Because("page.token")
	raw, err := base64.RawURLEncoding.DecodeString(s.Page.Token)
	if err != nil || len(raw) < sha256.Size+2 {
		return p, bad
	}
	limit := int(binary.BigEndian.Uint16(raw[sha256.Size:]))
	after := string(raw[sha256.Size+2:])
	if !hmac.Equal(raw[:sha256.Size], a.seal(p.bind, limit, after)) || s.Page.Limit != nil && p.limit != limit {
		return p, bad
	}
	p.limit, p.after = limit, after
	return p, nil
}

// seal is the code of a token.
func (a *asking) seal(bind []byte, limit int, after string) []byte {
	h := hmac.New(sha256.New, a.door.Key)
	sum := sha256.Sum256(bind)
	h.Write(sum[:])
	h.Write(binary.BigEndian.AppendUint16(nil, uint16(limit))) // at most wire.MaxPage
	h.Write([]byte(after))
	return h.Sum(nil)
}

func (a *asking) token(p part, after string) string {
	raw := binary.BigEndian.AppendUint16(a.seal(p.bind, p.limit, after), uint16(p.limit))
	return base64.RawURLEncoding.EncodeToString(append(raw, after...))
}

// empty is the answer to a search that can find nothing.
func (p part) empty(a *asking, why string) (any, error) {
	return wire.Results[wire.Entity]{Results: []wire.Entity{}}, a.note(why, p.what)
}

func (p part) noActions(a *asking, why string) (any, error) {
	return wire.Results[wire.Action]{Results: []wire.Action{}}, a.note(why, p.what)
}

// results are those of all that keep keeps, from the page's beginning on, and recorded.
func results[T any, R wire.Entity | wire.Action](a *asking, by *guard.Permit, p part, all []dictionary.Named[T], keep func(dictionary.Named[T]) (R, bool)) (any, error) {
	out := wire.Results[R]{Results: []R{}}
	judged, last := 0, p.after
	for _, x := range all {
		if p.after != "" && x.Entity.ID <= p.after {
			continue
		}
		if len(out.Results) == p.limit || judged == maxJudged {
			out.Page.Token = a.token(p, last)
			break
		}
		judged, last = judged+1, x.Entity.ID
		if r, ok := keep(x); ok {
			out.Results = append(out.Results, r)
		}
	}
	out.Page.Count = len(out.Results)
	p.what["results"] = strconv.Itoa(out.Page.Count)
	_, err := a.door.Guard.Note(a.ctx, sallyport.Event{Type: sallyport.EventSearched, Who: a.point.Principal, Decision: by.ID(), On: by.Resource().String(),
		Asked: &sallyport.Asked{Door: Name, IP: a.call.IP}, Detail: p.what})
	return out, err
}
