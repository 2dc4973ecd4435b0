package sqldb

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"sallyport"
	"sallyport/internal/artifact/catalog"
)

// Catalog returns the store of what is protected.
func (db *DB) Catalog() catalog.Store { return catalogStore{db} }

type catalogStore struct{ db *DB }

const (
	modelColumns    = "org, name, project, class, owners, created, purposes"
	versionColumns  = "id, org, model, number, digest, manifest, class, environment, pushed_by, created, lineage, retired, trained_by, makers"
	datasetColumns  = "org, name, project, class, owners, created, purposes, environment"
	endpointColumns = "org, name, project, model, class, environment, created"
)

// Dump implements [catalog.Store].
func (s catalogStore) Dump(ctx context.Context) (catalog.Dump, error) {
	var d catalog.Dump
	err := s.db.read(ctx, func(tx *sql.Tx) (err error) {
		if d.Orgs, err = queryAll(ctx, tx, scanOrg, "SELECT name, created FROM catalog_org ORDER BY name"); err != nil {
			return err
		}
		if d.Projects, err = queryAll(ctx, tx, scanProject, "SELECT org, name, created FROM catalog_project ORDER BY org, name"); err != nil {
			return err
		}
		if d.Models, err = readModels(ctx, tx, ""); err != nil {
			return err
		}
		if d.Versions, err = queryAll(ctx, tx, scanVersion, "SELECT "+versionColumns+" FROM catalog_version ORDER BY org, model, number"); err != nil {
			return err
		}
		if d.Datasets, err = queryAll(ctx, tx, scanDataset, "SELECT "+datasetColumns+" FROM catalog_dataset ORDER BY org, name"); err != nil {
			return err
		}
		if d.Endpoints, err = queryAll(ctx, tx, scanEndpoint, "SELECT "+endpointColumns+" FROM catalog_endpoint ORDER BY org, name"); err != nil {
			return err
		}
		d.Charters, err = queryAll(ctx, tx, scanCharter, "SELECT "+charterColumns+" FROM catalog_charter ORDER BY resource")
		return err
	})
	return d, err
}

// readModels reads the models of a condition with their aliases, sorted.
func readModels(ctx context.Context, q querier, where string, args ...any) ([]catalog.Model, error) {
	models, err := queryAll(ctx, q, scanModel, "SELECT "+modelColumns+" FROM catalog_model "+where+" ORDER BY org, name", args...)
	if err != nil {
		return nil, err
	}
	aliases, err := queryAll(ctx, q, scanStrings(4), "SELECT org, model, alias, number FROM catalog_alias "+strings.ReplaceAll(where, "name", "model"), args...)
	at := make(map[string]*catalog.Model, len(models))
	for i := range models {
		at[models[i].Org+"/"+models[i].Name] = &models[i]
	}
	for _, a := range aliases {
		if m := at[a[0]+"/"+a[1]]; m != nil {
			m.Aliases[a[2]] = "v" + a[3]
		}
	}
	return models, err
}

func getModel(ctx context.Context, q querier, org, name string) (catalog.Model, error) {
	models, err := readModels(ctx, q, "WHERE org = $1 AND name = $2", org, name)
	if err == nil && len(models) == 0 {
		err = sallyport.E("model", sallyport.NotFound, fmt.Sprintf("there is no model %.64s/%.64s", org, name), "")
	}
	if err != nil {
		return catalog.Model{}, err
	}
	return models[0], nil
}

// getVersion returns a version by its number, "v3".
func getVersion(ctx context.Context, q querier, org, model, number string) (catalog.Version, error) {
	n, err := fromNumber(number)
	if err != nil {
		return catalog.Version{}, err
	}
	v, err := queryOne(ctx, q, scanVersion, "SELECT "+versionColumns+" FROM catalog_version WHERE org = $1 AND model = $2 AND number = $3", org, model, n)
	if sallyport.KindOf(err) == sallyport.NotFound {
		err = noVersion(org, model, number)
	}
	return v, err
}

func noVersion(org, model, number string) error {
	return sallyport.E("version", sallyport.NotFound, fmt.Sprintf("there is no version %.64s/%.64s@%.64s", org, model, number), "")
}

// fromNumber reads "v3".
func fromNumber(number string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimPrefix(number, "v"), 10, 64)
	if err != nil || n <= 0 || number != toNumber(n) {
		return 0, sallyport.E("version", sallyport.NotFound, fmt.Sprintf("%.64q is no version's number", number), "write v1, v2, …")
	}
	return n, nil
}

func toNumber(n int64) string { return "v" + strconv.FormatInt(n, 10) }

