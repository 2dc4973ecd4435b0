package risk

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport"
)

const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:%d.0) Gecko/20100101 Firefox/%d.0"
	iphone  = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1"
	windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36"
)

func day(n, hour int) time.Time {
	return time.Date(2026, 3, 2, hour, 0, 0, 0, time.UTC).AddDate(0, 0, n)
}

func from(prefix, asn, country, agent string) Login {
	l := Login{Prefix: prefix, ASN: asn, Country: country}
	l.ReadAgent(agent)
	return l
}

func ff(version int) string { return fmt.Sprintf(firefox, version, version) }

// office is a house of 20 people who sign in on workdays, at nine and after lunch, for so many days.
func office(days int) *Book {
	b := NewBook()
	for d := range days {
		for i := range 20 {
			who := sallyport.PrincipalID("user:p" + strconv.Itoa(i))
			b.Add(who, day(d, 9), from("192.0.2.0/24", "AS64496", "NO", ff(120)), "")
			b.Add(who, day(d, 13), from(fmt.Sprintf("198.51.%d.0/24", i), "AS64497", "NO", ff(120)), "")
		}
	}
	return b
}

func kinds(reasons []Reason) []Kind {
	var all []Kind
	for _, r := range reasons {
		all = append(all, r.Kind)
	}
	slices.Sort(all)
	return all
}

func TestSignals(t *testing.T) {
	b := office(30)
	usual := Attempt{Who: "user:p1", At: day(30, 9), Login: from("192.0.2.0/24", "AS64496", "NO", ff(120))}
	oslo, sydney := Position{true, 59.9, 10.7, 20}, Position{true, -33.9, 151.2, 20}
	for name, test := range map[string]struct {
		change func(*Attempt)
		want   []Kind
	}{
		"as always":              {func(*Attempt) {}, nil},
		"a newer browser":        {func(a *Attempt) { a.Login = from("192.0.2.0/24", "AS64496", "NO", ff(121)) }, nil},
		"a new telephone":        {func(a *Attempt) { a.Login = from("192.0.2.0/24", "AS64496", "NO", iphone) }, []Kind{NewDevice, Unfamiliar}},
		"another network":        {func(a *Attempt) { a.Login = from("203.0.113.0/24", "AS64497", "NO", ff(120)) }, []Kind{NewNetwork}},
		"another operator":       {func(a *Attempt) { a.Login = from("203.0.113.0/24", "AS1", "NO", ff(120)) }, []Kind{NewASN, NewNetwork}},
		"another country":        {func(a *Attempt) { a.Login = from("203.0.113.0/24", "AS1", "AU", ff(120)) }, []Kind{NewASN, NewCountry, NewNetwork, Unfamiliar}},
		"two in the morning":     {func(a *Attempt) { a.At = day(31, 2) }, []Kind{OddHour}},
		"an hour earlier":        {func(a *Attempt) { a.At = day(30, 8) }, nil},
		"wrong passwords before": {func(a *Attempt) { a.Failures = 3 }, []Kind{Failures}},
		"a known password":       {func(a *Attempt) { a.Breached = true }, []Kind{Breached}},
		"a known device":         {func(a *Attempt) { a.Device = "DEV-1"; a.Login = from("192.0.2.0/24", "AS64496", "NO", ff(90)) }, nil},
		"without places":         {func(a *Attempt) { a.Login = Login{Prefix: "203.0.113.0/24"}; a.Login.ReadAgent(ff(120)) }, []Kind{NewNetwork, Unfamiliar}},
		"from the other side of the earth in an hour": {func(a *Attempt) {
			a.Login, a.At, a.Before, a.Here = from("203.0.113.0/24", "AS1", "AU", ff(120)), day(29, 14), oslo, sydney
		}, []Kind{NewASN, NewCountry, NewNetwork, Travel, Unfamiliar}},
		"from the other side of the earth in two days": {func(a *Attempt) {
			a.Login, a.At, a.Before, a.Here = from("203.0.113.0/24", "AS1", "AU", ff(120)), day(31, 13), oslo, sydney
		}, []Kind{NewASN, NewCountry, NewNetwork, Unfamiliar}},
		"through the house's own network": {func(a *Attempt) {
			a.At, a.Before, a.Here, a.Shared = day(29, 14), oslo, sydney, true
		}, nil},
		"between two networks of their own": {func(a *Attempt) { a.At, a.Before, a.Here = day(29, 14), oslo, sydney }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := usual
			test.change(&a)
			score, reasons := b.Judge(a)
			slices.Sort(test.want)
			if got := kinds(reasons); !slices.Equal(got, test.want) {
				t.Errorf("score %d because of %v, want %v: %+v", score, got, test.want, reasons)
			}
		})
	}
}

