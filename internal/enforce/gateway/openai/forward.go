package openai

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"sallyport"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard"
)

// Limits on what an upstream answers.
const (
	maxAnswer = 64 << 20 // a whole answer
	maxEvent  = 4 << 20  // one line of a stream
)

// paths of the routes on the upstream, below its base URL.
func upstreamPath(route string) string {
	return map[string]string{"chat": "chat/completions", "completions": "completions", "embeddings": "embeddings", "responses": "responses"}[route]
}

// forward asks the upstream and delivers its answer under the permit.
func (c *Chat) forward(d *gateway.Delivery, route string, body *request) error {
	b, ok := c.binding(d.Permit.Resource())
	if !ok {
		return notServed(d.Permit.Resource())
	}
	answer, err := c.ask(d, b, route, body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	ct, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	switch {
	case answer.StatusCode != http.StatusOK:
		return upstreamError(answer)
	case body.stream && ct == "text/event-stream":
		return c.stream(d, answer.Body, route, body)
	case !body.stream && ct == "application/json":
		return c.whole(d, answer.Body)
	}
	return sallyport.E("forward", sallyport.Unavailable, "the model server answered in another form than was asked for", "tell its operator")
}

func (c *Chat) ask(d *gateway.Delivery, b Binding, route string, body *request) (*http.Response, error) {
	out, err := body.forUpstream(b.Model, route)
	if err != nil {
		return nil, err
	}
	ctx := d.Permit.Context()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.URL.JoinPath(upstreamPath(route)).String(), bytes.NewReader(out))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "sallyport")
	req.Header.Set("X-Request-Id", d.Permit.ID())
	if key := b.Key.Reveal(); key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	answer, err := c.client.Do(req)
	if err != nil {
		if cut, ok := guard.AsCut(ctx); ok {
			return nil, cut
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, sallyport.Wrap("forward", sallyport.Unavailable, "the model server cannot be reached", err)
	}
	return answer, nil
}

// upstreamError passes on what the upstream says is wrong with the request, and
// nothing else of it: the rest is for its operator.
func upstreamError(answer *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		return sallyport.Wrap("forward", sallyport.Unavailable, "the model server's answer broke off", err)
	}
	var e struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	told := json.Unmarshal(raw, &e) == nil && e.Error.Message != ""
	if told && (answer.StatusCode == http.StatusBadRequest || answer.StatusCode == http.StatusUnprocessableEntity) {
		return sallyport.E("model server", sallyport.Invalid, sallyport.OneLine(e.Error.Message), "")
	}
	return sallyport.Wrap("forward", sallyport.Unavailable, "the model server could not answer", fmt.Errorf("status %d", answer.StatusCode))
}

type usage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	InputTokens      int64 `json:"input_tokens"`
	OutputTokens     int64 `json:"output_tokens"`
}

func (u *usage) report(d *gateway.Delivery) {
	if u != nil {
		d.Report.TokensIn, d.Report.TokensOut = u.PromptTokens+u.InputTokens, u.CompletionTokens+u.OutputTokens
	}
}

func (c *Chat) whole(d *gateway.Delivery, from io.Reader) error {
	body, err := io.ReadAll(io.LimitReader(from, maxAnswer+1))
	if err != nil {
		return broke(d, err)
	}
	if len(body) > maxAnswer {
		return sallyport.E("forward", sallyport.Unavailable, "the model server's answer is over 64 MiB", "ask for less")
	}
	var seen struct {
		Usage *usage `json:"usage"`
	}
	if err := json.Unmarshal(body, &seen); err != nil {
		return sallyport.Wrap("forward", sallyport.Unavailable, "the model server's answer is not JSON", err)
	}
	seen.Usage.report(d)
	d.Header().Set("Content-Type", "application/json")
	return d.Whole(http.StatusOK, body)
}

