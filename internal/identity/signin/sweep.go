package signin

import (
	"context"
	"fmt"
	"slices"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/federation"
)

// A mass of leavers in one sweep is rather a wrong search base, or a directory that is being rebuilt.
const (
	fewLeavers = 5 // always believed
	mostOf     = 4 // of more, at most every fourth
)

// A Lookup asks a provider about its subjects. Who is missing in the answer has left, or was disabled there; when the provider
// cannot say, it is an error.
type Lookup func(ctx context.Context, subjects []string) (map[string]federation.Assertion, error)

// A Leaver ends everything that somebody has here.
type Leaver func(ctx context.Context, id sallyport.PrincipalID, why string) error

// Sweep asks a provider about all its people who are active here: whoever is gone there leaves, whoever changed groups there
// changes them here. It returns who left. Too many at once leave nobody, and raise an alarm.
func (s *Service) Sweep(ctx context.Context, provider string, look Lookup, leave Leaver) ([]sallyport.PrincipalID, error) {
	p, err := s.Federation.Provider(provider)
	if err != nil {
		return nil, err
	}
	members, subjects, err := s.linked(ctx, p.Issuer)
	if err != nil || len(members) == 0 {
		return nil, err
	}
	there, err := look(ctx, subjects)
	if err != nil {
		return nil, err
	}
	var gone []sallyport.PrincipalID
	for i, m := range members {
		found, ok := there[subjects[i]]
		if !ok {
			gone = append(gone, m.ID)
			continue
		}
		if err := s.moved(ctx, p, m, found); err != nil {
			return nil, err
		}
	}
	slices.Sort(gone)
	if gone = slices.Compact(gone); len(gone) > fewLeavers && len(gone)*mostOf > len(members) {
		return nil, s.tooMany(ctx, p, len(gone), len(members))
	}
	for i, id := range gone {
		if err := leave(ctx, id, "gone from "+p.Name); err != nil {
			return gone[:i], err
		}
	}
	return gone, nil
}

// linked returns the active members with an identity of an issuer, one entry for each identity.
func (s *Service) linked(ctx context.Context, issuer string) (members []directory.Member, subjects []string, err error) {
	all, err := s.Directory.List(ctx)
	for _, m := range all {
		for _, i := range m.Identities {
			if i.Issuer == issuer && m.State == directory.Active {
				members, subjects = append(members, m), append(subjects, i.Subject)
			}
		}
	}
	return members, subjects, err
}

// moved applies the rules to somebody who is still there. Rules that refuse them at sign-in change nothing here.
func (s *Service) moved(ctx context.Context, p federation.Provider, m directory.Member, found federation.Assertion) error {
	person, err := s.Federation.Proved(p, found)
	if sallyport.KindOf(err) == sallyport.Unknown {
		return nil
	}
	if err != nil {
		return err
	}
	return s.move(ctx, Client{}, m, person)
}

func (s *Service) tooMany(ctx context.Context, p federation.Provider, gone, of int) error {
	text := fmt.Sprintf("%d of %d people are gone from %s at once", gone, of, p.Name)
	e := sallyport.Event{Type: sallyport.EventAlarm, At: s.Now().UnixMicro(), Detail: map[string]string{"what": text, "idp": p.Name}}
	if err := s.Note(ctx, e); err != nil {
		return unrecorded(err)
	}
	return sallyport.E("sweep "+p.Name, sallyport.Conflict, text+", so nobody was taken for a leaver", "check the search base; let single people leave with 'sallyport user suspend'")
}
