// Package remote owns asking a decision point elsewhere: a client of the OpenID AuthZEN Authorization API 1.0 whose
// answer narrows what is permitted here.
//
// It is no policy engine: engines are pure. A remote decision point is asked after the local decision, and only where
// that permits, so a local refusal never waits for it and never leaves the house. Its refusal refuses. Its permission
// adds nothing. What cannot be asked, does not answer in time, or answers anything that is no decision is an error, and
// nothing is permitted. A permission with an obligation is a refusal: what it obliges to is not known here.
//
// It leaves recording the answer, so that a replay hears the same, to enforce/guard and authz/decision, and the messages
// to enforce/authzen/wire.
package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"time"

	strict "github.com/go-json-experiment/json"

	"sallyport"
	"sallyport/internal/authz/decision"
	"sallyport/internal/enforce/authzen/dictionary"
	"sallyport/internal/enforce/authzen/wire"
	"sallyport/internal/plumbing/secret"
)

// Limits.
const (
	maxAnswer   = 64 << 10 // bytes
	DefaultWait = 500 * time.Millisecond
	MaxWait     = 5 * time.Second
)

// A Point is one decision point elsewhere. Its fields are set once; its methods are safe for concurrent use.
type Point struct {
	Name    string // in records and refusals, as sallyport.CheckName takes it
	URL     string // of its evaluation endpoint
	Actions []sallyport.Action
	Wait    time.Duration               // from the question to the last byte of the answer
	Token   func() (secret.Text, error) // what it knows us by
	Client  *http.Client                // connects to it and to nothing else
}

// Points are those that have a say.
type Points []*Point

// Opinions asks every point that has a say in the action, and returns what they say in the order of the points.
func (ps Points) Opinions(ctx context.Context, f decision.Facts) ([]decision.Opinion, error) {
	var all []decision.Opinion
	for _, p := range ps {
		if !slices.Contains(p.Actions, f.Action) {
			continue
		}
		permit, err := p.ask(ctx, request(f))
		if err != nil {
			return nil, fmt.Errorf("ask decision point %s: %w", p.Name, err)
		}
		all = append(all, decision.Opinion{By: p.Name, Permit: permit})
	}
	return all, nil
}

// request is a question in Sallyport's own words. It tells what the question is about, and none of the facts besides.
func request(f decision.Facts) wire.Request {
	on := dictionary.OwnEntity(f.Resource.Ref())
	on.Properties = map[string]any{"class": string(f.Resource.Class)}
	if f.File != "" {
		on.Properties["file"] = f.File
	}
	who := wire.Entity{Type: string(f.PrincipalID.Kind()), ID: f.PrincipalID.Name(), Properties: map[string]any{"acr": f.Assurance.String()}}
	if !f.AuthTime.IsZero() {
		who.Properties["auth_time"] = f.AuthTime.Unix()
	}
	if len(f.Actors) > 0 {
		who.Properties["act"] = f.Actors
	}
	does := wire.Action{Name: string(f.Action)}
	if f.To != "" && f.Action.Enters() {
		does.Properties = map[string]any{"environment": string(f.To)}
	}
	r := wire.Request{Subject: &who, Action: &does, Resource: &on,
		Context: map[string]any{"time": f.At.Format(time.RFC3339), "supported_obligations": []string{}}}
	for name, text := range map[string]string{"ip": f.IP, "purpose": f.Purpose} {
		if text != "" {
			r.Context[name] = text
		}
	}
	return r
}

// ask sends one question.
func (p *Point) ask(ctx context.Context, q wire.Request) (bool, error) {
	body, err := strict.Marshal(q)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.Wait)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	token, err := p.Token()
	if err != nil {
		return false, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token.Reveal())
	res, err := p.Client.Do(r)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return false, err
	}
	return read(res.StatusCode, res.Header.Get("Content-Type"), raw)
}

// read reads an answer: only a whole one counts.
func read(status int, kind string, raw []byte) (bool, error) {
	if kind, _, err := mime.ParseMediaType(kind); status != http.StatusOK || err != nil || kind != "application/json" {
		return false, fmt.Errorf("it answers with status %d and %.60q", status, kind)
	}
	if len(raw) > maxAnswer {
		return false, errors.New("its answer is too long")
	}
	var d struct {
		Decision *bool          `json:"decision"`
		Context  map[string]any `json:"context"`
	}
	if err := strict.Unmarshal(raw, &d); err != nil {
		return false, fmt.Errorf("its answer cannot be read: %w", err)
	}
	if d.Decision == nil {
		return false, errors.New("its answer holds no decision")
	}
	_, obliged := d.Context["obligations"]
	return *d.Decision && !obliged, nil
}
