package server

import (
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"sallyport"
	"sallyport/internal/enforce/authzen/remote"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

// A DecisionPoint is one elsewhere that has a say: what it refuses is refused here.
type DecisionPoint struct {
	Name      string        `yaml:"name"` // in records and refusals
	URL       string        `yaml:"url"`  // of its evaluation endpoint
	Actions   []string      `yaml:"actions"`
	TokenFile string        `yaml:"token_file"` // holds what it knows us by; read for every question
	CAFile    string        `yaml:"ca_file"`    // of its authority; "" = the system's
	Wait      time.Duration `yaml:"wait"`       // for an answer; "500ms" by default, at most 5s
}

// maxAsked is how many decision points elsewhere may have a say.
const maxAsked = 4

// check refuses what cannot be meant.
func (x *DecisionPoint) check() error {
	const op = "configuration"
	if err := sallyport.CheckName(op, x.Name); err != nil {
		return err
	}
	u, err := url.Parse(x.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the decision point %s has no https:// URL without credentials", x.Name), "write the URL of its evaluation endpoint")
	}
	if x.TokenFile == "" || len(x.Actions) == 0 {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the decision point %s has no \"token_file\" or no \"actions\"", x.Name), "name the actions in which it has a say")
	}
	for _, a := range x.Actions {
		if _, err := sallyport.ParseAction(a); err != nil {
			return err
		}
	}
	if x.Wait < 0 || x.Wait > remote.MaxWait {
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("\"wait\" of the decision point %s is not within 0 to %v", x.Name, remote.MaxWait), "")
	}
	return nil
}

// checkAsked checks the decision points elsewhere; each has a name of its own.
func (c AuthZEN) checkAsked() error {
	if len(c.Ask) > maxAsked {
		return sallyport.E("configuration", sallyport.TooLarge, fmt.Sprintf("more than %d decision points elsewhere", maxAsked), "")
	}
	seen := map[string]bool{}
	for _, x := range c.Ask {
		if err := x.check(); err != nil {
			return err
		}
		if seen[x.Name] {
			return sallyport.E("configuration", sallyport.Invalid, fmt.Sprintf("the decision point %s is there twice", x.Name), "")
		}
		seen[x.Name] = true
	}
	return nil
}

// askedIdle is how many idle connections are kept to one decision point.
const askedIdle = 16

// openAsked lets the guard ask the decision points elsewhere.
func (s *Server) openAsked() error {
	var points remote.Points
	for _, x := range s.config.AuthZEN.Ask {
		u, err := url.Parse(x.URL)
		if err != nil {
			return err
		}
		p := &remote.Point{Name: x.Name, URL: x.URL, Wait: x.Wait, Client: httpsafe.Client(only(u), askedIdle),
			Token: func() (secret.Text, error) { return readSecret(x.TokenFile) }}
		if p.Wait == 0 {
			p.Wait = remote.DefaultWait
		}
		for _, a := range x.Actions {
			p.Actions = append(p.Actions, sallyport.Action(a))
		}
		roots, err := authorities(x.CAFile)
		if err != nil {
			return err
		}
		p.Client.Transport = trusting(p.Client, roots)
		points = append(points, p)
	}
	if len(points) > 0 {
		s.guard.Opinions = points.Opinions
	}
	return nil
}

// below makes relative paths relative to dir.
func (c AuthZEN) below(dir string) AuthZEN {
	c.Ask = append([]DecisionPoint{}, c.Ask...)
	for i := range c.Ask {
		for _, p := range []*string{&c.Ask[i].TokenFile, &c.Ask[i].CAFile} {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(dir, *p)
			}
		}
	}
	return c
}
