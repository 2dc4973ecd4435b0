package risk

import (
	"time"

	"sallyport"
)

// The groups of values that are counted.
const (
	OfNetwork = iota // shortened address, network (ASN), country
	OfAgent          // agent, browser, operating system, kind of device
	Groups
)

// levels is how many levels the largest group has.
const levels = 4

// weights are those of the reference implementation, by group and level.
func weights() [Groups][levels]float64 {
	return [Groups][levels]float64{
		{0.6, 0.3, 0.1},
		{0.5386653840551359, 0.2680451498625666, 0.18818295100109536, 0.0051065150812021525},
	}
}

// depth is how many levels a group has.
func depth(group int) int {
	if group == OfNetwork {
		return 3
	}
	return levels
}

// A Login is what is kept of one sign-in, and what an attempt is compared with. Values are opaque: two are equal or not.
// "" is a value like any other: unknown.
type Login struct {
	Prefix  string // the address, cut to /24 or /48
	ASN     string // "AS64496"
	Country string // ISO 3166-1, two letters

	Agent   string // a digest of what the browser calls itself
	Browser string // name and version
	OS      string // name and version
	Kind    string // "desktop", "mobile", "tablet", "program"
}

func (l *Login) values() [Groups][levels]string {
	return [Groups][levels]string{{l.Prefix, l.ASN, l.Country}, {l.Agent, l.Browser, l.OS, l.Kind}}
}

// A slot is one value at one place, the key of every counter.
type slot struct {
	group, level uint8
	value        string
}

// A Book counts sign-ins: of everybody, and of each person. It only grows; whoever forgets old sign-ins makes a new one
// from those that are left. A Book is not safe for concurrent use.
type Book struct {
	logins   int
	all      map[slot]int
	distinct [Groups][levels]int
	shared   map[slot]*spread // by the most precise value of each group
	people   map[sallyport.PrincipalID]*person
}

// A spread is who shares a most precise value.
type spread struct {
	rows  int
	below map[slot]struct{} // values of the other levels in those rows
}

// A person is what a Book knows of one.
type person struct {
	logins  int
	first   time.Time
	last    time.Time
	from    Login // of the last
	own     map[slot]int
	hours   [24]int
	devices map[string]int
}

// NewBook returns a book without a sign-in.
func NewBook() *Book {
	return &Book{all: map[slot]int{}, shared: map[slot]*spread{}, people: map[sallyport.PrincipalID]*person{}}
}

// Logins is how many sign-ins are counted.
func (b *Book) Logins() int { return b.logins }

// Add counts a successful sign-in. device is the id of what is known to be one device of the person, "" for none.
func (b *Book) Add(who sallyport.PrincipalID, at time.Time, l Login, device string) {
	p := b.people[who]
	if p == nil {
		p = &person{own: map[slot]int{}, devices: map[string]int{}, first: at}
		b.people[who] = p
	}
	b.logins++
	p.logins++
	if !at.Before(p.last) {
		p.last, p.from = at, l
	}
	p.hours[at.UTC().Hour()]++
	if device != "" {
		p.devices[device]++
	}
	for g, group := range l.values() {
		first := slot{uint8(g), 0, group[0]}
		s := b.shared[first]
		if s == nil {
			s = &spread{below: map[slot]struct{}{}}
			b.shared[first] = s
		}
		s.rows++
		for i := range depth(g) {
			k := slot{uint8(g), uint8(i), group[i]}
			if b.all[k]++; b.all[k] == 1 {
				b.distinct[g][i]++
			}
			p.own[k]++
			if i > 0 {
				s.below[k] = struct{}{}
			}
		}
	}
}

// Counts returns the numbers for an attempt that is not in the book yet.
func (b *Book) Counts(who sallyport.PrincipalID, l Login) Counts {
	c := Counts{Logins: b.logins, Users: len(b.people)}
	p := b.people[who]
	if p != nil {
		c.Own = p.logins
	}
	weight := weights()
	for g, group := range l.values() {
		f := &c.Features[g]
		f.Levels = make([]Level, depth(g))
		f.Rows, f.Below = 1, 1
		s := b.shared[slot{uint8(g), 0, group[0]}]
		if s != nil {
			f.Rows, f.Below = s.rows+1, len(s.below)+1
		}
		for i := range f.Levels {
			k := slot{uint8(g), uint8(i), group[i]}
			f.Levels[i] = Level{Weight: weight[g][i], All: b.all[k], Distinct: b.distinct[g][i]}
			if p != nil {
				f.Levels[i].Own = p.own[k]
			}
			if s == nil && i > 0 {
				f.Below++
			} else if i > 0 {
				if _, known := s.below[k]; !known {
					f.Below++
				}
			}
		}
	}
	return c
}
