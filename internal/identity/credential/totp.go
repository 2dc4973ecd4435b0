package credential

import (
	"context"
	"crypto/subtle"
	"encoding/base32"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

const (
	totpPeriod = 30 // seconds, RFC 6238 section 5.2
	totpSecret = 20 // bytes, RFC 4226 section 4
	totpDigits = 6
)

// A Generator is what a person's authenticator app is given, once.
type Generator struct {
	Secret secret.Text // base32, for typing
	URI    secret.Text // otpauth://, for scanning
}

// NewTOTP makes a generator for a person. What is returned beside it is the sealed secret, to be kept by the caller
// until the person has confirmed a code.
func (s *Service) NewTOTP(id sallyport.PrincipalID) (Generator, []byte, error) {
	key := make([]byte, totpSecret)
	if _, err := io.ReadFull(s.Random, key); err != nil {
		return Generator{}, nil, sallyport.Wrap("make code generator", sallyport.Unavailable, "no randomness", err)
	}
	sealed, err := s.Seal(key, totpContext(id))
	if err != nil {
		return Generator{}, nil, err
	}
	return s.generator(id, key), sealed, nil
}

// ShowTOTP returns the generator of a sealed secret again, while it is not confirmed yet.
func (s *Service) ShowTOTP(id sallyport.PrincipalID, sealed []byte) (Generator, error) {
	key, err := s.openTOTP(id, sealed)
	if err != nil {
		return Generator{}, err
	}
	return s.generator(id, key), nil
}

// ConfirmTOTP checks the first code of a generator and returns what to keep of it. That code is used up.
func (s *Service) ConfirmTOTP(id sallyport.PrincipalID, sealed []byte, code string) (TOTP, error) {
	key, err := s.openTOTP(id, sealed)
	if err != nil {
		return TOTP{}, err
	}
	step, ok, err := matchStep(key, code, s.Now())
	if err != nil {
		return TOTP{}, err
	}
	if !ok {
		return TOTP{}, wrongCode(ReasonWrongCode)
	}
	return TOTP{Sealed: sealed, LastStep: step, Set: s.now()}, nil
}

// VerifyTOTP checks a code. Each code is good once, and never after a later one. A wrong code, a used one and a person
// without a generator are one error of kind Unknown; too many guesses are Busy.
func (s *Service) VerifyTOTP(ctx context.Context, id sallyport.PrincipalID, code string) error {
	key := "totp:" + string(id)
	if err := s.Throttle.Try(ctx, key); err != nil {
		return err
	}
	f, err := s.Store.Factors(ctx, id)
	if err != nil {
		return err
	}
	if f.TOTP.Sealed == nil {
		return wrongCode(ReasonWrongCode)
	}
	generator, err := s.openTOTP(id, f.TOTP.Sealed)
	if err != nil {
		return err
	}
	step, ok, err := matchStep(generator, code, s.Now())
	if err != nil {
		return err
	}
	if !ok {
		return wrongCode(ReasonWrongCode)
	}
	fresh, err := s.Store.UseStep(ctx, id, f.TOTP.Set, step)
	if err != nil {
		return err
	}
	if !fresh {
		return wrongCode(ReasonReplayedCode)
	}
	return s.Throttle.Reset(ctx, key)
}

func wrongCode(reason string) error {
	return sallyport.E("check code", sallyport.Unknown, "the code is wrong or was used before", "wait for the next code of your authenticator app").Because(reason)
}

func totpContext(id sallyport.PrincipalID) string { return "totp:" + string(id) }

func (s *Service) openTOTP(id sallyport.PrincipalID, sealed []byte) ([]byte, error) {
	key, err := s.Open(sealed, totpContext(id))
	if err != nil {
		return nil, sallyport.Wrap("open code generator", sallyport.Unavailable, "the key that seals it cannot be used", err)
	}
	return key, nil
}

func (s *Service) generator(id sallyport.PrincipalID, key []byte) Generator {
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(key)
	issuer := strings.ReplaceAll(url.QueryEscape(s.Issuer), "+", "%20") // apps show a plus sign as it is
	query := "secret=" + text + "&issuer=" + issuer + "&algorithm=SHA1&digits=6&period=30"
	return Generator{
		Secret: secret.NewText(text),
		URI:    secret.NewText("otpauth://totp/" + url.PathEscape(s.Issuer+":"+id.Name()) + "?" + query),
	}
}

// matchStep finds the step, of this moment, the one before and the one after, whose code this is. All three are always
// compared.
func matchStep(key []byte, code string, now time.Time) (step int64, ok bool, err error) {
	code = strings.ReplaceAll(strings.TrimSpace(code), " ", "")
	text := base32.StdEncoding.EncodeToString(key)
	current := now.Unix() / totpPeriod
	for _, s := range []int64{current, current - 1, current + 1} {
		want, err := hotp.GenerateCodeCustom(text, uint64(s), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err != nil {
			return 0, false, err
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && !ok && len(code) == totpDigits {
			step, ok = s, true
		}
	}
	return step, ok, nil
}
