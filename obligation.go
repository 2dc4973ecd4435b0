package sallyport

import (
	"fmt"
	"strconv"
	"strings"
)

// An Obligation is what must be done when a permitted action happens, for
// example limit-bytes=1048576. A door that cannot carry it out may not let the
// action happen. Obligations compare with ==.
type Obligation struct {
	Kind  ObligationKind `json:"kind"`
	Value int64          `json:"value"`          // of the kinds that are numbers
	Text  string         `json:"text,omitempty"` // of the kinds that are not
}

// An ObligationKind names an obligation.
type ObligationKind string

// The obligations there are.
const (
	LimitBytes ObligationKind = "limit-bytes" // at most Value bytes of body are delivered
	LimitRate  ObligationKind = "limit-rate"  // at most Value bytes a second
	MaxTokens  ObligationKind = "max-tokens"  // at most Value tokens are generated
	Logprobs   ObligationKind = "logprobs"    // at most Value alternatives of each token are told, 0 = no probabilities at all
	OnlyFiles  ObligationKind = "files"       // files of a version whose path matches the glob Text; see MatchFile
	OnlyRange  ObligationKind = "range"       // bytes of each file between the two offsets of Text, both inclusive: "0-1048575"
)

// Limits on the text of an obligation.
const (
	maxGlob = 200 // bytes
	maxStar = 4   // stars of a glob
)

// ObligationKinds returns the obligations there are.
func ObligationKinds() []ObligationKind {
	return []ObligationKind{LimitBytes, LimitRate, MaxTokens, Logprobs, OnlyFiles, OnlyRange}
}

// Several reports whether obligations of the kind stand beside each other and are
// all carried out; of the others the smallest value counts.
func (k ObligationKind) Several() bool { return k == OnlyFiles || k == OnlyRange }

// ParseObligation reads "limit-bytes=1048576", "files=*.json" or "range=0-1023". There
// is one spelling of each.
func ParseObligation(s string) (Obligation, error) {
	kind, value, ok := strings.Cut(s, "=")
	o := Obligation{Kind: ObligationKind(kind)}
	switch o.Kind {
	case LimitBytes, LimitRate, MaxTokens, Logprobs:
		n, err := strconv.ParseInt(value, 10, 64)
		ok = ok && err == nil && strconv.FormatInt(n, 10) == value && (n > 0 || n == 0 && o.Kind == Logprobs)
		o.Value = n
	case OnlyFiles:
		ok = ok && checkGlob(value)
		o.Text = value
	case OnlyRange:
		o.Text = value
		_, _, sound := o.Range()
		ok = ok && sound
	default:
		ok = false
	}
	if !ok {
		return Obligation{}, E("parse obligation", Invalid, fmt.Sprintf("%q is not an obligation", clip(s)),
			"write limit-bytes=N, limit-rate=N, max-tokens=N, logprobs=N, files=GLOB or range=FIRST-LAST")
	}
	return o, nil
}

// String writes what ParseObligation reads.
func (o Obligation) String() string {
	if o.Kind.Several() {
		return string(o.Kind) + "=" + o.Text
	}
	return string(o.Kind) + "=" + strconv.FormatInt(o.Value, 10)
}

// Range returns the first and the last offset of an obligation of kind OnlyRange.
func (o Obligation) Range() (first, last int64, ok bool) {
	a, b, cut := strings.Cut(o.Text, "-")
	first, err1 := strconv.ParseInt(a, 10, 64)
	last, err2 := strconv.ParseInt(b, 10, 64)
	ok = cut && err1 == nil && err2 == nil && first >= 0 && first <= last && o.Text == strconv.FormatInt(first, 10)+"-"+strconv.FormatInt(last, 10)
	return first, last, ok && o.Kind == OnlyRange
}

// checkGlob refuses what is no glob of one spelling: an absolute path, an empty
// part, a dot for a part, letters that are not plain, more stars than are of use.
func checkGlob(glob string) bool {
	if glob == "" || len(glob) > maxGlob || strings.Count(glob, "*") > maxStar {
		return false
	}
	for i := range len(glob) {
		if c := glob[i]; c <= ' ' || c > '~' || c == ',' || c == '\\' || c == '"' {
			return false
		}
	}
	for part := range strings.SplitSeq(glob, "/") {
		if part == "" || part == "." || part == ".." || strings.Contains(part, "**") && part != "**" {
			return false
		}
	}
	return true
}

// MatchFile reports whether the path of a file matches a glob: "*" stands for any
// characters within one part of the path, "?" for one of them, and a part "**" for
// any number of parts, none among them. Nothing else is special. Work is bounded by
// the four stars that a glob may have.
func MatchFile(glob, file string) bool {
	return checkGlob(glob) && file != "" && matchParts(strings.Split(glob, "/"), strings.Split(file, "/"))
}

func matchParts(glob, file []string) bool {
	for len(glob) > 0 {
		if glob[0] == "**" {
			for i := range len(file) + 1 {
				if matchParts(glob[1:], file[i:]) {
					return true
				}
			}
			return false
		}
		if len(file) == 0 || !matchPart(glob[0], file[0]) {
			return false
		}
		glob, file = glob[1:], file[1:]
	}
	return len(file) == 0
}

// matchPart goes back to the last star only, which is enough for stars of one kind.
func matchPart(glob, text string) bool {
	g, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, mark = g, t
			g++
		case g < len(glob) && (glob[g] == '?' || glob[g] == text[t]):
			g, t = g+1, t+1
		case star >= 0:
			mark++
			g, t = star+1, mark
		default:
			return false
		}
	}
	for g < len(glob) && glob[g] == '*' {
		g++
	}
	return g == len(glob)
}
