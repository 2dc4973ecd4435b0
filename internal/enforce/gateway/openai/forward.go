package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"sallyport"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard"
)

// Limits on what an upstream answers, in bytes.
const (
	maxAnswer = 64 << 20
	maxError  = 64 << 10
	maxPooled = 1 << 20 // a buffer that grew longer is not kept
)

const opForward = "forward"

// failed is an error of the model server's: the caller reads the message, the log
// the cause.
func failed(message string, cause error) error {
	return sallyport.Wrap(opForward, sallyport.Unavailable, message, cause).Because(gateway.UpstreamReason)
}

// An exchange is one forwarded request and its answer.
type exchange struct {
	chat    *Chat
	d       *gateway.Delivery
	route   string
	request *request
	target  *target
	name    []byte // the model as the client named it, as JSON
	budget  budget
	out     []byte // of the event that goes out
}

// forward asks the upstream and delivers its answer under the permit.
func (c *Chat) forward(d *gateway.Delivery, route string, body *request) error {
	t, err := c.target(d.Permit.Resource(), body.ref)
	if err != nil {
		return err
	}
	if err := body.narrow(d.Permit, route); err != nil {
		return err
	}
	name, err := jsontext.AppendQuote(nil, body.model)
	if err != nil {
		return err
	}
	budget, err := body.budget(d.Permit, route)
	if err != nil {
		return err
	}
	x := &exchange{chat: c, d: d, route: route, request: body, target: t, name: name, budget: budget}
	in, err := x.ask()
	if err != nil {
		return err
	}
	defer in.Body.Close()
	ct, _, _ := mime.ParseMediaType(in.Header.Get("Content-Type")) // what cannot be parsed is not what was asked for
	switch encoding := in.Header.Get("Content-Encoding"); {
	case encoding != "" && encoding != "identity":
	case in.StatusCode != http.StatusOK:
		return x.upstreamError(in)
	case body.stream && ct == "text/event-stream":
		return x.stream(in.Body)
	case !body.stream && ct == "application/json":
		return x.whole(in.Body)
	}
	return failed("the model server answered in another form than was asked for; tell its operator", fmt.Errorf("status %d, type %q", in.StatusCode, ct))
}

// ask sends the request. Nothing of the client's goes along but what was parsed.
func (x *exchange) ask() (*http.Response, error) {
	out, err := x.request.forUpstream(x.target.model, x.route)
	if err != nil {
		return nil, err
	}
	ctx := x.d.Permit.Context()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "", bytes.NewReader(out))
	if err != nil {
		return nil, err
	}
	req.URL, req.Host = x.target.urls[x.route], x.target.urls[x.route].Host
	req.Header = http.Header{"Content-Type": {"application/json"}, "User-Agent": {"sallyport"}, "X-Request-Id": {x.d.Permit.ID()}}
	if key := x.target.key.Reveal(); key != "" {
		req.Header["Authorization"] = []string{"Bearer " + key}
	}
	in, err := x.chat.client.Do(req)
	if err != nil {
		return nil, x.broke("the model server cannot be reached", err)
	}
	return in, nil
}

// upstreamError passes on what the upstream says is wrong with the request, and
// nothing else of it: the rest is for its operator.
func (x *exchange) upstreamError(in *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(in.Body, maxError))
	if err != nil {
		return x.broke("the model server's answer broke off", err)
	}
	var e struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	told := json.Unmarshal(raw, &e) == nil && e.Error.Message != "" && !x.leaks(raw)
	switch in.StatusCode {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		if told {
			return sallyport.E("model server", sallyport.Invalid, sallyport.OneLine(e.Error.Message), "").Because(gateway.UpstreamReason)
		}
	case http.StatusTooManyRequests:
		return sallyport.E(opForward, sallyport.Busy, "the model server is busy", "try again in a moment").Because(gateway.UpstreamReason)
	}
	return failed("the model server could not answer", fmt.Errorf("status %d", in.StatusCode))
}

// leaks reports whether text holds the upstream's key, which some servers echo.
func (x *exchange) leaks(text []byte) bool {
	key := x.target.key.Reveal()
	return key != "" && bytes.Contains(text, []byte(key))
}

