package table_test

import (
	"strings"
	"testing"

	"sallyport/internal/authz/policy/table"
)

// A row has seven columns, and nothing in it is passed over.
func TestParse(t *testing.T) {
	for line, good := range map[string]bool{
		"ana | aal2 | model.pull | acme/fraud | allow | a b | granted, at 23:00, device standard 2 1h open": true,
		"# ana": true,
		"":      true,
		"ana | aal2 | model.pull | acme/fraud | allow | a":                    false,
		"ana | aal9 | model.pull | acme/fraud | allow | a |":                  false,
		"ana | aal2 | model.fly | acme/fraud | allow | a |":                   false,
		"ana | aal2 | model.pull | acme/fraud | maybe | a |":                  false,
		"ana | aal2 | model.pull | acme/fraud | allow | a | grantet":          false,
		"ana | aal2 | model.pull | acme/fraud | allow | a | risk much":        false,
		"ana | aal2 | model.pull | acme/fraud | allow | a | device standard":  false,
		"ana | aal2 | model.pull | acme/fraud | allow | a | stale soon":       false,
		"ana | aal2 | model.pull | acme/fraud | allow | a | trained once":     false,
		strings.Repeat("x", 5000) + " | aal2 | model.pull | x | allow | a | ": false,
	} {
		rows, err := table.Parse("t.txt", line+"\n")
		if (err == nil) != good {
			t.Errorf("%.60q: %v", line, err)
		}
		if err == nil && len(rows) == 1 && (rows[0].At != "t.txt:1" || len(rows[0].Given) != 3) {
			t.Errorf("%+v", rows[0])
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("ana | aal2 | model.pull | acme/fraud | allow | a b | granted, proved 5m\n# x\n")
	f.Fuzz(func(t *testing.T, s string) {
		rows, err := table.Parse("t", s)
		for _, r := range rows {
			if err == nil && (r.At == "" || r.Action == "") {
				t.Errorf("%+v", r)
			}
		}
	})
}
