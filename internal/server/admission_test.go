package server_test

import (
	"os"
	"testing"

	"sallyport/internal/server"
)

// TestTheClustersExample: the configuration in examples/kubernetes is one.
func TestTheClustersExample(t *testing.T) {
	raw, err := os.ReadFile("../../examples/kubernetes/sallyport.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := server.ParseConfig(raw)
	if err != nil || len(c.Admission.Clusters) != 1 {
		t.Fatalf("%+v, %v", c.Admission, err)
	}
	if _, err := c.Admission.Clusters[0].Check(); err != nil {
		t.Error(err)
	}
}
