package risk

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"sallyport"
)

// A Kind names a signal.
type Kind string

// The signals.
const (
	Unfamiliar Kind = "unfamiliar"  // the values look more like anybody than like the person
	NewDevice  Kind = "new-device"  // no device of theirs, and no browser and system that they have used
	NewNetwork Kind = "new-network" // an address block that they have not used
	NewASN     Kind = "new-asn"     // nor one of its operator
	NewCountry Kind = "new-country"
	Travel     Kind = "impossible-travel" // nobody is that fast
	OddHour    Kind = "odd-hour"
	Failures   Kind = "failed-attempts" // wrong proofs shortly before
	Breached   Kind = "breached-password"
	Learning   Kind = "learning" // too little is known of the person to compare with
	Raised     Kind = "raised"   // a finding, a report or a partner's signal
)

// The weights of the signals, in points. A new device or network alone stays below every threshold that an operator can
// set; together, and at an hour that the person does not keep, they do not.
const (
	mostUnfamiliar = 30
	perDoubling    = 10 // of how much likelier the values are for anybody
	weightDevice   = 25
	weightNetwork  = 5
	weightASN      = 20
	weightCountry  = 20
	weightTravel   = 60
	weightHour     = 20
	weightFailure  = 4 // each
	mostFailures   = 20
	weightBreached = 30
	weightLearning = 10
)

// The limits of the signals.
const (
	learnLogins = 10                  // so many sign-ins, or
	learnFor    = 5 * 24 * time.Hour  // so long, and the person is known; after
	silence     = 45 * 24 * time.Hour // without one, learning begins again
	fastest     = 900.0               // km/h: a passenger aircraft
	nearest     = 500.0               // km: below it no journey counts, whatever its speed
	habitual    = 3                   // sign-ins that make a network one's own
	// MostPoints is the highest score.
	MostPoints = 100
)

// A Reason is part of a score: what was seen, how much it weighs and by what.
type Reason struct {
	Kind     Kind              `json:"kind"`
	Points   int               `json:"points"`
	Text     string            `json:"text"`
	Evidence map[string]string `json:"evidence,omitempty"`
}

// A Position is a place on earth.
type Position struct {
	Known     bool
	Latitude  float64 // degrees
	Longitude float64
	Radius    float64 // km, within which the place may really be
}

// An Attempt is a sign-in whose proofs were right and that is to be judged.
type Attempt struct {
	Who      sallyport.PrincipalID
	At       time.Time
	Login    Login
	Device   string // id of the device whose key was proved, or of a browser that was seen before; "" for none
	Here     Position
	Before   Position // where the person's last sign-in came from
	Shared   bool     // the address is one that many people leave from, such as the house's own VPN
	Failures int      // wrong proofs for this person in the last quarter of an hour
	Breached bool     // the password is on a list of known ones
}

// Last returns when and from where a person signed in last.
func (b *Book) Last(who sallyport.PrincipalID) (time.Time, Login, bool) {
	p := b.people[who]
	if p == nil {
		return time.Time{}, Login{}, false
	}
	return p.last, p.from, true
}

// Judge returns the score of an attempt, 0 to MostPoints, and its reasons, the heaviest first. Their points add up to the
// score. More evidence never lowers it.
func (b *Book) Judge(a Attempt) (int, []Reason) {
	p := b.people[a.Who]
	reasons := slices.Concat(p.travel(&a), b.unfamiliar(&a), p.unknown(&a), p.hour(&a), proofs(&a))
	return Total(reasons)
}

// Total adds reasons up. Where they exceed MostPoints the lightest count for less, down to nothing,
// so that the points are the score's.
func Total(reasons []Reason) (int, []Reason) {
	all := slices.DeleteFunc(slices.Clone(reasons), func(r Reason) bool { return r.Points <= 0 })
	slices.SortStableFunc(all, func(x, y Reason) int { return cmp.Compare(y.Points, x.Points) })
	score := 0
	for i := range all {
		all[i].Points = min(all[i].Points, MostPoints-score)
		score += all[i].Points
	}
	return score, all
}

// learning reports whether too little, or nothing of late, is known.
func (p *person) learning(at time.Time) bool {
	return p == nil || p.logins < learnLogins && at.Sub(p.first) < learnFor || at.Sub(p.last) > silence
}

// unfamiliar is the statistical part, which is capped: it may ask, and never alone.
func (b *Book) unfamiliar(a *Attempt) []Reason {
	c := b.Counts(a.Who, a.Login)
	score, known := c.Score()
	if b.people[a.Who].learning(a.At) || !known {
		return []Reason{{Learning, weightLearning, "too few sign-ins to compare with", map[string]string{"sign-ins": strconv.Itoa(c.Own)}}}
	}
	points := min(mostUnfamiliar, int(math.Round(perDoubling*math.Log2(max(1, score)))))
	return []Reason{{Unfamiliar, points, "this looks more like somebody else", map[string]string{
		"score":    strconv.FormatFloat(score, 'g', 4, 64),
		"network":  strconv.FormatFloat(c.Features[OfNetwork].Ratio(c.Own, c.Logins), 'g', 4, 64),
		"agent":    strconv.FormatFloat(c.Features[OfAgent].Ratio(c.Own, c.Logins), 'g', 4, 64),
		"sign-ins": strconv.Itoa(c.Own),
	}}}
}

