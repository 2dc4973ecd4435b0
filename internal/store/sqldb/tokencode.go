package sqldb

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/identity/token"
	"sallyport/internal/identity/token/codes"
)

// AddCode implements codes.Store.
func (s Tokens) AddCode(ctx context.Context, c codes.Code) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, "INSERT INTO token_code (hash, family, client, redirect, challenge, expires, used, key_id, nonce) VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8)",
			c.Hash[:], c.Family, c.Client, c.RedirectURI, c.Challenge, toMicros(c.Expires), c.Key, c.Nonce)
		return err
	})
}

const codeColumns = "hash, family, client, redirect, challenge, expires, key_id, nonce, used"

// scanCode reads a code, and whether it was burned.
func scanCode(row scanner) (c struct {
	codes.Code
	used bool
}, err error) {
	var hash []byte
	var expires, used int64
	err = row.Scan(&hash, &c.Family, &c.Client, &c.RedirectURI, &c.Challenge, &expires, &c.Key, &c.Nonce, &used)
	copy(c.Hash[:], hash)
	c.Expires, c.used = fromMicros(expires), used != 0
	return c, err
}

// FindCode implements codes.Store.
func (s Tokens) FindCode(ctx context.Context, h token.Hash, client string) (codes.Code, error) {
	return findCode(ctx, s.db.reader, h, client)
}

func findCode(ctx context.Context, q querier, h token.Hash, client string) (codes.Code, error) {
	c, err := queryOne(ctx, q, scanCode, "SELECT "+codeColumns+" FROM token_code WHERE hash = $1 AND client = $2", h[:], client)
	if err == nil && c.used {
		err = sallyport.E("find code", sallyport.Conflict, "the code was used before", "")
	}
	return c.Code, err
}

// TakeCode implements codes.Store.
func (s Tokens) TakeCode(ctx context.Context, h token.Hash, client string, at time.Time) (code codes.Code, err error) {
	err = s.db.write(ctx, nil, func(tx *sql.Tx) error {
		taken, err := queryOne(ctx, tx, scanCode, "UPDATE token_code SET used = $1 WHERE hash = $2 AND client = $3 AND used = 0 RETURNING "+codeColumns,
			toMicros(at), h[:], client)
		if code = taken.Code; sallyport.KindOf(err) == sallyport.NotFound {
			code, err = findCode(ctx, tx, h, client)
		}
		return err
	})
	return code, err
}

// AddDevice implements codes.Store.
func (s Tokens) AddDevice(ctx context.Context, d codes.Device) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		_, err := exec(ctx, tx, `INSERT INTO token_device (hash, user_hash, client, scope, audiences, ip, state, family, created, expires, pause, next_poll, slow, openid, purpose, detailed)
			VALUES ($1, $2, $3, $4, $5, $6, $7, '', $8, $9, $10, 0, 0, $11, $12, $13)`,
			d.Hash[:], d.UserHash[:], d.Client, d.Scope.String(), strings.Join(d.Audiences, " "), d.From, string(d.State),
			toMicros(d.Created), toMicros(d.Expires), d.Interval.Microseconds(), toFlag(d.OpenID), d.Purpose, toFlag(d.Detailed))
		return err
	})
}

const deviceColumns = "hash, user_hash, client, scope, audiences, ip, state, family, created, expires, pause, slow, openid, purpose, detailed"

func scanDevice(row scanner) (codes.Device, error) {
	var d codes.Device
	var hash, user []byte
	var scope, audiences string
	var created, expires, pause, slow, openid, detailed int64
	err := row.Scan(&hash, &user, &d.Client, &scope, &audiences, &d.From, &d.State, &d.Family, &created, &expires, &pause, &slow, &openid, &d.Purpose, &detailed)
	copy(d.Hash[:], hash)
	copy(d.UserHash[:], user)
	d.OpenID, d.Detailed = openid != 0, detailed != 0
	d.Scope, d.Audiences = strings.Fields(scope), strings.Fields(audiences)
	d.Created, d.Expires, d.Interval, d.Slow = fromMicros(created), fromMicros(expires), time.Duration(pause)*time.Microsecond, slow != 0
	return d, err
}

// FindDevice implements codes.Store.
func (s Tokens) FindDevice(ctx context.Context, user token.Hash, at time.Time) (codes.Device, error) {
	return queryOne(ctx, s.db.reader, scanDevice, "SELECT "+deviceColumns+" FROM token_device WHERE user_hash = $1 AND state = $2 AND expires > $3",
		user[:], string(codes.Pending), toMicros(at))
}

// DecideDevice implements codes.Store.
func (s Tokens) DecideDevice(ctx context.Context, user token.Hash, to codes.State, family string, at time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		n, err := exec(ctx, tx, "UPDATE token_device SET state = $1, family = $2 WHERE user_hash = $3 AND state = $4 AND expires > $5",
			string(to), family, user[:], string(codes.Pending), toMicros(at))
		if err == nil && n == 0 {
			err = sallyport.E("decide device request", sallyport.Conflict, "it was decided before, or has expired", "start again on the device")
		}
		return err
	})
}

// PollDevice implements codes.Store. The right-hand sides of a SET see the
// row as it was.
func (s Tokens) PollDevice(ctx context.Context, h token.Hash, client string, at time.Time) (d codes.Device, err error) {
	now := toMicros(at)
	err = s.db.write(ctx, nil, func(tx *sql.Tx) (err error) {
		d, err = queryOne(ctx, tx, scanDevice, `UPDATE token_device SET
			slow = CASE WHEN $1 < next_poll THEN 1 ELSE 0 END,
			pause = CASE WHEN $1 < next_poll THEN pause + $2 ELSE pause END,
			next_poll = CASE WHEN $1 < next_poll THEN $1 + pause + $2 ELSE $1 + pause END
			WHERE hash = $3 AND client = $4 RETURNING `+deviceColumns, now, codes.SlowDown.Microseconds(), h[:], client)
		return err
	})
	return d, err
}

// TakeDevice implements codes.Store.
func (s Tokens) TakeDevice(ctx context.Context, h token.Hash) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		n, err := exec(ctx, tx, "UPDATE token_device SET state = $1 WHERE hash = $2 AND state = $3", string(codes.Done), h[:], string(codes.Approved))
		if err == nil && n == 0 {
			err = sallyport.E("take device code", sallyport.Conflict, "it was used before, or is not approved", "")
		}
		return err
	})
}
