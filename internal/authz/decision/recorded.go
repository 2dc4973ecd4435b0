package decision

import (
	"time"

	"sallyport"
)

// QuestionOf returns the question that a decided event recorded, for a replay.
func QuestionOf(e sallyport.Event) (Question, error) {
	if e.Type != sallyport.EventDecided || e.Asked == nil {
		return Question{}, sallyport.E("replay", sallyport.Invalid, "the event is no decision", "name a decision id, D-…")
	}
	scope, err := sallyport.ParseScope(e.Asked.Scope)
	if err != nil {
		return Question{}, err
	}
	q := Question{
		Action: e.Action, At: e.Time(), Door: e.Asked.Door, IP: e.Asked.IP, File: e.Asked.File, Scope: scope,
		Assurance: sallyport.Assurance(e.Asked.Assurance), Session: e.Asked.Session, Family: e.Asked.Family,
		Staleness: time.Duration(e.Asked.Staleness) * time.Millisecond,
	}
	if e.Asked.AuthTime != 0 {
		q.AuthTime = time.Unix(e.Asked.AuthTime, 0).UTC()
	}
	return q, nil
}
