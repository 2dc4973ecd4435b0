package approval

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport"
)

func request() Request {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	r := Request{ID: "R-1", Topic: "grant", Asker: "service:bot", AskerPerson: "user:ana", Subject: "s", Canonical: []byte("c"), Need: 2,
		Approvers: "others", Created: now, Expires: now.Add(time.Hour), State: Pending}
	r.Hash = r.Question().Hash()
	return r
}

// TestHashCoversEachField: no edit of what a vote is for keeps the hash (I-10).
func TestHashCoversEachField(t *testing.T) {
	for name, edit := range map[string]func(*Request){
		"id":         func(r *Request) { r.ID = "R-2" },
		"topic":      func(r *Request) { r.Topic = "policy" },
		"asker":      func(r *Request) { r.Asker = "service:bot2" },
		"person":     func(r *Request) { r.AskerPerson = "user:bob" },
		"subject":    func(r *Request) { r.Subject = "t" },
		"canonical":  func(r *Request) { r.Canonical = []byte("d") },
		"need":       func(r *Request) { r.Need = 1 },
		"approvers":  func(r *Request) { r.Approvers = "anybody" },
		"created":    func(r *Request) { r.Created = r.Created.Add(time.Microsecond) },
		"expires":    func(r *Request) { r.Expires = r.Expires.Add(time.Microsecond) },
		"a boundary": func(r *Request) { r.Subject, r.Canonical = "sc", nil },
	} {
		r := request()
		if !r.Intact() {
			t.Fatal("a request is not intact before the edit")
		}
		if edit(&r); r.Intact() {
			t.Errorf("another %s keeps the hash", name)
		}
	}
}

// TestCountKeepsTheRule: whatever ballots come in whatever order, an approved
// request has exactly Need yeses of distinct people, none of them the asker.
func TestCountKeepsTheRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := request()
		r.Need = rapid.IntRange(1, 4).Draw(t, "need")
		r.Hash = r.Question().Hash()
		people := rapid.SampledFrom([]sallyport.PrincipalID{"user:ana", "user:b", "user:c", "user:d", "user:e", "user:f"})
		voters := rapid.SampledFrom([]sallyport.PrincipalID{"service:bot", "user:ana", "user:b", "user:c", "user:d", "user:e", "user:f"})
		for range rapid.IntRange(0, 12).Draw(t, "ballots") {
			v := Vote{Voter: voters.Draw(t, "voter"), Person: people.Draw(t, "person"), Yes: rapid.IntRange(0, 5).Draw(t, "yes") > 0,
				At: r.Created.Add(time.Duration(rapid.IntRange(0, 70).Draw(t, "minute")) * time.Minute)}
			before := r
			if err := r.count(v, r.Hash, v.At); err != nil && (r.State != before.State || len(r.Votes) != len(before.Votes)) {
				t.Fatalf("a refused ballot changed the request: %v", err)
			}
		}
		seen := map[sallyport.PrincipalID]bool{}
		yes := 0
		for _, v := range r.Votes {
			if seen[v.Person] || v.Person == r.AskerPerson || v.Voter == r.Asker || !v.At.Before(r.Expires) {
				t.Fatalf("counted: %+v", v)
			}
			seen[v.Person] = true
			if v.Yes {
				yes++
			}
		}
		want := Pending
		switch {
		case yes < len(r.Votes):
			want = Denied
		case yes == r.Need:
			want = Approved
		}
		if r.State != want || yes > r.Need {
			t.Fatalf("%d yeses of %d votes for %d: %v, want %v", yes, len(r.Votes), r.Need, r.State, want)
		}
	})
}

func TestRequestsAreChecked(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*Request)
		want  sallyport.Kind
	}{
		"no approvals":       {func(r *Request) { r.Need = 0 }, sallyport.Invalid},
		"less than none":     {func(r *Request) { r.Need = -1 }, sallyport.Invalid},
		"too many":           {func(r *Request) { r.Need = MaxNeed + 1 }, sallyport.Invalid},
		"no asker":           {func(r *Request) { r.Asker = "" }, sallyport.Invalid},
		"no person":          {func(r *Request) { r.AskerPerson = "" }, sallyport.Invalid},
		"a program's person": {func(r *Request) { r.AskerPerson = "service:bot" }, sallyport.Invalid},
		"nothing asked":      {func(r *Request) { r.Canonical = nil }, sallyport.TooLarge},
		"too much asked":     {func(r *Request) { r.Canonical = make([]byte, MaxCanonical+1) }, sallyport.TooLarge},
		"over at once":       {func(r *Request) { r.Expires = r.Created }, sallyport.Invalid},
		"open for years":     {func(r *Request) { r.Expires = r.Created.AddDate(1, 0, 0) }, sallyport.Invalid},
		"no topic":           {func(r *Request) { r.Topic = "" }, sallyport.Invalid},
		"no subject":         {func(r *Request) { r.Subject = "" }, sallyport.Invalid},
		"a subject of lines": {func(r *Request) { r.Subject = "a\r\nb" }, sallyport.Invalid},
		"no rule":            {func(r *Request) { r.Approvers = "" }, sallyport.Invalid},
	} {
		r := request()
		if err := r.check(); err != nil {
			t.Fatal(err)
		}
		test.spoil(&r)
		if err := r.check(); err == nil || sallyport.KindOf(err) != test.want {
			t.Errorf("%s = %v, want an error of kind %v", name, err, test.want)
		}
	}
}
