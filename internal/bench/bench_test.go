package bench_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"sallyport/internal/bench"
)

// quick is a run that shows that every row is there, and measures nothing.
func quick(t *testing.T, o bench.Options) bench.Report {
	t.Helper()
	o.Quick, o.Dir = true, t.TempDir()
	report, err := bench.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestEveryRow(t *testing.T) {
	var out bytes.Buffer
	report := quick(t, bench.Options{Out: &out})
	groups := map[string]int{}
	for i, row := range report.Rows {
		groups[row.Group]++
		for what, v := range map[string]float64{"value": row.Value, "low": row.Low, "high": row.High, "ours": row.Ours, "base": row.Base} {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Errorf("row %d, %s: %s is %v", i+1, row.Name, what, v)
			}
		}
		if row.Low > row.Value || row.High < row.Value {
			t.Errorf("row %d, %s: %v is not between its lowest and highest round, %v and %v", i+1, row.Name, row.Value, row.Low, row.High)
		}
		if row.Name == "" || row.Unit == "" || row.Means == "" || (row.Met == nil) != (row.Target == "") || (row.Against == "") != (row.Base == 0) {
			t.Errorf("row %d is not whole: %+v", i+1, row)
		}
		if !strings.Contains(out.String(), row.Name) || !strings.Contains(out.String(), row.Means) {
			t.Errorf("row %d, %s, is not printed", i+1, row.Name)
		}
	}
	want := map[string]int{"decision": 10, "identity": 4, "chain": 7, "sealed": 5, "records": 10, "disk": 2, "start": 3, "revoke": 3, "swap": 2}
	for _, name := range bench.Groups() {
		if groups[name] != want[name] {
			t.Errorf("%d rows of %s, want %d", groups[name], name, want[name])
		}
	}
	t.Log("\n" + out.String())
}

func TestOnly(t *testing.T) {
	var out bytes.Buffer
	report := quick(t, bench.Options{Only: []string{"records"}, JSON: true, Out: &out})
	var read bench.Report
	if err := json.Unmarshal(out.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	if len(read.Rows) != len(report.Rows) || len(read.Rows) == 0 {
		t.Fatalf("%d rows written, %d returned", len(read.Rows), len(report.Rows))
	}
	for _, row := range read.Rows {
		if row.Group != "records" {
			t.Errorf("a row of %s", row.Group)
		}
	}
	if _, err := bench.Run(t.Context(), bench.Options{Only: []string{"everything"}}); err == nil || !strings.Contains(err.Error(), "decision, identity, chain") {
		t.Errorf("an unknown group gave %v, want an error that lists those there are", err)
	}
}
