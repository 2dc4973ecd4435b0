// Package task owns what other systems say of the work that a grant is for: whether a run of MLflow (REST API 2.0) or a job of
// Kubernetes (batch/v1) is over, asked with a credential of the operator's, and that a ticket is closed, as its system
// tells in a signed message (Standard Webhooks 1.0).
//
// It leaves grants to authz/grant, and how often is asked to whoever asks.
package task

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	strict "github.com/go-json-experiment/json"

	"sallyport"
	"sallyport/internal/plumbing/secret"
)

// The limits on what other systems send.
const (
	maxAnswer = 1 << 20
	maxHook   = 16 << 10
	hookFor   = 5 * time.Minute // a message is taken so long after it was signed, and before
	leastKey  = 32              // bytes of the key of a ticket's system
)

// A Kind is a kind of system.
type Kind string

// The kinds.
const (
	MLflow     Kind = "mlflow"
	Kubernetes Kind = "kubernetes"
	Ticket     Kind = "ticket"
)

// A Connector is one system that knows tasks. Its fields are set before its first use; methods are safe for concurrent use.
type Connector struct {
	Name string
	Kind Kind
	URL  string // of MLflow and Kubernetes: where their API begins
	// Token is asked each time for what is sent as a bearer token, nil or zero = none: tokens of Kubernetes are renewed in their file.
	Token func() (secret.Text, error)
	Key   secret.Bytes // of a ticket's system: what its messages are signed with
	HTTP  *http.Client // may connect to URL and nowhere else
}

// Check refuses a connector that could not work.
func (c *Connector) Check() error {
	const op = "open task connector"
	if err := sallyport.CheckName(op, c.Name); err != nil {
		return err
	}
	switch c.Kind {
	case Ticket:
		if c.Key.Len() < leastKey {
			return sallyport.E(op, sallyport.Invalid, "the key of "+c.Name+" is too short", fmt.Sprintf("put %d random bytes or more into its file", leastKey))
		}
		return nil
	case MLflow, Kubernetes:
		u, err := url.Parse(c.URL)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http" {
			return sallyport.E(op, sallyport.Invalid, "the address of "+c.Name+" is no URL without credentials", "write https://HOST[/PATH]")
		}
		return nil
	}
	return sallyport.E(op, sallyport.Invalid, fmt.Sprintf("%s is of no kind that is known, %.40q", c.Name, c.Kind), "write mlflow, kubernetes or ticket")
}

// Over reports whether the task of a name is over, or not there. An error says that nobody could tell.
func (c *Connector) Over(ctx context.Context, name string) (bool, error) {
	switch c.Kind {
	case MLflow:
		return c.run(ctx, name)
	case Kubernetes:
		return c.job(ctx, name)
	}
	return false, nil // tickets tell by themselves
}

// run asks for a run of MLflow. One that was deleted is over.
func (c *Connector) run(ctx context.Context, id string) (bool, error) {
	var answer struct {
		Run struct {
			Info struct {
				Status string `json:"status"`
				Stage  string `json:"lifecycle_stage"`
			} `json:"info"`
		} `json:"run"`
	}
	found, err := c.get(ctx, "/api/2.0/mlflow/runs/get?run_id="+url.QueryEscape(id), &answer)
	if err != nil || !found {
		return !found, err
	}
	switch status := answer.Run.Info.Status; status {
	case "RUNNING", "SCHEDULED":
		return answer.Run.Info.Stage == "deleted", nil
	case "FINISHED", "FAILED", "KILLED":
		return true, nil
	default:
		return false, unclear(c.Name, status)
	}
}

