package admin

import (
	"sallyport"
	"sallyport/internal/authz/policy/matrix"
	"sallyport/internal/web/api"
)

// matrixRoutes are about the access matrix as a text that can be kept.
func matrixRoutes() []Route {
	return []Route{{"GET", "/matrix/signed", sallyport.PolicyRead, system, (*API).signedMatrix}}
}

// signedMatrix is the matrix as one text with the log's signature below it.
func (a *API) signedMatrix(c *Call) (any, error) {
	all, err := a.matrixOf(c)
	if err != nil {
		return nil, err
	}
	m := matrix.New(all.Policy, all.At)
	for _, r := range all.Rows {
		for i, cell := range r.Cells {
			m.Set(r.Who, r.Resource, all.Actions[i], cell)
		}
	}
	signed, err := a.Rooms.Log.Sign(m.Statement())
	return api.SignedMatrix{Text: m.File(signed)}, err
}
