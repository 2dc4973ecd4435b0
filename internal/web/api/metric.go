package api

import "time"

// Revocations are how fast this node acted by the orders that took rights away. Times are microseconds, from the order to the moment
// from which nothing is permitted by what was before and what ran is cut.
type Revocations struct {
	Since time.Time    `json:"since"`
	More  bool         `json:"more,omitempty"` // there are older ones since then that are not counted
	Kinds []Revocation `json:"kinds"`          // every kind, also those without an order
}

// A Revocation is the figures of one kind of order.
type Revocation struct {
	Kind     string `json:"kind"`
	Orders   int    `json:"orders"` // that were seen in force; where there are none, the times say nothing
	P50      int64  `json:"p50Micros"`
	P95      int64  `json:"p95Micros"`
	P99      int64  `json:"p99Micros"`
	Slowest  int64  `json:"slowestMicros"`
	Decision string `json:"decision,omitempty"` // that permitted the slowest
	Record   uint64 `json:"record"`             // its number in the log
	Unseen   int    `json:"unseen"`             // orders that nobody saw in force within a minute
	Cut      int    `json:"cut"`                // running calls that they ended
	Known    int    `json:"known"`              // of these, those whose end the log tells of
	Late     int64  `json:"late"`               // bytes that these delivered after they were cut
}
