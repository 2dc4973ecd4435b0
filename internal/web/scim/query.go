package scim

import (
	"net/http"
	"strconv"
	"strings"

	"sallyport"
	"sallyport/internal/identity/provision"
	"sallyport/internal/web/scim/filter"
	"sallyport/internal/web/scim/resource"
)

// The page of a list: as many as are asked for, defaultCount otherwise, at most
// maxCount.
const (
	defaultCount = 100
	maxCount     = 500
)

// A query is what a list is asked for (RFC 7644, section 3.4.2 and 3.4.3).
type query struct {
	narrow provision.Query // what the store can select by itself
	filter *filter.Expr
	shown  resource.Projection
	start  int // 1-based
	count  int
}

// parameters are what a list is asked for, as it came.
type parameters struct {
	filter        string
	only, without []string
	start, count  int
}

func (c *call) query(t resource.Type) (query, error) {
	read := c.fromURL
	if c.Method == http.MethodPost {
		read = c.fromBody
	}
	p, err := read()
	if err != nil {
		return query{}, err
	}
	q := query{narrow: provision.Query{Source: c.source.Name, Kind: provision.Kind(t.Name)}, start: max(1, p.start), count: min(max(0, p.count), maxCount)}
	if q.shown, err = t.Projection(p.only, p.without); err != nil || p.filter == "" {
		return q, err
	}
	e, err := filter.Parse(p.filter)
	if err == nil {
		e, err = e.Resolve(t.Resolve)
	}
	q.filter = &e
	q.narrowBy(e)
	return q, err
}

// narrowBy lets the store do what it does faster: the one question that providers
// ask before each change. The filter is matched all the same.
func (q *query) narrowBy(e filter.Expr) {
	if e.Op == filter.And {
		e = e.Args[0]
	}
	value, ok := e.Value.(string)
	if e.Op != filter.Equal || !ok || value == "" {
		return
	}
	switch e.Attr.String() {
	case "id":
		q.narrow.ID = value
	case "externalId":
		q.narrow.External = value
	case "userName", "displayName":
		if (e.Attr.Name == "userName") == (q.narrow.Kind == provision.User) { // a user's displayName is no key
			q.narrow.Name = value
		}
	}
}

func (c *call) fromURL() (parameters, error) {
	q := c.URL.Query()
	p := parameters{filter: q.Get("filter"), only: names(q["attributes"]), without: names(q["excludedAttributes"]), start: 1, count: defaultCount}
	for name, into := range map[string]*int{"startIndex": &p.start, "count": &p.count} {
		if s := q.Get(name); s != "" {
			n, err := strconv.Atoi(s)
			if err != nil {
				return p, sallyport.E("scim", sallyport.Invalid, name+" is no number", "").Because("invalidValue")
			}
			*into = n
		}
	}
	return p, nil
}

func names(lists []string) []string {
	var all []string
	for _, l := range lists {
		for _, name := range strings.Split(l, ",") {
			if name = strings.TrimSpace(name); name != "" {
				all = append(all, name)
			}
		}
	}
	return all
}

// fromBody reads a search request. Sorting is not offered, and being asked for it
// is no error.
func (c *call) fromBody() (parameters, error) {
	p := parameters{start: 1, count: defaultCount}
	wrong := func(name string) error {
		return sallyport.E("scim", sallyport.Invalid, "a search request does not take this: "+sallyport.OneLine(name), "").Because("invalidSyntax")
	}
	v, err := resource.DecodeJSON(c.body)
	if err != nil {
		return p, err
	}
	body, ok := v.(map[string]any)
	if !ok {
		return p, wrong("a body that is no object")
	}
	for name, v := range body {
		switch strings.ToLower(name) {
		case "schemas":
			if l, _ := v.([]any); len(l) != 1 || l[0] != searchURN {
				return p, wrong(name)
			}
		case "filter":
			p.filter, ok = v.(string)
		case "attributes":
			p.only, ok = texts(v)
		case "excludedattributes":
			p.without, ok = texts(v)
		case "startindex":
			p.start, ok = whole(v)
		case "count":
			p.count, ok = whole(v)
		case "sortby", "sortorder":
		default:
			ok = false
		}
		if !ok {
			return p, wrong(name)
		}
	}
	return p, nil
}

func texts(v any) ([]string, bool) {
	l, ok := v.([]any)
	var all []string
	for _, x := range l {
		s, is := x.(string)
		all, ok = append(all, s), ok && is
	}
	return all, ok
}

func whole(v any) (int, bool) {
	f, ok := v.(float64)
	if !ok || f != float64(int32(f)) {
		return 0, false
	}
	return int(f), true
}

// A page is what is shown of a list.
type page struct {
	total int
	shown []map[string]any
}

// add adds those of the records that match.
func (p *page) add(q query, t resource.Type, all []resource.Record) {
	for _, r := range all {
		if q.filter != nil && !q.filter.Match(r) {
			continue
		}
		if p.total++; p.total >= q.start && len(p.shown) < q.count {
			p.shown = append(p.shown, t.Show(r, q.shown))
		}
	}
}

func (p *page) answer(q query) answer {
	return answer{status: http.StatusOK, body: list(p.shown, p.total, q.start)}
}

// searchAll looks for users and groups at once (RFC 7644, section 3.4.3). A filter
// that means nothing for one of the two finds none of it.
func (d *Door) searchAll(c *call) (answer, error) {
	var p page
	var q query
	failed := 0
	for _, t := range []resource.Type{resource.Users(), resource.Groups()} {
		one, err := c.query(t)
		if sallyport.ReasonOf(err) == "invalidFilter" {
			if failed++; failed < 2 {
				continue
			}
		}
		if err != nil {
			return answer{}, err
		}
		all, err := d.Intake.List(c.Context(), one.narrow)
		if err != nil {
			return answer{}, err
		}
		q = one
		p.add(q, t, all)
	}
	return p.answer(q), nil
}

// match is the version that a change must find, from If-Match; 0 for any.
func (c *call) match() (int64, error) {
	h := c.Header.Get("If-Match")
	if h == "" || h == "*" {
		return 0, nil
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(h, "W/"), `"`), `"`), 10, 64)
	if err != nil || n < 1 {
		return 0, sallyport.E("scim", sallyport.Conflict, "the record is not the version that If-Match names", "read it again").Because("version")
	}
	return n, nil
}

// unchanged reports whether If-None-Match names the entity tag.
func (c *call) unchanged(tag string) bool {
	for _, t := range strings.Split(c.Header.Get("If-None-Match"), ",") {
		if t = strings.TrimSpace(t); t == "*" || t == tag || "W/"+t == tag {
			return true
		}
	}
	return false
}
