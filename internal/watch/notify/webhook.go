package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// ErrNowhere says that a channel has no address for somebody: there is nothing to try again.
var ErrNowhere = errors.New("there is no address to send to")

// sendWithin bounds one attempt.
const sendWithin = 30 * time.Second

// leastKey is how long a webhook's key must be, in bytes.
const leastKey = 32

// A Webhook posts every notice to one address, signed with HMAC-SHA256 over id, time and body as in Standard Webhooks. Its
// member "text" is what Slack's incoming webhooks show, and those of what speaks like it: with the link, and with nothing
// in it that would be read as a mention of everybody or as a link under another name.
type Webhook struct {
	url    string
	key    secret.Bytes
	client *http.Client
	clock  func() time.Time
}

// NewWebhook makes a channel to an https address; http is for loopback, which client must permit too.
func NewWebhook(to string, key secret.Bytes, client *http.Client, clock func() time.Time) (*Webhook, error) {
	u, err := url.Parse(to)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		return nil, sallyport.E("open webhook", sallyport.Invalid, "the webhook is no https address without credentials", "write https://HOST/PATH")
	}
	if key.Len() < leastKey {
		return nil, sallyport.E("open webhook", sallyport.Invalid, "the webhook's key is too short", fmt.Sprintf("put %d random bytes or more into its file", leastKey))
	}
	return &Webhook{to, key, client, clock}, nil
}

// Name implements Channel.
func (w *Webhook) Name() string { return "webhook" }

// message is the body of a webhook.
type message struct {
	ID    string    `json:"id"`
	Who   string    `json:"who"`
	Kind  string    `json:"kind"`
	At    time.Time `json:"at"`
	Text  string    `json:"text"`  // as Slack reads it
	Plain string    `json:"plain"` // as it is
	Link  string    `json:"link"`
}

// everybody is how Mattermost and Discord, which take Slack's messages, spell a mention of all; Slack has its own brackets.
var everybody = regexp.MustCompile(`(?i)@(all|channel|everyone|here)\b`)

// slack is a notice as the text of a Slack message: three characters have a meaning there, and stand for themselves as
// entities (Slack, formatting message text). A space of no width parts what others would read as a mention or as a link.
func slack(n Notice) string {
	text := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "](", "]\u200b(").Replace(n.Text)
	return everybody.ReplaceAllString(text, "@\u200b$1") + " " + n.Link
}

// Send implements Channel.
func (w *Webhook) Send(ctx context.Context, n Notice, _ string) error {
	body, err := json.Marshal(message{n.ID, string(n.Who), n.Kind, n.At, slack(n), n.Text, n.Link})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	at := strconv.FormatInt(w.clock().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Webhook-Id", n.ID)
	r.Header.Set("Webhook-Timestamp", at)
	r.Header.Set("Webhook-Signature", "v1,"+sign(w.key.Reveal(), n.ID, at, body))
	answer, err := w.client.Do(r)
	if err != nil {
		return errors.New("the webhook cannot be reached") // what the other side says may hold anything
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, 4096)
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fmt.Errorf("the webhook answered %d", answer.StatusCode)
	}
	return nil
}

// sign is the signature over a message.
func sign(key []byte, id, at string, body []byte) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(id + "." + at + "."))
	m.Write(body)
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}
