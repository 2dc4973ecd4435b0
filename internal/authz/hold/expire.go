package hold

import (
	"context"
	"fmt"
	"time"

	"sallyport"
)

// MaxFor is the longest time of a hold that ends by itself.
const MaxFor = 7 * 24 * time.Hour

// PlaceFor puts a hold on a target that ends by itself after a while, or when a person lifts it before. What the system
// itself finds is held like this: a hold without an end is a person's.
func (s *Service) PlaceFor(ctx context.Context, target, why string, by Actor, lasts time.Duration) (Hold, error) {
	if lasts < time.Second || lasts > MaxFor {
		return Hold{}, sallyport.E("place hold", sallyport.Invalid, fmt.Sprintf("a hold for %v is not possible", lasts), fmt.Sprintf("give a second to %v", MaxFor))
	}
	return s.place(ctx, Hold{Target: target, Why: why, Until: s.now().Add(lasts)}, by)
}

// Expire lifts the holds whose time is over and returns them. Until it is called they hold: call it each second. Each is
// written down before it is lifted. by is for the record.
func (s *Service) Expire(ctx context.Context, by Actor, note Note) ([]Hold, error) {
	all, err := s.Active(ctx)
	if err != nil {
		return nil, err
	}
	var lifted []Hold
	for _, h := range all {
		if h.Until.IsZero() || s.now().Before(h.Until) {
			continue
		}
		h, err := s.Store.Update(ctx, h.ID, func(h *Hold) error {
			if !h.Active() {
				return sallyport.E("end hold", sallyport.Conflict, h.ID+" is lifted already", "")
			}
			h.LiftedAt, h.LiftedBy, h.LiftedPerson, h.LiftReason = s.now(), by.ID, by.Person, "its time was over"
			return note(ctx, *h)
		})
		if sallyport.KindOf(err) == sallyport.Conflict { // somebody was faster
			continue
		}
		if err != nil {
			return lifted, err
		}
		lifted = append(lifted, h)
	}
	return lifted, nil
}
