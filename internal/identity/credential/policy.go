package credential

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/ccojocar/zxcvbn-go/data"
	"golang.org/x/text/unicode/norm"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

const (
	maxPasswordBytes  = 1024 // read, normalised and hashed at most
	shortestBlocked   = 8    // shorter words are refused by length
	longestRepetition = 4    // "abcabcabc..." repeats a unit so short that it is no password
)

// A Policy says what a new password must be: its length in characters, and not a known one. There is nothing else to
// set.
type Policy struct {
	Single int // characters where the password is the only factor
	Multi  int // characters where a second factor is required too
	Max    int // characters at most; 64 of any script must fit
}

// DefaultPolicy is SP 800-63B-4: 15 characters alone, 8 beside a second factor.
func DefaultPolicy() Policy { return Policy{Single: 15, Multi: 8, Max: 256} }

// Check refuses a new password that is too short, too long or known. about is what may not be the password because it
// is known about the person. The whole password is compared, never parts of it.
func (p Policy) Check(password secret.Text, withCode bool, about []string) error {
	const op = "choose password"
	least := p.Single
	if withCode {
		least = p.Multi
	}
	clear, ok := normalise(password)
	switch n := length(password); {
	case !ok && password.Len() > 0 && password.Len() <= maxPasswordBytes:
		return sallyport.E(op, sallyport.Invalid, "the password holds control characters or broken Unicode", "use characters that print, and spaces")
	case password.Len() > maxPasswordBytes || n > p.Max:
		return sallyport.E(op, sallyport.TooLarge, "the password is too long", fmt.Sprintf("use at most %d characters", p.Max))
	case n < least:
		return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("the password has %d characters", n), fmt.Sprintf("use at least %d; several words make a good one", least))
	}
	folded := strings.ToLower(clear)
	if monotonous(folded) || blocklist()[folded] || known(folded, about) {
		return sallyport.E(op, sallyport.Invalid, "the password is one that is guessed first", "use another; several words that do not belong together make a good one")
	}
	return nil
}

// normalise brings a password into the one form that is hashed, NFKC, so that keyboards that compose characters
// differently agree. It reports false, and a text that matches no password, for what can be none.
func normalise(password secret.Text) (string, bool) {
	s := password.Reveal()
	if s == "" || len(s) > maxPasswordBytes || !utf8.ValidString(s) || strings.IndexFunc(s, unicode.IsControl) >= 0 {
		return "", false
	}
	return norm.NFKC.String(s), true
}

// length counts code points, in the form typed or the normalised one, whichever has fewer: one typed character that
// unfolds into many is still one.
func length(password secret.Text) int {
	clear, _ := normalise(password)
	return min(utf8.RuneCountInString(password.Reveal()), utf8.RuneCountInString(clear))
}

func serviceWords() []string {
	return []string{"sallyport", "sally port", "sally-port", "administrator", "model registry", "machine learning"}
}

// blocklist holds well-known passwords and words of at least shortestBlocked characters, in lower case. Of zxcvbn only
// the lists are used, and read when the first password is chosen: its estimator builds tables whenever a program starts,
// and grows faster than the square of a password's length.
var blocklist = sync.OnceValue(func() map[string]bool {
	blocked := map[string]bool{}
	add := func(words []string) {
		for _, w := range words {
			if w = strings.ToLower(norm.NFKC.String(w)); utf8.RuneCountInString(w) >= shortestBlocked {
				blocked[w] = true
			}
		}
	}
	for _, name := range []string{"Passwords", "English", "Surnames", "MaleNames", "FemaleNames"} {
		var list struct{ List []string }
		text, err := data.Asset("data/" + name + ".json")
		if err == nil {
			err = json.Unmarshal(text, &list)
		}
		if err != nil {
			panic(err) // cannot happen: the lists are compiled in
		}
		add(list.List)
	}
	add(serviceWords())
	return blocked
})

// known tells whether the folded password is one of the attributes, or the name in front of an e-mail's host.
func known(folded string, about []string) bool {
	squeeze := strings.NewReplacer(" ", "", ".", "", "-", "", "_", "")
	for _, a := range about {
		a = strings.ToLower(norm.NFKC.String(a))
		local, _, _ := strings.Cut(a, "@")
		for _, word := range []string{a, local} {
			if word != "" && (folded == word || squeeze.Replace(folded) == squeeze.Replace(word)) {
				return true
			}
		}
	}
	return false
}

// monotonous tells whether s is a short unit again and again, or counts up or down all the way: such passwords stand on
// every list of guesses, at every length.
func monotonous(s string) bool {
	r := []rune(s)
	for unit := 1; unit <= longestRepetition && unit < len(r); unit++ {
		same := true
		for i := unit; i < len(r) && same; i++ {
			same = r[i] == r[i-unit]
		}
		if same {
			return true
		}
	}
	up, down := true, true
	for i := 1; i < len(r); i++ {
		up = up && (r[i] == r[i-1]+1 || r[i-1] == '9' && r[i] == '0')
		down = down && (r[i] == r[i-1]-1 || r[i-1] == '0' && r[i] == '9')
	}
	return up || down
}
