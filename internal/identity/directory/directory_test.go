package directory_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/identity/directory"
	"sallyport/internal/store/sqldb/sqldbtest"
)

// newService is a directory on a database of its own, with the groups and members of a small organisation.
func newService(t *testing.T) *directory.Service {
	t.Helper()
	db, err := sqldbtest.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	clock := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	s := &directory.Service{Store: db.Directory(), Now: func() time.Time { clock = clock.Add(time.Second); return clock }}
	for _, g := range []directory.Group{{Name: "acme/all"}, {Name: "acme/risk-team", Parents: []string{"acme/all"}}, {Name: "globex/all"}} {
		if err := s.DefineGroup(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	mustCreate(t, s, directory.Member{ID: "user:ana", Org: "acme", Display: "Ana Núñez", Email: "ana@acme.example", Groups: []string{"acme/risk-team"},
		Identities: []directory.Identity{{Issuer: "https://idp.example", Subject: "00u1"}}})
	return s
}

func mustCreate(t *testing.T, s *directory.Service, m directory.Member) directory.Member {
	t.Helper()
	made, err := s.Create(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func wantKind(t *testing.T, err error, want sallyport.Kind) {
	t.Helper()
	if err == nil || sallyport.KindOf(err) != want {
		t.Errorf("error = %v, want one of kind %v", err, want)
	}
}

func TestCreateAndFind(t *testing.T) {
	s := newService(t)
	byID, err := s.Get(t.Context(), "user:ana")
	if err != nil {
		t.Fatal(err)
	}
	if byID.State != directory.Active || byID.Person != "user:ana" || byID.Created.IsZero() || !slices.Equal(byID.Groups, []string{"acme/risk-team"}) {
		t.Errorf("created %+v", byID)
	}
	byIdentity, err := s.ByIdentity(t.Context(), "https://idp.example", "00u1")
	if err != nil || byIdentity.ID != "user:ana" {
		t.Errorf("ByIdentity = %v, %v", byIdentity.ID, err)
	}
	for _, other := range [][2]string{{"https://idp.example", "00U1"}, {"https://idp.example/", "00u1"}, {"", ""}, {"https://idp.example", "ana@acme.example"}} {
		_, err := s.ByIdentity(t.Context(), other[0], other[1])
		wantKind(t, err, sallyport.NotFound)
	}
	_, err = s.Get(t.Context(), "user:nobody")
	wantKind(t, err, sallyport.NotFound)
}

func TestPersonBehindAnIdentity(t *testing.T) {
	s := newService(t)
	second := mustCreate(t, s, directory.Member{ID: "user:ana-admin", Person: "user:ana", Org: "acme"})
	bot := mustCreate(t, s, trainer)
	if second.Person != "user:ana" || bot.Person != "user:ana" {
		t.Errorf("persons %s, %s, want user:ana", second.Person, bot.Person)
	}
	for name, m := range map[string]directory.Member{
		"a service without an owner":    {ID: "service:x", Org: "acme"},
		"a service that owns itself":    {ID: "service:x", Person: "service:x", Org: "acme"},
		"a service owned by a service":  {ID: "service:x", Person: "service:trainer", Org: "acme"},
		"a person who is not there":     {ID: "service:x", Person: "user:nobody", Org: "acme"},
		"a second account as a person":  {ID: "service:x", Person: "user:ana-admin", Org: "acme"},
		"an id that is no id":           {ID: "ana", Org: "acme"},
		"an id in upper case":           {ID: "user:Ana", Org: "acme"},
		"no organisation":               {ID: "user:x"},
		"a display name with a newline": {ID: "user:x", Org: "acme", Display: "a\nb"},
		"a long display name":           {ID: "user:x", Org: "acme", Display: strings.Repeat("é", 129)},
		"two addresses":                 {ID: "user:x", Org: "acme", Email: "a@b.example,c@d.example"},
		"an identity without a subject": {ID: "user:x", Org: "acme", Identities: []directory.Identity{{Issuer: "https://idp.example"}}},
		"one identity twice":            {ID: "user:x", Org: "acme", Identities: []directory.Identity{{Issuer: "i", Subject: "s"}, {Issuer: "i", Subject: "s"}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Create(t.Context(), m)
			wantKind(t, err, sallyport.Invalid)
		})
	}
}

// A name, or an upstream identity, that was ever used is never somebody else's.
func TestNamesAreNeverRecycled(t *testing.T) {
	s := newService(t)
	if err := s.SetState(t.Context(), "user:ana", directory.Removed); err != nil {
		t.Fatal(err)
	}
	_, err := s.Create(t.Context(), directory.Member{ID: "user:ana", Org: "acme"})
	wantKind(t, err, sallyport.Conflict)
	_, err = s.Create(t.Context(), directory.Member{ID: "user:new", Org: "acme", Identities: []directory.Identity{{Issuer: "https://idp.example", Subject: "00u1"}}})
	wantKind(t, err, sallyport.Conflict)
	if _, err := s.Get(t.Context(), "user:new"); sallyport.KindOf(err) != sallyport.NotFound {
		t.Errorf("half a member was created: %v", err)
	}
	wantKind(t, s.SetState(t.Context(), "user:ana", directory.Active), sallyport.Conflict)
	wantKind(t, s.AddGroup(t.Context(), "user:ana", "acme/all"), sallyport.Conflict)
	m, err := s.Get(t.Context(), "user:ana")
	if err != nil || m.State != directory.Removed || len(m.Groups) != 0 {
		t.Errorf("removed member = %+v, %v; want no groups", m, err)
	}
}

func TestStates(t *testing.T) {
	s := newService(t)
	for _, st := range []directory.State{directory.Suspended, directory.Active, directory.Suspended} {
		if err := s.SetState(t.Context(), "user:ana", st); err != nil {
			t.Fatal(err)
		}
		if m, _ := s.Get(t.Context(), "user:ana"); m.State != st || !m.Updated.After(m.Created) {
			t.Errorf("state %s, want %s", m.State, st)
		}
	}
	for _, st := range []directory.State{"", "ACTIVE", "gone"} {
		wantKind(t, s.SetState(t.Context(), "user:ana", st), sallyport.Invalid)
	}
	wantKind(t, s.SetState(t.Context(), "user:nobody", directory.Suspended), sallyport.NotFound)
}

func TestGroupMembership(t *testing.T) {
	s := newService(t)
	for range 2 { // the second time changes nothing
		if err := s.AddGroup(t.Context(), "user:ana", "acme/all"); err != nil {
			t.Fatal(err)
		}
	}
	if m, _ := s.Get(t.Context(), "user:ana"); !slices.Equal(m.Groups, []string{"acme/all", "acme/risk-team"}) {
		t.Errorf("groups %v", m.Groups)
	}
	wantKind(t, s.AddGroup(t.Context(), "user:ana", "acme/unknown"), sallyport.NotFound)
	wantKind(t, s.AddGroup(t.Context(), "user:ana", "globex/all"), sallyport.Invalid)
	for range 2 {
		if err := s.RemoveGroup(t.Context(), "user:ana", "acme/all"); err != nil {
			t.Fatal(err)
		}
	}
	if m, _ := s.Get(t.Context(), "user:ana"); !slices.Equal(m.Groups, []string{"acme/risk-team"}) {
		t.Errorf("groups %v", m.Groups)
	}
}

func TestGroupsFormNoCircleAndNoLongChain(t *testing.T) {
	s := newService(t)
	define := func(name string, parents ...string) error {
		return s.DefineGroup(t.Context(), directory.Group{Name: name, Parents: parents})
	}
	if err := define("acme/g1"); err != nil {
		t.Fatal(err)
	}
	for i := 2; i <= directory.MaxDepth; i++ {
		if err := define(fmt.Sprintf("acme/g%d", i), fmt.Sprintf("acme/g%d", i-1)); err != nil {
			t.Fatalf("a chain of %d groups: %v", i, err)
		}
	}
	wantKind(t, define("acme/g9", "acme/g8"), sallyport.Invalid)  // too long at the lower end
	wantKind(t, define("acme/g1", "acme/all"), sallyport.Invalid) // too long at the upper end
	wantKind(t, define("acme/g1", "acme/g8"), sallyport.Invalid)  // a circle
	wantKind(t, define("acme/g1", "acme/g1"), sallyport.Invalid)  // the smallest circle
	wantKind(t, define("acme/x", "acme/nowhere"), sallyport.NotFound)
	wantKind(t, define("acme/x", "globex/all"), sallyport.Invalid)
	wantKind(t, define("nothing"), sallyport.Invalid)
	wantKind(t, define("acme/Upper"), sallyport.Invalid)
	d, err := s.Dump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range d.Groups {
		if g.Name == "acme/g1" && len(g.Parents) != 0 {
			t.Errorf("a refused definition changed %v", g)
		}
	}
	// A lattice has many paths and is walked once.
	for layer := range 7 {
		var parents []string
		for i := range 10 {
			if layer > 0 {
				parents = append(parents, fmt.Sprintf("acme/l%d-%d", layer-1, i))
			}
		}
		for i := range 10 {
			if err := define(fmt.Sprintf("acme/l%d-%d", layer, i), parents...); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestDumpIsWhole(t *testing.T) {
	s := newService(t)
	mustCreate(t, s, trainer)
	d, err := s.Dump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ids, groups []string
	for _, m := range d.Members {
		ids = append(ids, string(m.ID))
		one, err := s.Get(t.Context(), m.ID)
		if err != nil || fmt.Sprint(one) != fmt.Sprint(m) {
			t.Errorf("dump has %v, Get %v, %v", m, one, err)
		}
	}
	for _, g := range d.Groups {
		groups = append(groups, g.Name+"<"+strings.Join(g.Parents, ","))
	}
	if !slices.Equal(ids, []string{"service:trainer", "user:ana"}) || !slices.Equal(groups, []string{"acme/all<", "acme/risk-team<acme/all", "globex/all<"}) {
		t.Errorf("dump: %v %v", ids, groups)
	}
	list, err := s.List(t.Context())
	if err != nil || len(list) != 2 {
		t.Errorf("List = %v, %v", list, err)
	}
}
