package api

import (
	"time"

	"sallyport"
)

// A Lowering is a request to make a class less strict.
type Lowering struct {
	ID       string                `json:"id"`
	Who      sallyport.PrincipalID `json:"who"`
	Resource string                `json:"resource"`
	From     sallyport.Class       `json:"from"`
	To       sallyport.Class       `json:"to"`
	Why      string                `json:"why"`
	Hash     string                `json:"hash"` // what a vote is for
	Need     int                   `json:"need"`
	Yes      int                   `json:"votes"`
	State    string                `json:"state"`
	Expires  time.Time             `json:"expires"`
}

// A Usage is what a person did lately, under every account, service and agent of theirs.
type Usage struct {
	Person sallyport.PrincipalID `json:"person"`
	Short  Window                `json:"short"` // 10 minutes
	Day    Window                `json:"day"`
	Month  Window                `json:"month"` // 30 days
}

// A Window counts what happened in a span of time.
type Window struct {
	Bytes   int64 `json:"bytes"` // of weights and data that were delivered
	Denials int64 `json:"denials"`
	Models  int64 `json:"models"`  // different ones
	Exports int64 `json:"exports"` // permitted
}
