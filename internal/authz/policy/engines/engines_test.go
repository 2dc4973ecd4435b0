package engines_test

import (
	"os"
	"testing"

	"sallyport/internal/authz/policy/engines"
)

func TestSmoke(t *testing.T) {
	src, err := engines.Read(os.DirFS("../../../../examples/acme"), "rego")
	if err != nil {
		t.Fatal(err)
	}
	e, err := engines.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(len(e.Policies()), e.Version())
}
