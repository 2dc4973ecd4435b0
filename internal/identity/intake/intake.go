// Package intake owns what the records of an upstream provider do to the directory:
// a user that is created joins, one that is disabled or deleted leaves, and a group
// has the members that the provider says.
//
// Who may act and who is in a group is the directory's to say; a provider's record
// has the rest, and what is shown to the provider is both together.
//
// It leaves the protocol (SCIM, RFC 7644) to web/scim, and who may do any of this
// to the guard.
package intake

import (
	"context"
	"strconv"

	"sallyport"
	"sallyport/internal/authz/role"
	"sallyport/internal/identity/directory"
	"sallyport/internal/identity/leaver"
	"sallyport/internal/identity/provision"
	"sallyport/internal/web/scim/resource"
)

// A Service carries out what sources say. Its fields are set before its first use
// and all needed; its methods are safe for concurrent use.
type Service struct {
	Records   *provision.Service
	Directory *directory.Service
	Roles     *role.Service
	Leaver    *leaver.Service
	// Places is the address below which records stand, such as "https://sally.acme.example/scim/v2".
	Places string
	// Note records an event, durably.
	Note func(ctx context.Context, e sallyport.Event) error
}

// An Order says for which source something is done, and by which permit.
type Order struct {
	Source   provision.Source
	By       sallyport.PrincipalID
	Decision string
}

// A Change makes a new record of the present one, which it must not change.
type Change func(now resource.Record) (resource.Record, error)

// Tag is the entity tag of a version of a record.
func Tag(version int64) string { return `W/"` + strconv.FormatInt(version, 10) + `"` }

// List returns what a query selects, each as its source sees it.
func (s *Service) List(ctx context.Context, q provision.Query) ([]resource.Record, error) {
	found, err := s.Records.Find(ctx, q)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	v, err := s.view(ctx, q.Source)
	if err != nil {
		return nil, err
	}
	all := make([]resource.Record, len(found))
	for i, r := range found {
		if all[i], err = v.record(r); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Get returns one record of a source as it sees it; NotFound where it has none.
func (s *Service) Get(ctx context.Context, source string, kind provision.Kind, id string) (resource.Record, error) {
	r, err := s.Records.Get(ctx, source, kind, id)
	if err != nil {
		return nil, err
	}
	v, err := s.view(ctx, source)
	if err != nil {
		return nil, err
	}
	return v.record(r)
}

func (s *Service) note(ctx context.Context, o Order, t sallyport.EventType, on string, detail map[string]string) error {
	detail["source"] = o.Source.Name
	return s.Note(ctx, sallyport.Event{Type: t, Who: o.By, Decision: o.Decision, On: on, Detail: detail})
}
