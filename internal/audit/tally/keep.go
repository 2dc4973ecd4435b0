package tally

import (
	"cmp"
	"encoding/json"
	"slices"

	"sallyport"
)

// kept is what is written down.
type kept struct {
	V      int                             `json:"v"`
	People map[sallyport.PrincipalID]*page `json:"people"`
	Open   map[string]call                 `json:"open,omitempty"`
}

const version = 1

// write returns what was counted, and up to where; false before anything was read.
func (l *Ledger) write() (body []byte, next uint64, ok bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if !l.loaded {
		return nil, 0, false
	}
	body, err := json.Marshal(kept{version, l.people, l.open})
	return body, l.next, err == nil
}

// read takes in what write wrote. What is not sorted, below zero or over a limit was
// not written here. The caller holds mu.
func (l *Ledger) read(body []byte) error {
	var k kept
	if err := json.Unmarshal(body, &k); err != nil {
		return sallyport.Wrap("read tally", sallyport.Invalid, "this is no tally", err)
	}
	sound := k.V == version && len(k.People) <= MaxPeople && len(k.Open) <= maxOpen
	for _, p := range k.People {
		sound = sound && p.sound()
	}
	if !sound {
		return sallyport.E("read tally", sallyport.Invalid, "this is no tally that was written here", "")
	}
	if k.People != nil {
		l.people = k.People
	}
	if k.Open != nil {
		l.open = k.Open
	}
	return nil
}

func (p *page) sound() bool {
	if p == nil || len(p.Models) > MaxModels || !slices.IsSortedFunc(p.Models, func(a, b use) int { return cmp.Compare(a.At, b.At) }) {
		return false
	}
	for i, s := range spans() {
		cells := p.Cells[i]
		if int64(len(cells)) > s.cells+1 {
			return false
		}
		for k, c := range cells {
			if k > 0 && c.At <= cells[k-1].At || min(c.Bytes, c.Denials, c.Exports) < 0 {
				return false
			}
		}
	}
	return true
}
