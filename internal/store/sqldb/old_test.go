package sqldb_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sallyport/internal/identity/directory"
	"sallyport/internal/store/sqldb"
	"sallyport/internal/store/storetest"
)

// TestAnOldDatabaseOpens: what an older program wrote is there under this one. A group is whose provider keeps it, unless it
// was given up; nothing that was lifted is on probation, and nobody has signed a proposal or an epoch.
func TestAnOldDatabaseOpens(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { opensOld(t, "sqlite:"+filepath.Join(t.TempDir(), "store.db")) })
	t.Run("postgres", func(t *testing.T) { opensOld(t, storetest.Postgres(t)) })
}

func opensOld(t *testing.T, dsn string) {
	t.Helper()
	must(t, sqldb.MakeOld(t.Context(), dsn, 104, `
		INSERT INTO member_group (name, guests) VALUES ('acme/given-up', 0), ('acme/house', 1), ('acme/theirs', 0)`, `
		INSERT INTO provisioned (id, source, kind, name, name_key, target, external, body, version, created, modified, gone) VALUES
			('P-1', 'hr', 'Group', 'Theirs', 'theirs', 'acme/theirs', 'x', '{}', 1, 1, 1, 0),
			('P-2', 'hr', 'Group', 'Given up', 'given up', 'acme/given-up', 'x', '{}', 1, 1, 1, 2),
			('P-3', 'hr', 'User', 'house', 'house', 'acme/house', 'x', '{}', 1, 1, 1, 0)`, `
		INSERT INTO hold (id, target, kind, why, by_whom, by_person, held, at, lifted_at, lifted_by, lifted_person, lift_reason) VALUES
			('H-1', 'acme/fraud', 'resource', 'odd', 'user:ana', 'user:ana', '', 5, 9, 'user:rita', 'user:rita', 'fine')`, `
		INSERT INTO policy_set (version, source, by_whom, why, activated) VALUES ('sha256:aa', '{}', 'user:ana', 'first', 5)`, `
		INSERT INTO policy_epoch (number, version, before, kind, request, hash, signed, by_whom, why, at, seal) VALUES
			(1, 'sha256:aa', '', 'approved', 'R-1', 'sha256:bb', 1, 'user:ana', 'first', 5, 'seal')`, `
		INSERT INTO policy_proposal (request, version, base, source, by_whom, why, origin, repository, at) VALUES
			('R-1', 'sha256:aa', '', '{}', 'user:ana', 'first', '', '', 5)`))
	db, err := sqldb.Open(t.Context(), dsn)
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	d, err := db.Directory().Dump(t.Context())
	must(t, err)
	want := []directory.Group{{Name: "acme/given-up"}, {Name: "acme/house", Guests: true}, {Name: "acme/theirs", Source: "hr", External: "P-1"}}
	if !slices.EqualFunc(d.Groups, want, func(a, b directory.Group) bool {
		return a.Name == b.Name && a.Guests == b.Guests && a.Source == b.Source && a.External == b.External
	}) {
		t.Errorf("the groups are %+v", d.Groups)
	}
	holds, err := db.Hold().List(t.Context(), "", 9)
	must(t, err)
	if len(holds) != 1 || holds[0].LiftReason != "fine" || !holds[0].Probation.IsZero() || holds[0].ProbationBy != "" {
		t.Errorf("the holds are %+v", holds)
	}
	if on, err := db.Hold().Probation(t.Context(), time.UnixMicro(1), 9); err != nil || len(on) != 0 {
		t.Errorf("on probation are %+v, %v", on, err)
	}
	epochs, err := db.Policy().Epochs(t.Context(), 9)
	must(t, err)
	if len(epochs) != 1 || !epochs[0].Signed || epochs[0].Authored {
		t.Errorf("the epochs are %+v", epochs)
	}
	p, err := db.Proposals().Get(t.Context(), "R-1")
	must(t, err)
	if p.Author != nil || p.Why != "first" {
		t.Errorf("the proposal is %+v", p)
	}
	if c, err := db.Catalog().Dump(t.Context()); err != nil || len(c.Charters) != 0 {
		t.Errorf("the catalog is %+v, %v", c, err)
	}
}
