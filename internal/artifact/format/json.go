package format

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	maxDepth  = 64
	maxKeys   = 1 << 19 // keys of all objects that are open at one point: bounds the memory that finds duplicates
	maxString = 4 << 20
	maxNumber = 1 << 10
)

// token is what jsonReader.next returns: one of the characters { } [ ] or one of these.
type token byte

const (
	tokenEOF    token = 0
	tokenKey    token = 'k'
	tokenString token = 's'
	tokenNumber token = '0'
	tokenWord   token = 'w' // true, false, null
)

// want is what the grammar allows next.
type want byte

const (
	wantValue want = iota
	wantValueOrEnd
	wantKey
	wantKeyOrEnd
	wantCommaOrEnd
	wantEOF
)

// jsonReader is a strict pull parser for RFC 8259. encoding/json accepts duplicate keys, replaces broken UTF-8
// silently, and its depth and memory cannot be bounded over a stream; each of these lets two readers of one file
// see two things.
type jsonReader struct {
	in    *bufio.Reader
	text  []byte // of the last key, string, number or word, unescaped
	stack []frame
	live  int // keys remembered in all frames
	want  want
}

type frame struct {
	object bool
	seen   map[uint64]struct{} // hashes of keys: 8 bytes a key, however long keys are
}

func newJSONReader(r io.Reader) *jsonReader {
	return &jsonReader{in: bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next token. After an error it must not be called again.
func (j *jsonReader) next() (token, error) {
	c, err := j.byte()
	if errors.Is(err, io.EOF) && j.want == wantEOF {
		return tokenEOF, nil
	}
	if err != nil {
		return 0, brokenOff(err)
	}
	if j.want == wantCommaOrEnd {
		object := j.stack[len(j.stack)-1].object
		if c == ']' && !object || c == '}' && object {
			return j.pop(c)
		}
		if c != ',' {
			return 0, fmt.Errorf("json: %q where a comma or an end belongs", c)
		}
		j.want = wantValue
		if object {
			j.want = wantKey
		}
		if c, err = j.byte(); err != nil {
			return 0, brokenOff(err)
		}
	}
	switch {
	case j.want == wantKeyOrEnd && c == '}', j.want == wantValueOrEnd && c == ']':
		return j.pop(c)
	case j.want == wantKey || j.want == wantKeyOrEnd:
		return j.key(c)
	case j.want == wantEOF:
		return 0, fmt.Errorf("json: %q after the end", c)
	}
	return j.value(c)
}

func (j *jsonReader) value(c byte) (token, error) {
	switch {
	case c == '{' || c == '[':
		if len(j.stack) == maxDepth {
			return 0, fmt.Errorf("json: nested more than %d deep", maxDepth)
		}
		j.stack = append(j.stack, frame{object: c == '{'})
		j.want = wantValueOrEnd
		if c == '{' {
			j.want = wantKeyOrEnd
		}
		return token(c), nil
	case c == '"':
		j.after()
		return tokenString, j.string()
	case c == '-' || '0' <= c && c <= '9':
		j.after()
		return tokenNumber, j.number(c)
	case c == 't' || c == 'f' || c == 'n':
		j.after()
		return tokenWord, j.word(c)
	case c == 'N' || c == 'I':
		return 0, errors.New("json: NaN and Infinity are not JSON")
	}
	return 0, fmt.Errorf("json: %q where a value belongs", c)
}

func (j *jsonReader) after() {
	j.want = wantCommaOrEnd
	if len(j.stack) == 0 {
		j.want = wantEOF
	}
}

func (j *jsonReader) pop(c byte) (token, error) {
	j.live -= len(j.stack[len(j.stack)-1].seen)
	j.stack = j.stack[:len(j.stack)-1]
	j.after()
	return token(c), nil
}

func (j *jsonReader) key(c byte) (token, error) {
	if c != '"' {
		return 0, fmt.Errorf("json: %q where a key belongs", c)
	}
	if err := j.string(); err != nil {
		return 0, err
	}
	top := &j.stack[len(j.stack)-1]
	if top.seen == nil {
		top.seen = make(map[uint64]struct{})
	}
	h := hash(j.text)
	if _, ok := top.seen[h]; ok {
		return 0, fmt.Errorf("json: key %.80q appears twice", j.text)
	}
	if j.live++; j.live > maxKeys {
		return 0, fmt.Errorf("json: more than %d keys", maxKeys)
	}
	top.seen[h] = struct{}{}
	if c, err := j.byte(); err != nil || c != ':' {
		return 0, fmt.Errorf("json: no colon after key %.80q", j.text)
	}
	j.want = wantValue
	return tokenKey, nil
}

// hash is FNV-1a. A collision refuses a good file, at odds of one in 2⁶⁴ a pair; it never admits a bad one.
func hash(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// byte returns the next byte that is not white space.
func (j *jsonReader) byte() (byte, error) {
	for {
		c, err := j.in.ReadByte()
		if err != nil || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c, err
		}
	}
}

// string reads what follows an opening quote into j.text.
func (j *jsonReader) string() error {
	j.text = j.text[:0]
	for {
		c, err := j.in.ReadByte()
		switch {
		case err != nil:
			return brokenOff(err)
		case c == '"':
			if !utf8.Valid(j.text) {
				return errors.New("json: a string is not UTF-8")
			}
			return nil
		case c < ' ':
			return fmt.Errorf("json: control character %#x in a string", c)
		case c == '\\':
			if err := j.escape(); err != nil {
				return err
			}
		default:
			j.text = append(j.text, c)
		}
		if len(j.text) > maxString {
			return fmt.Errorf("json: a string of more than %d bytes", maxString)
		}
	}
}

func (j *jsonReader) escape() error {
	c, err := j.in.ReadByte()
	if err != nil {
		return brokenOff(err)
	}
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		j.text = append(j.text, "\"\\/\b\f\n\r\t"[i])
		return nil
	}
	if c != 'u' {
		return fmt.Errorf("json: escape \\%c", c)
	}
	r, err := j.hex4()
	if err != nil {
		return err
	}
	if utf16.IsSurrogate(r) {
		if lead, err := j.in.Peek(2); err != nil || string(lead) != `\u` {
			return errors.New("json: half a surrogate pair")
		}
		_, _ = j.in.Discard(2)
		low, err := j.hex4()
		if err != nil {
			return err
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			return errors.New("json: half a surrogate pair")
		}
	}
	j.text = utf8.AppendRune(j.text, r)
	return nil
}

func (j *jsonReader) hex4() (r rune, err error) {
	for range 4 {
		c, err := j.in.ReadByte()
		if err != nil {
			return 0, brokenOff(err)
		}
		digit := strings.IndexByte("0123456789abcdef", c|0x20)
		if digit < 0 || c < '0' {
			return 0, fmt.Errorf("json: %q in a \\u escape", c)
		}
		r = r<<4 | rune(digit)
	}
	return r, nil
}

func (j *jsonReader) number(c byte) error {
	j.text = append(j.text[:0], c)
	for {
		c, err := j.in.ReadByte()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err != nil || !strings.ContainsRune("0123456789+-.eE", rune(c)) {
			if err == nil {
				_ = j.in.UnreadByte()
			}
			if !validNumber(string(j.text)) {
				return fmt.Errorf("json: %.80q is not a number", j.text)
			}
			return nil
		}
		if j.text = append(j.text, c); len(j.text) > maxNumber {
			return fmt.Errorf("json: a number of more than %d characters", maxNumber)
		}
	}
}

func validNumber(s string) bool {
	digits := func() bool {
		n := len(s)
		s = strings.TrimLeft(s, "0123456789")
		return len(s) < n
	}
	s = strings.TrimPrefix(s, "-")
	if len(s) > 1 && s[0] == '0' && '0' <= s[1] && s[1] <= '9' || !digits() {
		return false
	}
	if strings.HasPrefix(s, ".") {
		if s = s[1:]; !digits() {
			return false
		}
	}
	if strings.HasPrefix(s, "e") || strings.HasPrefix(s, "E") {
		if s = s[1:]; s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		if !digits() {
			return false
		}
	}
	return s == ""
}

func (j *jsonReader) word(c byte) error {
	word := map[byte]string{'t': "true", 'f': "false", 'n': "null"}[c]
	rest := make([]byte, len(word)-1)
	if _, err := io.ReadFull(j.in, rest); err != nil {
		return brokenOff(err)
	}
	if string(rest) != word[1:] {
		return fmt.Errorf("json: %q is not a word of JSON", string(c)+string(rest))
	}
	j.text = append(j.text[:0], word...)
	return nil
}

func brokenOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends too early")
	}
	return err
}

// readJSON validates a whole JSON file and reports keys whose values clients execute.
func readJSON(info *Info, in io.Reader, size int64) error {
	if size > MaxJSON {
		return fmt.Errorf("json of %d bytes, at most %d", size, MaxJSON)
	}
	j := newJSONReader(in)
	first := true
	for {
		t, err := j.next()
		if err != nil {
			return err
		}
		if first && t != '{' && info.Kind != Data {
			return fmt.Errorf("a %s file must be a JSON object", info.Kind)
		}
		first = false
		if t == tokenEOF {
			return nil
		}
		if t != tokenKey {
			continue
		}
		switch string(j.text) {
		case "chat_template", "prompt_template", "auto_map", "custom_pipelines", "custom_object", "lambda":
			info.codeLike(string(j.text))
		}
	}
}