// ID-7: a new device, a new operator and two in the morning ask for a stronger proof; faster than anybody travels holds.
func TestID7Scripted(t *testing.T) {
	b := office(30)
	score, reasons := b.Judge(Attempt{Who: "user:p1", At: day(31, 2), Login: from("203.0.113.0/24", "AS1", "NO", windows)})
	v := Rule(score, reasons, Lowest)
	if v.Needs != sallyport.PhishingResistant || v.Hold {
		t.Errorf("a new device, a new operator, at two: %+v", v)
	}
	if v := Rule(score, reasons, High); v.Needs != sallyport.PhishingResistant || !v.Notify {
		t.Errorf("the same under the highest threshold that there is: %+v", v)
	}
	score, reasons = b.Judge(Attempt{Who: "user:p1", At: day(29, 14), Login: from("203.0.113.0/24", "AS1", "AU", ff(120)),
		Before: Position{true, 59.9, 10.7, 20}, Here: Position{true, -33.9, 151.2, 20}})
	if v := Rule(score, reasons, Lowest); !v.Hold || !v.Notify {
		t.Errorf("faster than anybody travels: %+v", v)
	}
}

// ID-7: on thirty days without an attack at most one sign-in in a hundred is asked again. People change telephones,
// browsers update, some travel, some work from a café.
func TestID7BenignTrace(t *testing.T) {
	runs := 1
	if n, err := strconv.Atoi(os.Getenv("SALLYPORT_TEST_TRACES")); err == nil {
		runs = n
	}
	for seed := range runs {
		asked, all := benign(uint64(seed), 120, 30)
		t.Logf("run %d: %d of %d asked again (%.2f %%)", seed, asked, all, 100*float64(asked)/float64(all))
		if asked*100 > all {
			t.Errorf("run %d: more than one in a hundred", seed)
		}
		if all < 5000 {
			t.Errorf("run %d: only %d sign-ins", seed, all)
		}
	}
}

func benign(seed uint64, people, days int) (asked, all int) {
	r := rand.New(rand.NewPCG(seed, 7))
	agents := map[string]Login{}
	from := func(prefix, asn, country, agent string) Login { // a header is read once
		l, ok := agents[agent]
		if !ok {
			l.ReadAgent(agent)
			agents[agent] = l
		}
		l.Prefix, l.ASN, l.Country = prefix, asn, country
		return l
	}
	type habits struct {
		home, phone int
		version     int
		hour        int
		travels     int // from this day on, for four days
	}
	b, who := NewBook(), make([]habits, people)
	for i := range who {
		who[i] = habits{home: i, version: 118 + r.IntN(3), hour: 6 + r.IntN(4), travels: 200}
		if r.IntN(10) == 0 {
			who[i].travels = 10 + r.IntN(20)
		}
	}
	var scores []int
	for d := -20; d < days; d++ { // learning before it is measured
		for i := range who {
			h := &who[i]
			id := sallyport.PrincipalID("user:b" + strconv.Itoa(i))
			if r.IntN(28) == 0 {
				h.version++
			}
			if r.IntN(300) == 0 {
				h.phone++ // a new one
			}
			for range 1 + r.IntN(2) {
				l := from("192.0.2.0/24", "AS64496", "NO", ff(h.version))
				switch {
				case d >= h.travels && d < h.travels+4:
					l = from(fmt.Sprintf("203.0.%d.0/24", r.IntN(60)), "AS3"+strconv.Itoa(r.IntN(5)), "DE", ff(h.version))
				case r.IntN(100) < 40:
					l = from(fmt.Sprintf("198.51.%d.0/24", h.home), "AS6449"+strconv.Itoa(h.home%4), "NO", ff(h.version))
				case r.IntN(100) < 10:
					l = from(fmt.Sprintf("198.18.%d.0/24", r.IntN(250)), "AS6449"+strconv.Itoa(r.IntN(4)), "NO", fmt.Sprintf(firefox, 118, 118))
				}
				if h.phone > 0 && r.IntN(3) == 0 {
					l = from(l.Prefix, l.ASN, l.Country, iphone+strconv.Itoa(h.phone))
				}
				at := day(d, h.hour+r.IntN(9)).Add(time.Duration(r.IntN(3600)) * time.Second)
				score, reasons := b.Judge(Attempt{Who: id, At: at, Login: l})
				if v := Rule(score, reasons, Threshold(scores, 0.01)); d >= 0 {
					all++
					if v.Needs > 0 {
						asked++
					}
				}
				scores = append(scores, score)
				b.Add(id, at, l, "")
			}
		}
	}
	return asked, all
}

