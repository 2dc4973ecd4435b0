package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"sallyport/client"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
	"sallyport/internal/web/api"
)

// inForceWithin is how long an order may take until nothing gets through any more.
const inForceWithin = time.Second

// revoke measures how long it takes from an order until the caller's next request is refused, over the wire, while
// somebody calls without a pause.
func (r *run) revoke(ctx context.Context) (err error) {
	dir, err := r.sub("revoke")
	if err != nil {
		return err
	}
	h, err := openHouse(ctx, dir, "", true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.server.Close()) }()
	warden, err := h.join(ctx, "warden") // whoever locks does not unlock
	if err != nil {
		return err
	}
	token, err := h.token(ctx, client.Hub)
	if err != nil {
		return err
	}
	times := make([]time.Duration, r.size.orders)
	for i := range times {
		if times[i], err = h.order(ctx, warden, token); err != nil {
			return fmt.Errorf("order %d: %w", i+1, err)
		}
	}
	slices.Sort(times)
	for _, percent := range []int{50, 95, 99} {
		row := figure([]float64{float64(quantile(times, percent).Microseconds()) / 1e3}, "ms").atMost(float64(inForceWithin.Milliseconds()))
		r.add(row, "revoke", fmt.Sprintf("p%d, order to refusal", percent),
			fmt.Sprintf("from sending the order that locks a person to the first refusal of what they send without a pause, over %d orders", len(times)))
	}
	return nil
}

// order locks the caller, measures until the first refusal, and has the warden lift it.
func (h *house) order(ctx context.Context, warden *client.Client, token secret.Text) (time.Duration, error) {
	if err := h.until(ctx, token, http.StatusOK); err != nil { // it gets through before
		return 0, err
	}
	type placed struct {
		hold api.Hold
		err  error
	}
	answer, from := make(chan placed, 1), time.Now()
	go func() {
		hold, err := h.admin.Lock(ctx, api.Lock{Target: "user:caller", Why: "measuring"})
		answer <- placed{hold, err}
	}()
	err := h.until(ctx, token, http.StatusForbidden)
	took, done := time.Since(from), <-answer
	if err = errors.Join(err, done.err); err != nil {
		return 0, err
	}
	_, err = warden.Unlock(ctx, done.hold.ID, api.Lock{Target: "user:caller", Why: "measured", Without: "it is measured again"})
	return took, err
}

// until asks who the caller is until the answer has a status.
func (h *house) until(ctx context.Context, token secret.Text, status int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	asking := httpsafe.Client(func(a netip.AddrPort) bool { return a.Addr().IsLoopback() }, 1)
	defer asking.CloseIdleConnections()
	got := 0
	for {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, h.server.External()+"/hf/api/whoami-v2", nil)
		if err != nil {
			return err
		}
		q.Header.Set("Authorization", "Bearer "+token.Reveal())
		a, err := asking.Do(q)
		if err != nil {
			return fmt.Errorf("status %d after another, want %d: %w", got, status, err)
		}
		if err := a.Body.Close(); err != nil {
			return err
		}
		if got = a.StatusCode; got == status {
			return nil
		}
	}
}
