package gateway

import (
	"bufio"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/plumbing/httpsafe"
)

// A Route maps requests of one method and pattern to an action, or denies them.
type Route struct {
	Method  string // "GET", …, or "WS", which no plain request has; GET does not include HEAD
	Pattern string // "/api/models/{org}/{name}/tree/{rev}/{path...}"
	Name    string // the handler's name in the dialect; "" for a denied route
	Action  sallyport.Action
	Deny    bool   // known and refused
	Note    string // why it is denied, and what to do instead
	parts   []part
}

// Routes is a dialect's table, in order of precedence: the first match counts.
type Routes []Route

// A Match is a route with the values of its wildcards, decoded.
type Match struct {
	Route
	Params map[string]string
}

// ParseRoutes reads a table. A line is METHOD PATTERN ACTION NAME, or METHOD
// PATTERN deny NOTE…; "#" begins a comment. Several methods are separated by
// commas; a fixed segment a|b stands for each of its words. A wildcard {x} is one
// segment, {x}.git one with a fixed end, and {x...} one or more at the end.
// Unknown actions, doubled routes and anything left over are errors.
func ParseRoutes(table string) (Routes, error) {
	var routes Routes
	seen := map[string]bool{}
	err := eachLine(table, func(n int, f []string) error {
		if len(f) < 4 {
			return fmt.Errorf("want METHOD PATTERN ACTION NAME or METHOD PATTERN deny NOTE")
		}
		for _, method := range strings.Split(f[0], ",") {
			for _, pattern := range expand(f[1]) {
				r, err := parseRoute(method, pattern, f[2:])
				if err != nil {
					return err
				}
				key := method + " " + shape(pattern)
				if seen[key] {
					return fmt.Errorf("%s %s stands twice", method, pattern)
				}
				seen[key] = true
				routes = append(routes, r)
			}
		}
		return nil
	})
	return routes, err
}

// eachLine calls yield with the fields of every line that is not empty, and puts
// the number of the line before its errors.
func eachLine(text string, yield func(n int, fields []string) error) error {
	sc := bufio.NewScanner(strings.NewReader(text))
	for n := 1; sc.Scan(); n++ {
		line, _, _ := strings.Cut(sc.Text(), "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if err := yield(n, f); err != nil {
			return fmt.Errorf("routes, line %d: %w", n, err)
		}
	}
	return sc.Err()
}

// maxExpand bounds how many patterns one line stands for.
const maxExpand = 64

// expand returns the patterns that a pattern with a|b segments stands for.
func expand(pattern string) []string {
	patterns := []string{""}
	for i, segment := range strings.Split(pattern, "/") {
		words := []string{segment}
		if !strings.HasPrefix(segment, "{") {
			words = strings.Split(segment, "|")
		}
		if len(patterns)*len(words) > maxExpand {
			return nil
		}
		var next []string
		for _, p := range patterns {
			for _, w := range words {
				if i > 0 {
					w = "/" + w
				}
				next = append(next, p+w)
			}
		}
		patterns = next
	}
	return patterns
}

func parseRoute(method, pattern string, f []string) (Route, error) {
	r := Route{Method: method, Pattern: pattern}
	methods := []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, "WS"}
	if !slices.Contains(methods, r.Method) {
		return Route{}, fmt.Errorf("unknown method %q", r.Method)
	}
	var err error
	if r.parts, err = parsePattern(pattern); err != nil {
		return Route{}, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	if f[0] == "deny" {
		r.Deny, r.Note = true, strings.Join(f[1:], " ")
		return r, nil
	}
	if len(f) != 2 {
		return Route{}, fmt.Errorf("want one name after the action")
	}
	r.Action, err = sallyport.ParseAction(f[0])
	r.Name = f[1]
	return r, err
}

// Match finds the route of a request whose path, below the door's prefix, is
// escaped. It reports false when no route covers it.
func (rs Routes) Match(method, escaped string) (Match, bool) {
	segments, err := httpsafe.Segments(escaped)
	if err != nil {
		return Match{}, false
	}
	for i := range rs {
		if r := &rs[i]; r.Method == method && r.covers(segments) {
			return Match{Route: *r, Params: r.params(segments)}, true
		}
	}
	return Match{}, false
}