// stream passes server-sent events on, one by one. An end before its time is told
// as the error event of the API: a client that only saw the connection close
// could not show a reason.
func (c *Chat) stream(d *gateway.Delivery, from io.Reader, route string, body *request) error {
	h := d.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	d.WriteHeader(http.StatusOK)
	d.Flush()
	err := events(from, func(event []byte) error {
		keep := route == "responses" || noteUsage(d, event) || body.wantUse
		noteResponse(d, route, event)
		if !keep {
			return nil
		}
		if _, err := d.Write(event); err != nil {
			return err
		}
		d.Flush()
		return nil
	})
	if err == nil {
		return nil
	}
	return tell(d, route, broke(d, err))
}

// events calls each with every event of a stream, its blank line included.
func events(from io.Reader, each func([]byte) error) error {
	in := bufio.NewReaderSize(from, 32<<10)
	var event []byte
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil
		}
		event = append(event, line...)
		if len(event) > maxEvent {
			return errors.New("an event is too long")
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 && len(event) > 0 && bytes.HasSuffix(line, []byte("\n")) {
			if eerr := each(event); eerr != nil {
				return eerr
			}
			event = event[:0]
		}
		if errors.Is(err, io.EOF) {
			if len(bytes.TrimSpace(event)) > 0 {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// noteUsage reads token counts from a chunk and reports whether the chunk is more
// than the counts that we asked for on our own account.
func noteUsage(d *gateway.Delivery, event []byte) bool {
	data, ok := dataOf(event)
	if !ok || !bytes.Contains(data, []byte(`"usage"`)) {
		return true
	}
	var chunk struct {
		Choices []json.RawMessage `json:"choices"`
		Usage   *usage            `json:"usage"`
	}
	if json.Unmarshal(data, &chunk) != nil || chunk.Usage == nil {
		return true
	}
	chunk.Usage.report(d)
	return len(chunk.Choices) > 0
}

// noteResponse reads the counts at the end of a responses stream.
func noteResponse(d *gateway.Delivery, route string, event []byte) {
	data, ok := dataOf(event)
	if route != "responses" || !ok || !bytes.Contains(data, []byte("response.completed")) {
		return
	}
	var done struct {
		Response struct {
			Usage *usage `json:"usage"`
		} `json:"response"`
	}
	if json.Unmarshal(data, &done) == nil {
		done.Response.Usage.report(d)
	}
}

func dataOf(event []byte) ([]byte, bool) {
	for line := range bytes.Lines(event) {
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			return bytes.TrimSpace(data), true
		}
	}
	return nil, false
}

// broke says why an answer from upstream ended: our cut, the client, or itself.
func broke(d *gateway.Delivery, err error) error {
	if cut, ok := guard.AsCut(d.Permit.Context()); ok {
		return cut
	}
	if errors.Is(err, context.Canceled) || sallyport.KindOf(err) != sallyport.Other {
		return err
	}
	return sallyport.Wrap("forward", sallyport.Unavailable, "the model server's answer broke off", err)
}

// tell writes the error event of the dialect. The bytes are the refusal itself
// and do not go out under the permit, which may have ended.
func tell(d *gateway.Delivery, route string, err error) error {
	text := sallyport.PublicText(err)
	code := "upstream_error"
	if cut, ok := errors.AsType[*guard.Cut](err); ok {
		text, code = cut.Error(), "permit_withdrawn"
	}
	e := map[string]any{"error": apiError{Message: text, Type: "permission_error", Code: code}}
	name := ""
	if route == "responses" {
		name, e = "event: error\n", map[string]any{"type": "error", "code": code, "message": text, "param": nil}
	}
	body, _ := json.Marshal(e) // strings cannot fail
	return d.Tell([]byte(name+"data: "+string(body)+"\n\n"), err)
}

func sortedRefs(refs []sallyport.Ref) []sallyport.Ref {
	slices.SortFunc(refs, func(a, b sallyport.Ref) int { return strings.Compare(a.String(), b.String()) })
	return refs
}
