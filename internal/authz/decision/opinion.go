package decision

import (
	"strings"

	"sallyport"
	"sallyport/internal/authz/policy"
)

// An Opinion is what a decision point elsewhere said of the question. It narrows: without its permission there is none
// here, and its permission alone gives none.
type Opinion struct {
	By     string // the operator's name for it, as sallyport.CheckName takes it
	Permit bool
}

// opinionReason begins the reason of a refusal by a decision point elsewhere; its name follows.
const opinionReason = "opinion:"

const maxOpinions = 4

// heeded is d, unless it permits what a decision point elsewhere refuses.
func (q *Question) heeded(engine policy.Engine, d sallyport.Decision) sallyport.Decision {
	if d.Outcome != sallyport.Allow {
		return d
	}
	var against []string
	for _, o := range q.Opinions {
		if !o.Permit {
			against = append(against, opinionReason+o.By)
		}
	}
	if len(against) == 0 {
		return d
	}
	return refuse(engine, sallyport.Deny, against...)
}

// opinionsText is opinions as a decided event records them: names with "+" or "-" behind, one space between.
func opinionsText(all []Opinion) string {
	words := make([]string, len(all))
	for i, o := range all {
		if words[i] = o.By + "-"; o.Permit {
			words[i] = o.By + "+"
		}
	}
	return strings.Join(words, " ")
}

// parseOpinions reads what opinionsText wrote; an error is of kind Invalid.
func parseOpinions(text string) ([]Opinion, error) {
	if text == "" {
		return nil, nil
	}
	var all []Opinion
	for word := range strings.SplitSeq(text, " ") {
		name, permit := strings.CutSuffix(word, "+")
		if !permit {
			name, _ = strings.CutSuffix(word, "-")
		}
		if name == word || sallyport.CheckName("replay", name) != nil || len(all) == maxOpinions {
			return nil, sallyport.E("replay", sallyport.Invalid, "the recorded opinions are not names with + or -", "")
		}
		all = append(all, Opinion{By: name, Permit: permit})
	}
	return all, nil
}

// wellSaid checks what is recorded of opinions.
func (q *Question) wellSaid() bool {
	for _, o := range q.Opinions {
		if sallyport.CheckName("opinion", o.By) != nil {
			return false
		}
	}
	return len(q.Opinions) <= maxOpinions
}
