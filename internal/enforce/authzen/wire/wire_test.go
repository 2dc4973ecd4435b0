package wire_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	strict "github.com/go-json-experiment/json"

	"sallyport"
	"sallyport/internal/enforce/authzen/wire"
)

const whole = `{"subject":{"type":"user","id":"ana"},"action":{"name":"read"},"resource":{"type":"doc","id":"1"}}`

func TestParseRefusesTwoReadings(t *testing.T) {
	for _, body := range []string{
		`{"subject":{"type":"user","id":"ana"},"subject":{"type":"user","id":"bo"}}`,
		`{"subject":{"type":"user","type":"admin","id":"ana"}}`,
		`{"context":{"a":1,"a":2}}`, `{"resource":{"properties":{"x":{"y":1,"y":2}}}}`,
		whole + whole, whole + "x", "{\"action\":{\"name\":\"\xff\"}}", `{"action":{"name":"\ud800"}}`, `{"action":{"name":null}`, "", "null",
	} {
		var r wire.Request
		if err := wire.Parse([]byte(body), &r); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// A member in another case is another member: it is passed over, and what it would have said is missing.
func TestParseKnowsOneSpelling(t *testing.T) {
	var r wire.Request
	if err := wire.Parse([]byte(strings.Replace(whole, "subject", "Subject", 1)), &r); err != nil || r.Subject != nil || r.Whole() == nil {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestParseLimits(t *testing.T) {
	long := strings.Repeat("a", 1025)
	many := "{" + strings.Repeat(`"k%":1,`, 0)
	for i := range 65 {
		many += `"k` + string(rune('0'+i/10)) + string(rune('0'+i%10)) + `":1,`
	}
	many += `"z":1}`
	for _, body := range []string{
		strings.Replace(whole, "ana", long, 1), strings.Replace(whole, `"read"`, `"`+long+`"`, 1),
		`{"context":` + many + `}`, `{"subject":{"type":"a","properties":` + many + `}}`, strings.Repeat(" ", wire.MaxBody+1),
	} {
		var b wire.Batch
		if err := wire.Parse([]byte(body), &b); sallyport.KindOf(err) != sallyport.TooLarge {
			t.Errorf("%.60s: %v", body, err)
		}
	}
}

// Depth is bounded by the length of a body: a tower of brackets is refused or read, never fatal.
func TestParseTower(t *testing.T) {
	var r wire.Request
	_ = wire.Parse([]byte(`{"context":`+strings.Repeat(`{"a":`, 40_000)+"1"+strings.Repeat("}", 40_000)+"}"), &r)
}

func TestSearchesNeedWhatTheyDoNotLookFor(t *testing.T) {
	for hole, part := range map[string]string{wire.Subjects: `,"id":"ana"`, wire.Resources: `,"id":"1"`, wire.Actions: `"action":{"name":"read"},`} {
		var s wire.Search
		if err := wire.Parse([]byte(strings.Replace(whole, part, "", 1)), &s); err != nil {
			t.Fatal(err)
		}
		for _, other := range []string{wire.Subjects, wire.Resources, wire.Actions} {
			if err := s.Whole(other); (err == nil) != (other == hole) {
				t.Errorf("a search without %s for %s: %v", part, other, err)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{whole, `{"evaluations":[` + whole + `,{}],"options":{"evaluations_semantic":"deny_on_first_deny"}}`,
		`{"page":{"token":"x","limit":3},"subject":{"type":"user"}}`, `{"foo":[1,{"a":null}]}`, `[]`, `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r wire.Request
		if wire.Parse(raw, &r) == nil {
			if !json.Valid(raw) {
				t.Fatalf("%q is no JSON and was read", raw)
			}
			text, err := strict.Marshal(r, strict.Deterministic(true))
			if err != nil {
				t.Fatal(err)
			}
			var again wire.Request
			if err := wire.Parse(text, &again); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if twice, err := strict.Marshal(again, strict.Deterministic(true)); err != nil || !bytes.Equal(text, twice) {
				t.Fatalf("%s became %s", text, twice)
			}
		}
		var b wire.Batch
		if wire.Parse(raw, &b) == nil && len(b.Items()) != len(b.Evaluations) {
			t.Fatal("items were lost")
		}
		var s wire.Search
		_ = wire.Parse(raw, &s)
	})
}
