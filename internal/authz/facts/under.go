package facts

import "sallyport/internal/authz/policy"

// Under returns the same facts under another engine, to ask what would be. Nothing is put in force.
func (s *Snapshot) Under(engine policy.Engine) *Snapshot {
	next := *s
	next.engine, next.bases = engine, &baseCache{}
	return &next
}
