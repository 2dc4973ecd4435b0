// Package provision owns the records that upstream providers keep here (SCIM 2.0,
// RFC 7643): which user or group of which source each is, under an id that never
// changes and is never given again, and what the provider said of it.
//
// A record belongs to one source. No method finds a record of another: to a source
// they are not there. Records that were removed keep their row, so that neither
// their id nor the member or group that they were is ever another's.
//
// It leaves to identity/directory who may act and who is in a group, and the form
// of a record to web/scim.
package provision

import (
	"context"
	"encoding/base32"
	"fmt"
	"io"
	"strings"
	"time"

	"sallyport"
)

// The limits on what is kept.
const (
	MaxRecords = 100_000 // of one source
	MaxName    = 320     // bytes of a name, such as a userName
	MaxBody    = 256 << 10
)

// A Kind is what a record is.
type Kind string

// The kinds.
const (
	User  Kind = "User"
	Group Kind = "Group"
)

// A Record is a user or a group as its source keeps it.
type Record struct {
	ID       string // 26 characters
	Source   string // the source's name in the configuration
	Kind     Kind
	Name     string // the userName or displayName, as the source writes it; unique in the source, whatever its case
	Target   string // "user:ana" or "acme/risk-team": what it is in the directory; for ever
	External string // the source's own id, "" where it says none
	Body     []byte // what the source said, JSON
	Version  int64  // 1, 2, 3, …
	Created  time.Time
	Modified time.Time
	Gone     time.Time // zero while it is there
}

// key is the form of a name in which two are the same.
func key(name string) string { return strings.ToLower(name) }

// A Query selects the records of one source that are there.
type Query struct {
	Source string
	Kind   Kind
	// At most one of these: the record with an id, a name in any case, an external id.
	ID       string
	Name     string
	External string
}

// A Store keeps records. Every change is durable when the method returns. Methods
// are safe for concurrent use, from several nodes on one store.
type Store interface {
	// Insert adds a record under the form of its name in which two are the same. It answers Conflict where the source
	// has one of this kind and name already, or the target was ever used, and TooLarge at most records of the source.
	Insert(ctx context.Context, r Record, key string, most int) error
	// Records returns what a query selects, sorted by id. key is the form of Query.Name.
	Records(ctx context.Context, q Query, key string) ([]Record, error)
	// Update lets change alter name, external id, body, version, Modified and Gone of a record that is there, and
	// writes them. NotFound where the source has none of this id and kind; Conflict where another one has the name.
	Update(ctx context.Context, q Query, change func(*Record) (key string, err error)) (Record, error)
	// Forget drops a record that never came to be, with its target, where it still has this version.
	Forget(ctx context.Context, id string, version int64) error
	// Counts returns how many records each source has, by kind.
	Counts(ctx context.Context) (map[string]map[Kind]int, error)
}

// A Service keeps the records. Its fields are set before its first use.
type Service struct {
	Store  Store
	Now    func() time.Time
	Random io.Reader
}

// Add adds a record. Of r it takes Source, Kind, Name, Target, External and Body.
func (s *Service) Add(ctx context.Context, r Record) (Record, error) {
	if err := r.check("provision"); err != nil {
		return Record{}, err
	}
	var id [16]byte
	if _, err := io.ReadFull(s.Random, id[:]); err != nil {
		return Record{}, sallyport.Wrap("provision", sallyport.Unavailable, "no randomness", err)
	}
	r.ID = strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(id[:]))
	r.Version, r.Gone = 1, time.Time{}
	r.Created = s.now()
	r.Modified = r.Created
	return r, s.Store.Insert(ctx, r, key(r.Name), MaxRecords)
}

// Get returns a record of a source; NotFound where it has none of this id and kind.
func (s *Service) Get(ctx context.Context, source string, kind Kind, id string) (Record, error) {
	all, err := s.Find(ctx, Query{Source: source, Kind: kind, ID: id})
	if err == nil && (len(all) == 0 || id == "") {
		err = notFound(kind, id)
	}
	if err != nil {
		return Record{}, err
	}
	return all[0], nil
}

// Find returns what a query selects, sorted by id.
func (s *Service) Find(ctx context.Context, q Query) ([]Record, error) {
	return s.Store.Records(ctx, q, key(q.Name))
}

// Change lets change alter name, external id and body of a record. Where it does,
// the version goes on; with an error nothing is written. match is the version that
// the record must have, 0 for any: another is an error of reason "version".
func (s *Service) Change(ctx context.Context, r Record, match int64, change func(*Record) error) (Record, error) {
	return s.Store.Update(ctx, Query{Source: r.Source, Kind: r.Kind, ID: r.ID}, func(now *Record) (string, error) {
		if err := now.match(match); err != nil {
			return "", err
		}
		if err := change(now); err != nil {
			return "", err
		}
		now.Version++
		now.Modified = s.now()
		return key(now.Name), now.check("provision")
	})
}

// Remove ends a record. Its id and its target are never used again; its name may
// be, for another target.
func (s *Service) Remove(ctx context.Context, r Record, match int64) error {
	_, err := s.Store.Update(ctx, Query{Source: r.Source, Kind: r.Kind, ID: r.ID}, func(now *Record) (string, error) {
		if err := now.match(match); err != nil {
			return "", err
		}
		now.Gone, now.Body, now.External = s.now(), []byte("{}"), ""
		return "gone " + now.ID, nil
	})
	return err
}

// Forget drops a record that this caller added and whose member or group could not be made. One with which another went on
// stays.
func (s *Service) Forget(ctx context.Context, r Record) error {
	if r.Version != 1 {
		return nil
	}
	return s.Store.Forget(ctx, r.ID, r.Version)
}

func (r *Record) match(version int64) error {
	if version != 0 && version != r.Version {
		return sallyport.E("provision", sallyport.Conflict, fmt.Sprintf("the record has changed since: it is version %d", r.Version), "read it again").Because("version")
	}
	return nil
}

func (r *Record) check(op string) error {
	switch {
	case r.Kind != User && r.Kind != Group || r.Source == "" || r.Target == "":
		return sallyport.E(op, sallyport.Invalid, "the record is of no kind, no source or nobody", "")
	case r.Name == "" || len(r.Name) > MaxName || len(r.External) > MaxName:
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("a name has more than %d bytes or none", MaxName), "").Because("invalidValue")
	case len(r.Body) > MaxBody:
		return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("the record has more than %d bytes", MaxBody), "").Because("tooMany")
	}
	return nil
}

func notFound(kind Kind, id string) error {
	return sallyport.E("provision", sallyport.NotFound, fmt.Sprintf("there is no %s %.80q", kind, id), "")
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
