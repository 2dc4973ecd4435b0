package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport"
	"sallyport/internal/artifact/catalog"
	"sallyport/internal/store/sqldb"
)

func newCatalog(t *testing.T, db *sqldb.DB, clock *turnedClock) *catalog.Service {
	t.Helper()
	s := &catalog.Service{Store: db.Catalog(), Clock: clock.Now}
	for _, item := range []catalog.Item{
		{Org: &catalog.Org{Name: "acme"}}, {Project: &catalog.Project{Org: "acme", Name: "risk"}},
		{Model: &catalog.Model{Org: "acme", Name: "fraud", Project: "risk", Class: sallyport.Internal, Owners: []sallyport.PrincipalID{"user:ana", "service:bot"}}},
	} {
		must(t, s.Put(t.Context(), item))
	}
	return s
}

// aVersion is the n-th version of acme/fraud to add.
func aVersion(n int) catalog.Version {
	digest := func(c string) string { return strings.Repeat(c, 60) + fmt.Sprintf("%04x", n) }
	id := strings.Repeat("a", 23) + strings.NewReplacer("0", "a", "1", "b", "8", "c", "9", "d").Replace(fmt.Sprintf("%03d", n))
	return catalog.Version{
		ID: id, Org: "acme", Model: "fraud", Digest: digest("d"), Manifest: digest("e"), PushedBy: "user:ana",
		Lineage: []catalog.Origin{{Kind: "base", Ref: "acme/base@v1", Digest: digest("b")}},
		Files: []catalog.File{{Path: "config.json", Size: 2, Kind: "config", Blob: digest("c")},
			{Path: "model.safetensors", Size: 1 << 40, Kind: "weights", Blob: digest("f")}},
	}
}

func TestCatalog(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, clock := open(), newTurnedClock()
		before, err := db.Latest(t.Context())
		must(t, err)
		s := newCatalog(t, db, clock)
		wantChange(t, db, before, sqldb.Catalog)
		began := clock.Now()
		clock.turn(time.Hour)
		for _, item := range []catalog.Item{
			{Dataset: &catalog.Dataset{Org: "acme", Name: "claims", Owners: []sallyport.PrincipalID{"user:ana"}}},
			{Endpoint: &catalog.Endpoint{Org: "acme", Name: "chat", Project: "risk", Model: "fraud", Class: sallyport.Public, Environment: sallyport.Staging}},
			{Org: &catalog.Org{Name: "acme"}}, {Project: &catalog.Project{Org: "acme", Name: "risk"}},
			{Model: &catalog.Model{Org: "acme", Name: "fraud", Class: sallyport.Restricted, Owners: []sallyport.PrincipalID{"user:bob"}}},
		} {
			must(t, s.Put(t.Context(), item))
		}
		before, err = db.Latest(t.Context())
		must(t, err)
		v, err := s.AddVersion(t.Context(), aVersion(1), "main")
		must(t, err)
		wantChange(t, db, before, sqldb.Catalog)
		want := aVersion(1)
		want.Number, want.Environment, want.Created = "v1", sallyport.Development, clock.Now()
		if diff := cmp.Diff(want, v); diff != "" {
			t.Errorf("AddVersion (-want +got):\n%s", diff)
		}
		want.Files = nil
		got, err := s.Dump(t.Context())
		must(t, err)
		now := clock.Now()
		if diff := cmp.Diff(catalog.Dump{
			Orgs: []catalog.Org{{Name: "acme", Created: began}}, Projects: []catalog.Project{{Org: "acme", Name: "risk", Created: began}},
			Models: []catalog.Model{{Org: "acme", Name: "fraud", Class: sallyport.Restricted, Owners: []sallyport.PrincipalID{"user:bob"},
				Aliases: map[string]string{"main": "v1"}, Created: began}},
			Versions:  []catalog.Version{want},
			Datasets:  []catalog.Dataset{{Org: "acme", Name: "claims", Owners: []sallyport.PrincipalID{"user:ana"}, Created: now}},
			Endpoints: []catalog.Endpoint{{Org: "acme", Name: "chat", Project: "risk", Model: "fraud", Class: sallyport.Public, Environment: sallyport.Staging, Created: now}},
		}, got); diff != "" {
			t.Errorf("Dump (-want +got):\n%s", diff)
		}
		files, err := s.Files(t.Context(), v.Digest)
		if diff := cmp.Diff(aVersion(1).Files, files); diff != "" || err != nil {
			t.Errorf("Files (-want +got): %v\n%s", err, diff)
		}
		_, err = s.Files(t.Context(), strings.Repeat("0", 64))
		wantKind(t, "Files of no version", err, sallyport.NotFound)
		x := catalog.NewIndex(got)
		if r, ok := x.Resolve(sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "fraud"}); !ok || r.Digest != v.Digest || r.Class != sallyport.Restricted {
			t.Errorf("Resolve = %+v, %t", r, ok)
		}
		if by, ok := x.VersionByID("acme", "fraud", v.ID); !ok || by.Number != "v1" {
			t.Errorf("VersionByID = %+v, %t", by, ok)
		}
	})
}

