package client

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// A Store keeps logins in one directory, which only its owner may enter: credentials.json, replaced as a whole, and a
// lock beside it, so that processes running side by side do not spend one refresh token twice (that would look like
// theft, and end the login). It is safe for concurrent use, also by several processes.
type Store struct {
	Dir   string           // made with mode 0700 where it is missing
	Clock func() time.Time // nil: time.Now
}

// A Login is what is kept about one server, without its secrets.
type Login struct {
	Server    string    `json:"server"`
	CAFile    string    `json:"ca,omitempty"`
	Plaintext bool      `json:"plaintext,omitempty"`
	Since     time.Time `json:"since"`
	Bound     string    `json:"bound,omitempty"` // thumbprint of the key that the login is bound to; "" for bearer tokens
	Ends      time.Time `json:"ends,omitzero"`   // it ends then, however much it is used; zero where the server does not say
}

// Renewal is how long before its end people are told to renew a login.
const Renewal = 2 * time.Minute

// Ending reports whether a login that is good at a time ends within Renewal.
func (l Login) Ending(now time.Time) bool {
	return !l.Ends.IsZero() && now.Before(l.Ends) && l.Ends.Sub(now) <= Renewal
}

// credentials is the file. Secrets stand in it as they are: secret.Text would write [redacted].
type credentials struct {
	Current string           `json:"current"`
	Logins  map[string]entry `json:"logins"`
}

type entry struct {
	Login
	Refresh string            `json:"refresh"`
	Access  map[string]access `json:"access,omitempty"` // by audience
}

type access struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

const (
	maxCredentials = 1 << 20
	// early is how long before its end a token counts as ended, so that it does not end on the way.
	early = 30 * time.Second
)

// Current returns the login that was made last; fs.ErrNotExist where there is none.
func (s *Store) Current() (Login, error) {
	all, err := s.read()
	if err != nil {
		return Login{}, err
	}
	e, ok := all.Logins[all.Current]
	if !ok {
		return Login{}, fs.ErrNotExist
	}
	return e.Login, nil
}

// Logins returns all logins, sorted by server.
func (s *Store) Logins() ([]Login, error) {
	all, err := s.read()
	if err != nil {
		return nil, err
	}
	var list []Login
	for _, server := range slices.Sorted(maps.Keys(all.Logins)) {
		list = append(list, all.Logins[server].Login)
	}
	return list, nil
}

// Forget removes what is kept about a server; that there is nothing is no error.
func (s *Store) Forget(ctx context.Context, server string) error {
	return s.change(ctx, func(all *credentials) error {
		delete(all.Logins, server)
		if all.Current == server {
			all.Current = ""
		}
		return nil
	})
}

// keep writes a new login and makes it the current one.
func (s *Store) keep(ctx context.Context, l Login, t tokens, audience string) error {
	return s.change(ctx, func(all *credentials) error {
		l.Since, l.Ends = s.now(), t.ends(s.now())
		e := entry{Login: l, Refresh: t.Refresh, Access: map[string]access{}}
		e.Access[audience] = access{t.Access, s.now().Add(t.life())}
		all.Current, all.Logins[l.Server] = l.Server, e
		return nil
	})
}

func (s *Store) now() time.Time {
	if s.Clock == nil {
		return time.Now().UTC().Truncate(time.Second)
	}
	return s.Clock().UTC()
}

func (s *Store) path() string { return filepath.Join(s.Dir, "credentials.json") }

func (s *Store) read() (*credentials, error) {
	const op = "read credentials"
	all := &credentials{Logins: map[string]entry{}}
	f, err := os.Open(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Unavailable, s.path(), err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Unavailable, s.path(), err)
	}
	if info.Mode().Perm()&0o077 != 0 && !windows() {
		return nil, sallyport.E(op, sallyport.Invalid, s.path()+" may be read by others", "run 'chmod 600' on it, then 'sallyport logout --everywhere'")
	}
	text, err := readAll(f, maxCredentials)
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Unavailable, s.path(), err)
	}
	if err := json.Unmarshal(text, all); err != nil {
		return nil, sallyport.E(op, sallyport.Invalid, s.path()+" is damaged", "remove it and sign in again")
	}
	if all.Logins == nil {
		all.Logins = map[string]entry{}
	}
	return all, nil
}

