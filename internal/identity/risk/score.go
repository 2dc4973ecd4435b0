// Package risk owns the risk score of a sign-in (risk-based authentication: Freeman, Jain, Dürmuth, Biggio and Giacinto,
// "Who Are You? A Statistical Approach to Measuring User Authenticity", NDSS 2016, in the form of Wiefling et al.): how
// much less a set of values looks like this person than like anybody, the deterministic signals around it, and 0 to 100
// points of which every one has a reason.
//
// The package is pure: times come with the attempt, counters are values that the caller keeps. It decides nothing. What
// a score brings about is policy; where sign-ins are kept is identity/habit; where addresses lie is identity/place.
package risk

// A Counts is what is known before an attempt, in numbers.
type Counts struct {
	Logins   int // successful sign-ins of everybody
	Users    int // distinct people among them
	Own      int // those of the person
	Features [Groups]Feature
}

// A Feature is one group of values of rising precision, the most precise first: address, network, country.
type Feature struct {
	Levels []Level
	// Rows is how many sign-ins have the most precise value; Below is one more than the distinct values of the other
	// levels among them. They smooth the frequency of a value that stands for many people at once. The attempt itself
	// counts in both, so that Rows is at least one.
	Rows, Below int
}

// A Level is one value of a feature.
type Level struct {
	Weight   float64
	Own      int // sign-ins of the person with this value
	All      int // sign-ins of everybody with this value
	Distinct int // distinct values of this level among all sign-ins
}

// Score returns how many times likelier the values are for anybody than for the person, weighed with how often the
// person signs in; above one the attempt looks more like somebody else. It reports false for a person without a sign-in:
// nothing is known of them, and no number would be honest.
func (c *Counts) Score() (float64, bool) {
	if c.Own < 1 || c.Logins < c.Own || c.Users < 1 {
		return 0, false
	}
	score := (1 / float64(c.Users)) / (float64(c.Own) / float64(c.Logins))
	for i := range c.Features {
		score *= c.Features[i].Ratio(c.Own, c.Logins)
	}
	return score, true
}

// Ratio is the part of one feature: its likelihood for anybody over its likelihood for a person with own of all logins.
// Values that the person has never had count as a quarter as likely as they are for anybody.
func (f *Feature) Ratio(own, logins int) float64 {
	local, unseen := 0.0, 1
	for i, l := range f.Levels {
		local += l.Weight * float64(l.Own) / float64(own)
		if i > 0 {
			unseen += l.Distinct
		}
	}
	global := 0.0
	for i, l := range f.Levels {
		if i > 0 {
			global += l.Weight * float64(l.All) / float64(logins)
			continue
		}
		spread := float64(f.Rows) / float64(f.Rows+f.Below)
		global = l.Weight * spread * float64(max(l.All, 1)) / float64(logins+unseen)
	}
	if local == 0 {
		return 4
	}
	return global / local
}