// Every point has a reason, no score leaves 0 to 100, and more evidence never lowers it.
func TestScoreProperties(t *testing.T) {
	b := office(20)
	prefixes, asns := []string{"192.0.2.0/24", "198.51.1.0/24", "203.0.113.0/24", ""}, []string{"AS64496", "AS64497", "AS1", ""}
	rapid.Check(t, func(t *rapid.T) {
		a := Attempt{Who: rapid.SampledFrom([]sallyport.PrincipalID{"user:p1", "user:p2", "user:new"}).Draw(t, "who"),
			At:       day(rapid.IntRange(0, 90).Draw(t, "day"), rapid.IntRange(0, 23).Draw(t, "hour")),
			Failures: rapid.IntRange(-2, 1000).Draw(t, "failures"), Shared: rapid.Bool().Draw(t, "shared"),
			Login: from(rapid.SampledFrom(prefixes).Draw(t, "prefix"), rapid.SampledFrom(asns).Draw(t, "asn"),
				rapid.SampledFrom([]string{"NO", "AU", ""}).Draw(t, "country"), rapid.SampledFrom([]string{ff(120), ff(3), iphone, windows, ""}).Draw(t, "agent")),
			Here:   Position{rapid.Bool().Draw(t, "here"), rapid.Float64Range(-90, 90).Draw(t, "lat"), rapid.Float64Range(-180, 180).Draw(t, "lon"), 10},
			Before: Position{rapid.Bool().Draw(t, "before"), 59.9, 10.7, 20}}
		score, reasons := b.Judge(a)
		sum := 0
		for _, r := range reasons {
			if sum += r.Points; r.Points < 0 || r.Text == "" || r.Kind == "" {
				t.Fatalf("a reason without points or words: %+v", r)
			}
		}
		if sum != score || score < 0 || score > MostPoints {
			t.Fatalf("score %d, its reasons have %d", score, sum)
		}
		more := a
		switch rapid.IntRange(0, 3).Draw(t, "more") {
		case 0:
			more.Failures = max(0, more.Failures) + rapid.IntRange(1, 20).Draw(t, "failures more")
		case 1:
			more.Breached = true
		case 2:
			more.Shared = false
		case 3:
			more.Here.Known, more.Before.Known = true, true
		}
		if again, _ := b.Judge(more); again < score {
			t.Fatalf("more evidence lowered %d to %d", score, again)
		}
		extra := append(slices.Clone(reasons), Reason{Raised, rapid.IntRange(0, 100).Draw(t, "raised"), "x", nil})
		if total, _ := Total(extra); total < score || total > MostPoints {
			t.Fatalf("one more reason made %d of %d", total, score)
		}
	})
}

