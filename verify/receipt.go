package verify

import (
	"fmt"

	"sallyport/internal/audit/tlog"
)

// Proven is what a verified receipt proves: that Leaf is entry Index of log Origin, under a checkpoint of Size entries.
type Proven struct {
	Origin string
	Index  uint64
	Size   uint64
	Leaf   []byte // the entry, a JSON object
}

// Receipt verifies a receipt in C2SP tlog-proof form that carries its entry, as those of Sallyport do. trust is as for Log.
// It needs neither network nor clock: a receipt stays good as long as the key is trusted.
func Receipt(receipt []byte, trust string) (Proven, error) {
	policy, err := tlog.ParsePolicy(trust)
	if err != nil {
		return Proven{}, fmt.Errorf("verify receipt: %w", err)
	}
	r, err := tlog.ParseReceipt(receipt)
	if err != nil {
		return Proven{}, fmt.Errorf("verify receipt: %w", err)
	}
	c, err := r.VerifySelf(policy)
	if err != nil {
		return Proven{}, err
	}
	return Proven{Origin: c.Origin, Index: r.Index, Size: c.Size, Leaf: r.Extra}, nil
}
