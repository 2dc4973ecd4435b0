package admin

import (
	"context"

	"sallyport"
	"sallyport/internal/web/api"
)

// Signals are the streams of partners who hear of our people, and the partners who
// tell us of theirs.
type Signals struct {
	Streams  func(context.Context) ([]api.SignalStream, error)
	Partners func(context.Context) ([]api.SignalPartner, error)
	Test     func(ctx context.Context, stream string) error // queues a verification event
}

func signalRoutes() []Route {
	return []Route{
		{"GET", "/signals/streams", sallyport.IdentityRead, system, (*API).signalStreams},
		{"GET", "/signals/partners", sallyport.IdentityRead, system, (*API).signalPartners},
		{"POST", "/signals/streams/{id}/test", sallyport.IdentityAdminister, system, (*API).testStream},
	}
}

func (a *API) signalStreams(c *Call) (any, error) { return a.Rooms.Signals.Streams(c.Context()) }

func (a *API) signalPartners(c *Call) (any, error) { return a.Rooms.Signals.Partners(c.Context()) }

func (a *API) testStream(c *Call) (any, error) {
	id := c.PathValue("id")
	return api.SignalStream{ID: id}, a.Rooms.Signals.Test(c.Context(), id)
}
