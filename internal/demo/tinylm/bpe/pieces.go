package bpe

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// pieceLen returns the length in bytes of the first piece of s, which must not be empty. It is the GPT-2 rule
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// by hand, because Go's regexp has no look-ahead. Merges never cross a piece.
func pieceLen(s string) int {
	if s[0] == '\'' {
		for _, c := range [...]string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"} {
			if strings.HasPrefix(s, c) {
				return len(c)
			}
		}
	}
	start := 0
	if s[0] == ' ' && len(s) > 1 {
		start = 1
	}
	if k := kindAt(s[start:]); k != space {
		return start + run(s[start:], k)
	}
	return spaces(s)
}

// spaces returns the length of the white space at the head of s, less its last character when a word follows: that
// character belongs to the word's piece or is one of its own.
func spaces(s string) int {
	n := run(s, space)
	if n == len(s) {
		return n
	}
	_, last := utf8.DecodeLastRuneInString(s[:n])
	if n > last {
		return n - last
	}
	return n
}

type kind int

const (
	letter kind = iota
	number
	space
	other // also bytes that are not UTF-8
)

func kindAt(s string) kind {
	r, n := utf8.DecodeRuneInString(s)
	switch {
	case r == utf8.RuneError && n <= 1:
		return other
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// run returns the length of the longest head of s that is all of kind k.
func run(s string, k kind) int {
	n := 0
	for n < len(s) && kindAt(s[n:]) == k {
		_, size := utf8.DecodeRuneInString(s[n:])
		n += size
	}
	return n
}
