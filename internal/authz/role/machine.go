package role

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sallyport"
)

// A misplaced assignment gives a service or an agent what only people may have.
type misplaced struct {
	subject, role string
	scope         sallyport.Ref
	why           string
}

func (m misplaced) err() error {
	return sallyport.E("assign role", sallyport.Conflict, fmt.Sprintf("%s would have %s on %s, and %s", m.subject, m.role, m.scope, m.why),
		"give services a role for what they do, on what they do it with")
}

// noNewMachine refuses a change by which a service or an agent would hold a privileged role or one on the whole system,
// by itself or through a group.
func (j *judge) noNewMachine(before, after State) error {
	now, err := j.misplaced(after)
	if err != nil || len(now) == 0 {
		return err
	}
	old, err := j.misplaced(before)
	if err != nil {
		return err
	}
	for _, m := range now {
		if !slices.Contains(old, m) {
			return m.err()
		}
	}
	return nil
}

func (j *judge) misplaced(s State) ([]misplaced, error) {
	privileged := s.privileged()
	machines := map[string]bool{}
	var all []misplaced
	for _, a := range s.Assignments {
		why := j.notForMachines(a, privileged)
		if why == "" || !a.Active(j.now) {
			continue
		}
		is, known := machines[a.Subject]
		if !known {
			var err error
			if is, err = j.machine(j.ctx, a.Subject); err != nil {
				return nil, err
			}
			machines[a.Subject] = is
		}
		if is {
			all = append(all, misplaced{a.Subject, a.Role, a.Scope, why})
		}
	}
	return all, nil
}

// notForMachines says why only people may hold an assignment, or "".
func (s *Service) notForMachines(a Assignment, privileged map[string]bool) string {
	switch {
	case privileged[a.Role]:
		return "a privileged role is for people"
	case a.Scope.Kind == sallyport.SystemKind && !slices.Contains(s.OnSystem, a.Role):
		return "a role on the whole system is for people"
	}
	return ""
}

// privileged are the names of the roles that are privileged; check sees to it that those that inherit one say so.
func (s State) privileged() map[string]bool {
	names := map[string]bool{}
	for _, r := range s.Roles {
		names[r.Name] = r.Privileged
	}
	return names
}

// machine tells whether a subject is, or holds, a service or an agent.
func (s *Service) machine(ctx context.Context, subject string) (bool, error) {
	if !strings.HasPrefix(subject, "group:") {
		return sallyport.PrincipalID(subject).Kind() != sallyport.User, nil
	}
	if s.Machines == nil {
		return false, nil
	}
	is, err := s.Machines(ctx, subject)
	if sallyport.KindOf(err) == sallyport.NotFound { // a group that is gone has nobody
		return false, nil
	}
	return is, err
}

// CheckJoining refuses when a service or an agent that joins one of these groups, given with all that contain them,
// would hold what only people may. Whoever changes groups asks first.
func (s *Service) CheckJoining(ctx context.Context, id sallyport.PrincipalID, groups []string) error {
	if id.Kind() == sallyport.User || len(groups) == 0 {
		return nil
	}
	state, err := s.Store.Load(ctx)
	if err != nil {
		return err
	}
	privileged, now := state.privileged(), s.now()
	for _, a := range state.Assignments {
		group, ok := strings.CutPrefix(a.Subject, "group:")
		if why := s.notForMachines(a, privileged); ok && why != "" && a.Active(now) && slices.Contains(groups, group) {
			return misplaced{string(id), a.Role, a.Scope, why}.err()
		}
	}
	return nil
}
