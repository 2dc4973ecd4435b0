package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport"
)

// AddVersion adds v to its model, as the version after the newest, and points
// alias at it unless that is "". Number, Created and Retired are set here; a new
// version stands in development. An alias that moves is a promotion, which this
// is not: it may be new, or move on from a version that is in development too.
// Adding the same ID again returns the version that stands.
func (s *Service) AddVersion(ctx context.Context, v Version, alias string) (Version, error) {
	const op = "add version"
	v.Number, v.Retired, v.Environment = "", false, sallyport.Development
	v.Created = s.Clock().UTC().Truncate(time.Microsecond)
	if err := checkVersion(op, v); err != nil {
		return Version{}, err
	}
	if alias != "" {
		if err := checkAlias(op, alias); err != nil {
			return Version{}, err
		}
	}
	return s.Store.AddVersion(ctx, v, alias, func(m Model, aliased *Version) error {
		if v.Class != "" && rank(v.Class) < rank(class(m.Class)) {
			return laxer(op, m)
		}
		if aliased != nil && !aliased.Retired && aliased.Environment != sallyport.Development {
			return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s means %s, which is in %s", alias, aliased.Number, aliased.Environment),
				"commit without an alias, then promote the new version")
		}
		return tooMany(op, m, alias)
	})
}

func tooMany(op string, m Model, alias string) error {
	if _, ok := m.Aliases[alias]; ok || alias == "" || len(m.Aliases) < MaxAliases {
		return nil
	}
	return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("%s/%s has %d aliases", m.Org, m.Name, MaxAliases), "remove one first")
}

func laxer(op string, m Model) error {
	return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("a version of %s/%s cannot be less than %s, as the model is", m.Org, m.Name, class(m.Class)),
		"leave its class empty to follow the model's")
}

func checkVersion(op string, v Version) error {
	bad := ""
	switch {
	case len(v.ID) != idLength || strings.Trim(v.ID, "abcdefghijklmnopqrstuvwxyz234567") != "":
		bad = "id"
	case len(v.Files) == 0 || len(v.Files) > MaxFiles:
		bad = "number of files"
	case len(v.Lineage) > MaxLineage:
		bad = "number of origins"
	case len(v.Makers) > MaxOwners:
		bad = "number of makers"
	}
	for _, id := range append([]sallyport.PrincipalID{v.TrainedBy}, v.Makers...) {
		if parsed, err := sallyport.ParsePrincipalID(string(id)); id != "" && (err != nil || parsed != id) {
			bad = "maker"
		}
	}
	if slices.ContainsFunc(v.Lineage, func(o Origin) bool {
		return o.Kind == "" || o.Ref == "" || max(len(o.Kind), len(o.Ref), len(o.Digest)) > maxRef
	}) {
		bad = "origin"
	}
	digests := []string{v.Digest, v.Manifest}
	for _, f := range v.Files {
		if f.Path == "" || f.Size < 0 || f.Kind == "" {
			bad = "file"
		}
		digests = append(digests, f.Blob)
	}
	if bad != "" {
		return sallyport.E(op, sallyport.Invalid, "the "+bad+" of the version cannot be kept", "")
	}
	for _, d := range digests {
		if _, err := sallyport.ParseDigest(op, d); err != nil {
			return err
		}
	}
	_, err := sallyport.ParseClass(string(v.Class))
	return err
}

// A VersionChange says what to change about a version; nil and false leave as is.
type VersionChange struct {
	Environment *sallyport.Environment // the one it stands in, or the next
	Class       *sallyport.Class       // "" follows the model; never less strict than it was
	Retired     bool                   // for ever
}

// UpdateVersion changes a version. A class may be raised here; Relabel lowers it.
func (s *Service) UpdateVersion(ctx context.Context, org, model, number string, c VersionChange) (Version, error) {
	return s.updateVersion(ctx, sallyport.Ref{Kind: sallyport.ModelKind, Org: org, Name: model, Revision: number}, c, nil)
}

func (s *Service) updateVersion(ctx context.Context, ref sallyport.Ref, c VersionChange, relabel func(own, will sallyport.Class) error) (Version, error) {
	const op = "update version"
	if c.Environment != nil {
		if _, err := sallyport.ParseEnvironment(string(*c.Environment)); err != nil {
			return Version{}, err
		}
	}
	if c.Class != nil {
		if _, err := sallyport.ParseClass(string(*c.Class)); err != nil {
			return Version{}, err
		}
	}
	return s.Store.UpdateVersion(ctx, ref.Org, ref.Name, ref.Revision, func(m Model, v *Version) error {
		if v.Retired {
			return sallyport.E(op, sallyport.Conflict, ref.String()+" is retired", "push it again")
		}
		if c.Class != nil {
			was, will := stricter(class(m.Class), v.Class), stricter(class(m.Class), *c.Class)
			switch {
			case *c.Class != "" && rank(*c.Class) < rank(class(m.Class)):
				return laxer(op, m)
			case relabel != nil:
				if err := relabel(was, will); err != nil {
					return err
				}
			case rank(will) < rank(was):
				return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s is %s, and this would make it %s", ref, was, will),
					"change its label, which takes the right label.change")
			}
			v.Class = *c.Class
		}
		if c.Environment != nil {
			if err := step(op, ref, v.Environment, *c.Environment); err != nil {
				return err
			}
			v.Environment = *c.Environment
		}
		v.Retired = c.Retired
		return nil
	})
}

// step refuses every way of a version but the one: from development to staging, from
// there to production, the same digest all the way. What should not stand where it does
// is retired, or replaced by moving an alias.
func step(op string, ref sallyport.Ref, from, to sallyport.Environment) error {
	way := []sallyport.Environment{sallyport.Development, sallyport.Staging, sallyport.Production}
	at, next := slices.Index(way, from), slices.Index(way, to)
	if at == next || at >= 0 && next == at+1 {
		return nil
	}
	hint := "the last environment is production; roll back by moving an alias"
	if at >= 0 && at+1 < len(way) {
		hint = "promote it to " + string(way[at+1]) + " first"
	}
	return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s stands in %s and does not go to %s from there", ref, from, to), hint)
}

// SetAlias points a model's alias at one of its versions; number "" removes it.
// Moving an alias is a promotion: the caller has asked whether it may be.
func (s *Service) SetAlias(ctx context.Context, org, model, alias, number string) error {
	const op = "set alias"
	if err := checkAlias(op, alias); err != nil {
		return err
	}
	ref := sallyport.Ref{Kind: sallyport.ModelKind, Org: org, Name: model, Revision: alias}
	return s.Store.SetAlias(ctx, ref, number, func(m Model, v *Version) error {
		if v != nil && v.Retired {
			return sallyport.E(op, sallyport.Conflict, fmt.Sprintf("%s/%s@%s is retired", org, model, number), "name another version")
		}
		if v == nil {
			return nil
		}
		return tooMany(op, m, alias)
	})
}