// job asks for a job of Kubernetes, "NAMESPACE/JOB".
func (c *Connector) job(ctx context.Context, name string) (bool, error) {
	namespace, job, ok := strings.Cut(name, "/")
	if !ok {
		return true, nil
	}
	var answer struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Deleted string `json:"deletionTimestamp"` // somebody ordered its end; it stays until its pods are gone
		} `json:"metadata"`
		Status struct {
			Conditions []struct {
				Type   string `json:"type"`
				Status string `json:"status"`
			} `json:"conditions"`
		} `json:"status"`
	}
	found, err := c.get(ctx, "/apis/batch/v1/namespaces/"+url.PathEscape(namespace)+"/jobs/"+url.PathEscape(job), &answer)
	if err != nil || !found {
		return !found, err
	}
	if answer.Kind != "Job" {
		return false, unclear(c.Name, answer.Kind)
	}
	if answer.Metadata.Deleted != "" {
		return true, nil
	}
	for _, x := range answer.Status.Conditions {
		if (x.Type == "Complete" || x.Type == "Failed" || x.Type == "SuccessCriteriaMet" || x.Type == "FailureTarget") && x.Status == "True" {
			return true, nil
		}
	}
	return false, nil
}

func unclear(name, what string) error {
	return sallyport.E("ask for task", sallyport.Unavailable, fmt.Sprintf("%s answers with a state that is not known, %.40q", name, what), "")
}

// get reads a JSON answer; false is an honest "not found".
func (c *Connector) get(ctx context.Context, path string, into any) (bool, error) {
	const op = "ask for task"
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.URL, "/")+path, nil)
	if err != nil {
		return true, err
	}
	r.Header.Set("Accept", "application/json")
	if c.Token != nil {
		token, err := c.Token()
		if err != nil {
			return true, sallyport.Wrap(op, sallyport.Unavailable, "the token for "+c.Name+" cannot be read", err)
		}
		if !token.IsZero() {
			r.Header.Set("Authorization", "Bearer "+token.Reveal())
		}
	}
	answer, err := c.HTTP.Do(r)
	if err != nil {
		return true, sallyport.E(op, sallyport.Unavailable, c.Name+" cannot be reached", "") // its words may hold anything
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil || len(raw) > maxAnswer:
		return true, sallyport.E(op, sallyport.Unavailable, "the answer of "+c.Name+" cannot be read", "")
	case answer.StatusCode == http.StatusNotFound && json.Valid(raw): // a proxy's page is not a system's answer
		return false, nil
	case answer.StatusCode != http.StatusOK:
		return true, sallyport.E(op, sallyport.Unavailable, fmt.Sprintf("%s answers %d", c.Name, answer.StatusCode), "")
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return true, sallyport.E(op, sallyport.Unavailable, "the answer of "+c.Name+" is not what its API gives", "")
	}
	return true, nil
}

// A Closing is what a ticket's system tells.
type Closing struct {
	ID     string // of the message
	Ticket string
	Closed bool
}

// Closed reads a message of a ticket's system at a time: a POST with the headers Webhook-Id, Webhook-Timestamp and
// Webhook-Signature ("v1,…", several are separated by a space) and the body {"ticket": "…", "state": "closed"}.
func (c *Connector) Closed(r *http.Request, now time.Time) (Closing, error) {
	const op = "read ticket"
	no := sallyport.E(op, sallyport.Unknown, "the message is not signed by the ticket's system", "sign it as Standard Webhooks say, with the key that both sides have")
	id, at := r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(at, 10, 64)
	body, rerr := io.ReadAll(io.LimitReader(r.Body, maxHook+1))
	if err != nil || rerr != nil || len(body) > maxHook || id == "" || len(id) > 200 || c.Kind != Ticket {
		return Closing{}, no
	}
	if apart := now.Sub(time.Unix(seconds, 0)); apart > hookFor || apart < -hookFor {
		return Closing{}, no
	}
	m := hmac.New(sha256.New, c.Key.Reveal())
	m.Write([]byte(id + "." + at + "."))
	m.Write(body)
	want := "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
	good := false
	for _, one := range strings.Fields(r.Header.Get("Webhook-Signature")) {
		good = good || hmac.Equal([]byte(one), []byte(want))
	}
	if !good {
		return Closing{}, no
	}
	var in struct {
		Ticket string `json:"ticket"`
		State  string `json:"state"`
	}
	if err := strict.Unmarshal(body, &in); err != nil || in.Ticket == "" || in.State == "" {
		return Closing{}, sallyport.E(op, sallyport.Invalid, "the message names no ticket and state", `send {"ticket": "…", "state": "closed"}`)
	}
	return Closing{ID: id, Ticket: in.Ticket, Closed: strings.EqualFold(in.State, "closed")}, nil
}
