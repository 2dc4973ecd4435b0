package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"sallyport"
	"sallyport/internal/authz/grant"
	"sallyport/internal/authz/task"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

// A TaskConnector is a system whose tasks grants can end with.
type TaskConnector struct {
	Name      string `yaml:"name"`
	Kind      string `yaml:"kind"`       // mlflow, kubernetes or ticket
	URL       string `yaml:"url"`        // of mlflow and kubernetes
	TokenFile string `yaml:"token_file"` // holds a bearer token; "" = none
	CAFile    string `yaml:"ca_file"`    // "" trusts what the machine trusts
	KeyFile   string `yaml:"key_file"`   // of ticket: holds the key that its messages are signed with, 32 bytes or more
}

// How tasks are asked for: often enough that a grant ends within five seconds of its task.
const (
	tasksEvery  = time.Second
	taskWithin  = 2 * time.Second
	silentFor   = 30 * time.Second // a system that does not answer for so long ends what rests on it
	mostAsked   = 8                // at one time
	hooksPrefix = "/hooks/tickets/"
)

// tasks follow the work that grants are for.
type tasks struct {
	connectors map[string]*task.Connector
	mu         sync.Mutex
	silent     map[string]time.Time // by grant: since when nobody can tell
	messages   map[string]time.Time // of tickets, that were acted on
}

func (s *Server) openTasks(context.Context) error {
	s.tasks.connectors, s.tasks.silent, s.tasks.messages = map[string]*task.Connector{}, map[string]time.Time{}, map[string]time.Time{}
	for _, t := range s.config.Tasks {
		token, err := readSecret(t.TokenFile) // one that cannot be read is said at the start
		if err != nil {
			return err
		}
		key, err := readSecret(t.KeyFile)
		if err != nil {
			return err
		}
		client := httpsafe.Client(func(netip.AddrPort) bool { return true }, 2) // the operator names the address
		if t.CAFile != "" {
			pem, err := os.ReadFile(t.CAFile)
			pool := x509.NewCertPool()
			if err != nil || !pool.AppendCertsFromPEM(pem) {
				return sallyport.Wrap("open task connector", sallyport.Invalid, fmt.Sprintf("the file %s holds no certificate", t.CAFile), err)
			}
			if transport, ok := client.Transport.(*http.Transport); ok {
				transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
			}
		}
		c := &task.Connector{Name: t.Name, Kind: task.Kind(t.Kind), URL: t.URL, Token: func() (secret.Text, error) { return readSecret(t.TokenFile) }, Key: secret.NewBytes([]byte(key.Reveal())), HTTP: client}
		if err := c.Check(); err != nil {
			return err
		}
		if u, err := url.Parse(t.URL); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) && !token.IsZero() {
			return sallyport.E("open task connector", sallyport.Invalid, "the token of "+t.Name+" would be sent in plaintext", "use https")
		}
		if s.tasks.connectors[t.Kind+":"+t.Name] != nil {
			return sallyport.E("open task connector", sallyport.Invalid, t.Name+" stands there twice", "name each once")
		}
		s.tasks.connectors[t.Kind+":"+t.Name] = c
	}
	return nil
}

func (s *Server) connector(kind grant.TaskKind, name string) bool {
	return s.tasks.connectors[string(kind)+":"+name] != nil
}

// unasked stands for the tasks that no system is asked for: leases, tickets, and those whose connector is gone.
const unasked = ""

// system is who is asked for a task.
func (t *tasks) system(of *grant.Task) string {
	name := string(of.Kind) + ":" + of.Connector
	if c := t.connectors[name]; c == nil || c.Kind == task.Ticket {
		return unasked
	}
	return name
}

// followTasks ends grants whose task is over, until ctx ends: those of each system by themselves, so that one that takes its
// time, or does not answer, keeps no others waiting.
func (s *Server) followTasks(ctx context.Context) {
	var running sync.WaitGroup
	follow := func(system string) {
		running.Go(func() {
			every(ctx, tasksEvery, func() {
				if err := s.endTasks(ctx, system); err != nil && ctx.Err() == nil {
					s.logger.WarnContext(ctx, "the tasks of grants could not be followed", "of", system, "err", err)
				}
			})
		})
	}
	follow(unasked)
	for name, c := range s.tasks.connectors {
		if c.Kind != task.Ticket {
			follow(name)
		}
	}
	running.Wait()
}

// endTasks looks once at every grant in force that has a task of one system.
func (s *Server) endTasks(ctx context.Context, system string) error {
	now := s.clock()
	all, err := s.rooms.grants.Active(ctx, now)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(g grant.Grant) bool { return g.Task == nil || s.tasks.system(g.Task) != system })
	var wait sync.WaitGroup
	over := make([]string, len(all)) // why, "" while it goes on
	places := make(chan struct{}, mostAsked)
	for i, g := range all {
		wait.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			over[i] = s.taskOver(ctx, g, now)
		})
	}
	wait.Wait()
	ended := false
	for i, why := range over {
		if why == "" {
			continue
		}
		if err := s.endGrant(ctx, all[i], why); err != nil {
			return err
		}
		ended = true
	}
	if ended {
		return s.facts.Sync(ctx) // the guard's watch cuts what runs
	}
	return nil
}

