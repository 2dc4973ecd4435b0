package sallyport

import (
	"fmt"
	"strings"
)

// A Scope is what a token may be used for: a list of items, each an action, a
// group ("model.*") or everything ("*"), optionally on one resource
// ("model.infer@acme/fraud"). It narrows what policy permits and never widens it.
// The empty scope covers nothing. Its text is the scope of OAuth 2.0 (RFC 6749,
// section 3.3): items separated by one space.
type Scope []string

const maxScopeItems = 64

// ParseScope reads and checks the text form. "" is the empty scope.
func ParseScope(s string) (Scope, error) {
	if s == "" {
		return nil, nil
	}
	items := strings.Split(s, " ")
	if len(items) > maxScopeItems {
		return nil, E("parse scope", TooLarge, fmt.Sprintf("more than %d items", maxScopeItems), "ask for fewer")
	}
	for _, it := range items {
		if err := checkScopeItem(it); err != nil {
			return nil, err
		}
	}
	return Scope(items), nil
}

func checkScopeItem(item string) error {
	what, on, bound := strings.Cut(item, "@")
	if bound {
		if _, err := ParseRef(on); err != nil {
			return err
		}
	}
	if what == "*" {
		return nil
	}
	if group, ok := strings.CutSuffix(what, ".*"); ok {
		for _, a := range Actions() {
			if a.Group() == group {
				return nil
			}
		}
	}
	if Action(what).Valid() {
		return nil
	}
	return E("parse scope", Invalid, fmt.Sprintf("%q is not an action, a group such as model.* or *", clip(item)),
		"write ACTION, ACTION@RESOURCE or GROUP.*")
}

// String is the text form.
func (s Scope) String() string { return strings.Join(s, " ") }

// Covers reports whether some item covers the action on the resource.
func (s Scope) Covers(a Action, x Resource) bool {
	for _, item := range s {
		what, on, bound := strings.Cut(item, "@")
		if what != "*" && what != string(a) && what != a.Group()+".*" {
			continue
		}
		if !bound {
			return true
		}
		if r, err := ParseRef(on); err == nil && r.Covers(x) {
			return true
		}
	}
	return false
}

// Within reports whether every item of s is covered by an item of parent, so
// that a token of scope s can do nothing that one of scope parent could not.
func (s Scope) Within(parent Scope) bool {
	for _, item := range s {
		if !parent.coversItem(item) {
			return false
		}
	}
	return true
}

func (s Scope) coversItem(item string) bool {
	what, on, _ := strings.Cut(item, "@")
	for _, p := range s {
		pwhat, pon, pbound := strings.Cut(p, "@")
		sameAction := pwhat == "*" || pwhat == what || pwhat == Action(what).Group()+".*"
		if sameAction && (!pbound || pon == on) {
			return true
		}
	}
	return false
}