// report keeps the counts. A server that says the same in both words has counted once.
func (x *exchange) report(u *usage) {
	if u != nil {
		x.d.Report.TokensIn, x.d.Report.TokensOut = max(0, u.PromptTokens, u.InputTokens), max(0, u.CompletionTokens, u.OutputTokens)
	}
}

// whole delivers an answer that came in one piece.
func (x *exchange) whole(from io.Reader) error {
	body, out := x.chat.buffer(), x.chat.buffer()
	defer x.chat.release(body)
	defer x.chat.release(out)
	if _, err := body.ReadFrom(io.LimitReader(from, maxAnswer+1)); err != nil {
		return x.broke("the model server's answer broke off", err)
	}
	if body.Len() > maxAnswer {
		return failed("the model server's answer is over 64 MiB; ask for less", nil)
	}
	if x.leaks(body.Bytes()) {
		return failed("the model server's answer holds its own key; tell its operator", nil)
	}
	a, err := readAnswer(body.Bytes(), "")
	if err != nil {
		return failed("the model server's answer is not JSON", err)
	}
	x.report(a.usage)
	if err := x.budget.spend(&a, x.d.Report.TokensOut); err != nil {
		return err
	}
	out.Write(a.renamed(out.AvailableBuffer(), body.Bytes(), x.name))
	x.d.Header().Set("Content-Type", "application/json")
	return x.d.Whole(http.StatusOK, out.Bytes())
}

// stream passes server-sent events on, one by one. An end before its time is told
// as the error event of the API: a client that only saw the connection close
// could not show a reason.
func (x *exchange) stream(from io.Reader) error {
	h := x.d.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	x.d.WriteHeader(http.StatusOK)
	x.d.Flush()
	err := events(from, x.pass)
	if err == nil {
		return nil
	}
	return x.tell(x.broke("the model server's answer broke off", err))
}

// pass hands one event on. It leaves out the one that only holds the counts which
// we asked for on our own account.
func (x *exchange) pass(event []byte, more bool) error {
	if !more {
		defer x.d.Flush()
	}
	if x.leaks(event) {
		return failed("the model server's answer holds its own key; tell its operator", nil)
	}
	x.out = append(x.out[:0], event...)
	if data, ok := dataOf(event); ok && !bytes.Equal(bytes.TrimSpace(data), doneMark()) {
		inner := ""
		if x.route == "responses" {
			inner = "response"
		}
		a, err := readAnswer(data, inner)
		if err != nil {
			return failed("the model server's stream is not JSON", err)
		}
		x.report(a.usage)
		if err := x.budget.spend(&a, x.d.Report.TokensOut); err != nil {
			return err
		}
		if counts(x.route) && !x.request.wantUse && a.usage != nil && !a.choice {
			return nil
		}
		if len(a.models) > 0 {
			x.out = withData(x.out[:0], event, a.renamed(nil, data, x.name))
		}
	}
	_, err := x.d.Write(x.out)
	return err
}

// broke says why an answer from upstream ended: our cut, the client, what we
// found wrong with it, or the upstream itself.
func (x *exchange) broke(message string, err error) error {
	ctx := x.d.Permit.Context()
	if cut, ok := guard.AsCut(ctx); ok {
		return cut
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if sallyport.KindOf(err) != sallyport.Other {
		return err
	}
	return failed(message, err)
}

// tell writes the error event of the dialect. The bytes are the refusal itself
// and do not go out under the permit, which may have ended.
func (x *exchange) tell(err error) error {
	if errors.Is(err, context.Canceled) {
		return err // nobody reads it
	}
	e := apiError{Message: sallyport.PublicText(err), Type: "server_error", Code: "upstream_error"}
	if cut, ok := errors.AsType[*guard.Cut](err); ok {
		e = apiError{Message: cut.Error(), Type: "permission_error", Code: "permit_withdrawn"}
	} else if sallyport.KindOf(err) == sallyport.TooLarge {
		e.Type, e.Code = "permission_error", "limit_reached"
	}
	var body []byte
	name := ""
	if x.route == "responses" {
		name = "event: error\n"
		body, _ = json.Marshal(map[string]any{"type": "error", "code": e.Code, "message": e.Message, "param": nil}) // strings cannot fail
	} else {
		body, _ = json.Marshal(map[string]apiError{"error": e})
	}
	return x.d.Tell([]byte(name+"data: "+string(body)+"\n\n"), err)
}
