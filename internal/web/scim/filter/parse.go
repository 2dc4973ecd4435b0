package filter

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"sallyport"
)

// Parse reads a filter. An error is of kind Invalid, with the reason
// "invalidFilter".
func Parse(s string) (Expr, error) {
	p, err := newParser(s)
	if err != nil {
		return Expr{}, err
	}
	e, err := p.or(0)
	if err != nil {
		return Expr{}, err
	}
	if p.next() != "" {
		return Expr{}, p.unexpected()
	}
	return e, nil
}

// A Path is the target of an operation of PATCH: an attribute, or those of its
// values that a filter selects, or a sub-attribute of these.
type Path struct {
	Attr  Attr  // its Sub is empty where Where is not
	Where *Expr // nil: all of the attribute
	Sub   string
}

// ParsePath reads a path. An error is of kind Invalid, with the reason
// "invalidPath".
func ParsePath(s string) (Path, error) {
	path, err := parsePath(s)
	if err != nil {
		e, _ := errors.AsType[*sallyport.Error](err)
		return Path{}, sallyport.E("read path", sallyport.Invalid, e.Message, "see RFC 7644, section 3.5.2").Because("invalidPath")
	}
	return path, nil
}

func parsePath(s string) (Path, error) {
	p, err := newParser(s)
	if err != nil {
		return Path{}, err
	}
	attr, err := p.attr()
	if err != nil {
		return Path{}, err
	}
	path := Path{Attr: attr}
	if p.next() == "[" {
		p.take()
		e, err := p.or(1)
		if err != nil {
			return Path{}, err
		}
		if p.next() != "]" {
			return Path{}, p.unexpected()
		}
		p.take()
		path.Where = &e
		if rest := p.next(); strings.HasPrefix(rest, ".") && attr.Sub == "" {
			p.take()
			if path.Sub = rest[1:]; !isName(path.Sub) {
				return Path{}, p.unexpected()
			}
		}
	}
	if p.next() != "" {
		return Path{}, p.unexpected()
	}
	return path, nil
}

// ParseAttr reads the name of an attribute, as the parameters attributes,
// excludedAttributes and sortBy hold them.
func ParseAttr(s string) (Attr, error) {
	path, err := ParsePath(s)
	if err == nil && path.Where != nil {
		err = invalid("a filter stands where an attribute is named")
	}
	return path.Attr, err
}

// A parser reads tokens: parentheses, brackets, texts in quotes, and words.
type parser struct {
	rest  string
	token string // the next one, "" at the end
	terms int
}

func newParser(s string) (*parser, error) {
	if len(s) > MaxLength || !utf8.ValidString(s) {
		return nil, invalid("it is too long, or not UTF-8")
	}
	p := &parser{rest: s}
	p.take()
	return p, nil
}

func (p *parser) next() string { return p.token }

// take goes on to the next token and returns the last.
func (p *parser) take() string {
	last := p.token
	p.rest = strings.TrimLeft(p.rest, " ")
	n := 0
	switch {
	case p.rest == "":
	case strings.IndexByte("()[]", p.rest[0]) >= 0:
		n = 1
	case p.rest[0] == '"':
		n = quoted(p.rest)
	default:
		if n = strings.IndexAny(p.rest, " ()[]\""); n < 0 {
			n = len(p.rest)
		}
	}
	p.token, p.rest = p.rest[:n], p.rest[n:]
	return last
}

// quoted is the length of the text in quotes at the front of s, or all of s where
// it does not end.
func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

func (p *parser) unexpected() error {
	if p.token == "" {
		return invalid("it ends too early")
	}
	return invalid("this does not belong here: " + sallyport.OneLine(p.token))
}

func (p *parser) word(w Op) bool { return strings.EqualFold(p.token, string(w)) }

func (p *parser) or(depth int) (Expr, error) { return p.chain(Or, depth, p.and) }

