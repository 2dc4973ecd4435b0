package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"sallyport/client"
	"sallyport/internal/plumbing/httpsafe"
)

// upstreamIdle is how many connections either side keeps to the upstream: as many
// as Sallyport does.
const upstreamIdle = 256

// body is what is sent and answered, in bytes.
const body = 1 << 10

// chain measures a whole inference call, durable records included.
func (r *run) chain(ctx context.Context) (err error) {
	street, err := openStreet(ctx, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, street.close()) }()
	dir, err := r.sub("fsync")
	if err != nil {
		return err
	}
	for _, n := range r.size.clients {
		all, err := turns(ctx, r.size.rounds, clients(street.guarded, n, r.size.round), clients(street.bare, n, r.size.round), appends(dir, r.size.round/4))
		if err != nil {
			return fmt.Errorf("%d clients: %w", n, err)
		}
		r.chainRows(n, all)
	}
	return nil
}

func (r *run) chainRows(n int, all [][]sample) {
	const group, against = "chain", "bare httputil.ReverseProxy"
	who := fmt.Sprintf("%d clients", n)
	if n == 1 {
		who = "1 client"
	}
	row := ratio(of(all[0], rate), of(all[1], rate), "calls/s", against)
	if n == 16 {
		row = row.atLeast(0.6)
	}
	r.add(row, group, "throughput, "+who,
		"1 KiB inference calls through identity, decision and two durable records, against a proxy that does nothing; plaintext on both sides, one process for all parts")
	row = added(of(all[0], milli), of(all[1], milli), "ms", against)
	if n == 1 {
		row = row.atMost(0.5)
	}
	r.add(row, group, "added p50, "+who, "what Sallyport adds to half of the calls at least, waiting for two fsyncs included")
	if n == 1 {
		r.add(figure(of(all[2], milli), "ms"), group, "fsync p50", "one append of 512 bytes with its fsync on the same disk, measured by turns with the rows above; a call waits for two")
	}
}

func milli(s sample) float64 { return micros(s) / 1e3 }

// A street is a guarded and a bare way to one upstream.
type street struct {
	house         *house
	upstream      *http.Server
	proxy         *http.Server
	guarded, bare target
}

func openStreet(ctx context.Context, r *run) (*street, error) {
	dir, err := r.sub("chain-" + strconv.Itoa(len(r.rows)))
	if err != nil {
		return nil, err
	}
	s := &street{}
	var at, proxied string
	if s.upstream, at, err = listen(answering()); err != nil {
		return nil, err
	}
	to, err := url.Parse("http://" + at)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	bare := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(to) }, ErrorLog: nil,
		Transport: &http.Transport{MaxIdleConns: upstreamIdle, MaxIdleConnsPerHost: upstreamIdle, DisableCompression: true}}
	if s.proxy, proxied, err = listen(bare); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.house, err = openHouse(ctx, dir, "http://"+at+"/v1", true); err != nil {
		return nil, errors.Join(err, s.close())
	}
	token, err := s.house.token(ctx, client.OpenAI)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	header := map[string]string{"Content-Type": "application/json", "Authorization": "Bearer " + token.Reveal()}
	s.guarded = s.calls(s.house.server.Addr(), "/openai/v1/chat/completions", header)
	s.bare = s.calls(proxied, "/v1/chat/completions", header)
	return s, nil
}

// calls is the target of one inference call, the same on both ways.
func (s *street) calls(host, path string, header map[string]string) target {
	question := fmt.Appendf(nil, `{"model":%q,"messages":[{"role":"user","content":%q}]}`, model, bytes.Repeat([]byte("a"), body-80))
	sent := request(http.MethodPost, host, path, header, question)
	return target{host: host, status: "200", request: func(int) []byte { return sent }}
}

func (s *street) close() error {
	var errs []error
	if s.house != nil {
		errs = append(errs, s.house.server.Close())
	}
	for _, running := range []*http.Server{s.proxy, s.upstream} {
		if running != nil {
			errs = append(errs, running.Close())
		}
	}
	return errors.Join(errs...)
}

// listen serves h without TLS on a port of this machine only.
func listen(h http.Handler) (*http.Server, string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: httpsafe.ReadHeaderTimeout}
	go s.Serve(l) // ends with Close
	return s, l.Addr().String(), nil
}

// answering is a model server that has its answer of 1 KiB ready.
func answering() http.Handler {
	const frame = `{"id":"x","object":"chat.completion","created":0,"model":"local","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":%q}}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}`
	answer := fmt.Appendf(nil, frame, bytes.Repeat([]byte("b"), body-len(frame)))
	length := strconv.Itoa(len(answer))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a caller that is gone has nothing to be told
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", length)
		_, _ = w.Write(answer)
	})
}

// appends is a loop that writes 512 bytes and waits until they are on the disk.
func appends(dir string, d time.Duration) side {
	return func(ctx context.Context) (sample, error) {
		f, err := os.CreateTemp(dir, "fsync-*")
		if err != nil {
			return sample{}, err
		}
		defer os.Remove(f.Name())
		block := make([]byte, 512)
		var times []time.Duration
		begin := time.Now()
		for from := begin; len(times) == 0 || from.Sub(begin) < d; {
			_, err := f.Write(block)
			if err = errors.Join(err, f.Sync(), ctx.Err()); err != nil {
				return sample{}, errors.Join(err, f.Close())
			}
			now := time.Now()
			times, from = append(times, now.Sub(from)), now
		}
		return sampled(times, time.Since(begin)), f.Close()
	}
}

// sized adds up the files in a directory and below.
func sized(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return vanished(err)
		}
		info, err := d.Info()
		if err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return vanished(err)
	})
	return total, err
}

// vanished passes over what was deleted while it was being counted.
func vanished(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
