// Package blocklist owns the file of passwords that are known from breaches (SP 800-63B-4 section 3.1.1.2): SHA-1 hashes in
// ascending order, 20 bytes each, found by binary search.
//
// It is made from the "ordered by hash" text of Have I Been Pwned: one hash in hexadecimal a line, with or without a colon
// and a count behind it. SHA-1 protects nothing here: it is the form in which such lists are published.
//
// Opening files, and what follows from a hit, are for others.
package blocklist

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:gosec // the published form of the lists
	"encoding/hex"
	"fmt"
	"io"

	"sallyport"
)

const (
	magic  = "SPBLK01\n"
	record = sha1.Size
	// maxLine bounds a line of the text: 40 digits, a colon, a count and a line break.
	maxLine = 128
)

// Sum is the hash of a password, as lists hold it.
func Sum(password []byte) [record]byte { return sha1.Sum(password) } //nolint:gosec // see the package comment

// Build writes the file of a text and returns how many passwords it holds. Doubled lines are kept once; lines out of order
// are an error: they would make hashes that are there unfindable.
func Build(w io.Writer, text io.Reader) (int64, error) {
	const op = "build blocklist"
	out := bufio.NewWriterSize(w, 1<<20)
	if _, err := out.WriteString(magic); err != nil {
		return 0, sallyport.Wrap(op, sallyport.Unavailable, "the file cannot be written", err)
	}
	lines := bufio.NewScanner(text)
	lines.Buffer(make([]byte, maxLine), maxLine)
	var last, sum [record]byte
	var n, at int64
	for lines.Scan() {
		at++
		line := bytes.TrimRight(lines.Bytes(), "\r ")
		if len(line) == 0 {
			continue
		}
		digits, _, _ := bytes.Cut(line, []byte(":"))
		if len(digits) != 2*record {
			return 0, badLine(at, "it does not begin with a SHA-1 in 40 hexadecimal digits")
		}
		if _, err := hex.Decode(sum[:], digits); err != nil {
			return 0, badLine(at, "it does not begin with a SHA-1 in 40 hexadecimal digits")
		}
		switch order := bytes.Compare(sum[:], last[:]); {
		case n > 0 && order == 0:
			continue
		case n > 0 && order < 0:
			return 0, badLine(at, "it comes before the line above; take the list that is ordered by hash, or sort it with 'LC_ALL=C sort'")
		}
		if _, err := out.Write(sum[:]); err != nil {
			return 0, sallyport.Wrap(op, sallyport.Unavailable, "the file cannot be written", err)
		}
		last, n = sum, n+1
	}
	if err := lines.Err(); err != nil {
		return 0, sallyport.Wrap(op, sallyport.Invalid, fmt.Sprintf("line %d cannot be read or is over %d bytes", at+1, maxLine), err)
	}
	if n == 0 {
		return 0, sallyport.E(op, sallyport.Invalid, "the text holds no hash", "an empty list would block nothing")
	}
	if err := out.Flush(); err != nil {
		return 0, sallyport.Wrap(op, sallyport.Unavailable, "the file cannot be written", err)
	}
	return n, nil
}

func badLine(n int64, why string) error {
	return sallyport.E("build blocklist", sallyport.Invalid, fmt.Sprintf("line %d: %s", n, why), "")
}

// A List is an open file. It is safe for concurrent use where its reader is.
type List struct {
	from io.ReaderAt
	n    int64
}

// Open reads the head of a file of a size in bytes.
func Open(from io.ReaderAt, size int64) (*List, error) {
	head := make([]byte, len(magic))
	body := size - int64(len(magic))
	if body < record || body%record != 0 {
		return nil, notAList(nil)
	}
	if _, err := from.ReadAt(head, 0); err != nil || string(head) != magic {
		return nil, notAList(err)
	}
	return &List{from: from, n: body / record}, nil
}

func notAList(cause error) error {
	return sallyport.Wrap("open blocklist", sallyport.Invalid, "this is not a file of 'sallyport blocklist build', or it was cut short", cause)
}

// Len is how many passwords it holds.
func (l *List) Len() int64 { return l.n }

// Has tells whether the list holds a hash. A file that cannot be read is Unavailable: not knowing is not "no".
func (l *List) Has(sum [record]byte) (bool, error) {
	var one [record]byte
	low, high := int64(0), l.n
	for low < high {
		middle := low + (high-low)/2
		if n, err := l.from.ReadAt(one[:], int64(len(magic))+middle*record); n < record {
			return false, sallyport.Wrap("search blocklist", sallyport.Unavailable, "the file cannot be read", err)
		}
		switch bytes.Compare(one[:], sum[:]) {
		case 0:
			return true, nil
		case -1:
			low = middle + 1
		default:
			high = middle
		}
	}
	return false, nil
}
