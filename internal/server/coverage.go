package server

import (
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/gateway/hfhub"
	"sallyport/internal/enforce/gateway/openai"
)

// RouteCoverage compares the tables of the doors with the upstreams' own lists of
// routes. It needs no running server.
func RouteCoverage() ([]gateway.Coverage, error) {
	hub, err := hfhub.New(nil, nil, "https://localhost"+hubPrefix)
	if err != nil {
		return nil, err
	}
	chat, err := openai.New(nil, nil, nil)
	if err != nil {
		return nil, err
	}
	return []gateway.Coverage{
		authzenCoverage(),
		admissionCoverage(),
		extAuthzCoverage(),
		hub.Routes().Cover(hub.Name(), hfhub.Upstream()),
		chat.Routes().Cover(chat.Name(), openai.Upstream()),
	}, nil
}
