// Package usage owns the distance between what somebody may do and what they did (least privilege over time, NIST SP
// 800-53 AC-6(7)): which rights were used, which were not, and the smaller right that would have been enough.
//
// It reads the index of the log and the facts of today, changes nothing, and leaves it to people to act on what it says.
package usage

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/audit/history"
	"sallyport/internal/authz/facts"
	"sallyport/internal/authz/role"
	"sallyport/internal/authz/whatif"
)

const (
	maxRows   = 100_000 // decisions that are looked at: more are not read, and the answer says so
	maxTexts  = 64      // resources that are named in a proposal
	maxNarrow = 8       // narrower scopes that are proposed in place of one
)

// A Right is one action on one resource; a version counts as its model.
type Right struct {
	Action   sallyport.Action
	Resource string
}

// A Use is a right that was used.
type Use struct {
	Right
	Times int
	Last  time.Time
}

// An Audit says what one member used of what it may do.
type Audit struct {
	Who      sallyport.PrincipalID
	Since    time.Time
	Complete bool    // every decision since then was looked at
	Used     []Use   // permitted and done, the most used first
	Unused   []Right // allowed by today's policy and not used
	Advice   []Advice
	Policy   string // the least that would have been enough, as Cedar; "" when nothing was used
}

// Advice is what to do about one assignment of a role.
type Advice struct {
	Assignment role.Assignment
	Unused     bool     // nothing in its scope was used
	Narrower   []string // scopes that would have been enough; none = as it is
}

// A Finder searches the index of the log.
type Finder func(ctx context.Context, q history.Query) ([]history.Row, error)

// A Question is whom to look at, and over what time.
type Question struct {
	Who   sallyport.PrincipalID
	Since time.Time
	Now   time.Time
}

// Look compares what a member did since a time with what it may do now.
func Look(ctx context.Context, find Finder, snap *facts.Snapshot, q Question) (Audit, error) {
	who, now := q.Who, q.Now
	m, ok := snap.Member(who)
	if !ok {
		return Audit{}, sallyport.E("audit", sallyport.NotFound, "there is no "+string(who), "")
	}
	a := Audit{Who: who, Since: q.Since}
	uses, complete, err := read(ctx, find, who, q.Since)
	if err != nil {
		return a, err
	}
	a.Complete = complete
	asker := whatif.Asker{At: now, Principal: sallyport.Principal{
		ID: who, Person: m.Person, Scope: whatif.Everything(), Assurance: sallyport.SingleFactor, AuthTime: now}}
	places := map[string]sallyport.Resource{}
	for _, x := range append(snap.Catalog().All(), sallyport.Resource{Kind: sallyport.SystemKind}) {
		name := plain(x)
		places[name] = x
		cells, err := whatif.Rights(snap, asker, x)
		if err != nil {
			return a, err
		}
		for action, cell := range cells {
			if r := (Right{action, name}); cell == whatif.Allowed && uses[r].Times == 0 {
				a.Unused = append(a.Unused, r)
			}
		}
	}
	slices.SortFunc(a.Unused, compareRights)
	a.Used = slices.SortedFunc(maps.Values(uses), func(x, y Use) int {
		return cmp.Or(cmp.Compare(y.Times, x.Times), compareRights(x.Right, y.Right))
	})
	for _, held := range snap.Assignments(who) {
		if held.Active(now) {
			a.Advice = append(a.Advice, advise(held, a.Used, places))
		}
	}
	a.Policy = propose(who, a.Used, places)
	return a, nil
}

func compareRights(x, y Right) int {
	return cmp.Or(cmp.Compare(x.Resource, y.Resource), cmp.Compare(x.Action, y.Action))
}

// plain is the name of a resource, of a version that of its model.
func plain(x sallyport.Resource) string {
	if x.Kind == sallyport.VersionKind {
		x.Kind, x.Version, x.Digest = sallyport.ModelKind, "", ""
	}
	return x.String()
}

// read gathers what was permitted since a time, the newest first.
func read(ctx context.Context, find Finder, who sallyport.PrincipalID, since time.Time) (map[Right]Use, bool, error) {
	uses := map[Right]Use{}
	q := history.Query{Types: []sallyport.EventType{sallyport.EventDecided}, Who: who, Outcome: sallyport.Allow.String(), Since: since, Most: history.MaxRows}
	for read := 0; read < maxRows; read += history.MaxRows {
		rows, err := find(ctx, q)
		if err != nil {
			return nil, false, err
		}
		for _, row := range rows {
			name, _, _ := strings.Cut(row.On, "@") // the version
			r := Right{row.Action, name}
			u := uses[r]
			u.Right, u.Times = r, u.Times+1
			if row.At.After(u.Last) {
				u.Last = row.At
			}
			uses[r] = u
		}
		if len(rows) < history.MaxRows {
			return uses, true, nil
		}
		q.Before = rows[len(rows)-1].Seq
	}
	return uses, false, nil
}

// advise says what of an assignment's scope was used.
func advise(held role.Assignment, used []Use, places map[string]sallyport.Resource) Advice {
	a := Advice{Assignment: held}
	inside, all := map[string]bool{}, 0
	for _, u := range used {
		if x, ok := places[u.Resource]; ok && held.Scope.Covers(x) {
			inside[u.Resource] = true
		}
	}
	for _, x := range places {
		if held.Scope.Covers(x) {
			all++
		}
	}
	switch n := len(inside); {
	case n == 0:
		a.Unused = true
	case n <= maxNarrow && n < all && held.Scope.String() != slices.Sorted(maps.Keys(inside))[0]:
		a.Narrower = slices.Sorted(maps.Keys(inside))
	}
	return a
}

// propose writes policies that permit what was used and nothing else.
func propose(who sallyport.PrincipalID, used []Use, places map[string]sallyport.Resource) string {
	actions := map[string][]string{}
	for _, u := range used {
		if _, known := places[u.Resource]; known {
			actions[u.Resource] = append(actions[u.Resource], fmt.Sprintf("Action::%q", string(u.Action)))
		}
	}
	var b strings.Builder
	p := facts.PrincipalUID(who)
	for i, name := range slices.Sorted(maps.Keys(actions)) {
		if i == maxTexts {
			fmt.Fprintf(&b, "// and %d more resources\n", len(actions)-maxTexts)
			break
		}
		x := places[name]
		if x.Kind == sallyport.VersionKind {
			x.Kind = sallyport.ModelKind
		}
		on := facts.ResourceUID(x)
		slices.Sort(actions[name])
		fmt.Fprintf(&b, "@id(\"used.%s-%d\")\n@owner(\"security\")\n@requirement(\"ID-12\")\n@text(\"What %s was seen to use of %s.\")\n"+
			"permit (\n  principal == %s::%q,\n  action in [%s],\n  resource in %s::%q\n);\n",
			strings.NewReplacer("_", "-").Replace(who.Name()), i+1, who, name, p.Type, p.ID, strings.Join(actions[name], ", "), on.Type, on.ID)
	}
	return b.String()
}