// taskOver says why a grant's task is over, "" while it is not.
func (s *Server) taskOver(ctx context.Context, g grant.Grant, now time.Time) string {
	if g.Task.Kind == grant.Lease {
		if g.Lapsed(now) {
			return "the lease was not renewed"
		}
		return ""
	}
	c := s.tasks.connectors[string(g.Task.Kind)+":"+g.Task.Connector]
	if c == nil {
		return "the connector of its task is gone"
	}
	ask, cancel := context.WithTimeout(ctx, taskWithin)
	defer cancel()
	over, err := c.Over(ask, g.Task.Name)
	s.tasks.mu.Lock()
	defer s.tasks.mu.Unlock()
	if err == nil {
		delete(s.tasks.silent, g.ID)
		if over {
			return "its task is over: " + g.Task.String()
		}
		return ""
	}
	since, known := s.tasks.silent[g.ID]
	if !known {
		s.tasks.silent[g.ID] = now
		s.logger.WarnContext(ctx, "a task cannot be followed", "grant", g.ID, "task", g.Task.String(), "err", err)
		return ""
	}
	if now.Sub(since) > silentFor {
		delete(s.tasks.silent, g.ID)
		return "nobody can tell whether its task goes on: " + g.Task.String()
	}
	return ""
}

// endGrant writes the end down, and ends it.
func (s *Server) endGrant(ctx context.Context, g grant.Grant, why string) error {
	by := system().ID
	err := s.noteOnly(ctx, sallyport.Event{Type: sallyport.EventGrantEnded, Who: by, On: g.Ref.String(),
		Detail: map[string]string{"grant": g.ID, "who": string(g.Principal), "task": g.Task.String(), "why": why}})
	if err != nil {
		return err
	}
	_, err = s.rooms.grants.Revoke(ctx, g.ID, by)
	return err
}

// takeTicket takes a message of a ticket's system, and ends what was granted for a ticket that is closed.
func (s *Server) takeTicket(w http.ResponseWriter, r *http.Request) {
	httpsafe.SecurityHeaders(w.Header())
	status := http.StatusNoContent
	if err := s.closeTicket(r); err != nil {
		status = httpsafe.Status(err)
		if nerr := s.noteOnly(r.Context(), sallyport.Event{Type: sallyport.EventRefused, On: "ticket:" + sallyport.OneLine(r.PathValue("name")),
			Reasons: []string{"ticket.message"}, Asked: &sallyport.Asked{Door: "tickets", IP: httpsafe.PeerIP(r)}}); nerr != nil {
			status = http.StatusServiceUnavailable
		}
		s.logger.InfoContext(r.Context(), "a message of a ticket's system was refused", "connector", r.PathValue("name"), "err", err)
	}
	w.WriteHeader(status)
}

func (s *Server) closeTicket(r *http.Request) error {
	name, now := r.PathValue("name"), s.clock()
	c := s.tasks.connectors[string(task.Ticket)+":"+name]
	if c == nil {
		return sallyport.E("take ticket", sallyport.Unknown, "no ticket's system is called that", "")
	}
	closing, err := c.Closed(r, now)
	if err != nil || !closing.Closed {
		return err
	}
	id := name + "/" + closing.ID
	if s.tasks.acted(id) {
		return nil // sent again
	}
	if err := s.endTicket(r.Context(), name, closing.Ticket, now); err != nil {
		return err // it is sent again: then it is done
	}
	s.tasks.keep(id, now)
	return nil
}

// endTicket ends what was granted for a ticket.
func (s *Server) endTicket(ctx context.Context, system, ticket string, now time.Time) error {
	all, err := s.rooms.grants.Active(ctx, now)
	if err != nil {
		return err
	}
	for _, g := range all {
		if g.Task == nil || g.Task.Kind != grant.Ticket || g.Task.Connector != system || g.Task.Name != ticket {
			continue
		}
		if err := s.endGrant(ctx, g, "its ticket is closed: "+g.Task.String()); err != nil {
			return err
		}
	}
	return s.facts.Sync(ctx)
}

// acted reports whether a message was acted on. Of two of the same at once, which end the same, both are.
func (t *tasks) acted(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, seen := t.messages[id]
	return seen
}

// keep remembers that a message was acted on, until it could not be taken any more.
func (t *tasks) keep(id string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for old, at := range t.messages {
		if now.Sub(at) > time.Hour {
			delete(t.messages, old)
		}
	}
	t.messages[id] = now
}
