package role

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"sallyport"
)

// Closure returns a role and all that it inherits, sorted; a role that is not
// there inherits nothing.
func (s State) Closure(name string) []string {
	inherits := make(map[string][]string, len(s.Roles))
	for _, r := range s.Roles {
		inherits[r.Name] = r.Inherits
	}
	seen := map[string]bool{name: true}
	for queue := []string{name}; len(queue) > 0; queue = queue[1:] {
		for _, next := range inherits[queue[0]] {
			if !seen[next] {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	all := make([]string, 0, len(seen))
	for one := range seen {
		all = append(all, one)
	}
	slices.Sort(all)
	return all
}

// apply returns the state after a change, sorted like the old one.
func (s State) apply(c Change) State {
	after := State{slices.Clone(s.Roles), slices.Clone(s.Assignments)}
	if c.Define != nil {
		after.Roles = slices.DeleteFunc(after.Roles, func(r Role) bool { return r.Name == c.Define.Name })
		after.Roles = append(after.Roles, *c.Define)
		slices.SortFunc(after.Roles, func(a, b Role) int { return cmp.Compare(a.Name, b.Name) })
	}
	if c.Assign != nil {
		after.Assignments = append(after.Assignments, *c.Assign)
		slices.SortFunc(after.Assignments, func(a, b Assignment) int { return cmp.Compare(a.ID, b.ID) })
	}
	if c.Unassign != "" {
		after.Assignments = slices.DeleteFunc(after.Assignments, func(a Assignment) bool { return a.ID == c.Unassign })
	}
	return after
}

// check looks at sizes and at inheritance: of roles that exist, without circles,
// and never of a privileged role by one that is not.
func (s State) check() error {
	const op = "define role"
	if len(s.Roles) > MaxRoles || len(s.Assignments) > MaxAssignments {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("more than %d roles or %d assignments", MaxRoles, MaxAssignments), "assign roles to groups")
	}
	byName := make(map[string]Role, len(s.Roles))
	for _, r := range s.Roles {
		byName[r.Name] = r
	}
	for _, r := range s.Roles {
		for _, name := range r.Inherits {
			parent, found := byName[name]
			if !found {
				return sallyport.E(op, sallyport.NotFound, fmt.Sprintf("%s inherits %q, which is not defined", r.Name, name), "define that role first")
			}
			if slices.Contains(s.Closure(name), r.Name) {
				return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s and %s inherit each other", r.Name, name), "let one of them go first")
			}
			if emergency(name) && !emergency(r.Name) {
				return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s inherits %s, which is for emergencies", r.Name, name), "let its name begin with "+Emergency)
			}
			if parent.Privileged && !r.Privileged {
				return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s inherits the privileged role %s", r.Name, name), "mark it privileged too")
			}
		}
	}
	return nil
}

// A judge looks at states with one set of rules. It remembers who is behind a
// subject, so that two states are compared over the same people.
type judge struct {
	*Service
	ctx     context.Context // of the one update or question that the judge is made for
	now     time.Time
	leaving sallyport.PrincipalID // counts as gone; "" = nobody
	known   map[string][]sallyport.PrincipalID
}

func (s *Service) judge(ctx context.Context) *judge {
	return &judge{Service: s, ctx: ctx, now: s.now(), known: map[string][]sallyport.PrincipalID{}}
}

// people returns who is behind a subject; a subject that is gone has nobody.
func (j *judge) people(subject string) ([]sallyport.PrincipalID, error) {
	if people, known := j.known[subject]; known {
		return people, nil
	}
	people, err := j.People(j.ctx, subject)
	if err != nil && sallyport.KindOf(err) != sallyport.NotFound {
		return nil, err
	}
	people = slices.DeleteFunc(slices.Clone(people), func(p sallyport.PrincipalID) bool { return p == j.leaving })
	j.known[subject] = people
	return people, nil
}

// holders returns the people who have each of the roles asked about, with the
// roles that they inherit.
func (j *judge) holders(s State, about []string) (map[string]map[sallyport.PrincipalID]bool, error) {
	closures := map[string][]string{}
	holders := map[string]map[sallyport.PrincipalID]bool{}
	for _, a := range s.Assignments {
		if !a.Active(j.now) {
			continue
		}
		if closures[a.Role] == nil {
			closures[a.Role] = s.Closure(a.Role)
		}
		for _, name := range closures[a.Role] {
			if !slices.Contains(about, name) {
				continue
			}
			people, err := j.people(a.Subject)
			if err != nil {
				return nil, err
			}
			if holders[name] == nil {
				holders[name] = map[sallyport.PrincipalID]bool{}
			}
			for _, p := range people {
				holders[name][p] = true
			}
		}
	}
	return holders, nil
}

func (j *judge) violations(s State) ([]Violation, error) {
	var about []string
	for _, pair := range j.Conflicts {
		about = append(about, pair[0], pair[1])
	}
	holders, err := j.holders(s, about)
	if err != nil {
		return nil, err
	}
	var found []Violation
	for _, pair := range j.Conflicts {
		for person := range holders[pair[0]] {
			if holders[pair[1]][person] {
				found = append(found, Violation{person, pair})
			}
		}
	}
	slices.SortFunc(found, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Person, b.Person), slices.Compare(a.Roles[:], b.Roles[:]))
	})
	return found, nil
}

