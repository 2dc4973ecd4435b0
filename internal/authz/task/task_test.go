package task_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/internal/authz/task"
	"sallyport/internal/plumbing/secret"
)

// TestStates: what each answer means, and that an unclear one means nothing. The bodies are those that the systems' APIs
// document; that a real MLflow answers so is shown over the running server.
func TestStates(t *testing.T) {
	const over, running, unclear = "over", "running", "unclear"
	for _, test := range []struct {
		kind   task.Kind
		status int
		body   string
		want   string
	}{
		{task.MLflow, 200, `{"run":{"info":{"status":"RUNNING","lifecycle_stage":"active"}}}`, running},
		{task.MLflow, 200, `{"run":{"info":{"status":"SCHEDULED"}}}`, running},
		{task.MLflow, 200, `{"run":{"info":{"status":"FINISHED"}}}`, over},
		{task.MLflow, 200, `{"run":{"info":{"status":"FAILED"}}}`, over},
		{task.MLflow, 200, `{"run":{"info":{"status":"KILLED"}}}`, over},
		{task.MLflow, 200, `{"run":{"info":{"status":"RUNNING","lifecycle_stage":"deleted"}}}`, over},
		{task.MLflow, 404, `{"error_code":"RESOURCE_DOES_NOT_EXIST"}`, over},
		{task.MLflow, 404, `<html>`, unclear},
		{task.MLflow, 200, `{}`, unclear},
		{task.MLflow, 200, `{"run":{"info":{"status":"ODD"}}}`, unclear},
		{task.MLflow, 500, `{}`, unclear},
		{task.MLflow, 302, `{}`, unclear},
		{task.MLflow, 200, strings.Repeat(" ", 1<<20) + `{}`, unclear},
		{task.Kubernetes, 200, `{"kind":"Job","status":{"active":1}}`, running},
		{task.Kubernetes, 200, `{"kind":"Job","status":{"conditions":[{"type":"Suspended","status":"True"}]}}`, running},
		{task.Kubernetes, 200, `{"kind":"Job","status":{"conditions":[{"type":"Complete","status":"True"}]}}`, over},
		{task.Kubernetes, 200, `{"kind":"Job","status":{"conditions":[{"type":"Failed","status":"True"}]}}`, over},
		{task.Kubernetes, 200, `{"kind":"Job","status":{"conditions":[{"type":"Complete","status":"False"}]}}`, running},
		{task.Kubernetes, 200, `{"kind":"Job","metadata":{"deletionTimestamp":"2026-11-20T21:00:00Z","finalizers":["orphan"]},"status":{"active":1}}`, over},
		{task.Kubernetes, 404, `{"kind":"Status","code":404}`, over},
		{task.Kubernetes, 401, `{"kind":"Status","code":401}`, unclear},
		{task.Kubernetes, 200, `{"kind":"Pod","status":{}}`, unclear},
	} {
		asked := ""
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = r.Header.Get("Authorization") + " " + r.URL.RequestURI()
			w.WriteHeader(test.status)
			fmt.Fprint(w, test.body)
		}))
		c := &task.Connector{Name: "lab", Kind: test.kind, URL: s.URL + "/", Token: func() (secret.Text, error) { return secret.NewText("t0ken"), nil }, HTTP: s.Client()}
		name, path := "9f2c", "/api/2.0/mlflow/runs/get?run_id=9f2c"
		if test.kind == task.Kubernetes {
			name, path = "train/job-1", "/apis/batch/v1/namespaces/train/jobs/job-1"
		}
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		is, err := c.Over(t.Context(), name)
		got := map[bool]string{true: over, false: running}[is]
		if err != nil {
			got = unclear
		}
		if got != test.want || asked != "Bearer t0ken "+path || err != nil && sallyport.KindOf(err) != sallyport.Unavailable {
			t.Errorf("%s %d %.60s: %s, %v, want %s; asked %s", test.kind, test.status, test.body, got, err, test.want, asked)
		}
		s.Close()
		if _, err := c.Over(t.Context(), name); err == nil {
			t.Error("a system that is not there tells")
		}
	}
}

