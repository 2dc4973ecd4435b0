package sallyport_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"sallyport"
)

// sameText holds Encode against encoding/json.
func sameText(t interface {
	Helper()
	Fatalf(string, ...any)
}, e sallyport.Event) {
	t.Helper()
	want, err := json.Marshal(e)
	if err != nil {
		t.Fatalf("marshal: %v", err)
	}
	got, err := e.Encode()
	if err != nil || string(got) != string(want) {
		t.Fatalf("%+v\n got %s, %v\nwant %s", e, got, err, want)
	}
}

// TestEncodeEveryField sets each field alone, those of Asked and Delivered too, so
// that a field which is added later and not written is found.
func TestEncodeEveryField(t *testing.T) {
	var e sallyport.Event
	sameText(t, e)
	eachField(t, reflect.ValueOf(&e).Elem(), func() { sameText(t, e) })
	e.Asked = &sallyport.Asked{}
	eachField(t, reflect.ValueOf(e.Asked).Elem(), func() { sameText(t, e) })
	e.Asked.Device = &sallyport.AskedDevice{}
	eachField(t, reflect.ValueOf(e.Asked.Device).Elem(), func() { sameText(t, e) })
	e.Delivered = &sallyport.Delivered{}
	eachField(t, reflect.ValueOf(e.Delivered).Elem(), func() { sameText(t, e) })
}

func eachField(t *testing.T, of reflect.Value, check func()) {
	for i := range of.NumField() {
		f := of.Field(i)
		switch f.Kind() {
		case reflect.String:
			f.SetString(`a "quoted" <b> & é` + "\u2028\x00\xff")
		case reflect.Int, reflect.Int64:
			f.SetInt(-1 << 31)
		case reflect.Slice:
			if f.Type() == reflect.TypeFor[json.RawMessage]() {
				f.SetBytes([]byte(`{"a": "<"}`))
			} else {
				f.Set(reflect.ValueOf([]string{"one", "", `t"wo`}))
			}
		case reflect.Map:
			f.Set(reflect.ValueOf(map[string]string{"k": "v"}))
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
		default:
			t.Fatalf("a field of kind %v", f.Kind())
		}
		check()
		f.SetZero()
	}
}

func TestEncodeAny(t *testing.T) {
	text := rapid.String()
	maybe := func(t *rapid.T, of *rapid.Generator[string], label string) string {
		return rapid.OneOf(rapid.Just(""), of).Draw(t, label)
	}
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.Int64()
		e := sallyport.Event{Type: sallyport.EventType(maybe(t, text, "type")), At: number.Draw(t, "at"), Decision: maybe(t, text, "decision"),
			Who: sallyport.PrincipalID(maybe(t, text, "who")), On: maybe(t, text, "on"), Reasons: rapid.SliceOf(text).Draw(t, "reasons")}
		if rapid.Bool().Draw(t, "asked") {
			e.Asked = &sallyport.Asked{Door: maybe(t, text, "door"), File: maybe(t, text, "file"), Staleness: number.Draw(t, "staleness")}
		}
		if rapid.Bool().Draw(t, "delivered") {
			e.Delivered = &sallyport.Delivered{Status: int(number.Draw(t, "status")), Ranges: maybe(t, text, "ranges"), End: maybe(t, text, "end")}
		}
		sameText(t, e)
	})
}

func FuzzEncode(f *testing.F) {
	f.Add("decided", "acme/fraud@v3", int64(1))
	f.Add("", "<script>\u2029\x7f", int64(-1))
	f.Fuzz(func(t *testing.T, kind, on string, n int64) {
		sameText(t, sallyport.Event{Type: sallyport.EventType(kind), At: n, On: on, Reasons: []string{on, kind}, Delivered: &sallyport.Delivered{Bytes: n, End: kind}})
	})
}

func BenchmarkEncode(b *testing.B) {
	e := sallyport.Event{Type: sallyport.EventDecided, At: 1_790_000_000_000_000, Decision: "D-abcdefghjkmn", Who: "user:caller", Action: sallyport.ModelInfer,
		On: "bench/model", Outcome: "allow", Facts: "0123456789012345678901234567890123456789012", Reasons: []string{"bench.everything"},
		Asked: &sallyport.Asked{Door: "openai", IP: "127.0.0.1", Scope: "*", Assurance: 2, AuthTime: 1_790_000_000, Session: "S-0123456789abcdefghijkl", Staleness: 120}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}