// noNewViolation also refuses a role that unites a conflict in itself, before anybody has it.
func (j *judge) noNewViolation(before, after State) error {
	const op = "separation of duties"
	for _, r := range after.Roles {
		closure := after.Closure(r.Name)
		for _, pair := range j.Conflicts {
			if slices.Contains(closure, pair[0]) && slices.Contains(closure, pair[1]) && !slices.ContainsFunc(before.Roles, r.same) {
				return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s would unite %s and %s", r.Name, pair[0], pair[1]), "leave one of them out")
			}
		}
	}
	old, err := j.violations(before)
	if err != nil {
		return err
	}
	now, err := j.violations(after)
	if err != nil {
		return err
	}
	for _, v := range now {
		if !slices.Contains(old, v) {
			return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s would have both %s and %s", v.Person, v.Roles[0], v.Roles[1]),
				"give one of the roles to somebody else")
		}
	}
	return nil
}

// CheckMoving refuses when a person who holds roles by after instead of by before, principal ids and "group:ORG/NAME",
// would come by two that conflict. Whoever changes groups, or who answers for an account, asks within the change.
func (s *Service) CheckMoving(ctx context.Context, person sallyport.PrincipalID, before, after []string) error {
	if len(s.Conflicts) == 0 {
		return nil
	}
	state, err := s.Store.Load(ctx)
	if err != nil {
		return err
	}
	was, will := state.held(before, s.now()), state.held(after, s.now())
	for _, pair := range s.Conflicts {
		if will[pair[0]] && will[pair[1]] && !(was[pair[0]] && was[pair[1]]) {
			return sallyport.E("separation of duties", sallyport.Conflict, fmt.Sprintf("%s would have both %s and %s", person, pair[0], pair[1]),
				"take one of the roles away first, or leave this to somebody else")
		}
	}
	return nil
}

// held are the roles that some subjects have at a time, with those that they inherit.
func (s State) held(subjects []string, now time.Time) map[string]bool {
	held := map[string]bool{}
	for _, a := range s.Assignments {
		if !a.Active(now) || held[a.Role] {
			continue
		}
		if _, ok := slices.BinarySearch(subjects, a.Subject); ok {
			for _, name := range s.Closure(a.Role) {
				held[name] = true
			}
		}
	}
	return held
}

// same compares what a role says.
func (r Role) same(old Role) bool {
	return r.Name == old.Name && slices.Equal(r.Inherits, old.Inherits)
}

// administered returns the resources with a person who is their administrator
// without an end: what ends by itself is no reason to let the last one go.
func (j *judge) administered(s State) (map[sallyport.Ref]bool, error) {
	found := map[sallyport.Ref]bool{}
	closures := map[string][]string{}
	for _, a := range s.Assignments {
		if found[a.Scope] || !a.Until.IsZero() {
			continue
		}
		if closures[a.Role] == nil {
			closures[a.Role] = s.Closure(a.Role)
		}
		if !slices.Contains(closures[a.Role], j.Administrator) {
			continue
		}
		people, err := j.people(a.Subject)
		if err != nil {
			return nil, err
		}
		if len(people) > 0 {
			found[a.Scope] = true
		}
	}
	return found, nil
}

func stillAdministered(before, after map[sallyport.Ref]bool) error {
	for scope := range before {
		if !after[scope] {
			return sallyport.E("unassign role", sallyport.Conflict, fmt.Sprintf("nobody would administer %s any more", scope), "make somebody else administrator first")
		}
	}
	return nil
}