// Files implements [catalog.Store].
func (s catalogStore) Files(ctx context.Context, digest string) ([]catalog.File, error) {
	files, err := queryAll(ctx, s.db.reader, scanFile,
		"SELECT f.path, f.size, f.kind, f.blob FROM catalog_file f JOIN catalog_version v ON v.id = f.version WHERE v.digest = $1 ORDER BY f.path", digest)
	if err == nil && len(files) == 0 { // a version has at least one file
		err = sallyport.E("files", sallyport.NotFound, "there is no version with this digest", "")
	}
	return files, err
}

// Blobs implements [catalog.Store].
func (s catalogStore) Blobs(ctx context.Context) ([]string, error) {
	return queryAll(ctx, s.db.reader, scanText, "SELECT manifest FROM catalog_version WHERE retired = 0"+
		" UNION SELECT f.blob FROM catalog_file f JOIN catalog_version v ON v.id = f.version WHERE v.retired = 0")
}

// Put implements [catalog.Store].
func (s catalogStore) Put(ctx context.Context, item catalog.Item, decide func(catalog.Standing) (catalog.Item, error)) error {
	return s.db.write(ctx, []Kind{Catalog}, func(tx *sql.Tx) error {
		now, err := standing(ctx, tx, item)
		if err != nil {
			return err
		}
		if item, err = decide(now); err != nil {
			return err
		}
		return writeItem(ctx, tx, item)
	})
}

// standing reads what there is under the item's name, and its parents.
func standing(ctx context.Context, tx *sql.Tx, item catalog.Item) (now catalog.Standing, err error) {
	var org, project, model string
	switch {
	case item.Org != nil:
		org = item.Org.Name
		now.Old.Org, err = old(ctx, tx, scanOrg, "SELECT name, created FROM catalog_org WHERE name = $1", org)
	case item.Project != nil:
		org = item.Project.Org
		now.Old.Project, err = old(ctx, tx, scanProject, "SELECT org, name, created FROM catalog_project WHERE org = $1 AND name = $2", org, item.Project.Name)
	case item.Model != nil:
		org, project = item.Model.Org, item.Model.Project
		now.Old.Model, err = old(ctx, tx, scanModel, "SELECT "+modelColumns+" FROM catalog_model WHERE org = $1 AND name = $2", org, item.Model.Name)
	case item.Dataset != nil:
		org, project = item.Dataset.Org, item.Dataset.Project
		now.Old.Dataset, err = old(ctx, tx, scanDataset, "SELECT "+datasetColumns+" FROM catalog_dataset WHERE org = $1 AND name = $2", org, item.Dataset.Name)
	case item.Endpoint != nil:
		org, project, model = item.Endpoint.Org, item.Endpoint.Project, item.Endpoint.Model
		now.Old.Endpoint, err = old(ctx, tx, scanEndpoint, "SELECT "+endpointColumns+" FROM catalog_endpoint WHERE org = $1 AND name = $2", org, item.Endpoint.Name)
	case item.Charter != nil:
		org = item.Charter.Ref.Org
		now.Old.Charter, err = old(ctx, tx, scanCharter, "SELECT "+charterColumns+" FROM catalog_charter WHERE resource = $1", item.Charter.Ref.String())
	}
	if err != nil {
		return now, err
	}
	counts, err := queryOne(ctx, tx, scanStrings(3), "SELECT (SELECT count(*) FROM catalog_org WHERE name = $1),"+
		" (SELECT count(*) FROM catalog_project WHERE org = $1 AND name = $2), (SELECT count(*) FROM catalog_model WHERE org = $1 AND name = $3)", org, project, model)
	if err != nil {
		return now, err
	}
	now.Org, now.Project, now.Model = counts[0] == "1", project == "" || counts[1] == "1", model == "" || counts[2] == "1"
	return now, nil
}

