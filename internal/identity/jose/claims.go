package jose

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	strict "github.com/go-jose/go-jose/v4/json"
)

const (
	maxClaim    = 1024            // bytes of iss, sub, jti and of each audience
	maxAudience = 16              // audiences of one token
	maxLeeway   = time.Minute     // for clocks that differ
	maxSeconds  = 253_402_300_799 // the end of the year 9999
)

// Claims are the claims of a token (RFC 7519 section 4). Registered ones are parsed; zero values mean absent.
type Claims struct {
	Issuer    string
	Subject   string
	Audience  []string
	ID        string
	Expires   time.Time // UTC; parts of a second are cut off
	Issued    time.Time
	NotBefore time.Time

	members map[string]any
	raw     []byte
}

// readClaims reads a payload. A registered claim of another type than RFC 7519 gives it is refused, whether anybody
// asks for it or not.
func readClaims(op string, payload []byte) (Claims, error) {
	members, err := object(payload)
	if err != nil {
		return Claims{}, refusal(op, "claims")
	}
	c := Claims{members: members, raw: payload}
	good := true
	text := func(name string) string {
		value, there := members[name]
		s, isText := value.(string)
		good = good && (!there || isText && s != "" && len(s) <= maxClaim)
		return s
	}
	date := func(name string) time.Time {
		value, there := members[name]
		if !there {
			return time.Time{}
		}
		at, ok := seconds(value)
		good = good && ok
		return at
	}
	c.Issuer, c.Subject, c.ID = text("iss"), text("sub"), text("jti")
	c.Expires, c.Issued, c.NotBefore = date("exp"), date("iat"), date("nbf")
	if aud, there := members["aud"]; there {
		var ok bool
		c.Audience, ok = audiences(aud)
		good = good && ok
	}
	if !good {
		return Claims{}, refusal(op, "claims")
	}
	return c, nil
}

// seconds reads a NumericDate between 1970 and 9999, both excluded.
func seconds(value any) (time.Time, bool) {
	number, ok := value.(strict.Number)
	if !ok {
		return time.Time{}, false
	}
	f, err := strconv.ParseFloat(string(number), 64)
	if err != nil || !(f >= 1 && f < maxSeconds) {
		return time.Time{}, false
	}
	return time.Unix(int64(math.Floor(f)), 0).UTC(), true
}

func audiences(value any) ([]string, bool) {
	list, isList := value.([]any)
	if !isList {
		list = []any{value}
	}
	if len(list) == 0 || len(list) > maxAudience {
		return nil, false
	}
	all := make([]string, len(list))
	for i, one := range list {
		s, isText := one.(string)
		if !isText || s == "" || len(s) > maxClaim {
			return nil, false
		}
		all[i] = s
	}
	return all, true
}

// Text returns the claim at a path of member names when it is a text.
func (c Claims) Text(path ...string) (string, bool) {
	s, ok := c.at(path).(string)
	return s, ok
}

// Texts returns the claim at a path of member names when it is a list of texts.
func (c Claims) Texts(path ...string) ([]string, bool) {
	list, ok := c.at(path).([]any)
	if !ok {
		return nil, false
	}
	all := make([]string, len(list))
	for i, one := range list {
		if all[i], ok = one.(string); !ok {
			return nil, false
		}
	}
	return all, true
}

// Names returns the names of the claims, sorted.
func (c Claims) Names() []string { return slices.Sorted(maps.Keys(c.members)) }

// Has tells whether there is a claim at a path of member names, whatever its type.
func (c Claims) Has(path ...string) bool { return c.at(path) != nil }

func (c Claims) at(path []string) any {
	var value any = c.members
	for _, name := range path {
		members, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = members[name]
	}
	return value
}

// Decode reads the claims into a struct or map. Names of members are compared byte by byte.
func (c Claims) Decode(op string, into any) error {
	if strict.Unmarshal(c.raw, into) != nil {
		return refusal(op, "claims")
	}
	return nil
}

// Rules say what the claims of a token must be. Every field that is not marked optional is needed: an empty one makes
// Check fail, never pass.
type Rules struct {
	Op       string
	Issuer   string        // iss, byte by byte
	Audience string        // must be among aud, byte by byte
	Sole     bool          // optional: it must be the only one
	Now      time.Time     //
	MaxLife  time.Duration // between iat and exp at most
	Leeway   time.Duration // optional: 0 to 60 s, for clocks that differ
	NeedID   bool          // optional: jti must be there
}

// Check is the one place where claims are held against what is expected. iss, aud, exp and iat must be there; exp, iat
// and nbf are all enforced. Errors are of kind Unknown with the reasons jose.issuer, jose.audience, jose.time,
// jose.expired, jose.early and jose.id; incomplete rules are an error of kind Other.
func (c Claims) Check(r Rules) error {
	switch {
	case r.Issuer == "" || r.Audience == "":
		return unusable(r.Op, "issuer and audience are needed")
	case r.Now.IsZero() || r.MaxLife <= 0 || r.Leeway < 0 || r.Leeway > maxLeeway:
		return unusable(r.Op, "the time and limits are needed")
	case c.Issuer != r.Issuer:
		return refusal(r.Op, "issuer")
	case !slices.Contains(c.Audience, r.Audience) || r.Sole && len(c.Audience) != 1:
		return refusal(r.Op, "audience")
	case c.Expires.IsZero() || c.Issued.IsZero() || !c.Issued.Before(c.Expires) || c.Expires.Sub(c.Issued) > r.MaxLife:
		return refusal(r.Op, "time")
	case !r.Now.Before(c.Expires.Add(r.Leeway)):
		return refusal(r.Op, "expired")
	case r.Now.Add(r.Leeway).Before(c.Issued) || r.Now.Add(r.Leeway).Before(c.NotBefore):
		return refusal(r.Op, "early")
	case r.NeedID && c.ID == "":
		return refusal(r.Op, "id")
	}
	return nil
}
