package hfhub

import (
	"fmt"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/enforce/guard/guardtest"
)

// TestDataScope: of a version whose permission is for some files, or for some bytes of
// each, nothing else leaves, however it is asked for, and what left is recorded.
func TestDataScope(t *testing.T) {
	s := newSite(t)
	data := s.files["model.safetensors"]
	s.Rules(guardtest.Policies + `
@id("t") @owner("test") @requirement("T") @text("T.") @obligation("files=*.safetensors, range=100-1099")
permit (principal == User::"zoe", action in [Action::"model.pull", Action::"model.pullAux"], resource);
@id("t2") @owner("test") @requirement("T") @text("T.")
permit (principal == User::"zoe", action == Action::"model.read", resource);`)
	const weights = "/acme/open/resolve/v1/model.safetensors"
	for _, test := range []struct {
		path, ranges string
		status       int
	}{
		{weights, "bytes=100-1099", 206}, {weights, "bytes=200-299", 206},
		{weights, "bytes=99-1099", 416}, {weights, "bytes=100-1100", 416}, {weights, "bytes=100-", 416}, {weights, "bytes=-10", 416}, {weights, "", 416},
		{weights, "bytes=0-1,200-201", 416}, {weights, "bytes=0x64-0x65", 416}, {weights, "bytes= 200-299", 416}, {weights, "chunks=200-299", 416}, {weights, "bytes=+200-299", 416},
		{"/acme/open/resolve/v1/onnx/sub/weights.safetensors", "bytes=100-199", 403}, // one part of the path only
		{"/acme/open/resolve/v1/config.json", "bytes=100-199", 403},
	} {
		answer, body := s.get(t, "zoe", test.path, "Range", test.ranges)
		if test.ranges == "" {
			answer, body = s.get(t, "zoe", test.path)
		}
		if answer.StatusCode != test.status {
			t.Errorf("%s %s: %s %q", test.path, test.ranges, answer.Status, body)
		}
		if test.status == 206 {
			var a, b int
			if _, err := fmt.Sscanf(test.ranges, "bytes=%d-%d", &a, &b); err != nil || body != string(data[a:b+1]) {
				t.Errorf("%s: %d bytes", test.ranges, len(body))
			}
		} else if strings.Contains(body, string(data[100:140])) {
			t.Errorf("%s: bytes of the file in the refusal", test.ranges)
		}
	}
	ends := s.Of(sallyport.EventCompleted)
	if d := ends[0].Delivered; d.Bytes != 1000 || d.Ranges != "bytes=100-1099" {
		t.Errorf("recorded %+v", d)
	}
}