// TestCatalogRefuses: names, parents, owners, classes, several items or none.
func TestCatalogRefuses(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := newCatalog(t, open(), newTurnedClock())
		invalid, missing, conflict := sallyport.Invalid, sallyport.NotFound, sallyport.Conflict
		for _, test := range []struct {
			what string
			item catalog.Item
			want sallyport.Kind
		}{
			{"nothing", catalog.Item{}, invalid},
			{"two things", catalog.Item{Org: &catalog.Org{Name: "x"}, Project: &catalog.Project{Org: "x", Name: "y"}}, invalid},
			{"a bad organisation", catalog.Item{Org: &catalog.Org{Name: "Acme"}}, invalid},
			{"a bad project", catalog.Item{Project: &catalog.Project{Org: "acme", Name: "a/b"}}, invalid},
			{"a bad model", catalog.Item{Model: &catalog.Model{Org: "acme", Name: "é"}}, invalid},
			{"an owner without a kind", catalog.Item{Model: &catalog.Model{Org: "acme", Name: "x", Owners: []sallyport.PrincipalID{"ana"}}}, invalid},
			{"a crowd of owners", catalog.Item{Model: &catalog.Model{Org: "acme", Name: "x", Owners: make([]sallyport.PrincipalID, 65)}}, sallyport.TooLarge},
			{"a class of our own", catalog.Item{Dataset: &catalog.Dataset{Org: "acme", Name: "x", Class: "secret"}}, invalid},
			{"an environment of our own", catalog.Item{Endpoint: &catalog.Endpoint{Org: "acme", Name: "x", Environment: "prod"}}, invalid},
			{"a project of nobody", catalog.Item{Project: &catalog.Project{Org: "evil", Name: "x"}}, missing},
			{"a model of nobody", catalog.Item{Model: &catalog.Model{Org: "evil", Name: "x"}}, missing},
			{"a model in no project", catalog.Item{Model: &catalog.Model{Org: "acme", Name: "x", Project: "none"}}, missing},
			{"a dataset in no project", catalog.Item{Dataset: &catalog.Dataset{Org: "acme", Name: "x", Project: "none"}}, missing},
			{"an endpoint of no model", catalog.Item{Endpoint: &catalog.Endpoint{Org: "acme", Name: "x", Model: "none"}}, missing},
			{"a lower class", catalog.Item{Model: &catalog.Model{Org: "acme", Name: "fraud", Class: sallyport.Public}}, conflict},
		} {
			wantKind(t, test.what, s.Put(t.Context(), test.item), test.want)
		}
		d, err := s.Dump(t.Context())
		if err != nil || len(d.Orgs) != 1 || len(d.Models) != 1 || d.Models[0].Class != sallyport.Internal || len(d.Datasets)+len(d.Endpoints) != 0 {
			t.Errorf("after refusals the catalog is %+v, %v", d, err)
		}
	})
}

