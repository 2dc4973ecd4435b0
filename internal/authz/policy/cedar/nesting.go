package cedar

import (
	"fmt"

	"sallyport"
)

// checkNesting reads text in Cedar's language or schema language before the
// parser does, which descends once for each bracket and ends the process when its
// stack is full. Brackets may nest MaxDepth deep and a statement, up to its
// semicolon, may have at most longest bytes.
func checkNesting(text string, longest int) error {
	depth, start := 0, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			i = skipString(text, i)
		case '/':
			if i+1 < len(text) && text[i+1] == '/' {
				i = skipComment(text, i)
			}
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		case ';':
			start = i + 1
		}
		if depth > MaxDepth {
			return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("brackets nest more than %d deep", MaxDepth), "write simpler conditions, or several policies")
		}
		if i-start > longest {
			return sallyport.E(op, sallyport.TooLarge, fmt.Sprintf("a statement has more than %d bytes", longest), "write several policies")
		}
	}
	return nil
}

// skipString returns the index of the quote that ends the string begun at i.
func skipString(text string, i int) int {
	for i++; i < len(text) && text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i
}

// skipComment returns the index of the line's end.
func skipComment(text string, i int) int {
	for i < len(text) && text[i] != '\n' {
		i++
	}
	return i
}
