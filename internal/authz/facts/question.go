package facts

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/authz/policy"
	"sallyport/internal/identity/device"
)

// Question is what is known of a call by p from an address at a time, besides what
// it is about: the caller fills in action, door and file. It reads devices, risk and
// networks as they are in the snapshot, so that the same call asked again on a later
// one is decided on what has become of them. Everything is cut to what a record
// keeps, so that a replay sees the same.
func (s *Snapshot) Question(p sallyport.Principal, at time.Time, ip string) decision.Question {
	q := decision.Question{
		At: at, IP: ip, Scope: p.Scope, Assurance: p.Assurance, AuthTime: p.AuthTime.Truncate(time.Second),
		Session: p.Session, Family: p.Family, Staleness: s.Age(at).Truncate(time.Millisecond),
		Client: p.Client, Actors: p.Actors, Bound: p.Bound(), Purpose: p.Purpose,
		Network: s.keeper.sources.Networks.Label(ip),
	}
	q.Working, q.Country, q.History = s.keeper.sources.Calendar.Working(at), s.country(ip), s.History(p.ID, at)
	if at, ok := s.trained[s.behind(p.ID)]; ok {
		q.Trained = at.UTC().Truncate(time.Second)
	}
	if p.Session != "" {
		q.Risk = min(max(s.risks[p.Session], 0), 100)
	}
	if d, ok := s.devices.ByID(p.Device); ok {
		q.Device = asked(d, at)
	}
	return q
}

// Turns are the working hours to come, for ways out of a decision that was made when Working was what it says; nil where
// the calendar has changed since.
func (s *Snapshot) Turns(q decision.Question) decision.Turns {
	if s.keeper.sources.Calendar.Working(q.At) != q.Working {
		return nil
	}
	return s.keeper.turns
}

// History is what the person behind a principal did before a time, as far as the trail
// was read.
func (s *Snapshot) History(id sallyport.PrincipalID, at time.Time) policy.History {
	if s.keeper.sources.History == nil {
		return policy.History{}
	}
	return s.keeper.sources.History(s.behind(id), at)
}

// country is where a textual address lies; what is no code of a country is not known.
func (s *Snapshot) country(ip string) string {
	if s.keeper.sources.Country == nil {
		return ""
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	c := s.keeper.sources.Country(addr.Unmap().WithZone(""))
	if len(c) != 2 || c[0] < 'A' || c[0] > 'Z' || c[1] < 'A' || c[1] > 'Z' {
		return ""
	}
	return c
}

// Behind is the person behind a principal, itself where nobody knows it.
func (s *Snapshot) Behind(id sallyport.PrincipalID) sallyport.PrincipalID { return s.behind(id) }

// asked is a device as a question knows it.
func asked(d device.Device, at time.Time) decision.Device {
	posture, age := d.Reported(at)
	return decision.Device{ID: d.ID, Class: string(d.Class), Level: int(d.Level), Posture: age, OS: posture.OS,
		Encrypted: posture.Encrypted, Locked: posture.Locked, Patched: posture.Patched}
}

// Devices is the index of the enrolled devices.
func (s *Snapshot) Devices() device.Index { return s.devices }

// Facts are all facts about a call by p on x: the question as Question knows it, and
// what is known of p and of everybody who acts on its behalf.
func (s *Snapshot) Facts(p sallyport.Principal, x sallyport.Resource, at time.Time, ip string) (decision.Facts, error) {
	f := decision.Facts{Question: s.Question(p, at, ip), Turns: s.keeper.turns}
	var err error
	if f.Basis, err = s.Basis(p, x); err != nil || len(p.Actors) == 0 {
		return f, err
	}
	f.Acting = make([]*decision.Basis, len(p.Actors))
	for i, actor := range p.Actors {
		if f.Acting[i], err = s.Basis(sallyport.Principal{ID: actor}, x); err != nil {
			return f, err
		}
	}
	return f, nil
}

// Networks are the operator's labels of addresses, the narrowest network first. The
// zero value labels nothing.
type Networks []Network

// A Network is one of them.
type Network struct {
	Prefix netip.Prefix
	Label  string
}

// ParseNetworks reads labels by CIDR, such as "192.0.2.0/24": "office". Each network
// has one spelling: no bits are set behind its prefix.
func ParseNetworks(labels map[string]string) (Networks, error) {
	var n Networks
	for cidr, label := range labels {
		p, err := netip.ParsePrefix(cidr)
		if err != nil || p != p.Masked() || p.Addr().Is4In6() {
			return nil, sallyport.E("networks", sallyport.Invalid, fmt.Sprintf("%.60q is no network", cidr), "write it as 192.0.2.0/24 or 2001:db8::/32, without bits behind the prefix")
		}
		if err := sallyport.CheckName("networks", label); err != nil {
			return nil, err
		}
		n = append(n, Network{p, label})
	}
	slices.SortFunc(n, func(a, b Network) int {
		if a.Prefix.Bits() != b.Prefix.Bits() {
			return b.Prefix.Bits() - a.Prefix.Bits()
		}
		return a.Prefix.Addr().Compare(b.Prefix.Addr())
	})
	return n, nil
}

// Label is the label of the narrowest network that holds a textual address, "" where
// none does.
func (n Networks) Label(ip string) string {
	if len(n) == 0 {
		return ""
	}
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	a = a.Unmap().WithZone("")
	for _, x := range n {
		if x.Prefix.Contains(a) {
			return x.Label
		}
	}
	return ""
}
