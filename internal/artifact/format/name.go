package format

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Limits on names, in bytes.
const (
	MaxName    = 1024 // the whole path
	MaxElement = 255  // one element of it, as file systems have it
)

// CheckName accepts a name that means the same file to every system that will ever see it: one canonical relative
// path with slashes. It is an allow-list: letters, digits and marks of any script in Unicode normal form NFKC, the
// space, and the punctuation . _ - + = , ( ) [ ] { } @ ! ~ & ' $.
//
// Refused are therefore, among others: empty names and elements, "." and "..", elements that begin with a dot
// (except .gitattributes), backslashes, drives and streams (:), percent signs and semicolons (a second decoding
// would change them), control and invisible characters, full-width or one-dot-leader tricks, elements that end in a
// dot or a space and device names (Windows drops or redirects them). The error is a *[Refusal].
func CheckName(name string) error {
	why := nameProblem(name)
	if why == "" {
		return nil
	}
	return &Refusal{Name: name, Why: "bad name: " + why, Do: "use a relative path of letters, digits and . _ - with / between"}
}

func nameProblem(name string) string {
	switch {
	case name == "":
		return "empty"
	case len(name) > MaxName:
		return fmt.Sprintf("%d bytes, at most %d", len(name), MaxName)
	case !utf8.ValidString(name):
		return "not UTF-8"
	}
	for _, r := range name {
		if r != '/' && !allowed(r) {
			return fmt.Sprintf("character %U", r)
		}
	}
	if !norm.NFKC.IsNormalString(name) {
		return "not in Unicode normal form NFKC"
	}
	for element := range strings.SplitSeq(name, "/") {
		if why := elementProblem(element); why != "" {
			return why
		}
	}
	return ""
}

func allowed(r rune) bool {
	if r < utf8.RuneSelf {
		return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || strings.ContainsRune("._-+=,()[]{}@!~&'$ ", r)
	}
	// Fillers and joiners count as letters or marks but show nothing.
	return unicode.In(r, unicode.L, unicode.M, unicode.N) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

func elementProblem(e string) string {
	switch {
	case e == "":
		return "leading, trailing or double slash"
	case len(e) > MaxElement:
		return fmt.Sprintf("an element of %d bytes, at most %d", len(e), MaxElement)
	case e[0] == '.' && e != ".gitattributes":
		return "an element begins with a dot"
	case e[0] == ' ' || e[len(e)-1] == ' ' || e[len(e)-1] == '.':
		return "an element begins or ends with a space, or ends with a dot"
	}
	stem, _, _ := strings.Cut(strings.ToLower(e), ".")
	switch stem = strings.TrimRight(stem, " "); {
	case stem == "con" || stem == "prn" || stem == "aux" || stem == "nul":
		return "a device name on Windows"
	case len(stem) > 3 && (stem[:3] == "com" || stem[:3] == "lpt") && strings.ContainsAny(stem[3:], "0123456789¹²³") && utf8.RuneCountInString(stem) == 4:
		return "a device name on Windows"
	}
	return ""
}

// CheckNames checks the names of all files of one model together: each by [CheckName], no two the same where case
// does not count, none both a file and a directory. The error is a *[Refusal].
func CheckNames(names []string) error {
	files := make(map[string]string, len(names))
	for _, name := range names {
		if err := CheckName(name); err != nil {
			return err
		}
		folded := fold(name)
		if other, ok := files[folded]; ok {
			return &Refusal{Name: name, Why: fmt.Sprintf("also given as %q, the same name where case does not count", other), Do: "rename one of them"}
		}
		files[folded] = name
	}
	for _, name := range names {
		folded := fold(name)
		for i, c := range folded {
			if c != '/' {
				continue
			}
			if other, ok := files[folded[:i]]; ok {
				return &Refusal{Name: other, Why: fmt.Sprintf("both a file and the directory of %q", name), Do: "rename one of them"}
			}
		}
	}
	return nil
}

// fold maps names that differ in case only to one string. Upper then lower case catches pairs such as K and the
// Kelvin sign's kin that a single mapping leaves apart.
func fold(name string) string {
	return norm.NFKC.String(strings.ToLower(strings.ToUpper(name)))
}