// TestLabels: a class rises by itself, falls only on purpose, and no class is restricted.
func TestLabels(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := newCatalog(t, open(), newTurnedClock())
		model := func(c sallyport.Class) catalog.Item {
			return catalog.Item{Model: &catalog.Model{Org: "acme", Name: "fraud", Project: "risk", Class: c}}
		}
		ref := sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "fraud"}
		must(t, s.Put(t.Context(), model("")))
		wantKind(t, "from unclassified to internal", s.Put(t.Context(), model(sallyport.Internal)), sallyport.Conflict)
		must(t, s.Relabel(t.Context(), ref, sallyport.Internal))
		v1, err := s.AddVersion(t.Context(), aVersion(1), "main")
		must(t, err)
		low := aVersion(2)
		low.Class = sallyport.Public
		_, err = s.AddVersion(t.Context(), low, "")
		wantKind(t, "a version below its model", err, sallyport.Conflict)
		restricted, internal, public, none := sallyport.Restricted, sallyport.Internal, sallyport.Public, sallyport.Class("")
		update := func(c *sallyport.Class) error {
			_, err := s.UpdateVersion(t.Context(), "acme", "fraud", v1.Number, catalog.VersionChange{Class: c})
			return err
		}
		must(t, update(&restricted))
		for _, c := range []*sallyport.Class{&internal, &public, &none} {
			wantKind(t, fmt.Sprintf("a version from restricted to %q", *c), update(c), sallyport.Conflict)
		}
		ref.Revision = v1.Number
		wantKind(t, "a version's label below its model", s.Relabel(t.Context(), ref, sallyport.Public), sallyport.Conflict)
		must(t, s.Relabel(t.Context(), ref, none))
		d, err := s.Dump(t.Context())
		if err != nil || d.Versions[0].Class != "" || d.Models[0].Project != "risk" {
			t.Errorf("Dump = %+v, %v", d, err)
		}
		wantKind(t, "a label of no model", s.Relabel(t.Context(), sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "none"}, internal), sallyport.NotFound)
		wantKind(t, "a label of an organisation", s.Relabel(t.Context(), sallyport.Ref{Kind: sallyport.OrganisationKind, Org: "acme"}, internal), sallyport.Invalid)
		wantKind(t, "a label of our own", s.Relabel(t.Context(), ref, "secret"), sallyport.Invalid)
	})
}

// TestParallelVersions: 30 at once on two nodes get the numbers 1 to 30, and the
// same ID twice is one version.
func TestParallelVersions(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		clock := newTurnedClock()
		nodes := []*catalog.Service{newCatalog(t, open(), clock), {Store: open().Catalog(), Clock: clock.Now}}
		var mu sync.Mutex
		var numbers []string
		together(60, func(i int) { // each ID on both nodes
			v, err := nodes[i%2].AddVersion(t.Context(), aVersion(i/2), "main")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			numbers = append(numbers, v.Number)
		})
		slices.Sort(numbers)
		var want []string
		for n := 1; n <= 30; n++ {
			want = append(want, fmt.Sprintf("v%d", n), fmt.Sprintf("v%d", n))
		}
		slices.Sort(want)
		if !slices.Equal(numbers, want) {
			t.Errorf("numbers %v", numbers)
		}
		d, err := nodes[0].Dump(t.Context())
		if err != nil || len(d.Versions) != 30 || d.Models[0].Aliases["main"] != "v30" {
			t.Errorf("%d versions, aliases %v, %v", len(d.Versions), d.Models[0].Aliases, err)
		}
	})
}

