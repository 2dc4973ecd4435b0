package openai

import (
	"fmt"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/obligation"
)

// A budget is how many tokens an answer may bring. The upstream was asked for no more; one that goes on nevertheless is
// stopped: by the counts that it tells, and by its events, none of which holds less than a token but the first and the
// last of each answer and what some servers send beside. That finds an upstream that does not know its limit, and not one
// that deceives: many tokens in one event, or in a whole answer, without a count of them pass.
type budget struct {
	most   int64 // tokens, -1 = any number
	slack  int64 // events that need not hold a token
	events int64
}

// maxCounted is the most tokens that are counted; a permission that covers more covers any number.
const maxCounted = 1 << 53

// budget is what a request that was narrowed may bring.
func (b *request) budget(p *guard.Permit, route string) (budget, error) {
	most := obligation.Lowest(p, sallyport.MaxTokens)
	if most < 0 || most > maxCounted || route == "embeddings" {
		return budget{most: -1}, nil
	}
	answers, err := b.answers(route)
	return budget{most: most, slack: most/4 + 4*answers + 16}, err
}

// spend counts one event or a whole answer, of which the upstream says how many tokens have come.
func (b *budget) spend(a *answer, tokens int64) error {
	if a.choice {
		b.events++
	}
	if b.most < 0 || tokens <= b.most && b.events <= b.most+b.slack {
		return nil
	}
	return failed(fmt.Sprintf("the model server answers with more than the %d tokens that the permission covers; tell its operator", b.most), nil)
}
