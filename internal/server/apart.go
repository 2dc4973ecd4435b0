package server

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"sallyport"
	"sallyport/internal/identity/directory"
)

// maxSeparate bounds the pairs of roles that are kept apart.
const maxSeparate = 200

// checkSeparate refuses pairs of roles that cannot be meant.
func checkSeparate(pairs [][2]string) error {
	const op = "configuration"
	if len(pairs) > maxSeparate {
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%d pairs of roles are kept apart", len(pairs)), fmt.Sprintf("keep %d", maxSeparate))
	}
	for _, p := range pairs {
		for _, name := range p {
			if err := sallyport.CheckName(op, name); err != nil {
				return err
			}
		}
		if p[0] == p[1] {
			return sallyport.E(op, sallyport.Invalid, "the role "+p[0]+" is to be kept apart from itself", "write pairs such as [operator, model-developer] in \"separate\"")
		}
	}
	return nil
}

// apart refuses a change of the directory, by whichever door it comes, that would give a person two roles which are kept
// apart, or a service or an agent what only people hold.
func (r *rooms) apart(ctx context.Context, before, after directory.Dump) error {
	was, will := before.Subjects(), after.Subjects()
	for _, person := range slices.Sorted(maps.Keys(will)) {
		if slices.Equal(was[person], will[person]) {
			continue
		}
		if err := r.roles.CheckMoving(ctx, person, was[person], will[person]); err != nil {
			return err
		}
	}
	groups := map[sallyport.PrincipalID][]string{}
	for _, m := range before.Members {
		if m.ID.Kind() != sallyport.User && len(m.Groups) > 0 {
			groups[m.ID] = before.Above(m.Groups)
		}
	}
	for _, m := range after.Members {
		if m.ID.Kind() == sallyport.User || len(m.Groups) == 0 {
			continue
		}
		joined := slices.DeleteFunc(after.Above(m.Groups), func(g string) bool { return slices.Contains(groups[m.ID], g) })
		if err := r.roles.CheckJoining(ctx, m.ID, joined); err != nil {
			return err
		}
	}
	return nil
}
