package openai

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sallyport"
	"sallyport/internal/enforce/guard"
	"sallyport/internal/enforce/obligation"
)

// Carries are the obligations that a request is narrowed to before it is forwarded.
func (*Chat) Carries() []sallyport.ObligationKind {
	return []sallyport.ObligationKind{sallyport.MaxTokens, sallyport.Logprobs}
}

// narrow makes a request ask for no more than its permit covers. Tokens are lowered,
// as an answer that ends early says so itself; probabilities are not left out in
// silence: who asks for more than may be told is refused.
func (b *request) narrow(p *guard.Permit, route string) error {
	if route == "embeddings" {
		return nil // it generates nothing
	}
	if most := obligation.Lowest(p, sallyport.MaxTokens); most >= 0 {
		if err := b.narrowTokens(route, most); err != nil {
			return err
		}
	}
	if most := obligation.Lowest(p, sallyport.Logprobs); most >= 0 {
		return b.narrowProbabilities(route, most)
	}
	return nil
}

// narrowTokens shares most tokens among the answers that are asked for.
func (b *request) narrowTokens(route string, most int64) error {
	answers, err := b.answers(route)
	if err != nil {
		return err
	}
	if answers > most {
		return invalid(fmt.Sprintf("%d answers are asked for, and the permission covers %d tokens", answers, most), "ask for fewer")
	}
	each, names := most/answers, []string{"max_tokens", "max_completion_tokens"}
	if route == "responses" {
		names = []string{"max_output_tokens"}
	}
	said := false
	for _, name := range names {
		n, given, err := b.number(name)
		if err != nil {
			return err
		}
		if !given {
			continue
		}
		if n == 0 {
			return invalid("the field "+quote(name)+" is 0, which some model servers take for any number", "ask for at least 1")
		}
		b.set(name, min(n, each)) // as we read it, whatever form it had
		said = true
	}
	if !said {
		b.set(names[0], each)
	}
	return nil
}

// answers is how many are asked for: each prompt of a list brings its own.
func (b *request) answers(route string) (int64, error) {
	answers := int64(1)
	for _, name := range []string{"n", "best_of"} {
		n, given, err := b.number(name)
		if err != nil {
			return 0, err
		}
		if given {
			answers = max(answers, n)
		}
	}
	if prompts := b.prompts(route); answers <= math.MaxInt64/prompts {
		return answers * prompts, nil
	}
	return math.MaxInt64, nil
}

// prompts is how many stand in a request for completions: a list of numbers is one.
func (b *request) prompts(route string) int64 {
	n := int64(1)
	for _, f := range b.fields {
		if f.name != "prompt" || f.value.Kind() != '[' || route != "completions" {
			continue
		}
		var list []jsontext.Value
		if json.Unmarshal(f.value, &list) == nil && len(list) > 0 && list[0].Kind() != '0' { // it was parsed before
			n = int64(len(list))
		}
	}
	return n
}

// narrowProbabilities refuses a request for more than most alternatives of each token;
// 0 is no probability at all.
func (b *request) narrowProbabilities(route string, most int64) error {
	refused := invalid(fmt.Sprintf("the permission covers %d alternatives of each token", most), "ask for no more in logprobs and top_logprobs")
	for _, f := range b.fields {
		switch {
		case f.value.Kind() == 'n' || f.value.Kind() == 'f':
		case f.name == "include" && most == 0 && strings.Contains(plain(f.value), "logprobs"):
			return refused
		case f.name == "logprobs" && most == 0:
			return refused
		case f.name == "logprobs" && f.value.Kind() == 't' && route == "chat":
		case f.name == "logprobs" || f.name == "top_logprobs":
			n, _, err := b.number(f.name)
			if err != nil || n > most {
				return refused
			}
		}
	}
	return nil
}

// plain is the text of a value with the escapes of its strings undone.
func plain(v jsontext.Value) string {
	c := v.Clone()
	if err := c.Canonicalize(); err != nil {
		return "logprobs" // what cannot be read asks for everything
	}
	return string(c)
}

// number reads a whole number that is not below zero; null and none at all are not given.
func (b *request) number(name string) (n int64, given bool, err error) {
	for _, f := range b.fields {
		if f.name != name || f.value.Kind() == 'n' {
			continue
		}
		x, err := strconv.ParseFloat(string(f.value), 64)
		if f.value.Kind() != '0' || err != nil || x < 0 || x != math.Trunc(x) || x > 1<<53 {
			return 0, false, invalid("the field "+quote(name)+" must be a whole number", "")
		}
		return int64(x), true, nil
	}
	return 0, false, nil
}

// set puts a number in a field.
func (b *request) set(name string, n int64) {
	value := jsontext.Value(strconv.AppendInt(nil, n, 10))
	for i := range b.fields {
		if b.fields[i].name == name {
			b.fields[i].value = value
			return
		}
	}
	b.fields = append(b.fields, field{name, value})
}
