//go:build e2e

package server_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"sallyport/client"
	"sallyport/internal/audit/trail"
)

// TestPeersOpenAPI has schemathesis (PyPI) make requests of the management API's own document, right ones and wrong ones, and
// hold every answer of a running server against it: no fault of the server, no status, type, header or body that the
// document does not have, and nothing taken that it does not allow. SALLYPORT_TEST_SCHEMATHESIS names the program.
func TestPeersOpenAPI(t *testing.T) {
	fuzzer := program(t, "SALLYPORT_TEST_SCHEMATHESIS", "../../.ci/cache/openapi/bin/schemathesis")
	document, err := filepath.Abs("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	r := tellAnew(t, trail.Files{})
	for _, who := range []string{"adam", "ana"} {
		token, err := r.As(who).who.token(t.Context(), client.API)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir() // it keeps what it generated where it runs
		command := exec.CommandContext(t.Context(), fuzzer, "run", document, "--url", r.server.External()+"/api/v1", "--header", "Authorization: Bearer "+token, "--tls-verify", r.server.CA(),
			"--max-time", openapiSeconds(), "--seed", "1", "--no-color", "--phases", "examples,coverage,fuzzing",
			"--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,negative_data_rejection",
			"--continue-on-failure", "--warnings", "off",
			"--exclude-path", "/logout", "--exclude-path", "/sessions/{id}/revoke") // it finds its own session there, and all that follows is 401
		command.Dir, command.Env = dir, append(os.Environ(), "HOME="+dir)
		out, err := command.CombinedOutput()
		if err != nil {
			t.Errorf("as %s: %v\n%s", who, err, out)
		}
		if m := regexp.MustCompile(`(\d+) generated`).FindSubmatch(out); m == nil {
			t.Errorf("as %s: it says nothing of what it generated:\n%s", who, out)
		} else if n, err := strconv.Atoi(string(m[1])); err != nil || n < 300 {
			t.Errorf("as %s: only %s requests, %v", who, m[1], err)
		}
		if _, err := r.As(who).who.client.Who(t.Context()); err != nil {
			t.Errorf("%s is signed out, and what was asked says little: %v", who, err)
		}
	}
}

// openapiSeconds is how long each run may take.
func openapiSeconds() string {
	if s := os.Getenv("SALLYPORT_OPENAPI_SECONDS"); s != "" {
		return s
	}
	return "30"
}
