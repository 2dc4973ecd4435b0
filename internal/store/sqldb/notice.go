package sqldb

import (
	"context"
	"database/sql"
	"time"

	"sallyport"
	"sallyport/internal/watch/notify"
)

// Notice returns the store of notices.
func (db *DB) Notice() notify.Store { return noticeStore{db} }

type noticeStore struct{ db *DB }

const noticeColumns = "id, who, kind, at, text, link, seq, seen"

// Put implements notify.Store.
func (s noticeStore) Put(ctx context.Context, notices []notify.Notice, channels []string, next uint64) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		for _, n := range notices {
			added, err := exec(ctx, tx, "INSERT INTO notice ("+noticeColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, 0) ON CONFLICT (id) DO NOTHING",
				n.ID, string(n.Who), n.Kind, toMicros(n.At), n.Text, n.Link, int64(n.Seq))
			if err != nil {
				return err
			}
			for _, c := range channels {
				if added == 0 {
					break
				}
				if _, err := exec(ctx, tx, "INSERT INTO notice_delivery (notice, channel, tries, due, done, lost, why) VALUES ($1, $2, 0, $3, 0, 0, '')",
					n.ID, c, toMicros(n.At)); err != nil {
					return err
				}
			}
		}
		if next == 0 {
			return nil
		}
		return setCursor(ctx, tx, "notify", next)
	})
}

// Next implements notify.Store.
func (s noticeStore) Next(ctx context.Context) (uint64, error) {
	return cursor(ctx, s.db.reader, "notify")
}

// Notices implements notify.Store.
func (s noticeStore) Notices(ctx context.Context, who sallyport.PrincipalID, unread bool, most int) ([]notify.Notice, error) {
	return queryAll(ctx, s.db.reader, scanNotice, "SELECT "+noticeColumns+" FROM notice WHERE who = $1 AND ($2 = 0 OR seen = 0) ORDER BY at DESC, id LIMIT $3",
		string(who), toFlag(unread), most)
}

// MarkRead implements notify.Store.
func (s noticeStore) MarkRead(ctx context.Context, who sallyport.PrincipalID, upTo, at time.Time) (int, error) {
	var n int64
	err := s.db.write(ctx, nil, func(tx *sql.Tx) (err error) {
		n, err = exec(ctx, tx, "UPDATE notice SET seen = $3 WHERE who = $1 AND at <= $2 AND seen = 0", string(who), toMicros(upTo), toMicros(at))
		return err
	})
	return int(n), err
}

// Due implements notify.Store.
func (s noticeStore) Due(ctx context.Context, at time.Time, most int) ([]notify.Delivery, error) {
	return queryAll(ctx, s.db.reader, scanDelivery, "SELECT "+noticeColumns+`, channel, tries, due FROM notice_delivery JOIN notice ON notice.id = notice_delivery.notice
		WHERE done = 0 AND due <= $1 ORDER BY due, id LIMIT $2`, toMicros(at), most)
}

// Tried implements notify.Store.
func (s noticeStore) Tried(ctx context.Context, d notify.Delivery) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		return execOne(ctx, tx, "UPDATE notice_delivery SET tries = $3, due = $4, done = $5, lost = $6, why = $7 WHERE notice = $1 AND channel = $2",
			d.ID, d.Channel, int64(d.Tries), toMicros(d.Due), toMicros(d.Done), toFlag(d.Lost), d.Why)
	})
}

// Prune implements notify.Store.
func (s noticeStore) Prune(ctx context.Context, before time.Time) error {
	return s.db.write(ctx, nil, func(tx *sql.Tx) error {
		if _, err := exec(ctx, tx, "DELETE FROM notice_delivery WHERE notice IN (SELECT id FROM notice WHERE at < $1)", toMicros(before)); err != nil {
			return err
		}
		_, err := exec(ctx, tx, "DELETE FROM notice WHERE at < $1", toMicros(before))
		return err
	})
}

func scanNotice(row scanner) (n notify.Notice, err error) {
	var at, seq, seen int64
	err = row.Scan(&n.ID, &n.Who, &n.Kind, &at, &n.Text, &n.Link, &seq, &seen)
	n.At, n.Seq, n.Read = fromMicros(at), uint64(seq), fromMicros(seen)
	return n, err
}

func scanDelivery(row scanner) (d notify.Delivery, err error) {
	var at, seq, seen, due int64
	err = row.Scan(&d.ID, &d.Who, &d.Kind, &at, &d.Text, &d.Link, &seq, &seen, &d.Channel, &d.Tries, &due)
	d.At, d.Seq, d.Read, d.Due = fromMicros(at), uint64(seq), fromMicros(seen), fromMicros(due)
	return d, err
}
