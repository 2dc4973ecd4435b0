package signals

import "context"

// PushAll pushes what is due on every stream, in order. A stream whose receiver
// does not answer waits, longer each time; the others do not.
func (d *Doors) PushAll(ctx context.Context) error {
	streams, err := d.pushed(ctx)
	for _, s := range streams {
		if err == nil {
			err = d.pushStream(ctx, s)
		}
	}
	return err
}
