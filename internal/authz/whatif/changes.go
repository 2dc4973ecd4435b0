package whatif

import (
	"context"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/authz/facts"
)

// A Change is one cell of the access matrix that differs between two policy sets.
type Change struct {
	Who      sallyport.PrincipalID
	Resource string
	Action   sallyport.Action
	From, To Cell
	Wider    bool // nearer to allowed than before
}

// mostChanges bounds a list of changes.
const mostChanges = 500

// nearness orders cells by how near they are to allowed.
func nearness(c Cell) int {
	return slices.Index([]Cell{Denied, OnHold, OnRequest, OnDevice, AfterStep, Allowed}, c)
}

// Changes compares what everybody could do on every resource under two snapshots that differ in their engine, for people
// proved by two factors at a time: the cells that differ, wider ones first, and how many more there are than are listed.
func Changes(ctx context.Context, old, next *facts.Snapshot, at time.Time) (list []Change, more int, err error) {
	resources := old.Catalog().All()
	if x, ok := old.Resolve(sallyport.Ref{Kind: sallyport.SystemKind}); ok {
		resources = append(slices.Clone(resources), x)
	}
	for _, m := range old.Sorted() {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		who := Asker{At: at, Principal: sallyport.Principal{ID: m.ID, Person: m.Person, Scope: Everything(), Assurance: sallyport.MultiFactor, AuthTime: at}}
		for _, x := range resources {
			before, err := Rights(old, who, x)
			if err != nil {
				return nil, 0, err
			}
			after, err := Rights(next, who, x)
			if err != nil {
				return nil, 0, err
			}
			for _, a := range ActionsOn(x.Kind) {
				if before[a] != after[a] {
					list = append(list, Change{m.ID, x.String(), a, before[a], after[a], nearness(after[a]) > nearness(before[a])})
				}
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Change) int {
		switch {
		case a.Wider == b.Wider:
			return 0
		case a.Wider:
			return -1
		}
		return 1
	})
	if len(list) > mostChanges {
		more, list = len(list)-mostChanges, list[:mostChanges]
	}
	return list, more, nil
}