// change reads, changes and writes the file under the lock. An error of do is returned and nothing is written.
func (s *Store) change(ctx context.Context, do func(*credentials) error) error {
	const op = "write credentials"
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return sallyport.Wrap(op, sallyport.Unavailable, s.Dir, err)
	}
	free, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer free()
	all, err := s.read()
	if err != nil {
		return err
	}
	if err := do(all); err != nil {
		return err
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return sallyport.Wrap(op, sallyport.Other, "encode", err)
	}
	if err := replace(s.Dir, s.path(), append(text, '\n')); err != nil {
		return sallyport.Wrap(op, sallyport.Unavailable, s.path(), err)
	}
	return nil
}

// lock waits for the lock and returns what frees it.
func (s *Store) lock(ctx context.Context) (func(), error) {
	const op = "lock credentials"
	name := filepath.Join(s.Dir, "credentials.lock")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, sallyport.Wrap(op, sallyport.Unavailable, name, err)
	}
	for {
		ok, err := tryLock(f)
		if ok {
			return func() { unlock(f); f.Close() }, nil
		}
		if err == nil {
			err = pause(ctx, 20*time.Millisecond)
		}
		if err != nil {
			f.Close()
			return nil, sallyport.Wrap(op, sallyport.Unavailable, name, err)
		}
	}
}

// replace writes a file beside its name and moves it there once it is on disk: a reader sees the old or the new one,
// and a lost refresh token would end the login.
func replace(dir, name string, text []byte) error {
	f, err := os.CreateTemp(dir, ".credentials-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing under this name
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err == nil {
		err = syncDir(dir)
	}
	return err
}

// syncDir makes a rename durable. Systems that cannot open directories do it by themselves.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil || windows() {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// stored is the TokenSource over a Store.
type stored struct {
	client *Client
	store  *Store
}

// Token returns a kept access token that is still good, or refreshes for another under the lock.
func (s *stored) Token(ctx context.Context, audience string) (secret.Text, error) {
	all, err := s.store.read()
	if err != nil {
		return secret.Text{}, err
	}
	if t, ok := s.fresh(all, audience); ok {
		return t, nil
	}
	got, err := s.refresh(ctx, audience, wanted{}, false)
	return secret.NewText(got.Access), err
}

func (s *stored) fresh(all *credentials, audience string) (secret.Text, bool) {
	a, ok := all.Logins[s.client.server].Access[audience]
	if !ok || !s.store.now().Add(early).Before(a.Expires) {
		return secret.Text{}, false
	}
	return secret.NewText(a.Token), true
}

// refresh gets an access token and keeps it where it is of the login's whole scope. Somebody else may have done it
// while we waited for the lock, unless a new one is needed in any case.
func (s *stored) refresh(ctx context.Context, audience string, want wanted, always bool) (tokens, error) {
	var got tokens
	var ended error
	err := s.store.change(ctx, func(all *credentials) error {
		if t, ok := s.fresh(all, audience); ok && !always {
			got.Access = t.Reveal()
			return nil
		}
		e, ok := all.Logins[s.client.server]
		if !ok || e.Refresh == "" {
			return notSignedIn(s.client.server, "you are not signed in")
		}
		var err error
		got, err = s.client.refresh(ctx, secret.NewText(e.Refresh), audience, want)
		if isGrantEnded(err) {
			delete(all.Logins, s.client.server)
			ended = notSignedIn(s.client.server, "your login has ended")
			return nil
		}
		if err != nil {
			return err
		}
		if e.Access == nil {
			e.Access = map[string]access{}
		}
		if got.Refresh != "" {
			e.Refresh = got.Refresh
		}
		if at := got.ends(s.store.now()); !at.IsZero() {
			e.Ends = at
		}
		if len(want.scope) == 0 {
			e.Access[audience] = access{got.Access, s.store.now().Add(got.life())}
		}
		all.Logins[s.client.server] = e
		return nil
	})
	if err == nil {
		err = ended
	}
	return got, err
}

// Refused forgets a token, unless another has taken its place.
func (s *stored) Refused(ctx context.Context, audience string, refused secret.Text) {
	_ = s.store.change(ctx, func(all *credentials) error { // at worst the token is refused once more
		if a, ok := all.Logins[s.client.server].Access[audience]; ok && refused.Equal(secret.NewText(a.Token)) {
			delete(all.Logins[s.client.server].Access, audience)
		}
		return nil
	})
}