// signed is a message of a ticket's system.
func signed(key []byte, id, body string, at time.Time) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/hooks/tickets/desk", strings.NewReader(body))
	stamp := strconv.FormatInt(at.Unix(), 10)
	m := hmac.New(sha256.New, key)
	m.Write([]byte(id + "." + stamp + "." + body))
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", stamp)
	r.Header.Set("Webhook-Signature", "v1,old v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil)))
	return r
}

func TestTickets(t *testing.T) {
	key, now := bytes.Repeat([]byte("k"), 32), time.Unix(1_800_000_000, 0)
	c := &task.Connector{Name: "desk", Kind: task.Ticket, Key: secret.NewBytes(bytes.Clone(key))}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	const body = `{"ticket":"OPS-1","state":"Closed","more":1}`
	if got, err := c.Closed(signed(key, "m", body, now), now); err != nil || got != (task.Closing{ID: "m", Ticket: "OPS-1", Closed: true}) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := c.Closed(signed(key, "m", `{"ticket":"OPS-1","state":"open"}`, now), now); err != nil || got.Closed {
		t.Errorf("an open one: %+v, %v", got, err)
	}
	spoilt := func(change func(*http.Request)) *http.Request { r := signed(key, "m", body, now); change(r); return r }
	for name, r := range map[string]*http.Request{
		"another key":  signed(bytes.Repeat([]byte("x"), 32), "m", body, now),
		"too old":      signed(key, "m", body, now.Add(-6*time.Minute)),
		"too new":      signed(key, "m", body, now.Add(6*time.Minute)),
		"another id":   spoilt(func(r *http.Request) { r.Header.Set("Webhook-Id", "n") }),
		"no id":        spoilt(func(r *http.Request) { r.Header.Del("Webhook-Id") }),
		"no signature": spoilt(func(r *http.Request) { r.Header.Del("Webhook-Signature") }),
		"another body": spoilt(func(r *http.Request) { r.Body = http.NoBody }),
		"too long":     signed(key, "m", `{"ticket":"`+strings.Repeat("x", 20<<10)+`"}`, now),
		"another scheme": spoilt(func(r *http.Request) {
			r.Header.Set("Webhook-Signature", strings.Replace(r.Header.Get("Webhook-Signature"), "v1,", "v2,", 2))
		}),
	} {
		if _, err := c.Closed(r, now); sallyport.KindOf(err) != sallyport.Unknown || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, body := range []string{"", "{}", `{"ticket":"OPS-1"}`, `[]`, `{"ticket":"OPS-1","state":"open","state":"closed"}`, `{"Ticket":"OPS-1","State":"closed"}`, `{"ticket":"OPS-1","state":"closed"}{}`, "{\"ticket\":\"OPS-\xff\",\"state\":\"closed\"}"} {
		if _, err := c.Closed(signed(key, "m", body, now), now); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%q: %v", body, err)
		}
	}
	for name, bad := range map[string]*task.Connector{
		"no key": {Name: "d", Kind: task.Ticket}, "no kind": {Name: "d"}, "no address": {Name: "d", Kind: task.MLflow}, "no name": {Kind: task.Ticket, Key: secret.NewBytes(key)},
		"credentials": {Name: "d", Kind: task.Kubernetes, URL: "https://a:b@c"},
	} {
		if bad.Check() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func FuzzClosed(f *testing.F) {
	key := bytes.Repeat([]byte("k"), 32)
	f.Add("m", "1800000000", "v1,x", []byte(`{"ticket":"OPS-1","state":"closed"}`))
	f.Fuzz(func(t *testing.T, id, at, signature string, body []byte) {
		c := &task.Connector{Name: "desk", Kind: task.Ticket, Key: secret.NewBytes(bytes.Clone(key))}
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Header["Webhook-Id"], r.Header["Webhook-Timestamp"], r.Header["Webhook-Signature"] = []string{id}, []string{at}, []string{signature}
		if _, err := c.Closed(r, time.Unix(1_800_000_000, 0)); err == nil {
			t.Error("a message that nobody signed is taken")
		}
	})
}
