package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"sallyport"
	"sallyport/internal/demo/people"
	"sallyport/internal/web/api"
)

// locks places a hold on ana while she downloads and streams.
func (s *story) locks(ctx context.Context, rita *people.Person) (seen, error) {
	ana, err := s.who("ana")
	if err != nil {
		return seen{}, err
	}
	running := context.WithoutCancel(ctx) // the next steps look at how they end
	if s.stream, err = s.begin(running, chat(ana, guarded, true, 4000), 200); err != nil {
		return seen{}, err
	}
	if s.download, err = s.begin(running, hub(ana, guarded, weights), 64<<10); err != nil {
		return seen{}, err
	}
	if s.hold, err = rita.Client.Lock(ctx, api.Lock{Target: "user:ana", Why: "her laptop was seen at the harbour"}); err != nil {
		return seen{}, err
	}
	after := int64(0)
	for _, c := range s.hold.Cut {
		if !c.Ended {
			return seen{}, fmt.Errorf("decision %s was cut and has not ended", c.Decision)
		}
		after += c.AfterCut
	}
	if len(s.hold.Cut) != 2 {
		return seen{}, fmt.Errorf("%d calls were cut, not the two that ran", len(s.hold.Cut))
	}
	return s.latest(ctx, rita, sallyport.HoldPlace, fmt.Sprintf("in force in %s; 2 calls cut, %d bytes sent after the order", s.hold.InForce, after))
}

// reported is what the order to lock said about one running call.
func (s *story) reported(decision string) (api.Cut, error) {
	for _, c := range s.hold.Cut {
		if c.Decision == decision {
			return c, nil
		}
	}
	return api.Cut{}, fmt.Errorf("the lock did not report decision %q", decision)
}

func (s *story) downloadBroke(ctx context.Context, _ *people.Person) (seen, error) {
	if s.download == nil {
		return seen{}, errors.New("nothing was running")
	}
	if err := s.download.wait(ctx); err != nil {
		return seen{}, err
	}
	got := s.download.got.Load()
	if s.download.err == nil || got >= s.download.total {
		return seen{}, fmt.Errorf("%d of %d bytes arrived, and the client saw nothing wrong", got, s.download.total)
	}
	c, err := s.reported(s.download.decision)
	if err != nil {
		return seen{}, err
	}
	if got > c.Bytes {
		return seen{}, fmt.Errorf("%d bytes arrived, and the record says %d", got, c.Bytes)
	}
	out, err := s.decided(ctx, s.download.decision, fmt.Sprintf("%s of %s had left, %d bytes of them after the order", mebibytes(c.Bytes), mebibytes(s.download.total), c.AfterCut))
	out.outcome, out.reason = "cut", "hold:"+s.hold.ID
	return out, err
}

func (s *story) streamTold(ctx context.Context, _ *people.Person) (seen, error) {
	if s.stream == nil {
		return seen{}, errors.New("nothing was running")
	}
	if err := s.stream.wait(ctx); err != nil {
		return seen{}, err
	}
	events := strings.Split(strings.TrimSpace(string(s.stream.tail)), "\n\n")
	last := events[len(events)-1]
	if !strings.Contains(last, `"error"`) || !strings.Contains(last, "permit_withdrawn") {
		return seen{}, fmt.Errorf("the last event is %.300q, the error %v", last, s.stream.err)
	}
	if _, err := s.reported(s.stream.decision); err != nil {
		return seen{}, err
	}
	out, err := s.decided(ctx, s.stream.decision, strings.TrimPrefix(last, "data: "))
	out.outcome, out.reason = "cut", "hold:"+s.hold.ID
	return out, err
}

func (s *story) chatsHeld(ctx context.Context, ana *people.Person) (seen, error) {
	a, err := s.ask(ctx, chat(ana, guarded, false, 4))
	if err != nil {
		return seen{}, err
	}
	return s.answered(ctx, a, http.StatusForbidden, "")
}

func (s *story) unlocksOwn(ctx context.Context, rita *people.Person) (seen, error) {
	_, err := rita.Client.Unlock(ctx, s.hold.ID, api.Lock{Target: s.hold.Target, Why: "false alarm"})
	e, err := refusal(err)
	if err != nil {
		return seen{}, err
	}
	got, err := s.latest(ctx, rita, sallyport.HoldLift, e.Message)
	got.outcome, got.reason = "refused", "same person"
	return got, err
}

func (s *story) unlocks(ctx context.Context, ravi *people.Person) (seen, error) {
	h, err := ravi.Client.Unlock(ctx, s.hold.ID, api.Lock{Target: s.hold.Target, Why: "her laptop is back", Without: "the disk was encrypted and the screen locked"})
	if err != nil {
		return seen{}, err
	}
	if h.Active {
		return seen{}, errors.New("the hold is still active")
	}
	return s.latest(ctx, ravi, sallyport.HoldLift, h.ID+" is lifted")
}

func (s *story) revokes(ctx context.Context, rita *people.Person) (seen, error) {
	if s.request.Grant == nil {
		return seen{}, errors.New("ana has no grant")
	}
	g, err := rita.Client.RevokeGrant(ctx, s.request.Grant.ID, s.request.Grant.Resource)
	if err != nil {
		return seen{}, err
	}
	if g.Active {
		return seen{}, errors.New("the grant is still active")
	}
	return s.latest(ctx, rita, sallyport.GrantRevoke, g.ID)
}
