package server_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"sallyport/internal/audit/trail"
)

// TestSCIMJudge lets scim2-tester judge the real door.
func TestSCIMJudge(t *testing.T) {
	python := os.Getenv("SALLYPORT_TEST_SCIM") // budget: names a Python that has e2e/scim/requirements.txt
	if python == "" {
		t.Skip("SALLYPORT_TEST_SCIM names no Python with scim2-tester, so nobody judged the door")
	}
	r := tellAnew(t, trail.Files{})
	okta := r.provider("okta")
	judge := exec.CommandContext(t.Context(), python, "../../e2e/scim/judge.py", r.server.External()+"/scim/v2", r.server.CA())
	judge.Stdin = strings.NewReader(okta.token)
	out, err := judge.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}
