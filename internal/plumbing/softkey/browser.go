package softkey

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// maxAnswer bounds what is read of a server's answer.
const maxAnswer = 1 << 20

// A Browser carries a key's answers to a server, as the script on Sallyport's pages does. HTTP keeps the cookies.
type Browser struct {
	HTTP *http.Client
	URL  string // the server's external URL, which is the origin
	Key  *Key
}

// Register adds a passkey to the account that the browser is signed in to.
func (b *Browser) Register(ctx context.Context, label string) error {
	_, err := b.ceremony(ctx, "register", b.Key.Create, map[string]any{"label": label})
	return err
}

// SignIn signs the browser in by the passkey alone, and returns where the server sends it.
func (b *Browser) SignIn(ctx context.Context, back string) (string, error) {
	return b.ceremony(ctx, "signin", b.Key.Get, map[string]any{"return": back})
}

// Second gives the second proof after a password.
func (b *Browser) Second(ctx context.Context) (string, error) {
	return b.ceremony(ctx, "second", b.Key.Get, nil)
}

// StepUp raises the session that the browser has.
func (b *Browser) StepUp(ctx context.Context, back string) (string, error) {
	return b.ceremony(ctx, "stepup", b.Key.Get, map[string]any{"return": back})
}

func (b *Browser) ceremony(ctx context.Context, kind string, prove func([]byte, string) ([]byte, error), more map[string]any) (string, error) {
	options, err := b.post(ctx, "/passkey/"+kind+"/begin", nil)
	if err != nil {
		return "", err
	}
	response, err := prove(options, b.URL)
	if err != nil {
		return "", err
	}
	body := map[string]any{"response": json.RawMessage(response)}
	for k, v := range more {
		body[k] = v
	}
	text, err := b.post(ctx, "/passkey/"+kind+"/finish", body)
	if err != nil {
		return "", err
	}
	var done struct {
		Next string `json:"next"`
	}
	err = json.Unmarshal(text, &done)
	return done.Next, err
}

func (b *Browser) post(ctx context.Context, path string, body any) ([]byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	at, err := url.JoinPath(b.URL, path)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", b.URL)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	answer, err := b.HTTP.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %.300s", path, answer.Status, text)
	}
	return text, err
}