// seen is how many of the person's sign-ins had a value.
func (p *person) seen(group, level int, value string) int {
	return p.own[slot{uint8(group), uint8(level), value}]
}

// unknown are the values that the person has never had. Who is new has nothing to differ from.
func (p *person) unknown(a *Attempt) []Reason {
	if p.learning(a.At) {
		return nil
	}
	var all []Reason
	l := &a.Login
	if p.devices[a.Device] == 0 && (p.seen(OfAgent, 2, l.OS) == 0 || p.seen(OfAgent, 1, l.Browser) == 0 && a.Device == "" && !p.sameFamily(l)) {
		all = append(all, Reason{NewDevice, weightDevice, "a device that was not used before", map[string]string{"browser": l.Browser, "os": l.OS, "kind": l.Kind}})
	}
	if p.seen(OfNetwork, 0, l.Prefix) == 0 {
		all = append(all, Reason{NewNetwork, weightNetwork, "a network that was not used before", map[string]string{"network": l.Prefix}})
	}
	if l.ASN != "" && p.seen(OfNetwork, 1, l.ASN) == 0 {
		all = append(all, Reason{NewASN, weightASN, "a network operator that was not used before", map[string]string{"asn": l.ASN}})
	}
	if l.Country != "" && p.seen(OfNetwork, 2, l.Country) == 0 {
		all = append(all, Reason{NewCountry, weightCountry, "a country that was not seen before", map[string]string{"country": l.Country}})
	}
	return all
}

// sameFamily reports whether the browser is one that the person has used in another version: programs update themselves.
func (p *person) sameFamily(l *Login) bool {
	name := family(l.Browser)
	for k := range p.own {
		if k.group == OfAgent && k.level == 1 && family(k.value) == name {
			return true
		}
	}
	return false
}

// hour is a time of day at which the person has not signed in, within an hour.
func (p *person) hour(a *Attempt) []Reason {
	if p.learning(a.At) || p.logins < learnLogins {
		return nil
	}
	h, near := a.At.UTC().Hour(), 0
	for _, d := range []int{23, 0, 1} {
		near += p.hours[(h+d)%24]
	}
	if near*50 > p.logins { // more than 2 %
		return nil
	}
	return []Reason{{OddHour, weightHour, "an hour at which they do not sign in", map[string]string{"hour": fmt.Sprintf("%02d:00 UTC", h), "near": strconv.Itoa(near), "sign-ins": strconv.Itoa(p.logins)}}}
}

// travel is a way from the last sign-in that nobody can have made.
func (p *person) travel(a *Attempt) []Reason {
	if p == nil || a.Shared || !a.Here.Known || !a.Before.Known || p.habit(&a.Login) && p.habit(&p.from) {
		return nil
	}
	far := Distance(a.Before, a.Here) - a.Before.Radius - a.Here.Radius
	took := max(a.At.Sub(p.last), time.Second)
	speed := far / took.Hours()
	if far < nearest || speed <= fastest {
		return nil
	}
	return []Reason{{Travel, weightTravel, "faster than anybody travels", map[string]string{
		"km": strconv.Itoa(int(far)), "took": took.Round(time.Second).String(), "km/h": strconv.Itoa(int(min(speed, 1e6))),
		"from": p.from.Country + " " + p.from.Prefix, "to": a.Login.Country + " " + a.Login.Prefix}}}
}

// habit reports whether a network is one of the person's own.
func (p *person) habit(l *Login) bool {
	return p.seen(OfNetwork, 0, l.Prefix) >= habitual || l.ASN != "" && p.seen(OfNetwork, 1, l.ASN) >= habitual
}

// proofs are signals about the proofs themselves.
func proofs(a *Attempt) []Reason {
	var all []Reason
	if a.Failures > 0 {
		all = append(all, Reason{Failures, min(mostFailures, weightFailure*min(a.Failures, mostFailures)), "wrong proofs shortly before", map[string]string{"count": strconv.Itoa(a.Failures)}})
	}
	if a.Breached {
		all = append(all, Reason{Breached, weightBreached, "the password is on a list of known ones", nil})
	}
	return all
}

// Distance is the length of the way over the surface of the earth, in km.
func Distance(a, b Position) float64 {
	const earth = 6371.0
	rad := math.Pi / 180
	dLat, dLon := (b.Latitude-a.Latitude)*rad, (b.Longitude-a.Longitude)*rad
	h := math.Pow(math.Sin(dLat/2), 2) + math.Cos(a.Latitude*rad)*math.Cos(b.Latitude*rad)*math.Pow(math.Sin(dLon/2), 2)
	return 2 * earth * math.Asin(math.Sqrt(min(1, h)))
}
