package decision

import (
	"slices"
	"testing"

	"sallyport"
)

// TestOpinionsAreRecorded: what was said comes back from the record, and nothing else is read as it.
func TestOpinionsAreRecorded(t *testing.T) {
	for _, all := range [][]Opinion{nil, {{By: "corp", Permit: true}}, {{By: "corp"}, {By: "legal-2", Permit: true}}, {{By: "a-"}}} {
		got, err := parseOpinions(opinionsText(all))
		if err != nil || !slices.Equal(got, all) {
			t.Errorf("%v came back as %v, %v", all, got, err)
		}
	}
	for _, text := range []string{"corp", "+", "corp+ ", " corp+", "Corp+", "corp+,legal-", "a+ b+ c+ d+ e+", "corp*"} {
		if got, err := parseOpinions(text); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%q is read as %v, %v", text, got, err)
		}
	}
}

// TestOpinionsNarrow: a permission that somebody refuses is none, and no refusal becomes a permission.
func TestOpinionsNarrow(t *testing.T) {
	for _, outcome := range []sallyport.Outcome{sallyport.Allow, sallyport.Deny, sallyport.StepUp, sallyport.Hold} {
		for _, permit := range []bool{true, false} {
			q := Question{Opinions: []Opinion{{By: "corp", Permit: permit}}}
			got := q.heeded(nil, sallyport.Decision{Outcome: outcome}).Outcome
			if want := map[bool]sallyport.Outcome{true: outcome, false: sallyport.Deny}[permit || outcome != sallyport.Allow]; got != want {
				t.Errorf("%v here, permitted there %v: %v, want %v", outcome, permit, got, want)
			}
		}
	}
}

func FuzzOpinions(f *testing.F) {
	f.Add("corp+ legal-")
	f.Fuzz(func(t *testing.T, text string) {
		if all, err := parseOpinions(text); err == nil && opinionsText(all) != text {
			t.Errorf("%q is read as %v", text, all)
		}
	})
}
