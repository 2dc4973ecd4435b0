package admin

import (
	"encoding/json"

	"sallyport"
	"sallyport/internal/web/api"
)

// documentRoutes are about the API itself.
func documentRoutes() []Route {
	return []Route{{"GET", "/openapi.json", sallyport.ServerRead, system, (*API).document}}
}

// document is the description of this API, OpenAPI 3.1.0.
func (a *API) document(*Call) (any, error) { return json.RawMessage(api.OpenAPI()), nil }