// old returns the first row, nil when there is none.
func old[T any](ctx context.Context, tx *sql.Tx, scan func(scanner) (T, error), query string, args ...any) (*T, error) {
	all, err := queryAll(ctx, tx, scan, query, args...)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

func writeItem(ctx context.Context, tx *sql.Tx, item catalog.Item) (err error) {
	switch {
	case item.Org != nil:
		_, err = exec(ctx, tx, "INSERT INTO catalog_org (name, created) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING", item.Org.Name, toMicros(item.Org.Created))
	case item.Project != nil:
		p := item.Project
		_, err = exec(ctx, tx, "INSERT INTO catalog_project (org, name, created) VALUES ($1, $2, $3) ON CONFLICT (org, name) DO NOTHING", p.Org, p.Name, toMicros(p.Created))
	case item.Model != nil:
		m := item.Model
		_, err = exec(ctx, tx, "INSERT INTO catalog_model ("+modelColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7)"+
			" ON CONFLICT (org, name) DO UPDATE SET project = excluded.project, class = excluded.class, owners = excluded.owners, purposes = excluded.purposes",
			m.Org, m.Name, m.Project, string(m.Class), joinIDs(m.Owners), toMicros(m.Created), strings.Join(m.Purposes, " "))
	case item.Dataset != nil:
		d := item.Dataset
		_, err = exec(ctx, tx, "INSERT INTO catalog_dataset ("+datasetColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"+
			" ON CONFLICT (org, name) DO UPDATE SET project = excluded.project, class = excluded.class, owners = excluded.owners, purposes = excluded.purposes",
			d.Org, d.Name, d.Project, string(d.Class), joinIDs(d.Owners), toMicros(d.Created), strings.Join(d.Purposes, " "), string(d.Environment))
	case item.Endpoint != nil:
		e := item.Endpoint
		_, err = exec(ctx, tx, "INSERT INTO catalog_endpoint ("+endpointColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7)"+
			" ON CONFLICT (org, name) DO UPDATE SET project = excluded.project, model = excluded.model, class = excluded.class, environment = excluded.environment",
			e.Org, e.Name, e.Project, e.Model, string(e.Class), string(e.Environment), toMicros(e.Created))
	case item.Charter != nil:
		err = writeCharter(ctx, tx, item.Charter)
	}
	return err
}

// AddVersion implements [catalog.Store].
func (s catalogStore) AddVersion(ctx context.Context, v catalog.Version, alias string, check func(catalog.Model, *catalog.Version) error) (catalog.Version, error) {
	err := s.db.write(ctx, []Kind{Catalog}, func(tx *sql.Tx) error {
		m, err := getModel(ctx, tx, v.Org, v.Model)
		if err != nil {
			return err
		}
		stands, err := old(ctx, tx, scanVersion, "SELECT "+versionColumns+" FROM catalog_version WHERE id = $1", v.ID)
		if err != nil {
			return err
		}
		if stands != nil {
			stands.Files, v = v.Files, *stands
			return nil
		}
		if err := checkAdd(ctx, tx, m, alias, check); err != nil {
			return err
		}
		n, err := queryOne(ctx, tx, scanInt, "SELECT coalesce(max(number), 0) + 1 FROM catalog_version WHERE org = $1 AND model = $2", v.Org, v.Model)
		if err != nil {
			return err
		}
		v.Number = toNumber(n)
		if err := insertVersion(ctx, tx, v, n); err != nil || alias == "" {
			return err
		}
		return writeAlias(ctx, tx, sallyport.Ref{Org: v.Org, Name: v.Model, Revision: alias}, n)
	})
	if err != nil {
		return catalog.Version{}, err
	}
	return v, nil
}

func checkAdd(ctx context.Context, tx *sql.Tx, m catalog.Model, alias string, check func(catalog.Model, *catalog.Version) error) error {
	number, ok := m.Aliases[alias]
	if !ok {
		return check(m, nil)
	}
	aliased, err := getVersion(ctx, tx, m.Org, m.Name, number)
	if err != nil {
		return err
	}
	return check(m, &aliased)
}

func insertVersion(ctx context.Context, tx *sql.Tx, v catalog.Version, n int64) error {
	lineage, err := json.Marshal(v.Lineage)
	if err != nil {
		return err
	}
	_, err = exec(ctx, tx, "INSERT INTO catalog_version ("+versionColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
		v.ID, v.Org, v.Model, n, v.Digest, v.Manifest, string(v.Class), string(v.Environment), string(v.PushedBy), toMicros(v.Created), string(lineage), toFlag(v.Retired),
		string(v.TrainedBy), joinIDs(v.Makers))
	for _, f := range v.Files {
		if err != nil {
			return err
		}
		_, err = exec(ctx, tx, "INSERT INTO catalog_file (version, path, size, kind, blob) VALUES ($1, $2, $3, $4, $5)", v.ID, f.Path, f.Size, f.Kind, f.Blob)
	}
	return err
}

func writeAlias(ctx context.Context, tx *sql.Tx, ref sallyport.Ref, n int64) error {
	_, err := exec(ctx, tx, "INSERT INTO catalog_alias (org, model, alias, number) VALUES ($1, $2, $3, $4)"+
		" ON CONFLICT (org, model, alias) DO UPDATE SET number = excluded.number", ref.Org, ref.Name, ref.Revision, n)
	return err
}