func (p *parser) and(depth int) (Expr, error) { return p.chain(And, depth, p.unary) }

// chain reads operands with op between them.
func (p *parser) chain(op Op, depth int, operand func(int) (Expr, error)) (Expr, error) {
	first, err := operand(depth)
	if err != nil || !p.word(op) {
		return first, err
	}
	e := Expr{Op: op, Args: []Expr{first}}
	for p.word(op) {
		p.take()
		next, err := operand(depth)
		if err != nil {
			return Expr{}, err
		}
		e.Args = append(e.Args, next)
	}
	return e, nil
}

func (p *parser) unary(depth int) (Expr, error) {
	if depth > MaxDepth {
		return Expr{}, invalid("it is nested too deeply")
	}
	negated := p.word(Not)
	if negated {
		p.take()
	}
	if p.token != "(" {
		if negated {
			return Expr{}, p.unexpected()
		}
		return p.comparison(depth)
	}
	p.take()
	e, err := p.or(depth + 1)
	if err != nil {
		return Expr{}, err
	}
	if p.token != ")" {
		return Expr{}, p.unexpected()
	}
	p.take()
	if negated {
		e = Expr{Op: Not, Args: []Expr{e}}
	}
	return e, nil
}

func (p *parser) comparison(depth int) (Expr, error) {
	if p.terms++; p.terms > MaxTerms {
		return Expr{}, invalid("it has too many terms")
	}
	attr, err := p.attr()
	if err != nil {
		return Expr{}, err
	}
	if p.token == "[" {
		p.take()
		arg, err := p.or(depth + 1)
		if err != nil {
			return Expr{}, err
		}
		if p.token != "]" {
			return Expr{}, p.unexpected()
		}
		p.take()
		return Expr{Op: Has, Attr: attr, Args: []Expr{arg}}, nil
	}
	op := Op(strings.ToLower(p.token))
	switch op {
	case Present:
		p.take()
		return Expr{Op: op, Attr: attr}, nil
	case Equal, NotEqual, Contains, StartsWith, EndsWith, Greater, GreaterOrEqual, Less, LessOrEqual:
		p.take()
		value, err := p.value()
		return Expr{Op: op, Attr: attr, Value: value}, err
	}
	return Expr{}, p.unexpected()
}

// value reads a JSON text, number, true, false or null. Some providers write the
// last three with a capital.
func (p *parser) value() (any, error) {
	text := p.token
	if text != "" && text[0] != '"' {
		text = strings.ToLower(text)
	}
	var v any
	if text == "" || strings.IndexByte("()[]{", text[0]) >= 0 || json.Unmarshal([]byte(text), &v) != nil {
		return nil, p.unexpected()
	}
	p.take()
	return v, nil
}

// attr reads the name of an attribute.
func (p *parser) attr() (Attr, error) {
	name, urn := p.token, ""
	if len(name) > 4 && strings.EqualFold(name[:4], "urn:") {
		colon := strings.LastIndexByte(name, ':')
		urn, name = name[:colon], name[colon+1:]
		if !isURN(urn) {
			return Attr{}, p.unexpected()
		}
	}
	name, sub, dotted := strings.Cut(name, ".")
	if !isName(name) || dotted && !isName(sub) {
		return Attr{}, p.unexpected()
	}
	p.take()
	return Attr{URN: urn, Name: name, Sub: sub}, nil
}

// isName reports whether s is an ATTRNAME of RFC 7643, section 2.1, or "$ref".
func isName(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if !(c >= 'a' && c <= 'z' || i > 0 && (s[i] >= '0' && s[i] <= '9' || s[i] == '-' || s[i] == '_')) && s != "$ref" {
			return false
		}
	}
	return s != ""
}

func isURN(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if !(c >= 'a' && c <= 'z' || s[i] >= '0' && s[i] <= '9' || strings.IndexByte(":-._", s[i]) >= 0) {
			return false
		}
	}
	return true
}
