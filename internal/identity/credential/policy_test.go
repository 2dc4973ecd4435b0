package credential

import (
	"go/parser"
	"go/token"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

func check(password string, withCode bool, about ...string) error {
	return DefaultPolicy().Check(secret.NewText(password), withCode, about)
}

// PW1: 15 characters alone, 8 beside a second factor; a code point is a character; 64 of any script fit.
func TestPW1Length(t *testing.T) {
	const word = "kq7 zvw!m2xRp9u tL4"
	for n, want := range map[int][2]bool{0: {false, false}, 7: {false, false}, 8: {false, true}, 14: {false, true}, 15: {true, true}} {
		if alone, beside := check(word[:n], false) == nil, check(word[:n], true) == nil; alone != want[0] || beside != want[1] {
			t.Errorf("%d characters: alone %v, beside a code %v; want %v", n, alone, beside, want)
		}
	}
	for _, script := range []string{"aQz7", "пароль", "密码口令安全", "كلمة", "पासवर्ड", "비밀번호", "🦊🐻🦁🐯", "𝔘𝔫𝔦", "ﷺﷻa"} {
		runes := []rune(strings.Repeat(script, 64))[:64]
		runes[7] = 'x' // so that it is not one unit again and again
		if err := check(string(runes), false); err != nil {
			t.Errorf("64 code points of %q: %v", script, err)
		}
	}
	if check("🦊🐻🦁🐯🐨🐼🐸", true) == nil || check("🦊🐻🦁🐯🐨🐼🐸🐙", true) != nil {
		t.Error("an emoji does not count as one character")
	}
	if check("ﷺﷺﷻﷲ", true) == nil { // each unfolds into many characters, and is one
		t.Error("four code points passed for eight")
	}
	if err := check(strings.Repeat("aB3$x", 51)+"y", false); err != nil {
		t.Errorf("256 characters: %v", err)
	}
	for _, long := range []string{strings.Repeat("aB3$x", 52), strings.Repeat("🦊🐻🦁🐯🐨", 52)} {
		if err := check(long, false); sallyport.KindOf(err) != sallyport.TooLarge {
			t.Errorf("%d bytes: %v, want too large", len(long), err)
		}
	}
	for _, broken := range []string{"aaaaaaaaabbbbbb\x00c", "abcdefgh\xffijklmnop", "line\nbreak of sixteen"} {
		if err := check(broken, false); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%q: %v, want invalid", broken, err)
		}
	}
}

// PW2: the whole password is compared with what is guessed first, never a part of it.
func TestPW2Blocklist(t *testing.T) {
	about := []string{"ana", "Ana María Núñez", "ana.nunez@acme.example", "acme"}
	for _, known := range []string{"password1", "PASSWORD", "iloveyou", "administrator", "Sally Port", "sallyport", "ana maría núñez", "AnaMaríaNúñez",
		"ana.nunez@acme.example", "ana.nunez", "ANA-NUNEZ", "ｐａｓｓｗｏｒｄ", "aaaaaaaaaaaaaaaaaaaa", "abcabcabcabcabcabc", "123456789012345", "9876543210987654", "abcdefghijklmnop"} {
		if err := check(known, true, about...); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%q: %v, want refused", known, err)
		}
	}
	for _, fine := range []string{"my password is longer than yours", "sallyport guards seven models", "ana.nunez rides at noon!", "password password tango", "1234567890 is not all of it"} {
		if err := check(fine, false, about...); err != nil {
			t.Errorf("%q merely contains what is known: %v", fine, err)
		}
	}
	if n := len(blocklist()); n < 3000 {
		t.Errorf("the blocklist has %d entries", n)
	}
}

// PW3: there is nothing to compose, to expire, to hint at or to ask.
func TestPW3NothingElseToSet(t *testing.T) {
	policy := reflect.TypeFor[Policy]()
	if policy.NumField() != 3 {
		t.Errorf("the policy has %d settings, want the three lengths", policy.NumField())
	}
	for _, typ := range []reflect.Type{policy, reflect.TypeFor[Service](), reflect.TypeFor[Password](), reflect.TypeFor[Factors](), reflect.TypeFor[*Service]()} {
		for i := range typ.NumMethod() {
			wantNoWord(t, typ.Method(i).Name)
		}
		for i := 0; typ.Kind() == reflect.Struct && i < typ.NumField(); i++ {
			wantNoWord(t, typ.Field(i).Name)
		}
	}
	for _, plain := range []string{"only lower case letters", "ONLY UPPER CASE LETTERS", "8402956173640592"} {
		if err := check(plain, false); err != nil {
			t.Errorf("%q: %v", plain, err)
		}
	}
}

func wantNoWord(t *testing.T, name string) {
	for _, word := range []string{"upper", "lower", "digit", "symbol", "class", "expir", "maxage", "hint", "question", "history", "rotat"} {
		if strings.Contains(strings.ToLower(name), word) {
			t.Errorf("%s smells of a rule that must not exist", name)
		}
	}
}

// PW7: there is no estimator whose cost explodes: zxcvbn's lists are used without it, what is longer than 1,024 bytes is not
// even normalised, and the longest password that passes is looked at a few times only.
func TestPW7LongInputsAreCheap(t *testing.T) {
	for _, hostile := range []string{strings.Repeat("Tr0ub4dor&3", 94)[:1024], strings.Repeat("ﷺ", 341), strings.Repeat("a\u0315\u0300\u05ae", 146), strings.Repeat("x", 50<<20)} {
		if err := check(hostile, false); sallyport.KindOf(err) != sallyport.TooLarge {
			t.Errorf("%d bytes: %v, want too large", len(hostile), err)
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), "policy.go", nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range file.Imports {
		if strings.Contains(i.Path.Value, "zxcvbn") && i.Path.Value != `"github.com/ccojocar/zxcvbn-go/data"` {
			t.Errorf("policy.go imports %s, which is more than the lists", i.Path.Value)
		}
	}
}

// A password in two spellings of the same characters is one password.
func TestNormalise(t *testing.T) {
	one, ok1 := normalise(secret.NewText("cafe\u0301 au lait, ﬁn"))
	two, ok2 := normalise(secret.NewText("caf\u00e9 au lait, fin"))
	if one != two || !ok1 || !ok2 {
		t.Errorf("%q, %q", one, two)
	}
	if s, ok := normalise(secret.NewText("  spaces stay  ")); s != "  spaces stay  " || !ok {
		t.Errorf("%q, %v", s, ok)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "password")
		clear, ok := normalise(secret.NewText(s))
		if again, _ := normalise(secret.NewText(clear)); ok && again != clear && len(clear) <= maxPasswordBytes {
			t.Fatalf("%q normalises to %q, then to %q", s, clear, again)
		}
		if n := length(secret.NewText(s)); n > utf8.RuneCountInString(s) {
			t.Fatalf("%q has length %d", s, n)
		}
	})
}