// covers reports whether the route is the one of a path. It allocates nothing.
func (r *Route) covers(segments []string) bool {
	for i, p := range r.parts {
		if i >= len(segments) {
			return false
		}
		if p.rest {
			return !slices.ContainsFunc(segments[i:], hasSlash)
		}
		value, ok := strings.CutSuffix(segments[i], p.text)
		if !ok || (value == "") != (p.wild == "") {
			return false
		}
	}
	return len(segments) == len(r.parts)
}

// params are the values of the wildcards in a path that the route covers.
func (r *Route) params(segments []string) map[string]string {
	values := map[string]string{}
	for i, p := range r.parts {
		switch {
		case p.rest:
			values[p.wild] = strings.Join(segments[i:], "/")
		case p.wild != "":
			values[p.wild] = strings.TrimSuffix(segments[i], p.text)
		}
	}
	return values
}

// A part is one segment of a pattern: a wildcard (of all that is left with rest),
// fixed text, or a wildcard with fixed text behind it.
type part struct {
	wild, text string
	rest       bool
}

func parsePattern(pattern string) ([]part, error) {
	if pattern == "/" {
		return nil, nil
	}
	segments, ok := strings.CutPrefix(pattern, "/")
	if !ok {
		return nil, fmt.Errorf("it does not begin with /")
	}
	var parts []part
	names := map[string]bool{}
	for s := range strings.SplitSeq(segments, "/") {
		if len(parts) > 0 && parts[len(parts)-1].rest {
			return nil, fmt.Errorf("{x...} is only allowed at the end")
		}
		p, err := parsePart(s)
		if err != nil {
			return nil, err
		}
		if p.wild != "" && names[p.wild] {
			return nil, fmt.Errorf("two wildcards are called %s", p.wild)
		}
		names[p.wild] = true
		parts = append(parts, p)
	}
	return parts, nil
}

func parsePart(s string) (part, error) {
	if !strings.ContainsAny(s, "{}") {
		if s == "" {
			return part{}, fmt.Errorf("an empty segment")
		}
		return part{text: s}, nil
	}
	name, text, ok := strings.Cut(s, "}")
	wild, rest := strings.CutSuffix(strings.TrimPrefix(name, "{"), "...")
	if !ok || s[0] != '{' || wild == "" || strings.ContainsAny(wild+text, "{}") || rest && text != "" {
		return part{}, fmt.Errorf("%q is no wildcard {x}, {x}text or {x...}", s)
	}
	return part{wild: wild, text: text, rest: rest}, nil
}

func hasSlash(s string) bool { return strings.Contains(s, "/") }

// Coverage counts how an upstream's own list of routes (METHOD PATTERN a line)
// is covered by the table.
type Coverage struct {
	Dialect  string   `json:"dialect"`
	Upstream int      `json:"upstream"` // routes the upstream has
	Mapped   int      `json:"mapped"`
	Denied   int      `json:"denied"`  // known and refused
	Missing  []string `json:"missing"` // not classified: refused all the same, and a failure of the build
	Extra    int      `json:"extra"`   // routes of ours that the list does not name
}

// Cover compares the table with an upstream's list. Wildcard names do not matter.
func (rs Routes) Cover(dialect, upstream string) Coverage {
	c := Coverage{Dialect: dialect, Missing: []string{}}
	ours := map[string]*Route{}
	for i := range rs {
		ours[rs[i].Method+" "+shape(rs[i].Pattern)] = &rs[i]
	}
	_ = eachLine(upstream, func(_ int, f []string) error { // yield never fails
		c.Upstream++
		key := strings.Join(f, " ")
		if len(f) == 2 {
			key = f[0] + " " + shape(f[1])
		}
		switch r, ok := ours[key]; {
		case !ok:
			c.Missing = append(c.Missing, strings.Join(f, " "))
		case r.Deny:
			c.Denied++
		default:
			c.Mapped++
		}
		delete(ours, key)
		return nil
	})
	c.Extra = len(ours)
	return c
}

// shape replaces wildcard names by their kind.
func shape(pattern string) string {
	parts := strings.Split(pattern, "/")
	for i, s := range parts {
		if p, err := parsePart(s); err == nil && p.wild != "" {
			parts[i] = "{}" + p.text
			if p.rest {
				parts[i] = "{...}"
			}
		}
	}
	return strings.Join(parts, "/")
}
