package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const plain = "correct horse"

// inside holds secrets in every position from which a printer could reach them.
type inside struct {
	Text    Text
	Bytes   Bytes
	Pointer *Text
	Any     any
	List    []Bytes
	Map     map[string]Text
	text    Text
	bytes   Bytes
	pointer *Bytes
	list    []Text
	any     any
}

func newInside() inside {
	t, b := NewText(plain), NewBytes([]byte(plain))
	return inside{
		Text: t, Bytes: b, Pointer: &t, Any: b, List: []Bytes{b}, Map: map[string]Text{"k": t},
		text: t, bytes: b, pointer: &b, list: []Text{t}, any: t,
	}
}

// leak names the spelling under which s shows the plain value, or is empty.
func leak(s string) string {
	low := strings.ToLower(s)
	for name, want := range map[string]string{
		"plain":   plain,
		"hex":     hex.EncodeToString([]byte(plain)),
		"hex gap": strings.ToLower(fmt.Sprintf("% x", plain)),
		"list":    strings.Trim(fmt.Sprint([]byte(plain)), "[]"),
		"go list": strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", []byte(plain)), "[]byte{"), "}"),
		"base64":  strings.ToLower(base64.StdEncoding.EncodeToString([]byte(plain))),
		"binary":  strings.Trim(fmt.Sprintf("%b", []byte(plain)), "[]"),
		"octal":   strings.Trim(fmt.Sprintf("%o", []byte(plain)), "[]"),
	} {
		if strings.Contains(low, want) {
			return name
		}
	}
	return ""
}

func TestLeakSeesThePlainValue(t *testing.T) {
	for _, s := range []string{plain, fmt.Sprintf("%x", plain), fmt.Sprintf("% X", plain), fmt.Sprint([]byte(plain)), fmt.Sprintf("%#v", []byte(plain))} {
		if leak(s) == "" {
			t.Errorf("leak(%q) found nothing", s)
		}
	}
}

func TestEveryVerb(t *testing.T) {
	in := newInside()
	values := map[string]any{
		"text": in.Text, "bytes": in.Bytes, "*text": in.Pointer, "*bytes": in.pointer,
		"struct": in, "*struct": &in, "list": in.List, "map": in.Map, "unexported list": in.list,
		"error": fmt.Errorf("sign in with %v: %w", in.Text, errors.New("refused")),
	}
	for name, v := range values {
		for verb := rune('!'); verb <= '~'; verb++ {
			for _, flags := range []string{"", "#", "+", "-", " ", "0", "# ", "+#", "9.3", "999", ".0"} {
				format := "%" + flags + string(verb)
				got := fmt.Sprintf(format, v)
				if how := leak(got); how != "" {
					t.Errorf("%s under %s shows the value as %s: %s", name, format, how, got)
				}
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%z"} {
		for _, v := range []any{in.Text, in.Bytes, &in.Text, &in.Bytes} {
			if got := fmt.Sprintf(verb, v); got != Redacted {
				t.Errorf("%T under %s = %q, want %q", v, verb, got, Redacted)
			}
		}
	}
	if in.Text.String() != Redacted || in.Bytes.String() != Redacted {
		t.Error("String shows something else than [redacted]")
	}
}

func TestLogs(t *testing.T) {
	in := newInside()
	var out bytes.Buffer
	handlers := map[string]slog.Handler{"json": slog.NewJSONHandler(&out, nil), "text": slog.NewTextHandler(&out, nil)}
	for name, h := range handlers {
		out.Reset()
		slog.New(h).Info("x", "text", in.Text, "bytes", in.Bytes, "pointer", in.Pointer, "struct", in, "list", in.List,
			slog.Group("g", "text", in.Text))
		if how := leak(out.String()); how != "" {
			t.Errorf("%s handler shows the value as %s: %s", name, how, out.String())
		}
		if !strings.Contains(out.String(), Redacted) {
			t.Errorf("%s handler does not say %s: %s", name, Redacted, out.String())
		}
	}
}

func TestEncoders(t *testing.T) {
	in := newInside()
	exported := struct {
		Text  Text
		Bytes Bytes
		Ptr   *Text
		Map   map[string]Text
	}{in.Text, in.Bytes, in.Pointer, in.Map}

	got, err := json.Marshal(exported)
	const want = `{"Text":"[redacted]","Bytes":"[redacted]","Ptr":"[redacted]","Map":{"k":"[redacted]"}}`
	if err != nil || string(got) != want {
		t.Errorf("json.Marshal = %s, %v, want %s", got, err, want)
	}
	got, err = yaml.Marshal(exported)
	if err != nil || leak(string(got)) != "" || strings.Count(string(got), Redacted) != 4 {
		t.Errorf("yaml.Marshal = %s, %v", got, err)
	}
	got, err = xml.Marshal(in.Text)
	if err != nil || leak(string(got)) != "" || !strings.Contains(string(got), Redacted) {
		t.Errorf("xml.Marshal = %s, %v", got, err)
	}
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(in.Text); err == nil {
		t.Error("gob encoded a secret, want a refusal")
	}
	if leak(buf.String()) != "" {
		t.Error("gob wrote the value")
	}
}

func TestDecode(t *testing.T) {
	var v struct{ Password Text }
	if err := json.Unmarshal([]byte(`{"Password":"s3cret"}`), &v); err != nil || v.Password.Reveal() != "s3cret" {
		t.Errorf("json.Unmarshal = %q, %v", v.Password.Reveal(), err)
	}
	if err := json.Unmarshal([]byte(`{"Password":"[redacted]"}`), &v); err == nil {
		t.Error("what an encoder wrote in place of a secret was read back as one")
	}
}

func TestEqual(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"a", "a", true}, {"a", "b", false}, {"a", "ab", false}, {"", "a", false}, {"a", "", false}, {"", "", false}} {
		if got := NewText(c.a).Equal(NewText(c.b)); got != c.want {
			t.Errorf("text %q == %q: %v, want %v", c.a, c.b, got, c.want)
		}
		if got := NewBytes([]byte(c.a)).Equal(NewBytes([]byte(c.b))); got != c.want {
			t.Errorf("bytes %q == %q: %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

func TestRevealAndZero(t *testing.T) {
	text, raw := NewText(plain), []byte(plain)
	key := NewBytes(raw)
	textCopy, keyCopy := text, key
	if text.Reveal() != plain || !bytes.Equal(key.Reveal(), raw) || text.Len() != len(plain) || key.Len() != len(plain) {
		t.Fatal("Reveal or Len differ from what went in")
	}
	text.Zero()
	key.Zero()
	zero := make([]byte, len(plain))
	if textCopy.Reveal() != string(zero) || !bytes.Equal(keyCopy.Reveal(), zero) || !bytes.Equal(raw, zero) {
		t.Error("Zero left the value in a copy")
	}
	var noText Text
	var noBytes Bytes
	noText.Zero()
	noBytes.Zero()
	if !noText.IsZero() || !noBytes.IsZero() || noText.Reveal() != "" || noBytes.Reveal() != nil || NewText("x").IsZero() || NewBytes([]byte{0}).IsZero() {
		t.Error("IsZero is true for something else than the empty secret")
	}
}
