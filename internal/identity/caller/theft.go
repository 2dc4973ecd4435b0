package caller

import (
	"context"
	"errors"
	"slices"
	"time"

	"sallyport"
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

	told   string // the address from which a theft was last recorded
	toldAt time.Time
}

// tellEvery is how long a theft from one address is not recorded again.
const tellEvery = time.Minute

// refused records what looks like a theft, before anybody is told that the call is refused.
func (s *Service) refused(ctx context.Context, p sallyport.Principal, with presented, now time.Time, cause error) error {
	last, seen := s.origins.get(p.Family)
	if !stolen(sallyport.ReasonOf(cause), with.proof.IP, last) || last.told == with.proof.IP && now.Sub(last.toldAt) < tellEvery {
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
	err := s.Record(ctx, sallyport.Event{Type: sallyport.EventTokenTheft, At: now.UnixMicro(), Who: p.ID, On: "family:" + p.Family,
		Reasons: []string{sallyport.ReasonOf(cause)}, Detail: detail,
		Asked: &sallyport.Asked{IP: with.proof.IP, Session: p.Session, Family: p.Family, Client: p.Client}})
	if err != nil {
		return err
	}
	last.told, last.toldAt = with.proof.IP, now
	s.origins.put(p.Family, last)
	return cause
}

// stolen tells a theft from a client that is set up wrongly: a token that comes without its key from where it was used a
// moment ago is its owner's.
func stolen(reason, ip string, last origin) bool {
	if reason == reasonDowngrade {
		return last.ip != ip
	}
	return slices.Contains([]string{reasonOtherKey, reasonOtherDevice}, reason)
}

func asRefused(err error) (*Refused, bool) { return errors.AsType[*Refused](err) }
