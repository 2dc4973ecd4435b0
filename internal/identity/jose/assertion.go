package jose

import "time"

const (
	assertionLife = 10 * time.Minute
	opAssertion   = "client assertion"
)

// An AssertionWant says whose assertion is expected at which server. Every field that is not marked optional is needed.
type AssertionWant struct {
	Client string // the client's id: iss and sub
	Issuer string // our issuer: the one audience
	// TokenEndpoint is optional: an address that a client made for an older rule may name as its one audience instead.
	TokenEndpoint string
	Now           time.Time
	Leeway        time.Duration // optional: 0 to 60 s
}

// An Assertion is a client assertion that verified. Its ID must be new among those of the client until Expires: the
// caller stores it, and only now, so that nobody burns the id of an assertion that was never valid.
type Assertion struct {
	ID      string
	Expires time.Time
	Key     string // RFC 7638 thumbprint of the key that signed it
}

// VerifyAssertion checks a private_key_jwt client assertion (RFC 7523 section 3, with the audience rule of
// draft-ietf-oauth-rfc7523bis): iss and sub are the client, aud is our issuer and nothing else, jti is there, and it
// lives ten minutes at most. keys are those that the client registered. Errors are of kind Unknown.
func VerifyAssertion(text string, keys *Set, want AssertionWant) (Assertion, error) {
	if want.Client == "" || want.Issuer == "" {
		return Assertion{}, unusable(opAssertion, "client and issuer are needed")
	}
	token, err := Verify(text, keys, Profile{
		Op: opAssertion, Types: []string{"", "jwt", "client-authentication+jwt"}, Algorithms: ProofAlgorithms(),
	})
	if err != nil {
		return Assertion{}, err
	}
	c, audience := token.Claims, want.Issuer
	if want.TokenEndpoint != "" && len(c.Audience) == 1 && c.Audience[0] == want.TokenEndpoint {
		audience = want.TokenEndpoint
	}
	err = c.Check(Rules{
		Op: opAssertion, Issuer: want.Client, Audience: audience, Sole: true, Now: want.Now, MaxLife: assertionLife,
		Leeway: want.Leeway, NeedID: true,
	})
	if err != nil {
		return Assertion{}, err
	}
	if c.Subject != want.Client {
		return Assertion{}, refusal(opAssertion, "subject")
	}
	return Assertion{ID: c.ID, Expires: c.Expires.Add(want.Leeway), Key: token.Key.Thumbprint()}, nil
}
