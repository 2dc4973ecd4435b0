package format

import (
	"errors"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{
		"config.json", "a/b/c.safetensors", "model-00001-of-00002.safetensors", "1_Pooling/config.json", "modèle/読む.md", "a b.txt",
		"x(1)[2]{3}+4,5=6@7!8~9&'$.txt", ".gitattributes", "CONfig.json", "nulls.txt", "common/com.txt", strings.Repeat("x", 255), strings.Repeat("x/", 511) + "xx",
	} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for why, names := range map[string][]string{
		"traversal":   {"..", "../a", "a/../b", "a/..", ".", "./a", "a/./b", "...", "a/.../b", ".. /a"},
		"roots":       {"/", "/etc/passwd", "//a", "a//b", "a/", "", "C:/a", "c:a", `\\server\share`, "file:a"},
		"separators":  {`..\a`, `a\b`, "a\u2215b", "a\u2044b", "a\uff0fb", "a\uff3cb", "a\u29f8b"},
		"dots":        {"\u2024\u2024/a", "\uff0e\uff0e/a", "\u2025/a", "a\u2026"},
		"escapes":     {"%2e%2e/a", "..%2fa", "a%00b", "a;x=1", "a?b", "a#b", "a*b", `a"b`, "a<b", "a|b", "a^b", "a`b"},
		"controls":    {"a\x00b", "a\nb", "a\x7fb", "a\u0085b", "a\u202eb", "a\u200bb", "a\u2028b", "\ufeffa", "a\u00adb", "a\u2060b"},
		"invisible":   {"a\u3164b", "a\u115fb", "a\uffa0b", "a\ufe0fb", "a\U000e0100b", "a\u180bb"},
		"not UTF-8":   {"a\xffb", "\xc0\xae\xc0\xae/a"},
		"not NFKC":    {"e\u0301.txt", "\ufb01.txt", "\uff41.txt", "a\u00b2", "\u212a.txt"},
		"hidden":      {".git/config", "a/.ssh/x", ".env", ".gitignore"},
		"Windows":     {"con", "NUL.txt", "a/aux.json", "com1.md", "LPT9", "com¹.txt", "prn .txt", "a.", "a /b", " a", "a ", "a./b"},
		"limits":      {strings.Repeat("x", 256), strings.Repeat("x/", 512) + "x", strings.Repeat("é", 128)},
		"spaces else": {"a\u00a0b", "a\u3000b", "a\tb"},
	} {
		for _, name := range names {
			var r *Refusal
			if err := CheckName(name); !errors.As(err, &r) {
				t.Errorf("%s: %q: %v, want a refusal", why, name, err)
			}
		}
	}
}

func TestCheckNames(t *testing.T) {
	if err := CheckNames([]string{"a.txt", "b/a.txt", "b/c/a.txt", "bc/a.txt"}); err != nil {
		t.Error(err)
	}
	for _, names := range [][]string{
		{"a.txt", "a.txt"}, {"a.txt", "A.TXT"}, {"σ.md", "ς.md"}, {"d/a.txt", "D/a.txt"},
		{"a", "a/b"}, {"A", "a/b/c"}, {"x/y/z.md", "X/Y"}, {"ok.md", "../no.md"},
	} {
		var r *Refusal
		if err := CheckNames(names); !errors.As(err, &r) {
			t.Errorf("%q: %v, want a refusal", names, err)
		}
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"a/b.txt", "../a", "a\\b", "．．/a", "%2e%2e/a", ".git/x", "a/\u2024\u2024"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		if path.Clean("/"+name) != "/"+name || !filepath.IsLocal(name) || !filepath.IsLocal(filepath.FromSlash(name)) {
			t.Fatalf("%q is not canonical", name)
		}
		if strings.ContainsAny(name, "\\:%;?*\"<>|\x00\n") || len(name) > MaxName || !utf8.ValidString(name) {
			t.Fatalf("%q holds what must not pass", name)
		}
	})
}
