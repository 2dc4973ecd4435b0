package approval

import (
	"context"
	"encoding/json"

	"sallyport"
)

// A Note writes a request down, durably, as it is about to be kept: with the vote that was just counted for its last, or
// as it was asked or withdrawn. With its error nothing is kept.
type Note func(ctx context.Context, r Request) error

// write writes r down. Without anybody who does, nothing counts.
func (n Note) write(ctx context.Context, r Request) error {
	if n == nil {
		return sallyport.E("note request", sallyport.Other, "nobody writes "+r.ID+" down", "")
	}
	return n(ctx, r)
}

// Asked is the record of a request as it was asked: the question as a whole.
func (r Request) Asked() (map[string]string, error) {
	question, err := json.Marshal(r.Question())
	return map[string]string{"request": r.ID, "hash": r.Hash, "asks": r.Subject, "topic": r.Topic, "question": string(question)}, err
}

// Voted is the record of the last vote as it was signed, with the question, so that the one event can be verified by itself.
func (r Request) Voted() (map[string]string, error) {
	question, err := json.Marshal(r.Question())
	if err != nil {
		return nil, err
	}
	v := r.Votes[len(r.Votes)-1]
	vote, err := json.Marshal(v)
	yes := "no"
	if v.Yes {
		yes = "yes"
	}
	return map[string]string{"request": r.ID, "topic": r.Topic, "hash": r.Hash, "yes": yes, "reason": v.Reason, "state": string(r.State),
		"question": string(question), "vote": string(vote)}, err
}

// Ended is the record of a request that was withdrawn.
func (r Request) Ended() map[string]string {
	return map[string]string{"request": r.ID, "topic": r.Topic, "hash": r.Hash, "state": string(r.State)}
}
