package people

import (
	"context"
	"errors"
	"time"

	"github.com/pquerna/otp/hotp"
)

// An App is a person's authenticator: TOTP (RFC 6238) of SHA-1, six digits, thirty seconds.
type App struct {
	Key  string // base32
	last uint64 // the time step of the last code: no code is good twice
}

const period = 30 * time.Second

// Code returns a code that was not used before. It may be the one of the next step, for clocks differ; when that is used
// too, it waits for time to pass.
func (a *App) Code(ctx context.Context) (string, error) {
	if a.Key == "" {
		return "", errors.New("the authenticator app is not set up")
	}
	now := func() uint64 { return uint64(time.Now().Unix()) / uint64(period/time.Second) }
	step := max(now(), a.last+1)
	for step > now()+1 {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(time.Second):
		}
	}
	a.last = step
	return hotp.GenerateCode(a.Key, step)
}
