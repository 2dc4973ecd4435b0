package server

import (
	"context"
	"maps"
	"slices"

	"sallyport"
	"sallyport/internal/identity/directory"
)

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
