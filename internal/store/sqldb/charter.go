package sqldb

import (
	"context"
	"database/sql"
	"strings"

	"sallyport"
	"sallyport/internal/artifact/catalog"
)

const charterColumns = "resource, owner, approver, monitor, responder"

func writeCharter(ctx context.Context, tx *sql.Tx, c *catalog.Charter) error {
	args := []any{c.Ref.String()}
	for _, duty := range catalog.Duties() {
		args = append(args, strings.Join(c.Holders[duty], " "))
	}
	_, err := exec(ctx, tx, "INSERT INTO catalog_charter ("+charterColumns+") VALUES ($1, $2, $3, $4, $5)"+
		" ON CONFLICT (resource) DO UPDATE SET owner = excluded.owner, approver = excluded.approver, monitor = excluded.monitor, responder = excluded.responder", args...)
	return err
}

func scanCharter(row scanner) (c catalog.Charter, err error) {
	var resource string
	lists := make([]string, len(catalog.Duties()))
	if err = row.Scan(&resource, &lists[0], &lists[1], &lists[2], &lists[3]); err != nil {
		return c, err
	}
	c.Holders = map[catalog.Duty][]string{}
	for i, duty := range catalog.Duties() {
		if holders := splitNames(lists[i]); len(holders) > 0 {
			c.Holders[duty] = holders
		}
	}
	c.Ref, err = sallyport.ParseRef(resource)
	return c, err
}
