package grant_test

import (
	"testing"

	"sallyport/internal/authz/grant"
)

// TestTasks: a task has one spelling, and none leads out of its place.
func TestTasks(t *testing.T) {
	for text, good := range map[string]bool{
		"": true, "lease": true, "lease:train-fraud": true, "mlflow:lab/9f2c": true, "kubernetes:prod/train/job-1": true, "ticket:desk/OPS-1": true,
		"lease:": false, "lease:x/y": false, "lease:/x": false, "lease:X": false, "lease:a:b": false, "mlflow": false, "mlflow:lab": false, "mlflow:lab/": false, "mlflow:/x": false, "mlflow:lab/a/b": false, "mlflow:Lab/a": false,
		"kubernetes:prod/job": false, "kubernetes:prod/../x": false, "kubernetes:prod/a/..": false, "ticket:desk/a?b": false, "ticket:desk/a b": false, "cron:x/y": false,
	} {
		got, err := grant.ParseTask(text)
		if (err == nil) != good || err == nil && got.String() != text {
			t.Errorf("%q = %v, %v", text, got, err)
		}
	}
}

func FuzzParseTask(f *testing.F) {
	for _, s := range []string{"lease", "lease:train", "mlflow:lab/9f2c", "kubernetes:prod/train/job-1", "ticket:desk/OPS-1", "mlflow:lab/.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := grant.ParseTask(s)
		if err == nil && got.String() != s {
			t.Errorf("%q comes back as %q", s, got)
		}
	})
}
