package demo_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"sallyport/internal/demo"
	"sallyport/internal/demo/tinylm"
)

// wide is a model that trains in no time and whose weights still take seconds at the rate at which they may leave.
func wide() tinylm.Config {
	c := tinylm.Small()
	c.Rows, c.Steps = 98_304, 10
	return c
}

// TestStory plays the whole story.
func TestStory(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out strings.Builder
	err := demo.Run(ctx, demo.Options{Out: &out, Dir: t.TempDir(), Model: wide()})
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
}
