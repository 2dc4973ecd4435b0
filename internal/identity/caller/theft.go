package caller

import (
	"context"
	"errors"
	"time"

	"sallyport"
	"sallyport/internal/identity/token/dpop"
)

// The reasons of refusals that may be thefts.
const (
	reasonDowngrade   = "token.unproved"  // a bound token without its key
	reasonOtherKey    = "token.other-key" // a bound token beside another key
	reasonOtherDevice = "device.other"    // a token from somebody else's device
)

// An origin is from where a token family was last used.
type origin struct {
	ip, device, key string
	at              time.Time

	told   string // what was last recorded, and the address that it came from
	toldAt time.Time
}

// tellEvery is how long a theft from one address is not recorded again.
const tellEvery = time.Minute

// refused records what looks like a theft, before anybody is told that the call is refused.
func (s *Service) refused(ctx context.Context, p sallyport.Principal, with presented, now time.Time, cause error) error {
	last, seen := s.origins.get(p.Family)
	kind := suspicion(sallyport.ReasonOf(cause), with.proof.IP, last)
	told := string(kind) + " " + with.proof.IP
	if kind == "" || last.told == told && now.Sub(last.toldAt) < tellEvery {
		return cause
	}
	detail := map[string]string{"from.ip": with.proof.IP, "from.key": with.key, "from.certificate": with.cert.thumbprint, "bound": p.Key, "audience": p.Audience}
	if with.cert.parsed != nil {
		if d, known := s.Facts.Snapshot().Devices().ByCertificate(with.cert.parsed); known {
			detail["from.device"], detail["from.owner"] = d.ID, string(d.Owner)
		}
	}
	if seen && !last.at.IsZero() {
		detail["last.ip"], detail["last.device"], detail["last.key"], detail["last.at"] = last.ip, last.device, last.key, last.at.UTC().Format(time.RFC3339)
	}
	for name, value := range detail {
		if value == "" {
			delete(detail, name)
		}
	}
	err := s.Record(ctx, sallyport.Event{Type: kind, At: now.UnixMicro(), Who: p.ID, On: "family:" + p.Family,
		Reasons: []string{sallyport.ReasonOf(cause)}, Detail: detail,
		Asked: &sallyport.Asked{IP: with.proof.IP, Session: p.Session, Family: p.Family, Client: p.Client}})
	if err != nil {
		return err
	}
	last.told, last.toldAt = told, now
	s.origins.put(p.Family, last)
	return cause
}

// suspicion is the event that a refusal is worth, "" for none. It tells a theft from a client that is set up wrongly: a
// token that comes without its key from where it was used a moment ago is its owner's.
func suspicion(reason, ip string, last origin) sallyport.EventType {
	switch reason {
	case dpop.ReasonReplay:
		return sallyport.EventProofReplayed
	case reasonOtherKey, reasonOtherDevice:
		return sallyport.EventTokenTheft
	case reasonDowngrade:
		if last.ip != ip {
			return sallyport.EventTokenTheft
		}
	}
	return ""
}

func asRefused(err error) (*Refused, bool) { return errors.AsType[*Refused](err) }
