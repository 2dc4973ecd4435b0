package client

import (
	"testing"

	"sallyport/internal/authz/grant"
)

// AZ-15: one renewal that is lost does not end a job's rights: the next comes before the lease is over.
func TestALostRenewalLeavesTimeForAnother(t *testing.T) {
	if renewEvery+renewIn >= grant.LeaseFor {
		t.Errorf("after %s comes the next, and a lease lasts %s", renewEvery+renewIn, grant.LeaseFor)
	}
}
