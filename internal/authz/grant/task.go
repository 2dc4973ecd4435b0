package grant

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport"
)

// A TaskKind is where the work lies that a grant is for.
type TaskKind string

// The kinds of tasks.
const (
	Lease      TaskKind = "lease"      // a program that renews it while it runs, with the name of the job or without
	MLflow     TaskKind = "mlflow"     // a run of an MLflow server
	Kubernetes TaskKind = "kubernetes" // a job of a Kubernetes cluster
	Ticket     TaskKind = "ticket"     // a ticket, whose system tells us when it is closed
)

// LeaseFor is how long a lease lasts unless it is renewed; with the second in which it is noticed it stays under five.
const LeaseFor = 3 * time.Second

// maxTask bounds the parts of a task's name, in bytes.
const maxTask = 128

// segmentBytes are what a part of a task's name is made of.
const segmentBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.#"

// A Task is what a grant ends with. It has one spelling: "lease", "lease:JOB", "mlflow:CONNECTOR/RUN",
// "kubernetes:CONNECTOR/NAMESPACE/JOB" or "ticket:CONNECTOR/TICKET".
type Task struct {
	Kind      TaskKind `json:"kind"`
	Connector string   `json:"connector,omitempty"` // name of a system that the operator has configured
	Name      string   `json:"name,omitempty"`      // of the task, there
}

// String writes the task's one spelling; "" of nil.
func (t *Task) String() string {
	switch {
	case t == nil:
		return ""
	case t.Kind == Lease && t.Name == "":
		return string(Lease)
	case t.Kind == Lease:
		return string(Lease) + ":" + t.Name
	}
	return string(t.Kind) + ":" + t.Connector + "/" + t.Name
}

// ParseTask reads what String writes; "" is nil.
func ParseTask(s string) (*Task, error) {
	if s == "" {
		return nil, nil
	}
	kind, rest, _ := strings.Cut(s, ":")
	connector, name, _ := strings.Cut(rest, "/")
	if TaskKind(kind) == Lease {
		connector, name = "", rest
	}
	t := &Task{Kind: TaskKind(kind), Connector: connector, Name: name}
	if err := t.check(); err != nil || t.String() != s {
		return nil, sallyport.E("read task", sallyport.Invalid, fmt.Sprintf("%.80q is no task", s),
			"write lease, lease:JOB, mlflow:CONNECTOR/RUN, kubernetes:CONNECTOR/NAMESPACE/JOB or ticket:CONNECTOR/TICKET")
	}
	return t, nil
}

func (t *Task) check() error {
	if t == nil {
		return nil
	}
	bad := sallyport.E("read task", sallyport.Invalid, "the task cannot be named", "write lease, lease:JOB, mlflow:CONNECTOR/RUN, kubernetes:CONNECTOR/NAMESPACE/JOB or ticket:CONNECTOR/TICKET")
	parts := strings.Split(t.Name, "/")
	want := 1
	switch t.Kind {
	case Lease:
		if t.Connector != "" || t.Name != "" && sallyport.CheckName("task", t.Name) != nil {
			return bad
		}
		return nil
	case Kubernetes:
		want = 2
	case MLflow, Ticket:
	default:
		return bad
	}
	if len(parts) != want || sallyport.CheckName("task", t.Connector) != nil {
		return bad
	}
	if slices.ContainsFunc(parts, func(p string) bool { return !segment(p) }) {
		return bad
	}
	return nil
}

// segment reports whether a part of a task's name is one, and leads nowhere else in an address.
func segment(p string) bool {
	odd := func(c rune) bool { return !strings.ContainsRune(segmentBytes, c) }
	return p != "" && p != "." && p != ".." && len(p) <= maxTask && !strings.ContainsFunc(p, odd)
}

func (g Grant) leased() bool { return g.Task != nil && g.Task.Kind == Lease }

// Renew keeps a grant that is bound to a lease alive, and begins it with the first renewal. Whoever holds it renews it, at
// least every LeaseFor; Conflict where it is over.
func (s *Service) Renew(ctx context.Context, id string, by sallyport.PrincipalID) (Grant, error) {
	const op = "renew grant"
	g, err := s.Store.Get(ctx, id)
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return Grant{}, err
	}
	if err != nil || g.Principal != by || !g.leased() {
		return Grant{}, sallyport.E(op, sallyport.NotFound, "you have no such grant that is renewed", "run 'sallyport grants' to see them")
	}
	now := s.now()
	if !g.RevokedAt.IsZero() || !now.Before(g.Until) || g.Lapsed(now) {
		return Grant{}, sallyport.E(op, sallyport.Conflict, "the grant has ended", "ask again")
	}
	return s.Store.Touch(ctx, id, now)
}

// Lapsed reports whether a lease was begun and not renewed in time.
func (g Grant) Lapsed(now time.Time) bool {
	return g.leased() && !g.Seen.IsZero() && now.Sub(g.Seen) > LeaseFor
}
