package server

import (
	"crypto/rand"
	"fmt"
	"net/http"

	"sallyport"
	"sallyport/internal/enforce/authzen"
	"sallyport/internal/enforce/authzen/dictionary"
	"sallyport/internal/enforce/authzen/wire"
	"sallyport/internal/enforce/gateway"
)

// AuthZEN says which enforcement points elsewhere get answers (AuthZEN Authorization API 1.0). None does unless it is
// listed, and a listed one asks about what the policies let it ask about.
type AuthZEN struct {
	Points []EnforcementPoint `yaml:"points"`
	// Dictionaries say what the words of points that do not speak Sallyport's own mean, by name.
	Dictionaries map[string]*dictionary.Dictionary `yaml:"dictionaries"`
	// Ask are decision points elsewhere that have a say here.
	Ask []DecisionPoint `yaml:"ask"`
}

// An EnforcementPoint is one that is registered.
type EnforcementPoint struct {
	Service string `yaml:"service"` // its account's name
	// Believed takes the point's word for who asks; without it every question carries a token of its subject.
	Believed bool `yaml:"believed"`
	// Assurance is what its word about how a subject was proved is worth at most: "none" by default.
	Assurance string `yaml:"assurance"`
	// Bearer lets it ask with a token that is bound to no key and no certificate.
	Bearer bool `yaml:"bearer"`
	// Obligations are what it carries out, such as limit-bytes; a permission that obliges to anything else is denied.
	Obligations []string `yaml:"obligations"`
	Dictionary  string   `yaml:"dictionary"` // "" = Sallyport's own words
}

// points are the registered ones.
func (c AuthZEN) points() ([]authzen.Point, error) {
	for name, d := range c.Dictionaries {
		if d == nil {
			return nil, sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("the dictionary %.80q is empty", name), "")
		}
		if err := d.Check(); err != nil {
			return nil, fmt.Errorf("authzen.dictionaries.%.80s: %w", name, err)
		}
	}
	var all []authzen.Point
	seen := map[string]bool{}
	for _, x := range c.Points {
		p, err := c.point(x)
		if err != nil {
			return nil, err
		}
		if seen[x.Service] {
			return nil, sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("the enforcement point %s is there twice", x.Service), "give each an account of its own")
		}
		seen[x.Service] = true
		all = append(all, p)
	}
	return all, nil
}

func (c AuthZEN) point(x EnforcementPoint) (authzen.Point, error) {
	const op = "configuration"
	p := authzen.Point{Believed: x.Believed, Bound: !x.Bearer, Words: dictionary.Own()}
	var err error
	if p.Principal, err = sallyport.NewPrincipalID(sallyport.Service, x.Service); err != nil {
		return p, err
	}
	if x.Assurance != "" {
		if p.Assurance, err = sallyport.ParseAssurance(x.Assurance); err != nil {
			return p, err
		}
		if !x.Believed && p.Assurance > 0 {
			return p, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the enforcement point %s is not believed, and its word is worth something", x.Service), "add \"believed: true\", or leave \"assurance\" out")
		}
	}
	if p.Obligations, err = obligationKinds(x.Obligations); err != nil {
		return p, err
	}
	if x.Dictionary != "" {
		d, ok := c.Dictionaries[x.Dictionary]
		if !ok {
			return p, sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the enforcement point %s names the dictionary %.80q, which is not there", x.Service, x.Dictionary), "add it to \"authzen.dictionaries\"")
		}
		p.Words = d
	}
	return p, nil
}

// obligationKinds reads names of obligations.
func obligationKinds(names []string) ([]sallyport.ObligationKind, error) {
	var kinds []sallyport.ObligationKind
	for _, name := range names {
		known := false
		for _, k := range sallyport.ObligationKinds() {
			known = known || string(k) == name
		}
		if !known {
			return nil, sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("%.80q is no obligation", name), "use limit-bytes, limit-rate, max-tokens, logprobs, files or range")
		}
		kinds = append(kinds, sallyport.ObligationKind(name))
	}
	return kinds, nil
}

// openAuthZEN adds the door for enforcement points elsewhere.
func (s *Server) openAuthZEN(mux *http.ServeMux) error {
	points, err := s.config.AuthZEN.points()
	if err != nil {
		return err
	}
	if err := s.openAsked(); err != nil {
		return err
	}
	key := make([]byte, 32) // of pages' tokens: a search that a restart falls into begins anew
	if _, err := rand.Read(key); err != nil {
		return err
	}
	door := authzen.New(authzen.Door{Guard: s.guard, Facts: s.facts, External: s.config.External, Points: points, Key: key,
		Nonce: s.rooms.proofs.Nonce, Logger: s.logger}, concurrent)
	mux.Handle(authzen.Prefix+"/", door)
	mux.Handle(wire.MetadataPath, door)
	return nil
}

// authzenCoverage compares the door's routes with those of the standard (section 10.1).
func authzenCoverage() gateway.Coverage {
	c := gateway.Coverage{Dialect: authzen.Name, Missing: []string{}}
	served := map[string]bool{}
	for _, r := range authzen.Endpoints() {
		served[r] = true
	}
	for _, r := range []string{"POST /access/v1/evaluation", "POST /access/v1/evaluations", "POST /access/v1/search/subject",
		"POST /access/v1/search/resource", "POST /access/v1/search/action", "GET /.well-known/authzen-configuration"} {
		if c.Upstream++; served[r] {
			c.Mapped++
		} else {
			c.Missing = append(c.Missing, r)
		}
	}
	return c
}
