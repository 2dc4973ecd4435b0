package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"sallyport/client"
	"sallyport/internal/demo/people"
)

// decisionHeader names the decision behind an answer.
const decisionHeader = "Sallyport-Decision"

// weights is the file that the story is about.
const weights = "model.safetensors"

// maxBody bounds what is kept of an answer.
const maxBody = 128 << 20

// A call is one request as a stock client would send it.
type call struct {
	who    *people.Person // nil: somebody without a token, or with bearer
	bearer string         // a token that is nobody's of the cast
	via    *http.Client   // nil: any machine's
	door   client.Door    // whose token is shown
	method string
	path   string
	body   string
	ranged string // Range, "" for none
}

// An answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// send makes a call.
func (s *story) send(ctx context.Context, c call) (*http.Response, error) {
	method := c.method
	if method == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(ctx, method, s.server.External()+c.path, strings.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	if c.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.ranged != "" {
		r.Header.Set("Range", c.ranged)
	}
	r.Header.Set("Accept-Encoding", "identity")
	if c.who != nil {
		t, err := c.who.Token(ctx, c.door)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Authorization", "Bearer "+t.Reveal())
	}
	if c.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	if c.via != nil {
		return c.via.Do(r)
	}
	return s.wire.Do(r)
}

// ask makes a call and reads its answer.
func (s *story) ask(ctx context.Context, c call) (answer, error) {
	response, err := s.send(ctx, c)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	return answer{response.StatusCode, response.Header, body}, err
}

// hub asks for a file as Hugging Face clients do.
func hub(p *people.Person, model, file string) call {
	return call{who: p, door: client.Hub, path: "/hf/" + model + "/resolve/main/" + file}
}

// chat asks a model as OpenAI clients do.
func chat(p *people.Person, model string, stream bool, tokens int) call {
	return call{who: p, door: client.OpenAI, method: http.MethodPost, path: "/openai/v1/chat/completions",
		body: fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"The harbour at night"}],"max_tokens":%d,"stream":%t,"ignore_eos":true,"seed":7}`, model, tokens, stream)}
}

// A transfer is an answer that is being read while other things happen.
type transfer struct {
	status   int
	decision string
	total    int64 // announced, -1 when unknown
	got      atomic.Int64
	begun    chan struct{} // closed once enough came
	ended    chan struct{}
	tail     []byte // the last bytes; to be read after the end
	err      error  // how the reading ended, nil for a whole answer; to be read after the end
}

// begin makes a call and reads its answer in the background. It returns when so many bytes have come, or it has ended.
func (s *story) begin(ctx context.Context, c call, enough int64) (*transfer, error) {
	response, err := s.send(ctx, c)
	if err != nil {
		return nil, err
	}
	t := &transfer{status: response.StatusCode, decision: response.Header.Get(decisionHeader), total: response.ContentLength,
		begun: make(chan struct{}), ended: make(chan struct{})}
	go t.read(response.Body, enough)
	select {
	case <-t.begun:
	case <-t.ended:
	case <-ctx.Done():
	}
	return t, ctx.Err()
}

const tailSize = 4 << 10

func (t *transfer) read(body io.ReadCloser, enough int64) {
	defer close(t.ended)
	defer body.Close()
	buffer := make([]byte, 32<<10)
	signalled := false
	for {
		n, err := body.Read(buffer)
		t.tail = append(t.tail, buffer[:n]...)
		t.tail = t.tail[max(0, len(t.tail)-tailSize):]
		if t.got.Add(int64(n)) >= enough && !signalled {
			signalled = true
			close(t.begun)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.err = err
			}
			return
		}
	}
}

// wait waits for the end.
func (t *transfer) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	select {
	case <-t.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the transfer goes on and on: %w", ctx.Err())
	}
}

// pause lets time pass.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
