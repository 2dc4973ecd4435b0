package admin

import (
	"time"

	"sallyport"
	"sallyport/internal/govern/training"
	"sallyport/internal/web/api"
)

// trainingRoutes are about who was trained when.
func trainingRoutes() []Route {
	return []Route{
		{"GET", "/me/training", sallyport.ServerRead, system, (*API).myTraining},
		{"GET", "/people/{id}/training", sallyport.IdentityRead, system, (*API).trainingOf},
		{"POST", "/people/{id}/training", sallyport.IdentityAdminister, system, (*API).recordTraining},
	}
}

func (a *API) myTraining(c *Call) (any, error) { return a.training(c, c.Permit.Who().Person) }

func (a *API) trainingOf(c *Call) (any, error) {
	who, err := a.trainee(c)
	if err != nil {
		return nil, err
	}
	return a.training(c, who)
}

// trainee is the person behind the account that the path names.
func (a *API) trainee(c *Call) (sallyport.PrincipalID, error) {
	id, err := c.principal()
	if err != nil {
		return "", err
	}
	m, ok := a.Facts.Snapshot().Member(id)
	if !ok || id.Kind() != sallyport.User {
		return "", sallyport.E("training", sallyport.NotFound, string(id)+" is nobody who is known here", "list people with 'sallyport user ls'")
	}
	return m.Person, nil
}

func (a *API) training(c *Call, who sallyport.PrincipalID) (any, error) {
	r, err := a.Rooms.Training.Store.Get(c.Context(), who)
	if sallyport.KindOf(err) == sallyport.NotFound {
		return api.Training{Who: who}, nil
	}
	return a.trainingOut(r), err
}

func (a *API) trainingOut(r training.Record) api.Training {
	return api.Training{Who: r.Who, At: r.At, Days: int64(max(0, a.Guard.Clock().Sub(r.At)) / (24 * time.Hour)), By: r.By, Why: r.Why}
}

// recordTraining keeps what an administrator of identities says of somebody else.
func (a *API) recordTraining(c *Call) (any, error) {
	var in api.Trained
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	who, err := a.trainee(c)
	if err != nil {
		return nil, err
	}
	p := c.Permit.Who()
	by := training.By{Who: p.ID, Person: p.Person, Decision: c.Permit.ID()}
	out := api.Training{Who: who}
	if in.Withdraw {
		err = a.Rooms.Training.Withdraw(c.Context(), who, in.Why, by)
	} else {
		var r training.Record
		r, err = a.Rooms.Training.Vouch(c.Context(), who, in.At, in.Why, by)
		out = a.trainingOut(r)
	}
	if err != nil {
		return nil, err
	}
	return out, a.inForce(c)
}
