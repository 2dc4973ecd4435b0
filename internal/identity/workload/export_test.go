package workload

// SPIFFEID tells whether s is a SPIFFE id with a path.
func SPIFFEID(s string) bool { return spiffeID(s) }
