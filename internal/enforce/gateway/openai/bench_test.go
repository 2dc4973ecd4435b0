package openai

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"sallyport"
	"sallyport/internal/audit/tlog"
	"sallyport/internal/audit/trail"
	"sallyport/internal/audit/trail/tiles"
	"sallyport/internal/enforce/gateway"
	"sallyport/internal/enforce/guard/guardtest"
	"sallyport/internal/plumbing/httpsafe"
	"sallyport/internal/plumbing/secret"
)

// BenchmarkCall measures a call with a body and an answer of 1 KiB, each against
// the same upstream: through a bare reverse proxy, through the door with its record
// in memory, and through the door with its record in the journal on disk.
func BenchmarkCall(b *testing.B) {
	prompt := strings.Repeat("abcdefgh ", 100)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answerJSON(strings.Replace(plainAnswer, `"Hi"`, `"`+prompt+`"`, 1))(w, r)
	}))
	defer up.Close()
	at, err := url.Parse(up.URL)
	if err != nil {
		b.Fatal(err)
	}
	body := []byte(`{"model":"acme/open","messages":[{"role":"user","content":"` + prompt + `"}],"max_tokens":16}`)

	proxy := httputil.NewSingleHostReverseProxy(at)
	proxy.Transport = &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256}
	memory, disk := guardtest.New(b), guardtest.New(b)
	disk.Guard.Record = journal(b).Record
	for _, clients := range []int{1, 16, 64} {
		for name, handler := range map[string]http.Handler{"proxy": proxy, "memory": door(b, memory, at), "journal": door(b, disk, at)} {
			b.Run(fmt.Sprintf("%s/clients=%d", name, clients), func(b *testing.B) { load(b, handler, body, clients) })
		}
	}
}

func door(b *testing.B, w *guardtest.World, at *url.URL) http.Handler {
	ref := sallyport.Ref{Kind: sallyport.ModelKind, Org: "acme", Name: "open"}
	client := httpsafe.Client(anywhere, 256)
	b.Cleanup(client.CloseIdleConnections)
	chat, err := New([]Binding{{Ref: ref, URL: &url.URL{Scheme: at.Scheme, Host: at.Host, Path: "/v1"}, Model: upstreamFor, Key: secret.NewText(upstreamKey)}}, w.Guard, client)
	if err != nil {
		b.Fatal(err)
	}
	return httpsafe.Guard(gateway.New(gateway.Door{Protocol: chat, Guard: w.Guard, Audience: audience, Logger: slog.New(slog.DiscardHandler)}, 256))
}

// journal opens a real trail over a real log.
func journal(b *testing.B) *trail.Trail {
	b.Helper()
	dir := b.TempDir()
	private, public, err := note.GenerateKey(rand.Reader, "bench.test/log")
	if err != nil {
		b.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		b.Fatal(err)
	}
	policy, err := tlog.ParsePolicy(public)
	if err != nil {
		b.Fatal(err)
	}
	tree, err := tiles.Open(context.Background(), filepath.Join(dir, "log"), signer, tiles.Options{})
	if err != nil {
		b.Fatal(err)
	}
	tr, err := trail.Open(context.Background(), tree, trail.Options{Dir: filepath.Join(dir, "trail"), Origin: signer.Name(), Policy: policy})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = tr.Close() })
	return tr
}

// load sends b.N calls from several clients over connections that stay open.
func load(b *testing.B, handler http.Handler, body []byte, clients int) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConns: clients, MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	call := func() error {
		r, err := http.NewRequest("POST", "http://"+l.Addr().String()+"/v1/chat/completions", bytes.NewReader(body))
		if err != nil {
			return err
		}
		r.Header = http.Header{"Authorization": {"Bearer " + token("ana")}, "Content-Type": {"application/json"}}
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != 200 {
			return fmt.Errorf("%s: %s, %v", answer.Status, text, err)
		}
		return nil
	}
	took := make([][]time.Duration, clients)
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for c := range clients {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				began := time.Now()
				if err := call(); err != nil {
					b.Error(err)
					return
				}
				took[c] = append(took[c], time.Since(began))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(took...)
	if b.Failed() {
		return
	}
	slices.Sort(all)
	b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "calls/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
}