// RISK2: no verdict refuses. Whatever the score, the answer is a proof to give; only impossible travel is a hold.
func TestRISK2NoScoreBlocks(t *testing.T) {
	for score := range MostPoints + 1 {
		reasons := []Reason{{Unfamiliar, score, "x", nil}}
		v := Rule(score, reasons, Lowest)
		if v.Hold || v.Needs > sallyport.PhishingResistant || (v.Needs > 0) != (score >= Lowest) || v.Notify != (score >= High) {
			t.Errorf("a score of %d: %+v", score, v)
		}
	}
}

func TestThreshold(t *testing.T) {
	many := func(n, high, at int) []int {
		all := make([]int, n)
		for i := range high {
			all[i] = at
		}
		return all
	}
	for name, test := range map[string]struct {
		scores []int
		share  float64
		want   int
	}{
		"nothing known":          {nil, 0.01, Lowest},
		"too little known":       {many(Enough-1, 50, 60), 0.01, Lowest},
		"nobody near":            {many(1000, 0, 0), 0.01, Lowest},
		"within the budget":      {many(1000, 10, 60), 0.01, Lowest},
		"over the budget":        {many(1000, 11, 60), 0.01, 61},
		"a larger budget":        {many(1000, 11, 60), 0.02, Lowest},
		"far over, and high":     {many(1000, 200, 99), 0.01, High},
		"a budget of nothing":    {many(1000, 1, 60), 0, 61},
		"a budget of everything": {many(1000, 1000, 100), 1, Lowest},
	} {
		if got := Threshold(test.scores, test.share); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestFaded(t *testing.T) {
	at := day(0, 0)
	for after, want := range map[time.Duration]int{-time.Hour: 60, 0: 60, 30 * time.Minute: 30, 59 * time.Minute: 1, time.Hour: 0, 2 * time.Hour: 0} {
		if got := Faded(60, at, at.Add(time.Hour), at.Add(after)); got != want {
			t.Errorf("after %v %d points are left, want %d", after, got, want)
		}
	}
	if Faded(60, at, at, at) != 0 || Faded(60, at, at.Add(time.Microsecond), at) != 60 {
		t.Error("points without a time")
	}
}

func TestReadAgent(t *testing.T) {
	for header, want := range map[string]Login{
		ff(120):                {Browser: "Firefox 120", OS: "Linux x86_64", Kind: "desktop"},
		iphone:                 {Browser: "Safari 17", OS: "iOS 17", Kind: "mobile"},
		windows:                {Browser: "Chrome 125", OS: "Windows 10", Kind: "desktop"},
		"":                     {Kind: "program"},
		"\x1b[2Jsallyport/1.2": {Kind: "program"},
	} {
		var l Login
		l.ReadAgent(header)
		if l.Kind != want.Kind || want.Browser != "" && (l.Browser != want.Browser || l.OS != want.OS) || len(l.Agent) != 16 {
			t.Errorf("%q: %+v, want %+v", header, l, want)
		}
	}
}

func FuzzReadAgent(f *testing.F) {
	for _, s := range []string{ff(120), iphone, windows, "", "(((", "a/b (c; d) e/f", "\x00\xff/1 (\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		var l Login
		l.ReadAgent(header)
		for _, s := range []string{l.Browser, l.OS, l.Kind} {
			if len(s) > 64 {
				t.Errorf("%q is long", s)
			}
			for _, c := range s {
				if c < 0x20 || c > 0x7e {
					t.Errorf("%q holds what moves a cursor", s)
				}
			}
		}
	})
}

func TestDistance(t *testing.T) {
	oslo, sydney, here := Position{true, 59.91, 10.75, 0}, Position{true, -33.87, 151.21, 0}, Position{true, 59.91, 10.75, 0}
	if d := Distance(oslo, sydney); d < 15900 || d > 16050 {
		t.Errorf("Oslo to Sydney is %.0f km", d)
	}
	if d := Distance(oslo, here); d != 0 {
		t.Errorf("no way is %.0f km", d)
	}
	if d := Distance(Position{true, 0, 0, 0}, Position{true, 0, 180, 0}); d < 20010 || d > 20020 {
		t.Errorf("half around is %.0f km", d)
	}
}