// UpdateVersion implements [catalog.Store].
func (s catalogStore) UpdateVersion(ctx context.Context, org, model, number string, change func(catalog.Model, *catalog.Version) error) (catalog.Version, error) {
	var v catalog.Version
	err := s.db.write(ctx, []Kind{Catalog}, func(tx *sql.Tx) error {
		m, err := getModel(ctx, tx, org, model)
		if err != nil {
			return err
		}
		if v, err = getVersion(ctx, tx, org, model, number); err != nil {
			return err
		}
		if err := change(m, &v); err != nil {
			return err
		}
		return execOne(ctx, tx, "UPDATE catalog_version SET class = $2, environment = $3, retired = $4 WHERE id = $1",
			v.ID, string(v.Class), string(v.Environment), toFlag(v.Retired))
	})
	if err != nil {
		return catalog.Version{}, err
	}
	return v, nil
}

// SetAlias implements [catalog.Store].
func (s catalogStore) SetAlias(ctx context.Context, ref sallyport.Ref, number string, check func(catalog.Model, *catalog.Version) error) error {
	return s.db.write(ctx, []Kind{Catalog}, func(tx *sql.Tx) error {
		m, err := getModel(ctx, tx, ref.Org, ref.Name)
		if err != nil {
			return err
		}
		if number == "" {
			if err := check(m, nil); err != nil {
				return err
			}
			_, err := exec(ctx, tx, "DELETE FROM catalog_alias WHERE org = $1 AND model = $2 AND alias = $3", ref.Org, ref.Name, ref.Revision)
			return err
		}
		v, err := getVersion(ctx, tx, ref.Org, ref.Name, number)
		if err != nil {
			return err
		}
		if err := check(m, &v); err != nil {
			return err
		}
		n, err := fromNumber(number)
		if err != nil {
			return err
		}
		return writeAlias(ctx, tx, ref, n)
	})
}

func joinIDs(ids []sallyport.PrincipalID) string {
	text := make([]string, len(ids))
	for i, id := range ids {
		text[i] = string(id)
	}
	return strings.Join(text, " ")
}

func splitIDs(s string) []sallyport.PrincipalID {
	var ids []sallyport.PrincipalID
	for _, id := range strings.Fields(s) {
		ids = append(ids, sallyport.PrincipalID(id))
	}
	return ids
}

// splitNames reads names between single spaces; none is nil.
func splitNames(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Fields(s)
}

func scanOrg(row scanner) (o catalog.Org, err error) {
	var created int64
	err = row.Scan(&o.Name, &created)
	o.Created = fromMicros(created)
	return o, err
}

func scanProject(row scanner) (p catalog.Project, err error) {
	var created int64
	err = row.Scan(&p.Org, &p.Name, &created)
	p.Created = fromMicros(created)
	return p, err
}

func scanModel(row scanner) (m catalog.Model, err error) {
	var owners, purposes string
	var created int64
	err = row.Scan(&m.Org, &m.Name, &m.Project, &m.Class, &owners, &created, &purposes)
	m.Owners, m.Created, m.Aliases, m.Purposes = splitIDs(owners), fromMicros(created), map[string]string{}, splitNames(purposes)
	return m, err
}

func scanVersion(row scanner) (v catalog.Version, err error) {
	var number, created, retired int64
	var lineage, makers string
	if err = row.Scan(&v.ID, &v.Org, &v.Model, &number, &v.Digest, &v.Manifest, &v.Class, &v.Environment, &v.PushedBy, &created, &lineage, &retired, &v.TrainedBy, &makers); err != nil {
		return v, err
	}
	v.Number, v.Created, v.Retired, v.Makers = toNumber(number), fromMicros(created), retired != 0, splitIDs(makers)
	return v, json.Unmarshal([]byte(lineage), &v.Lineage)
}

func scanFile(row scanner) (f catalog.File, err error) {
	err = row.Scan(&f.Path, &f.Size, &f.Kind, &f.Blob)
	return f, err
}

func scanDataset(row scanner) (d catalog.Dataset, err error) {
	var owners, purposes string
	var created int64
	err = row.Scan(&d.Org, &d.Name, &d.Project, &d.Class, &owners, &created, &purposes, &d.Environment)
	d.Owners, d.Created, d.Purposes = splitIDs(owners), fromMicros(created), splitNames(purposes)
	return d, err
}

func scanEndpoint(row scanner) (e catalog.Endpoint, err error) {
	var created int64
	err = row.Scan(&e.Org, &e.Name, &e.Project, &e.Model, &e.Class, &e.Environment, &created)
	e.Created = fromMicros(created)
	return e, err
}