// TestAliases: what an alias may be called and where it may point.
func TestAliases(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := newCatalog(t, open(), newTurnedClock())
		v1, err := s.AddVersion(t.Context(), aVersion(1), "main")
		must(t, err)
		for _, alias := range []string{"v1", "v99", "", "Main", "a b", strings.Repeat("a", 40), strings.Repeat("0", 64)} {
			wantKind(t, fmt.Sprintf("the alias %q", alias), s.SetAlias(t.Context(), "acme", "fraud", alias, "v1"), sallyport.Invalid)
		}
		for _, number := range []string{"v2", "v0", "v-1", "1", "v01", "main", "v999999999999999999999"} {
			wantKind(t, "an alias for "+number, s.SetAlias(t.Context(), "acme", "fraud", "stable", number), sallyport.NotFound)
		}
		wantKind(t, "an alias of no model", s.SetAlias(t.Context(), "acme", "none", "stable", "v1"), sallyport.NotFound)
		must(t, s.SetAlias(t.Context(), "acme", "fraud", "stable", "v1"))
		must(t, s.SetAlias(t.Context(), "acme", "fraud", "v1-final", "v1"))
		must(t, s.SetAlias(t.Context(), "acme", "fraud", "v1-final", ""))
		staging, production := sallyport.Staging, sallyport.Production
		_, err = s.UpdateVersion(t.Context(), "acme", "fraud", v1.Number, catalog.VersionChange{Environment: &production})
		wantKind(t, "a version that skips staging", err, sallyport.Conflict)
		_, err = s.UpdateVersion(t.Context(), "acme", "fraud", v1.Number, catalog.VersionChange{Environment: &staging})
		must(t, err)
		v1, err = s.UpdateVersion(t.Context(), "acme", "fraud", v1.Number, catalog.VersionChange{Environment: &production})
		if err != nil || v1.Environment != sallyport.Production {
			t.Errorf("UpdateVersion = %+v, %v", v1, err)
		}
		// Pushing is no promotion: it does not move an alias off what was released.
		_, err = s.AddVersion(t.Context(), aVersion(2), "main")
		wantKind(t, "a push over a production alias", err, sallyport.Conflict)
		v2, err := s.AddVersion(t.Context(), aVersion(2), "next")
		must(t, err)
		must(t, s.SetAlias(t.Context(), "acme", "fraud", "main", v2.Number))
		d, err := s.Dump(t.Context())
		if diff := cmp.Diff(map[string]string{"main": "v2", "next": "v2", "stable": "v1"}, d.Models[0].Aliases); diff != "" || err != nil {
			t.Errorf("aliases (-want +got): %v\n%s", err, diff)
		}
	})
}

// TestRetiredForEver: a retired version resolves no more, comes not back, and its
// number is not given again.
func TestRetiredForEver(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		s := newCatalog(t, open(), newTurnedClock())
		v1, err := s.AddVersion(t.Context(), aVersion(1), "main")
		must(t, err)
		blobs, err := s.Blobs(t.Context())
		if err != nil || len(blobs) != 3 {
			t.Errorf("Blobs = %v, %v, want two files and a manifest", blobs, err)
		}
		_, err = s.UpdateVersion(t.Context(), "acme", "fraud", v1.Number, catalog.VersionChange{Retired: true})
		must(t, err)
		_, err = s.UpdateVersion(t.Context(), "acme", "fraud", v1.Number, catalog.VersionChange{})
		wantKind(t, "a change of a retired version", err, sallyport.Conflict)
		wantKind(t, "an alias for a retired version", s.SetAlias(t.Context(), "acme", "fraud", "x", v1.Number), sallyport.Conflict)
		if blobs, err = s.Blobs(t.Context()); err != nil || len(blobs) != 0 {
			t.Errorf("Blobs = %v, %v, want none", blobs, err)
		}
		d, err := s.Dump(t.Context())
		must(t, err)
		for _, revision := range []string{"main", "v1", v1.Digest, "sha256:" + v1.Digest, catalog.Commit(v1.Digest)} {
			if r, ok := catalog.NewIndex(d).Resolve(sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "fraud", Revision: revision}); ok {
				t.Errorf("%s resolves to %v", revision, r)
			}
		}
		v2, err := s.AddVersion(t.Context(), aVersion(2), "main")
		if err != nil || v2.Number != "v2" {
			t.Errorf("the version after a retired one = %s, %v", v2.Number, err)
		}
		_, err = s.UpdateVersion(t.Context(), "acme", "fraud", "v3", catalog.VersionChange{})
		wantKind(t, "a change of no version", err, sallyport.NotFound)
		_, err = s.UpdateVersion(t.Context(), "acme", "none", "v1", catalog.VersionChange{})
		wantKind(t, "a change of no model's version", err, sallyport.NotFound)
	})
}

