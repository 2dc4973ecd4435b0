package decision_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
)

// trainings demands training of the last year for restricted weights.
const trainings = `
@id("use") @owner("x") @requirement("AZ-1") permit(principal, action in [Action::"use", Action::"possess"], resource);
@id("weights.trained") @owner("x") @requirement("ID-13") @text("Restricted weights go to who was trained in the last year.")
forbid(principal, action in Action::"possess", resource) when { resource.class == "restricted" } unless { context.training <= 365 };
`

// ID-13: who was never trained, or too long ago, is refused where a policy demands it, is told the way out, and the answer
// is the same from the record alone.
func TestID13TrainingIsDemanded(t *testing.T) {
	e := compile(t, trainings)
	const day = 24 * time.Hour
	for _, test := range []struct {
		name    string
		trained time.Time
		class   sallyport.Class
		action  sallyport.Action
		want    string
	}{
		{"never", time.Time{}, sallyport.Restricted, sallyport.ModelPull, "deny weights.trained"},
		{"today", noon, sallyport.Restricted, sallyport.ModelPull, "allow use"},
		{"to come", noon.Add(time.Second), sallyport.Restricted, sallyport.ModelPull, "deny weights.trained"},
		{"the last moment", noon.Add(-366*day + time.Second), sallyport.Restricted, sallyport.ModelPull, "allow use"},
		{"a moment too long ago", noon.Add(-366 * day), sallyport.Restricted, sallyport.ModelPull, "deny weights.trained"},
		{"before records begin", time.Date(1901, 1, 1, 0, 0, 0, 0, time.UTC), sallyport.Restricted, sallyport.ModelPull, "deny weights.trained"},
		{"never, something internal", time.Time{}, sallyport.Internal, sallyport.ModelPull, "allow use"},
		{"never, only used", time.Time{}, sallyport.Restricted, sallyport.ModelInfer, "allow use"},
	} {
		b := basis()
		b.Resource.Class, b.Entities[2].Attrs["class"] = test.class, str(string(test.class))
		q := question(test.action)
		q.Trained = test.trained
		f := decision.Facts{Basis: prepare(t, e, b), Question: q}
		d := decision.Decide(e, f)
		if got := d.Outcome.String() + " " + strings.Join(d.ReasonIDs(), " "); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
		if d.Outcome != sallyport.Allow && (len(d.Remedies) != 1 || d.Remedies[0].Kind != sallyport.RemedyTrain) {
			t.Errorf("%s: the way out is %+v", test.name, d.Remedies)
		}
		replayed(t, e, f, d)
	}
}

// TestRecordsFromBeforeTraining: a question of somebody who never was trained is recorded byte for byte as before there was
// training.
func TestRecordsFromBeforeTraining(t *testing.T) {
	encode := func(q decision.Question) []byte {
		t.Helper()
		body, err := sallyport.Event{Type: sallyport.EventDecided, At: q.At.UnixMicro(), Action: q.Action, Asked: q.Recorded()}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	q := question(sallyport.ModelPull)
	before := `{"t":"decided","at":1772625600000000,"a":"model.pull","q":{"w":"test","ip":"127.0.0.1","sc":"*","al":1,"au":1772625540,"s":"s1","fm":"f1"}}`
	if got := encode(q); string(got) != before {
		t.Errorf("recorded as %s, want %s", got, before)
	}
	q.Trained = noon.Add(-time.Hour)
	if got := encode(q); !bytes.Contains(got, []byte(`"tr":1772622000`)) {
		t.Errorf("recorded as %s", got)
	}
}