// TestVersionsAreChecked: nothing malformed gets in, and an error leaves nothing.
func TestVersionsAreChecked(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		s := newCatalog(t, db, newTurnedClock())
		for what, spoil := range map[string]func(*catalog.Version){
			"no id":             func(v *catalog.Version) { v.ID = "" },
			"an id of our own":  func(v *catalog.Version) { v.ID = strings.Repeat("A", 26) },
			"no digest":         func(v *catalog.Version) { v.Digest = "" },
			"no manifest":       func(v *catalog.Version) { v.Manifest = "x" },
			"no files":          func(v *catalog.Version) { v.Files = nil },
			"a file nowhere":    func(v *catalog.Version) { v.Files[0].Blob = "" },
			"a negative size":   func(v *catalog.Version) { v.Files[0].Size = -1 },
			"a file of no kind": func(v *catalog.Version) { v.Files[0].Kind = "" },
			"a nameless origin": func(v *catalog.Version) { v.Lineage = []catalog.Origin{{Kind: "base"}} },
			"a class":           func(v *catalog.Version) { v.Class = "secret" },
		} {
			v := aVersion(1)
			spoil(&v)
			_, err := s.AddVersion(t.Context(), v, "main")
			wantKind(t, what, err, sallyport.Invalid)
		}
		none := aVersion(1)
		none.Model = "none"
		_, err := s.AddVersion(t.Context(), none, "")
		wantKind(t, "a version of no model", err, sallyport.NotFound)
		twice := aVersion(1)
		twice.Files[1].Path = twice.Files[0].Path
		_, err = s.AddVersion(t.Context(), twice, "main")
		wantKind(t, "two files of one name", err, sallyport.Conflict)
		planned := errors.New("planned")
		_, err = db.Catalog().AddVersion(t.Context(), aVersion(1), "main", func(catalog.Model, *catalog.Version) error { return planned })
		if err == nil {
			t.Error("an error of check was ignored")
		}
		d, err := s.Dump(t.Context())
		if err != nil || len(d.Versions) != 0 || len(d.Models[0].Aliases) != 0 {
			t.Errorf("after refusals: %+v, %v", d, err)
		}
		if files, err := db.Catalog().Files(t.Context(), twice.Digest); err == nil {
			t.Errorf("half a version is there: %v", files)
		}
	})
}

// TestCatalogAddTakesNothingOver: who may add to a project does not get hold of
// what another project has.
func TestCatalogAddTakesNothingOver(t *testing.T) {
	Run(t, func(t *testing.T, open func() *sqldb.DB) {
		db, clock := open(), newTurnedClock()
		s := newCatalog(t, db, clock)
		before, err := s.Dump(t.Context())
		must(t, err)
		must(t, s.Add(t.Context(), catalog.Item{Project: &catalog.Project{Org: "acme", Name: "other"}}))
		for _, item := range []catalog.Item{
			{Org: &catalog.Org{Name: "acme"}}, {Project: &catalog.Project{Org: "acme", Name: "risk"}},
			{Model: &catalog.Model{Org: "acme", Name: "fraud", Project: "other", Class: sallyport.Restricted, Owners: []sallyport.PrincipalID{"user:eve"}}},
		} {
			if err := s.Add(t.Context(), item); sallyport.KindOf(err) != sallyport.Conflict {
				t.Errorf("adding what is there: %v", err)
			}
		}
		after, err := s.Dump(t.Context())
		must(t, err)
		if diff := cmp.Diff(before.Models, after.Models); diff != "" {
			t.Error(diff)
		}
	})
}
